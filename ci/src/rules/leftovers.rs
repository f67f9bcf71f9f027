//! Work that is not done, tests that nobody runs, and waits that hope, do not land.

use super::lexer::{Kind, starts_with};
use super::tree::Tree;
use super::{Finding, Rule, paths};

pub(super) const RULE: Rule =
    Rule { name: "leftovers", text: "no todo!, unimplemented!, #[ignore] or thread::sleep", find };

const PATTERNS: &[(&[Kind<'static>], &str)] = &[
    (&[Kind::Word("todo"), Kind::Mark('!')], "todo!"),
    (&[Kind::Word("unimplemented"), Kind::Mark('!')], "unimplemented!"),
    (&[Kind::Mark('#'), Kind::Mark('['), Kind::Word("ignore")], "#[ignore]"),
];

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lexed) in tree.lexed() {
        for (place, token) in lexed.all.iter().enumerate() {
            for (pattern, what) in PATTERNS {
                if starts_with(&lexed.all[place..], pattern) {
                    findings.push(Finding::new(path, token.line, *what));
                }
            }
        }
        for named in paths::named(&lexed.all).iter().filter(|named| named.has("thread::sleep")) {
            findings.push(Finding::new(path, named.line, "thread::sleep"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_found_in_product_and_tests() {
        let tree = Tree::of(&[
            ("a/src/lib.rs", "fn a() { todo!() }\n#[cfg(test)]\n#[ignore = \"slow\"]\nfn b() {}\n"),
            (
                "a/tests/b.rs",
                "use std::thread::{self, sleep};\nfn c() { thread::sleep(d); unimplemented!(\"e\") }\n",
            ),
        ]);
        let found: Vec<(usize, String)> = find(&tree).into_iter().map(|it| (it.line, it.what)).collect();
        let expected = [
            (1, "todo!"),
            (3, "#[ignore]"),
            (2, "unimplemented!"),
            (1, "thread::sleep"),
            (2, "thread::sleep"),
        ];
        assert_eq!(found, expected.map(|(line, what)| (line, what.to_owned())));
    }

    #[test]
    fn talking_about_them_is_fine() {
        let tree = Tree::of(&[(
            "a/src/lib.rs",
            "// todo!()\nfn ignore(todo: &str) { tokio::time::sleep(\"todo!\") }\n",
        )]);
        assert_eq!(find(&tree), []);
    }
}
