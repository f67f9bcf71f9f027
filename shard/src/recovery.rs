//! Partitions rebuilt from the entries of all logs, in the order (generation, sequence).
//!
//! Replay never judges what the log holds; it only checks that each partition's records follow each other without a gap.
//! Past rot that check is the proof that nothing of a partition was in the damaged place. A partition that cannot be
//! proven continuous is opened read-only, with what came before the damage.
//!
//! Where log files were recycled, batches may be missing that a later `State` entry makes good. So what the log holds
//! behind a gap is kept aside until a state, or batches carried behind one, reach across.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ringmain_wal::group::{EntryHead, EntryKind, Generation, LogId};
use ringmain_wal::replay::{Lost, Rot};
use ringmain_wal::state::PartitionState;
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId};

use crate::partition::Partition;
use crate::partition::tail::LogPlace;

/// Rebuilds partitions. Used once, before a node serves; view: node.
#[derive(Debug, Default)]
pub struct Recovery {
    partitions: BTreeMap<PartitionId, Partition>,
    /// May have lost records to rot; proven innocent by the next append that follows without a gap.
    suspects: BTreeSet<PartitionId>,
    /// Partitions that no entry has named yet are suspects too, if they existed in this generation.
    unseen_suspected_upto: Option<Generation>,
    /// What stands behind a gap that a state has to reach across.
    gaps: BTreeMap<PartitionId, Gap>,
    /// Of damaged partitions: the end of all records that the log was seen to hold. A state that reaches as far makes good
    /// what was lost.
    damaged_upto: BTreeMap<PartitionId, Offset>,
    /// Damaged partitions whose last state said so: what is left of them is known exactly.
    known_damaged: BTreeSet<PartitionId>,
    /// While a log is replayed whose oldest files are gone: the partitions that it has named.
    renewed: Option<BTreeSet<PartitionId>>,
}

/// What the log holds of a partition behind a gap.
#[derive(Debug, Default)]
struct Gap {
    /// Batches that no truncation took, in the order of their offsets.
    behind: VecDeque<ReplayedBatch>,
    /// Where the partition ends.
    end: Offset,
    /// Where it starts, if that was moved behind the gap.
    log_start: Option<(Offset, LogPlace)>,
}

#[derive(Debug)]
struct ReplayedBatch {
    header: BatchHeader,
    head: EntryHead,
    bytes: Bytes,
    charge: usize,
    place: LogPlace,
}

impl ReplayedBatch {
    fn next_offset(&self) -> Offset {
        self.head.offset.plus(self.head.records)
    }

    fn append_to(self, partition: &mut Partition) {
        partition.replayed(&self.header, self.head.leader_epoch, self.bytes, self.charge, self.place);
    }
}

/// The log in which rot was found.
#[derive(Clone, Copy, Debug)]
pub struct RottenLog {
    /// Its generation.
    pub generation: Generation,
    /// The shard that wrote it.
    pub log: LogId,
}

impl RottenLog {
    /// The metadata log is always shard 0's.
    fn may_hold(self, partition: PartitionId) -> bool {
        partition != PartitionId::METADATA || self.log == LogId(0)
    }
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// Every partition that has an entry in a log, damaged ones marked.
    pub partitions: BTreeMap<PartitionId, Partition>,
    /// A partition that has no entry may have lost all of them to rot, if it existed in this generation.
    pub unseen_suspected_upto: Option<Generation>,
}

impl Recovered {
    /// Takes out a partition, or an empty one if the logs hold nothing of it. `created` is the leader epoch in which it
    /// came into being, which on a single node is the generation.
    pub fn take(&mut self, id: PartitionId, created: LeaderEpoch) -> Partition {
        self.partitions.remove(&id).unwrap_or_else(|| {
            let mut partition = Partition::new(id, LeaderEpoch(0));
            let suspected = self.unseen_suspected_upto.is_some_and(|Generation(upto)| {
                i64::from(created.get()) <= i64::from(upto) && id != PartitionId::METADATA
            });
            if suspected {
                partition.mark_damaged();
            }
            partition
        })
    }
}

