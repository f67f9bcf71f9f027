//! What happens to whole partitions: they go, their suffix is cut, their prefix is let go. The log knows first.

use ringmain_wal::commit::PartitionChange;
use ringmain_wire::ids::{Offset, PartitionId};
use ringmain_wire::native::errors::ErrorCode;

use crate::effect::Effects;

use super::pending::PendingKind;
use super::removal::Void;
use super::{Store, Ticket, code_of, resident};

impl Store {
    /// Forgets a partition. Whoever waits for it is told that it is unknown. The log is told too, so that replay can
    /// forget it; what is in the log already means nothing any more, because its topic id never comes back.
    pub fn remove<M>(&mut self, id: PartitionId, effects: &mut Effects<M>) {
        let Some(slot) = self.slots.remove(&id) else { return };
        let tickets = self.pending.cut(slot, None);
        self.fail(tickets, ErrorCode::UnknownTopicOrPartition);
        let gone = self.residents[slot.0].take().expect("a slot that is named is taken");
        self.tail_bytes -= gone.partition.tail().charged_bytes();
        self.woken.extend(gone.watchers);
        if let Ok(sequence) = self.commit.append_entry(id, PartitionChange::PartitionDrop) {
            self.pending.push_void(sequence);
            let named = gone.partition.segments().extents().iter().map(|extent| extent.base);
            let segments = named.chain(gone.begun.iter().copied()).collect();
            let strays = gone.partition.segments().strays().to_vec();
            // Its directory may be there although nothing is known to lie in it.
            self.removal.promise(sequence, Void::Partition { id, segments, strays });
        }
        self.reading.forget(id, None, effects);
        self.free.push(slot);
    }

    /// Where truncation at `offset` really cuts: batches are never split. None when the batch that holds `offset` lies
    /// only in a segment: [`find_batch`](Self::find_batch) finds it.
    ///
    /// # Errors
    /// When the partition is unknown.
    pub fn cut_at(&self, id: PartitionId, offset: Offset) -> Result<Option<Offset>, ErrorCode> {
        let partition = self.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(partition.cut_at(offset))
    }

    /// Drops the suffix of a partition from `end` on, where a batch begins. The entry is in the log before anything that
    /// is appended afterwards.
    ///
    /// # Errors
    /// When the partition is unknown or the log takes no more.
    pub fn truncate<M>(
        &mut self,
        id: PartitionId,
        end: Offset,
        ticket: Option<Ticket>,
        effects: &mut Effects<M>,
    ) -> Result<(), ErrorCode> {
        let slot = *self.slots.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = &mut resident(&mut self.residents, slot).partition;
        let end = end.min(partition.end());
        let change = PartitionChange::Truncate { offset: end, leader_epoch: partition.leader_epoch() };
        let sequence = self.commit.append_entry(id, change).map_err(code_of)?;
        let place = self.log_place(sequence);
        let here = resident(&mut self.residents, slot);
        let charged = here.partition.tail().charged_bytes();
        let cuts_settled = end < here.partition.settled_end();
        let void = here.partition.truncate(end, place);
        here.synced_upto = here.synced_upto.min(end);
        self.tail_bytes -= charged - here.partition.tail().charged_bytes();
        if cuts_settled {
            here.open_index = None;
            self.reading.forget(id, None, effects);
        }
        if !void.is_empty() {
            let bases = void.iter().map(|extent| extent.base).collect();
            self.removal.promise(sequence, Void::Segments(id, bases));
        }
        resident(&mut self.residents, slot).truncated = Some(sequence);
        self.note_logged(sequence);
        let tickets = self.pending.cut(slot, Some(end));
        self.pending.push(sequence, slot, PendingKind::Truncate { end, ticket });
        self.fail(tickets, ErrorCode::NotLeader);
        self.wake_watchers(slot);
        Ok(())
    }

    /// Lets the records below `offset` go once that is durable.
    ///
    /// # Errors
    /// When the partition is unknown, `offset` lies above its high watermark, or the log takes no more.
    pub fn move_log_start(
        &mut self,
        id: PartitionId,
        offset: Offset,
        ticket: Option<Ticket>,
    ) -> Result<(), ErrorCode> {
        let slot = *self.slots.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = &resident(&mut self.residents, slot).partition;
        if offset > partition.high_watermark() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let sequence = self.commit.append_entry(id, PartitionChange::LogStart { offset }).map_err(code_of)?;
        resident(&mut self.residents, slot).partition.log_start_logging(offset);
        self.pending.push(sequence, slot, PendingKind::LogStart { offset, ticket });
        Ok(())
    }
}
