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
    steps: VecDeque<(Target, FileOperation)>,
    /// Steps left by what they remove, and one for each promise: with ten thousand partitions going, asking whether one of
    /// them is must not look at all.
    left: BTreeMap<Target, usize>,
    under_way: Option<(Target, FileOperation)>,
    /// No descriptor was left: no step begins before.
    retry_at: Option<Mono>,
}

/// What a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The log.
    Log,
    /// A segment of a partition, and its index file.
    Segment(PartitionId, Offset),
    /// All that is left of a partition.
    Partition(PartitionId),
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

impl Void {
    /// What has to wait until it is gone. For a partition that includes its segments.
    fn targets(&self) -> Vec<Target> {
        match self {
            Self::Segments(id, bases) => bases.iter().map(|&base| Target::Segment(*id, base)).collect(),
            Self::Partition { id, .. } => vec![Target::Partition(*id)],
            Self::LogFiles(_) => Vec::new(),
        }
    }
}

impl Removal {
    /// Void once group `sequence` is durable.
    pub(super) fn promise(&mut self, sequence: Sequence, void: Void) {
        for target in void.targets() {
            *self.left.entry(target).or_insert(0) += 1;
        }
        let behind = self.promised.partition_point(|(promised, _)| *promised <= sequence);
        self.promised.insert(behind, (sequence, void));
    }

    /// Everything up to `mark` is durable.
    pub(super) fn handle_durable(&mut self, mark: Sequence) {
        while self.promised.front().is_some_and(|(sequence, _)| *sequence <= mark) {
            if let Some((_, void)) = self.promised.pop_front() {
                let targets = void.targets();
                self.remove(void);
                targets.into_iter().for_each(|target| self.release(target));
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
                    self.push(
                        Target::Partition(id),
                        FileOperation::Remove { path: stray_file_name(id, base) },
                    );
                }
                let path = partition_directory(id);
                self.push(Target::Partition(id), FileOperation::RemoveDirectory { path });
            }
            Void::LogFiles(paths) => {
                for path in paths {
                    self.push(Target::Log, FileOperation::Remove { path });
                    // One after the other: replay knows logs whose beginning is gone, but none with a hole.
                    let path = LOG_DIRECTORY.to_owned();
                    self.push(Target::Log, FileOperation::SyncDirectory { path });
                }
            }
        }
    }

    /// Whether files of this segment wait to be removed, durably void or not: nothing may be created in their place.
    pub(super) fn concerns_segment(&self, partition: PartitionId, base: Offset) -> bool {
        self.concerns_partition(partition) || self.left.contains_key(&Target::Segment(partition, base))
    }

    /// Whether all of `partition` waits to be removed.
    pub(super) fn concerns_partition(&self, partition: PartitionId) -> bool {
        self.left.contains_key(&Target::Partition(partition))
    }

    /// When there is something to do although nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Starts the next step if none is under way; not one of what `is_busy`. Who works on a segment keeps its whole partition
    /// busy, too.
    pub(super) fn poll<M>(
        &mut self,
        now: Mono,
        is_busy: impl Fn(PartitionId, Option<Offset>) -> bool,
        effects: &mut Effects<M>,
    ) {
        self.retry_at = self.retry_at.filter(|&retry_at| now < retry_at);
        if self.under_way.is_some() || self.retry_at.is_some() {
            return;
        }
        let is_free = |(target, _): &(Target, FileOperation)| match *target {
            Target::Log => true,
            Target::Segment(id, base) => !is_busy(id, Some(base)),
            // Its segments went before: they wait only for who keeps the partition busy as well.
            Target::Partition(id) => !is_busy(id, None),
        };
        if let Some(place) = self.steps.iter().position(is_free)
            && let Some((target, operation)) = self.steps.remove(place)
        {
            self.under_way = Some((target, operation.clone()));
            effects.push(Effect::File { token: StoreToken::Remove.encode(), operation });
        }
    }

    /// What is being done to which file, for messages.
    fn work(&self) -> String {
        match self.under_way.as_ref().map(|(_, operation)| operation) {
            Some(FileOperation::SyncDirectory { path }) => format!("sync of {path} after a removal"),
            Some(FileOperation::Remove { path } | FileOperation::RemoveDirectory { path }) => {
                format!("removing {path}, which is no longer needed,")
            }
            other => unreachable!("{other:?} removes nothing"),
        }
    }

    /// The step under way could not be begun: it is the first again in a while.
    fn put_off(&mut self, now: Mono) {
        self.steps.push_front(self.under_way.take().expect("a step was under way"));
        self.retry_at = Some(now + RETRY_AFTER);
    }

    /// The step under way has ended. Gives what it belonged to.
    pub(super) fn handle_step(&mut self) -> Target {
        let (target, _) = self.under_way.take().expect("a step was under way");
        self.release(target);
        target
    }

    fn release(&mut self, target: Target) {
        let left = self.left.get_mut(&target).expect("steps and promises are counted");
        *left -= 1;
        if *left == 0 {
            self.left.remove(&target);
        }
    }

    fn push_segments(&mut self, id: PartitionId, bases: &[Offset]) {
        for &base in bases {
            let target = Target::Segment(id, base);
            self.push(target, FileOperation::Remove { path: index_file_name(id, base) });
            self.push(target, FileOperation::Remove { path: segment_file_name(id, base) });
        }
    }

    fn push(&mut self, target: Target, operation: FileOperation) {
        *self.left.entry(target).or_insert(0) += 1;
        self.steps.push_back((target, operation));
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
        match result {
            // Some filesystems need room to remove something.
            Err(error) if error.is_shortage() => return self.removal.put_off(now),
            Err(error) if error != FileError::NotEmpty => {
                let problem = format!("{} failed: {error}", self.removal.work());
                return self.stop(&problem, effects);
            }
            _ => {}
        }
        let target = self.removal.handle_step();
        self.settling.unblock();
        if let (Target::Partition(partition), Err(_)) = (target, &result) {
            let path = partition_directory(partition);
            let problem = "the partition is deleted and its directory holds something that is not the broker's: it was \
                           left there; move the directory out of the data directory before the next start";
            self.faults.push_back(StorageFault { partition, path, problem: problem.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_concerned_until_its_last_step_has_ended() {
        let (id, other) = (PartitionId::METADATA, PartitionId::default());
        let mut removal = Removal::default();
        removal.promise(Sequence(1), Void::Segments(other, vec![Offset(3)]));
        removal.promise(Sequence(2), Void::Partition { id, segments: vec![Offset(7)], strays: Vec::new() });
        let concerns = |removal: &Removal| {
            let others = [3, 4].map(|base| removal.concerns_segment(other, Offset(base)));
            (others, removal.concerns_partition(id))
        };
        assert_eq!(concerns(&removal), ([true, false], true));
        let mut steps_left = Vec::new();
        for mark in 1..=2 {
            removal.handle_durable(Sequence(mark));
            let mut steps = 0;
            loop {
                let mut effects: Effects<()> = Vec::new();
                removal.poll(Mono(0), |_, _| false, &mut effects);
                if effects.is_empty() {
                    break;
                }
                removal.handle_step();
                steps += 1;
            }
            steps_left.push((steps, concerns(&removal)));
        }
        assert_eq!(steps_left, [(2, ([false, false], true)), (3, ([false, false], false))]);
    }
}
