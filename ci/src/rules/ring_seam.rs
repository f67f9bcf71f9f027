//! One folder names io_uring, so that a kernel interface touches one place.

use super::tree::Tree;
use super::{Finding, Rule, paths};

pub(super) const RULE: Rule =
    Rule { name: "ring-seam", text: "only shard/src/ring/, tuning/ and bench/src/limit name io_uring", find };

const SEAMS: &[&str] =
    &["shard/src/ring/", "shard/src/ring.rs", "tuning/", "bench/src/limit/", "bench/src/limit.rs"];

fn find(tree: &Tree) -> Vec<Finding> {
    naming(tree, "io_uring", SEAMS)
}

/// Every place outside `seams` where a path has the segment `word`.
pub(super) fn naming(tree: &Tree, word: &str, seams: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lexed) in tree.lexed().filter(|(path, _)| !seams.iter().any(|seam| path.starts_with(seam))) {
        for named in paths::named(&lexed.all).iter().filter(|named| named.has(word)) {
            findings.push(Finding::new(path, named.line, named.segments.join("::")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_the_ring_elsewhere_is_found() {
        let tree = Tree::of(&[
            ("shard/src/partition.rs", "// io_uring\nuse io_uring::opcode;\n"),
            ("shard/src/ring/mod.rs", "use io_uring::IoUring;\n"),
            ("bench/src/limit/echo.rs", "use io_uring::IoUring;\n"),
            ("bench/src/run.rs", "fn a(b: ::io_uring::Probe) { \"io_uring\" }\n"),
        ]);
        assert_eq!(
            find(&tree),
            [
                Finding::new("bench/src/run.rs", 1, "io_uring::Probe"),
                Finding::new("shard/src/partition.rs", 2, "io_uring::opcode"),
            ]
        );
    }
}
