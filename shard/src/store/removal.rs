//! Removes files that are void, one step at a time, once the log says durably that they are.

use std::collections::{BTreeMap, VecDeque};

use ringmain_wal::group::Sequence;
use ringmain_wal::names::{index_file_name, partition_directory, segment_file_name, stray_file_name};
use ringmain_wire::ids::{Offset, PartitionId};

use crate::effect::{Effect, Effects, FileOperation};
use crate::event::{FileError, FileOutcome};
use crate::time::Mono;

use super::token::StoreToken;
use super::{LOG_DIRECTORY, RETRY_AFTER, StorageFault, Store};

/// What is waiting to be removed.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// Until the group is durable in which the log says that it is void, oldest first.
    promised: VecDeque<(Sequence, Void)>,
    /// To be done, in order.
    steps: VecDeque<(Option<PartitionId>, FileOperation)>,
    /// Steps left by partition.
    partitions: BTreeMap<PartitionId, usize>,
    under_way: Option<(Option<PartitionId>, FileOperation)>,
    /// No descriptor was left: no step begins before.
    retry_at: Option<Mono>,
}

/// Something void.
#[derive(Clone, Debug)]
pub(super) enum Void {
    /// Segments of a partition.
    Segments(PartitionId, Vec<Offset>),
    /// A partition with all its segments, and what of former ones was put aside.
    Partition { id: PartitionId, segments: Vec<Offset>, strays: Vec<Offset> },
    /// Files of the log.
    LogFiles(Vec<String>),
}

impl Removal {
    /// Void once group `sequence` is durable.
    pub(super) fn promise(&mut self, sequence: Sequence, void: Void) {
        let behind = self.promised.partition_point(|(promised, _)| *promised <= sequence);
        self.promised.insert(behind, (sequence, void));
    }

    /// Everything up to `mark` is durable.
    pub(super) fn handle_durable(&mut self, mark: Sequence) {
        while self.promised.front().is_some_and(|(sequence, _)| *sequence <= mark) {
            if let Some((_, void)) = self.promised.pop_front() {
                self.remove(void);
            }
        }
    }

    /// Void already.
    pub(super) fn remove(&mut self, void: Void) {
        match void {
            Void::Segments(id, bases) => self.push_segments(id, &bases),
            Void::Partition { id, segments, strays } => {
                self.push_segments(id, &segments);
                for base in strays {
                    self.push(Some(id), FileOperation::Remove { path: stray_file_name(id, base) });
                }
                self.push(Some(id), FileOperation::RemoveDirectory { path: partition_directory(id) });
            }
            Void::LogFiles(paths) => {
                for path in paths {
                    self.push(None, FileOperation::Remove { path });
                    // One after the other: replay knows logs whose beginning is gone, but none with a hole.
                    let path = LOG_DIRECTORY.to_owned();
                    self.push(None, FileOperation::SyncDirectory { path });
                }
            }
        }
    }

    /// Whether files of `partition` wait to be removed, durably void or not: nothing may be created in their place.
    pub(super) fn concerns(&self, partition: PartitionId) -> bool {
        self.partitions.contains_key(&partition)
            || self.promised.iter().any(|(_, void)| match void {
                Void::Segments(id, _) | Void::Partition { id, .. } => *id == partition,
                Void::LogFiles(_) => false,
            })
    }

    /// When there is something to do although nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Starts the next step if none is under way; not one of a partition that `is_busy`.
    pub(super) fn poll<M>(
        &mut self,
        now: Mono,
        is_busy: impl Fn(PartitionId) -> bool,
        effects: &mut Effects<M>,
    ) {
        self.retry_at = self.retry_at.filter(|&retry_at| now < retry_at);
        if self.under_way.is_some() || self.retry_at.is_some() {
            return;
        }
        let free = |(id, _): &(Option<PartitionId>, FileOperation)| id.is_none_or(|id| !is_busy(id));
        // Steps of one partition keep their order, because all of them wait or none.
        if let Some(place) = self.steps.iter().position(free)
            && let Some((id, operation)) = self.steps.remove(place)
        {
            self.under_way = Some((id, operation.clone()));
            effects.push(Effect::File { token: StoreToken::Remove.encode(), operation });
        }
    }

    /// The step under way could not be begun: it is the first again in a while.
    fn put_off(&mut self, now: Mono) {
        self.steps.push_front(self.under_way.take().expect("a step was under way"));
        self.retry_at = Some(now + RETRY_AFTER);
    }

    /// The step under way has ended. Gives the partition whose it was.
    pub(super) fn handle_step(&mut self) -> Option<PartitionId> {
        let (id, _) = self.under_way.take().expect("a step was under way");
        if let Some(id) = id {
            let left = self.partitions.get_mut(&id).expect("steps of a partition are counted");
            *left -= 1;
            if *left == 0 {
                self.partitions.remove(&id);
            }
        }
        id
    }

    fn push_segments(&mut self, id: PartitionId, bases: &[Offset]) {
        for &base in bases {
            self.push(Some(id), FileOperation::Remove { path: index_file_name(id, base) });
            self.push(Some(id), FileOperation::Remove { path: segment_file_name(id, base) });
        }
    }

    fn push(&mut self, id: Option<PartitionId>, operation: FileOperation) {
        if let Some(id) = id {
            *self.partitions.entry(id).or_insert(0) += 1;
        }
        self.steps.push_back((id, operation));
    }
}

impl Store {
    /// A step in removing what is void has ended. A directory that is not empty without the broker's own files holds what a
    /// person put there: that is theirs, and no reason to stop.
    pub(super) fn handle_removal_step<M>(
        &mut self,
        now: Mono,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) {
        if result == Err(FileError::Exhausted) {
            return self.removal.put_off(now);
        }
        if let Err(error) = result
            && error != FileError::NotEmpty
        {
            return self.stop(&format!("removing what is no longer needed failed: {error}"), effects);
        }
        let partition = self.removal.handle_step();
        self.settling.unblock();
        if let Some(partition) = partition.filter(|_| result.is_err()) {
            let path = partition_directory(partition);
            let problem = "the partition is deleted and its directory holds something that is not the broker's: it was \
                           left there; move the directory out of the data directory before the next start";
            self.faults.push_back(StorageFault { partition, path, problem: problem.to_owned() });
        }
    }
}
