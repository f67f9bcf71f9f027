//! Fields and counted lists of a partition's state, to bytes and back.

use ringmain_wire::ids::{LeaderEpoch, ProducerEpoch, ProducerId, ProducerSequence};

use super::{FORMAT_VERSION, PartitionState, ProducerSnapshot, RememberedBatch, SegmentExtent, StateDamage};
use crate::layout::{Reader, put_count};

const SEGMENT_BYTES: usize = 40;
const EPOCH_BYTES: usize = 12;
/// The fixed part, without the batches.
const PRODUCER_BYTES: usize = 14;
const BATCH_BYTES: usize = 24;

const FLAG_READ_ONLY: u32 = 1;

pub(super) fn encode(state: &PartitionState) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    let flags = if state.is_read_only { FLAG_READ_ONLY } else { 0 };
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&state.log_start.0.to_le_bytes());
    out.extend_from_slice(&state.settled_end.0.to_le_bytes());
    out.extend_from_slice(&state.end.0.to_le_bytes());
    put_count(&mut out, state.segments.len());
    for segment in &state.segments {
        out.extend_from_slice(&segment.base.0.to_le_bytes());
        out.extend_from_slice(&segment.end.0.to_le_bytes());
        out.extend_from_slice(&segment.bytes.to_le_bytes());
        out.extend_from_slice(&segment.created.0.to_le_bytes());
        out.extend_from_slice(&segment.max_timestamp.0.to_le_bytes());
    }
    put_count(&mut out, state.epochs.len());
    for (epoch, start) in &state.epochs {
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&start.0.to_le_bytes());
    }
    put_count(&mut out, state.producers.len());
    for producer in &state.producers {
        out.extend_from_slice(&producer.producer.0.to_le_bytes());
        out.extend_from_slice(&producer.epoch.0.to_le_bytes());
        put_count(&mut out, producer.batches.len());
        for batch in &producer.batches {
            out.extend_from_slice(&batch.first.0.to_le_bytes());
            out.extend_from_slice(&batch.last.0.to_le_bytes());
            out.extend_from_slice(&batch.base_offset.0.to_le_bytes());
            out.extend_from_slice(&batch.next_offset.0.to_le_bytes());
        }
    }
    out
}

/// The state as its fields say; whether they fit each other is not looked at.
pub(super) fn decode(bytes: &[u8]) -> Result<PartitionState, StateDamage> {
    let mut reader = Reader::new(bytes);
    match reader.u32() {
        Some(FORMAT_VERSION) => {}
        Some(found) => return Err(StateDamage::FormatVersion { found }),
        None => return Err(StateDamage::Bounds),
    }
    let state = decode_fields(&mut reader).ok_or(StateDamage::Bounds)?;
    if reader.is_empty() { Ok(state) } else { Err(StateDamage::Bounds) }
}

fn decode_fields(reader: &mut Reader<'_>) -> Option<PartitionState> {
    let is_read_only = match reader.u32()? {
        0 => false,
        FLAG_READ_ONLY => true,
        _ => return None,
    };
    Some(PartitionState {
        log_start: reader.offset()?,
        settled_end: reader.offset()?,
        end: reader.offset()?,
        segments: reader.list(SEGMENT_BYTES, decode_segment)?,
        epochs: reader.list(EPOCH_BYTES, |reader| Some((LeaderEpoch(reader.i32()?), reader.offset()?)))?,
        producers: reader.list(PRODUCER_BYTES, decode_producer)?,
        is_read_only,
    })
}

fn decode_segment(reader: &mut Reader<'_>) -> Option<SegmentExtent> {
    Some(SegmentExtent {
        base: reader.offset()?,
        end: reader.offset()?,
        bytes: reader.u64()?,
        created: reader.timestamp()?,
        max_timestamp: reader.timestamp()?,
    })
}

fn decode_producer(reader: &mut Reader<'_>) -> Option<ProducerSnapshot> {
    Some(ProducerSnapshot {
        producer: ProducerId(reader.i64()?),
        epoch: ProducerEpoch(reader.i16()?),
        batches: reader.list(BATCH_BYTES, decode_batch)?,
    })
}

fn decode_batch(reader: &mut Reader<'_>) -> Option<RememberedBatch> {
    Some(RememberedBatch {
        first: ProducerSequence(reader.i32()?),
        last: ProducerSequence(reader.i32()?),
        base_offset: reader.offset()?,
        next_offset: reader.offset()?,
    })
}
