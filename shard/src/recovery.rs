//! Partitions rebuilt from the entries of all logs, in the order (generation, sequence).
//!
//! Replay never judges what the log holds; it only checks that each partition's records follow each other without a gap.
//! Past rot that check is the proof that nothing of a partition was in the damaged place. A partition that cannot be
//! proven continuous is opened read-only, with what came before the damage.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_wal::group::{EntryHead, EntryKind, Generation, LogId};
use ringmain_wal::replay::{Lost, Rot};
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{LeaderEpoch, PartitionId};

use crate::partition::Partition;

/// Rebuilds partitions. Used once, before a node serves; view: node.
#[derive(Debug, Default)]
pub struct Recovery {
    partitions: BTreeMap<PartitionId, Partition>,
    /// May have lost records to rot; proven innocent by the next append that follows without a gap.
    suspects: BTreeSet<PartitionId>,
    /// Partitions that no entry has named yet are suspects too, if they existed in this generation.
    unseen_suspected_upto: Option<Generation>,
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
    /// An entry, with the batch if it is an append, and the memory that the batch holds.
    pub fn apply(&mut self, head: &EntryHead, bytes: Bytes, charge: usize) {
        let id = head.partition;
        match head.kind {
            EntryKind::Append => self.apply_append(head, bytes, charge),
            EntryKind::Truncate => {
                if let Some(partition) =
                    self.partitions.get_mut(&id).filter(|partition| !partition.is_damaged())
                {
                    partition.truncate(head.offset.min(partition.end()));
                }
            }
            EntryKind::LogStart => {
                if let Some(partition) =
                    self.partitions.get_mut(&id).filter(|partition| !partition.is_damaged())
                {
                    partition.move_log_start(head.offset);
                }
            }
            EntryKind::PartitionDrop => {
                self.partitions.remove(&id);
                self.suspects.remove(&id);
            }
        }
    }

