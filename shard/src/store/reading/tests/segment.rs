//! Segments for tests, and what a reader ought to find in them.

use bytes::Bytes;
use ringmain_wal::block::round_up;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Codec, stamp};
use ringmain_wire::ids::{LeaderEpoch, PartitionIndex, TimestampMs, TopicId};

use super::super::*;
use crate::store::Ticket;

/// A segment and its batches.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) partition: PartitionId,
    pub(super) extent: SegmentExtent,
    pub(super) batches: Vec<Bytes>,
}

/// Of a batch: records, bytes of each one's value, and the timestamp of the first.
pub(super) type Shape = (u32, usize, i64);

impl Sample {
    /// The segment of partition `index` that begins at `base`, with batches of these shapes.
    pub(super) fn new(index: u32, base: i64, shapes: &[Shape]) -> Self {
        let mut next = Offset(base);
        let mut batches = Vec::new();
        for (place, &(records, value_bytes, timestamp)) in shapes.iter().enumerate() {
            let mut builder = BatchBuilder::new(Codec::None);
            for record in 0..records {
                let value = vec![place as u8; value_bytes];
                builder.append(TimestampMs(timestamp + i64::from(record)), None, Some(&value), &[]);
            }
            let mut batch = builder.finish().unwrap().to_vec();
            stamp(&mut batch, next, LeaderEpoch(1));
            next = next.plus(records);
            batches.push(Bytes::from(batch));
        }
        let headers = || batches.iter().map(|batch| BatchHeader::parse(batch).unwrap());
        let extent = SegmentExtent {
            base: Offset(base),
            end: next,
            bytes: batches.iter().map(|batch| batch.len() as u64).sum(),
            created: TimestampMs(0),
            max_timestamp: headers().map(|header| header.max_timestamp).max().unwrap(),
        };
        let partition = PartitionId::new(TopicId([7; 16]), PartitionIndex(index));
        Self { partition, extent, batches }
    }

    /// A segment of `batches` batches of one record each, about `batch_bytes` long.
    pub(super) fn uniform(batches: usize, batch_bytes: usize) -> Self {
        let shapes: Vec<_> = (0..batches).map(|place| (1, batch_bytes - 70, place as i64)).collect();
        Self::new(0, 0, &shapes)
    }

    pub(super) fn path(&self) -> String {
        SegmentId { partition: self.partition, base: self.extent.base }.path()
    }

    /// Its file: the batches and zeroes up to the block.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut file = self.batches.concat();
        file.resize(round_up(file.len()), 0);
        file
    }

    /// Where batch `place` begins in the file.
    pub(super) fn position(&self, place: usize) -> usize {
        self.batches[..place].iter().map(Bytes::len).sum()
    }

    pub(super) fn header(&self, place: usize) -> BatchHeader {
        BatchHeader::parse(&self.batches[place]).unwrap()
    }

    /// The same file, cut where batch `place` begins.
    pub(super) fn cut_before(&self, place: usize) -> Self {
        let mut cut = self.clone();
        cut.extent.end = self.header(place).base_offset;
        cut.batches.truncate(place);
        cut
    }

    pub(super) fn request(&self, purpose: Purpose) -> ReadRequest {
        let Self { partition, extent, .. } = *self;
        ReadRequest { ticket: Ticket(1), partition, extent, truncations: 0, purpose }
    }

    pub(super) fn fetch(&self, offset: i64, bytes_max: usize) -> ReadRequest {
        self.request(Purpose::Fetch { offset: Offset(offset), bytes_max })
    }

    /// Whether `served` may answer a fetch: the right batches, not too many.
    pub(super) fn is_fetched(&self, offset: Offset, bytes_max: usize, served: &[u8]) -> bool {
        let first = self.batches.iter().position(|batch| next_offset(batch) > offset);
        let Some(first) = first else { return served.is_empty() };
        let wanted = self.batches[first..].concat();
        let mut end = 0;
        let is_whole = self.batches[first..].iter().any(|batch| {
            end += batch.len();
            end == served.len()
        });
        is_whole
            && wanted.starts_with(served)
            && (served.len() <= bytes_max || served.len() == self.batches[first].len())
    }

    /// The first record at or after a time.
    pub(super) fn find_time(
        &self,
        timestamp: TimestampMs,
        log_start: Offset,
    ) -> Option<(Offset, TimestampMs)> {
        let records = self.batches.iter().flat_map(|batch| {
            let header = BatchHeader::parse(batch).unwrap();
            (0..header.records).map(move |record| {
                let timestamp = TimestampMs(header.base_timestamp.0 + i64::from(record));
                (header.base_offset.plus(record), timestamp)
            })
        });
        records.filter(|found| found.0 >= log_start && found.1 >= timestamp).min()
    }

    /// The batch that holds an offset, or the first behind it.
    pub(super) fn find_batch(&self, offset: Offset) -> Option<Offset> {
        let batch = self.batches.iter().find(|batch| next_offset(batch) > offset)?;
        Some(BatchHeader::parse(batch).unwrap().base_offset)
    }
}

/// The offset behind the last of some batches.
pub(super) fn next_offset(batches: &[u8]) -> Offset {
    let last = ringmain_wire::batch::Batches::new(batches).last().unwrap();
    last.unwrap().0.next_offset()
}
