//! Turns the README's commands into one bash script that tells how far it came.

use core::fmt::Write;

use super::blocks::{Block, ReadmeCommand};
use crate::report::Tally;

/// Environment variable with the file that a line is appended to whenever a command starts.
pub(crate) const PROGRESS_VARIABLE: &str = "RINGMAIN_CI_PROGRESS";
/// Environment variable with the root of the workspace.
pub(crate) const ROOT_VARIABLE: &str = "RINGMAIN_CI_ROOT";

/// What stands above the commands. A reader waits for the `ready` line of a broker before typing on, and so does the
/// script; cargo finds its workspace although the commands run in an empty folder.
const PREAMBLE: &str = r#"set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
cargo() { (cd "$RINGMAIN_CI_ROOT" && command cargo "$@"); }
ringmain_ci_started() {
  echo >>"$RINGMAIN_CI_PROGRESS"
}
ringmain_ci_ready() {
  for _ in {1..150}; do
    if grep -q '^ready ' "$1"; then cat "$1"; return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  cat "$1"
  echo 'the broker in the background never said ready'
  return 1
}
"#;

/// The script that runs the commands of `blocks` in order, in one shell.
pub(crate) fn text(blocks: &[Block]) -> String {
    let mut script = PREAMBLE.to_owned();
    for (place, command) in blocks.iter().flat_map(|block| &block.commands).enumerate() {
        push_command(&mut script, place, command);
    }
    script
}

fn push_command(script: &mut String, place: usize, command: &ReadmeCommand) {
    let text = command.text.replace("cargo run --release -- ", "ringmain ");
    let shown = text.replace('\'', r"'\''");
    let line = command.line;
    let written = match broker_in_background(&text) {
        Some(serve) => writeln!(
            script,
            "ringmain_ci_started\necho 'README.md:{line}: {shown}'\n\
             : >../output-{place}\n{serve} >../output-{place} &\nringmain_ci_ready ../output-{place} $!"
        ),
        None => writeln!(script, "ringmain_ci_started\necho 'README.md:{line}: {shown}'\n{text}"),
    };
    written.expect("a String takes everything that is written to it");
}

/// `ringmain serve … &` without its `&`. One whose output goes elsewhere is run as it stands.
fn broker_in_background(text: &str) -> Option<&str> {
    let (command, _comment) = text.split_once(" #").unwrap_or((text, ""));
    let serve = command.trim_end().strip_suffix('&')?.trim_end();
    (serve.contains("ringmain serve") && !serve.contains('>') && !serve.ends_with('&')).then_some(serve)
}

/// How far a script came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    started: usize,
    succeeded: bool,
}

impl Reached {
    /// From what the script left in its progress file and whether it ended well.
    pub(crate) fn of(progress: &str, succeeded: bool) -> Self {
        Self { started: progress.lines().count(), succeeded }
    }

    /// The verdict on the command at this place, from 0: the last one started is to blame for a bad end.
    pub(crate) fn tally_of(self, place: usize) -> Tally {
        let last = self.started.saturating_sub(1);
        if place < last || place == last && self.succeeded {
            Tally::PASSED
        } else if place == last {
            Tally::FAILED
        } else {
            Tally::SKIPPED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks;
    use super::*;

    fn script(readme: &str) -> String {
        text(&blocks::parse(readme).unwrap())
    }

    #[test]
    fn cargo_run_becomes_the_binary_that_was_built() {
        let script = script("```sh run\nseq 3 | cargo run --release -- topic produce orders\n```\n");
        assert!(script.ends_with("\nseq 3 | ringmain topic produce orders\n"), "{script}");
    }

    #[test]
    fn a_broker_in_the_background_is_waited_for() {
        let script = script("```console run\n$ cargo run --release -- serve --shards 1 &  # a broker\n```\n");
        let expected = "\nringmain serve --shards 1 >../output-0 &\nringmain_ci_ready ../output-0 $!\n";
        assert!(script.ends_with(expected), "{script}");
    }

    #[test]
    fn only_an_unredirected_broker_in_the_background_is_special() {
        assert_eq!(broker_in_background("ringmain serve &"), Some("ringmain serve"));
        assert_eq!(broker_in_background("ringmain serve >log &"), None);
        assert_eq!(broker_in_background("ringmain serve --help && echo a"), None);
        assert_eq!(broker_in_background("ringmain topic consume orders &"), None);
    }

    #[test]
    fn the_last_command_started_is_to_blame() {
        let reached = Reached::of("\n\n", false);
        assert_eq!(reached.tally_of(0), Tally::PASSED);
        assert_eq!(reached.tally_of(1), Tally::FAILED);
        assert_eq!(reached.tally_of(2), Tally::SKIPPED);
        assert_eq!(Reached::of("\n\n", true).tally_of(1), Tally::PASSED);
        assert_eq!(Reached::of("", false).tally_of(0), Tally::FAILED);
    }
}
