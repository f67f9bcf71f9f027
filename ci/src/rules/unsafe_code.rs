//! Every `unsafe` is counted, file by file, so that a further one is seen by whoever reads the change.

use super::lexer::Kind;
use super::tree::Tree;
use super::{Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "unsafe-code",
    text: "`unsafe` stands only where the exceptions say how often and why",
    find,
};

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lexed) in tree.lexed() {
        for token in lexed.all.iter().filter(|token| token.kind == Kind::Word("unsafe")) {
            findings.push(Finding::new(path, token.line, "unsafe"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_product_and_tests() {
        let text = "// unsafe\n#![deny(unsafe_code)]\nunsafe impl Send for A {}\n#[cfg(test)]\nfn b() { unsafe { c() } }\n";
        let found = find(&Tree::of(&[("shard/src/lib.rs", text)]));
        assert_eq!(
            found,
            [Finding::new("shard/src/lib.rs", 3, "unsafe"), Finding::new("shard/src/lib.rs", 5, "unsafe")]
        );
    }
}
