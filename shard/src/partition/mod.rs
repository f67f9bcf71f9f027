//! A partition: what its records are, which of them are durable, and who may append.
//!
//! Owned by one shard of one node. Appending is three steps that the [store](crate::store) takes in order: `admit`
//! judges a batch, `appended` gives it its offsets, `frozen` hands over its bytes once its log group has left. A fourth,
//! `advance`, follows when that group is durable; only then is the batch shown to anybody.

pub mod epochs;
pub mod producers;
pub mod tail;

use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_wire::batch::{BatchHeader, RecordReader};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;

use self::epochs::EpochTable;
use self::producers::{ProducerTable, RememberedBatch, SequenceCheck};
use self::tail::{Tail, TailBatch};

/// One partition as its leader sees it.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    end: Offset,
    high_watermark: Offset,
    epochs: EpochTable,
    tail: Tail,
    /// Appended, their log group not yet left; the newest records, oldest first.
    gathering: VecDeque<Gathered>,
    producers: ProducerTable,
    /// The producer table as it stood before the tail's first batch: what truncation rebuilds from.
    producers_before_tail: ProducerTable,
    damaged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    header: BatchHeader,
    base_offset: Offset,
}

/// What to do with a batch that a producer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Append it at this offset, under this epoch.
    Append {
        /// Offset of its first record.
        base_offset: Offset,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
    },
    /// It was appended before.
    Duplicate(RememberedBatch),
    /// Refuse it.
    Refused(ErrorCode),
}

impl Partition {
    /// An empty partition led under `leader_epoch`.
    pub fn new(id: PartitionId, leader_epoch: LeaderEpoch) -> Self {
        Self {
            id,
            leader_epoch,
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            high_watermark: Offset::ZERO,
            epochs: EpochTable::default(),
            tail: Tail::default(),
            gathering: VecDeque::new(),
            producers: ProducerTable::default(),
            producers_before_tail: ProducerTable::default(),
            damaged: false,
        }
    }

    /// Its identity.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The epoch of appends made now.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// First offset that is still stored.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Records below are durable, and shown.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where each leader's reign began.
    pub fn epochs(&self) -> &EpochTable {
        &self.epochs
    }

    /// Its batches in memory.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Its idempotent producers.
    pub fn producers(&self) -> &ProducerTable {
        &self.producers
    }

    /// Whether it was found damaged and is read-only.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Judges a batch that passed [`check_produced`](ringmain_wire::batch::check_produced).
    pub fn admit(&self, header: &BatchHeader) -> Admission {
        if self.damaged {
            return Admission::Refused(ErrorCode::PartitionDamaged);
        }
        match self.producers.check(header) {
            SequenceCheck::InOrder => {
                Admission::Append { base_offset: self.end, leader_epoch: self.leader_epoch }
            }
            SequenceCheck::Duplicate(batch) => Admission::Duplicate(batch),
            SequenceCheck::Refused(code) => Admission::Refused(code),
        }
    }

    /// A batch was put into the log group being gathered, at the end of this partition.
    pub fn appended(&mut self, header: &BatchHeader) {
        let base_offset = self.end;
        self.epochs.record(self.leader_epoch, base_offset);
        self.producers.record(header, base_offset);
        self.gathering.push_back(Gathered { header: *header, base_offset });
        self.end = base_offset.plus(header.records);
    }

    /// The log group of the oldest gathered batch has left; `bytes` is that batch within it, `charge` the memory it holds.
    ///
    /// # Panics
    /// When no batch was gathered.
    pub fn frozen(&mut self, bytes: Bytes, charge: usize) {
        let gathered = self.gathering.pop_front().expect("a batch is frozen after it was appended");
        self.tail.push(TailBatch {
            base_offset: gathered.base_offset,
            next_offset: gathered.base_offset.plus(gathered.header.records),
            max_timestamp: gathered.header.max_timestamp,
            bytes,
            charge,
        });
    }

    /// Everything below `next_offset` is durable. Says whether more is shown than before.
    ///
    /// # Panics
    /// When that is not yet appended.
    pub fn advance(&mut self, next_offset: Offset) -> bool {
        assert!(next_offset <= self.end, "durable to {next_offset} beyond the end {}", self.end);
        let advanced = next_offset > self.high_watermark;
        if advanced {
            self.high_watermark = next_offset;
        }
        advanced
    }

    /// Where truncation at `offset` really cuts: batches are never split, so the one that holds `offset` goes whole.
    pub fn cut_at(&self, offset: Offset) -> Offset {
        let within_tail = self.tail.from(offset).next().map(|batch| batch.base_offset);
        let within_gathering = || {
            let holds = |batch: &&Gathered| batch.base_offset.plus(batch.header.records) > offset;
            self.gathering.iter().find(holds).map(|batch| batch.base_offset)
        };
        within_tail.or_else(within_gathering).unwrap_or(self.end).max(self.log_start)
    }

