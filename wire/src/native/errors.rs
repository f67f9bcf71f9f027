//! Error codes that travel in answers, grouped by who has to act.

use core::fmt;

/// What an answer says went wrong. The number is the wire form and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum ErrorCode {
    /// Nothing went wrong.
    None = 0,

    // The request itself: sending it again unchanged fails again.
    /// The frame or its body cannot be parsed.
    MalformedRequest = 1,
    /// No common protocol version, or an API that this version does not have.
    UnsupportedVersion = 2,
    /// The API is known and refused: not in this version.
    Unsupported = 3,
    /// A value is outside what is allowed; the message names it.
    InvalidRequest = 4,
    /// A topic name with characters or a length that are not allowed.
    InvalidTopicName = 5,
    /// A topic setting with an unknown key, a key without effect, or a value that is not allowed.
    InvalidConfig = 6,
    /// A partition count or replication factor that is not allowed.
    InvalidPartitions = 7,
    /// A topic of that name exists.
    TopicExists = 8,
    /// No such topic or partition.
    UnknownTopicOrPartition = 9,
    /// The offset lies below the log start or above the end.
    OffsetOutOfRange = 10,
    /// A batch that breaks the rules of its format.
    InvalidBatch = 11,
    /// A batch whose checksum is wrong.
    CorruptBatch = 12,
    /// A batch or frame above the configured size.
    MessageTooLarge = 13,
    /// The producer's sequence leaves a gap.
    OutOfOrderSequence = 14,
    /// A newer incarnation of this producer exists.
    ProducerFenced = 15,
    /// Nothing is known of this producer on this partition and its sequence does not begin at 0.
    UnknownProducer = 16,
    /// A duplicate of a batch older than the ones remembered; it was stored, its offset is no longer known.
    DuplicateSequence = 17,
    /// A timestamp outside the allowed window.
    InvalidTimestamp = 18,

    // Our state: the same request may succeed later or elsewhere.
    /// This shard or node does not lead the partition; refresh the metadata.
    NotLeader = 32,
    /// The client knows a newer leader epoch than this node.
    UnknownLeaderEpoch = 33,
    /// The client's leader epoch is outdated; refresh the metadata.
    FencedLeaderEpoch = 34,
    /// The node is stopping.
    ShuttingDown = 35,
    /// The answer did not come within the request's time limit; a produce may or may not have been stored.
    TimedOut = 36,
    /// The shard's memory or log budget, or the descriptors of its process, are used up; back off.
    OverBudget = 37,
    /// The disk has no room for more records; reads and deletes work.
    DiskFull = 38,
    /// The partition was found damaged and is read-only until it is repaired.
    PartitionDamaged = 39,
    /// Storage failed; the node is stopping.
    StorageFailed = 40,
    /// A bug or a state that should not exist; the message says more.
    Internal = 63,
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request is wrong: do not send it again unchanged.
    Caller,
    /// Send it again, after a back-off and with fresh metadata.
    Retry,
    /// The broker cannot go on.
    Broker,
}

impl ErrorCode {
    /// Every code, for tables and tests.
    pub const ALL: &'static [Self] = &[
        Self::None,
        Self::MalformedRequest,
        Self::UnsupportedVersion,
        Self::Unsupported,
        Self::InvalidRequest,
        Self::InvalidTopicName,
        Self::InvalidConfig,
        Self::InvalidPartitions,
        Self::TopicExists,
        Self::UnknownTopicOrPartition,
        Self::OffsetOutOfRange,
        Self::InvalidBatch,
        Self::CorruptBatch,
        Self::MessageTooLarge,
        Self::OutOfOrderSequence,
        Self::ProducerFenced,
        Self::UnknownProducer,
        Self::DuplicateSequence,
        Self::InvalidTimestamp,
        Self::NotLeader,
        Self::UnknownLeaderEpoch,
        Self::FencedLeaderEpoch,
        Self::ShuttingDown,
        Self::TimedOut,
        Self::OverBudget,
        Self::DiskFull,
        Self::PartitionDamaged,
        Self::StorageFailed,
        Self::Internal,
    ];

    /// The wire form.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code behind a wire number; a number from a newer broker is `None`.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// Who has to act.
    pub const fn blame(self) -> Blame {
        match self {
            Self::NotLeader
            | Self::UnknownLeaderEpoch
            | Self::FencedLeaderEpoch
            | Self::ShuttingDown
            | Self::TimedOut
            | Self::OverBudget
            | Self::DiskFull => Blame::Retry,
            // A topic that was just created may not be known everywhere yet, but the native protocol answers a
            // creation only when every shard knows it, so an unknown topic is the caller's.
            Self::StorageFailed | Self::Internal | Self::PartitionDamaged => Blame::Broker,
            _ => Blame::Caller,
        }
    }

    /// A stable lower-case name, as `--format json` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MalformedRequest => "malformed_request",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Unsupported => "unsupported",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidTopicName => "invalid_topic_name",
            Self::InvalidConfig => "invalid_config",
            Self::InvalidPartitions => "invalid_partitions",
            Self::TopicExists => "topic_exists",
            Self::UnknownTopicOrPartition => "unknown_topic_or_partition",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::InvalidBatch => "invalid_batch",
            Self::CorruptBatch => "corrupt_batch",
            Self::MessageTooLarge => "message_too_large",
            Self::OutOfOrderSequence => "out_of_order_sequence",
            Self::ProducerFenced => "producer_fenced",
            Self::UnknownProducer => "unknown_producer",
            Self::DuplicateSequence => "duplicate_sequence",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::NotLeader => "not_leader",
            Self::UnknownLeaderEpoch => "unknown_leader_epoch",
            Self::FencedLeaderEpoch => "fenced_leader_epoch",
            Self::ShuttingDown => "shutting_down",
            Self::TimedOut => "timed_out",
            Self::OverBudget => "over_budget",
            Self::DiskFull => "disk_full",
            Self::PartitionDamaged => "partition_damaged",
            Self::StorageFailed => "storage_failed",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_has_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert!(names.insert(code.name()), "{code} named twice");
        }
        assert_eq!(ErrorCode::from_number(9999), None);
    }
}
