//! Groups being filled: each is built in place in an aligned chunk of memory, which several groups share.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use ringmain_wire::batch;

use super::entry::{AppendOptions, FlushBound};
use crate::block::{BLOCK_BYTES, is_whole_blocks, round_up};
use crate::group::{ENTRY_HEAD_BYTES, EntryHead, GROUP_HEADER_BYTES, group_bytes};

/// A group that will not grow: all but its header is in place.
#[derive(Debug)]
pub(super) struct GatheredGroup {
    /// Whole blocks, aligned to the block; the header's bytes are zero.
    pub(super) bytes: BytesMut,
    pub(super) heads: Vec<EntryHead>,
    pub(super) directory_position: u32,
    pub(super) directory_crc: u32,
    pub(super) durability: GroupDurability,
}

/// What the entries of a group ask for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupDurability {
    /// At least one of them waits for stable storage, or there are none.
    Synced,
    /// All of them count once written: so many records, within the tightest of their bounds.
    Written { records: u64, bound: FlushBound },
}

impl GroupDurability {
    /// With one more entry; the first one decides alone.
    fn with(self, is_first: bool, records: u32, flush: Option<FlushBound>) -> Self {
        match (self, flush) {
            (_, None) => Self::Synced,
            (_, Some(bound)) if is_first => Self::Written { records: u64::from(records), bound },
            (Self::Synced, Some(_)) => Self::Synced,
            (Self::Written { records: before, bound: other }, Some(bound)) => {
                Self::Written { records: before + u64::from(records), bound: bound.min(other) }
            }
        }
    }
}

/// The group that grows, and those that are full but may not leave yet.
#[derive(Debug)]
pub(super) struct Gather {
    group_bytes_max: usize,
    chunk_bytes: usize,
    /// Starts with the open group's bytes; its capacity serves that one and the groups after it.
    chunk: BytesMut,
    /// What of the chunk no closed group has taken. Not its capacity, which depends on where the allocator put it.
    chunk_left: usize,
    /// The open group's entries; a group is open if there are any.
    heads: Vec<EntryHead>,
    /// What they ask for; of no meaning without any.
    durability: GroupDurability,
    closed: VecDeque<GatheredGroup>,
    closed_bytes: usize,
}

impl Gather {
    pub(super) fn new(group_bytes_max: usize, chunk_bytes: usize) -> Self {
        Self {
            group_bytes_max,
            chunk_bytes,
            chunk: BytesMut::new(),
            chunk_left: 0,
            heads: Vec::new(),
            durability: GroupDurability::Synced,
            closed: VecDeque::new(),
            closed_bytes: 0,
        }
    }

    /// Bytes of all groups that wait, padding included.
    pub(super) fn bytes(&self) -> usize {
        self.closed_bytes + self.open_bytes(0, 0)
    }

    /// Bytes that the first waiting group has on disk if it leaves now.
    pub(super) fn front_bytes(&self) -> Option<usize> {
        match self.closed.front() {
            Some(group) => Some(group.bytes.len()),
            None if self.heads.is_empty() => None,
            None => Some(self.open_bytes(0, 0)),
        }
    }

    /// How many groups leave before the one that takes the next entry, once that has been appended.
    pub(super) fn closed_groups(&self) -> usize {
        self.closed.len()
    }

    /// Appends an entry, in the open group or a new one; `head` still lacks position, length and CRC.
    ///
    /// The bytes are copied once; base offset and leader epoch are stamped into the copy of a batch, and the time of its
    /// append if there is one.
    pub(super) fn append(&mut self, mut head: EntryHead, bytes: &[u8], options: AppendOptions) {
        let needed = self.open_bytes(1, bytes.len());
        if needed > self.group_bytes_max || needed > self.chunk_left {
            self.close();
        }
        if self.heads.is_empty() {
            self.open(bytes.len());
        }
        let start = self.chunk.len();
        self.chunk.extend_from_slice(bytes);
        let stored = &mut self.chunk[start..];
        if head.kind.is_batch() {
            batch::stamp(stored, head.offset, head.leader_epoch);
            if let Some(append_time) = options.append_time {
                batch::stamp_append_time(stored, append_time);
            }
        }
        head.position = u32::try_from(start).expect("groups are far below 4 GiB");
        head.length = u32::try_from(stored.len()).expect("groups are far below 4 GiB");
        head.crc = crc32c::crc32c(stored);
        self.durability = self.durability.with(self.heads.is_empty(), head.records, options.flush);
        self.heads.push(head);
    }

    /// The first waiting group; it grows no more.
    pub(super) fn pop_front(&mut self) -> Option<GatheredGroup> {
        if self.closed.is_empty() {
            self.close();
        }
        let group = self.closed.pop_front()?;
        self.closed_bytes -= group.bytes.len();
        Some(group)
    }

    /// A group without entries.
    ///
    /// # Panics
    /// When entries wait: they would lose the place in the log that they were promised.
    pub(super) fn mark_only(&mut self) -> GatheredGroup {
        assert!(self.heads.is_empty() && self.closed.is_empty(), "a mark-only group would overtake entries");
        self.open(0);
        self.seal()
    }

    /// Bytes of the open group with `entries` more entries of `entry_bytes` together; 0 if there is none and would be none.
    fn open_bytes(&self, entries: usize, entry_bytes: usize) -> usize {
        let entries = self.heads.len() + entries;
        let filled = self.chunk.len().saturating_sub(GROUP_HEADER_BYTES);
        if entries == 0 { 0 } else { group_bytes(entries, filled + entry_bytes) }
    }

    /// Starts a group at the front of a chunk that has room for one entry of `entry_bytes`.
    fn open(&mut self, entry_bytes: usize) {
        let needed = group_bytes(1, entry_bytes);
        if needed > self.chunk_left {
            let bytes = self.chunk_bytes.max(needed);
            self.chunk = aligned_chunk(bytes);
            self.chunk_left = bytes;
        }
        self.chunk.put_bytes(0, GROUP_HEADER_BYTES);
    }

    fn close(&mut self) {
        if !self.heads.is_empty() {
            let group = self.seal();
            self.closed_bytes += group.bytes.len();
            self.closed.push_back(group);
        }
    }

    fn seal(&mut self) -> GatheredGroup {
        let heads = std::mem::take(&mut self.heads);
        let directory_position = self.chunk.len();
        self.chunk.reserve(heads.len() * ENTRY_HEAD_BYTES);
        for head in &heads {
            self.chunk.extend_from_slice(&head.encode());
        }
        let directory_crc = crc32c::crc32c(&self.chunk[directory_position..]);
        self.chunk.resize(round_up(self.chunk.len()), 0);
        let bytes = self.chunk.split();
        assert!(is_aligned(&bytes) && is_whole_blocks(bytes.len() as u64), "a group outgrew its chunk");
        self.chunk_left -= bytes.len();
        let directory_position = u32::try_from(directory_position).expect("groups are far below 4 GiB");
        let durability = if heads.is_empty() { GroupDurability::Synced } else { self.durability };
        GatheredGroup { bytes, heads, directory_position, directory_crc, durability }
    }
}

/// An empty buffer that starts on a block boundary and takes `bytes` without moving.
fn aligned_chunk(bytes: usize) -> BytesMut {
    let mut chunk = BytesMut::with_capacity(bytes + BLOCK_BYTES);
    let ahead = chunk.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
    chunk.put_bytes(0, ahead);
    let chunk = chunk.split_off(ahead);
    assert!(is_aligned(&chunk) && chunk.capacity() >= bytes);
    chunk
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}
