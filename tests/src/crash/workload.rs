//! What is written: one topic, one producer, and records that follow from their place alone.

use bytes::Bytes;
use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{PartitionIndex, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

/// The topic.
pub(super) const TOPIC: &str = "orders";
/// Its partitions.
pub(super) const PARTITIONS: u32 = 10;
/// Connections that the partitions are dealt out to.
pub(super) const CONNECTIONS: u32 = 4;
/// Batches sent and not yet acknowledged, a connection.
pub(super) const BATCHES_IN_FLIGHT: usize = 5;
/// Most records of a batch.
pub(super) const BATCH_RECORDS_MAX: u64 = 4;

/// The partitions that `connection` writes to.
pub(super) fn partitions_of(connection: u32) -> impl Iterator<Item = PartitionIndex> {
    (0..PARTITIONS).filter(move |partition| partition % CONNECTIONS == connection).map(PartitionIndex)
}

/// The value of record `number` of a partition: its place in words, and a filler that makes groups of all lengths.
pub(super) fn value(partition: PartitionIndex, number: u64) -> Vec<u8> {
    let mixed = (number ^ u64::from(partition.get()) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let filler_bytes = if mixed.is_multiple_of(32) { mixed % 6_000 } else { mixed % 200 };
    let mut value = format!("{partition}-{number}-").into_bytes();
    value.extend((0..filler_bytes).map(|place| b'a' + ((number + place) % 26) as u8));
    value
}

/// A batch of `records` records from `first` on.
pub(super) fn batch(producer: ProducerId, partition: PartitionIndex, first: u64, records: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    let sequence = i32::try_from(first).expect("a run has fewer records");
    builder.set_producer(producer, ProducerEpoch(0), ProducerSequence(sequence));
    for number in first..first + records {
        let timestamp = TimestampMs(i64::try_from(number).expect("a run has fewer records"));
        builder.append(timestamp, None, Some(&value(partition, number)), &[]);
    }
    builder.finish().expect("a small batch with records can be built")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_belongs_to_one_connection() {
        let mut dealt: Vec<_> = (0..CONNECTIONS).flat_map(partitions_of).collect();
        dealt.sort_unstable();
        assert_eq!(dealt, (0..PARTITIONS).map(PartitionIndex).collect::<Vec<_>>());
    }

    #[test]
    fn values_tell_records_apart() {
        let values: std::collections::BTreeSet<_> = (0..PARTITIONS)
            .flat_map(|partition| (0..200).map(move |number| value(PartitionIndex(partition), number)))
            .collect();
        assert_eq!(values.len(), 2_000);
    }
}
