//! Kafka record batches, magic 2: header views checked in place, records read and written, codecs bounded.
//!
//! A broker needs only the 61-byte header: [`check_produced`] judges what a producer sent, [`stamp`] gives it its place
//! in the log, [`Batches`] walks what a log or an answer holds. None of them allocates or decompresses.
//! Whoever needs the records themselves reads them with [`RecordReader`] and writes them with [`BatchBuilder`].
//!
//! Layout, all numbers big-endian (KIP-98; <https://kafka.apache.org/documentation/#recordbatch>):
//!
//! | bytes | field | bytes | field |
//! |---|---|---|---|
//! | 0..8 | base offset | 27..35 | base timestamp |
//! | 8..12 | length of all that follows | 35..43 | max timestamp |
//! | 12..16 | partition leader epoch | 43..51 | producer id |
//! | 16 | magic, 2 | 51..53 | producer epoch |
//! | 17..21 | CRC-32C of all that follows | 53..57 | base sequence |
//! | 21..23 | attributes | 57..61 | number of records |
//! | 23..27 | last offset delta | 61.. | records, compressed together |
//!
//! Base offset and leader epoch lie before the checksummed part, so a broker can write them and leave the producer's
//! checksum as it is, end to end. Only the time of an append, where a topic wants it ([`stamp_append_time`]), makes it
//! compute the checksum again.

mod attributes;
mod batches;
mod builder;
mod codec;
mod error;
mod header;
mod records;
mod stamp;
mod validate;
mod varint;

pub use attributes::{Attributes, TimestampType};
pub use batches::Batches;
pub use builder::BatchBuilder;
pub use codec::{Codec, UnknownCodec};
pub use error::BatchError;
pub use header::{
    BatchHeader, HEADER_BYTES, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_PRODUCER_SEQUENCE,
};
pub use records::{Headers, Record, RecordReader, Records};
pub use stamp::{stamp, stamp_append_time, stamp_producer};
pub use validate::{ProduceLimits, check, check_produced};

#[cfg(test)]
mod tests;
