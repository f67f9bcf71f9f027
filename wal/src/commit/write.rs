//! A group on its way to the disk.

use bytes::{Bytes, BytesMut};

use crate::group::{EntryHead, Sequence};

/// One write: whole blocks at a whole block of a file.
#[derive(Clone, Debug)]
pub struct GroupWrite {
    /// The group.
    pub sequence: Sequence,
    /// The file's number.
    pub file: u32,
    /// Where in the file, in bytes.
    pub position: u64,
    /// Whether it must be durable when it is reported written. Otherwise a [sync](SyncLog) comes later.
    pub durable: bool,
    /// What to write; its memory is aligned to the block.
    pub bytes: Bytes,
    /// The entries in it, in order.
    pub entries: Vec<PlacedEntry>,
}

impl GroupWrite {
    /// Gives each entry its slice of the group, which will not change any more.
    pub(super) fn new(
        sequence: Sequence,
        file: u32,
        position: u64,
        durable: bool,
        bytes: BytesMut,
        heads: Vec<EntryHead>,
    ) -> Self {
        let bytes = bytes.freeze();
        let place = |head: EntryHead| PlacedEntry { head, bytes: bytes.slice(head.range()) };
        let entries = heads.into_iter().map(place).collect();
        Self { sequence, file, position, durable, bytes, entries }
    }
}

/// A sync of one log file: everything that was reported written to it must be durable when it is reported done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLog {
    /// The file's number.
    pub file: u32,
    /// The last group that it makes durable.
    pub upto: Sequence,
}

/// An entry of a group that is being written.
#[derive(Clone, Debug)]
pub struct PlacedEntry {
    /// What it is.
    pub head: EntryHead,
    /// The stored bytes, a slice of the group; empty unless its kind has any.
    pub bytes: Bytes,
}
