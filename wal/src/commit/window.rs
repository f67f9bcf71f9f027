//! The groups being written, and the mark: the group up to which everything is durable.

use std::collections::VecDeque;

use crate::block::is_whole_blocks;
use crate::group::Sequence;

/// A group handed out and not yet passed by the mark.
#[derive(Debug)]
struct InFlight {
    sequence: Sequence,
    file: u32,
    position: u64,
    length: u64,
    written: bool,
}

/// At most K groups between the mark and the newest one handed out, completed in any order.
///
/// A group that is written but waits for an earlier one counts: what comes behind it could not be acknowledged
/// sooner either, and recovery may rely on no header's `durable_upto` being more than K behind.
#[derive(Debug)]
pub(super) struct Window {
    groups_max: usize,
    groups: VecDeque<InFlight>,
    mark: Sequence,
}

impl Window {
    pub(super) fn new(groups_max: usize) -> Self {
        Self { groups_max, groups: VecDeque::with_capacity(groups_max), mark: Sequence::ZERO }
    }

    pub(super) fn mark(&self) -> Sequence {
        self.mark
    }

    pub(super) fn is_full(&self) -> bool {
        self.groups.len() == self.groups_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether no group in flight lies in a file before number `file`.
    pub(super) fn is_behind_file(&self, file: u32) -> bool {
        self.groups.iter().all(|group| group.file >= file)
    }

    /// The sequence of the next group to be handed out.
    pub(super) fn sequence_next(&self) -> Sequence {
        self.groups.back().map_or(self.mark, |group| group.sequence).next()
    }

    /// Takes up the group that is handed out for writing.
    pub(super) fn start(&mut self, sequence: Sequence, file: u32, position: u64, length: u64) {
        assert!(!self.is_full(), "more groups in flight than allowed");
        assert_eq!(sequence, self.sequence_next(), "the sequence has a gap");
        assert!(is_whole_blocks(position) && is_whole_blocks(length) && length > 0, "unaligned group");
        for other in &self.groups {
            let apart = position >= other.position + other.length || other.position >= position + length;
            assert!(file != other.file || apart, "groups {} and {sequence} overlap", other.sequence);
        }
        self.groups.push_back(InFlight { sequence, file, position, length, written: false });
    }

    /// Notes that a group is durable and moves the mark over all that now are without a gap.
    pub(super) fn complete(&mut self, sequence: Sequence) {
        let group = self.find(sequence);
        assert!(!group.written, "group {sequence} completed twice");
        group.written = true;
        while let Some(done) = self.groups.pop_front_if(|group| group.written) {
            assert!(done.sequence > self.mark, "the mark moved back");
            self.mark = done.sequence;
        }
    }

    /// Asserts that `sequence` is in flight.
    pub(super) fn assert_in_flight(&mut self, sequence: Sequence) {
        assert!(!self.find(sequence).written, "group {sequence} failed after it was written");
    }

    fn find(&mut self, sequence: Sequence) -> &mut InFlight {
        let found = self.groups.iter_mut().find(|group| group.sequence == sequence);
        found.unwrap_or_else(|| panic!("group {sequence} is not in flight"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_moves_in_order_whatever_the_order_of_completion() {
        let mut window = Window::new(3);
        for sequence in 1..=3 {
            window.start(Sequence(sequence), 0, sequence * 4096, 4096);
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
        window.start(Sequence(1), 0, 0, 8192);
        window.start(Sequence(2), 0, 4096, 4096);
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn a_group_completes_once() {
        let mut window = Window::new(2);
        window.start(Sequence(1), 0, 0, 4096);
        window.start(Sequence(2), 0, 4096, 4096);
        window.complete(Sequence(2));
        window.complete(Sequence(2));
    }
}
