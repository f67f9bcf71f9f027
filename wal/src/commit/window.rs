//! The groups being written, and the marks: up to which group everything is durable, and up to which it counts as stored.

use std::collections::VecDeque;

use super::entry::FlushBound;
use super::gather::GroupDurability;
use super::write::SyncLog;
use crate::block::is_whole_blocks;
use crate::group::Sequence;

/// Groups that may wait for a sync: beyond, none is handed out.
const UNSYNCED_MAX: usize = 1024;

/// A group handed out whose write, or that of one before it, is under way.
#[derive(Debug)]
struct InFlight {
    group: Unsynced,
    position: u64,
    length: u64,
    /// Its write makes it durable.
    durable: bool,
    written: bool,
}

/// A group that is written, as are all before it, and waits for a sync.
#[derive(Clone, Copy, Debug)]
struct Unsynced {
    sequence: Sequence,
    file: u32,
    durability: GroupDurability,
    /// When it was handed out.
    started_ns: u64,
}

/// At most K groups being written, completed in any order, and those that wait for a sync.
///
/// A group that is written but waits for an earlier one counts as being written: what comes behind it could not be
/// acknowledged sooner either, and recovery finds what was durable by headers at most K groups old.
#[derive(Debug)]
pub(super) struct Window {
    groups_max: usize,
    groups: VecDeque<InFlight>,
    unsynced: VecDeque<Unsynced>,
    mark: Sequence,
    /// Everything up to here is written, and may be acknowledged.
    stored: Sequence,
    /// Records that are stored and not durable.
    stored_records: u64,
    /// The tightest bound of these; none without any.
    stored_bound: Option<FlushBound>,
    /// When the first group that waits for a sync has waited long enough.
    sync_due_ns: Option<u64>,
    syncing: Option<SyncLog>,
}

impl Window {
    pub(super) fn new(groups_max: usize) -> Self {
        Self {
            groups_max,
            groups: VecDeque::with_capacity(groups_max),
            unsynced: VecDeque::new(),
            mark: Sequence::ZERO,
            stored: Sequence::ZERO,
            stored_records: 0,
            stored_bound: None,
            sync_due_ns: None,
            syncing: None,
        }
    }

    pub(super) fn mark(&self) -> Sequence {
        self.mark
    }

    /// Everything up to here may be acknowledged by whoever does not wait for stable storage; never behind the mark.
    pub(super) fn stored(&self) -> Sequence {
        self.stored
    }

    pub(super) fn is_full(&self) -> bool {
        self.groups.len() == self.groups_max || self.unsynced.len() >= UNSYNCED_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.unsynced.is_empty()
    }

