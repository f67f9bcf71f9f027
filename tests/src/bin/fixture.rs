//! `fixture`: data directories that are kept, of which every version reads what stands in them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ringmain_shard::store::UpkeepConfig;
use ringmain_tests::crash::broker::{self, BrokerOptions};
use ringmain_tests::fixture;
use tracing_subscriber::filter::LevelFilter;

/// Starts a broker on each data directory that is kept in tests/fixtures/, and reads everything from it.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A process of the run.
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Make one instead, of the formats that this version writes, in this folder.
    #[arg(long, value_name = "FOLDER")]
    make: Option<PathBuf>,
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
    let done = match (arguments.mode, arguments.make) {
        (Some(Mode::Broker { data_dir, native, shards }), _) => {
            let options = BrokerOptions { data_dir, native, shards };
            return broker::run_within(&options, fixture::MEMORY_BYTES, UpkeepConfig::default());
        }
        (None, Some(folder)) => fixture::make(&folder).map(|()| format!("made {}", folder.display())),
        (None, None) => {
            fixture::check().map(|names| format!("all served as they were: {}", names.join(", ")))
        }
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
