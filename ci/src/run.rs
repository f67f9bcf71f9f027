//! Takes the planned steps one after the other; a failed one does not keep the others from running.

use std::collections::BTreeSet;
use std::io;

use crate::command::{self, Invocation};
use crate::libtest;
use crate::readme;
use crate::report::{Ended, Report, TAIL_LINES_MAX, Tally};
use crate::rules;
use crate::skips::{self, Skips};
use crate::steps::{Step, Work};
use crate::workspace::Workspace;

/// Runs `plan`; `bench` includes the README's benchmarks.
pub(crate) fn run(plan: &[&'static Step], workspace: &Workspace, bench: bool, report: &mut Report) {
    let mut failed = BTreeSet::new();
    for step in plan {
        report.handle_start(step.name, step.to_string()[step.name.len()..].trim_start());
        let started = command::now();
        let ended = match step.needs.filter(|needed| failed.contains(needed)) {
            Some(needed) => not_run(needed),
            None => take(step, workspace, bench, report).unwrap_or_else(|error| broken(&error)),
        };
        if report.handle_end(step.name, started.elapsed(), ended) {
            failed.insert(step.name);
        }
    }
}

fn take(step: &Step, workspace: &Workspace, bench: bool, report: &mut Report) -> io::Result<Ended> {
    let mut on_line = |line: &str| report.handle_progress(line);
    match step.work {
        Work::Check(line) => run_command(step, line, Counting::One, workspace, &mut on_line),
        Work::Tests(line) => run_command(step, line, Counting::Tests, workspace, &mut on_line),
        Work::Rules => rules::check_tree(&workspace.root),
        Work::Readme => readme::run(workspace, bench, step.budget, &mut on_line),
    }
}

/// What a command line adds to the count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    One,
    Tests,
}

fn run_command(
    step: &Step,
    line: &[&str],
    counting: Counting,
    workspace: &Workspace,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    let mut skips = Skips::collect_in(workspace.scratch.join(format!("{}.skips", step.name)))?;
    let invocation = Invocation {
        words: line.iter().map(|&word| word.to_owned()).collect(),
        environment: vec![(skips::FILE_VARIABLE.to_owned(), skips.file().display().to_string())],
        directory: workspace.root.clone(),
        log: workspace.scratch.join(format!("{}.log", step.name)),
        budget: step.budget,
    };
    let mut summaries = Vec::new();
    let outcome = invocation.run(&mut |line| {
        summaries.extend(libtest::summary(line));
        skips.handle_line(line);
        on_line(line);
    })?;
    let skips = skips.finish()?;
    let mut ended = match counting {
        Counting::One if outcome.ending.succeeded() => Ended { tally: Tally::PASSED, ..Ended::default() },
        Counting::One => Ended { tally: Tally::FAILED, ..Ended::default() },
        Counting::Tests => count_tests(&summaries, outcome.ending.succeeded()),
    };
    ended.tally = ended.tally.with_skips(skips.len());
    ended.remarks = skips;
    if !outcome.ending.succeeded() {
        ended.complaints.push(format!("{}: {}", line.join(" "), outcome.ending));
    }
    let whole = outcome.output.len();
    ended.output = outcome.output.into_iter().filter(|line| !libtest::is_passed_test(line)).collect();
    if ended.output.len() > TAIL_LINES_MAX {
        ended.complaints.push(format!("all {whole} lines: {}", invocation.log.display()));
    }
    Ok(ended)
}

/// Sums the summaries. A run that failed without a failed test did not compile or crashed: that counts as one.
fn count_tests(summaries: &[Tally], succeeded: bool) -> Ended {
    let mut ended = Ended::default();
    for &summary in summaries {
        ended.tally += summary;
    }
    if !succeeded && ended.tally.failed == 0 {
        ended.tally += Tally::FAILED;
    }
    if succeeded && summaries.is_empty() {
        ended.tally += Tally::FAILED;
        ended.complaints.push("no test summary was printed: were there tests at all?".to_owned());
    }
    ended
}

fn not_run(needed: &str) -> Ended {
    let remark = format!("not run: {needed} failed");
    Ended { tally: Tally::SKIPPED, remarks: vec![remark], ..Ended::default() }
}

fn broken(error: &io::Error) -> Ended {
    let complaint = format!("the step itself could not run: {error}");
    Ended { tally: Tally::FAILED, complaints: vec![complaint], ..Ended::default() }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::steps::When;

    const GREEN: Tally = Tally { passed: 4, failed: 0, skipped: 1 };
    const RED: Tally = Tally { passed: 2, failed: 3, skipped: 0 };

    /// Runs a shell script as a step of this name.
    fn run_script(name: &'static str, script: &'static [&'static str], counting: Counting) -> Ended {
        let folder = std::env::temp_dir().join(format!("ringmain-ci-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let workspace = Workspace { root: folder.clone(), target: folder.clone(), scratch: folder.clone() };
        let (when, work, budget) = (When::Always, Work::Check(script), Duration::from_secs(20));
        let step = Step { name, when, work, budget, needs: None };
        let ended = run_command(&step, script, counting, &workspace, &mut |_| ()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        ended
    }

    #[test]
    fn skips_come_from_output_and_file() {
        const SCRIPT: &[&str] = &[
            "bash",
            "-c",
            "echo 'SKIPPED a: no disk'; printf 'SKIPPED a: no disk\nSKIPPED b: no root\n' >>$RINGMAIN_CI_SKIPS
             echo 'test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out'",
        ];
        let ended = run_script("skips", SCRIPT, Counting::Tests);
        assert_eq!(ended.tally, Tally { passed: 3, failed: 0, skipped: 2 });
        assert_eq!(ended.remarks, ["SKIPPED a: no disk", "SKIPPED b: no root"]);
    }

    #[test]
    fn a_failed_command_shows_why_without_what_passed() {
        const SCRIPT: &[&str] = &["bash", "-c", "echo 'test a ... ok'; echo 'test b ... FAILED'; exit 101"];
        let ended = run_script("failed", SCRIPT, Counting::One);
        assert_eq!(ended.tally, Tally::FAILED);
        assert_eq!(ended.output, ["test b ... FAILED"]);
        assert!(ended.complaints[0].ends_with(": exit code 101"), "{:?}", ended.complaints);
    }

    #[test]
    fn tests_of_all_binaries_are_summed() {
        assert_eq!(count_tests(&[GREEN, RED], false).tally, Tally { passed: 6, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_crash_or_compile_error_is_a_failure_of_its_own() {
        assert_eq!(count_tests(&[GREEN], false).tally, Tally { passed: 4, failed: 1, skipped: 1 });
    }

    #[test]
    fn a_run_without_any_test_has_not_passed() {
        assert_eq!(count_tests(&[], true).tally, Tally::FAILED);
    }
}