    /// Whether all groups handed out are written.
    pub(super) fn is_written(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether no group that is not durable lies in a file before number `file`.
    pub(super) fn is_behind_file(&self, file: u32) -> bool {
        let in_flight = self.groups.iter().map(|group| &group.group);
        in_flight.chain(&self.unsynced).all(|group| group.file >= file)
    }

    /// The sequence of the next group to be handed out.
    pub(super) fn sequence_next(&self) -> Sequence {
        let newest = self.groups.back().map(|group| &group.group).or(self.unsynced.back());
        newest.map_or(self.mark, |group| group.sequence).next()
    }

    /// Takes up the group that is handed out for writing. Says whether its write has to make it durable: not if a sync has
    /// to come anyway, for a group before it or because nobody waits.
    pub(super) fn start(
        &mut self,
        (sequence, durability): (Sequence, GroupDurability),
        (file, position, length): (u32, u64, u64),
        started_ns: u64,
    ) -> bool {
        assert!(!self.is_full(), "more groups in flight than allowed");
        assert_eq!(sequence, self.sequence_next(), "the sequence has a gap");
        assert!(is_whole_blocks(position) && is_whole_blocks(length) && length > 0, "unaligned group");
        for other in &self.groups {
            let apart = position >= other.position + other.length || other.position >= position + length;
            assert!(
                file != other.group.file || apart,
                "groups {} and {sequence} overlap",
                other.group.sequence
            );
        }
        let rests_on_sync = !self.unsynced.is_empty() || self.groups.iter().any(|group| !group.durable);
        let durable = durability == GroupDurability::Synced && !rests_on_sync;
        let group = Unsynced { sequence, file, durability, started_ns };
        self.groups.push_back(InFlight { group, position, length, durable, written: false });
        durable
    }

    /// Notes that a group is written, and moves the marks over all that now are without a gap.
    pub(super) fn complete(&mut self, sequence: Sequence) {
        let group = self.find(sequence);
        assert!(!group.written, "group {sequence} completed twice");
        group.written = true;
        while let Some(done) = self.groups.pop_front_if(|group| group.written) {
            if done.durable {
                assert!(self.unsynced.is_empty(), "group {} rests on a sync", done.group.sequence);
                self.move_mark(done.group.sequence);
            } else {
                self.unsynced.push_back(done.group);
                self.store(done.group);
            }
        }
    }

    /// The next sync to begin: somebody waits for it, or it is time, or it `is_wanted` in any case. Of one file at a time,
    /// the oldest first.
    pub(super) fn poll_sync(&mut self, now_ns: u64, is_wanted: bool) -> Option<SyncLog> {
        let (first, last) = (self.unsynced.front()?, self.unsynced.back()?);
        let is_due = self.sync_due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        let is_waited_for = self.stored < last.sequence || self.unsynced.len() >= UNSYNCED_MAX;
        if self.syncing.is_some() || !(is_wanted || is_due || is_waited_for) {
            return None;
        }
        let file = first.file;
        let behind = self.unsynced.partition_point(|group| group.file == file);
        let upto = self.unsynced[behind - 1].sequence;
        self.syncing = Some(SyncLog { file, upto });
        self.syncing
    }

    /// The sync under way is done: what it covers is durable.
    pub(super) fn handle_synced(&mut self) {
        let SyncLog { upto, .. } = self.syncing.take().expect("no sync is under way");
        while self.unsynced.pop_front_if(|group| group.sequence <= upto).is_some() {}
        self.move_mark(upto);
        (self.stored_records, self.stored_bound, self.sync_due_ns) = (0, None, None);
        for group in self.unsynced.clone() {
            self.store(group);
        }
    }

    /// When a sync has to begin although nothing happens.
    pub(super) fn sync_due_ns(&self) -> Option<u64> {
        self.sync_due_ns.filter(|_| self.syncing.is_none())
    }

    /// Asserts that a sync is under way.
    pub(super) fn assert_syncing(&self) {
        assert!(self.syncing.is_some(), "no sync is under way");
    }

    /// Asserts that `sequence` is in flight.
    pub(super) fn assert_in_flight(&mut self, sequence: Sequence) {
        assert!(!self.find(sequence).written, "group {sequence} failed after it was written");
    }

    fn move_mark(&mut self, mark: Sequence) {
        assert!(mark > self.mark, "the mark moved back");
        self.mark = mark;
        self.stored = self.stored.max(mark);
    }

    /// A group is written: it counts as stored if all before it do, nobody in it waits for more, and it keeps the bounds.
    fn store(&mut self, group: Unsynced) {
        let GroupDurability::Written { records, bound } = group.durability else { return };
        let due_ns = group.started_ns.saturating_add(bound.within_ns);
        self.sync_due_ns = Some(self.sync_due_ns.map_or(due_ns, |other| other.min(due_ns)));
        let bound = self.stored_bound.map_or(bound, |other| other.min(bound));
        let records = self.stored_records + records;
        let follows = group.sequence <= self.stored || group.sequence == self.stored.next();
        if follows && (records < bound.records || group.sequence <= self.stored) {
            self.stored = self.stored.max(group.sequence);
            self.stored_records = records;
            self.stored_bound = Some(bound);
        }
    }

    fn find(&mut self, sequence: Sequence) -> &mut InFlight {
        let found = self.groups.iter_mut().find(|group| group.group.sequence == sequence);
        found.unwrap_or_else(|| panic!("group {sequence} is not in flight"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Window {
        fn start_synced(&mut self, sequence: u64, position: u64, length: u64) {
            self.start((Sequence(sequence), GroupDurability::Synced), (0, position, length), 0);
        }

        fn start_written(&mut self, sequence: u64, file: u32, (records, within_ns): (u64, u64)) -> bool {
            let durability =
                GroupDurability::Written { records: 3, bound: FlushBound { records, within_ns } };
            self.start((Sequence(sequence), durability), (file, sequence * 4096, 4096), 100 * sequence)
        }
    }

    #[test]
    fn the_mark_moves_in_order_whatever_the_order_of_completion() {
        let mut window = Window::new(3);
        for sequence in 1..=3 {
            window.start_synced(sequence, sequence * 4096, 4096);
        }
        assert!(window.is_full());
        window.complete(Sequence(3));
        window.complete(Sequence(2));
        assert_eq!(window.mark(), Sequence::ZERO);
        assert!(window.is_full(), "what waits for an earlier group still counts");
        window.complete(Sequence(1));
        assert_eq!(window.mark(), Sequence(3));
        assert!(window.is_empty());
        assert_eq!(window.sequence_next(), Sequence(4));
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn two_groups_on_one_block_are_our_bug() {
        let mut window = Window::new(2);
        window.start_synced(1, 0, 8192);
        window.start_synced(2, 4096, 4096);
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn a_group_completes_once() {
        let mut window = Window::new(2);
        window.start_synced(1, 0, 4096);
        window.start_synced(2, 4096, 4096);
        window.complete(Sequence(2));
        window.complete(Sequence(2));
    }

    fn marks(window: &Window) -> (u64, u64) {
        (window.stored().0, window.mark().0)
    }

    #[test]
    fn what_counts_once_written_is_stored_in_order_and_durable_with_a_sync() {
        let mut window = Window::new(3);
        for sequence in 1..=3 {
            assert!(!window.start_written(sequence, 0, (100, 1_000)));
        }
        window.complete(Sequence(2));
        assert_eq!(marks(&window), (0, 0));
        window.complete(Sequence(1));
        assert_eq!(marks(&window), (2, 0));
        assert!(!window.is_empty() && !window.is_full(), "what is written leaves room");
        assert_eq!((window.poll_sync(1_099, false), window.sync_due_ns()), (None, Some(1_100)));
        assert_eq!(window.poll_sync(1_100, false), Some(SyncLog { file: 0, upto: Sequence(2) }));
        assert_eq!((window.poll_sync(9_999, true), window.sync_due_ns()), (None, None), "one at a time");
        window.complete(Sequence(3));
        assert_eq!(marks(&window), (3, 0));
        window.handle_synced();
        assert_eq!(marks(&window), (3, 2));
        assert_eq!(window.sync_due_ns(), Some(1_300), "it was written after the sync began");
        assert_eq!(window.poll_sync(0, true), Some(SyncLog { file: 0, upto: Sequence(3) }));
        window.handle_synced();
        assert!(window.is_empty() && marks(&window) == (3, 3));
        assert_eq!((window.poll_sync(9_999, true), window.sequence_next()), (None, Sequence(4)));
    }

    #[test]
    fn what_waits_for_stable_storage_behind_it_waits_for_a_sync() {
        let mut window = Window::new(3);
        assert!(window.start((Sequence(1), GroupDurability::Synced), (0, 0, 4096), 0));
        window.start_written(2, 0, (100, 1_000));
        let durable = window.start((Sequence(3), GroupDurability::Synced), (0, 3 * 4096, 4096), 0);
        assert!(!durable, "the sync makes it durable too");
        window.complete(Sequence(3));
        window.complete(Sequence(2));
        assert_eq!(marks(&window), (0, 0));
        window.complete(Sequence(1));
        assert_eq!(marks(&window), (2, 1));
        assert_eq!(window.poll_sync(0, false), Some(SyncLog { file: 0, upto: Sequence(3) }));
        window.start_written(4, 0, (100, 1_000));
        window.complete(Sequence(4));
        assert_eq!(marks(&window), (2, 1), "nothing is stored before what is waited for");
        window.handle_synced();
        assert_eq!(marks(&window), (4, 3));
    }

    #[test]
    fn no_more_records_are_stored_than_a_loss_of_power_may_take() {
        let mut window = Window::new(3);
        for sequence in 1..=3 {
            window.start_written(sequence, 0, (if sequence == 2 { 7 } else { 100 }, 1_000));
            window.complete(Sequence(sequence));
        }
        assert_eq!(marks(&window), (2, 0), "nine are not fewer than seven");
        assert_eq!(window.poll_sync(0, false), Some(SyncLog { file: 0, upto: Sequence(3) }));
        window.start_written(4, 0, (3, 1_000));
        window.complete(Sequence(4));
        window.handle_synced();
        assert_eq!(marks(&window), (3, 3), "three are not fewer than three");
        assert_eq!(window.poll_sync(0, false), Some(SyncLog { file: 0, upto: Sequence(4) }));
    }

    #[test]
    fn files_are_synced_one_after_the_other() {
        let mut window = Window::new(4);
        for (sequence, file) in [(1, 0), (2, 0), (3, 1)] {
            window.start_written(sequence, file, (100, 1_000));
            window.complete(Sequence(sequence));
        }
        assert!(window.is_behind_file(0) && !window.is_behind_file(1));
        assert_eq!(window.poll_sync(0, true), Some(SyncLog { file: 0, upto: Sequence(2) }));
        window.handle_synced();
        assert!(window.is_behind_file(1));
        assert_eq!(marks(&window), (3, 2));
        assert_eq!(window.poll_sync(0, true), Some(SyncLog { file: 1, upto: Sequence(3) }));
    }

    #[test]
    fn so_many_wait_for_a_sync_at_most() {
        let mut window = Window::new(4);
        for sequence in 1..=UNSYNCED_MAX as u64 {
            assert_eq!((window.is_full(), window.poll_sync(0, false)), (false, None));
            window.start_written(sequence, 0, (u64::MAX, u64::MAX));
            window.complete(Sequence(sequence));
        }
        assert!(window.is_full() && window.poll_sync(0, false).is_some());
        window.handle_synced();
        assert!(window.is_empty() && !window.is_full());
    }
}
