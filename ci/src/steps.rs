//! The table of everything `cargo ci` does; a further step is one row.

use core::fmt;
use core::time::Duration;

use crate::arguments::Arguments;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// Which runs include it.
    pub(crate) when: When,
    /// What is done.
    pub(crate) work: Work,
    /// After this long it is killed and has failed, compilation included.
    pub(crate) budget: Duration,
    /// A step whose product this one uses: if that failed, this one is not run.
    pub(crate) needs: Option<&'static str>,
}

/// The runs that a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Every run.
    Always,
    /// `--quick` only: a full run has a step that covers it.
    Quick,
    /// Every run but `--quick`.
    Whole,
}

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Runs a command line, which counts as one. Leading `NAME=VALUE` words are its environment.
    Check(&'static [&'static str]),
    /// Runs a command line and counts the tests in libtest's summaries.
    Tests(&'static [&'static str]),
    /// Holds the tree against the house rules, each of which counts.
    Rules,
    /// Runs the README's commands, each of which counts.
    Readme,
}

/// All steps in the order in which they run; the long proofs come last, each a row like the others.
pub(crate) const STEPS: &[Step] = &[
    check("format", When::Always, 60, &["cargo", "fmt", "--all", "--check"]),
    step("rules", When::Always, 60, Work::Rules),
    check(
        "clippy",
        When::Always,
        600,
        &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ),
    tests(
        "unit-tests",
        When::Quick,
        600,
        &["cargo", "test", "--workspace", "--lib", "--bins", "--no-fail-fast"],
    ),
    tests("tests", When::Whole, 900, &["cargo", "test", "--workspace", "--all-targets", "--no-fail-fast"]),
    tests("doc-tests", When::Whole, 300, &["cargo", "test", "--workspace", "--doc", "--no-fail-fast"]),
    check(
        "docs",
        When::Always,
        300,
        &["RUSTDOCFLAGS=-D warnings", "cargo", "doc", "--workspace", "--no-deps"],
    ),
    check("build", When::Whole, 600, &["cargo", "build", "--release", "--package", "ringmain"]),
    Step { needs: Some("build"), ..step("readme", When::Whole, 120, Work::Readme) },
    tests("loom", When::Whole, 300, LOOM),
    check("sim", When::Whole, 300, SIM),
    check("sim-replays", When::Whole, 120, SIM_REPLAYS),
    check("fuzz", When::Whole, 300, FUZZ),
    check("rot", When::Whole, 300, ROT),
    check("fixture", When::Whole, 300, &["cargo", "fixture"]),
    check("synced", When::Whole, 300, SYNCED),
    check("kill-9", When::Whole, 300, KILL_9),
    check("kill-9-proxy", When::Whole, 300, KILL_9_PROXY),
    check("fulldisk", When::Whole, 300, FULLDISK),
    check("siege", When::Whole, 300, SIEGE),
    check("bulk", When::Whole, 300, BULK),
    check("partitions", When::Whole, 300, PARTITIONS),
];

/// The flag rebuilds everything, hence a target folder of its own.
const LOOM: &[&str] = &[
    "RUSTFLAGS=--cfg loom",
    "cargo",
    "test",
    "--release",
    "--package=ringmain-shard",
    "--test=mailbox_loom",
    "--target-dir=target/loom",
];

/// Every counter of what a seed can run into has to be above zero. This and what follows is built as the tests are: nothing
/// is built twice, and overflows and what only debug builds assert are looked for too.
const SIM: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=sim", "--", "--seeds", "1000", "--jobs", "2"];

/// The same seed twice gives the same trace.
const SIM_REPLAYS: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=sim", "--", "--check-determinism", "20"];

/// Every parser over its corpus and 100,000 mutations of it; the planted bugs have to be found.
const FUZZ: &[&str] = &["cargo", "run", "--quiet", PROOFS, "--bin=fuzz"];

/// A thousand bits are `cargo rot`.
const ROT: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=rot", "--", "--flips", "200", "--brokers", "8"];

const SYNCED: &[&str] = &["cargo", "run", "--quiet", PROOFS, "--bin=synced"];

