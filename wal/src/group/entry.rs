//! The head of an entry: what it says about which partition, and where its bytes lie.

use core::ops::Range;

use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};

use super::GroupDamage;
use crate::layout::{array, put, u32_at, u64_at};

/// Bytes of an entry's head in the directory.
pub const ENTRY_HEAD_BYTES: usize = 56;

/// What an entry does to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch at the partition's end.
    Append = 1,
    /// The partition ends at the offset, under the leader epoch.
    Truncate = 2,
    /// The partition starts at the offset; what stands before it may be deleted.
    LogStart = 3,
    /// The partition is gone from this node.
    PartitionDrop = 4,
    /// What is settled of the partition: all below the offset lies, synced, in the segments that the bytes name; they
    /// are an encoded [`PartitionState`](crate::state::PartitionState).
    State = 5,
    /// A record batch that stood further back in the log, again: the same bytes under the same leader epoch.
    Carried = 6,
    /// Files of this log before the one whose number is the offset say nothing any more. Of no partition: all zero.
    Floor = 7,
}

impl EntryKind {
    /// Whether entries of this kind carry bytes; all others carry none.
    #[inline]
    #[must_use]
    pub const fn has_bytes(self) -> bool {
        self.is_batch() || matches!(self, Self::State)
    }

    /// Whether the bytes are a record batch.
    #[inline]
    #[must_use]
    pub const fn is_batch(self) -> bool {
        matches!(self, Self::Append | Self::Carried)
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Append),
            2 => Some(Self::Truncate),
            3 => Some(Self::LogStart),
            4 => Some(Self::PartitionDrop),
            5 => Some(Self::State),
            6 => Some(Self::Carried),
            7 => Some(Self::Floor),
            _ => None,
        }
    }
}

/// One entry of a group's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// What the entry does.
    pub kind: EntryKind,
    /// None are defined: 0, and anything else is refused when read.
    pub flags: u8,
    /// The partition.
    pub partition: PartitionId,
    /// The leader epoch under which it happened; 0 where none decides.
    pub leader_epoch: LeaderEpoch,
    /// A batch: offset of its first record. Truncate: the end. Log start: the start. State: the settled end. Floor: the
    /// number of a log file.
    pub offset: Offset,
    /// Records in the batch; 0 unless it is one.
    pub records: u32,
    /// Where the entry's bytes start, in bytes from the start of the group.
    pub position: u32,
    /// Bytes of the entry; 0 unless its kind [has bytes](EntryKind::has_bytes).
    pub length: u32,
    /// CRC-32C of the entry's bytes as stored.
    pub crc: u32,
}

impl EntryHead {
    pub(crate) fn encode(&self) -> [u8; ENTRY_HEAD_BYTES] {
        let mut bytes = [0; ENTRY_HEAD_BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = self.flags;
        // 2..4 is reserved and zero.
        put(&mut bytes, 4, &self.leader_epoch.0.to_le_bytes());
        put(&mut bytes, 8, &self.offset.0.to_le_bytes());
        put(&mut bytes, 16, &self.partition.topic.0);
        put(&mut bytes, 32, &self.partition.index.0.to_le_bytes());
        put(&mut bytes, 36, &self.records.to_le_bytes());
        put(&mut bytes, 40, &self.position.to_le_bytes());
        put(&mut bytes, 44, &self.length.to_le_bytes());
        put(&mut bytes, 48, &self.crc.to_le_bytes());
        // 52..56 is reserved and zero.
        bytes
    }

    /// The head in `bytes`, which are [`ENTRY_HEAD_BYTES`] long and whose CRC has been checked.
    pub(super) fn decode(bytes: &[u8], which: u32) -> Result<Self, GroupDamage> {
        let (kind, flags) = (bytes[0], bytes[1]);
        let (Some(known), 0, [0, 0], 0) =
            (EntryKind::from_byte(kind), flags, [bytes[2], bytes[3]], u32_at(bytes, 52))
        else {
            return Err(GroupDamage::UnknownEntry { which, kind, flags });
        };
        Ok(Self {
            kind: known,
            flags,
            partition: PartitionId::new(TopicId(array(bytes, 16)), PartitionIndex(u32_at(bytes, 32))),
            leader_epoch: LeaderEpoch(u32_at(bytes, 4).cast_signed()),
            offset: Offset(u64_at(bytes, 8).cast_signed()),
            records: u32_at(bytes, 36),
            position: u32_at(bytes, 40),
            length: u32_at(bytes, 44),
            crc: u32_at(bytes, 48),
        })
    }

    /// Where the entry's bytes lie within the group.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.position as usize..self.position as usize + self.length as usize
    }

    /// Whether the entry's bytes within those of its group are what was written.
    #[must_use]
    pub fn matches(&self, group: &[u8]) -> bool {
        group.get(self.range()).is_some_and(|bytes| crc32c::crc32c(bytes) == self.crc)
    }
}
