//! The committed list of places that a rule lets pass: counted, with reasons, and only ever shrinking.
//!
//! A table for each rule, a row for each file:
//! ```toml
//! [unsafe-code]
//! total = 3
//! files."shard/src/ring/memory.rs" = { count = 3, reason = "the ring reads memory that the kernel wrote" }
//! ```
//! `total` is the sum of the counts. One that is larger than in the version committed before is refused, unless the
//! table's `grown` says when and why (`grown = "2026-11-23: direct writes need aligned memory"`) and is not the one
//! that stood there already: a change that grows the list shows it in words.

use core::fmt;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

/// Where the list is kept.
pub(super) const PATH: &str = "ci/exceptions.toml";

/// The whole list, by name of the rule.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    rules: BTreeMap<String, RuleExceptions>,
}

/// What one rule lets pass.
#[derive(Debug)]
struct RuleExceptions {
    total: usize,
    grown: Option<String>,
    counts: BTreeMap<String, usize>,
}

/// What is wrong with the file itself.
#[derive(Debug)]
pub(super) enum ExceptionsError {
    /// Not TOML.
    Syntax(toml::de::Error),
    /// A rule without a total.
    TotalMissing(String),
    /// A file without a count above zero or without a reason.
    Incomplete(String, String),
}

impl Exceptions {
    /// Reads the list; an empty text excepts nothing.
    pub(super) fn parse(text: &str) -> Result<Self, ExceptionsError> {
        let table: Table = text.parse().map_err(ExceptionsError::Syntax)?;
        let read = |(name, value): (String, Value)| parse_rule(&name, &value).map(|rule| (name, rule));
        Ok(Self { rules: table.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// How many findings of `rule` are let pass in the file at `path`.
    pub(super) fn count(&self, rule: &str, path: &str) -> usize {
        self.rules.get(rule).and_then(|rule| rule.counts.get(path)).copied().unwrap_or(0)
    }

    /// All files with exceptions to `rule` and how many they have.
    pub(super) fn files(&self, rule: &str) -> impl Iterator<Item = (&str, usize)> {
        self.rules
            .get(rule)
            .into_iter()
            .flat_map(|rule| &rule.counts)
            .map(|(path, &count)| (path.as_str(), count))
    }

    /// Totals that are no sums, and rules that do not exist.
    pub(super) fn inconsistencies(&self, rules: &[&str]) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, rule) in &self.rules {
            let sum: usize = rule.counts.values().sum();
            if rule.total != sum {
                complaints
                    .push(format!("{PATH}: [{name}] total = {}, but its counts add up to {sum}", rule.total));
            }
            if !rules.contains(&name.as_str()) {
                complaints.push(format!("{PATH}: no rule is called {name:?}"));
            }
        }
        complaints
    }

    /// Totals that rose since `earlier` without a word about it.
    pub(super) fn growth_since(&self, earlier: &Self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, rule) in &self.rules {
            let before = earlier.rules.get(name);
            let total_before = before.map_or(0, |before| before.total);
            let told = rule.grown.is_some() && rule.grown != before.and_then(|before| before.grown.clone());
            if rule.total > total_before && !told {
                complaints.push(format!(
                    "{PATH}: [{name}] total grew from {total_before} to {}: exceptions may only shrink; \
                     if it cannot be avoided, say so in `grown = \"DATE: why\"`",
                    rule.total
                ));
            }
        }
        complaints
    }
}

