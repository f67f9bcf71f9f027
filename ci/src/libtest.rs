//! Reads the summaries that Rust's test harness prints.

use crate::report::Tally;

/// Counts of a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`; `None` for any other line.
///
/// An ignored test is a skipped one: somebody wrote it and nobody ran it.
pub(crate) fn summary(line: &str) -> Option<Tally> {
    let counts = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut tally = Tally::default();
    for part in counts.split(';') {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let field = match what {
            "passed" => &mut tally.passed,
            "failed" => &mut tally.failed,
            "ignored" => &mut tally.skipped,
            _ => continue,
        };
        *field = number.parse().ok()?;
    }
    Some(tally)
}

/// Whether the line reports a test that passed: of no interest when another one failed.
pub(crate) fn is_passed_test(line: &str) -> bool {
    line.starts_with("test ") && line.ends_with(" ... ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_counted() {
        let line =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(summary(line), Some(Tally { passed: 12, failed: 0, skipped: 1 }));
        let line = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.5s";
        assert_eq!(summary(line), Some(Tally { passed: 7, failed: 2, skipped: 0 }));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(summary("test ids::tests::wraps ... ok"), None);
        assert_eq!(summary("running 3 tests"), None);
        assert_eq!(summary("the test result: ok. 1 passed"), None);
        assert_eq!(summary("test result: ok. many passed; 0 failed"), None);
    }

    #[test]
    fn passed_tests_are_told_from_failed_ones() {
        assert!(is_passed_test("test ids::tests::wraps ... ok"));
        assert!(!is_passed_test("test ids::tests::wraps ... FAILED"));
        assert!(!is_passed_test("broker said ... ok"));
    }
}
