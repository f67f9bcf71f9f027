//! Header fields written into a batch that is already built.

use super::header::{
    BASE_OFFSET, BASE_SEQUENCE, CHECKED_FROM, CRC, HEADER_BYTES, LEADER_EPOCH, PRODUCER_EPOCH, PRODUCER_ID,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence};

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
