//! The 61 bytes before the records, as a view of fixed fields.

use core::ops::Range;

use super::{Attributes, BatchError, Codec, TimestampType};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;

/// The producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
/// The producer epoch of a batch whose producer is not idempotent.
pub const NO_PRODUCER_EPOCH: ProducerEpoch = ProducerEpoch(-1);
/// The base sequence of a batch whose producer is not idempotent.
pub const NO_PRODUCER_SEQUENCE: ProducerSequence = ProducerSequence(-1);
/// The leader epoch of a batch that no leader has stamped.
pub const NO_LEADER_EPOCH: LeaderEpoch = LeaderEpoch(-1);

pub(super) const BASE_OFFSET: Range<usize> = 0..8;
const BATCH_LENGTH: Range<usize> = 8..12;
pub(super) const LEADER_EPOCH: Range<usize> = 12..16;
const MAGIC: usize = 16;
pub(super) const CRC: Range<usize> = 17..21;
pub(super) const ATTRIBUTES: Range<usize> = 21..23;
const LAST_OFFSET_DELTA: Range<usize> = 23..27;
const BASE_TIMESTAMP: Range<usize> = 27..35;
pub(super) const MAX_TIMESTAMP: Range<usize> = 35..43;
pub(super) const PRODUCER_ID: Range<usize> = 43..51;
pub(super) const PRODUCER_EPOCH: Range<usize> = 51..53;
pub(super) const BASE_SEQUENCE: Range<usize> = 53..57;
const RECORDS: Range<usize> = 57..61;

/// The length field counts what follows it.
const UNCOUNTED_BYTES: u32 = BATCH_LENGTH.end as u32;
/// First byte that the checksum covers.
pub(super) const CHECKED_FROM: usize = CRC.end;

const MAGIC_SUPPORTED: i8 = 2;

const _: () = assert!(RECORDS.end == HEADER_BYTES);

