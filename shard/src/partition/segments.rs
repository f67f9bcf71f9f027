//! The settled part of a partition: which of its records lie in which segment file.

use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::Offset;

/// The segments of one partition, oldest first, their offsets rising.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    extents: Vec<SegmentExtent>,
    /// Whether the last one may grow. Never one that a former start wrote, nor one that was cut: what stands behind the
    /// bytes that count in it is never written over.
    is_last_open: bool,
    /// Bases of files that were put aside because they are none of them.
    strays: Vec<Offset>,
}

impl Segments {
    /// Segments that replay found; none of them grows any more.
    pub fn closed(extents: Vec<SegmentExtent>) -> Self {
        Self { extents, is_last_open: false, strays: Vec::new() }
    }

    /// All of them.
    pub fn extents(&self) -> &[SegmentExtent] {
        &self.extents
    }

    /// Bases of files that were put aside because they are no segment of the partition, which is damaged: for whoever
    /// repairs it.
    pub fn strays(&self) -> &[Offset] {
        &self.strays
    }

    /// The segment that takes the next batches, if one may.
    pub fn open(&self) -> Option<&SegmentExtent> {
        self.extents.last().filter(|_| self.is_last_open)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.bytes).sum()
    }

    /// The segment that holds `offset`, or the next one after it.
    pub fn at(&self, offset: Offset) -> Option<&SegmentExtent> {
        self.extents.get(self.extents.partition_point(|extent| extent.end <= offset))
    }

    /// The segment named by its base.
    pub fn based(&self, base: Offset) -> Option<&SegmentExtent> {
        self.extents.iter().rfind(|extent| extent.base == base)
    }

    /// Files were found beside them.
    pub(super) fn note_strays(&mut self, strays: Vec<Offset>) {
        self.strays = strays;
    }

    /// What was written, synced and logged: a segment that grew, or a new one.
    ///
    /// # Panics
    /// When a new one does not lie behind the last.
    pub(super) fn settle(&mut self, settled: SegmentExtent) {
        match self.extents.last_mut() {
            Some(last) if last.base == settled.base && self.is_last_open => *last = settled,
            last => {
                assert!(
                    last.is_none_or(|last| last.end <= settled.base),
                    "a segment overlaps the one before"
                );
                self.extents.push(settled);
            }
        }
        self.is_last_open = true;
    }

    /// Takes no more batches into the last one.
    pub(super) fn close(&mut self) {
        self.is_last_open = false;
    }

    /// Drops everything at or above `cut`; gives the segments whose files are void now.
    pub(super) fn truncate(&mut self, cut: Offset) -> Vec<SegmentExtent> {
        let kept = self.extents.partition_point(|extent| extent.base < cut);
        let void = self.extents.split_off(kept);
        if let Some(last) = self.extents.last_mut()
            && last.end > cut
        {
            // Its bytes are an upper bound from now on: readers stop at the end.
            last.end = cut;
            self.is_last_open = false;
        }
        self.is_last_open &= void.is_empty();
        void
    }

    /// Drops segments whose records all lie below `log_start`; gives them.
    pub(super) fn drop_below(&mut self, log_start: Offset) -> Vec<SegmentExtent> {
        let gone = self.extents.partition_point(|extent| extent.end <= log_start);
        self.is_last_open &= gone < self.extents.len();
        self.extents.drain(..gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::TimestampMs;

    use super::*;

    fn extent(base: i64, end: i64) -> SegmentExtent {
        SegmentExtent {
            base: Offset(base),
            end: Offset(end),
            bytes: 100,
            created: TimestampMs(0),
            max_timestamp: TimestampMs(end),
        }
    }

    fn segments() -> Segments {
        let mut segments = Segments::default();
        for (base, end) in [(0, 10), (10, 20), (20, 30)] {
            segments.close();
            segments.settle(extent(base, end));
        }
        segments
    }

    #[test]
    fn finds_the_segment_of_an_offset() {
        let segments = segments();
        assert_eq!(segments.at(Offset(10)).unwrap().base, Offset(10));
        assert_eq!(segments.at(Offset(29)).unwrap().base, Offset(20));
        assert!(segments.at(Offset(30)).is_none());
    }

    #[test]
    fn an_open_segment_grows_and_a_cut_one_does_not() {
        let mut segments = segments();
        segments.settle(extent(20, 35));
        assert_eq!(segments.extents().len(), 3);
        assert!(segments.truncate(Offset(25)).is_empty());
        assert_eq!((segments.open(), segments.extents()[2].end), (None, Offset(25)));
        segments.settle(extent(25, 40));
        assert_eq!(segments.truncate(Offset(20)).len(), 2);
        assert!(segments.open().is_none());
        assert_eq!(segments.drop_below(Offset(15)).len(), 1);
        assert_eq!(segments.drop_below(Offset(20)).len(), 1);
        assert!(segments.extents().is_empty());
    }
}
