//! Proves the batches of a segment, piece by piece, and indexes them on the way.

use ringmain_wal::block::{BLOCK_BYTES, round_up};
use ringmain_wal::segment::{Index, IndexBuilder, IndexFooter, Scan, ScanEnd, SegmentDamage};
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::{BatchError, BatchHeader, HEADER_BYTES};
use ringmain_wire::ids::{Offset, TimestampMs};

use super::InspectionDamage;
use crate::partition::epochs::EpochTable;

/// Bytes read at a time, unless a batch is longer.
const PIECE_BYTES: usize = 1 << 20;
/// The longest batch there can be; one that claims more is damaged.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// How far the proof of a segment has come.
#[derive(Debug)]
pub(super) struct Walk {
    extent: SegmentExtent,
    epochs: EpochTable,
    /// Read and not yet proved, from `position` on: the beginning of a batch.
    unproved: Vec<u8>,
    /// Everything before is proved, in bytes from the segment's start.
    position: u64,
    /// The offset behind the last batch proved.
    expected: Offset,
    /// Of what is proved.
    crc: u32,
    max_timestamp: TimestampMs,
    index: IndexBuilder,
    /// Bytes that the next piece has to bring.
    needed_bytes: usize,
}

/// What a piece came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Further pieces are needed.
    More,
    /// All that counts is proved.
    Whole,
    /// There is damage.
    Damaged { position: u64, reason: InspectionDamage },
}

impl Walk {
    /// Of a segment in which `epochs` led.
    pub(super) fn of(extent: SegmentExtent, epochs: EpochTable) -> Self {
        Self {
            extent,
            epochs,
            unproved: Vec::new(),
            position: 0,
            expected: extent.base,
            crc: 0,
            max_timestamp: TimestampMs(i64::MIN),
            index: IndexBuilder::new(),
            needed_bytes: HEADER_BYTES,
        }
    }

    /// The whole blocks that come next: position and length, in bytes.
    pub(super) fn next_read(&self) -> (u64, u32) {
        let end = self.position + self.unproved.len() as u64;
        let position = end - end % BLOCK_BYTES as u64;
        let before = (end - position) as usize;
        let wanted = PIECE_BYTES.max(before + self.needed_bytes.saturating_sub(self.unproved.len()));
        let left = usize::try_from(self.extent.bytes - position).unwrap_or(usize::MAX);
        let length = round_up(wanted.min(left));
        (position, u32::try_from(length).expect("a piece is a batch and a block at most"))
    }

    /// Takes what that read gave.
    pub(super) fn handle_read(&mut self, read: &[u8]) -> Progress {
        let (position, length) = self.next_read();
        let before = (self.position + self.unproved.len() as u64 - position) as usize;
        let wanted = u64::from(length).min(self.extent.bytes - position) as usize;
        let is_cut_short = read.len() < wanted;
        self.unproved.extend_from_slice(read.get(before..wanted.min(read.len())).unwrap_or_default());
        let unproved = core::mem::take(&mut self.unproved);
        let (proved_bytes, progress) = self.prove(&unproved, is_cut_short);
        self.crc = crc32c::crc32c_append(self.crc, &unproved[..proved_bytes]);
        self.position += proved_bytes as u64;
        self.unproved = unproved;
        self.unproved.drain(..proved_bytes);
        progress
    }

    /// What an index file says of what is proved.
    pub(super) fn footer(&self) -> IndexFooter {
        IndexFooter {
            segment_bytes: self.position,
            end: self.expected,
            max_timestamp: self.max_timestamp,
            segment_crc: self.crc,
        }
    }

    /// Where the batches lie that are proved.
    pub(super) fn index(&self) -> &Index {
        self.index.index()
    }

    /// Proves the batches at the front of `bytes`, and says how many bytes they are.
    fn prove(&mut self, bytes: &[u8], is_cut_short: bool) -> (usize, Progress) {
        let mut scan = Scan::new(bytes, self.position, Some(self.expected));
        let mut proved_bytes = 0;
        while self.expected < self.extent.end {
            let Some(batch) = scan.next() else {
                return (proved_bytes, self.scanned(&scan, is_cut_short));
            };
            let position = self.position + batch.range.start as u64;
            if batch.header.next_offset() > self.extent.end {
                return (proved_bytes, misplaced(&batch.header, position));
            }
            if let Some(reason) = self.epoch_damage(&batch.header) {
                return (proved_bytes, Progress::Damaged { position, reason });
            }
            self.index.append(&batch.header, position);
            self.expected = batch.header.next_offset();
            self.max_timestamp = self.max_timestamp.max(batch.header.max_timestamp);
            proved_bytes = batch.range.end;
        }
        (proved_bytes, Progress::Whole)
    }

    /// As for reads: nothing is known of what was appended before the first epoch that is.
    fn epoch_damage(&self, header: &BatchHeader) -> Option<InspectionDamage> {
        let (offset, found) = (header.base_offset, header.leader_epoch);
        let led = self.epochs.at(offset).filter(|&led| led != found)?;
        Some(InspectionDamage::Epoch { offset, found, led })
    }

    /// What the end of a scan means.
    fn scanned(&mut self, scan: &Scan<'_>, is_cut_short: bool) -> Progress {
        let position = self.position + scan.consumed_bytes() as u64;
        let needed_bytes = match scan.end().expect("a scan that gives no more batches has ended") {
            ScanEnd::Done => HEADER_BYTES,
            ScanEnd::Incomplete { needed_bytes } => needed_bytes,
            ScanEnd::Damaged { position, reason } => return damaged(position, reason),
        };
        let left_bytes = self.extent.bytes.saturating_sub(position);
        let error = if is_cut_short || needed_bytes as u64 > left_bytes {
            let given_bytes = usize::try_from(left_bytes).unwrap_or(usize::MAX);
            BatchError::Truncated { needed_bytes, given_bytes }
        } else if needed_bytes > BATCH_BYTES_MAX {
            let batch_bytes = u32::try_from(needed_bytes).unwrap_or(u32::MAX);
            BatchError::TooLarge { batch_bytes, batch_bytes_max: BATCH_BYTES_MAX as u32 }
        } else {
            self.needed_bytes = needed_bytes;
            return Progress::More;
        };
        damaged(position, SegmentDamage::Batch(error))
    }
}

fn damaged(position: u64, reason: SegmentDamage) -> Progress {
    Progress::Damaged { position, reason: InspectionDamage::Segment(reason) }
}

/// A batch that goes on behind the segment's end, where a segment ends with a batch even when it was cut.
fn misplaced(header: &BatchHeader, position: u64) -> Progress {
    let error = BatchError::OffsetRange {
        base_offset: header.base_offset.get(),
        last_offset_delta: header.last_offset_delta,
    };
    damaged(position, SegmentDamage::Batch(error))
}
