//! What can be asked of segments, and what is answered.

use core::fmt;
use core::ops::RangeInclusive;

use bytes::Bytes;
use ringmain_wal::names::segment_file_name;
use ringmain_wal::segment::SegmentDamage;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};

use crate::event::FileError;
use crate::store::{SEGMENT_FILES_MAX, Ticket};

/// The limits of reading.
#[derive(Clone, Debug)]
pub(in crate::store) struct ReadingConfig {
    /// File operations under way, closing aside; further ones wait.
    pub(in crate::store) reads_in_flight_max: usize,
    /// Memory for what nobody has asked for yet.
    pub(in crate::store) read_ahead_bytes_max: usize,
    /// Bytes read at a time; more only where one batch is larger. Whole blocks.
    pub(in crate::store) read_bytes: usize,
    /// The longest batch there can be. One that claims more is damaged: its length is not covered by its checksum.
    pub(in crate::store) batch_bytes_max: usize,
    /// Segment files kept open; not fewer than operations under way.
    pub(in crate::store) open_files_max: usize,
    /// Index entries kept in memory, of all segments together.
    pub(in crate::store) index_entries_max: usize,
}

impl Default for ReadingConfig {
    fn default() -> Self {
        Self {
            reads_in_flight_max: 4,
            read_ahead_bytes_max: 16 << 20,
            read_bytes: 1 << 20,
            batch_bytes_max: 64 << 20,
            open_files_max: SEGMENT_FILES_MAX,
            index_entries_max: 64 * 4096,
        }
    }
}

/// One thing to be found in one segment.
#[derive(Clone, Debug)]
pub(in crate::store) struct ReadRequest {
    /// Who waits.
    pub(in crate::store) ticket: Ticket,
    /// Whose segment.
    pub(in crate::store) partition: PartitionId,
    /// As much of the segment as counts.
    pub(in crate::store) extent: SegmentExtent,
    /// The partition's truncations so far: told back, so that a stale end is recognised.
    pub(in crate::store) truncations: u64,
    /// What is to be found.
    pub(in crate::store) purpose: Purpose,
}

/// What is to be found in a segment.
#[derive(Clone, Debug)]
pub(in crate::store) enum Purpose {
    /// Whole batches from the one that holds `offset`, or the first behind it: at most `bytes_max`, but one at least. As
    /// many as are at hand; none only if the segment has none.
    Fetch {
        /// The first record wanted.
        offset: Offset,
        /// Bytes wanted.
        bytes_max: usize,
    },
    /// The first record at or after `timestamp`, at or above `log_start`.
    FindTime {
        /// The earliest time wanted.
        timestamp: TimestampMs,
        /// The first offset that is still stored.
        log_start: Offset,
        /// Most that a batch may decompress to.
        decompressed_bytes_max: usize,
    },
    /// The base offset of the batch that holds `offset`, or of the first behind it.
    FindBatch {
        /// The record.
        offset: Offset,
    },
}

/// The end of a read.
#[derive(Debug)]
pub(in crate::store) struct ReadDone {
    /// Who waited.
    pub(in crate::store) ticket: Ticket,
    /// Whose segment.
    pub(in crate::store) partition: PartitionId,
    /// The segment's base offset.
    pub(in crate::store) base: Offset,
    /// As the request said.
    pub(in crate::store) truncations: u64,
    /// What came of it.
    pub(in crate::store) result: Result<ReadResult, ReadError>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum ReadResult {
    /// Whole batches, each proved by its checksum. They keep alive at most twice their memory.
    Batches(Bytes),
    /// The record's offset and timestamp.
    Found(Option<(Offset, TimestampMs)>),
    /// The batch's base offset.
    Batch(Option<Offset>),
}

/// Why nothing was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum ReadError {
    /// The segment is damaged; what stands before the damage has been served.
    Damaged {
        /// Its file.
        path: String,
        /// Where the damaged batch begins, in bytes.
        position: u64,
        /// What is wrong with it.
        reason: SegmentDamage,
    },
    /// The file could not be opened or read.
    Failed {
        /// The file.
        path: String,
        /// Why.
        error: FileError,
    },
    /// The segment was forgotten meanwhile. Nothing is wrong; where the offset lies now is to be asked again.
    Forgotten,
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, position, reason } => write!(out, "{path} at byte {position}: {reason}"),
            Self::Failed { path, error } => write!(out, "{path}: {error}"),
            Self::Forgotten => out.write_str("the segment went while it was read"),
        }
    }
}

impl core::error::Error for ReadError {}

/// A read under way; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobId(pub(super) u64);

/// A segment by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub(super) partition: PartitionId,
    pub(super) base: Offset,
}

impl SegmentId {
    /// The segment of a partition, or all of them.
    pub(super) fn range(partition: PartitionId, base: Option<Offset>) -> RangeInclusive<Self> {
        let (first, last) = base.map_or((Offset::ZERO, Offset(i64::MAX)), |base| (base, base));
        Self { partition, base: first }..=Self { partition, base: last }
    }

    pub(super) fn path(self) -> String {
        segment_file_name(self.partition, self.base)
    }
}

impl ReadRequest {
    pub(super) fn segment(&self) -> SegmentId {
        SegmentId { partition: self.partition, base: self.extent.base }
    }

    /// Whether an index would spare it a scan of more than a few pieces.
    pub(super) fn needs_index(&self) -> bool {
        /// As much as one search reads anyway.
        const SMALL_BYTES: u64 = 256 << 10;
        let begins_at_start =
            matches!(self.purpose, Purpose::Fetch { offset, .. } if offset <= self.extent.base);
        self.extent.bytes > SMALL_BYTES && !begins_at_start
    }

    pub(super) fn done(&self, result: Result<ReadResult, ReadError>) -> ReadDone {
        ReadDone {
            ticket: self.ticket,
            partition: self.partition,
            base: self.extent.base,
            truncations: self.truncations,
            result,
        }
    }
}
