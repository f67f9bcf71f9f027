//! One table says which crates and versions we stand on; members only pick from it.

use super::manifest::manifests;
use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "dependency-table",
    text: "every dependency comes from [workspace.dependencies] (workspace = true)",
    find,
};

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        for dependency in manifest.dependencies.iter().filter(|dependency| !dependency.from_root_table) {
            findings.push(Finding::new(&manifest.path, dependency.line, dependency.name.as_str()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_members_own_is_found() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"wal\"]\n[dependencies]\nbytes.workspace = true\n"),
            ("wal/Cargo.toml", "[dev-dependencies]\nproptest = \"1\"\nbytes = { path = \"../b\" }\n"),
        ]);
        assert_eq!(
            find(&tree),
            [Finding::new("wal/Cargo.toml", 3, "bytes"), Finding::new("wal/Cargo.toml", 2, "proptest")]
        );
    }
}
