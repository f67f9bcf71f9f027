//! What a start would serve of a partition, read from its segments and its memory with nothing of the broker's reader.

use ringmain::boot::directory::ReadDirectory;
use ringmain_shard::partition::Partition;
use ringmain_wal::names::segment_file_name;
use ringmain_wire::batch::{BatchError, BatchHeader, RecordReader, check};
use ringmain_wire::ids::{Offset, TimestampMs};

/// Most that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

/// A record as a producer gives it and a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) timestamp: TimestampMs,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// Names and values.
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The records of a batch.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn read_batch(batch: &[u8]) -> Result<Vec<(Offset, Content)>, BatchError> {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let mut records = Vec::new();
    for record in &RecordReader::new(batch, DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        let content = Content {
            timestamp: record.timestamp,
            key: owned(record.key),
            value: owned(record.value),
            headers: record.headers.map(|(name, value)| (name.to_vec(), owned(value))).collect(),
        };
        records.push((record.offset, content));
    }
    Ok(records)
}

/// What is left of a partition.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The records of its intact batches, oldest first.
    pub(crate) records: Vec<(Offset, Content)>,
    /// Whether something of it is damaged or missing.
    pub(crate) damaged: bool,
}

impl Stored {
    /// All of `partition`, as it was found in `directory`.
    ///
    /// # Errors
    /// When what is shown as intact cannot be read.
    pub(crate) fn of(directory: &mut dyn ReadDirectory, partition: &Partition) -> Result<Self, String> {
        let mut stored = Self { damaged: partition.is_damaged(), ..Self::default() };
        for extent in partition.segments().extents() {
            let path = segment_file_name(partition.id(), extent.base);
            let mut bytes = vec![0; usize::try_from(extent.bytes).unwrap_or(usize::MAX)];
            let read = directory.read(&path, 0, &mut bytes);
            bytes.truncate(read.unwrap_or(0));
            stored.read_segment(partition, &bytes, (extent.base, extent.end))?;
        }
        for batch in partition.tail().from(partition.settled_end()) {
            check(&batch.bytes).map_err(|error| format!("a batch in memory is damaged: {error}"))?;
            stored.take_batch(&batch.bytes)?;
        }
        Ok(stored)
    }

    fn read_segment(
        &mut self,
        partition: &Partition,
        bytes: &[u8],
        (base, end): (Offset, Offset),
    ) -> Result<(), String> {
        let (mut position, mut due) = (0, Some(base));
        while due.is_none_or(|due| due < end) {
            let header = bytes.get(position..).and_then(|rest| BatchHeader::parse(rest).ok());
            let whole = header.and_then(|header| {
                let batch = bytes.get(position..position + header.length as usize)?;
                Some((header, batch))
            });
            let Some((header, batch)) = whole else {
                self.damaged = true;
                break;
            };
            let is_due = due.is_none_or(|due| header.base_offset == due)
                && header.next_offset() <= end
                && partition.epochs().at(header.base_offset) == Some(header.leader_epoch);
            if is_due && check(batch).is_ok() {
                self.take_batch(batch)?;
                due = Some(header.next_offset());
            } else {
                self.damaged = true;
                due = None;
            }
            position += batch.len();
        }
        Ok(())
    }

    fn take_batch(&mut self, batch: &[u8]) -> Result<(), String> {
        let records =
            read_batch(batch).map_err(|error| format!("an intact batch cannot be read: {error}"))?;
        self.records.extend(records);
        Ok(())
    }
}
