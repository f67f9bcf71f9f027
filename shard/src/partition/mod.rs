//! A partition: what its records are, which of them are durable, and who may append.
//!
//! Owned by one shard of one node. Appending is three steps that the [store](crate::store) takes in order: `admit`
//! judges a batch, `appended` gives it its offsets, `frozen` hands over its bytes once its log group has left. A fourth,
//! `advance`, follows when that group is durable; only then is the batch shown to anybody.

pub mod epochs;
pub mod producers;
pub mod segments;
pub mod tail;

mod needed;
mod replayed;

use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_wal::state::{PartitionState, RememberedBatch, SegmentExtent};
use ringmain_wire::batch::{BatchHeader, RecordReader};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;

use self::epochs::EpochTable;
use self::needed::Needed;
use self::producers::{PRODUCER_STATE_BYTES_MAX, ProducerTable, SequenceCheck};
use self::segments::Segments;
use self::tail::{Carried, LogPlace, Tail, TailBatch};

/// Parts of a state in the log, in bytes: what every one has, with the entry's own head; a segment; a leader epoch.
const STATE_HEAD_BYTES: usize = 128;
const STATE_SEGMENT_BYTES: usize = 40;
const STATE_EPOCH_BYTES: usize = 12;

/// One partition as its leader sees it.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    /// Where the log says that it starts, durably or not yet.
    log_start_logged: Offset,
    end: Offset,
    high_watermark: Offset,
    epochs: EpochTable,
    segments: Segments,
    /// Every record below lies in a segment, or below the log start.
    settled_end: Offset,
    /// Up to here the log says so, durably.
    settled_durably: Offset,
    /// The newest records; those below `settled_end` are kept only because readers are likely to want them.
    tail: Tail,
    /// Appended, their log group not yet left; the newest records, oldest first.
    gathering: VecDeque<Gathered>,
    producers: ProducerTable,
    /// The producer table as it stood at `settled_end`: what truncation rebuilds from.
    producers_settled: ProducerTable,
    needed: Needed,
    /// Rises with every truncation, and when an open segment goes away: what was begun before is stale.
    truncations: u64,
    damaged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    header: BatchHeader,
    base_offset: Offset,
    place: LogPlace,
}

