//! Batches written record by record.

use bytes::Bytes;

use super::stamp::stamp_crc;
use super::varint::{encoded_bytes, write_i64};
use super::{
    Attributes, BatchError, BatchHeader, Codec, HEADER_BYTES, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_PRODUCER_SEQUENCE,
};
use crate::ids::{Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

/// A batch under construction. Records are encoded once, behind space for the header, so that a batch that is not
/// compressed is finished where it lies.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    codec: Codec,
    batch: Vec<u8>,
    records: u32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    producer: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: ProducerSequence,
}

impl BatchBuilder {
    /// An empty batch that `codec` will compress.
    pub fn new(codec: Codec) -> Self {
        Self::with_capacity(codec, 0)
    }

    /// An empty batch with space for `records_bytes` bytes of records before it has to grow.
    pub fn with_capacity(codec: Codec, records_bytes: usize) -> Self {
        let mut batch = Vec::with_capacity(HEADER_BYTES + records_bytes);
        batch.resize(HEADER_BYTES, 0);
        Self {
            codec,
            batch,
            records: 0,
            base_timestamp: TimestampMs(0),
            max_timestamp: TimestampMs(i64::MIN),
            producer: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_PRODUCER_SEQUENCE,
        }
    }

    /// Records so far.
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Whether there is no record yet.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes so far, header included, before compression: what [`finish`](Self::finish) gives with [`Codec::None`].
    pub const fn size_estimate_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Names the idempotent producer, and the sequence of the batch's first record (KIP-98).
    pub const fn set_producer(
        &mut self,
        producer: ProducerId,
        producer_epoch: ProducerEpoch,
        base_sequence: ProducerSequence,
    ) {
        self.producer = producer;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
    }

    /// Appends a record; headers keep their order and may repeat a key.
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.is_empty() {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // Wrapping, as the reader adds: any two timestamps give a delta that leads from one to the other.
        let timestamp_delta = timestamp.get().wrapping_sub(self.base_timestamp.get());
        let offset_delta = i64::from(self.records);

        let headers_bytes: usize =
            headers.iter().map(|&(key, value)| nullable_bytes(Some(key)) + nullable_bytes(value)).sum();
        let record_bytes = size_of_val(&RECORD_ATTRIBUTES)
            + encoded_bytes(timestamp_delta)
            + encoded_bytes(offset_delta)
            + nullable_bytes(key)
            + nullable_bytes(value)
            + encoded_bytes(headers.len() as i64)
            + headers_bytes;

        let out = &mut self.batch;
        out.reserve(encoded_bytes(record_bytes as i64) + record_bytes);
        write_i64(out, record_bytes as i64);
        let record_start = out.len();
        out.push(RECORD_ATTRIBUTES);
        write_i64(out, timestamp_delta);
        write_i64(out, offset_delta);
        write_nullable(out, key);
        write_nullable(out, value);
        write_i64(out, headers.len() as i64);
        for &(key, value) in headers {
            write_nullable(out, Some(key));
            write_nullable(out, value);
        }
        assert_eq!(out.len() - record_start, record_bytes, "a record is as long as it says");
        self.records += 1;
    }

    /// Compresses the records and writes the header: base offset 0, no leader epoch, checksum valid.
    ///
    /// # Errors
    /// [`BatchError::NoRecords`]; [`BatchError::Unencodable`] above 2 GiB, before or after compression.
    pub fn finish(self) -> Result<Bytes, BatchError> {
        if self.is_empty() {
            return Err(BatchError::NoRecords);
        }
        // Also before compression: no length field within has then left its range.
        encodable(self.batch.len())?;
        let mut header = BatchHeader {
            base_offset: Offset::ZERO,
            length: 0,
            leader_epoch: NO_LEADER_EPOCH,
            crc: 0,
            attributes: Attributes::with_codec(self.codec),
            last_offset_delta: self.records as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer: self.producer,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            records: self.records,
        };
        let mut batch = match self.codec {
            Codec::None => self.batch,
            codec => {
                let mut compressed = Vec::with_capacity(HEADER_BYTES + self.batch.len() / 2);
                compressed.resize(HEADER_BYTES, 0);
                codec.compress(&self.batch[HEADER_BYTES..], &mut compressed);
                compressed
            }
        };
        header.length = encodable(batch.len())?;
        header.write(&mut batch);
        stamp_crc(&mut batch);
        Ok(batch.into())
    }
}

const RECORD_ATTRIBUTES: u8 = 0;
const NULL_LENGTH: i64 = -1;

fn encodable(batch_bytes: usize) -> Result<u32, BatchError> {
    // The length field, an i32, does not count 12 bytes; that much less room is not worth a second constant.
    match i32::try_from(batch_bytes) {
        Ok(bytes) => Ok(bytes as u32),
        Err(_) => Err(BatchError::Unencodable { batch_bytes }),
    }
}

fn nullable_bytes(field: Option<&[u8]>) -> usize {
    match field {
        Some(bytes) => encoded_bytes(bytes.len() as i64) + bytes.len(),
        None => encoded_bytes(NULL_LENGTH),
    }
}

fn write_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            write_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => write_i64(out, NULL_LENGTH),
    }
}
