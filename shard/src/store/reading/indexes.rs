//! What is known of where batches lie in segments: from settle jobs, and from every scan that went by.
//!
//! Nothing here is ever needed: a scan of a segment that nothing is known of begins at its start.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ringmain_wal::segment::{Index, IndexBuilder, IndexEntry};
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{Offset, TimestampMs};

use super::recency::Recency;
use super::request::SegmentId;

/// Indexes of the segments used last.
#[derive(Debug)]
pub(super) struct Indexes {
    entries_max: usize,
    entries: usize,
    known: BTreeMap<SegmentId, Known>,
    recency: Recency<SegmentId>,
}

/// What is known of one segment.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What a settle job left, or the index file: all of the segment, or what is behind the place where the job began.
    learned: Index,
    /// Its index file was looked for.
    was_looked_for: bool,
    /// What scans saw of the segment from its start, as far as `learned` leaves that open.
    scanned: IndexBuilder,
    /// Bytes of the segment that `scanned` covers.
    scanned_bytes: u64,
    /// The offset behind these.
    scanned_end: Offset,
}

impl Indexes {
    pub(super) const fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: 0, known: BTreeMap::new(), recency: Recency::new() }
    }

    /// A settle job knows where batches of the segment lie.
    pub(super) fn learn(&mut self, segment: SegmentId, learned: Index) {
        let known = self.take(segment);
        self.put(segment, Known { learned, ..known });
    }

    /// The index file of the segment was read, or there is none that can be relied on.
    pub(super) fn handle_looked_for(&mut self, segment: SegmentId, found: Option<Index>) {
        let known = self.take(segment);
        let learned = found.unwrap_or_else(|| known.learned.clone());
        self.put(segment, Known { learned, was_looked_for: true, ..known });
    }

    /// An index file of the segment was written: it tells more than scans did, to the next read that wants it.
    pub(super) fn handle_written(&mut self, segment: SegmentId) {
        let Known { learned, .. } = self.take(segment);
        if !learned.entries().is_empty() {
            self.put(segment, Known { learned, ..Known::default() });
        }
    }

    /// Takes out what is known, to be used and extended and [put](Self::put) back.
    pub(super) fn take(&mut self, segment: SegmentId) -> Known {
        self.recency.remove(segment);
        let known = self.known.remove(&segment);
        self.entries -= known.as_ref().map_or(0, Known::charge);
        known.unwrap_or_default()
    }

    /// Keeps what is known of a segment, before all others; what was used longest ago goes when there is too much.
    pub(super) fn put(&mut self, segment: SegmentId, known: Known) {
        self.entries += known.charge();
        self.known.insert(segment, known);
        self.recency.touch(segment);
        while self.entries > self.entries_max
            && let Some(oldest) = self.recency.oldest()
        {
            self.take(oldest);
        }
    }

    /// Forgets segments whose files are removed or cut.
    pub(super) fn forget(&mut self, segments: &RangeInclusive<SegmentId>) {
        let gone: Vec<_> = self.known.range(segments.clone()).map(|(&segment, _)| segment).collect();
        for segment in gone {
            self.take(segment);
        }
    }

    /// Entries kept of all segments.
    pub(super) const fn entries(&self) -> usize {
        self.entries
    }
}

impl Known {
    /// Whether an index file would tell more than all of this.
    pub(super) fn is_worth_looking_for(&self) -> bool {
        !self.was_looked_for && self.learned.entries().is_empty() && self.scanned_bytes == 0
    }

    /// Whether its index file may know a way past damage that a scan has met.
    pub(super) fn may_lead_past_damage(&self) -> bool {
        !self.was_looked_for
    }

    /// The last batch known that does not begin behind `offset`: where to start reading to come there. `None` is the
    /// segment's start.
    pub(super) fn entry_for(&self, offset: Offset) -> Option<IndexEntry> {
        self.last_entry(|index| index.position_for(offset))
    }

    /// The last batch known before which all timestamps are below `timestamp`: where to start reading to come to the
    /// first that is not. `None` is the segment's start.
    pub(super) fn entry_for_timestamp(&self, timestamp: TimestampMs) -> Option<IndexEntry> {
        self.last_entry(|index| index.position_for_timestamp(timestamp))
    }

