//! What is appended to a log besides batches, and why it is not taken.

use core::fmt;

use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId};

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
