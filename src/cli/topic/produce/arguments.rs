//! The arguments of `topic produce`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ringmain_client::{Acks, Codec};
use ringmain_wire::ids::PartitionIndex;

use super::record::{Header, RecordRules};
use crate::cli::arguments::BrokerArguments;
use crate::cli::escapes::unescape;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seq 1 1000000 | ringmain topic produce orders
  echo 'customer-7:two coffees' | ringmain topic produce orders -K :
  ringmain topic produce orders access.log -H source=nginx -z zstd
  ringmain topic produce orders --report < orders.txt   # PARTITION OFFSET VALUE of each record

Exit code 0 means that every record was acknowledged; with the default --acks all that is: synced to disk.")]
pub(in crate::cli) struct ProduceArguments {
    /// The topic.
    pub(super) topic: String,
    /// Files to read, - for stdin [default: stdin].
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// What divides key and value; \t, \n, \xNN and so on are understood.
    #[arg(short = 'K', long, value_name = "DELIM", value_parser = parse_delimiter, conflicts_with = "key", allow_hyphen_values = true)]
    key_delimiter: Option<Delimiter>,
    /// The key of every record.
    #[arg(short = 'k', long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// The partition of every record [default: by the key; without one, any].
    #[arg(short = 'p', long, value_name = "PARTITION")]
    pub(super) partition: Option<u32>,
    /// A header of every record; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = Header::parse)]
    headers: Vec<Header>,
    /// Send empty values as null.
    #[arg(short = 'Z', long)]
    empty_is_null: bool,
    /// What ends a record [default: \n].
    #[arg(short = 'D', long, value_name = "DELIM", value_parser = parse_delimiter, allow_hyphen_values = true)]
    delimiter: Option<Delimiter>,
    /// What is waited for: nothing, the leader, or every in-sync replica, each with the record on stable storage.
    #[arg(long, value_enum, default_value_t = AcksArgument::All)]
    acks: AcksArgument,
    /// How batches are compressed.
    #[arg(short = 'z', long = "compression", value_name = "CODEC", value_enum, default_value_t = CodecArgument::None)]
    codec: CodecArgument,
    /// Print `PARTITION OFFSET VALUE` for each record as soon as it is acknowledged.
    #[arg(long)]
    pub(super) report: bool,
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
}

/// Bytes, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delimiter(Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AcksArgument {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all")]
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CodecArgument {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl ProduceArguments {
    /// What is waited for.
    pub(super) const fn acks(&self) -> Acks {
        match self.acks {
            AcksArgument::None => Acks::None,
            AcksArgument::Leader => Acks::Leader,
            AcksArgument::All => Acks::All,
        }
    }

    /// How batches are compressed.
    pub(super) const fn codec(&self) -> Codec {
        match self.codec {
            CodecArgument::None => Codec::None,
            CodecArgument::Gzip => Codec::Gzip,
            CodecArgument::Snappy => Codec::Snappy,
            CodecArgument::Lz4 => Codec::Lz4,
            CodecArgument::Zstd => Codec::Zstd,
        }
    }

    /// What ends a record.
    pub(super) fn delimiter(&self) -> Vec<u8> {
        self.delimiter.as_ref().map_or_else(|| b"\n".to_vec(), |delimiter| delimiter.0.clone())
    }

    /// How every line becomes a record.
    pub(super) fn rules(&self) -> RecordRules {
        RecordRules {
            key_delimiter: self.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
            key: self.key.as_ref().map(|key| key.clone().into_bytes()),
            partition: self.partition.map(PartitionIndex),
            headers: self.headers.clone(),
            empty_is_null: self.empty_is_null,
        }
    }
}

fn parse_delimiter(text: &str) -> Result<Delimiter, String> {
    match unescape(text)? {
        bytes if bytes.is_empty() => Err("must not be empty".to_owned()),
        bytes => Ok(Delimiter(bytes)),
    }
}
