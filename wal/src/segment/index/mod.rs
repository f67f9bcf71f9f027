//! The sparse index of a segment: from where to read for an offset or a time.
//!
//! On disk a header of 48 bytes and the entries, 24 bytes each, integers little endian, zeroes to the block behind them:
//!
//! | bytes | field | bytes | field |
//! |---|---|---|---|
//! | 0..8 | magic | 24..32 | end offset of the segment |
//! | 8..12 | format version | 32..40 | largest timestamp of the segment |
//! | 12..16 | CRC-32C of all else in header and entries | 40..44 | CRC-32C of the segment's bytes |
//! | 16..24 | bytes of the segment | 44..48 | number of entries |
//!
//! An entry is base offset, position and largest timestamp before it, 8 bytes each.

mod builder;

use core::fmt;

use ringmain_wire::ids::{Offset, TimestampMs};

pub use builder::IndexBuilder;

use crate::block::round_up;
use crate::layout::{Reader, put, put_count, u32_at};

/// The format of indexes that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RMSEGIDX";
const CRC_PLACE: usize = 12;
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;

/// The longest file that an index can be, in bytes: whole blocks.
pub const INDEX_FILE_BYTES_MAX: usize = round_up(HEADER_BYTES + builder::ENTRIES_MAX * ENTRY_BYTES);

/// A batch of the segment that reading can start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The batch's base offset.
    pub base: Offset,
    /// Where it starts in the segment, in bytes.
    pub position: u64,
    /// The largest timestamp of all batches before it.
    pub max_timestamp_before: TimestampMs,
}

/// What an index says of its segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFooter {
    /// Bytes of the segment.
    pub segment_bytes: u64,
    /// Offset after its last record.
    pub end: Offset,
    /// The largest timestamp of its batches.
    pub max_timestamp: TimestampMs,
    /// CRC-32C of its bytes.
    pub segment_crc: u32,
}

/// Entries of a segment, far enough apart to be few, in the order of offsets and positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<IndexEntry>,
}

impl Index {
    /// The entries; the segment's first batch needs none.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Where to start reading to come to `offset`, in bytes: the last known batch that does not begin behind it.
    #[must_use]
    pub fn position_for(&self, offset: Offset) -> u64 {
        self.position_before(self.entries.partition_point(|entry| entry.base <= offset))
    }

    /// Where to start reading to come to the first batch with a timestamp at or after `timestamp`, in bytes: every batch
    /// before that place has only smaller ones.
    #[must_use]
    pub fn position_for_timestamp(&self, timestamp: TimestampMs) -> u64 {
        self.position_before(self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp))
    }

    /// The file beside the segment that `footer` describes: whole blocks. Entries behind its bytes, of batches that were
    /// cut off, are left out.
    #[must_use]
    pub fn encode(&self, footer: IndexFooter) -> Vec<u8> {
        let kept = self.entries.partition_point(|entry| entry.position < footer.segment_bytes);
        let mut bytes = Vec::with_capacity(round_up(HEADER_BYTES + kept * ENTRY_BYTES));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&footer.segment_bytes.to_le_bytes());
        bytes.extend_from_slice(&footer.end.0.to_le_bytes());
        bytes.extend_from_slice(&footer.max_timestamp.0.to_le_bytes());
        bytes.extend_from_slice(&footer.segment_crc.to_le_bytes());
        put_count(&mut bytes, kept);
        for entry in &self.entries[..kept] {
            bytes.extend_from_slice(&entry.base.0.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.max_timestamp_before.0.to_le_bytes());
        }
        let crc = crc(&bytes);
        put(&mut bytes, CRC_PLACE, &crc.to_le_bytes());
        bytes.resize(round_up(bytes.len()), 0);
        bytes
    }

    /// The index in `bytes`, a whole file or more.
    ///
    /// # Errors
    /// When it cannot be relied on; it is built again from the segment then.
    pub fn decode(bytes: &[u8]) -> Result<(Self, IndexFooter), IndexDamage> {
        if !bytes.starts_with(&MAGIC) {
            return Err(IndexDamage::NotAnIndex);
        }
        if bytes.len() < HEADER_BYTES {
            return Err(IndexDamage::Bounds);
        }
        let entries_bytes = (u32_at(bytes, HEADER_BYTES - 4) as usize).checked_mul(ENTRY_BYTES);
        let end = entries_bytes.and_then(|entries_bytes| entries_bytes.checked_add(HEADER_BYTES));
        let bytes = end.and_then(|end| bytes.get(..end)).ok_or(IndexDamage::Bounds)?;
        if crc(bytes) != u32_at(bytes, CRC_PLACE) {
            return Err(IndexDamage::Crc);
        }
        let found = u32_at(bytes, 8);
        if found != FORMAT_VERSION {
            return Err(IndexDamage::FormatVersion { found });
        }
        let mut reader = Reader::new(&bytes[CRC_PLACE + 4..]);
        let (footer, entries) = decode_fields(&mut reader).ok_or(IndexDamage::Bounds)?;
        if is_in_order(&entries, &footer) { Ok((Self { entries }, footer)) } else { Err(IndexDamage::Order) }
    }

    /// The position of the entry before the one in this place; the segment's start if there is none.
    fn position_before(&self, place: usize) -> u64 {
        place.checked_sub(1).map_or(0, |place| self.entries[place].position)
    }
}

/// Why an index cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexDamage {
    /// The magic is missing.
    NotAnIndex,
    /// The file is shorter than it says.
    Bounds,
    /// The CRC does not match.
    Crc,
    /// A format that this version does not know.
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// The entries are not in order, or not within the segment: a bug of the writer.
    Order,
}

impl fmt::Display for IndexDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnIndex => out.write_str("the file is not an index"),
            Self::Bounds => out.write_str("the index is cut short"),
            Self::Crc => out.write_str("the CRC of the index does not match"),
            Self::FormatVersion { found } => {
                write!(out, "the index has format version {found}, this version reads {FORMAT_VERSION}")
            }
            Self::Order => out.write_str("the index contradicts itself"),
        }
    }
}

impl core::error::Error for IndexDamage {}

/// Footer and entries, from behind the CRC on.
fn decode_fields(reader: &mut Reader<'_>) -> Option<(IndexFooter, Vec<IndexEntry>)> {
    let footer = IndexFooter {
        segment_bytes: reader.u64()?,
        end: reader.offset()?,
        max_timestamp: reader.timestamp()?,
        segment_crc: reader.u32()?,
    };
    let entries = reader.list(ENTRY_BYTES, |reader| {
        Some(IndexEntry {
            base: reader.offset()?,
            position: reader.u64()?,
            max_timestamp_before: reader.timestamp()?,
        })
    })?;
    Some((footer, entries))
}

fn is_in_order(entries: &[IndexEntry], footer: &IndexFooter) -> bool {
    entries.is_sorted_by(|a, b| a.base < b.base && a.position < b.position)
        && entries.is_sorted_by(|a, b| a.max_timestamp_before <= b.max_timestamp_before)
        && entries.last().is_none_or(|last| last.base < footer.end && last.position < footer.segment_bytes)
        && entries.last().is_none_or(|last| last.max_timestamp_before <= footer.max_timestamp)
}

/// The CRC of header and entries, all but the CRC's own bytes.
fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_PLACE]), &bytes[CRC_PLACE + 4..])
}

#[cfg(test)]
mod tests;
