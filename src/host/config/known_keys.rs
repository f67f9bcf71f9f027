//! Every topic key of Kafka: those that this version can read, and those that are only known by name.

use core::fmt::Display;

use ringmain_wire::batch::TimestampType;

use super::{MAX_MESSAGE_BYTES_LIMIT, SEGMENT_BYTES_MIN, TopicSettings};

/// A key with a meaning.
pub(super) struct Setting {
    /// Kafka's name for it.
    pub(super) key: &'static str,
    /// Reads a value into its field.
    pub(super) read: fn(&mut TopicSettings, &str) -> Result<(), Refused>,
}

/// Why a value is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not one of these.
    Expected(String),
    /// Kafka has it; here this one is to be used.
    NotInThisVersion {
        /// What to use.
        instead: &'static str,
    },
}

impl Refused {
    /// The same for people; a remedy stands behind a semicolon.
    pub(super) fn describe(&self, key: &str, value: &str) -> String {
        match self {
            Self::Expected(expected) => format!("{key} is {expected}, not {value:?}"),
            Self::NotInThisVersion { instead } => {
                format!("{key}={value} is not in this version; use {instead}")
            }
        }
    }
}

/// Those that this version can read.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "cleanup.policy",
        read: |_, value| {
            one_of(value, &[("delete", ())], &["compact", "compact,delete", "delete,compact"], "delete")
        },
    },
    Setting {
        key: "compression.type",
        read: |_, value| {
            let codecs = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];
            one_of(value, &[("producer", ())], &codecs, "producer")
        },
    },
    Setting {
        key: "flush.messages",
        read: |settings, value| put(&mut settings.flush_messages, number(value, 1, LONG_MAX)),
    },
    Setting {
        key: "flush.ms",
        read: |settings, value| put(&mut settings.flush_ms, number(value, 0, LONG_MAX)),
    },
    Setting {
        key: "max.message.bytes",
        read: |settings, value| {
            put(&mut settings.max_message_bytes, number(value, 1, MAX_MESSAGE_BYTES_LIMIT))
        },
    },
    Setting {
        key: "message.timestamp.type",
        read: |settings, value| {
            let types =
                [("CreateTime", TimestampType::CreateTime), ("LogAppendTime", TimestampType::LogAppendTime)];
            put(&mut settings.timestamp_type, one_of(value, &types, &[], "CreateTime"))
        },
    },
    Setting {
        key: "retention.bytes",
        read: |settings, value| put(&mut settings.retention_bytes, number_or_no_limit(value)),
    },
    Setting {
        key: "retention.ms",
        read: |settings, value| put(&mut settings.retention_ms, number_or_no_limit(value)),
    },
    Setting {
        key: "segment.bytes",
        read: |settings, value| put(&mut settings.segment_bytes, segment_bytes(value)),
    },
    Setting {
        key: "segment.ms",
        read: |settings, value| put(&mut settings.segment_ms, number(value, 1, LONG_MAX)),
    },
];

/// Those that are only known by name.
pub(super) const FOREIGN_KEYS: &[&str] = &[
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.storage.enable",
    "segment.index.bytes",
    "segment.jitter.ms",
    "unclean.leader.election.enable",
];

/// Largest value of Kafka's type `int`.
const INT_MAX: u64 = 2_147_483_647;
/// Largest value of Kafka's type `long`.
const LONG_MAX: u64 = 9_223_372_036_854_775_807;

fn put<T>(field: &mut T, read: Result<T, Refused>) -> Result<(), Refused> {
    *field = read?;
    Ok(())
}

/// A number as it is printed: no sign, no leading zeroes.
fn number<T>(value: &str, min: T, max: T) -> Result<T, Refused>
where
    T: core::str::FromStr + PartialOrd + Display,
{
    match value.parse::<T>() {
        Ok(number) if number >= min && number <= max && number.to_string() == value => Ok(number),
        _ => Err(Refused::Expected(format!("a number from {min} to {max}"))),
    }
}

fn number_or_no_limit(value: &str) -> Result<Option<u64>, Refused> {
    match value {
        "-1" => Ok(None),
        _ => number(value, 0, LONG_MAX)
            .map(Some)
            .map_err(|_| Refused::Expected(format!("a number from 0 to {LONG_MAX}, or -1 for no limit"))),
    }
}

/// The smallest is not Kafka's, and says so.
fn segment_bytes(value: &str) -> Result<u64, Refused> {
    number(value, SEGMENT_BYTES_MIN, INT_MAX).map_err(|_| {
        let expected = format!("a number from {SEGMENT_BYTES_MIN} (the least in this version) to {INT_MAX}");
        Refused::Expected(expected)
    })
}

/// The meaning of a word; `absent` are words that only Kafka knows.
fn one_of<T: Copy>(
    value: &str,
    words: &[(&'static str, T)],
    absent: &[&str],
    instead: &'static str,
) -> Result<T, Refused> {
    if let Some(&(_, meaning)) = words.iter().find(|(word, _)| *word == value) {
        return Ok(meaning);
    }
    if absent.contains(&value) {
        return Err(Refused::NotInThisVersion { instead });
    }
    let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    Err(Refused::Expected(words.join(" or ")))
}
