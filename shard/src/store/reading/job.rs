//! One read: looks through what has been read of its segment until it has found what it is for, or needs more.

use bytes::Bytes;
use ringmain_wal::segment::{Scan, ScanEnd, ScannedBatch, SegmentDamage};
use ringmain_wire::batch::{BatchError, BatchHeader, HEADER_BYTES, RecordReader};
use ringmain_wire::ids::{Offset, TimestampMs};

use super::ahead::StreamId;
use super::indexes::Known;
use super::request::{Purpose, ReadError, ReadRequest, ReadResult, ReadingConfig};
use super::window::{Span, Window};

/// Bytes that are read beside those wanted, to come to the batch wanted from the last one that is indexed.
const SEARCH_BYTES: usize = 128 << 10;

/// A read under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: ReadRequest,
    pub(super) window: Window,
    /// The read-ahead whose window it looks through; `None` if the window is its own.
    pub(super) stream: Option<StreamId>,
    /// Whether it continues where one before it ended.
    pub(super) is_sequential: bool,
    /// Whether it has asked for a piece of the file.
    has_read: bool,
    /// Whether its segment's index file was looked for on its behalf.
    pub(super) was_index_sought: bool,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Done(Result<ReadResult, ReadError>),
    /// More of the file, until the window holds so many bytes at least.
    Read {
        /// Bytes of the window.
        needed_bytes: usize,
    },
}

/// How a look through the window ended.
#[derive(Debug)]
enum Look {
    /// At the batch looked for.
    Found,
    /// At the end of the segment.
    End,
    /// At bytes that are no batch that could stand there.
    Damaged { position: u64, reason: SegmentDamage },
    /// At a batch of which not enough has been read.
    Needs { bytes: usize },
}

/// What a look does about a batch.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The window begins behind it from now on, as all before it are passed.
    Pass,
    /// It stays in the window.
    Keep,
    /// So does this one, and no further one is wanted.
    Stop,
}

impl Job {
    /// A read that begins where `known` says that its batch is near.
    pub(super) fn new(request: ReadRequest, known: &Known) -> Self {
        let entry = match request.purpose {
            Purpose::Fetch { offset, .. } | Purpose::FindBatch { offset } => known.entry_for(offset),
            Purpose::FindTime { timestamp, log_start, .. } => {
                let entries = [known.entry_for_timestamp(timestamp), known.entry_for(log_start)];
                entries.into_iter().flatten().max_by_key(|entry| entry.position)
            }
        };
        let start = Window::at(0, request.extent.base);
        let window = entry.map_or(start, |entry| Window::at(entry.position, entry.base));
        Self { request, window, stream: None, is_sequential: false, has_read: false, was_index_sought: false }
    }

    /// A read that goes on where one before it ended.
    pub(super) fn continuing(request: ReadRequest, window: Window, stream: Option<StreamId>) -> Self {
        Self { request, window, stream, is_sequential: true, has_read: false, was_index_sought: false }
    }

    /// Looks through its window. What is proved on the way, `known` takes note of.
    pub(super) fn step(&mut self, known: &mut Known, batch_bytes_max: usize) -> Step {
        match self.request.purpose {
            Purpose::Fetch { offset, bytes_max } => self.fetch(offset, bytes_max, known, batch_bytes_max),
            Purpose::FindTime { timestamp, log_start, decompressed_bytes_max } => {
                let mut found = None;
                let look = self.look(known, batch_bytes_max, |ScannedBatch { header, range }, bytes| {
                    if header.max_timestamp >= timestamp && header.next_offset() > log_start {
                        found = find_time(&bytes[range], timestamp, log_start, decompressed_bytes_max);
                    }
                    if found.is_some() { Verdict::Stop } else { Verdict::Pass }
                });
                self.end(look, ReadResult::Found(found))
            }
            Purpose::FindBatch { offset } => {
                let mut found = None;
                let look = self.look(known, batch_bytes_max, |ScannedBatch { header, .. }, _| {
                    found = (header.next_offset() > offset).then_some(header.base_offset);
                    if found.is_some() { Verdict::Stop } else { Verdict::Pass }
                });
                self.end(look, ReadResult::Batch(found))
            }
        }
    }

    /// The piece of the file to be read next, so that the window holds `needed_bytes` at least.
    pub(super) fn next_read(&mut self, needed_bytes: usize, config: &ReadingConfig) -> Span {
        let is_first = !core::mem::replace(&mut self.has_read, true);
        let bytes = match self.request.purpose {
            _ if self.is_sequential || !is_first => config.read_bytes,
            Purpose::Fetch { bytes_max, .. } => bytes_max.saturating_add(SEARCH_BYTES).min(config.read_bytes),
            Purpose::FindTime { .. } | Purpose::FindBatch { .. } => SEARCH_BYTES.min(config.read_bytes),
        };
        self.window.next_read(&self.request.extent, bytes, needed_bytes)
    }