/// What the first 61 bytes of a batch say; a view that costs a few loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 from a producer, until the leader stamps it. Not negative.
    pub base_offset: Offset,
    /// The whole batch in bytes: the wire's length field and the 12 bytes it does not count. At least 61.
    pub length: u32,
    /// Epoch of the leader that appended the batch; −1 until stamped.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: Attributes,
    /// Offset of the last record minus the base offset; compaction keeps it when it removes records. Not negative.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to.
    pub base_timestamp: TimestampMs,
    /// The largest timestamp, or the time of the append; −1 from producers that leave it open.
    pub max_timestamp: TimestampMs,
    /// The idempotent producer; −1 for none.
    pub producer: ProducerId,
    /// Its incarnation; −1 for none.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; −1 for none.
    pub base_sequence: ProducerSequence,
    /// How many records follow. At most `i32::MAX`.
    pub records: u32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records behind it need not be there and are not looked at.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below 61 bytes; [`BatchError::Magic`], [`BatchError::Length`],
    /// [`BatchError::OffsetRange`] and [`BatchError::RecordsNegative`] for values that no batch of this format has.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(fixed) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(too_short(bytes));
        };
        let magic = fixed[MAGIC] as i8;
        if magic != MAGIC_SUPPORTED {
            return Err(BatchError::Magic { magic });
        }
        let batch_length = i32::from_be_bytes(field(fixed, BATCH_LENGTH));
        if batch_length < HEADER_BYTES as i32 - UNCOUNTED_BYTES as i32 {
            return Err(BatchError::Length { batch_length });
        }
        let base_offset = i64::from_be_bytes(field(fixed, BASE_OFFSET));
        let last_offset_delta = i32::from_be_bytes(field(fixed, LAST_OFFSET_DELTA));
        // So that no arithmetic on the offsets of a batch that was parsed can leave their range.
        let base_offset_max = i64::MAX - i32::MAX as i64 - 1;
        if !(0..=base_offset_max).contains(&base_offset) || last_offset_delta < 0 {
            return Err(BatchError::OffsetRange { base_offset, last_offset_delta });
        }
        let records = i32::from_be_bytes(field(fixed, RECORDS));
        if records < 0 {
            return Err(BatchError::RecordsNegative { records });
        }
        Ok(Self {
            base_offset: Offset(base_offset),
            length: batch_length as u32 + UNCOUNTED_BYTES,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(fixed, LEADER_EPOCH))),
            crc: u32::from_be_bytes(field(fixed, CRC)),
            attributes: Attributes(u16::from_be_bytes(field(fixed, ATTRIBUTES))),
            last_offset_delta,
            base_timestamp: TimestampMs(i64::from_be_bytes(field(fixed, BASE_TIMESTAMP))),
            max_timestamp: TimestampMs(i64::from_be_bytes(field(fixed, MAX_TIMESTAMP))),
            producer: ProducerId(i64::from_be_bytes(field(fixed, PRODUCER_ID))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(fixed, PRODUCER_EPOCH))),
            base_sequence: ProducerSequence(i32::from_be_bytes(field(fixed, BASE_SEQUENCE))),
            records: records as u32,
        })
    }

    /// Reads the header of the one batch that `bytes` must be, from first to last byte.
    pub(super) fn parse_whole(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let batch_bytes = header.length as usize;
        if batch_bytes > bytes.len() {
            return Err(BatchError::Truncated { needed_bytes: batch_bytes, given_bytes: bytes.len() });
        }
        if batch_bytes < bytes.len() {
            return Err(BatchError::TrailingBytes { batch_bytes, given_bytes: bytes.len() });
        }
        Ok(header)
    }

    /// Writes the header over the first bytes of `batch`, checksum field included, as the fields say.
    pub(super) fn write(&self, batch: &mut [u8]) {
        let fixed = &mut batch[..HEADER_BYTES];
        fixed[BASE_OFFSET].copy_from_slice(&self.base_offset.get().to_be_bytes());
        fixed[BATCH_LENGTH].copy_from_slice(&(self.length - UNCOUNTED_BYTES).to_be_bytes());
        fixed[LEADER_EPOCH].copy_from_slice(&self.leader_epoch.get().to_be_bytes());
        fixed[MAGIC] = MAGIC_SUPPORTED as u8;
        fixed[CRC].copy_from_slice(&self.crc.to_be_bytes());
        fixed[ATTRIBUTES].copy_from_slice(&self.attributes.0.to_be_bytes());
        fixed[LAST_OFFSET_DELTA].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        fixed[BASE_TIMESTAMP].copy_from_slice(&self.base_timestamp.get().to_be_bytes());
        fixed[MAX_TIMESTAMP].copy_from_slice(&self.max_timestamp.get().to_be_bytes());
        fixed[PRODUCER_ID].copy_from_slice(&self.producer.get().to_be_bytes());
        fixed[PRODUCER_EPOCH].copy_from_slice(&self.producer_epoch.get().to_be_bytes());
        fixed[BASE_SEQUENCE].copy_from_slice(&self.base_sequence.get().to_be_bytes());
        fixed[RECORDS].copy_from_slice(&self.records.to_be_bytes());
    }

    /// What it says, but for the checksum, once [`stamp_append_time`](super::stamp_append_time) has been over its batch.
    #[must_use]
    pub const fn with_append_time(self, append_time: TimestampMs) -> Self {
        Self { attributes: self.attributes.with_append_time(), max_timestamp: append_time, ..self }
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::CodecBits`] for the three values that name no codec.
    #[inline]
    pub fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    /// Offset of the last record, or where it was before compaction removed it.
    #[inline]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.get() + self.last_offset_delta as i64)
    }

    /// The offset that follows the batch.
    #[inline]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().get() + 1)
    }

    /// Whether an idempotent producer sent it.
    #[inline]
    pub const fn is_idempotent(&self) -> bool {
        self.producer.get() >= 0
    }

    /// Whether it belongs to a transaction.
    #[inline]
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether it holds markers written by a broker, which consumers skip.
    #[inline]
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// What its timestamps mean.
    #[inline]
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }
}

/// Older formats have shorter headers: their magic, at the same place, is the more useful answer.
#[cold]
fn too_short(bytes: &[u8]) -> BatchError {
    match bytes.get(MAGIC) {
        Some(&magic) if magic as i8 != MAGIC_SUPPORTED => BatchError::Magic { magic: magic as i8 },
        _ => BatchError::Truncated { needed_bytes: HEADER_BYTES, given_bytes: bytes.len() },
    }
}

#[inline(always)]
fn field<const WIDTH: usize>(fixed: &[u8; HEADER_BYTES], place: Range<usize>) -> [u8; WIDTH] {
    let mut bytes = [0; WIDTH];
    bytes.copy_from_slice(&fixed[place]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: BatchHeader = BatchHeader {
        base_offset: Offset(0x0102_0304_0506_0708),
        length: 0x1122_3344,
        leader_epoch: LeaderEpoch(0x0a0b_0c0d),
        crc: 0xdead_beef,
        attributes: Attributes(0x0034),
        last_offset_delta: 0x0102_0304,
        base_timestamp: TimestampMs(-2),
        max_timestamp: TimestampMs(0x0011_2233_4455_6677),
        producer: ProducerId(0x7766_5544_3322_1100),
        producer_epoch: ProducerEpoch(0x1234),
        base_sequence: ProducerSequence(0x5678_9abc),
        records: 0x0011_0022,
    };

    fn written(header: BatchHeader) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        header.write(&mut bytes);
        bytes
    }

    #[test]
    fn every_field_comes_back_from_its_own_place() {
        assert_eq!(BatchHeader::parse(&written(HEADER)), Ok(HEADER));
    }

    #[test]
    fn getters_read_offsets_and_attribute_bits() {
        assert_eq!(HEADER.last_offset(), Offset(0x0102_0304_0506_0708 + 0x0102_0304));
        assert_eq!(HEADER.next_offset(), Offset(HEADER.last_offset().get() + 1));
        assert_eq!(HEADER.codec(), Ok(Codec::Zstd));
        assert!(HEADER.is_idempotent() && HEADER.is_transactional() && HEADER.is_control());
        assert_eq!(HEADER.timestamp_type(), TimestampType::CreateTime);
        let plain = BatchHeader { attributes: Attributes(0x000f), producer: NO_PRODUCER_ID, ..HEADER };
        assert!(!plain.is_idempotent() && !plain.is_transactional() && !plain.is_control());
        assert_eq!(plain.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(plain.codec(), Err(BatchError::CodecBits { bits: 7 }));
    }

    #[test]
    fn values_that_no_batch_has_are_refused_by_name() {
        let parse = |header| BatchHeader::parse(&written(header));
        let shortest = BatchHeader { length: 61, ..HEADER };
        assert_eq!(parse(shortest), Ok(shortest));
        assert_eq!(parse(BatchHeader { length: 60, ..HEADER }), Err(BatchError::Length { batch_length: 48 }),);
        assert_eq!(
            parse(BatchHeader { length: 1 << 31 | 12, ..HEADER }),
            Err(BatchError::Length { batch_length: i32::MIN }),
        );
        let base_offset = i64::MAX - i32::MAX as i64;
        assert_eq!(
            parse(BatchHeader { base_offset: Offset(base_offset), ..HEADER }),
            Err(BatchError::OffsetRange { base_offset, last_offset_delta: 0x0102_0304 }),
        );
        let last =
            BatchHeader { base_offset: Offset(base_offset - 1), last_offset_delta: i32::MAX, ..HEADER };
        assert_eq!(parse(last).map(|header| header.next_offset()), Ok(Offset(i64::MAX)));
        assert_eq!(
            parse(BatchHeader { base_offset: Offset(-1), last_offset_delta: 3, ..HEADER }),
            Err(BatchError::OffsetRange { base_offset: -1, last_offset_delta: 3 }),
        );
        assert_eq!(
            parse(BatchHeader { base_offset: Offset(9), last_offset_delta: -1, ..HEADER }),
            Err(BatchError::OffsetRange { base_offset: 9, last_offset_delta: -1 }),
        );
        assert_eq!(
            parse(BatchHeader { records: u32::MAX, ..HEADER }),
            Err(BatchError::RecordsNegative { records: -1 }),
        );
    }

    #[test]
    fn the_magic_of_an_older_format_is_named_even_when_its_header_is_shorter() {
        let mut bytes = written(HEADER);
        bytes[MAGIC] = 1;
        for length in MAGIC + 1..=HEADER_BYTES {
            assert_eq!(BatchHeader::parse(&bytes[..length]), Err(BatchError::Magic { magic: 1 }));
        }
        assert_eq!(
            BatchHeader::parse(&bytes[..MAGIC]),
            Err(BatchError::Truncated { needed_bytes: HEADER_BYTES, given_bytes: MAGIC }),
        );
    }
}
