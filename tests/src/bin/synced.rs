//! `synced`: checks with the disk's own counters that every acknowledged record was written and synced.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use ringmain_tests::crash::broker::{self, BrokerOptions};
use ringmain_tests::crash::synced::{self, SyncedOptions};
use tracing_subscriber::filter::LevelFilter;

/// Checks with the disk's own counters that every acknowledged record was written and synced.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A process of the run.
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Records to write, one in flight.
    #[arg(long, default_value_t = 1_000)]
    records: u64,
    /// Keep the data here: a directory that does not exist or is empty, on a disk.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
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
    let Arguments { records, dir: directory, format, .. } = arguments;
    let checked = synced::run(&SyncedOptions { records, directory }).and_then(|report| match report {
        Some(report) => {
            match format {
                Format::Text => println!("{report}"),
                Format::Json => println!("{}", report.to_json()),
            }
            report.check()
        }
        // Told already.
        None => Ok(()),
    });
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