    /// Drops every record at or above `cut`, which [`cut_at`](Self::cut_at) gave.
    ///
    /// The high watermark falls with the end: on a single node only tests and operators truncate; in a cluster a
    /// follower does, above what was committed.
    pub fn truncate(&mut self, cut: Offset) {
        self.tail.truncate(cut);
        while self.gathering.back().is_some_and(|batch| batch.base_offset >= cut) {
            self.gathering.pop_back();
        }
        self.epochs.truncate(cut);
        self.end = cut;
        // Only replay comes here with a log start above the cut: it was not durable yet when the suffix was cut.
        self.log_start = self.log_start.min(cut);
        self.high_watermark = self.high_watermark.min(cut);
        // Of batches below a log start that turned out not to be durable when the suffix was cut.
        self.producers_before_tail.truncate(cut);
        self.rebuild_producers();
    }

    /// Drops records below `offset`, which is durable as the new log start. Producer state stays.
    pub fn move_log_start(&mut self, offset: Offset) {
        self.log_start = self.log_start.max(offset.min(self.high_watermark));
        while let Some(batch) = self.tail.pop_below(self.log_start) {
            remember(&mut self.producers_before_tail, &batch);
        }
    }

    /// Whole batches from the one that holds `offset`, none above the high watermark: at most `bytes_max`, but one at
    /// least if `one_at_least`. Appends them to `batches` and returns their bytes.
    ///
    /// # Errors
    /// [`ErrorCode::OffsetOutOfRange`] below the log start or above the high watermark.
    pub fn read(
        &self,
        offset: Offset,
        bytes_max: usize,
        one_at_least: bool,
        batches: &mut Vec<Bytes>,
    ) -> Result<usize, ErrorCode> {
        if offset < self.log_start || offset > self.high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let mut total = 0;
        for batch in self.tail.from(offset) {
            let first = one_at_least && total == 0;
            let fits = total + batch.bytes.len() <= bytes_max;
            if batch.next_offset > self.high_watermark || !(fits || first) {
                break;
            }
            total += batch.bytes.len();
            batches.push(batch.bytes.clone());
        }
        Ok(total)
    }

    /// Bytes that [`read`](Self::read) could give from `offset`, counted no further than `enough`.
    pub fn readable_bytes(&self, offset: Offset, enough: usize) -> usize {
        let mut total = 0;
        for batch in self.tail.from(offset) {
            if batch.next_offset > self.high_watermark || total >= enough {
                break;
            }
            total += batch.bytes.len();
        }
        total
    }

    /// The first committed record at or after `timestamp`: its offset and timestamp. Reads records only of the batch
    /// that holds it, decompressing no more than `decompressed_bytes_max`.
    pub fn find_timestamp(
        &self,
        timestamp: TimestampMs,
        decompressed_bytes_max: usize,
    ) -> Option<(Offset, TimestampMs)> {
        let candidates = self
            .tail
            .from(self.log_start)
            .take_while(|batch| batch.next_offset <= self.high_watermark)
            .filter(|batch| batch.max_timestamp >= timestamp);
        for batch in candidates {
            // A batch whose records its producer garbled cannot be read by anybody; the time is looked for behind it.
            let Ok(mut records) = RecordReader::new(&batch.bytes, decompressed_bytes_max) else { continue };
            while let Some(Ok(record)) = records.next() {
                if record.timestamp >= timestamp && record.offset >= self.log_start {
                    return Some((record.offset, record.timestamp));
                }
            }
        }
        None
    }

    /// Replays a batch from the log. It was acknowledged or would have been; it is not judged again.
    pub(crate) fn replayed(
        &mut self,
        header: &BatchHeader,
        leader_epoch: LeaderEpoch,
        bytes: Bytes,
        charge: usize,
    ) {
        let base_offset = self.end;
        self.epochs.record(leader_epoch, base_offset);
        self.producers.record(header, base_offset);
        self.end = base_offset.plus(header.records);
        self.high_watermark = self.end;
        self.tail.push(TailBatch {
            base_offset,
            next_offset: self.end,
            max_timestamp: header.max_timestamp,
            bytes,
            charge,
        });
    }

    /// Replay is over: appends from now on carry `leader_epoch`.
    pub(crate) fn lead(&mut self, leader_epoch: LeaderEpoch) {
        assert!(
            self.epochs.last().is_none_or(|last| last < leader_epoch),
            "leader epoch must rise with every start"
        );
        self.leader_epoch = leader_epoch;
    }

    /// Opens it read-only: not proven continuous.
    pub(crate) fn mark_damaged(&mut self) {
        self.damaged = true;
    }

    fn rebuild_producers(&mut self) {
        let mut rebuilt = self.producers_before_tail.clone();
        for batch in self.tail.batches() {
            remember(&mut rebuilt, batch);
        }
        for batch in &self.gathering {
            rebuilt.record(&batch.header, batch.base_offset);
        }
        self.producers = rebuilt;
    }
}

