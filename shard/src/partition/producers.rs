//! What a partition remembers of idempotent producers, so that a batch sent again lands once (KIP-98).

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

use ringmain_wal::state::{ProducerSnapshot, RememberedBatch};
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{Offset, ProducerEpoch, ProducerId, ProducerSequence};
use ringmain_wire::native::errors::ErrorCode;

/// Batches remembered a producer: as many as a producer may have in flight (KIP-98).
pub const BATCHES_REMEMBERED: usize = 5;

/// Producers remembered a partition. Their state is in memory and goes into the log with every window, so there must be an
/// end to it: of more, those are forgotten that have not appended for the longest. One of them that goes on appending is
/// refused as unknown and needs a new id; only a first batch that it sends again then would land twice. Fewer, where all
/// partitions of a shard remember more than its log has room for.
pub const PRODUCERS_MAX: usize = 16_384;

/// What a producer takes of a partition's state in the log, at most, in bytes: id, epoch, number of batches, and these.
pub const PRODUCER_STATE_BYTES_MAX: usize = 14 + BATCHES_REMEMBERED * 24;

/// How many are forgotten at a time, so that looking for them costs little a batch.
const FORGOTTEN_AT_ONCE: usize = PRODUCERS_MAX / 8;

/// Producer state of one partition. It follows from the batches in the log and outlives their deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ProducerState {
    epoch: ProducerEpoch,
    /// Oldest first, never empty.
    batches: VecDeque<RememberedBatch>,
}

/// What to do with a batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The next one: append it.
    InOrder,
    /// It was appended before: answer as then, once that batch is durable.
    Duplicate(RememberedBatch),
    /// Refuse it.
    Refused(ErrorCode),
}

impl ProducerTable {
    /// Producers remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is remembered.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// What it takes in memory, about, in bytes.
    pub fn bytes(&self) -> usize {
        let batches = BATCHES_REMEMBERED * size_of::<RememberedBatch>();
        self.producers.len() * (size_of::<(ProducerId, ProducerState)>() + batches)
    }

    /// Judges a batch before it is appended. Batches without a producer are always in order.
    pub fn check(&self, header: &BatchHeader) -> SequenceCheck {
        if !header.is_idempotent() {
            return SequenceCheck::InOrder;
        }
        let Some(state) = self.producers.get(&header.producer) else {
            return if header.base_sequence == ProducerSequence(0) {
                SequenceCheck::InOrder
            } else {
                // Accepting it could admit a duplicate of something forgotten.
                SequenceCheck::Refused(ErrorCode::UnknownProducer)
            };
        };
        match header.producer_epoch.cmp(&state.epoch) {
            core::cmp::Ordering::Less => SequenceCheck::Refused(ErrorCode::ProducerFenced),
            core::cmp::Ordering::Greater if header.base_sequence == ProducerSequence(0) => {
                SequenceCheck::InOrder
            }
            core::cmp::Ordering::Greater => SequenceCheck::Refused(ErrorCode::OutOfOrderSequence),
            core::cmp::Ordering::Equal => state.check(header),
        }
    }

    /// Takes note of a batch that was appended or replayed. Never judges: what the log holds is what happened.
    pub fn record(&mut self, header: &BatchHeader, base_offset: Offset) {
        if !header.is_idempotent() {
            return;
        }
        let batch = RememberedBatch {
            first: header.base_sequence,
            last: last_sequence(header),
            base_offset,
            next_offset: base_offset.plus(header.records),
        };
        self.remember(header.producer, header.producer_epoch, batch);
    }

    fn remember(&mut self, producer: ProducerId, epoch: ProducerEpoch, batch: RememberedBatch) {
        let state = self
            .producers
            .entry(producer)
            .or_insert_with(|| ProducerState { epoch, batches: VecDeque::new() });
        if state.epoch != epoch {
            state.epoch = epoch;
            state.batches.clear();
        }
        if state.batches.len() == BATCHES_REMEMBERED {
            state.batches.pop_front();
        }
        state.batches.push_back(batch);
        if self.producers.len() > PRODUCERS_MAX {
            self.keep_latest(PRODUCERS_MAX + 1 - FORGOTTEN_AT_ONCE);
        }
    }

    /// Forgets all but those `producers` that were the last to append.
    pub fn keep_latest(&mut self, producers: usize) {
        let Some(last_forgotten) = self.producers.len().checked_sub(producers + 1) else { return };
        let mut ends: Vec<Offset> = self.producers.values().map(ProducerState::end).collect();
        let (_, &mut newest_forgotten, _) = ends.select_nth_unstable(last_forgotten);
        self.producers.retain(|_, state| state.end() > newest_forgotten);
    }

    /// All of it, to be kept outside the log.
    pub fn snapshot(&self) -> Vec<ProducerSnapshot> {
        let snapshot = |(&producer, state): (&ProducerId, &ProducerState)| ProducerSnapshot {
            producer,
            epoch: state.epoch,
            batches: state.batches.iter().copied().collect(),
        };
        self.producers.iter().map(snapshot).collect()
    }

    /// The inverse of [`snapshot`](Self::snapshot).
    pub fn restored(snapshot: Vec<ProducerSnapshot>) -> Self {
        let state = |producer: ProducerSnapshot| {
            (producer.producer, ProducerState { epoch: producer.epoch, batches: producer.batches.into() })
        };
        Self { producers: snapshot.into_iter().map(state).collect() }
    }

    /// Takes over what `other` remembers of batches within `offsets`, which lie above all that this one remembers.
    pub fn absorb(&mut self, other: &Self, offsets: Range<Offset>) {
        for (&producer, state) in &other.producers {
            for batch in state.batches.iter().filter(|batch| offsets.contains(&batch.base_offset)) {
                self.remember(producer, state.epoch, *batch);
            }
        }
    }

