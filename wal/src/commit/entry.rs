//! What is appended to a log besides batches, and why it is not taken.

use core::fmt;

use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};

use crate::group::{EntryHead, EntryKind};

/// What an entry without bytes does to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionChange {
    /// The partition ends here; what stood behind is void.
    Truncate {
        /// The new end.
        offset: Offset,
        /// The leader epoch that decided so.
        leader_epoch: LeaderEpoch,
    },
    /// The partition starts here; what stood before may be deleted.
    LogStart {
        /// The new start.
        offset: Offset,
    },
    /// The partition is gone from this node.
    PartitionDrop,
}

/// How a batch is appended, apart from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// The time that all records of the copy are given; costs another pass over it for the checksum.
    pub append_time: Option<TimestampMs>,
    /// With a bound the batch counts as stored once it is written, and the sync may come later.
    pub flush: Option<FlushBound>,
}

/// How much of what counts as stored may wait for a sync: a loss of power takes that at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushBound {
    /// Fewer records than that, of all partitions of the log together.
    pub records: u64,
    /// A sync begins at the latest that long after the write, in nanoseconds.
    pub within_ns: u64,
}

impl FlushBound {
    /// What keeps both.
    pub(super) fn min(self, other: Self) -> Self {
        Self { records: self.records.min(other.records), within_ns: self.within_ns.min(other.within_ns) }
    }
}

/// Why an entry was not taken; nothing of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A write failed: the log takes nothing more, the node must stop.
    Poisoned,
    /// The log is being closed.
    Closed,
    /// The entry is larger than the log takes.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size in bytes.
        bytes_max: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned => out.write_str("a write to the log failed, nothing more can be made durable"),
            Self::Closed => out.write_str("the log is being closed"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(out, "an entry of {bytes} bytes is larger than the log takes ({bytes_max} bytes)")
            }
        }
    }
}

impl core::error::Error for Refused {}

/// A head that still lacks the place of its bytes, of an entry without records.
pub(super) const fn bare_head(
    kind: EntryKind,
    partition: PartitionId,
    leader_epoch: LeaderEpoch,
    offset: Offset,
) -> EntryHead {
    EntryHead { kind, flags: 0, partition, leader_epoch, offset, records: 0, position: 0, length: 0, crc: 0 }
}