/// The newest committed list that differs from `text`; none before the first commit or without git's history.
pub(super) fn committed_before(root: &Path, text: &str) -> Option<Exceptions> {
    let history = git(root, &["log", "--format=%H", "--max-count=100", "--", PATH])?;
    let version = |commit: &str| git(root, &["show", &format!("{commit}:{PATH}")]);
    let earlier = history.lines().filter_map(version).find(|earlier| earlier != text)?;
    Exceptions::parse(&earlier).ok()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse_rule(name: &str, value: &Value) -> Result<RuleExceptions, ExceptionsError> {
    let number = |value: &Value| value.as_integer().and_then(|number| usize::try_from(number).ok());
    let total = value.get("total").and_then(number);
    let total = total.ok_or_else(|| ExceptionsError::TotalMissing(name.to_owned()))?;
    let grown = value.get("grown").and_then(Value::as_str).map(str::to_owned);
    let mut counts = BTreeMap::new();
    for (path, file) in value.get("files").and_then(Value::as_table).into_iter().flatten() {
        let count = file.get("count").and_then(number).filter(|&count| count > 0);
        let has_reason =
            file.get("reason").and_then(Value::as_str).is_some_and(|reason| !reason.trim().is_empty());
        match count {
            Some(count) if has_reason => counts.insert(path.clone(), count),
            _ => return Err(ExceptionsError::Incomplete(name.to_owned(), path.clone())),
        };
    }
    Ok(RuleExceptions { total, grown, counts })
}

impl fmt::Display for ExceptionsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => write!(out, "{error}"),
            Self::TotalMissing(rule) => write!(out, "[{rule}] needs `total`, the sum of its counts"),
            Self::Incomplete(rule, path) => {
                write!(out, "[{rule}] {path:?} needs a `count` above zero and a `reason`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "[unsafe-code]\ntotal = 3\n[unsafe-code.files]\n\
        \"a.rs\" = { count = 2, reason = \"seam\" }\n\"b.rs\" = { count = 1, reason = \"seam\" }\n";

    fn list(text: &str) -> Exceptions {
        Exceptions::parse(text).unwrap()
    }

    fn total(total: usize, grown: &str) -> Exceptions {
        list(&format!("[leftovers]\ntotal = {total}\n{grown}\n"))
    }

    #[test]
    fn counts_are_read() {
        let exceptions = list(LIST);
        assert_eq!(exceptions.count("unsafe-code", "a.rs"), 2);
        assert_eq!(exceptions.count("unsafe-code", "c.rs"), 0);
        assert_eq!(exceptions.count("leftovers", "a.rs"), 0);
        assert_eq!(exceptions.files("unsafe-code").collect::<Vec<_>>(), [("a.rs", 2), ("b.rs", 1)]);
        assert_eq!(exceptions.inconsistencies(&["unsafe-code"]), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_total_and_an_unknown_rule_are_found() {
        let exceptions = list(&LIST.replace("total = 3", "total = 2"));
        let complaints = exceptions.inconsistencies(&["leftovers"]);
        assert_eq!(complaints.len(), 2);
        assert!(complaints[0].ends_with("total = 2, but its counts add up to 3"), "{}", complaints[0]);
        assert!(complaints[1].ends_with("no rule is called \"unsafe-code\""), "{}", complaints[1]);
    }

    #[test]
    fn reasons_and_totals_are_required() {
        let parse = |text: &str| Exceptions::parse(text).map(drop);
        assert!(matches!(parse("[a]\nfiles = {}\n"), Err(ExceptionsError::TotalMissing(_))));
        for file in ["{ count = 1 }", "{ count = 1, reason = \" \" }", "{ count = 0, reason = \"b\" }", "1"] {
            let text = format!("[a]\ntotal = 1\nfiles.\"a.rs\" = {file}\n");
            assert!(matches!(parse(&text), Err(ExceptionsError::Incomplete(..))), "{file}");
        }
        assert!(matches!(parse("[a"), Err(ExceptionsError::Syntax(_))));
    }

    #[test]
    fn growth_must_be_told_each_time() {
        let told = "grown = \"2026-11-23: aligned memory\"";
        assert_eq!(total(2, "").growth_since(&total(2, "")), Vec::<String>::new());
        assert_eq!(total(1, "").growth_since(&total(2, "")), Vec::<String>::new());
        assert_eq!(total(3, "").growth_since(&total(2, "")).len(), 1);
        assert_eq!(total(1, "").growth_since(&Exceptions::default()).len(), 1);
        assert_eq!(total(3, told).growth_since(&total(2, "")), Vec::<String>::new());
        assert_eq!(total(3, told).growth_since(&total(2, told)).len(), 1);
    }
    #[test]
    fn the_version_before_is_found_in_history() {
        let root = std::env::temp_dir().join(format!("ringmain-ci-{}-history", std::process::id()));
        let file = root.join(PATH);
        std::fs::create_dir_all(root.join("ci")).unwrap();
        let commit = |text: &str| {
            std::fs::write(&file, text).unwrap();
            git(&root, &["add", "."]).unwrap();
            let author =
                ["-c", "user.name=ci", "-c", "user.email=ci@localhost", "-c", "commit.gpgsign=false"];
            git(&root, &[author.as_slice(), &["commit", "--no-verify", "-m", "list"]].concat()).unwrap();
        };
        git(&root, &["init"]).unwrap();
        let (first, second) = ("[a]\ntotal = 1\n", "[a]\ntotal = 2\n");
        assert!(committed_before(&root, first).is_none());
        commit(first);
        assert!(committed_before(&root, first).is_none());
        assert_eq!(committed_before(&root, second).unwrap().rules["a"].total, 1);
        commit(second);
        assert_eq!(committed_before(&root, second).unwrap().rules["a"].total, 1);
        std::fs::remove_dir_all(root).unwrap();
    }
}
