//! The house rules: what the compiler cannot hold, held by code that is tested itself.
//!
//! A rule finds places; [`exceptions`] says how many of them each file is allowed. A further rule is a file here with a
//! `RULE` in it and a row in [`RULES`].

mod arrows;
mod background_seam;
mod dependency_table;
mod documents;
mod exceptions;
mod file_length;
mod first_lines;
mod leftovers;
mod lexer;
mod logic_without_io;
mod manifest;
mod paths;
mod ring_seam;
mod tree;
mod unsafe_code;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use self::exceptions::Exceptions;
use self::tree::Tree;
use crate::report::{Ended, Tally};

/// Every rule, in the order in which they are reported.
const RULES: &[Rule] = &[
    ring_seam::RULE,
    background_seam::RULE,
    logic_without_io::RULE,
    arrows::RULE,
    dependency_table::RULE,
    file_length::RULE,
    first_lines::RULE,
    leftovers::RULE,
    documents::RULE,
    unsafe_code::RULE,
];

/// Something that must hold everywhere in the tree.
struct Rule {
    /// What the exceptions call it.
    name: &'static str,
    /// The rule itself, in words.
    text: &'static str,
    /// The places where it is broken.
    find: fn(&Tree) -> Vec<Finding>,
}

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// File, from the root.
    path: String,
    /// Line, from 1.
    line: usize,
    /// What stands there.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

/// Holds the tree at `root` against every rule; each counts as one check, and so does the list of exceptions.
pub(crate) fn check_tree(root: &Path) -> io::Result<Ended> {
    let tree = Tree::read(root)?;
    let exceptions = match Exceptions::parse(tree.text(exceptions::PATH)) {
        Ok(exceptions) => exceptions,
        Err(error) => {
            let complaint = format!("{}: {error}", exceptions::PATH);
            return Ok(Ended { tally: Tally::FAILED, complaints: vec![complaint], ..Ended::default() });
        }
    };
    let mut ended = Ended::default();
    for rule in RULES {
        let complaints = complaints(rule, &tree, &exceptions);
        count(&mut ended, rule.name, rule.text, complaints);
    }
    let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    let mut complaints = exceptions.inconsistencies(&names);
    if let Some(earlier) = exceptions::committed_before(root, tree.text(exceptions::PATH)) {
        complaints.extend(exceptions.growth_since(&earlier));
    }
    count(&mut ended, "exceptions", "the list of exceptions adds up and only shrinks", complaints);
    Ok(ended)
}

fn count(ended: &mut Ended, name: &str, text: &str, complaints: Vec<String>) {
    if complaints.is_empty() {
        ended.tally += Tally::PASSED;
        return;
    }
    ended.tally += Tally::FAILED;
    ended.complaints.push(format!("{name}: {text}"));
    ended.complaints.extend(complaints.into_iter().map(|complaint| format!("  {complaint}")));
}

/// What remains of a rule's findings after its exceptions; an exception that is larger than needed is a complaint too.
fn complaints(rule: &Rule, tree: &Tree, exceptions: &Exceptions) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in (rule.find)(tree) {
        found.entry(finding.path.clone()).or_default().push(finding);
    }
    let mut complaints = Vec::new();
    for (path, findings) in &found {
        let allowed = exceptions.count(rule.name, path);
        if findings.len() > allowed {
            complaints
                .extend(findings.iter().map(|Finding { path, line, what }| format!("{path}:{line}: {what}")));
            if allowed > 0 {
                complaints.push(format!("{path}: {} found, {allowed} excepted", findings.len()));
            }
        }
    }
    for (path, allowed) in exceptions.files(rule.name) {
        let count = found.get(path).map_or(0, Vec::len);
        if count < allowed {
            complaints.push(format!(
                "{}: {path}: {allowed} excepted, {count} found: exceptions may only shrink, lower it to {count}",
                exceptions::PATH
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = unsafe_code::RULE;
    const TWICE: &[(&str, &str)] = &[("shard/src/ring/a.rs", "unsafe fn a() {}\nunsafe fn b() {}\n")];

    fn complaints_with(count: usize) -> Vec<String> {
        let text = format!(
            "[unsafe-code]\ntotal = {count}\nfiles.\"shard/src/ring/a.rs\" = {{ count = {count}, reason = \"seam\" }}\n"
        );
        complaints(&RULE, &Tree::of(TWICE), &Exceptions::parse(&text).unwrap())
    }

    #[test]
    fn findings_without_an_exception_are_listed() {
        let complaints = complaints(&RULE, &Tree::of(TWICE), &Exceptions::default());
        assert_eq!(complaints, ["shard/src/ring/a.rs:1: unsafe", "shard/src/ring/a.rs:2: unsafe"]);
    }

    #[test]
    fn the_exact_count_passes() {
        assert_eq!(complaints_with(2), Vec::<String>::new());
    }

    #[test]
    fn one_more_than_excepted_fails() {
        assert_eq!(complaints_with(1).last().unwrap(), "shard/src/ring/a.rs: 2 found, 1 excepted");
    }

    #[test]
    fn one_fewer_than_excepted_must_be_lowered() {
        let complaints = complaints_with(3);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].ends_with("lower it to 2"), "{}", complaints[0]);
    }

    #[test]
    fn rule_names_are_unique() {
        for (place, rule) in RULES.iter().enumerate() {
            assert!(
                RULES[..place].iter().all(|other| other.name != rule.name),
                "{} stands there twice",
                rule.name
            );
        }
    }
}
