//! Bytes of a segment file in memory, from the start of a batch on.

use bytes::{Buf, Bytes, BytesMut};
use ringmain_wal::block::{BLOCK_BYTES, round_up};
use ringmain_wal::segment::Scan;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::Offset;

/// Whole blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) position: u64,
    pub(super) length: u32,
}

/// What of a segment has been read and not yet passed.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Where in the file the bytes begin; a batch begins there.
    position: u64,
    /// The base offset of that batch.
    expected: Offset,
    bytes: Bytes,
    /// Memory that `bytes` keep alive.
    buffer_bytes: usize,
    /// The file ended before the segment does.
    is_cut_short: bool,
}

impl Window {
    /// Nothing yet, to be read from `position` on.
    pub(super) const fn at(position: u64, expected: Offset) -> Self {
        Self { position, expected, bytes: Bytes::new(), buffer_bytes: 0, is_cut_short: false }
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    pub(super) const fn expected(&self) -> Offset {
        self.expected
    }

    pub(super) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Memory that it keeps alive, in bytes.
    pub(super) const fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Whether the file was found to be shorter than the segment.
    pub(super) const fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Whether there is nothing to be read behind its bytes.
    pub(super) fn is_last(&self, extent: &SegmentExtent) -> bool {
        self.is_cut_short || self.end() >= extent.bytes
    }

    /// The read that continues it: of `bytes`, or more if it would otherwise hold fewer than `needed_bytes`.
    ///
    /// # Panics
    /// When there is nothing to be read.
    pub(super) fn next_read(&self, extent: &SegmentExtent, bytes: usize, needed_bytes: usize) -> Span {
        assert!(!self.is_last(extent), "nothing lies behind the last byte");
        let before = (self.end() % BLOCK_BYTES as u64) as usize;
        let position = self.end() - before as u64;
        let wanted = bytes.max(before + needed_bytes.saturating_sub(self.bytes.len()));
        let left = usize::try_from(extent.bytes - position).unwrap_or(usize::MAX);
        let length = u32::try_from(round_up(wanted.min(left))).expect("a read is far smaller than 4 GiB");
        Span { position, length }
    }

    /// Adds what that read gave.
    pub(super) fn fill(&mut self, extent: &SegmentExtent, span: Span, mut read: Bytes) {
        let end = (span.position + u64::from(span.length)).min(extent.bytes);
        let wanted = (end - span.position) as usize;
        let before = (self.end() - span.position) as usize;
        self.is_cut_short |= read.len() < wanted;
        read.truncate(wanted);
        read.advance(before.min(read.len()));
        if self.bytes.is_empty() {
            self.buffer_bytes = span.length as usize;
            self.bytes = read;
        } else {
            let mut joined = BytesMut::with_capacity(self.bytes.len() + read.len());
            joined.extend_from_slice(&self.bytes);
            joined.extend_from_slice(&read);
            self.buffer_bytes = joined.len();
            self.bytes = joined.freeze();
        }
    }

    /// The batches in it.
    pub(super) fn scan(&self) -> Scan<'_> {
        Scan::new(&self.bytes, self.position, Some(self.expected))
    }

    /// Begins `bytes` further on, where a batch begins at offset `expected`.
    pub(super) fn pass(&mut self, bytes: usize, expected: Offset) {
        self.position += bytes as u64;
        self.bytes.advance(bytes);
        self.expected = expected;
        if self.bytes.is_empty() {
            self.empty();
        }
    }

    /// Lets its memory go; it can be read again.
    pub(super) fn empty(&mut self) {
        *self = Self::at(self.position, self.expected);
    }

    /// Where in the file its bytes end.
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}
