//! What a store was asked to do, and which partitions that makes.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringmain_wal::group::Generation;
use ringmain_wire::batch::{BatchHeader, stamp, stamp_append_time};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, ProducerId, TimestampMs};

use super::disk::Disk;
use super::node::RELAXED;
use super::replayed;
use crate::partition::{Admission, Partition};
use crate::recovery::Recovered;

/// Partitions by id.
pub(super) type Model = BTreeMap<PartitionId, Expected>;

/// One partition as it ought to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    /// As they lie in the log, those below the log start too.
    pub(super) batches: Vec<Bytes>,
    /// Of these, the ones behind the last cut.
    since_cut: usize,
}

/// The model after each operation, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    states: Vec<Model>,
    /// Operations known to be durable.
    durable: usize,
    /// Operations known to be written, if not more.
    written: usize,
    /// Batches that count once written: by operation their records, and whether they were acknowledged.
    relaxed: BTreeMap<usize, (u32, bool)>,
}

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Killed,
    PowerLost,
}

impl Expected {
    pub(super) fn append(&mut self, batch: &[u8], epoch: LeaderEpoch, append_time: Option<TimestampMs>) {
        let mut stamped = batch.to_vec();
        stamp(&mut stamped, self.end, epoch);
        if let Some(append_time) = append_time {
            stamp_append_time(&mut stamped, append_time);
        }
        let records = header(batch).records;
        self.batches.push(stamped.into());
        self.end = self.end.plus(records);
        self.since_cut += 1;
    }

    pub(super) fn truncate(&mut self, cut: Offset) {
        self.batches.retain(|batch| header(batch).next_offset() <= cut);
        self.end = cut;
        self.log_start = self.log_start.min(cut);
        self.since_cut = 0;
    }

    /// Where the batch begins that holds `offset`, or the end.
    pub(super) fn batch_start(&self, offset: Offset) -> Offset {
        let headers = self.batches.iter().map(header);
        headers
            .filter(|header| header.next_offset() > offset)
            .map(|header| header.base_offset)
            .next()
            .unwrap_or(self.end)
    }

    /// Batches that readers get.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Bytes> {
        self.batches.iter().filter(|batch| header(batch).next_offset() > self.log_start)
    }

    /// The newest batches, as many as are certainly remembered of their producer.
    pub(super) fn remembered(&self, producer: ProducerId) -> impl Iterator<Item = BatchHeader> {
        let headers = self.batches.iter().rev().take(self.since_cut.min(5)).map(header);
        headers.take_while(move |header| header.producer == producer)
    }
}

fn header(batch: impl AsRef<[u8]>) -> BatchHeader {
    BatchHeader::parse(batch.as_ref()).unwrap()
}

impl History {
    /// Begins with what a start has found.
    pub(super) fn beginning(found: Model) -> Self {
        Self { states: vec![found], ..Self::default() }
    }

    /// The model after everything that was asked for.
    pub(super) fn newest(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }

    /// Takes note of an operation and gives its number.
    pub(super) fn push(&mut self, change: impl FnOnce(&mut Model)) -> usize {
        let mut model = self.newest().clone();
        change(&mut model);
        self.states.push(model);
        self.states.len() - 1
    }

    /// The number that the next operation gets.
    pub(super) fn next(&self) -> usize {
        self.states.len()
    }

    /// The operation appends records that count once written.
    pub(super) fn note_relaxed(&mut self, operation: usize, records: u32) {
        self.relaxed.insert(operation, (records, false));
    }

    pub(super) fn handle_acknowledged(&mut self, operation: usize) {
        self.written = self.written.max(operation);
        match self.relaxed.get_mut(&operation) {
            Some((_, is_acknowledged)) => *is_acknowledged = true,
            None => self.durable = self.durable.max(operation),
        }
    }

    /// Acknowledged records behind that operation.
    fn acknowledged_behind(&self, operation: usize) -> u64 {
        let behind = self.relaxed.range(operation + 1..);
        behind
            .filter(|(_, (_, acknowledged))| *acknowledged)
            .map(|(_, &(records, _))| u64::from(records))
            .sum()
    }

    /// The model that `recovered` agrees with: some beginning of what was asked for, with all that was acknowledged but,
    /// if power was lost, a few records that count once written. Partitions that were removed are not looked at: whoever removes one has made sure that it never comes back.
    pub(super) fn agreed(
        &self,
        disk: &Disk,
        recovered: &Recovered,
        generation: Generation,
        end: End,
    ) -> Model {
        let mut differences = Vec::new();
        let least = if end == End::Killed { self.written } else { self.durable };
        for (operation, model) in self.states.iter().enumerate().skip(least).rev() {
            if self.acknowledged_behind(operation) >= RELAXED.records {
                break;
            }
            let mut model = model.clone();
            model.retain(|id, _| self.newest().contains_key(id));
            let found = model.iter().find_map(|(id, expected)| {
                let difference = match recovered.partitions.get(id) {
                    Some(partition) => expected.difference(disk, partition),
                    None => (*expected != Expected::default()).then(|| "is gone".to_owned()),
                };
                difference.map(|difference| format!("{id}: {difference}"))
            });
            match found {
                Some(difference) => differences.push(difference),
                None => return model,
            }
        }
        panic!("generation {generation}, durable {}: no state agrees: {differences:#?}", self.durable)
    }
}

impl Expected {
    /// How a partition that was found differs.
    pub(super) fn difference(&self, disk: &Disk, partition: &Partition) -> Option<String> {
        if partition.is_damaged() {
            return Some("is damaged".to_owned());
        }
        let found = (partition.log_start(), partition.end());
        if found != (self.log_start, self.end) {
            return Some(format!("found {found:?} instead of {:?}", (self.log_start, self.end)));
        }
        let is_shown = |batch: &Bytes| header(batch).next_offset() > self.log_start;
        let batches: Vec<_> = replayed::batches(disk, partition).into_iter().filter(is_shown).collect();
        if !batches.iter().eq(self.shown()) {
            let bases = |batches: &mut dyn Iterator<Item = &Bytes>| -> Vec<_> {
                batches.map(|batch| header(batch).base_offset).collect()
            };
            let (found, expected) = (bases(&mut batches.iter()), bases(&mut self.shown()));
            return Some(format!("batches at {found:?} instead of {expected:?}"));
        }
        let rows = partition.epochs();
        let is_wrong =
            |batch: &&Bytes| rows.at(header(batch).base_offset) != Some(header(batch).leader_epoch);
        if let Some(batch) = self.shown().find(is_wrong) {
            return Some(format!("epochs {rows:?} against {:?}", header(batch)));
        }
        let newest = self.batches.last().map(header)?;
        let is_forgotten = |header: &BatchHeader| !matches!(partition.admit(header), Admission::Duplicate(batch) if batch.base_offset == header.base_offset);
        self.remembered(newest.producer).find(is_forgotten).map(|header| format!("forgot {header:?}"))
    }
}