/// Ten times; a hundred times is `cargo crash --kills 100 --torn --churn`.
const KILL_9: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=crash", "--", "--kills=10", "--torn", "--churn"];

const KILL_9_PROXY: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=crash", "--", "--kills=10", "--proxy"];

/// A few of the times; 20 and 10 are `cargo fulldisk`.
const FULLDISK: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=fulldisk", "--", "--rounds", "3", "--failures", "2"];

/// Hostile and stalled clients: promises are asserted, times only printed.
const SIEGE: &[&str] = &["cargo", "run", "--quiet", PROOFS, "--bin=siege", "--", "brief"];

/// 1 GiB through 32 MiB of memory a shard; 8 GiB through 256 MiB is `cargo siege bulk`.
const BULK: &[&str] = &[
    "cargo",
    "run",
    "--quiet",
    PROOFS,
    "--bin=siege",
    "--",
    "bulk",
    "--mebibytes",
    "1024",
    "--memory-mebibytes",
    "32",
    "--log-mebibytes",
    "128",
];

/// 10,000 are `cargo siege partitions`, and `--strict` holds them to the letter of their goals.
const PARTITIONS: &[&str] =
    &["cargo", "run", "--quiet", PROOFS, "--bin=siege", "--", "partitions", "--partitions", "2000"];

/// The package of all these.
const PROOFS: &str = "--package=ringmain-tests";

/// The step called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Step> {
    STEPS.iter().find(|step| step.name == name)
}

/// The steps that these arguments ask for, in order; `--only` brings along what the step needs.
pub(crate) fn plan(arguments: &Arguments) -> Vec<&'static Step> {
    let included = |step: &&Step| match arguments.only {
        Some(only) => step.name == only || find(only).is_some_and(|chosen| chosen.needs == Some(step.name)),
        None => match step.when {
            When::Always => true,
            When::Quick => arguments.quick,
            When::Whole => !arguments.quick,
        },
    };
    STEPS.iter().filter(included).collect()
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<14} {:>4} s  ", self.name, self.budget.as_secs())?;
        match self.work {
            Work::Check(line) | Work::Tests(line) => out.write_str(&line.join(" ")),
            Work::Rules => out.write_str("the house rules of ci/src/rules/"),
            Work::Readme => out.write_str("the commands of README.md"),
        }
    }
}

const fn step(name: &'static str, when: When, budget_seconds: u64, work: Work) -> Step {
    Step { name, when, work, budget: Duration::from_secs(budget_seconds), needs: None }
}

const fn check(name: &'static str, when: When, budget_seconds: u64, line: &'static [&'static str]) -> Step {
    step(name, when, budget_seconds, Work::Check(line))
}

const fn tests(name: &'static str, when: When, budget_seconds: u64, line: &'static [&'static str]) -> Step {
    step(name, when, budget_seconds, Work::Tests(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &Arguments) -> Vec<&'static str> {
        plan(arguments).iter().map(|step| step.name).collect()
    }

    #[test]
    fn quick_is_format_rules_clippy_unit_tests_and_docs() {
        let quick = Arguments { quick: true, ..Arguments::default() };
        assert_eq!(names(&quick), ["format", "rules", "clippy", "unit-tests", "docs"]);
    }

    #[test]
    fn a_whole_run_counts_no_test_twice() {
        let whole = names(&Arguments::default());
        assert!(whole.contains(&"tests"));
        assert!(!whole.contains(&"unit-tests"));
    }

    #[test]
    fn one_step_alone_brings_what_it_needs() {
        let only = |name| Arguments { only: Some(name), ..Arguments::default() };
        assert_eq!(names(&only("readme")), ["build", "readme"]);
        assert_eq!(names(&only("unit-tests")), ["unit-tests"]);
    }

    #[test]
    fn names_are_unique_and_needs_come_earlier() {
        for (place, step) in STEPS.iter().enumerate() {
            let earlier = &STEPS[..place];
            assert!(earlier.iter().all(|other| other.name != step.name), "{} stands there twice", step.name);
            if let Some(needed) = step.needs {
                assert!(
                    earlier.iter().any(|other| other.name == needed),
                    "{needed} must precede {}",
                    step.name
                );
            }
        }
    }
}