    /// Durable groups were found damaged behind the entries applied so far.
    pub fn handle_rot(&mut self, rot: &Rot, place: RottenLog) {
        match &rot.lost {
            Lost::Entries(heads) => {
                for head in heads {
                    // Named by an intact directory: there is no doubt to clear up.
                    self.partition(head.partition).mark_damaged();
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
        Recovered { partitions: self.partitions, unseen_suspected_upto: self.unseen_suspected_upto }
    }

    fn apply_append(&mut self, head: &EntryHead, bytes: Bytes, charge: usize) {
        let id = head.partition;
        let partition = self.partition(id);
        if partition.is_damaged() {
            return;
        }
        let expected = Some((partition.end(), head.records));
        let epoch_falls = partition.epochs().last().is_some_and(|last| last > head.leader_epoch);
        let header = BatchHeader::parse(&bytes).ok();
        match header {
            Some(header) if expected == Some((head.offset, header.records)) && !epoch_falls => {
                partition.replayed(&header, head.leader_epoch, bytes, charge);
                self.suspects.remove(&id);
            }
            _ => partition.mark_damaged(),
        }
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
mod tests {
    use ringmain_wal::group::Sequence;
    use ringmain_wire::ids::{Offset, PartitionIndex, TopicId};

    use super::*;
    use crate::partition::Admission;
    use crate::partition::testing::{batch, header};

    const PLACE: RottenLog = RottenLog { generation: Generation(1), log: LogId(1) };

    fn id(index: u32) -> PartitionId {
        PartitionId::new(TopicId([1; 16]), PartitionIndex(index))
    }

    fn head(kind: EntryKind, index: u32, offset: i64, records: u32) -> EntryHead {
        EntryHead {
            kind,
            flags: 0,
            partition: id(index),
            leader_epoch: LeaderEpoch(1),
            offset: Offset(offset),
            records,
            position: 0,
            length: 0,
            crc: 0,
        }
    }

    fn append(recovery: &mut Recovery, index: u32, offset: i64) {
        recovery.apply(&head(EntryKind::Append, index, offset, 2), batch(7, 0, offset as i32, 2), 4096);
    }

    fn rot(lost: Lost) -> Rot {
        Rot { file: 0, position: 4096, first: Sequence(2), last: Sequence(2), lost }
    }

    #[test]
    fn entries_apply_in_order() {
        let mut recovery = Recovery::default();
        append(&mut recovery, 0, 0);
        append(&mut recovery, 0, 2);
        recovery.apply(&head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
        append(&mut recovery, 0, 2);
        recovery.apply(&head(EntryKind::LogStart, 0, 2, 0), Bytes::new(), 0);
        append(&mut recovery, 1, 0);
        recovery.apply(&head(EntryKind::PartitionDrop, 1, 0, 0), Bytes::new(), 0);
        let recovered = recovery.finish();
        assert_eq!(recovered.partitions.len(), 1);
        let partition = &recovered.partitions[&id(0)];
        assert_eq!(
            (partition.log_start(), partition.end(), partition.high_watermark()),
            (Offset(2), Offset(4), Offset(4))
        );
        assert!(!partition.is_damaged());
    }

    #[test]
    fn a_log_start_above_a_later_cut_falls_to_it() {
        let mut recovery = Recovery::default();
        append(&mut recovery, 0, 0);
        append(&mut recovery, 0, 2);
        recovery.apply(&head(EntryKind::LogStart, 0, 4, 0), Bytes::new(), 0);
        recovery.apply(&head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
        append(&mut recovery, 0, 2);
        let partition = &recovery.finish().partitions[&id(0)];
        assert_eq!(
            (partition.log_start(), partition.end(), partition.is_damaged()),
            (Offset(2), Offset(4), false)
        );
    }

    #[test]
    fn a_producer_is_not_remembered_for_batches_that_were_cut_below_a_log_start() {
        let mut recovery = Recovery::default();
        append(&mut recovery, 0, 0);
        append(&mut recovery, 0, 2);
        recovery.apply(&head(EntryKind::LogStart, 0, 4, 0), Bytes::new(), 0);
        recovery.apply(&head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
        let partition = &recovery.finish().partitions[&id(0)];
        let admitted = |sequence| partition.admit(&header(7, 0, sequence, 2));
        assert!(matches!(admitted(0), Admission::Duplicate(_)));
        assert!(matches!(admitted(2), Admission::Append { base_offset: Offset(2), .. }), "its batch is gone");
    }

    #[test]
    fn past_rot_only_what_continues_without_a_gap_is_writable() {
        let mut recovery = Recovery::default();
        for index in 0..3 {
            append(&mut recovery, index, 0);
        }
        recovery.handle_rot(&rot(Lost::Groups), PLACE);
        append(&mut recovery, 0, 2); // continues: proven
        append(&mut recovery, 1, 4); // a gap: damaged
        append(&mut recovery, 3, 0); // begins at 0: proven
        let mut recovered = recovery.finish();
        let damaged: Vec<bool> =
            (0..5).map(|index| recovered.take(id(index), LeaderEpoch(1)).is_damaged()).collect();
        assert_eq!(damaged, [false, true, true, false, true], "2 was never heard of again, 4 never at all");
        assert!(!recovered.take(id(5), LeaderEpoch(2)).is_damaged(), "created in a later generation");
        assert!(!recovered.take(PartitionId::METADATA, LeaderEpoch(0)).is_damaged(), "in another log");
    }

    #[test]
    fn rot_with_a_readable_directory_hurts_only_the_partitions_it_names() {
        let mut recovery = Recovery::default();
        append(&mut recovery, 0, 0);
        append(&mut recovery, 1, 0);
        recovery.handle_rot(&rot(Lost::Entries(vec![head(EntryKind::Append, 1, 2, 2)])), PLACE);
        append(&mut recovery, 1, 4);
        let mut recovered = recovery.finish();
        assert!(!recovered.take(id(0), LeaderEpoch(1)).is_damaged());
        let damaged = recovered.take(id(1), LeaderEpoch(1));
        assert_eq!((damaged.is_damaged(), damaged.end()), (true, Offset(2)));
        assert!(!recovered.take(id(9), LeaderEpoch(1)).is_damaged());
    }
}
