//! A file that outgrows its concept is split while that is still easy.

use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule =
    Rule { name: "file-length", text: "no Rust file is longer than 600 lines", find };

const LINES_MAX: usize = 600;

fn find(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|&(_, lines)| lines > LINES_MAX)
        .map(|(path, lines)| Finding::new(path, LINES_MAX + 1, format!("{lines} lines")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found() {
        let longest = "\n".repeat(LINES_MAX);
        let longer = "\n".repeat(LINES_MAX + 1);
        let tree = Tree::of(&[("a/src/lib.rs", &longest), ("b/src/lib.rs", &longer), ("README.md", &longer)]);
        assert_eq!(find(&tree), [Finding::new("b/src/lib.rs", 601, "601 lines")]);
    }
}
