//! `crash`: kills the broker with SIGKILL under traffic, again and again, and checks that it keeps its promises.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use ringmain_tests::crash::broker::{self, BrokerOptions};
use ringmain_tests::crash::kills::{self, KillOptions};
use ringmain_tests::crash::producer::{self, ProducerOptions};
use tracing_subscriber::filter::LevelFilter;

/// Kills the broker with SIGKILL under traffic, again and again, and checks that it keeps its promises.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A process of the run.
    #[command(subcommand)]
    mode: Option<Mode>,
    /// How often to kill it.
    #[arg(long, default_value_t = 10)]
    kills: u64,
    /// Decides when, what is torn, and how many shards there are next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send the producer through a proxy that cuts its connections.
    #[arg(long)]
    proxy: bool,
    /// Tear groups that were in flight.
    #[arg(long)]
    torn: bool,
    /// Let old records go, topics come and go, and damage index files, all beside the orders.
    #[arg(long)]
    churn: bool,
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
    /// Be the producer.
    #[command(name = producer::MODE, hide = true)]
    Producer {
        #[arg(long)]
        broker: SocketAddr,
        #[arg(long)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    match arguments.mode {
        Some(Mode::Broker { data_dir, native, shards }) => {
            broker::run(&BrokerOptions { data_dir, native, shards })
        }
        Some(Mode::Producer { broker, seed }) => producer::run(&ProducerOptions { broker, seed }),
        None => run(arguments),
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let Arguments { kills, seed, proxy, torn, churn, dir: directory, format, .. } = arguments;
    match kills::run(&KillOptions { kills, seed, proxy, torn, churn, directory }) {
        Ok(report) if format == Format::Json => println!("{}", report.to_json()),
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
