//! What leaves as a log group, and what its durability sets off.

use ringmain_wal::commit::GroupWrite;
use ringmain_wal::group::{EntryKind, Sequence};

use crate::effect::{Effect, Effects, FileId, FileOperation, WriteSync};
use crate::partition::tail::{Carried, LogPlace};

use super::pending::{PendingEntry, PendingKind, StoredBatch};
use super::removal::Void;
use super::token::StoreToken;
use super::{Appended, Completion, Store, resident};

impl Store {
    pub(super) fn start_group<M>(&mut self, group: GroupWrite, effects: &mut Effects<M>) {
        let entries = self.pending.entries(group.sequence);
        assert_eq!(
            entries.len(),
            group.entries.len(),
            "entries of group {} and those waiting differ",
            group.sequence
        );
        let is_batch = |kind| matches!(kind, EntryKind::Append | EntryKind::Carried);
        let batches = group.entries.iter().filter(|entry| is_batch(entry.head.kind)).count();
        let charge = group.bytes.len().checked_div(batches).unwrap_or(0);
        let has_new = group.entries.iter().any(|entry| entry.head.kind == EntryKind::Append);
        let place = LogPlace { generation: self.config.commit.generation, sequence: group.sequence };
        for (entry, placed) in entries.iter().zip(group.entries).filter(|(entry, _)| !entry.cut) {
            match entry.kind {
                PendingKind::Append { .. } => {
                    resident(&mut self.residents, entry.slot).partition.frozen(placed.bytes, charge);
                    self.tail_bytes += charge;
                }
                // In memory its newer copy takes its place at once; the log keeps the older one until this is durable,
                // because nothing is recycled before the window ends.
                PendingKind::Carried { base_offset } => {
                    let partition = &mut resident(&mut self.residents, entry.slot).partition;
                    let charged = partition.tail().charged_bytes();
                    partition.carried(base_offset, Carried { bytes: placed.bytes, charge, place });
                    self.tail_bytes = self.tail_bytes - charged + partition.tail().charged_bytes();
                    self.counters.carried += 1;
                }
                PendingKind::Truncate { .. } | PendingKind::LogStart { .. } | PendingKind::State { .. } => {}
            }
        }
        if has_new {
            self.settling.note_group(group.bytes.len(), &self.config.settle);
        }
        self.counters.groups += 1;
        self.counters.group_bytes += group.bytes.len() as u64;
        self.writing.push_back((group.sequence, group.file));
        let operation = FileOperation::Write {
            file: FileId(group.file),
            position: group.position,
            bytes: group.bytes,
            sync: if group.durable { WriteSync::Durable } else { WriteSync::Deferred },
        };
        effects.push(Effect::File { token: StoreToken::Group(group.sequence).encode(), operation });
    }

    /// The log's marks may have moved.
    pub(super) fn handle_marks<M>(&mut self, effects: &mut Effects<M>) {
        while let Some(mark) = self.commit.poll_durable() {
            self.handle_durable(mark, effects);
        }
        if let Some(stored) = self.commit.poll_stored() {
            self.handle_stored(stored);
        }
    }

    /// Everything up to group `stored` is written: what counts then is shown, and whoever waited for that is answered.
    fn handle_stored(&mut self, stored: Sequence) {
        for batch in self.pending.take_stored(stored) {
            let partition = &mut resident(&mut self.residents, batch.slot).partition;
            let moved = partition.advance(batch.next_offset);
            if let Some(ticket) = batch.ticket {
                let StoredBatch { base_offset, duplicate, .. } = batch;
                let appended = Appended { base_offset, log_start: partition.log_start(), duplicate };
                self.completions.push_back(Completion { ticket, result: Ok(appended) });
            }
            if moved {
                self.wake_watchers(batch.slot);
            }
        }
    }

    /// Everything up to group `mark` is on stable storage: partitions show it, and whoever waited is answered.
    pub(super) fn handle_durable<M>(&mut self, mark: Sequence, effects: &mut Effects<M>) {
        while let Some(group) = self.pending.pop_durable(mark) {
            for entry in group.entries.iter().filter(|entry| !entry.cut) {
                self.apply_durable(group.sequence, entry, false, effects);
            }
            for entry in &group.duplicates {
                self.apply_durable(group.sequence, entry, true, effects);
            }
        }
        self.removal.handle_durable(mark);
        self.handle_floor_durable(mark);
        while let Some(&(sequence, file)) = self.writing.front()
            && sequence <= mark
        {
            self.writing.pop_front();
            // Marks advance in order, so nothing is under way on the files before this one.
            for old in core::mem::replace(&mut self.file_oldest, file)..file {
                let operation = FileOperation::Close { file: FileId(old) };
                effects.push(Effect::File { token: StoreToken::Tidy.encode(), operation });
            }
        }
    }

    fn apply_durable<M>(
        &mut self,
        sequence: Sequence,
        entry: &PendingEntry,
        duplicate: bool,
        effects: &mut Effects<M>,
    ) {
        let place = self.log_place(sequence);
        let here = resident(&mut self.residents, entry.slot);
        let truncated = here.truncated;
        let partition = &mut here.partition;
        let (ticket, base_offset, moved) = match entry.kind {
            PendingKind::Append { base_offset, next_offset, ticket, .. } => {
                (ticket, base_offset, partition.advance(next_offset))
            }
            PendingKind::Truncate { end, ticket } => (ticket, end, false),
            PendingKind::LogStart { offset, ticket } => {
                let charged = partition.tail().charged_bytes();
                let gone = partition.move_log_start(offset, place);
                self.tail_bytes -= charged - partition.tail().charged_bytes();
                if !gone.is_empty() {
                    let id = partition.id();
                    for extent in &gone {
                        self.reading.forget(id, Some(extent.base), effects);
                    }
                    let bases = gone.iter().map(|extent| extent.base).collect();
                    // Some may end below the log start only because of a truncation that is not durable yet.
                    let void_with = truncated.map_or(sequence, |truncated| truncated.max(sequence));
                    self.removal.promise(void_with, Void::Segments(id, bases));
                }
                (ticket, offset, true)
            }
            PendingKind::State { settled_end, truncations } => {
                partition.state_logged(place, settled_end, truncations);
                return;
            }
            PendingKind::Carried { .. } => return,
        };
        if let Some(ticket) = ticket {
            let partition = &resident(&mut self.residents, entry.slot).partition;
            let appended = Appended { base_offset, log_start: partition.log_start(), duplicate };
            self.completions.push_back(Completion { ticket, result: Ok(appended) });
        }
        if moved {
            self.wake_watchers(entry.slot);
        }
    }
}
