//! What readers get: slices of memory at once, or batches out of segments after a while.

use bytes::Bytes;
use ringmain_wal::names::segment_file_name;
use ringmain_wal::segment::IndexBuilder;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::Batches;
use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;

use crate::effect::Effects;
use crate::event::{FileError, FileOutcome};
use crate::partition::Located;

use super::reading::{Purpose, ReadDone, ReadError, ReadRequest, ReadResult, ReadToken};
use super::{StorageFault, Store, Ticket};

/// What came of asking for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As many bytes were given, possibly none.
    Given(usize),
    /// They are in a segment: [`Store::read_segment`] fetches them.
    InSegment,
}

/// The end of a read from a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCompletion {
    /// Who asked.
    pub ticket: Ticket,
    /// The segment: offset of its first record.
    pub base: Offset,
    /// What was found.
    pub result: Result<Found, ErrorCode>,
}

/// A time looked for.
#[derive(Clone, Copy, Debug)]
pub struct TimeWanted {
    /// The first record at or after it.
    pub timestamp: TimestampMs,
    /// Only in segments behind the one with this base.
    pub behind: Option<Offset>,
    /// Memory that looking into one batch may take.
    pub decompressed_bytes_max: usize,
}

/// What a read from a segment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Whole batches, one after the other.
    Batches(Bytes),
    /// The first record of a time, if the segment has one.
    Time(Option<(Offset, TimestampMs)>),
    /// Where the batch begins that holds an offset; none when the segment ends before it.
    Batch(Option<Offset>),
    /// Nothing: the partition's segments have changed meanwhile, and what was wanted may lie elsewhere, or nowhere.
    Moved,
}

impl Store {
    /// Gives whole batches from the one that holds `offset` if they are in memory; see
    /// [`Partition::read`](crate::partition::Partition::read).
    ///
    /// # Errors
    /// When the partition or the offset is not there.
    pub fn read(
        &self,
        id: PartitionId,
        offset: Offset,
        bytes_max: usize,
        one_at_least: bool,
        batches: &mut Vec<Bytes>,
    ) -> Result<Read, ErrorCode> {
        let partition = self.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        match partition.locate(offset)? {
            Located::Tail => partition.read(offset, bytes_max, one_at_least, batches).map(Read::Given),
            Located::Segment(_) => Ok(Read::InSegment),
        }
    }

    /// Reads whole batches from the one that holds `offset` out of a segment: at most `bytes_max`, but one at least. Ends
    /// as a [`ReadCompletion`].
    ///
    /// # Errors
    /// When there is nothing to be read there.
    pub fn read_segment<M>(
        &mut self,
        ticket: Ticket,
        id: PartitionId,
        offset: Offset,
        bytes_max: usize,
        effects: &mut Effects<M>,
    ) -> Result<(), ErrorCode> {
        self.read_located(ticket, id, offset, Purpose::Fetch { offset, bytes_max }, effects)
    }

    /// Finds where the batch begins that holds `offset` and lies in a segment. Ends as a [`ReadCompletion`].
    ///
    /// # Errors
    /// When it does not lie there.
    pub fn find_batch<M>(
        &mut self,
        ticket: Ticket,
        id: PartitionId,
        offset: Offset,
        effects: &mut Effects<M>,
    ) -> Result<(), ErrorCode> {
        self.read_located(ticket, id, offset, Purpose::FindBatch { offset }, effects)
    }

    /// Looks for the first record of a time in the next segment that may hold it. False when none of them can hold it: then memory
    /// may. Ends as a [`ReadCompletion`].
    ///
    /// # Errors
    /// When the partition is not there.
    pub fn find_timestamp_in_segment<M>(
        &mut self,
        ticket: Ticket,
        id: PartitionId,
        wanted: TimeWanted,
        effects: &mut Effects<M>,
    ) -> Result<bool, ErrorCode> {
        let TimeWanted { timestamp, behind, decompressed_bytes_max } = wanted;
        let partition = self.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let log_start = partition.log_start();
        let in_memory_from = partition.tail().start().unwrap_or(partition.end());
        let mut extents = partition.segments().extents().iter();
        let may_hold = |extent: &&SegmentExtent| {
            extent.max_timestamp >= timestamp
                && behind.is_none_or(|behind| behind < extent.base)
                && extent.base < in_memory_from
        };
        let Some(&extent) = extents.find(may_hold) else { return Ok(false) };
        let truncations = partition.truncations();
        let purpose = Purpose::FindTime { timestamp, log_start, decompressed_bytes_max };
        self.start_read(ReadRequest { ticket, partition: id, extent, truncations, purpose }, effects);
        Ok(true)
    }

