//! A member's first lines say what it must never import, where whoever is about to do so reads them.

use super::manifest::member_folders;
use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "first-lines",
    text: "each member's lib.rs (main.rs if it has none) begins with a //! that says what it \"must never import\"",
    find,
};

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in member_folders(tree) {
        let library = format!("{folder}src/lib.rs");
        let path = if tree.has(&library) { library } else { format!("{folder}src/main.rs") };
        let first_lines: Vec<&str> =
            tree.text(&path).lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        if !first_lines.join(" ").to_lowercase().contains("must never import") {
            findings.push(Finding::new(&path, 1, "does not begin with what it must never import"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_members_are_found() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"wire\", \"wal\", \"ci\"]\n"),
            ("src/lib.rs", "//! The broker.\n\n//! Must never import tests.\n"),
            ("wire/src/lib.rs", "//! Bytes.\n//!\n//! Must never\n//! import a clock.\nmod a;\n"),
            ("wal/src/main.rs", "//! Must never import a clock.\n"),
            ("ci/src/lib.rs", "mod a; // must never import\n"),
        ]);
        let paths: Vec<String> = find(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["src/lib.rs", "ci/src/lib.rs"]);
    }
}
