//! Writes a run of a partition's batches behind what its segment holds, synced with its directory: one step at a time.
//!
//! Segments are written in whole blocks. A run that begins within a block reads that block first and writes it again,
//! the same bytes in front: a torn write cannot hurt them. What stands behind the run in its last block is zero.

use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_wal::block::{BLOCK_BYTES, aligned_zeroes, round_up};
use ringmain_wal::names::{PARTITIONS_DIRECTORY, partition_directory, segment_file_name};
use ringmain_wal::segment::IndexBuilder;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};

use crate::effect::{FileId, FileOperation, OpenMode, WriteSync};
use crate::event::{FileError, FileOutcome};
use crate::partition::tail::TailBatch;

/// Bytes written at a time: large enough for the disk, small enough not to hold up a log group for long.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// One run of batches on its way into a segment.
#[derive(Debug)]
pub struct SettleJob {
    file: FileId,
    partition: PartitionId,
    /// The segment as it will be.
    extent: SegmentExtent,
    is_new: bool,
    step: Step,
    /// The next byte of the file that is to be written; at a block but for the run's beginning.
    position: u64,
    /// Not yet in a chunk; the first one may be there in part.
    left: VecDeque<Bytes>,
    /// Their bytes, but for that part.
    left_bytes: usize,
    /// Of the first one, what is in a chunk already.
    taken: usize,
    /// The block in which the run begins, as it stands in the file.
    front: Bytes,
    index: IndexBuilder,
}

/// What is to be done next, or being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CreateDirectory,
    SyncParent,
    Open,
    ReadFront,
    Write,
    Sync,
    SyncDirectory,
    Close,
    Done,
}

/// What a job made.
#[derive(Debug)]
pub struct Settled {
    /// The segment as it is now.
    pub extent: SegmentExtent,
    /// Where the run's batches lie; of the whole segment if the job before left its own.
    pub index: IndexBuilder,
}

impl SettleJob {
    /// Settles `batches`, which follow each other: behind `open`, with what is known of its index, or in a segment of
    /// their own. `now` is when a new segment was made, for its age.
    ///
    /// # Panics
    /// When there are no batches.
    pub fn new(
        file: FileId,
        partition: PartitionId,
        open: Option<(SegmentExtent, IndexBuilder)>,
        has_directory: bool,
        batches: &[TailBatch],
        now: TimestampMs,
    ) -> Self {
        let (first, last) = (&batches[0], &batches[batches.len() - 1]);
        let is_new = open.is_none();
        let (mut extent, index) = open.unwrap_or_else(|| {
            let base = first.base_offset;
            let max_timestamp = TimestampMs(i64::MIN);
            (
                SegmentExtent { base, end: base, bytes: 0, created: now, max_timestamp },
                IndexBuilder::default(),
            )
        });
        let position = extent.bytes;
        for batch in batches {
            extent.bytes += batch.bytes.len() as u64;
            extent.max_timestamp = extent.max_timestamp.max(batch.max_timestamp);
        }
        extent.end = last.next_offset;
        Self {
            file,
            partition,
            extent,
            is_new,
            step: if is_new && !has_directory { Step::CreateDirectory } else { Step::Open },
            position,
            left: batches.iter().map(|batch| batch.bytes.clone()).collect(),
            left_bytes: (extent.bytes - position) as usize,
            taken: 0,
            front: Bytes::new(),
            index,
        }
    }

    /// The file it writes, relative to the data directory.
    pub fn path(&self) -> String {
        segment_file_name(self.partition, self.extent.base)
    }

    /// Whose batches it settles.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Offset of the first record of its segment.
    pub fn base(&self) -> Offset {
        self.extent.base
    }

    /// Bytes that the next operation writes.
    pub fn next_bytes(&self) -> usize {
        if self.step == Step::Write { self.left_bytes.min(CHUNK_BYTES) } else { 0 }
    }

