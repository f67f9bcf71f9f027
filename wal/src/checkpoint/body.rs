//! The body of a checkpoint: counted lists of fixed-size items.

use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};

use super::{Checkpoint, LogExtent, PartitionCheckpoint, SegmentExtent};
use crate::group::{Generation, LogId, Sequence};
use crate::layout::Reader;

const LOG_BYTES: usize = 24;
/// The fixed part, without the two lists' items.
const PARTITION_BYTES: usize = 56;
const EPOCH_BYTES: usize = 12;
const SEGMENT_BYTES: usize = 24;

/// Stands for "no snapshot": offsets are never negative.
const NO_SNAPSHOT: i64 = -1;
const FLAG_READ_ONLY: u32 = 1;

pub(super) fn encode(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    put_count(out, checkpoint.logs.len());
    for log in &checkpoint.logs {
        out.extend_from_slice(&log.generation.0.to_le_bytes());
        out.extend_from_slice(&u32::from(log.log.0).to_le_bytes());
        out.extend_from_slice(&log.floor.0.to_le_bytes());
        out.extend_from_slice(&log.last.0.to_le_bytes());
    }
    put_count(out, checkpoint.partitions.len());
    for partition in &checkpoint.partitions {
        encode_partition(partition, out);
    }
}

/// `None` when counts, flags or order contradict the bytes or each other.
pub(super) fn decode(write_number: u64, body: &[u8]) -> Option<Checkpoint> {
    let mut reader = Reader::new(body);
    let logs = (0..reader.count(LOG_BYTES)?).map(|_| decode_log(&mut reader)).collect::<Option<_>>()?;
    let partitions =
        (0..reader.count(PARTITION_BYTES)?).map(|_| decode_partition(&mut reader)).collect::<Option<_>>()?;
    let checkpoint = Checkpoint { write_number, logs, partitions };
    (reader.is_empty() && is_in_order(&checkpoint)).then_some(checkpoint)
}

/// Whether every list is in its order and every offset where it can be.
pub(super) fn is_in_order(checkpoint: &Checkpoint) -> bool {
    checkpoint.logs.is_sorted_by(|a, b| (a.generation, a.log) < (b.generation, b.log))
        && checkpoint.partitions.is_sorted_by(|a, b| a.partition < b.partition)
        && checkpoint.partitions.iter().all(is_partition_in_order)
}

fn is_partition_in_order(partition: &PartitionCheckpoint) -> bool {
    let PartitionCheckpoint { log_start, settled_end, epochs, segments, .. } = partition;
    Offset::ZERO <= *log_start
        && log_start <= settled_end
        && partition.producer_snapshot.is_none_or(|offset| Offset::ZERO <= offset && offset <= *settled_end)
        && epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
        && segments.iter().all(|segment| segment.base < segment.end && segment.end <= *settled_end)
        && segments.is_sorted_by(|a, b| a.end <= b.base)
}

fn encode_partition(partition: &PartitionCheckpoint, out: &mut Vec<u8>) {
    out.extend_from_slice(&partition.partition.topic.0);
    out.extend_from_slice(&partition.partition.index.0.to_le_bytes());
    let flags = if partition.is_read_only { FLAG_READ_ONLY } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&partition.log_start.0.to_le_bytes());
    out.extend_from_slice(&partition.settled_end.0.to_le_bytes());
    let snapshot = partition.producer_snapshot.map_or(NO_SNAPSHOT, Offset::get);
    out.extend_from_slice(&snapshot.to_le_bytes());
    put_count(out, partition.epochs.len());
    for (epoch, start) in &partition.epochs {
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&start.0.to_le_bytes());
    }
    put_count(out, partition.segments.len());
    for segment in &partition.segments {
        out.extend_from_slice(&segment.base.0.to_le_bytes());
        out.extend_from_slice(&segment.end.0.to_le_bytes());
        out.extend_from_slice(&segment.bytes.to_le_bytes());
    }
}

fn decode_log(reader: &mut Reader<'_>) -> Option<LogExtent> {
    Some(LogExtent {
        generation: Generation(reader.u32()?),
        log: LogId(u16::try_from(reader.u32()?).ok()?),
        floor: Sequence(reader.u64()?),
        last: Sequence(reader.u64()?),
    })
}

fn decode_partition(reader: &mut Reader<'_>) -> Option<PartitionCheckpoint> {
    let partition = PartitionId::new(TopicId(reader.take()?), PartitionIndex(reader.u32()?));
    let is_read_only = match reader.u32()? {
        0 => false,
        FLAG_READ_ONLY => true,
        _ => return None,
    };
    let log_start = reader.offset()?;
    let settled_end = reader.offset()?;
    let producer_snapshot = Some(reader.offset()?).filter(|offset| offset.0 != NO_SNAPSHOT);
    let epochs = (0..reader.count(EPOCH_BYTES)?)
        .map(|_| Some((LeaderEpoch(reader.i32()?), reader.offset()?)))
        .collect::<Option<_>>()?;
    let segments = (0..reader.count(SEGMENT_BYTES)?)
        .map(|_| Some(SegmentExtent { base: reader.offset()?, end: reader.offset()?, bytes: reader.u64()? }))
        .collect::<Option<_>>()?;
    Some(PartitionCheckpoint {
        partition,
        log_start,
        settled_end,
        producer_snapshot,
        is_read_only,
        epochs,
        segments,
    })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("lists of the checkpoint are far below 4 billion items");
    out.extend_from_slice(&count.to_le_bytes());
}
