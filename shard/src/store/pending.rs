//! What waits for log groups to become durable.

use std::collections::VecDeque;

use ringmain_wal::group::Sequence;
use ringmain_wire::ids::Offset;

use super::{Slot, Ticket};

/// Groups that are not durable yet, oldest first, with what each of their entries will set off.
#[derive(Debug, Default)]
pub(super) struct Pending {
    groups: VecDeque<PendingGroup>,
    /// Entries of each slot in these groups: a partition without any is removed without looking for them.
    left: Vec<u32>,
    /// What counts once written has been told of up to here.
    stored: Sequence,
}

/// One group that is being gathered, queued or written.
#[derive(Debug)]
pub(super) struct PendingGroup {
    pub(super) sequence: Sequence,
    /// In the order in which they were put into the group.
    pub(super) entries: Vec<PendingEntry>,
    /// Batches sent again while their first copy stands in this group.
    pub(super) duplicates: Vec<PendingEntry>,
}

/// What an entry sets off when it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingEntry {
    pub(super) slot: Slot,
    /// Cut off before it became durable: it sets nothing off, and its bytes belong to nobody.
    pub(super) cut: bool,
    pub(super) kind: PendingKind,
}

/// The kinds of entries, as their durability matters.
#[derive(Clone, Copy, Debug)]
pub(super) enum PendingKind {
    /// Records up to `next_offset` become durable; shown and acknowledged `once_written`.
    Append { base_offset: Offset, next_offset: Offset, ticket: Option<Ticket>, once_written: bool },
    /// The suffix from `end` on is gone.
    Truncate { end: Offset, ticket: Option<Ticket> },
    /// The prefix up to `offset` may go.
    LogStart { offset: Offset, ticket: Option<Ticket> },
    /// Everything below `settled_end` lies in segments, as of `truncations`.
    State { settled_end: Offset, truncations: u64 },
    /// The batch at `base_offset` stands in the log again.
    Carried { base_offset: Offset },
}

/// A batch that counts once it is written, and is.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredBatch {
    pub(super) slot: Slot,
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) ticket: Option<Ticket>,
    /// It was sent again meanwhile.
    pub(super) duplicate: bool,
}

impl PendingKind {
    fn ticket(&self) -> Option<Ticket> {
        match *self {
            Self::Append { ticket, .. } | Self::Truncate { ticket, .. } | Self::LogStart { ticket, .. } => {
                ticket
            }
            Self::State { .. } | Self::Carried { .. } => None,
        }
    }
}

impl Pending {
    /// Adds an entry to group `sequence`, which is the newest or the one after.
    pub(super) fn push(&mut self, sequence: Sequence, slot: Slot, kind: PendingKind) {
        if self.left.len() <= slot.0 {
            self.left.resize(slot.0 + 1, 0);
        }
        self.left[slot.0] += 1;
        self.group(sequence).entries.push(PendingEntry { slot, cut: false, kind });
    }

    /// Adds an entry that sets nothing off to group `sequence`.
    pub(super) fn push_void(&mut self, sequence: Sequence) {
        let slot = Slot(usize::MAX);
        let kind = PendingKind::Truncate { end: Offset::ZERO, ticket: None };
        self.group(sequence).entries.push(PendingEntry { slot, cut: true, kind });
    }

    /// Lets `ticket` wait for the group that holds the batch of `slot` at `base_offset`. False when none does.
    pub(super) fn wait_for(&mut self, slot: Slot, base_offset: Offset, ticket: Ticket) -> bool {
        let holds = |entry: &PendingEntry| {
            entry.slot == slot
                && !entry.cut
                && matches!(entry.kind, PendingKind::Append { base_offset: base, .. } if base == base_offset)
        };
        for group in &mut self.groups {
            if let Some(mut entry) = group.entries.iter().find(|entry| holds(entry)).copied() {
                if let PendingKind::Append { ticket: waiting, .. } = &mut entry.kind {
                    *waiting = Some(ticket);
                }
                group.duplicates.push(entry);
                return true;
            }
        }
        false
    }

