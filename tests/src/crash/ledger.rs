//! What the producer was promised, and what was read so far: the memory that the broker is held against.
//!
//! Each partition has one producer from its birth, and each record lands once and in order; so record `number` must lie
//! at offset `number`, and one count says all that was acknowledged. A record that is lost, stored twice or swapped
//! moves everything behind it.

use ringmain_wire::ids::{PartitionIndex, ProducerId};

use super::error::Violation;
use super::report::{Acknowledged, Event};
use super::workload::{CONNECTIONS, PARTITIONS};

/// What is known of all partitions and connections.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    partitions: [Expected; PARTITIONS as usize],
    connected: [bool; CONNECTIONS as usize],
    producer: Option<ProducerId>,
    /// The last mark that came back.
    pub(super) marked: u64,
    /// What was counted on the way.
    pub(super) counts: Counts,
}

/// What the producer saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Records acknowledged.
    pub(super) records: u64,
    /// Batches first sent to an earlier start of the broker and answered as duplicates: from recovered state.
    pub(super) duplicates_after_restart: u64,
    /// Batches answered as duplicates by the start they were first sent to: the connection was cut between write and
    /// acknowledgement.
    pub(super) duplicates_after_cut: u64,
    /// Connections lost.
    pub(super) disconnects: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    /// Records acknowledged; they are the first ones.
    acknowledged: u64,
    /// Records that were read: a consumer saw them, so they stay.
    read: u64,
}

impl Ledger {
    /// Takes note of what the producer said.
    pub(super) fn handle(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Named(producer) => self.producer = Some(producer),
            Event::Connected { connection, .. } => self.connected[connection as usize] = true,
            Event::Disconnected { connection } => {
                self.connected[connection as usize] = false;
                self.counts.disconnects += 1;
            }
            Event::Acknowledged(batch) => self.handle_acknowledged(batch)?,
            Event::Marked(mark) => self.marked = mark,
            // The owner of the process has to hear of it, not this memory.
            Event::Failed(_) => {}
        }
        Ok(())
    }

    /// The reader has come to `end` of `partition`.
    pub(super) fn handle_read(&mut self, partition: PartitionIndex, end: u64) -> Result<(), Violation> {
        let expected_end = self.end(partition);
        if end < expected_end {
            return Err(Violation::Lost { partition, end, expected_end });
        }
        self.partitions[partition.get() as usize].read = end;
        Ok(())
    }

    /// The offset behind all of `partition` that may never go again.
    pub(super) fn end(&self, partition: PartitionIndex) -> u64 {
        let expected = &self.partitions[partition.get() as usize];
        expected.acknowledged.max(expected.read)
    }

    /// Records of `partition` that were acknowledged.
    pub(super) fn acknowledged(&self, partition: PartitionIndex) -> u64 {
        self.partitions[partition.get() as usize].acknowledged
    }

    /// The one producer.
    pub(super) fn producer(&self) -> Option<ProducerId> {
        self.producer
    }

    /// Whether no connection is up: nothing that was sent before can still be acknowledged.
    pub(super) fn is_disconnected(&self) -> bool {
        !self.connected.iter().any(|&connected| connected)
    }

    /// As if the first `records` records of `partition` had been acknowledged.
    #[cfg(test)]
    pub(super) fn acknowledge(&mut self, partition: PartitionIndex, records: u64) {
        self.partitions[partition.get() as usize].acknowledged = records;
    }

    fn handle_acknowledged(&mut self, batch: Acknowledged) -> Result<(), Violation> {
        let Acknowledged { partition, offset, first, records, duplicate, sent_to, answered_by } = batch;
        let expected = &mut self.partitions[partition.get() as usize];
        if first != expected.acknowledged || i64::try_from(first) != Ok(offset) {
            return Err(Violation::AcknowledgedElsewhere { partition, number: first, offset });
        }
        expected.acknowledged += records;
        self.counts.records += records;
        if duplicate {
            let counts = &mut self.counts;
            let count = if sent_to < answered_by {
                &mut counts.duplicates_after_restart
            } else {
                &mut counts.duplicates_after_cut
            };
            *count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::LeaderEpoch;

    use super::*;

    const PARTITION: PartitionIndex = PartitionIndex(4);

    fn acknowledged(first: u64, offset: i64) -> Event {
        Event::Acknowledged(Acknowledged {
            partition: PARTITION,
            offset,
            first,
            records: 2,
            duplicate: false,
            sent_to: LeaderEpoch(1),
            answered_by: LeaderEpoch(1),
        })
    }

    #[test]
    fn an_acknowledgement_at_another_offset_is_a_violation() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.handle(acknowledged(0, 0)), Ok(()));
        let stored_twice = Violation::AcknowledgedElsewhere { partition: PARTITION, number: 2, offset: 4 };
        assert_eq!(ledger.handle(acknowledged(2, 4)), Err(stored_twice));
    }

    #[test]
    fn what_was_acknowledged_or_read_may_not_go() {
        let mut ledger = Ledger::default();
        ledger.handle(acknowledged(0, 0)).unwrap();
        assert_eq!(
            ledger.handle_read(PARTITION, 1),
            Err(Violation::Lost { partition: PARTITION, end: 1, expected_end: 2 })
        );
        assert_eq!(ledger.handle_read(PARTITION, 5), Ok(()));
        assert_eq!(
            ledger.handle_read(PARTITION, 4),
            Err(Violation::Lost { partition: PARTITION, end: 4, expected_end: 5 })
        );
    }
}
