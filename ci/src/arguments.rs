//! The command line of `cargo ci`.

use core::fmt;

use crate::steps::{self, Step};

/// What `--help` prints, and what follows a wrong argument.
pub(crate) const USAGE: &str = "\
Usage: cargo ci [--quick | --full] [--only STEP] [--list]

Checks everything that a change must pass. The last line is `N passed, N failed, N skipped`;
the exit code is 0 only if nothing failed, and under CI=true a skip is a failure.

  --quick      format, clippy, house rules, unit tests and documentation
  --full       everything, and the README's benchmarks
  --only STEP  one step, and what it needs
  --list       print the steps that would run, and run none
  --help       this text";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Print the usage and end.
    Help,
    /// Run or list steps.
    Run(Arguments),
}

/// Which steps to take.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Only what ends within minutes.
    pub(crate) quick: bool,
    /// Also the README's blocks marked `bench`.
    pub(crate) full: bool,
    /// Print the plan instead of running it.
    pub(crate) list: bool,
    /// Run this step alone.
    pub(crate) only: Option<&'static str>,
}

/// A command line that asks for nothing we can do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    /// No such flag.
    Unknown(String),
    /// `--only` without a name behind it.
    StepMissing,
    /// `--only` with a name that no step has.
    StepUnknown(String),
    /// `--quick` and `--full` at once.
    QuickAndFull,
}

impl Arguments {
    /// Reads the words behind `cargo ci`.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Request, UsageError> {
        let mut arguments = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(Request::Help),
                "--quick" => arguments.quick = true,
                "--full" => arguments.full = true,
                "--list" => arguments.list = true,
                "--only" => {
                    let name = words.next().ok_or(UsageError::StepMissing)?;
                    let step = steps::find(&name).ok_or(UsageError::StepUnknown(name))?;
                    arguments.only = Some(step.name);
                }
                _ => return Err(UsageError::Unknown(word)),
            }
        }
        if arguments.quick && arguments.full {
            return Err(UsageError::QuickAndFull);
        }
        Ok(Request::Run(arguments))
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(out, "unknown argument {word:?}"),
            Self::StepMissing => out.write_str("--only needs the name of a step; --list prints them"),
            Self::StepUnknown(name) => {
                let names: Vec<&str> = steps::STEPS.iter().map(|step: &Step| step.name).collect();
                write!(out, "no step is called {name:?}; there are: {}", names.join(", "))
            }
            Self::QuickAndFull => out.write_str("--quick and --full exclude each other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, UsageError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        assert_eq!(parse(""), Ok(Request::Run(Arguments::default())));
        assert_eq!(parse("--quick"), Ok(Request::Run(Arguments { quick: true, ..Arguments::default() })));
        assert_eq!(
            parse("--full --list --only rules"),
            Ok(Request::Run(Arguments { full: true, list: true, only: Some("rules"), quick: false }))
        );
        assert_eq!(parse("--quick --help"), Ok(Request::Help));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse("--fast"), Err(UsageError::Unknown("--fast".to_owned())));
        assert_eq!(parse("--only"), Err(UsageError::StepMissing));
        assert_eq!(parse("--only lint"), Err(UsageError::StepUnknown("lint".to_owned())));
        assert_eq!(parse("--quick --full"), Err(UsageError::QuickAndFull));
    }
}
