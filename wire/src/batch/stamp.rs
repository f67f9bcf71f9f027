//! Header fields written into a batch that is already built.

use super::Attributes;
use super::header::{
    ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, CHECKED_FROM, CRC, HEADER_BYTES, LEADER_EPOCH, MAX_TIMESTAMP,
    PRODUCER_EPOCH, PRODUCER_ID,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

/// Gives a batch its place in the log. Both fields lie before the checksummed bytes: the producer's checksum stays valid.
///
/// # Panics
/// When `batch` is shorter than a header.
#[inline]
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_BYTES, "{} bytes are no batch", batch.len());
    batch[BASE_OFFSET].copy_from_slice(&base_offset.get().to_be_bytes());
    batch[LEADER_EPOCH].copy_from_slice(&leader_epoch.get().to_be_bytes());
}

/// Gives all records of one whole batch the time of its append (KIP-32), and computes its checksum again. The times that
/// their producer gave them stay in it, unread: base timestamp and deltas are as they were.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn stamp_append_time(batch: &mut [u8], append_time: TimestampMs) {
    assert!(batch.len() >= HEADER_BYTES, "{} bytes are no batch", batch.len());
    let mut attributes = [0; size_of::<u16>()];
    attributes.copy_from_slice(&batch[ATTRIBUTES]);
    let Attributes(bits) = Attributes(u16::from_be_bytes(attributes)).with_append_time();
    batch[ATTRIBUTES].copy_from_slice(&bits.to_be_bytes());
    batch[MAX_TIMESTAMP].copy_from_slice(&append_time.get().to_be_bytes());
    stamp_crc(batch);
}

/// Writes the identity of an idempotent producer (KIP-98) into one whole batch and computes its checksum again,
/// for clients that learn the sequence only when they send.
///
/// # Panics
/// When `batch` is shorter than a header.
pub fn stamp_producer(
    batch: &mut [u8],
    producer: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: ProducerSequence,
) {
    assert!(batch.len() >= HEADER_BYTES, "{} bytes are no batch", batch.len());
    batch[PRODUCER_ID].copy_from_slice(&producer.get().to_be_bytes());
    batch[PRODUCER_EPOCH].copy_from_slice(&producer_epoch.get().to_be_bytes());
    batch[BASE_SEQUENCE].copy_from_slice(&base_sequence.get().to_be_bytes());
    stamp_crc(batch);
}

/// Computes the checksum of one whole batch and writes it.
pub(super) fn stamp_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}
