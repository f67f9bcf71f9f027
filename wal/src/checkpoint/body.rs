//! The body of a checkpoint: the oldest generation, and a counted list of logs.

use super::{Checkpoint, LogExtent};
use crate::group::{Generation, LogId, Sequence};
use crate::layout::{Reader, put_count};

const LOG_BYTES: usize = 16;

pub(super) fn encode(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    out.extend_from_slice(&checkpoint.oldest_generation.0.to_le_bytes());
    put_count(out, checkpoint.logs.len());
    for log in &checkpoint.logs {
        out.extend_from_slice(&log.generation.0.to_le_bytes());
        out.extend_from_slice(&u32::from(log.log.0).to_le_bytes());
        out.extend_from_slice(&log.last.0.to_le_bytes());
    }
}

/// `None` when the count or the order contradicts the bytes.
pub(super) fn decode(write_number: u64, body: &[u8]) -> Option<Checkpoint> {
    let mut reader = Reader::new(body);
    let oldest_generation = Generation(reader.u32()?);
    let logs = reader.list(LOG_BYTES, decode_log)?;
    let checkpoint = Checkpoint { write_number, oldest_generation, logs };
    (reader.is_empty() && is_in_order(&checkpoint)).then_some(checkpoint)
}

/// Whether the logs are in their order.
pub(super) fn is_in_order(checkpoint: &Checkpoint) -> bool {
    checkpoint.logs.is_sorted_by(|a, b| (a.generation, a.log) < (b.generation, b.log))
}

fn decode_log(reader: &mut Reader<'_>) -> Option<LogExtent> {
    Some(LogExtent {
        generation: Generation(reader.u32()?),
        log: LogId(u16::try_from(reader.u32()?).ok()?),
        last: Sequence(reader.u64()?),
    })
}
