//! Whether bytes are a sound batch, and whether a broker accepts it from a producer.

use super::header::CHECKED_FROM;
use super::{BatchError, BatchHeader, TimestampType};
use crate::ids::Offset;

/// What a broker or topic limits about a produced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceLimits {
    /// The largest batch accepted, in bytes with its header (`max.message.bytes`).
    pub batch_bytes_max: u32,
}

/// Reads the header of the one batch that `bytes` must be, and proves its checksum.
///
/// The records are not decoded: they may still be malformed, if their writer was.
///
/// # Errors
/// Those of [`BatchHeader::parse`]; [`BatchError::Truncated`] or [`BatchError::TrailingBytes`] when the batch does not
/// end where `bytes` does; [`BatchError::Crc`].
pub fn check(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse_whole(bytes)?;
    check_crc(&header, bytes)?;
    Ok(header)
}

/// Judges `bytes` as Kafka judges what a producer sends for one partition: exactly one sound batch, no larger than
/// allowed, whose header keeps the rules for producers. Never decompresses.
///
/// # Errors
/// Those of [`check`], and one of [`BatchError`]'s rules for producers.
pub fn check_produced(bytes: &[u8], limits: ProduceLimits) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse_whole(bytes)?;
    if header.length > limits.batch_bytes_max {
        return Err(BatchError::TooLarge {
            batch_bytes: header.length,
            batch_bytes_max: limits.batch_bytes_max,
        });
    }
    // Before the rules: a header that rotted on the way would be blamed on its producer.
    check_crc(&header, bytes)?;
    check_producer_rules(&header)?;
    Ok(header)
}

fn check_crc(header: &BatchHeader, bytes: &[u8]) -> Result<(), BatchError> {
    let computed = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    if computed == header.crc { Ok(()) } else { Err(BatchError::Crc { stored: header.crc, computed }) }
}

fn check_producer_rules(header: &BatchHeader) -> Result<(), BatchError> {
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset.get() });
    }
    if header.records == 0 {
        return Err(BatchError::NoRecords);
    }
    if header.last_offset_delta as u32 + 1 != header.records {
        return Err(BatchError::OffsetCount {
            last_offset_delta: header.last_offset_delta,
            records: header.records,
        });
    }
    header.codec()?;
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.is_transactional() {
        return Err(BatchError::Transactional);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTime);
    }
    if header.is_idempotent() && (header.producer_epoch.get() < 0 || header.base_sequence.get() < 0) {
        return Err(BatchError::ProducerState {
            producer: header.producer.get(),
            producer_epoch: header.producer_epoch.get(),
            base_sequence: header.base_sequence.get(),
        });
    }
    Ok(())
}
