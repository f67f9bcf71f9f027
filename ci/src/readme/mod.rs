//! The README's commands, run as written: one shell, one empty folder, the `ringmain` that was just built.
//!
//! Every ```` ```sh ```` or ```` ```console ```` block says behind its language what becomes of it: `run`, `bench`
//! (run by `cargo ci --full` only) or `shown` (never run). In a console block the commands are the lines behind `$ `,
//! the rest is their output; in a sh block every line is one. A backslash continues a line; no here-documents.

mod blocks;
mod script;

use core::time::Duration;
use std::fs;
use std::io;

use self::blocks::{Block, Purpose};
use self::script::Reached;
use crate::command::Invocation;
use crate::report::{Ended, Tally};
use crate::workspace::Workspace;

/// How much longer the benchmarks may take together.
const BENCH_TIME_MAX: Duration = Duration::from_secs(600);

/// Runs the blocks marked `run`, with `bench` also those marked so, within `budget`.
pub(crate) fn run(
    workspace: &Workspace,
    bench: bool,
    budget: Duration,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Ended> {
    let text = match fs::read_to_string(workspace.root.join("README.md")) {
        Ok(text) => text,
        Err(error) => return Ok(unreadable(vec![format!("README.md: {error}")])),
    };
    let blocks = match blocks::parse(&text) {
        Ok(blocks) => blocks,
        Err(errors) => return Ok(unreadable(errors.iter().map(ToString::to_string).collect())),
    };
    let chosen: Vec<Block> = blocks
        .into_iter()
        .filter(|block| block.purpose == Purpose::Run || bench && block.purpose == Purpose::Bench)
        .collect();
    let sandbox = workspace.scratch.join(format!("readme-{}", std::process::id()));
    fs::create_dir_all(sandbox.join("work"))?;
    let progress = sandbox.join("progress");
    let file = sandbox.join("commands.bash");
    fs::write(&file, script::text(&chosen))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let invocation = Invocation {
        words: vec!["bash".to_owned(), file.display().to_string()],
        environment: vec![
            ("PATH".to_owned(), format!("{}:{path}", workspace.release().display())),
            (script::PROGRESS_VARIABLE.to_owned(), progress.display().to_string()),
            (script::ROOT_VARIABLE.to_owned(), workspace.root.display().to_string()),
        ],
        directory: sandbox.join("work"),
        log: workspace.scratch.join("readme.log"),
        budget: if bench { budget + BENCH_TIME_MAX } else { budget },
    };
    let outcome = invocation.run(on_line)?;
    let started = fs::read_to_string(&progress).unwrap_or_default();
    fs::remove_dir_all(&sandbox)?;
    let mut ended = judge(&chosen, Reached::of(&started, outcome.ending.succeeded()));
    if !outcome.ending.succeeded() {
        ended.complaints.push(format!("the README's shell: {}", outcome.ending));
    }
    Ok(Ended { output: outcome.output, ..ended })
}

/// No README, or one with an unclassified block: nothing of it is run.
fn unreadable(complaints: Vec<String>) -> Ended {
    let tally = Tally { failed: complaints.len(), ..Tally::default() };
    Ended { tally, complaints, ..Ended::default() }
}

/// One line a block, one check a command: those before the one that failed passed, those behind it were not reached.
fn judge(blocks: &[Block], reached: Reached) -> Ended {
    let mut ended = Ended::default();
    let mut place = 0;
    for block in blocks {
        let mut tally = Tally::default();
        for command in &block.commands {
            let verdict = reached.tally_of(place);
            if verdict == Tally::FAILED {
                ended.complaints.push(format!("README.md:{}: failed: {}", command.line, command.text));
            }
            tally += verdict;
            place += 1;
        }
        ended.remarks.push(format!(
            "README.md:{}: {} of {} commands passed",
            block.line,
            tally.passed,
            block.commands.len()
        ));
        ended.tally += tally;
    }
    if place == 0 {
        ended.tally += Tally::FAILED;
        ended.complaints.push("README.md has no command to run: mark a block with `run`".to_owned());
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const README: &str = "```sh run\ntrue\nfalse\n```\n```sh run\ntrue\n```\n";

    #[test]
    fn the_failed_command_is_named_and_the_rest_not_reached() {
        let ended = judge(&blocks::parse(README).unwrap(), Reached::of("\n\n", false));
        assert_eq!(ended.tally, Tally { passed: 1, failed: 1, skipped: 1 });
        assert_eq!(ended.complaints, ["README.md:3: failed: false"]);
        assert_eq!(
            ended.remarks,
            ["README.md:1: 1 of 2 commands passed", "README.md:5: 0 of 1 commands passed"]
        );
    }

    /// Runs a README in a workspace whose `ringmain` is a shell script that serves, and answers while it does.
    fn run_with_stand_in(name: &str, readme: &str) -> Ended {
        let root = std::env::temp_dir().join(format!("ringmain-ci-{}-{name}", std::process::id()));
        let target = root.join("target");
        let scratch = target.join("ci");
        let workspace = Workspace { root, target, scratch };
        fs::create_dir_all(&workspace.scratch).unwrap();
        fs::create_dir_all(workspace.release()).unwrap();
        fs::write(workspace.root.join("README.md"), readme).unwrap();
        let binary = workspace.release().join("ringmain");
        let stand_in = "#!/bin/sh\ncase $1 in\nserve) sleep 0.2; touch up; echo ready node=1; exec sleep 60;;\n\
                        topic) test -e up && echo $3;;\n*) exit 2;;\nesac\n";
        fs::write(&binary, stand_in).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let ended = run(&workspace, false, Duration::from_secs(20), &mut |_| ()).unwrap();
        fs::remove_dir_all(&workspace.root).unwrap();
        ended
    }

    #[test]
    fn commands_run_as_written_while_a_broker_serves() {
        let ended = run_with_stand_in(
            "serves",
            "```console run\n$ cargo run --release -- serve &\nready node=1\n\
             $ test \"$(cargo run --release -- topic list orders)\" = orders\n```\n\
             ```sh bench\nfalse\n```\n```sh run\ncargo ci\nLEFT='it''s'; test -n \"$LEFT\"\n```\n",
        );
        assert_eq!(ended.tally, Tally { passed: 3, failed: 0, skipped: 0 }, "{:?}", ended.output);
    }

    #[test]
    fn a_failing_command_ends_the_rest() {
        let ended = run_with_stand_in("fails", "```sh run\ntrue\nringmain topics | cat\ntrue\n```\n");
        assert_eq!(ended.tally, Tally { passed: 1, failed: 1, skipped: 1 }, "{:?}", ended.output);
        assert_eq!(ended.complaints[0], "README.md:3: failed: ringmain topics | cat");
    }

    #[test]
    fn a_broker_that_never_gets_ready_fails_its_line() {
        let ended = run_with_stand_in("dies", "```sh run\n: ; ringmain serve-not &\ntrue\n```\n");
        assert_eq!(ended.tally, Tally { passed: 0, failed: 1, skipped: 1 }, "{:?}", ended.output);
    }

    #[test]
    fn a_readme_that_promises_nothing_fails() {
        assert_eq!(judge(&[], Reached::of("", true)).tally, Tally::FAILED);
    }
}