impl Recovery {
    /// The next log follows; `is_recycled` if its oldest files are gone. Then it says all there is to say of the partitions
    /// that it names, and what logs of former starts say of them is outdated.
    pub fn begin_log(&mut self, is_recycled: bool) {
        self.renewed = is_recycled.then(BTreeSet::new);
    }

    /// An entry at `place`, with its bytes if it has any, and the memory that they hold. Of an entry without a partition
    /// nothing is to be learnt here.
    pub fn apply(&mut self, place: LogPlace, head: &EntryHead, bytes: Bytes, charge: usize) {
        let id = head.partition;
        if self.renewed.as_mut().is_some_and(|renewed| renewed.insert(id)) {
            self.forget(id);
        }
        match head.kind {
            EntryKind::Append => self.apply_append(place, head, bytes, charge),
            EntryKind::Carried => self.apply_carried(place, head, bytes, charge),
            EntryKind::State => self.apply_state(place, head, &bytes),
            EntryKind::Truncate => {
                if let Some(gap) = self.gaps.get_mut(&id) {
                    gap.behind.retain(|batch| batch.next_offset() <= head.offset);
                    gap.end = gap.end.min(head.offset);
                    if let Some((log_start, _)) = &mut gap.log_start {
                        // What is appended behind the cut is not let go.
                        *log_start = head.offset.min(*log_start);
                    }
                }
                // Of a damaged one too: its files may be gone.
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.truncate(head.offset.min(partition.end()), place);
                }
                self.close_gap(id);
            }
            EntryKind::LogStart => {
                if let Some(gap) = self.gaps.get_mut(&id) {
                    let moved = gap.log_start.map_or(head.offset, |(before, _)| before.max(head.offset));
                    gap.log_start = Some((moved, place));
                } else if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.move_log_start(head.offset, place);
                }
            }
            EntryKind::PartitionDrop => self.forget(id),
            EntryKind::Floor => {}
        }
    }

    /// Durable groups were found damaged behind the entries applied so far.
    pub fn handle_rot(&mut self, rot: &Rot, place: RottenLog) {
        match &rot.lost {
            Lost::Entries(heads) => {
                for head in heads {
                    // Named by an intact directory: there is no doubt to clear up.
                    self.damage(head.partition, head.offset.plus(head.records));
                }
            }
            Lost::Groups => {
                self.suspects.extend(self.partitions.keys().filter(|id| place.may_hold(**id)));
                self.unseen_suspected_upto = self.unseen_suspected_upto.max(Some(place.generation));
                if place.may_hold(PartitionId::METADATA) {
                    // Even an empty metadata log may have lost its first change.
                    self.partition(PartitionId::METADATA);
                    self.suspects.insert(PartitionId::METADATA);
                }
            }
        }
    }

    /// All logs are replayed.
    pub fn finish(mut self) -> Recovered {
        for id in &self.suspects {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.mark_damaged();
            }
        }
        for id in self.gaps.keys().copied().collect::<Vec<_>>() {
            self.damage(id, Offset::ZERO);
        }
        Recovered { partitions: self.partitions, unseen_suspected_upto: self.unseen_suspected_upto }
    }

    fn apply_append(&mut self, place: LogPlace, head: &EntryHead, bytes: Bytes, charge: usize) {
        let id = head.partition;
        let next_offset = head.offset.plus(head.records);
        let header = BatchHeader::parse(&bytes).ok().filter(|header| header.records == head.records);
        let partition = self.partition(id);
        let Some(header) = header.filter(|_| !partition.is_damaged()) else {
            return self.damage(id, next_offset);
        };
        let epoch_falls = partition.epochs().last().is_some_and(|last| last > head.leader_epoch);
        let goes_on = partition.end() == head.offset && !epoch_falls;
        let batch = ReplayedBatch { header, head: *head, bytes, charge, place };
        if goes_on && !self.gaps.contains_key(&id) {
            batch.append_to(self.partition(id));
            self.suspects.remove(&id);
        } else {
            let gap = self.gaps.entry(id).or_default();
            gap.end = next_offset;
            gap.behind.push_back(batch);
        }
    }

    /// A batch once more: known already, unless the files in which it first stood are gone.
    fn apply_carried(&mut self, place: LogPlace, head: &EntryHead, bytes: Bytes, charge: usize) {
        let id = head.partition;
        let end = self.partition(id).end();
        if head.offset.plus(head.records) <= end {
            self.partition(id).replayed_again(head.offset, bytes, charge, place);
        } else if head.offset == end
            && let Some(gap) = self.gaps.remove(&id)
        {
            self.apply_append(place, head, bytes, charge);
            self.gaps.insert(id, gap);
            self.close_gap(id);
        } else {
            self.apply_append(place, head, bytes, charge);
        }
    }

    fn apply_state(&mut self, place: LogPlace, head: &EntryHead, bytes: &[u8]) {
        let id = head.partition;
        let Ok(state) = PartitionState::decode(bytes) else {
            return self.damage(id, head.offset);
        };
        let (settled_end, end) = (state.settled_end, state.end);
        let is_known = self.known_damaged.contains(&id);
        if !is_known && self.damaged_upto.get(&id).is_some_and(|&upto| settled_end < upto) {
            return;
        }
        let is_read_only = state.is_read_only;
        let partition = self.partition(id);
        partition.replayed_state(state, place);
        if partition.end() < end {
            // Batches that stood before it are not there: they may be carried behind it.
            let gap = self.gaps.entry(id).or_default();
            gap.end = gap.end.max(end);
        } else {
            self.suspects.remove(&id);
        }
        self.damaged_upto.remove(&id);
        self.close_gap(id);
        if is_read_only {
            self.damage(id, settled_end);
            self.known_damaged.insert(id);
        }
    }

    /// What is known of a partition may have come as far as what the log holds behind its gap.
    fn close_gap(&mut self, id: PartitionId) {
        let (Some(gap), Some(partition)) = (self.gaps.get_mut(&id), self.partitions.get_mut(&id)) else {
            return;
        };
        while let Some(batch) = gap.behind.front() {
            if batch.next_offset() > partition.end() {
                let epoch_falls =
                    partition.epochs().last().is_some_and(|last| last > batch.head.leader_epoch);
                if batch.head.offset != partition.end() || epoch_falls {
                    return;
                }
                if let Some(batch) = gap.behind.pop_front() {
                    batch.append_to(partition);
                }
            } else {
                gap.behind.pop_front();
            }
        }
        if gap.end > partition.end() {
            return;
        }
        if let Some((offset, place)) = gap.log_start {
            partition.move_log_start(offset, place);
        }
        self.gaps.remove(&id);
        self.suspects.remove(&id);
    }

    fn forget(&mut self, id: PartitionId) {
        self.partitions.remove(&id);
        self.suspects.remove(&id);
        self.gaps.remove(&id);
        self.known_damaged.remove(&id);
        self.damaged_upto.remove(&id);
    }

    fn damage(&mut self, id: PartitionId, upto: Offset) {
        let gap = self.gaps.remove(&id);
        let partition = self.partition(id);
        partition.mark_damaged();
        if let Some((offset, place)) = gap.and_then(|gap| gap.log_start) {
            partition.move_log_start(offset, place);
        }
        self.known_damaged.remove(&id);
        let known = self.damaged_upto.entry(id).or_insert(upto);
        *known = upto.max(*known);
    }

    fn partition(&mut self, id: PartitionId) -> &mut Partition {
        self.partitions.entry(id).or_insert_with(|| {
            if self.unseen_suspected_upto.is_some() && id != PartitionId::METADATA {
                self.suspects.insert(id);
            }
            Partition::new(id, LeaderEpoch(0))
        })
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