/// Where the records from an offset on are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// In memory, or there are none yet.
    Tail,
    /// In this segment, or first there.
    Segment(SegmentExtent),
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
            log_start_logged: Offset::ZERO,
            end: Offset::ZERO,
            high_watermark: Offset::ZERO,
            epochs: EpochTable::default(),
            segments: Segments::default(),
            settled_end: Offset::ZERO,
            settled_durably: Offset::ZERO,
            tail: Tail::default(),
            gathering: VecDeque::new(),
            producers: ProducerTable::default(),
            producers_settled: ProducerTable::default(),
            needed: Needed::default(),
            truncations: 0,
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

    /// Its batches on disk outside the log.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Records below lie in segments.
    pub fn settled_end(&self) -> Offset {
        self.settled_end
    }

    /// Durable batches that lie in no segment yet, oldest first.
    pub fn unsettled(&self) -> impl Iterator<Item = &TailBatch> {
        self.tail.from(self.settled_end).take_while(|batch| batch.next_offset <= self.high_watermark)
    }

    /// The oldest place in the log that replay needs for this partition; none when the log holds nothing of it.
    pub fn needed_place(&self) -> Option<LogPlace> {
        let in_tail = self.tail.from(self.settled_durably).next().map(|batch| batch.place);
        let gathering = self.gathering.front().map(|batch| batch.place);
        [self.needed.oldest(), in_tail.or(gathering)].into_iter().flatten().min()
    }

    /// Where its last durable state stands in the log.
    pub fn state_place(&self) -> Option<LogPlace> {
        self.needed.state()
    }

    /// Rises with every truncation, and when an open segment goes away: what was begun before is stale.
    pub fn truncations(&self) -> u64 {
        self.truncations
    }

    /// Whether batches of it were appended whose log group has not left.
    pub fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// What it remembers of producers takes that much memory, about, in bytes.
    pub fn producer_bytes(&self) -> usize {
        self.producers.bytes() + self.producers_settled.bytes()
    }

    /// What its [state](Self::state) takes in the log at most, in bytes.
    pub fn state_bytes_max(&self) -> usize {
        let producers = self.producers.len().max(self.producers_settled.len());
        STATE_HEAD_BYTES
            + self.segments.extents().len() * STATE_SEGMENT_BYTES
            + self.epochs.rows().len() * STATE_EPOCH_BYTES
            + producers * PRODUCER_STATE_BYTES_MAX
    }

    /// Forgets all but those idempotent `producers` that were the last to append.
    pub fn keep_latest_producers(&mut self, producers: usize) {
        self.producers.keep_latest(producers);
        self.producers_settled.keep_latest(producers);
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

    /// A batch was put into the log group being gathered, which is at `place`, at the end of this partition.
    pub fn appended(&mut self, header: &BatchHeader, place: LogPlace) {
        let base_offset = self.end;
        self.epochs.record(self.leader_epoch, base_offset);
        self.producers.record(header, base_offset);
        self.gathering.push_back(Gathered { header: *header, base_offset, place });
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
            place: gathered.place,
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

    /// Where truncation at `offset` really cuts: batches are never split, so the one that holds `offset` goes whole. None
    /// when that batch lies only in a segment, where it has to be looked for.
    pub fn cut_at(&self, offset: Offset) -> Option<Offset> {
        if offset <= self.log_start {
            return Some(self.log_start);
        }
        if let Some(extent) = self.segments.at(offset)
            && self.tail.start().is_none_or(|start| offset < start)
        {
            return (extent.base >= offset).then_some(offset);
        }
        let within_tail = self.tail.from(offset).next().map(|batch| batch.base_offset);
        let within_gathering = || {
            let holds = |batch: &&Gathered| batch.base_offset.plus(batch.header.records) > offset;
            self.gathering.iter().find(holds).map(|batch| batch.base_offset)
        };
        Some(within_tail.or_else(within_gathering).unwrap_or(self.end).max(self.log_start))
    }

    /// Drops every record at or above `cut`, which [`cut_at`](Self::cut_at) gave or which begins a settled batch; the
    /// entry that says so stands at `place`. Gives the segments whose files are void once that entry is durable.
    ///
    /// The high watermark falls with the end: on a single node only tests and operators truncate; in a cluster a
    /// follower does, above what was committed.
    pub fn truncate(&mut self, cut: Offset, place: LogPlace) -> Vec<SegmentExtent> {
        self.needed.note(place);
        self.truncations += 1;
        if let Some(batch) = self.tail.from(cut).next()
            && batch.base_offset < cut
            && batch.next_offset > self.settled_durably
        {
            // Of a batch that is cut at the log start replay has to meet the part below, or it would seem to be missing.
            self.needed.note_batch(batch.place, batch.next_offset);
        }
        self.tail.truncate(cut);
        while self.gathering.back().is_some_and(|batch| batch.base_offset >= cut) {
            self.gathering.pop_back();
        }
        self.epochs.truncate(cut);
        self.end = cut;
        // Only replay comes here with a log start above the cut: it was not durable yet when the suffix was cut.
        self.log_start = self.log_start.min(cut);
        self.log_start_logged = self.log_start_logged.min(cut);
        self.high_watermark = self.high_watermark.min(cut);
        self.settled_end = self.settled_end.min(cut);
        self.settled_durably = self.settled_durably.min(cut);
        if self.tail.start().is_none() && self.gathering.is_empty() {
            // Below a cut at the log start there may be nothing, not even in a segment.
            self.settled_end = cut;
            self.settled_durably = cut;
        }
        self.producers_settled.truncate(cut);
        self.rebuild_producers();
        let mut void = self.segments.truncate(cut);
        // A cut at the log start may have gone through a batch; nothing is left of its segment.
        void.extend(self.segments.drop_below(self.log_start));
        void
    }

    /// Where it begins once all is durable that was put into the log.
    pub fn log_start_logged(&self) -> Offset {
        self.log_start.max(self.log_start_logged)
    }

    /// An entry that moves the log start to `offset` was put into the log.
    pub fn log_start_logging(&mut self, offset: Offset) {
        self.log_start_logged = self.log_start_logged.max(offset);
    }

    /// Drops records below `offset`, which is durable as the new log start through the entry at `place`. Producer state
    /// stays. Gives the segments whose files can go.
    pub fn move_log_start(&mut self, offset: Offset, place: LogPlace) -> Vec<SegmentExtent> {
        self.needed.note(place);
        self.log_start = self.log_start.max(offset.min(self.high_watermark));
        self.let_go_below_log_start();
        let open = self.segments.open().map(|open| open.base);
        let gone = self.segments.drop_below(self.log_start);
        if gone.last().is_some_and(|last| Some(last.base) == open) {
            self.truncations += 1;
        }
        gone
    }

    /// Batches in memory that lie below the log start go.
    fn let_go_below_log_start(&mut self) {
        while let Some(batch) = self.tail.pop_below(self.log_start) {
            if batch.next_offset > self.settled_durably {
                // Replay has to meet it, or what follows would seem to leave a gap.
                self.needed.note_batch(batch.place, batch.next_offset);
                self.settled_durably = batch.next_offset;
            }
            if batch.next_offset > self.settled_end {
                remember(&mut self.producers_settled, &batch);
                self.settled_end = batch.next_offset;
            }
        }
    }

    /// What a `State` entry says now.
    pub fn state(&self) -> PartitionState {
        let settled = |&(_, start): &(LeaderEpoch, Offset)| start < self.settled_end;
        PartitionState {
            log_start: self.log_start_logged(),
            settled_end: self.settled_end,
            end: self.end,
            segments: self.segments.extents().to_vec(),
            epochs: self.epochs.rows().iter().copied().filter(settled).collect(),
            producers: self.producers_settled.snapshot(),
            is_read_only: self.damaged,
        }
    }

    /// A run of batches was put into a segment, which is `grown` now. The next state tells the log.
    pub fn settled(&mut self, grown: SegmentExtent) {
        self.segments.settle(grown);
        let newly = self.tail.from(self.settled_end).take_while(|batch| batch.next_offset <= grown.end);
        newly.for_each(|batch| remember(&mut self.producers_settled, batch));
        self.settled_end = self.settled_end.max(grown.end);
    }

    /// Its [state](Self::state) was put into the log at `place`.
    pub fn state_logging(&mut self, place: LogPlace) {
        self.needed.logging(place, self.settled_end);
    }

    /// The state at `place` is durable. `truncations` is what [`truncations`](Self::truncations) was when it was put into
    /// the log.
    pub fn state_logged(&mut self, place: LogPlace, settled_end: Offset, truncations: u64) {
        self.needed.logged(place);
        // After a truncation the next state says what is left of it.
        if truncations == self.truncations {
            self.settled_durably = self.settled_durably.max(settled_end);
        }
    }

    /// The last segment takes no more batches.
    pub fn close_segment(&mut self) {
        self.segments.close();
    }

    /// The batch at `base_offset` stands further ahead in the log too.
    pub fn carried(&mut self, base_offset: Offset, carried: Carried) {
        self.tail.carry(base_offset, carried);
    }

    /// Lets batches go that are durably settled and stand in the log at or before `place`.
    pub fn evict(&mut self, place: LogPlace) {
        self.tail.evict(place, self.settled_durably);
    }

    /// Where the records from `offset` on are.
    ///
    /// # Errors
    /// [`ErrorCode::OffsetOutOfRange`] below the log start or above the high watermark.
    pub fn locate(&self, offset: Offset) -> Result<Located, ErrorCode> {
        if offset < self.log_start || offset > self.high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let in_memory_from =
            self.tail.start().or_else(|| self.gathering.front().map(|batch| batch.base_offset));
        if in_memory_from.is_some_and(|start| start <= offset) {
            return Ok(Located::Tail);
        }
        Ok(self.segments.at(offset).map_or(Located::Tail, |extent| Located::Segment(*extent)))
    }

    /// Whole batches in memory from the one that holds `offset`, none above the high watermark: at most `bytes_max`, but
    /// one at least if `one_at_least`. Appends them to `batches` and returns their bytes.
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

    /// Bytes that could be read from `offset`, counted no further than `enough`; what lies in segments is always enough.
    pub fn readable_bytes(&self, offset: Offset, enough: usize) -> usize {
        if matches!(self.locate(offset), Ok(Located::Segment(_))) {
            return enough;
        }
        let mut total = 0;
        for batch in self.tail.from(offset) {
            if batch.next_offset > self.high_watermark || total >= enough {
                break;
            }
            total += batch.bytes.len();
        }
        total
    }

    /// The first committed record in memory at or after `timestamp`: its offset and timestamp. Reads records only of the
    /// batch that holds it, decompressing no more than `decompressed_bytes_max`.
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

    fn rebuild_producers(&mut self) {
        let mut rebuilt = self.producers_settled.clone();
        for batch in self.tail.from(self.settled_end) {
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
pub(crate) mod testing;
#[cfg(test)]
mod tests;
