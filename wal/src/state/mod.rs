//! The state of a partition at its settled end: what a `State` entry of the log says instead of all that stood before it.
//!
//! Integers are little endian, lists are counted by a `u32`:
//!
//! | field | bytes | field | bytes |
//! |---|---|---|---|
//! | format version | 4 | leader epochs: epoch, first offset | 4 + 12 each |
//! | flags: 1 is read-only | 4 | producers: id, epoch, batches | 4 + 14 each and its batches |
//! | log start | 8 | — a producer's batches: first and last sequence, base and next offset | 24 each |
//! | settled end | 8 | | |
//! | segments: base, end, bytes, created, max timestamp | 4 + 40 each | | |
//!
//! There is no CRC: the log entry has one.

mod codec;

use core::fmt;

use ringmain_wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

/// The format of states that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Batches remembered a producer: as many as a producer may have in flight (KIP-98).
pub const REMEMBERED_BATCHES_MAX: usize = 5;

/// All that a start must know of a partition besides the entries behind its settled end. View: core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// Its first offset. Above the settled end where records were deleted before they were settled.
    pub log_start: Offset,
    /// Everything from the log start to this offset lies in the segments, synced.
    pub settled_end: Offset,
    /// Where it ended when this was logged: the batches from the settled end to here stand elsewhere in the log.
    pub end: Offset,
    /// Its segment files, in order and apart from each other, none above the settled end.
    pub segments: Vec<SegmentExtent>,
    /// Where each leader epoch begins: epochs rise, offsets do not fall and are at most the settled end.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// What is remembered of idempotent producers, ordered by id.
    pub producers: Vec<ProducerSnapshot>,
    /// Damage was found past which the partition cannot be proven continuous: it opens read-only.
    pub is_read_only: bool,
}

/// A segment file as far as it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentExtent {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset after its last record.
    pub end: Offset,
    /// Its bytes; what the file holds behind them is void.
    pub bytes: u64,
    /// When it was created.
    pub created: TimestampMs,
    /// The largest timestamp of its batches.
    pub max_timestamp: TimestampMs,
}

/// What is remembered of one idempotent producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The producer.
    pub producer: ProducerId,
    /// Its newest incarnation.
    pub epoch: ProducerEpoch,
    /// Its last batches, oldest first, from 1 to [`REMEMBERED_BATCHES_MAX`].
    pub batches: Vec<RememberedBatch>,
}

/// A batch that a producer may send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Sequence of its first record.
    pub first: ProducerSequence,
    /// Sequence of its last record.
    pub last: ProducerSequence,
    /// Where its first record landed.
    pub base_offset: Offset,
    /// The offset behind its last record.
    pub next_offset: Offset,
}

impl PartitionState {
    /// The bytes of a `State` entry.
    ///
    /// # Panics
    /// When the lists are not in order, or contradict each other or the settled end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.is_in_order(), "a partition's state contradicts itself: {self:?}");
        codec::encode(self)
    }

    /// The state that a `State` entry with these bytes says.
    ///
    /// # Errors
    /// When another version wrote it, or it contradicts itself. The entry's CRC has been checked, so that is a bug of
    /// the writer.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateDamage> {
        let state = codec::decode(bytes)?;
        if state.is_in_order() { Ok(state) } else { Err(StateDamage::Order) }
    }

    /// Whether every list is in its order and every offset where it can be.
    fn is_in_order(&self) -> bool {
        let Self { log_start, settled_end, end, segments, epochs, producers, is_read_only: _ } = self;
        Offset::ZERO <= *log_start
            && Offset::ZERO <= *settled_end
            && settled_end <= end
            && segments.iter().all(|segment| Offset::ZERO <= segment.base && segment.base < segment.end)
            && segments.iter().all(|segment| segment.end <= *settled_end)
            && segments.is_sorted_by(|a, b| a.end <= b.base)
            && epochs.iter().all(|(_, start)| Offset::ZERO <= *start && start <= settled_end)
            && epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
            && producers.is_sorted_by(|a, b| a.producer < b.producer)
            && producers.iter().all(ProducerSnapshot::is_in_order)
    }
}

impl ProducerSnapshot {
    fn is_in_order(&self) -> bool {
        (1..=REMEMBERED_BATCHES_MAX).contains(&self.batches.len())
            && self.batches.iter().all(|batch| Offset::ZERO <= batch.base_offset)
            && self.batches.iter().all(|batch| batch.base_offset < batch.next_offset)
            && self.batches.is_sorted_by(|a, b| a.next_offset <= b.base_offset)
    }
}

/// Why bytes are no state of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDamage {
    /// A format that this version does not know.
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// The bytes end too early or too late, a count is more than they hold, or a flag is unknown.
    Bounds,
    /// The lists are not in order, or contradict each other or the settled end.
    Order,
}

impl fmt::Display for StateDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FormatVersion { found } => {
                write!(
                    out,
                    "the partition's state has format version {found}, this version reads {FORMAT_VERSION}"
                )
            }
            Self::Bounds => out.write_str("the partition's state is not as long as its lists say"),
            Self::Order => out.write_str("the partition's state contradicts itself"),
        }
    }
}

impl core::error::Error for StateDamage {}

#[cfg(test)]
mod tests;
