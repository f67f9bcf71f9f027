//! `rot`: flips bits of a real data directory and checks that each is told or means nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use ringmain_tests::crash::broker::{self, BrokerOptions};
use ringmain_tests::rot::{self, RotOptions};
use tracing_subscriber::filter::LevelFilter;

/// Flips bits of a real data directory and checks that each is told or means nothing.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A process of the run.
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Bits to flip, one at a time.
    #[arg(long, default_value_t = 1_000)]
    flips: u64,
    /// For so many of them start a broker and read everything.
    #[arg(long, default_value_t = 30)]
    brokers: u64,
    /// Decides which bits.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the data here: a directory that does not exist or is empty, on a disk.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Be the broker.
    #[command(name = broker::MODE, hide = true)]
    Broker {
        #[arg(long)]
        data_dir: PathBuf,
        #[arg(long)]
        native: SocketAddr,
        #[arg(long)]
        shards: u16,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    match arguments.mode {
        Some(Mode::Broker { data_dir, native, shards }) => {
            broker::run(&BrokerOptions { data_dir, native, shards })
        }
        None => run(arguments),
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let Arguments { flips, brokers, seed, dir: directory, format, .. } = arguments;
    match rot::run(&RotOptions { flips, brokers, seed, directory }) {
        Ok(report) if format == Format::Json => println!("{}", report.to_json()),
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