fn remember(table: &mut ProducerTable, batch: &TailBatch) {
    if let Ok(header) = BatchHeader::parse(&batch.bytes) {
        table.record(&header, batch.base_offset);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Batches for tests of this crate.

    use super::*;
    use ringmain_wire::batch::{BatchBuilder, Codec};
    use ringmain_wire::ids::{ProducerEpoch, ProducerId, ProducerSequence};

    /// A batch of `records` small records.
    pub(crate) fn batch(producer: i64, epoch: i16, sequence: i32, records: u32) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None);
        for number in 0..records {
            let value = format!("{sequence}+{number}");
            builder.append(TimestampMs(1_000 + i64::from(number)), None, Some(value.as_bytes()), &[]);
        }
        builder.set_producer(ProducerId(producer), ProducerEpoch(epoch), ProducerSequence(sequence));
        builder.finish().expect("a small batch is always in bounds")
    }

    /// The header of [`batch`].
    pub(crate) fn header(producer: i64, epoch: i16, sequence: i32, records: u32) -> BatchHeader {
        BatchHeader::parse(&batch(producer, epoch, sequence, records))
            .expect("the builder's own output parses")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{batch, header};
    use super::*;

    fn stamped(bytes: &Bytes, base_offset: Offset) -> Bytes {
        let mut copy = bytes.to_vec();
        ringmain_wire::batch::stamp(&mut copy, base_offset, LeaderEpoch(1));
        copy.into()
    }

    /// A partition with batches of two records each from one producer, of which the first `durable` are shown.
    fn partition(batches: i32, durable: i32) -> Partition {
        let mut partition = Partition::new(PartitionId::default(), LeaderEpoch(1));
        for number in 0..batches {
            let header = header(7, 0, number * 2, 2);
            let base_offset = partition.end();
            assert_eq!(
                partition.admit(&header),
                Admission::Append { base_offset, leader_epoch: LeaderEpoch(1) }
            );
            partition.appended(&header);
            partition.frozen(stamped(&batch(7, 0, number * 2, 2), base_offset), 100);
        }
        partition.advance(Offset(i64::from(durable) * 2));
        partition
    }

    #[test]
    fn nothing_above_the_high_watermark_is_read() {
        let partition = partition(3, 2);
        let mut batches = Vec::new();
        partition.read(Offset(0), usize::MAX, true, &mut batches).unwrap();
        assert_eq!(batches.len(), 2);
        assert_eq!(partition.read(Offset(4), usize::MAX, true, &mut batches), Ok(0));
        assert_eq!(
            partition.read(Offset(5), usize::MAX, true, &mut batches),
            Err(ErrorCode::OffsetOutOfRange)
        );
    }

    #[test]
    fn a_batch_is_read_whole_even_when_it_is_too_large_or_entered_in_the_middle() {
        let partition = partition(3, 3);
        let mut batches = Vec::new();
        partition.read(Offset(3), 1, true, &mut batches).unwrap();
        assert_eq!(BatchHeader::parse(&batches[0]).unwrap().base_offset, Offset(2));
        assert_eq!(batches.len(), 1);
        assert_eq!(partition.read(Offset(3), 1, false, &mut batches), Ok(0));
    }

    #[test]
    fn truncation_drops_whole_batches_and_what_was_known_of_their_producer() {
        let mut partition = partition(3, 3);
        let cut = partition.cut_at(Offset(3));
        assert_eq!(cut, Offset(2));
        partition.truncate(cut);
        assert_eq!((partition.end(), partition.high_watermark()), (Offset(2), Offset(2)));
        assert!(matches!(partition.admit(&header(7, 0, 0, 2)), Admission::Duplicate(_)));
        assert_eq!(
            partition.admit(&header(7, 0, 2, 2)),
            Admission::Append { base_offset: Offset(2), leader_epoch: LeaderEpoch(1) }
        );
    }

    #[test]
    fn truncation_reaches_batches_whose_group_has_not_left() {
        let mut partition = partition(1, 1);
        partition.appended(&header(7, 0, 2, 2));
        partition.appended(&header(7, 0, 4, 2));
        assert_eq!(partition.cut_at(Offset(5)), Offset(4));
        partition.truncate(Offset(4));
        let Admission::Duplicate(remembered) = partition.admit(&header(7, 0, 2, 2)) else {
            panic!("forgotten")
        };
        assert_eq!(remembered.base_offset, Offset(2));
        partition.frozen(stamped(&batch(7, 0, 2, 2), Offset(2)), 100);
        assert_eq!(partition.tail().batches().count(), 2);
    }

    #[test]
    fn producers_outlive_their_records() {
        let mut partition = partition(3, 3);
        partition.move_log_start(Offset(6));
        assert_eq!(partition.tail().charged_bytes(), 0);
        assert!(matches!(partition.admit(&header(7, 0, 4, 2)), Admission::Duplicate(_)));
        partition.truncate(partition.cut_at(Offset(6)));
        assert!(matches!(partition.admit(&header(7, 0, 4, 2)), Admission::Duplicate(_)));
    }

    #[test]
    fn finds_the_first_record_of_a_time() {
        let partition = partition(2, 2);
        let found = partition.find_timestamp(TimestampMs(1_001), 1 << 20);
        assert_eq!(found, Some((Offset(1), TimestampMs(1_001))));
        assert_eq!(partition.find_timestamp(TimestampMs(5_000), 1 << 20), None);
    }
}
