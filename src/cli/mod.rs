//! The command line: reads arguments, runs one command, turns its end into an exit code.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 failed, 2 not understood.

mod arguments;
mod bench;
mod clock;
mod cluster;
mod completions;
mod config;
mod debug;
mod demo;
mod escapes;
mod failure;
mod not_yet;
mod output;
mod serve;
mod session;
mod size;
mod time;
mod topic;
mod tracing_setup;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::arguments::{Arguments, Command, Format, wants_json};
use self::failure::{EXIT_USAGE, Failure};

/// Runs the command that `arguments` (the program's name first) ask for and returns the process's exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => {
            let format = parsed.output.format;
            match dispatch(parsed) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.report(format),
            }
        }
        Err(error) => refuse(&error, &arguments),
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { output, command } = arguments;
    if let Some(what) = not_yet::find(&command) {
        return Err(Failure::not_in_this_version(&what));
    }
    tracing_setup::install(&output, matches!(command, Command::Serve(_)));
    match command {
        Command::Serve(serve) => serve::run(&serve, output.format),
        Command::Demo(demo) => demo::run(&demo, output.format),
        Command::Topic { verb } => topic::run(verb, output.format),
        Command::Bench { verb } => bench::run(verb, output.format),
        Command::Cluster { verb } => cluster::run(&verb, output.format),
        Command::Config { verb } => config::run(&verb, output.format),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Debug { verb } => debug::run(verb, output.format),
        Command::NotYet(_) => unreachable!("told above"),
    }
}

/// Prints help and version, or in one line what is wrong with the arguments.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let format = if wants_json(arguments) { Format::Json } else { Format::Text };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed stdout ends a command quietly.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if format == Format::Text => {
            // Without a stderr there is still the exit code.
            let _ = error.print();
            ExitCode::from(EXIT_USAGE)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("a subcommand is missing").hint(SEE_HELP).report(format)
        }
        _ => usage_failure(&error.to_string()).report(format),
    }
}

/// What clap says in paragraphs, in one line.
fn usage_failure(text: &str) -> Failure {
    let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    Failure::usage(message).hint(tip.unwrap_or(SEE_HELP))
}

/// The hint where there is no better one.
const SEE_HELP: &str = "see --help";

#[cfg(test)]
mod tests;
