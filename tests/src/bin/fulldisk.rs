//! `fulldisk`: a real broker on a small filesystem that fills up, and on one whose device fails.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ringmain_tests::crash::broker::{self, BrokerOptions};
use ringmain_tests::fulldisk::{failing, full};
use ringmain_tests::fulldisk::{obstacle, run_directory};
use ringmain_tests::siege::error::SiegeError;
use ringmain_tests::skip::skip;
use tracing_subscriber::filter::LevelFilter;

/// A real broker on a small filesystem that fills up, and on one whose device fails. Needs root and loop devices.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// A process of the run.
    #[command(subcommand)]
    mode: Option<Mode>,
    /// How often the disk fills up.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// How often the device fails.
    #[arg(long, default_value_t = 10)]
    failures: u64,
    /// Decides at which moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    let Arguments { mode, rounds, failures, seed } = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    if let Some(Mode::Broker { data_dir, native, shards }) = mode {
        return broker::run(&BrokerOptions { data_dir, native, shards });
    }
    if let Some(why) = obstacle() {
        skip("fulldisk", &why);
        return ExitCode::SUCCESS;
    }
    match run(rounds, failures, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rounds: u64, failures: u64, seed: u64) -> Result<(), SiegeError> {
    let directory = run_directory()?;
    full::run(&directory, seed, rounds)?;
    failing::run(&directory, seed, failures)?;
    // Kept when something went wrong: the broker's log is in it.
    let _ = fs::remove_dir_all(&directory);
    Ok(())
}