    fn fetch(&mut self, offset: Offset, bytes_max: usize, known: &mut Known, batch_bytes_max: usize) -> Step {
        let mut kept_bytes = 0;
        let mut expected = self.window.expected();
        let look = self.look(known, batch_bytes_max, |ScannedBatch { header, range }, bytes| {
            if header.next_offset() <= offset {
                return Verdict::Pass;
            }
            kept_bytes += range.len();
            expected = header.next_offset();
            // Whether the next batch fits is asked before it is proved, which costs as much as all else.
            let next_bytes = BatchHeader::parse(&bytes[range.end..]).map_or(0, |next| next.length as usize);
            if kept_bytes.saturating_add(next_bytes) > bytes_max { Verdict::Stop } else { Verdict::Keep }
        });
        if kept_bytes == 0 {
            return self.end(look, ReadResult::Batches(Bytes::new()));
        }
        let batches = owned(self.window.bytes().slice(..kept_bytes), self.window.buffer_bytes());
        self.window.pass(kept_bytes, expected);
        Step::Done(Ok(ReadResult::Batches(batches)))
    }

    /// Shows the batches of the window to `judge`, each with all bytes of the window, until one ends the look.
    fn look(
        &mut self,
        known: &mut Known,
        batch_bytes_max: usize,
        mut judge: impl FnMut(ScannedBatch, &[u8]) -> Verdict,
    ) -> Look {
        let window = self.window.clone();
        let end = self.request.extent.end;
        let (mut passed_bytes, mut expected) = (0, window.expected());
        let mut scan = window.scan();
        let look = loop {
            if scan.expected() >= Some(end) {
                break Look::End;
            }
            let Some(batch) = scan.next() else {
                break self.scanned(&scan, batch_bytes_max);
            };
            let position = window.position() + batch.range.start as u64;
            let (header, behind) = (batch.header, batch.range.end);
            if header.next_offset() > end {
                break misplaced(&header, position);
            }
            known.note(&header, position);
            match judge(batch, window.bytes()) {
                Verdict::Pass => (passed_bytes, expected) = (behind, header.next_offset()),
                Verdict::Keep => {}
                Verdict::Stop => break Look::Found,
            }
        };
        self.window.pass(passed_bytes, expected);
        look
    }

    /// What the end of a scan of the window means.
    fn scanned(&self, scan: &Scan<'_>, batch_bytes_max: usize) -> Look {
        let extent = &self.request.extent;
        let position = self.window.position() + scan.consumed_bytes() as u64;
        let needed_bytes = match scan.end().expect("a scan that gives no more batches has ended") {
            ScanEnd::Done => HEADER_BYTES,
            ScanEnd::Incomplete { needed_bytes } => needed_bytes,
            ScanEnd::Damaged { position, reason } => return Look::Damaged { position, reason },
        };
        let is_past_end = needed_bytes as u64 > extent.bytes - position;
        let error = if is_past_end || self.window.is_cut_short() {
            let given_bytes = self.window.bytes().len() - scan.consumed_bytes();
            BatchError::Truncated { needed_bytes, given_bytes }
        } else if needed_bytes > batch_bytes_max {
            let [batch_bytes, batch_bytes_max] =
                [needed_bytes, batch_bytes_max].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
            BatchError::TooLarge { batch_bytes, batch_bytes_max }
        } else {
            return Look::Needs { bytes: needed_bytes };
        };
        Look::Damaged { position, reason: SegmentDamage::Batch(error) }
    }

    fn end(&self, look: Look, result: ReadResult) -> Step {
        match look {
            Look::Found | Look::End => Step::Done(Ok(result)),
            Look::Damaged { position, reason } => {
                let path = self.request.segment().path();
                Step::Done(Err(ReadError::Damaged { path, position, reason }))
            }
            Look::Needs { bytes } => Step::Read { needed_bytes: bytes },
        }
    }
}

/// A batch that goes on behind the segment's end, where a segment ends with a batch even when it was cut.
fn misplaced(header: &BatchHeader, position: u64) -> Look {
    let error = BatchError::OffsetRange {
        base_offset: header.base_offset.get(),
        last_offset_delta: header.last_offset_delta,
    };
    Look::Damaged { position, reason: SegmentDamage::Batch(error) }
}

fn find_time(
    batch: &[u8],
    timestamp: TimestampMs,
    log_start: Offset,
    decompressed_bytes_max: usize,
) -> Option<(Offset, TimestampMs)> {
    // A batch whose records its producer garbled cannot be read by anybody; the time is looked for behind it.
    let mut records = RecordReader::new(batch, decompressed_bytes_max).ok()?;
    while let Some(Ok(record)) = records.next() {
        if record.timestamp >= timestamp && record.offset >= log_start {
            return Some((record.offset, record.timestamp));
        }
    }
    None
}

/// The same bytes, copied where they would keep alive a buffer of more than twice their size.
fn owned(batches: Bytes, buffer_bytes: usize) -> Bytes {
    if batches.len() < buffer_bytes / 2 { Bytes::copy_from_slice(&batches) } else { batches }
}