    /// A scan proved the batch at `position`.
    pub(super) fn note(&mut self, header: &BatchHeader, position: u64) {
        let is_next = position == self.scanned_bytes && header.base_offset >= self.scanned_end;
        let is_learned = || self.learned.entries().first().is_some_and(|entry| entry.position <= position);
        if is_next && !is_learned() {
            self.scanned.append(header, position);
            self.scanned_bytes = position + u64::from(header.length);
            self.scanned_end = header.next_offset();
        }
    }

    /// The entry at the greatest position that one of the indexes gives.
    fn last_entry(&self, position_in: impl Fn(&Index) -> u64) -> Option<IndexEntry> {
        let entries = [&self.learned, self.scanned.index()].into_iter().filter_map(|index| {
            let (entries, position) = (index.entries(), position_in(index));
            entries.binary_search_by_key(&position, |entry| entry.position).ok().map(|place| entries[place])
        });
        entries.max_by_key(|entry| entry.position)
    }

    /// Its share of all entries. That it is kept at all counts as one.
    fn charge(&self) -> usize {
        1 + self.learned.entries().len() + self.scanned.index().entries().len()
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::batch::{BatchBuilder, Codec};
    use ringmain_wire::ids::PartitionId;

    use super::*;

    const BATCH_BYTES: u32 = 40_000;

    fn segment(base: i64) -> SegmentId {
        SegmentId { partition: PartitionId::default(), base: Offset(base) }
    }

    /// The header of one of many batches of one record each.
    fn header(place: u32) -> BatchHeader {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(TimestampMs(place.into()), None, None, &[]);
        let header = BatchHeader::parse(&builder.finish().unwrap()).unwrap();
        BatchHeader { base_offset: Offset(place.into()), length: BATCH_BYTES, ..header }
    }

    fn position(place: u32) -> u64 {
        u64::from(place * BATCH_BYTES)
    }

    #[test]
    fn scans_extend_what_is_known_only_where_it_ends() {
        let mut known = Known::default();
        known.note(&header(1), position(1));
        assert_eq!(known.entry_for(Offset(9)), None, "there may be anything before it");
        for place in [0, 1, 0, 1, 2, 4] {
            known.note(&header(place), position(place));
        }
        let entry = known.entry_for(Offset(9)).unwrap();
        assert_eq!((entry.base, entry.position), (Offset(2), position(2)));
        assert_eq!(known.entry_for_timestamp(TimestampMs(2)), Some(entry));
        assert_eq!(known.entry_for_timestamp(TimestampMs(1)), None);
    }

    #[test]
    fn what_a_settle_job_left_is_not_gathered_again() {
        let mut learned = IndexBuilder::new();
        (0..100).for_each(|place| learned.append(&header(place), position(place)));
        let entries = learned.index().entries().len();
        let mut indexes = Indexes::new(1_000);
        indexes.learn(segment(0), learned.index().clone());
        let mut known = indexes.take(segment(0));
        (0..100).for_each(|place| known.note(&header(place), position(place)));
        assert_eq!(known.charge(), 1 + entries);
        assert_eq!(known.entry_for(Offset(99)).unwrap().position, position(98));
    }

    #[test]
    fn the_index_used_longest_ago_goes_first() {
        let mut indexes = Indexes::new(100);
        for base in 0..20 {
            let mut known = indexes.take(segment(base));
            (0..20).for_each(|place| known.note(&header(place), position(place)));
            indexes.put(segment(base), known);
            let first = indexes.take(segment(0));
            indexes.put(segment(0), first);
            assert!(indexes.entries() <= 100);
        }
        let is_known =
            |indexes: &mut Indexes, base| indexes.take(segment(base)).entry_for(Offset(19)).is_some();
        assert!(!is_known(&mut indexes, 1));
        assert!(is_known(&mut indexes, 0) && is_known(&mut indexes, 19));
        indexes.forget(&SegmentId::range(PartitionId::default(), None));
        assert_eq!((indexes.entries(), is_known(&mut indexes, 18)), (0, false));
    }
}