    /// The next operation; nothing else may be under way. None once it is done.
    pub fn poll(&mut self) -> Option<FileOperation> {
        let file = self.file;
        let directory = || partition_directory(self.partition);
        Some(match self.step {
            Step::CreateDirectory => FileOperation::CreateDirectory { path: directory() },
            Step::SyncParent => FileOperation::SyncDirectory { path: PARTITIONS_DIRECTORY.to_owned() },
            Step::Open => {
                let mode = if self.is_new { OpenMode::Replace } else { OpenMode::Write };
                FileOperation::Open { file, path: self.path(), mode }
            }
            Step::ReadFront => {
                let position = self.position - self.position % BLOCK_BYTES as u64;
                FileOperation::Read { file, position, length: BLOCK_BYTES as u32 }
            }
            Step::Write => {
                let position = self.position - self.position % BLOCK_BYTES as u64;
                let bytes = self.chunk();
                FileOperation::Write { file, position, bytes, sync: WriteSync::Deferred }
            }
            Step::Sync => FileOperation::Sync { file },
            Step::SyncDirectory => FileOperation::SyncDirectory { path: directory() },
            Step::Close => FileOperation::Close { file },
            Step::Done => return None,
        })
    }

    /// The operation ended. True once all is done.
    ///
    /// # Errors
    /// When it failed. Nothing further may be polled; whether the file is open, [`is_open`](Self::is_open) says.
    pub fn handle(&mut self, result: Result<FileOutcome, FileError>) -> Result<bool, FileError> {
        let outcome = result?;
        self.step = match self.step {
            Step::CreateDirectory => Step::SyncParent,
            Step::SyncParent => Step::Open,
            Step::Open if !self.position.is_multiple_of(BLOCK_BYTES as u64) => Step::ReadFront,
            Step::Open => Step::Write,
            Step::ReadFront => {
                let front = (self.position % BLOCK_BYTES as u64) as usize;
                match outcome {
                    FileOutcome::Read(bytes) if bytes.len() >= front => self.front = bytes.slice(..front),
                    _ => return Err(FileError::Short),
                }
                Step::Write
            }
            Step::Write if self.left.is_empty() => Step::Sync,
            Step::Write => Step::Write,
            Step::Sync if self.is_new => Step::SyncDirectory,
            Step::Sync | Step::SyncDirectory => Step::Close,
            Step::Close | Step::Done => Step::Done,
        };
        Ok(self.step == Step::Done)
    }

    /// Whether it is reading what its segment holds, and has changed nothing yet.
    pub fn is_reading(&self) -> bool {
        self.step == Step::ReadFront
    }

    /// Whether its file is open, after a failure.
    pub fn is_open(&self) -> bool {
        !matches!(self.step, Step::CreateDirectory | Step::SyncParent | Step::Open | Step::Done)
    }

    /// What it made.
    ///
    /// # Panics
    /// Unless it is done.
    pub fn finish(self) -> Settled {
        assert_eq!(self.step, Step::Done, "a settled run is synced and its directory too");
        Settled { extent: self.extent, index: self.index }
    }

    /// The next whole blocks, and moves behind them.
    fn chunk(&mut self) -> Bytes {
        let front = core::mem::take(&mut self.front);
        let length = round_up((front.len() + self.left_bytes).min(CHUNK_BYTES));
        let mut chunk = aligned_zeroes(length);
        chunk[..front.len()].copy_from_slice(&front);
        let mut filled = front.len();
        while filled < length
            && let Some(batch) = self.left.front()
        {
            if self.taken == 0 {
                let header =
                    BatchHeader::parse(batch).expect("batches were checked before they were appended");
                let position = self.position + (filled - front.len()) as u64;
                self.index.append(&header, position);
            }
            let take = (batch.len() - self.taken).min(length - filled);
            chunk[filled..filled + take].copy_from_slice(&batch[self.taken..self.taken + take]);
            filled += take;
            self.taken += take;
            if self.taken == batch.len() {
                self.left.pop_front();
                self.taken = 0;
            }
        }
        self.position += (filled - front.len()) as u64;
        self.left_bytes -= filled - front.len();
        chunk.freeze()
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
