//! What a consumer gives: records out of batches, and where it stands.

use std::sync::Arc;

use bytes::Bytes;
use ringmain_wire::batch::{self, BatchError, BatchHeader, Batches, Codec, RecordReader};
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};

use crate::error::ClientError;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// Its place in the partition.
    pub offset: Offset,
    /// The time its producer gave it, or that of the append.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// What happened to one partition since the last call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Records of one batch, in order.
    Records {
        /// They are never none.
        records: Vec<Record>,
        /// Where the partition's committed records ended when they were fetched.
        high_watermark: Offset,
    },
    /// The partition is read no further.
    Failed {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        error: ClientError,
    },
}

/// Where a consumer stands in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next record to be taken.
    pub offset: Offset,
    /// Where the committed records ended when last heard of; `None` before the first answer.
    pub high_watermark: Option<Offset>,
}

/// Where the fetch after these batches begins; they must be whole, in order, and reach beyond `wanted`.
pub(super) fn next_offset(batches: &[u8], wanted: Offset) -> Result<Offset, ClientError> {
    let mut next = None;
    for batch in Batches::new(batches) {
        let (header, _) =
            batch.map_err(|error| ClientError::Batch { partition: Some("a fetch answer".into()), error })?;
        if next.is_some_and(|next| header.base_offset < next) {
            return Err(ClientError::Protocol { violation: "batches of a fetch answer out of order" });
        }
        next = Some(header.next_offset());
    }
    next.filter(|&next| next > wanted)
        .ok_or(ClientError::Protocol { violation: "a fetch answer that ends before the wanted offset" })
}

/// Takes the first batch of `batches`: its records from `wanted` on, and the offset after it.
pub(super) fn read_batch(
    batches: &mut Bytes,
    topic: &Arc<str>,
    partition: PartitionIndex,
    wanted: Offset,
    decompressed_bytes_max: usize,
) -> Result<(Offset, Vec<Record>), BatchError> {
    // Known to be there: they were walked when they arrived.
    let length = BatchHeader::parse(batches)?.length as usize;
    let bytes = batches.split_to(length);
    let header = batch::check(&bytes)?;
    if header.is_control() {
        return Ok((header.next_offset(), Vec::new()));
    }
    let in_place = header.codec()? == Codec::None;
    // Slices of what was received where the records lie in it, copies where they were decompressed.
    let own = |field: &[u8]| if in_place { bytes.slice_ref(field) } else { Bytes::copy_from_slice(field) };
    let reader = RecordReader::new(&bytes, decompressed_bytes_max)?;
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record?;
        if record.offset < wanted {
            continue;
        }
        records.push(Record {
            topic: Arc::clone(topic),
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(own),
            value: record.value.map(own),
            headers: record.headers.map(|(name, value)| (own(name), value.map(own))).collect(),
        });
    }
    Ok((header.next_offset(), records))
}
