//! What can be wrong with a batch.

use core::error::Error;
use core::fmt;

use super::Codec;

/// Why bytes are not a batch, or not one that is accepted. Every variant carries the numbers that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    // The bytes: cut, mixed up, rotten or of another format.
    /// The bytes end before the header or the batch does.
    Truncated {
        /// Bytes that the header or the batch takes.
        needed_bytes: usize,
        /// Bytes that there are.
        given_bytes: usize,
    },
    /// A format that is not magic 2; Kafka dropped the older ones in 4.0 (KIP-724).
    Magic {
        /// The format's number.
        magic: i8,
    },
    /// The length field is negative or too small for a header.
    Length {
        /// The field as it stands.
        batch_length: i32,
    },
    /// Offsets that are negative or leave the range of offsets.
    OffsetRange {
        /// The field as it stands.
        base_offset: i64,
        /// The field as it stands.
        last_offset_delta: i32,
    },
    /// The number of records is negative.
    RecordsNegative {
        /// The field as it stands.
        records: i32,
    },
    /// More bytes than the one batch that is allowed here.
    TrailingBytes {
        /// Bytes of the batch.
        batch_bytes: usize,
        /// Bytes that there are.
        given_bytes: usize,
    },
    /// The checksum does not match the bytes.
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The codec bits of the attributes name no codec.
    CodecBits {
        /// The three bits.
        bits: u8,
    },

    // Rules for producers: sound batches that a broker does not take.
    /// Larger than the broker or topic allows.
    TooLarge {
        /// Bytes of the batch.
        batch_bytes: u32,
        /// Bytes allowed.
        batch_bytes_max: u32,
    },
    /// A produced batch begins at 0; the leader gives it its offset.
    BaseOffset {
        /// The field as it stands.
        base_offset: i64,
    },
    /// A batch without records.
    NoRecords,
    /// The offsets of a produced batch have no gaps.
    OffsetCount {
        /// The last offset minus the first.
        last_offset_delta: i32,
        /// The number of records.
        records: u32,
    },
    /// Only brokers write control batches.
    Control,
    /// Transactions are not in this version.
    Transactional,
    /// Only brokers write append times.
    LogAppendTime,
    /// An idempotent producer must say its epoch and sequence.
    ProducerState {
        /// The producer id.
        producer: i64,
        /// The field as it stands.
        producer_epoch: i16,
        /// The field as it stands.
        base_sequence: i32,
    },

    // The compressed bytes.
    /// The records are not a valid stream of their codec.
    Compressed {
        /// The codec.
        codec: Codec,
    },
    /// The records decompress to more than the reader allows; decompression stopped there.
    Decompressed {
        /// The codec.
        codec: Codec,
        /// Bytes allowed.
        bytes_max: usize,
    },

    // The records.
    /// A record ends within one of its fields.
    RecordTruncated,
    /// A variable-length number that leaves its type.
    Varint {
        /// Most bytes that a number of its type takes.
        bytes_max: usize,
    },
    /// A length that is negative, or more than the bytes that remain.
    FieldLength {
        /// The length as it stands.
        length: i32,
        /// Bytes that remain for it.
        remaining_bytes: usize,
    },
    /// A negative number of record headers.
    HeaderCount {
        /// The number as it stands.
        headers: i32,
    },
    /// A record lies outside the offsets of its batch.
    RecordOffset {
        /// Its offset minus the base offset.
        offset_delta: i32,
        /// The batch's last offset minus the base offset.
        last_offset_delta: i32,
    },
    /// Bytes within a record, behind its last header.
    RecordTrailing {
        /// How many.
        bytes: usize,
    },
    /// The batch ends before it has given as many records as its header says.
    RecordsMissing {
        /// Records that the header says.
        records: u32,
        /// Records that there were.
        found: u32,
    },
    /// Bytes behind the last record that the header says.
    RecordsTrailing {
        /// Records that the header says.
        records: u32,
        /// Bytes behind them.
        bytes: usize,
    },

    // Our own caller.
    /// A batch under construction outgrew the format's length field.
    Unencodable {
        /// Bytes of the batch.
        batch_bytes: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed_bytes, given_bytes } => {
                write!(out, "batch cut short: {given_bytes} of {needed_bytes} bytes")
            }
            Self::Magic { magic } => write!(out, "record format {magic} is not supported, only 2"),
            Self::Length { batch_length } => {
                write!(out, "batch length field {batch_length} is less than the 49 of a header")
            }
            Self::OffsetRange { base_offset, last_offset_delta } => {
                write!(out, "batch at base offset {base_offset} with last offset delta {last_offset_delta}")
            }
            Self::RecordsNegative { records } => write!(out, "batch with {records} records"),
            Self::TrailingBytes { batch_bytes, given_bytes } => {
                write!(out, "{given_bytes} bytes where one batch of {batch_bytes} is expected")
            }
            Self::Crc { stored, computed } => {
                write!(out, "batch checksum {computed:#010x} where its header says {stored:#010x}")
            }
            Self::CodecBits { bits } => write!(out, "no codec has the number {bits}"),
            Self::TooLarge { batch_bytes, batch_bytes_max } => {
                write!(out, "batch of {batch_bytes} bytes, at most {batch_bytes_max} are allowed")
            }
            Self::BaseOffset { base_offset } => {
                write!(out, "produced batch at base offset {base_offset}, must be 0")
            }
            Self::NoRecords => out.write_str("batch without records"),
            Self::OffsetCount { last_offset_delta, records } => {
                write!(out, "produced batch of {records} records with last offset delta {last_offset_delta}")
            }
            Self::Control => out.write_str("control batch from a producer"),
            Self::Transactional => out.write_str("transactional batch: transactions are not in this version"),
            Self::LogAppendTime => out.write_str("append time in a batch from a producer"),
            Self::ProducerState { producer, producer_epoch, base_sequence } => write!(
                out,
                "batch of producer {producer} with epoch {producer_epoch} and sequence {base_sequence}",
            ),
            Self::Compressed { codec } => write!(out, "records are not valid {codec}"),
            Self::Decompressed { codec, bytes_max } => {
                write!(out, "{codec} records decompress to more than the {bytes_max} bytes allowed")
            }
            Self::RecordTruncated => out.write_str("record ends within a field"),
            Self::Varint { bytes_max } => {
                write!(out, "variable-length number leaves the range of its {bytes_max} bytes")
            }
            Self::FieldLength { length, remaining_bytes } => {
                write!(out, "record field of length {length} where {remaining_bytes} bytes remain")
            }
            Self::HeaderCount { headers } => write!(out, "record with {headers} headers"),
            Self::RecordOffset { offset_delta, last_offset_delta } => {
                write!(out, "record at offset delta {offset_delta} in a batch up to {last_offset_delta}")
            }
            Self::RecordTrailing { bytes } => write!(out, "{bytes} bytes behind the last field of a record"),
            Self::RecordsMissing { records, found } => {
                write!(out, "{found} records in a batch whose header says {records}")
            }
            Self::RecordsTrailing { records, bytes } => {
                write!(out, "{bytes} bytes behind the {records} records that the header says")
            }
            Self::Unencodable { batch_bytes } => {
                write!(out, "batch of {batch_bytes} bytes, the format ends at {}", i32::MAX)
            }
        }
    }
}

impl Error for BatchError {}
