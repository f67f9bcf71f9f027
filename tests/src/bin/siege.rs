//! `siege`: besieges a real broker with what its clients should never do, or never that much of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use ringmain_tests::siege::broker::{self, BrokerOptions};
use ringmain_tests::siege::bulk::{self, BulkOptions};
use ringmain_tests::siege::cold::{self, ColdOptions};
use ringmain_tests::siege::error::SiegeError;
use ringmain_tests::siege::frames::{self, FramesOptions};
use ringmain_tests::siege::goals::{Format, Judgement};
use ringmain_tests::siege::partitions::{self, PartitionsOptions};
use ringmain_tests::siege::replay::{self, ReplayOptions};
use ringmain_tests::siege::settling::{self, SettlingOptions};
use ringmain_tests::siege::stalled::{self, StalledOptions};
use tracing_subscriber::filter::LevelFilter;

/// Besieges a real broker with what its clients should never do, or never that much of.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    siege: Siege,
    /// Keep the data here: a directory that does not exist or is empty, on a disk.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// How figures with goals are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    format: Output,
    /// Fail where a goal is missed at all, not only where it is missed by far: for a machine that does nothing else.
    #[arg(long, global = true)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Siege {
    /// Random, truncated, flipped and oversized frames over all native ports.
    Frames {
        /// How many.
        #[arg(default_value_t = 1_000_000)]
        frames: u64,
        /// Decides all of them.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Clients that stall in the middle of a large frame, and clients that never read what they fetch.
    Stalled {
        /// As many of each.
        #[arg(long, default_value_t = 100)]
        clients: usize,
        /// For how long.
        #[arg(long, default_value_t = 45)]
        seconds: u64,
    },
    /// Far more data than memory, written, and read back while a client goes on.
    Bulk {
        /// MiB of records to be written.
        #[arg(long, default_value_t = 8 << 10)]
        mebibytes: u64,
        /// MiB of memory for records, a shard.
        #[arg(long, default_value_t = 256)]
        memory_mebibytes: usize,
        /// MiB of log, a shard.
        #[arg(long, default_value_t = 512)]
        log_mebibytes: u64,
    },
    /// Many partitions on one node: creation, start, stop, latency, idleness and memory, each beside its goal.
    Partitions {
        /// How many.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        partitions: u32,
        /// Over how many topics.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        topics: u32,
    },
    /// Old data read through the broker and past it, beside a client that produces.
    Cold {
        /// MiB of records to be read.
        #[arg(long, default_value_t = 2 << 10)]
        mebibytes: u64,
    },
    /// A start after `kill -9` with much log to replay.
    Replay {
        /// MiB of records in the log.
        #[arg(long, default_value_t = 1 << 10)]
        mebibytes: u64,
    },
    /// Latencies while records are settled, and while they are not.
    Settling {
        /// MiB produced in a second.
        #[arg(long, default_value_t = 16)]
        rate: u32,
        /// For how long, each.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Small versions of the first two, for every run of `cargo ci`.
    Brief,
    /// Be the broker.
    #[command(name = broker::MODE, hide = true)]
    Broker {
        #[arg(long)]
        data_dir: PathBuf,
        #[arg(long)]
        native: SocketAddr,
        #[arg(long)]
        shards: u16,
        #[arg(long)]
        memory: usize,
        #[arg(long)]
        log_size: u64,
    },
}

fn main() -> ExitCode {
    let Arguments { siege, dir, format, strict } = Arguments::parse();
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).init();
    if let Siege::Broker { data_dir, native, shards, memory, log_size } = siege {
        let (memory_bytes, log_bytes) = (memory, log_size);
        return broker::run(BrokerOptions { data_dir, native, shards, memory_bytes, log_bytes });
    }
    let format = match format {
        Output::Text => Format::Text,
        Output::Json => Format::Json,
    };
    match lay(siege, dir, Judgement { format, strict }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn lay(siege: Siege, directory: Option<PathBuf>, judgement: Judgement) -> Result<(), SiegeError> {
    match siege {
        Siege::Frames { frames, seed } => {
            let calm = Duration::from_secs(5);
            frames::run(&FramesOptions { frames, seed, calm, directory })?;
        }
        Siege::Stalled { clients, seconds } => {
            let options = StalledOptions {
                clients,
                stalled: Duration::from_secs(seconds),
                data_bytes: 512 << 20,
                calm: Duration::from_secs(5),
                directory,
            };
            stalled::run(&options)?;
        }
        Siege::Bulk { mebibytes, memory_mebibytes, log_mebibytes } => bulk::run(&BulkOptions {
            bytes: mebibytes << 20,
            memory_bytes: memory_mebibytes << 20,
            log_bytes: log_mebibytes << 20,
            directory,
        })?,
        Siege::Partitions { partitions, topics } => {
            partitions::run(&PartitionsOptions { partitions, topics, judgement, directory })?;
        }
        Siege::Cold { mebibytes } => {
            cold::run(&ColdOptions { bytes: mebibytes << 20, judgement, directory })?;
        }
        Siege::Replay { mebibytes } => {
            replay::run(&ReplayOptions { bytes: mebibytes << 20, judgement, directory })?;
        }
        Siege::Settling { rate: rate_mebibytes, seconds } => {
            let time = Duration::from_secs(seconds);
            settling::run(&SettlingOptions { rate_mebibytes, time, judgement, directory })?;
        }
        Siege::Brief => {
            let calm = Duration::from_millis(1_500);
            let within = |name: &str| directory.as_ref().map(|directory| directory.join(name));
            let options = FramesOptions { frames: 20_000, seed: 1, calm, directory: within("frames") };
            frames::run(&options)?;
            let options = StalledOptions {
                clients: 100,
                stalled: Duration::from_secs(2),
                data_bytes: 128 << 20,
                calm,
                directory: within("stalled"),
            };
            stalled::run(&options)?;
        }
        Siege::Broker { .. } => unreachable!("taken above"),
    }
    Ok(())
}