    /// Forgets batches that reach beyond `end`: they are cut off.
    pub fn truncate(&mut self, end: Offset) {
        self.producers.retain(|_, state| {
            state.batches.retain(|batch| batch.next_offset <= end);
            !state.batches.is_empty()
        });
    }
}

impl ProducerState {
    /// Behind its last batch.
    fn end(&self) -> Offset {
        self.batches.back().map_or(Offset::ZERO, |batch| batch.next_offset)
    }

    fn check(&self, header: &BatchHeader) -> SequenceCheck {
        let last = last_sequence(header);
        let repeated =
            self.batches.iter().find(|batch| batch.first == header.base_sequence && batch.last == last);
        if let Some(&batch) = repeated {
            return SequenceCheck::Duplicate(batch);
        }
        let expected = self.batches.back().map_or(ProducerSequence(0), |batch| batch.last.plus(1));
        if header.base_sequence == expected {
            SequenceCheck::InOrder
        } else if is_before(header.base_sequence, expected) {
            SequenceCheck::Refused(ErrorCode::DuplicateSequence)
        } else {
            SequenceCheck::Refused(ErrorCode::OutOfOrderSequence)
        }
    }
}

fn last_sequence(header: &BatchHeader) -> ProducerSequence {
    header.base_sequence.plus(header.records.saturating_sub(1))
}

/// Whether `sequence` lies behind `expected` on the circle of 2^31 sequence numbers: the nearer side decides.
fn is_before(sequence: ProducerSequence, expected: ProducerSequence) -> bool {
    let behind = expected.get().wrapping_sub(sequence.get()) & i32::MAX;
    behind != 0 && behind < (1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::testing::header;

    fn table_after(sequences: &[i32]) -> ProducerTable {
        let mut table = ProducerTable::default();
        for (place, &sequence) in sequences.iter().enumerate() {
            let header = header(7, 0, sequence, 1);
            assert_eq!(table.check(&header), SequenceCheck::InOrder);
            table.record(&header, Offset(100 + place as i64));
        }
        table
    }

    #[test]
    fn a_batch_sent_again_is_answered_with_its_first_offset() {
        let table = table_after(&[0, 1, 2]);
        let SequenceCheck::Duplicate(batch) = table.check(&header(7, 0, 1, 1)) else {
            panic!("not a duplicate")
        };
        assert_eq!((batch.base_offset, batch.next_offset), (Offset(101), Offset(102)));
    }

    #[test]
    fn a_duplicate_older_than_the_remembered_ones_is_told_apart_from_a_gap() {
        let table = table_after(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(table.check(&header(7, 0, 0, 1)), SequenceCheck::Refused(ErrorCode::DuplicateSequence));
        assert_eq!(table.check(&header(7, 0, 7, 1)), SequenceCheck::Refused(ErrorCode::OutOfOrderSequence));
        assert_eq!(table.check(&header(7, 0, 6, 1)), SequenceCheck::InOrder);
    }

    #[test]
    fn an_unknown_producer_begins_at_zero_or_not_at_all() {
        let table = ProducerTable::default();
        assert_eq!(table.check(&header(1, 0, 3, 1)), SequenceCheck::Refused(ErrorCode::UnknownProducer));
        assert_eq!(table.check(&header(1, 0, 0, 1)), SequenceCheck::InOrder);
    }

    #[test]
    fn a_higher_epoch_fences_the_lower_ones_and_begins_at_zero() {
        let mut table = table_after(&[0, 1]);
        assert_eq!(table.check(&header(7, 1, 2, 1)), SequenceCheck::Refused(ErrorCode::OutOfOrderSequence));
        assert_eq!(table.check(&header(7, 1, 0, 1)), SequenceCheck::InOrder);
        table.record(&header(7, 1, 0, 1), Offset(200));
        assert_eq!(table.check(&header(7, 0, 2, 1)), SequenceCheck::Refused(ErrorCode::ProducerFenced));
        assert_eq!(table.check(&header(7, 1, 1, 1)), SequenceCheck::InOrder);
    }

    #[test]
    fn of_too_many_those_are_forgotten_that_were_idle_for_the_longest() {
        let mut table = ProducerTable::default();
        let max = PRODUCERS_MAX as i64;
        for place in 0..max {
            table.record(&header(place, 0, 0, 1), Offset(place));
        }
        // The oldest goes on.
        table.record(&header(0, 0, 1, 1), Offset(max));
        assert_eq!(table.len(), PRODUCERS_MAX);
        table.record(&header(max, 0, 0, 1), Offset(max + 1));
        assert_eq!(table.len(), PRODUCERS_MAX + 1 - FORGOTTEN_AT_ONCE);
        let check = |producer, sequence| table.check(&header(producer, 0, sequence, 1));
        assert_eq!([check(0, 2), check(max, 1)], [SequenceCheck::InOrder; 2]);
        let unknown = SequenceCheck::Refused(ErrorCode::UnknownProducer);
        let last_forgotten = FORGOTTEN_AT_ONCE as i64;
        assert_eq!([check(1, 1), check(last_forgotten, 1)], [unknown; 2]);
        assert_eq!(check(last_forgotten + 1, 1), SequenceCheck::InOrder);
        assert_eq!(ProducerTable::restored(table.snapshot()), table);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut table = ProducerTable::default();
        table.record(&header(7, 0, i32::MAX - 1, 2), Offset(0));
        assert_eq!(table.check(&header(7, 0, 0, 1)), SequenceCheck::InOrder);
        assert_eq!(
            table.check(&header(7, 0, i32::MAX - 5, 1)),
            SequenceCheck::Refused(ErrorCode::DuplicateSequence)
        );
    }
}