    /// The newest group that is not durable yet.
    pub(super) fn newest(&self) -> Option<Sequence> {
        self.groups.back().map(|group| group.sequence)
    }

    /// The entries of group `sequence`, in order; none for a group that only carries a mark.
    pub(super) fn entries(&self, sequence: Sequence) -> &[PendingEntry] {
        let group = self.groups.iter().find(|group| group.sequence == sequence);
        group.map_or(&[], |group| &group.entries)
    }

    /// Takes out the oldest group if it is durable with `mark`.
    pub(super) fn pop_durable(&mut self, mark: Sequence) -> Option<PendingGroup> {
        if self.groups.front()?.sequence > mark {
            return None;
        }
        let group = self.groups.pop_front()?;
        for Slot(slot) in group.entries.iter().map(|entry| entry.slot) {
            // Of entries that set nothing off none is counted.
            if let Some(left) = self.left.get_mut(slot) {
                *left -= 1;
            }
        }
        Some(group)
    }

    /// Takes out what counts now that everything up to group `stored` is written: of each batch the partition's slot, its
    /// offsets and whoever waits for it, in the order of the log.
    pub(super) fn take_stored(&mut self, stored: Sequence) -> Vec<StoredBatch> {
        let from = self.groups.partition_point(|group| group.sequence <= self.stored);
        self.stored = stored;
        let mut taken = Vec::new();
        for group in self.groups.iter_mut().skip(from).take_while(|group| group.sequence <= stored) {
            let entries = group.entries.iter_mut().map(|entry| (entry, false));
            let duplicates = group.duplicates.iter_mut().map(|entry| (entry, true));
            for (entry, duplicate) in entries.chain(duplicates).filter(|(entry, _)| !entry.cut) {
                if let PendingKind::Append { base_offset, next_offset, ticket, once_written: true } =
                    &mut entry.kind
                {
                    taken.push(StoredBatch {
                        slot: entry.slot,
                        base_offset: *base_offset,
                        next_offset: *next_offset,
                        ticket: ticket.take(),
                        duplicate,
                    });
                }
            }
        }
        taken
    }

    /// Cuts entries of `slot` that stand at or above `end` (all of them for `None`), and takes their tickets.
    pub(super) fn cut(&mut self, slot: Slot, end: Option<Offset>) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        if self.left.get(slot.0).is_none_or(|&left| left == 0) {
            return tickets;
        }
        let beyond = |kind: &PendingKind| match (end, kind) {
            (None, _) => true,
            (Some(end), PendingKind::Append { base_offset, .. }) => *base_offset >= end,
            (Some(_), _) => false,
        };
        for group in &mut self.groups {
            for entry in &mut group.entries {
                if entry.slot == slot && !entry.cut && beyond(&entry.kind) {
                    entry.cut = true;
                    tickets.extend(entry.kind.ticket());
                }
            }
            group.duplicates.retain(|entry| {
                let cut = entry.slot == slot && beyond(&entry.kind);
                if cut {
                    tickets.extend(entry.kind.ticket());
                }
                !cut
            });
        }
        tickets
    }

    /// Takes out every ticket that still waits.
    pub(super) fn drain_tickets(&mut self) -> Vec<Ticket> {
        self.left.clear();
        let entries =
            self.groups.drain(..).flat_map(|group| group.entries.into_iter().chain(group.duplicates));
        entries.filter(|entry| !entry.cut).filter_map(|entry| entry.kind.ticket()).collect()
    }

    fn group(&mut self, sequence: Sequence) -> &mut PendingGroup {
        let newest = self.groups.back().map(|group| group.sequence);
        if newest != Some(sequence) {
            assert!(newest.is_none_or(|newest| newest < sequence), "log groups are filled in order");
            self.groups.push_back(PendingGroup { sequence, entries: Vec::new(), duplicates: Vec::new() });
        }
        self.groups.back_mut().expect("a group was just put there")
    }
}