    /// The next read from a segment that has ended.
    pub fn poll_read(&mut self) -> Option<ReadCompletion> {
        let ReadDone { ticket, partition: id, base, truncations, result } = self.reading.poll_done()?;
        let is_current = self.partition(id).is_some_and(|partition| {
            partition.truncations() == truncations && partition.segments().based(base).is_some()
        });
        let result = match result {
            // What was read may be void, and the file may be gone for good reason.
            _ if !is_current => Ok(Found::Moved),
            Err(ReadError::Forgotten) => Ok(Found::Moved),
            Ok(ReadResult::Batches(bytes)) => self.prove_epochs(id, base, bytes).map(Found::Batches),
            Ok(ReadResult::Found(found)) => Ok(Found::Time(found)),
            Ok(ReadResult::Batch(base)) => Ok(Found::Batch(base)),
            Err(ReadError::Damaged { path, position, reason }) => Err(self.note_fault(
                id,
                path,
                format!("damaged at byte {position}: {reason}; records there are not served"),
            )),
            // Nothing is wrong with the file: the same read may succeed at any time.
            Err(ReadError::Failed { error: FileError::Exhausted, .. }) => Err(ErrorCode::OverBudget),
            Err(ReadError::Failed { path, error }) => Err(self.note_fault(
                id,
                path,
                format!("cannot be read: {error}; records there are not served"),
            )),
        };
        Some(ReadCompletion { ticket, base, result })
    }

    /// The batches at the front of `bytes` that name the leader under which they were appended: no checksum covers that.
    fn prove_epochs(&mut self, id: PartitionId, base: Offset, bytes: Bytes) -> Result<Bytes, ErrorCode> {
        let Some(partition) = self.partition(id) else { return Ok(bytes) };
        let mut proved_bytes = 0;
        let mut damage = None;
        for (header, batch) in Batches::new(&bytes).map_while(Result::ok) {
            match partition.epochs().at(header.base_offset) {
                Some(led) if led != header.leader_epoch => {
                    damage = Some((header.base_offset, header.leader_epoch, led));
                    break;
                }
                _ => proved_bytes += batch.len(),
            }
        }
        match damage {
            Some((offset, found, led)) if proved_bytes == 0 => {
                let problem = format!(
                    "damaged: the batch at offset {offset} names leader epoch {found}, but epoch {led} led there; \
                     records there are not served"
                );
                Err(self.note_fault(id, segment_file_name(id, base), problem))
            }
            _ => Ok(bytes.slice(..proved_bytes)),
        }
    }

    pub(super) fn note_fault(&mut self, partition: PartitionId, path: String, problem: String) -> ErrorCode {
        self.faults.push_back(StorageFault { partition, path, problem });
        ErrorCode::PartitionDamaged
    }

    pub(super) fn handle_read_step<M>(
        &mut self,
        step: u64,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) {
        self.reading.handle_file(ReadToken::decode(step), result, effects);
        self.counters.index_files_read = self.reading.indexes_loaded();
        while let Some((partition, base)) = self.reading.poll_unindexed() {
            self.upkeep.want(partition, base);
        }
    }

    /// A settle job knows where the batches of a segment lie.
    pub(super) fn learn_index(&mut self, id: PartitionId, base: Offset, index: IndexBuilder) {
        self.reading.learn(id, base, index.index().clone());
    }

    fn read_located<M>(
        &mut self,
        ticket: Ticket,
        id: PartitionId,
        offset: Offset,
        purpose: Purpose,
        effects: &mut Effects<M>,
    ) -> Result<(), ErrorCode> {
        let partition = self.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let truncations = partition.truncations();
        match partition.locate(offset)? {
            Located::Segment(extent) => {
                self.start_read(ReadRequest { ticket, partition: id, extent, truncations, purpose }, effects);
                Ok(())
            }
            Located::Tail => Err(ErrorCode::OffsetOutOfRange),
        }
    }

    fn start_read<M>(&mut self, request: ReadRequest, effects: &mut Effects<M>) {
        self.counters.segment_reads += 1;
        self.reading.start(request, effects);
    }
}
