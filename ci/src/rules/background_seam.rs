//! One folder names glommio, so that the executor beside the hot core can be exchanged.

use super::ring_seam::naming;
use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule =
    Rule { name: "background-seam", text: "only shard/src/background/ names glommio", find };

const SEAMS: &[&str] = &["shard/src/background/", "shard/src/background.rs"];

fn find(tree: &Tree) -> Vec<Finding> {
    naming(tree, "glommio", SEAMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_glommio_elsewhere_is_found() {
        let tree = Tree::of(&[
            ("shard/src/background/jobs.rs", "use glommio::LocalExecutor;\n"),
            ("src/serve.rs", "use {glommio::Latency, std::io};\n"),
        ]);
        assert_eq!(find(&tree), [Finding::new("src/serve.rs", 1, "glommio::Latency")]);
    }
}
