//! Members depend downwards only: `wire <- wal <- shard <- ringmain` and `wire <- client <- bench`.

use super::manifest::{Manifest, manifests};
use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "arrows",
    text: "a member depends only on those below it (table in ci/src/rules/arrows.rs)",
    find,
};

/// Every member and those that it may stand on. Tests may look at everything, nothing looks at tests or ci.
const ALLOWED: &[(&str, &[&str])] = &[
    ("ringmain-wire", &[]),
    ("ringmain-wal", &["ringmain-wire"]),
    ("ringmain-shard", &["ringmain-wal", "ringmain-wire"]),
    ("ringmain-client", &["ringmain-wire"]),
    ("ringmain-bench", &["ringmain-client", "ringmain-wire"]),
    ("ringmain-tuning", &[]),
    (
        "ringmain",
        &[
            "ringmain-bench",
            "ringmain-client",
            "ringmain-shard",
            "ringmain-tuning",
            "ringmain-wal",
            "ringmain-wire",
        ],
    ),
    (
        "ringmain-tests",
        &[
            "ringmain",
            "ringmain-bench",
            "ringmain-client",
            "ringmain-shard",
            "ringmain-tuning",
            "ringmain-wal",
            "ringmain-wire",
        ],
    ),
    ("ringmain-ci", &[]),
];

fn find(tree: &Tree) -> Vec<Finding> {
    manifests(tree).iter().flat_map(upward).collect()
}

fn upward(manifest: &Manifest) -> Vec<Finding> {
    let Manifest { path, package, dependencies } = manifest;
    let Some((_, below)) = ALLOWED.iter().find(|(name, _)| name == package) else {
        return vec![Finding::new(path, 1, format!("{package:?} has no row in the table of arrows"))];
    };
    dependencies
        .iter()
        .filter(|dependency| !dependency.tests_only && dependency.name.starts_with("ringmain"))
        .filter(|dependency| !below.contains(&dependency.name.as_str()))
        .map(|dependency| Finding::new(path, dependency.line, format!("{package} -> {}", dependency.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, dependency: &str) -> Vec<String> {
        let manifest =
            format!("[package]\nname = \"{package}\"\n[dependencies]\n{dependency}.workspace = true\n");
        let root = "[workspace]\nmembers = [\"one\"]\n[package]\nname = \"ringmain\"\n";
        let tree = Tree::of(&[("Cargo.toml", root), ("one/Cargo.toml", &manifest)]);
        find(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn upward_arrows_are_found() {
        assert_eq!(found("ringmain-wire", "ringmain-wal"), ["ringmain-wire -> ringmain-wal"]);
        assert_eq!(found("ringmain-client", "ringmain-shard"), ["ringmain-client -> ringmain-shard"]);
        assert_eq!(found("ringmain-bench", "ringmain"), ["ringmain-bench -> ringmain"]);
        assert_eq!(found("ringmain-tests", "ringmain-ci"), ["ringmain-tests -> ringmain-ci"]);
    }

    #[test]
    fn downward_arrows_and_strangers_pass() {
        assert_eq!(found("ringmain-shard", "ringmain-wire"), Vec::<String>::new());
        assert_eq!(found("ringmain-tests", "ringmain"), Vec::<String>::new());
        assert_eq!(found("ringmain-wire", "bytes"), Vec::<String>::new());
    }

    #[test]
    fn a_member_without_a_row_is_found() {
        assert_eq!(
            found("ringmain-extras", "bytes"),
            ["\"ringmain-extras\" has no row in the table of arrows"]
        );
    }
}
