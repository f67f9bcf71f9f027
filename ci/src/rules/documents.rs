//! The documents that a stranger looks for are there, and the code map and the server's entry are true.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "documents",
    text: "README, ARCHITECTURE and CHANGELOG exist; ARCHITECTURE.md names every folder with Rust in it; \
           .ci/run calls the README's test command and nothing else",
    find,
};

/// What the README tells people to run before they send a change.
const TEST_COMMAND: &str = "cargo ci";

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        if !tree.has(document) {
            findings.push(Finding::new(document, 1, "missing"));
        }
    }
    let folders: BTreeSet<&str> =
        tree.rust().filter_map(|(path, _)| path.split_once('/')).map(|(folder, _)| folder).collect();
    let map = tree.text("ARCHITECTURE.md");
    for folder in folders.into_iter().filter(|folder| !names_folder(map, folder)) {
        findings.push(Finding::new("ARCHITECTURE.md", 1, format!("does not name {folder}/")));
    }
    if !tree.text("README.md").lines().any(is_test_command) {
        findings.push(Finding::new(
            "README.md",
            1,
            format!("no line with the test command `{TEST_COMMAND}`"),
        ));
    }
    if commands(tree.text(".ci/run")) != [TEST_COMMAND] {
        findings.push(Finding::new(".ci/run", 1, format!("must call `{TEST_COMMAND}` and nothing else")));
    }
    findings
}

/// Whether a line of the README is the test command, with or without prompt and comment.
fn is_test_command(line: &str) -> bool {
    let line = line.trim();
    let command = line.strip_prefix("$ ").unwrap_or(line);
    command.split_once(" #").map_or(command, |(command, _)| command).trim_end() == TEST_COMMAND
}

/// Whether `map` has `folder/` at the beginning of a word: `wal/` is not named by `a/wal/`.
fn names_folder(map: &str, folder: &str) -> bool {
    let name = format!("{folder}/");
    map.match_indices(&name).any(|(place, _)| {
        !map[..place].ends_with(|before: char| before.is_alphanumeric() || "/-_.".contains(before))
    })
}

/// The commands of the server's script, apart from the frame that every careful script has.
fn commands(script: &str) -> Vec<&str> {
    script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| !line.starts_with("cd ") && *line != "set -euo pipefail")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: (&str, &str) = ("README.md", "```sh run\ncargo ci\n```\n");
    const ENTRY: (&str, &str) =
        (".ci/run", "#!/usr/bin/env bash\nset -euo pipefail\ncd \"$(dirname \"$0\")/..\"\ncargo ci\n");
    const CODE: &[(&str, &str)] = &[("wal/src/lib.rs", ""), ("src/lib.rs", ""), ("CHANGELOG.md", "")];

    fn found(documents: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(&str, &str)> = documents.iter().chain(CODE).copied().collect();
        find(&Tree::of(&files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_true_map_passes() {
        assert_eq!(
            found(&[README, ENTRY, ("ARCHITECTURE.md", "`src/` serves, `wal/` logs")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_test_command_may_have_prompt_and_comment() {
        assert!(is_test_command("$ cargo ci    # everything"));
        assert!(is_test_command("  cargo ci"));
        assert!(!is_test_command("cargo ci --quick"));
        assert!(!is_test_command("then cargo ci"));
    }

    #[test]
    fn what_is_missing_is_found() {
        assert_eq!(
            found(&[README, ENTRY, ("ARCHITECTURE.md", "src/ and shard/wal/")]),
            ["does not name wal/"]
        );
        let all = found(&[ENTRY]);
        assert_eq!(all[..2], ["missing".to_owned(), "missing".to_owned()]);
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn the_server_does_nothing_of_its_own() {
        let own = (".ci/run", "set -euo pipefail\nrustup update\ncargo ci\n");
        let found = found(&[README, own, ("ARCHITECTURE.md", "src/ wal/")]);
        assert_eq!(found, ["must call `cargo ci` and nothing else"]);
    }
}
