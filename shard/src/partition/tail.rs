//! The newest batches of a partition, as slices of the frozen log groups they were written in.

use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_wal::group::{Generation, Sequence};
use ringmain_wire::ids::{Offset, TimestampMs};

/// Where an entry stands among those of all logs that ever held its partition. View: node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// The start of the node that wrote it.
    pub generation: Generation,
    /// Its group.
    pub sequence: Sequence,
}

/// Batches in memory, oldest first, their offsets without a gap between them.
#[derive(Debug, Default)]
pub struct Tail {
    batches: VecDeque<TailBatch>,
    charged_bytes: usize,
}

/// One whole record batch.
#[derive(Clone, Debug)]
pub struct TailBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The offset behind its last record.
    pub next_offset: Offset,
    /// Largest timestamp of its records.
    pub max_timestamp: TimestampMs,
    /// The batch as it stands in the log.
    pub bytes: Bytes,
    /// Memory that it holds: its share of the log group it is a slice of, padding included.
    pub charge: usize,
    /// Where in the log it stands.
    pub place: LogPlace,
}

impl Tail {
    /// Memory that its batches hold, in bytes.
    pub fn charged_bytes(&self) -> usize {
        self.charged_bytes
    }

    /// Its batches, oldest first.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &TailBatch> {
        self.batches.iter()
    }

    /// Offset of its oldest record.
    pub fn start(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// The batches from the one that holds `offset`.
    pub fn from(&self, offset: Offset) -> impl Iterator<Item = &TailBatch> {
        self.batches.range(self.batches.partition_point(|batch| batch.next_offset <= offset)..)
    }

    /// Adds the newest batch.
    ///
    /// # Panics
    /// When it does not follow the last one without a gap.
    pub fn push(&mut self, batch: TailBatch) {
        if let Some(last) = self.batches.back() {
            assert_eq!(last.next_offset, batch.base_offset, "gap in a partition's tail");
        }
        self.charged_bytes += batch.charge;
        self.batches.push_back(batch);
    }

    /// Takes the oldest batch out if all its records lie below `offset`.
    pub fn pop_below(&mut self, offset: Offset) -> Option<TailBatch> {
        if self.batches.front()?.next_offset > offset {
            return None;
        }
        let batch = self.batches.pop_front()?;
        self.charged_bytes -= batch.charge;
        Some(batch)
    }

    /// Drops the oldest batches that stand in the log at or before `place` and whose records all lie below `offset`.
    pub fn evict(&mut self, place: LogPlace, offset: Offset) {
        while self.batches.front().is_some_and(|batch| batch.place <= place) {
            if self.pop_below(offset).is_none() {
                return;
            }
        }
    }

    /// The batch at `base_offset` stands further ahead in the log too, from now on; its memory is that of the newer copy.
    /// Nothing happens when it is gone, or another has taken its offset.
    pub fn carry(&mut self, base_offset: Offset, carried: Carried) {
        let place = self.batches.partition_point(|batch| batch.base_offset < base_offset);
        if let Some(batch) = self.batches.get_mut(place)
            && batch.base_offset == base_offset
            && batch.place < carried.place
            && batch.bytes == carried.bytes
        {
            self.charged_bytes = self.charged_bytes - batch.charge + carried.charge;
            batch.bytes = carried.bytes;
            batch.charge = carried.charge;
            batch.place = carried.place;
        }
    }

    /// Drops batches that hold a record at or above `end`.
    pub fn truncate(&mut self, end: Offset) {
        while self.batches.back().is_some_and(|batch| batch.next_offset > end) {
            if let Some(batch) = self.batches.pop_back() {
                self.charged_bytes -= batch.charge;
            }
        }
    }
}

/// The newer copy of a batch that was put into the log again.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The batch.
    pub bytes: Bytes,
    /// Memory that it holds.
    pub charge: usize,
    /// Where it stands.
    pub place: LogPlace,
}
