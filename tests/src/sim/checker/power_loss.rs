//! What a loss of power may take of partitions whose records count once they are written.

use ringmain_client::core::RecordTag;
use ringmain_wire::ids::{Offset, PartitionId};

use super::super::wishes::{RELAXED_RECORDS, RELAXED_TOPIC};
use super::{Checked, Checker, Violation};

impl Checker {
    /// Whether records of a partition count once they are written, as far as is known: the topic's name may not be.
    pub(in crate::sim) fn may_be_relaxed(&self, partition: PartitionId) -> bool {
        let life = self.topics.get(&partition.topic);
        partition != PartitionId::METADATA
            && life.is_none_or(|life| !life.created || life.name == RELAXED_TOPIC)
    }

    /// The node ends; a relaxed partition held that.
    pub(in crate::sim) fn handle_ending(&mut self, partition: PartitionId, held: Vec<(Offset, RecordTag)>) {
        self.histories.entry(partition).or_default().held_at_end = held;
    }

    /// What was not synced may be gone.
    pub(in crate::sim) fn handle_power_loss(&mut self) {
        self.histories.values_mut().for_each(|history| history.lost_power = true);
    }

    /// Fewer than so many records of a relaxed partition are gone with the power: from then on it is as if they had been cut.
    pub(super) fn forgive_loss(&mut self, id: PartitionId, end: Offset) -> Checked {
        let history = self.histories.entry(id).or_default();
        let held = core::mem::take(&mut history.held_at_end);
        let lost = history.high_watermark.get() - end.get();
        if core::mem::take(&mut history.lost_power) && lost > 0 && !history.damaged && self.may_be_relaxed(id)
        {
            ensure!(
                lost < RELAXED_RECORDS,
                "I1",
                "{id} has lost {lost} records with the power, and ends at {end}"
            );
            self.handle_truncation(id, end, held);
        }
        Ok(())
    }
}
