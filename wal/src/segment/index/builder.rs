//! Builds the index of a segment while batches are appended to it.

use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{Offset, TimestampMs};

use super::{Index, IndexEntry};
use crate::state::SegmentExtent;

/// An index never has as many entries: at this number every second one is dropped.
pub(super) const ENTRIES_MAX: usize = 4096;
/// Bytes of the segment between two entries, to begin with.
pub(super) const INTERVAL_BYTES: u64 = 64 << 10;

const _: () = assert!(ENTRIES_MAX.is_multiple_of(2), "the last entry survives the thinning");

/// The index of a segment that grows. It can be asked at any time.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    index: Index,
    interval_bytes: u64,
    /// Where the last entry's batch starts; the segment's start before the first.
    indexed_position: u64,
    segment_bytes: u64,
    end: Offset,
    max_timestamp: TimestampMs,
}

impl IndexBuilder {
    /// The index of an empty segment.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            index: Index { entries: Vec::new() },
            interval_bytes: INTERVAL_BYTES,
            indexed_position: 0,
            segment_bytes: 0,
            end: Offset::ZERO,
            max_timestamp: TimestampMs(i64::MIN),
        }
    }

    /// The index of a segment whose first batches nobody looks at again: reading starts at the first of them, or at one
    /// appended from now on.
    #[must_use]
    pub fn resume(settled: &SegmentExtent) -> Self {
        Self {
            segment_bytes: settled.bytes,
            end: settled.end,
            max_timestamp: settled.max_timestamp,
            ..Self::new()
        }
    }

    /// The index of the batches so far.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// The largest timestamp of the batches so far; `i64::MIN` before the first.
    #[must_use]
    pub const fn max_timestamp(&self) -> TimestampMs {
        self.max_timestamp
    }

    /// Takes note of the batch that starts at `position` of the segment, in bytes.
    ///
    /// # Panics
    /// When the batch does not lie right behind the one before, or begins before its end.
    pub fn append(&mut self, header: &BatchHeader, position: u64) {
        assert_eq!(position, self.segment_bytes, "batches of a segment lie back to back");
        assert!(header.base_offset >= self.end, "offsets of a segment rise");
        if position - self.indexed_position >= self.interval_bytes {
            self.indexed_position = position;
            self.index.entries.push(IndexEntry {
                base: header.base_offset,
                position,
                max_timestamp_before: self.max_timestamp,
            });
            if self.index.entries.len() == ENTRIES_MAX {
                self.thin();
            }
        }
        self.segment_bytes += u64::from(header.length);
        self.end = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Drops every second entry, the first among them, and makes new ones half as often.
    fn thin(&mut self) {
        let mut is_kept = true;
        self.index.entries.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
        self.interval_bytes *= 2;
    }
}

impl Default for IndexBuilder {
    fn default() -> Self {
        Self::new()
    }
}
