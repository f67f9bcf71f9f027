//! What a producer takes, and what it tells of it.

use std::sync::Arc;

use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};

use crate::error::ClientError;

/// A record to be produced.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRecord<'a> {
    /// Its partition; `None` lets the key decide, or the sticky partitioner when there is no key either.
    pub partition: Option<PartitionIndex>,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, names and values.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Chosen by the caller of `append`, given back with the record's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordTag(pub u64);

/// A record within a [`Delivery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// What the caller named it.
    pub tag: RecordTag,
    /// The timestamp it was sent with; readers get another where the topic has its records' time from the broker
    /// (`message.timestamp.type=LogAppendTime`).
    pub timestamp: TimestampMs,
}

/// What became of one batch. Batches of a partition are reported in the order of their records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// Its records in their order.
    pub records: Vec<SentRecord>,
    /// Stored, or why not.
    pub outcome: Result<Stored, ClientError>,
}

/// Where a batch was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Offset of its first record, the others follow; `None` with [`Acks::None`](super::Acks::None), or for a duplicate
    /// so old that the broker no longer knows.
    pub base_offset: Option<Offset>,
    /// An earlier attempt had stored it; its answer was lost.
    pub duplicate: bool,
}

impl Stored {
    /// Offset of the batch's record number `place`, from 0.
    pub fn offset(&self, place: u32) -> Option<Offset> {
        self.base_offset.map(|base| base.plus(place))
    }
}

/// Why a record was not taken. The first two pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The buffer is full: deliveries make room.
    Full,
    /// The topic is not known yet: it has been asked for.
    AwaitingMetadata,
    /// It cannot be produced.
    Refused(ClientError),
}
