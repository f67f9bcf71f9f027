//! What a run prints: a line when a step starts, one when it ends, the output of what failed, the count at the end.

use core::ops::AddAssign;
use core::time::Duration;
use std::io::{self, IsTerminal, Stdout, Write};

/// A failed step shows at most this many of the last lines it wrote; its log has them all.
pub(crate) const TAIL_LINES_MAX: usize = 400;

/// How many individual checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Checks that held.
    pub(crate) passed: usize,
    /// Checks that did not.
    pub(crate) failed: usize,
    /// Checks that could not run here.
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check that held.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that did not.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that could not run.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Takes `skips` tests that told us they could not run out of the passed ones: libtest believes they passed.
    pub(crate) fn with_skips(self, skips: usize) -> Self {
        Self { passed: self.passed.saturating_sub(skips), skipped: self.skipped + skips, ..self }
    }

    /// The same where a skip is a failure.
    pub(crate) fn without_excuse(self) -> Self {
        Self { failed: self.failed + self.skipped, skipped: 0, ..self }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// How a step ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Its checks.
    pub(crate) tally: Tally,
    /// Lines worth reading in any case: skips, blocks of the README.
    pub(crate) remarks: Vec<String>,
    /// Why it failed, one line a complaint.
    pub(crate) complaints: Vec<String>,
    /// The end of what its command wrote, shown if it failed.
    pub(crate) output: Vec<String>,
}

/// The page that a run writes.
pub(crate) struct Report<Out = Stdout> {
    out: Out,
    terminal: bool,
    progress_shown: bool,
    excuses: bool,
    total: Tally,
    took: Duration,
    failed_steps: Vec<&'static str>,
}

impl Report {
    /// To standard output: with live progress on a terminal, plain lines elsewhere. Under `CI=true` skips fail.
    pub(crate) fn to_stdout() -> Self {
        let excuses = std::env::var_os("CI").is_none_or(|value| value != "true");
        Self::new(io::stdout(), io::stdout().is_terminal(), excuses)
    }
}

impl<Out: Write> Report<Out> {
    fn new(out: Out, terminal: bool, excuses: bool) -> Self {
        Self {
            out,
            terminal,
            progress_shown: false,
            excuses,
            total: Tally::default(),
            took: Duration::ZERO,
            failed_steps: Vec::new(),
        }
    }

    /// A step begins.
    pub(crate) fn handle_start(&mut self, step: &'static str, what: &str) {
        self.line(&format!("start   {step:<14} {what}"));
    }

    /// A step wrote a line; on a terminal the latest one is shown until the next.
    pub(crate) fn handle_progress(&mut self, text: &str) {
        if !self.terminal {
            return;
        }
        let shown: String = text.chars().filter(|character| !character.is_control()).take(100).collect();
        self.write(&format!("\r\x1b[2K        {shown}"));
        self.progress_shown = true;
    }

    /// A step is over. Returns whether it failed.
    pub(crate) fn handle_end(&mut self, step: &'static str, took: Duration, ended: Ended) -> bool {
        let tally = if self.excuses { ended.tally } else { ended.tally.without_excuse() };
        let failed = tally.failed > 0;
        if failed {
            let leading = ended.output.len().saturating_sub(TAIL_LINES_MAX);
            for text in &ended.output[leading..] {
                self.line(text);
            }
            self.failed_steps.push(step);
        }
        for text in ended.remarks.iter().chain(&ended.complaints) {
            self.line(&format!("        {text}"));
        }
        if !self.excuses && ended.tally.skipped > 0 {
            self.line("        under CI=true a skip is a failure");
        }
        let verdict = if failed { "FAILED" } else { "ok" };
        let Tally { passed, failed: failures, skipped } = tally;
        self.line(&format!(
            "{verdict:<7} {step:<14} {:.1} s: {passed} passed, {failures} failed, {skipped} skipped",
            took.as_secs_f64()
        ));
        self.total += tally;
        self.took += took;
        failed
    }

    /// Prints the time that all steps took and the last line, and returns what that says.
    pub(crate) fn finish(&mut self) -> Tally {
        self.line(&format!("all of it took {:.0} s", self.took.as_secs_f64()));
        if !self.failed_steps.is_empty() {
            self.line(&format!("failed: {}", self.failed_steps.join(", ")));
        }
        let Tally { passed, failed, skipped } = self.total;
        self.line(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
        self.total
    }

    fn line(&mut self, text: &str) {
        if core::mem::take(&mut self.progress_shown) {
            self.write("\r\x1b[2K");
        }
        self.write(&format!("{text}\n"));
    }

    /// A closed standard output must not end the checks: the exit code still tells.
    fn write(&mut self, text: &str) {
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tally: Tally) -> Ended {
        let output = (0..TAIL_LINES_MAX + 2).map(|line| format!("output {line}")).collect();
        let (remarks, complaints) = (vec!["remark".to_owned()], vec!["complaint".to_owned()]);
        Ended { tally, remarks, complaints, output }
    }

    fn lines(report: Report<Vec<u8>>) -> Vec<String> {
        String::from_utf8(report.out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_line_is_the_sum_of_all_steps() {
        let mut report = Report::new(Vec::new(), false, true);
        assert!(!report.handle_end("one", Duration::ZERO, step(Tally { passed: 3, failed: 0, skipped: 1 })));
        assert!(report.handle_end("two", Duration::ZERO, step(Tally::FAILED)));
        assert_eq!(report.finish(), Tally { passed: 3, failed: 1, skipped: 1 });
        let lines = lines(report);
        assert_eq!(lines.last().unwrap(), "3 passed, 1 failed, 1 skipped");
        assert!(lines.contains(&"failed: two".to_owned()));
    }

    #[test]
    fn on_the_server_a_skip_fails_its_step() {
        let mut report = Report::new(Vec::new(), false, false);
        assert!(report.handle_end("one", Duration::ZERO, step(Tally::SKIPPED)));
        assert_eq!(report.finish(), Tally::FAILED);
    }

    #[test]
    fn only_a_failed_step_shows_the_end_of_its_output() {
        let mut report = Report::new(Vec::new(), false, true);
        report.handle_end("green", Duration::ZERO, step(Tally::PASSED));
        assert!(lines(report).iter().all(|line| !line.starts_with("output")));
        let mut report = Report::new(Vec::new(), false, true);
        report.handle_end("red", Duration::ZERO, step(Tally::FAILED));
        let lines = lines(report);
        assert_eq!(lines[0], "output 2");
        assert_eq!(lines.iter().filter(|line| line.starts_with("output")).count(), TAIL_LINES_MAX);
    }

    #[test]
    fn progress_is_for_terminals() {
        let mut piped = Report::new(Vec::new(), false, true);
        piped.handle_progress("Compiling");
        assert_eq!(piped.out, b"");
        let mut shown = Report::new(Vec::new(), true, true);
        shown.handle_progress("Compiling\x07");
        shown.handle_start("one", "what");
        assert_eq!(shown.out, b"\r\x1b[2K        Compiling\r\x1b[2Kstart   one            what\n");
    }

    #[test]
    fn a_test_that_skipped_has_not_passed() {
        let tally = Tally { passed: 5, failed: 1, skipped: 1 };
        assert_eq!(tally.with_skips(2), Tally { passed: 3, failed: 1, skipped: 3 });
        assert_eq!(Tally::PASSED.with_skips(1), Tally::SKIPPED);
    }
}
