//! What stands on the command line, apart from the arguments of single commands.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringmain_client::Endpoint;
use ringmain_client::driver::PORT_DEFAULT;

use super::bench::BenchVerb;
use super::cluster::ClusterVerb;
use super::completions::CompletionsArguments;
use super::config::ConfigVerb;
use super::debug::DebugVerb;
use super::demo::DemoArguments;
use super::not_yet::NotYet;
use super::serve::ServeArguments;
use super::time::parse_duration;
use super::topic::TopicVerb;

/// A durable message broker with a core a shard: every acknowledged record is on stable storage.
#[derive(Debug, Parser)]
#[command(name = "ringmain", version, propagate_version = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) output: OutputArguments,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How every command speaks.
#[derive(Clone, Debug, Args)]
pub(super) struct OutputArguments {
    /// How results and errors are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    pub(super) format: Format,
    /// What is logged to stderr: error, warn, info, debug or trace [default: info for serve, else error].
    #[arg(long, global = true, value_name = "LEVEL", value_parser = parse_log_level, help_heading = "Output")]
    pub(super) log: Option<String>,
    /// How it is logged.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    pub(super) log_format: Format,
}

/// The forms of results, errors and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: one document, or one object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a broker.
    Serve(ServeArguments),
    /// See it work: a broker, live orders, and their latencies, until Ctrl-C.
    Demo(DemoArguments),
    /// Topics and their records.
    #[command(arg_required_else_help = true)]
    Topic {
        #[command(subcommand)]
        verb: TopicVerb,
    },
    /// Measure a broker, or what this host could do at best.
    #[command(arg_required_else_help = true)]
    Bench {
        #[command(subcommand)]
        verb: BenchVerb,
    },
    /// The cluster, its nodes and their shards.
    #[command(arg_required_else_help = true)]
    Cluster {
        #[command(subcommand)]
        verb: ClusterVerb,
    },
    /// What a broker is started with, and where that is said.
    #[command(arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Look into the files of a data directory.
    #[command(arg_required_else_help = true)]
    Debug {
        #[command(subcommand)]
        verb: DebugVerb,
    },
    /// Print what a shell needs to complete commands and flags.
    Completions(CompletionsArguments),
    #[command(flatten)]
    NotYet(NotYet),
}

/// How to reach a broker.
#[derive(Clone, Debug, Args)]
pub(super) struct BrokerArguments {
    /// Native address of the broker, or several separated by commas.
    #[arg(
        long,
        env = "RINGMAIN_BROKER",
        default_value = "127.0.0.1:7092",
        value_name = "ADDR[,ADDR…]",
        value_parser = parse_brokers
    )]
    pub(super) broker: String,
    /// How long to wait for anything, in seconds or with a unit (500ms, 2m) [default: 30, to produce: 120].
    #[arg(long, value_name = "SECONDS", value_parser = parse_timeout)]
    pub(super) timeout: Option<Duration>,
}

/// Whether errors about the arguments themselves have to be JSON: asked before they could be parsed.
pub(super) fn wants_json(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    let mut previous: Option<&OsString> = None;
    for argument in own {
        let follows = previous.is_some_and(|previous| previous == "--format") && argument == "json";
        if follows || argument == "--format=json" {
            return true;
        }
        previous = Some(argument);
    }
    false
}

fn parse_brokers(text: &str) -> Result<String, String> {
    for address in text.split(',') {
        Endpoint::parse(address.trim(), PORT_DEFAULT).map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text).and_then(|timeout| {
        if timeout.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(timeout) }
    })
}

/// A level, or directives such as `info,ringmain=debug`: a bare word that is no level would silence everything.
fn parse_log_level(text: &str) -> Result<String, String> {
    const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
    let is_directive =
        |part: &str| part.contains('=') || LEVELS.contains(&part.to_ascii_lowercase().as_str());
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if text.split(',').all(is_directive) => Ok(text.to_owned()),
        _ => Err("expected error, warn, info, debug or trace".to_owned()),
    }
}
