//! The records of a batch, read in place, or from one buffer when they are compressed.

use core::fmt;
use core::iter::FusedIterator;
use std::borrow::Cow;

use super::varint::{read_i32, read_i64};
use super::{BatchError, BatchHeader, Codec, HEADER_BYTES, TimestampType};
use crate::ids::{Offset, TimestampMs};

/// One batch whose records can be read: borrowed as they are, or decompressed into a buffer of its own.
///
/// [`next`](Self::next) takes one record at a time and lends it; [`records`](Self::records) gives an iterator.
#[derive(Clone, Debug)]
pub struct RecordReader<'a> {
    header: BatchHeader,
    body: Cow<'a, [u8]>,
    taken_bytes: usize,
    found: u32,
    ended: bool,
}

/// The records of a batch, in order.
///
/// Malformed bytes give one error, after the sound records before them, and end the iteration. It has ended without
/// an error only if the batch holds exactly as many records as its header says and nothing else.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    found: u32,
    ended: bool,
}

/// A record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition; relative to the batch's base offset, so from 0 before the batch is stamped.
    pub offset: Offset,
    /// The time its producer gave it, or the batch's time of append.
    pub timestamp: TimestampMs,
    /// The key; absent is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; absent marks a deletion on compacted topics.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// The headers of a record in their order, duplicates included: an iterator over (key, value) that decodes as it goes.
///
/// Keys ought to be UTF-8 but are whatever their producer wrote.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    remaining: u32,
}

impl<'a> RecordReader<'a> {
    /// Opens the one batch that `batch` must be. Compressed records are decompressed at once, to at most
    /// `decompressed_bytes_max` bytes; records that are not compressed are not copied and not limited.
    ///
    /// The checksum is not looked at: see [`check`](super::check). Whatever the bytes are, reading them is safe.
    ///
    /// # Errors
    /// Those of [`BatchHeader::parse`] and [`Codec::decompress`]; [`BatchError::Truncated`] or
    /// [`BatchError::TrailingBytes`] when the batch does not end where `batch` does; [`BatchError::CodecBits`].
    pub fn new(batch: &'a [u8], decompressed_bytes_max: usize) -> Result<Self, BatchError> {
        let header = BatchHeader::parse_whole(batch)?;
        let body = &batch[HEADER_BYTES..];
        let body = match header.codec()? {
            Codec::None => Cow::Borrowed(body),
            // A batch that compaction emptied keeps its codec and has no stream.
            _ if body.is_empty() => Cow::Borrowed(body),
            codec => {
                let mut decompressed = Vec::new();
                codec.decompress(body, decompressed_bytes_max, &mut decompressed)?;
                Cow::Owned(decompressed)
            }
        };
        Ok(Self { header, body, taken_bytes: 0, found: 0, ended: false })
    }

    /// The header of the batch.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The next record, as [`Records`] gives it.
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows from the reader, an Iterator cannot lend"
    )]
    pub fn next(&mut self) -> Option<Result<Record<'_>, BatchError>> {
        let rest = &self.body[self.taken_bytes..];
        let mut records = Records { header: self.header, rest, found: self.found, ended: self.ended };
        let record = records.next();
        self.taken_bytes = self.body.len() - records.rest.len();
        self.found = records.found;
        self.ended = records.ended;
        record
    }

    /// The records that [`next`](Self::next) has not taken: all of them, on a new reader.
    pub fn records(&self) -> Records<'_> {
        let rest = &self.body[self.taken_bytes..];
        Records { header: self.header, rest, found: self.found, ended: self.ended }
    }
}

impl<'a> IntoIterator for &'a RecordReader<'_> {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.records()
    }
}

impl<'a> Records<'a> {
    fn take_record(&mut self) -> Result<Record<'a>, BatchError> {
        let record = Record::take(&mut self.rest, &self.header)?;
        self.found += 1;
        Ok(record)
    }

    fn end(&self) -> Result<(), BatchError> {
        let records = self.header.records;
        if self.found < records {
            return Err(BatchError::RecordsMissing { records, found: self.found });
        }
        if !self.rest.is_empty() {
            return Err(BatchError::RecordsTrailing { records, bytes: self.rest.len() });
        }
        Ok(())
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.found < self.header.records && !self.rest.is_empty() {
            let record = self.take_record();
            self.ended = record.is_err();
            return Some(record);
        }
        self.ended = true;
        self.end().err().map(Err)
    }
}

impl FusedIterator for Records<'_> {}

impl<'a> Record<'a> {
    fn take(input: &mut &'a [u8], header: &BatchHeader) -> Result<Self, BatchError> {
        let length = read_i32(input)?;
        let mut fields = take_bytes(input, length)?;
        // The attributes of a record have no meaning yet.
        let Some((_attributes, rest)) = fields.split_first() else {
            return Err(BatchError::RecordTruncated);
        };
        fields = rest;
        let timestamp_delta = read_i64(&mut fields)?;
        let offset_delta = read_i32(&mut fields)?;
        if offset_delta < 0 || offset_delta > header.last_offset_delta {
            let last_offset_delta = header.last_offset_delta;
            return Err(BatchError::RecordOffset { offset_delta, last_offset_delta });
        }
        let key = take_nullable(&mut fields)?;
        let value = take_nullable(&mut fields)?;
        let headers = Headers::take(&mut fields)?;
        if !fields.is_empty() {
            return Err(BatchError::RecordTrailing { bytes: fields.len() });
        }
        let timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => {
                TimestampMs(header.base_timestamp.get().wrapping_add(timestamp_delta))
            }
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        let offset = header.base_offset.plus(offset_delta as u32);
        Ok(Self { offset, timestamp, key, value, headers })
    }
}

impl<'a> Headers<'a> {
    /// Takes the headers that `input` begins with. All are decoded once, so that iterating cannot fail.
    fn take(input: &mut &'a [u8]) -> Result<Self, BatchError> {
        let count = read_i32(input)?;
        let remaining = u32::try_from(count).map_err(|_| BatchError::HeaderCount { headers: count })?;
        let headers = Self { rest: input, remaining };
        for _ in 0..remaining {
            take_header(input)?;
        }
        Ok(Self { rest: &headers.rest[..headers.rest.len() - input.len()], remaining })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some(take_header(&mut self.rest).expect("decoded once when its record was"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl FusedIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.clone()).finish()
    }
}

fn take_header<'a>(input: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), BatchError> {
    let key_bytes = read_i32(input)?;
    let key = take_bytes(input, key_bytes)?;
    Ok((key, take_nullable(input)?))
}

fn take_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    const NULL: i32 = -1;
    match read_i32(input)? {
        NULL => Ok(None),
        length => take_bytes(input, length).map(Some),
    }
}

fn take_bytes<'a>(input: &mut &'a [u8], length: i32) -> Result<&'a [u8], BatchError> {
    let split = usize::try_from(length).ok().and_then(|length| input.split_at_checked(length));
    let (taken, rest) = split.ok_or(BatchError::FieldLength { length, remaining_bytes: input.len() })?;
    *input = rest;
    Ok(taken)
}
