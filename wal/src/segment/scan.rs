//! Walks the batches of a piece of a segment and proves each.

use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;

use ringmain_wire::batch::{self, BatchError, BatchHeader, HEADER_BYTES};
use ringmain_wire::ids::Offset;

/// A whole batch whose length and CRC are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Its header.
    pub header: BatchHeader,
    /// Where it lies within the bytes that are scanned.
    pub range: Range<usize>,
}

/// Why a scan has given its last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The bytes end with the last batch.
    Done,
    /// The batch behind those given goes on behind the bytes. It is damage where the segment does not hold as many.
    Incomplete {
        /// Bytes from the start of that batch on that the next scan needs to get further: the whole batch, or its header
        /// if not even that is there. The batch's own word, up to 2 GiB.
        needed_bytes: usize,
    },
    /// What stands behind the last batch given is none that could be there.
    Damaged {
        /// Where, in bytes from the start of the segment.
        position: u64,
        /// Why.
        reason: SegmentDamage,
    },
}

/// Why bytes of a segment are no batch that could stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentDamage {
    /// The batch itself is damaged.
    Batch(BatchError),
    /// The batch is intact as far as it is there, but begins before the end of the one before it.
    Offset {
        /// The batch's base offset.
        found: Offset,
        /// The least that it could be.
        expected: Offset,
    },
}

impl fmt::Display for SegmentDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => fmt::Display::fmt(error, out),
            Self::Offset { found, expected } => {
                write!(out, "batch at base offset {found} where none below {expected} can be")
            }
        }
    }
}

impl core::error::Error for SegmentDamage {}

/// Gives the intact batches at the front of some bytes of a segment, in order, and then says why it ended.
///
/// Offsets go on without a gap: nothing rewrites segments yet that would leave one.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    /// Where `bytes` start in the segment.
    position: u64,
    consumed_bytes: usize,
    expected: Option<Offset>,
    end: Option<ScanEnd>,
}

impl<'a> Scan<'a> {
    /// Scans `bytes`, which start with a batch at `position` of the segment. `expected` is its base offset; without it the
    /// first may begin anywhere.
    #[must_use]
    pub const fn new(bytes: &'a [u8], position: u64, expected: Option<Offset>) -> Self {
        Self { bytes, position, consumed_bytes: 0, expected, end: None }
    }

    /// Bytes of the batches given so far; the next scan starts behind them.
    #[must_use]
    pub const fn consumed_bytes(&self) -> usize {
        self.consumed_bytes
    }

    /// The offset behind the last batch given, which the next scan expects; what this one was given before the first.
    #[must_use]
    pub const fn expected(&self) -> Option<Offset> {
        self.expected
    }

    /// Why there are no more batches; `None` as long as there may be.
    #[must_use]
    pub const fn end(&self) -> Option<ScanEnd> {
        self.end
    }

    fn take_batch(&mut self) -> Result<ScannedBatch, ScanEnd> {
        let start = self.consumed_bytes;
        let rest = &self.bytes[start..];
        if rest.is_empty() {
            return Err(ScanEnd::Done);
        }
        let damaged = |reason| ScanEnd::Damaged { position: self.position + start as u64, reason };
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(BatchError::Truncated { .. }) => {
                return Err(ScanEnd::Incomplete { needed_bytes: HEADER_BYTES });
            }
            Err(error) => return Err(damaged(SegmentDamage::Batch(error))),
        };
        // No checksum covers the base offset: only its place among the others tells whether it is sound.
        if let Some(expected) = self.expected.filter(|expected| header.base_offset != *expected) {
            return Err(damaged(SegmentDamage::Offset { found: header.base_offset, expected }));
        }
        let needed_bytes = header.length as usize;
        let Some(batch) = rest.get(..needed_bytes) else {
            return Err(ScanEnd::Incomplete { needed_bytes });
        };
        let header = batch::check(batch).map_err(|error| damaged(SegmentDamage::Batch(error)))?;
        self.consumed_bytes += needed_bytes;
        self.expected = Some(header.next_offset());
        Ok(ScannedBatch { header, range: start..self.consumed_bytes })
    }
}

impl Iterator for Scan<'_> {
    type Item = ScannedBatch;

    fn next(&mut self) -> Option<ScannedBatch> {
        if self.end.is_some() {
            return None;
        }
        match self.take_batch() {
            Ok(batch) => Some(batch),
            Err(end) => {
                self.end = Some(end);
                None
            }
        }
    }
}

impl FusedIterator for Scan<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use ringmain_wire::batch::{BatchBuilder, Codec, stamp};
    use ringmain_wire::ids::{LeaderEpoch, TimestampMs};

    use super::*;

    /// Batches of so many records each from offset 10 on, and their lengths.
    fn segment(batches: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut lengths, mut offset) = (Vec::new(), Vec::new(), 10);
        for &records in batches {
            let mut builder = BatchBuilder::new(Codec::None);
            for record in 0..records {
                builder.append(TimestampMs(record.into()), None, Some(&[7; 20]), &[]);
            }
            let mut batch = builder.finish().unwrap().to_vec();
            stamp(&mut batch, Offset(offset), LeaderEpoch(1));
            offset += i64::from(records);
            lengths.push(batch.len());
            bytes.extend(batch);
        }
        (bytes, lengths)
    }

    /// How many batches are given, and the end.
    fn scan(bytes: &[u8], expected: Option<Offset>) -> (usize, ScanEnd) {
        let mut scan = Scan::new(bytes, 1 << 40, expected);
        let batches = scan.by_ref().count();
        assert_eq!(scan.next(), None);
        (batches, scan.end().unwrap())
    }

    fn damaged(behind: usize, reason: SegmentDamage) -> ScanEnd {
        ScanEnd::Damaged { position: (1 << 40) + behind as u64, reason }
    }

    #[test]
    fn every_batch_begins_where_the_one_before_ends() {
        let (bytes, lengths) = segment(&[3, 2, 1]);
        for expected in [None, Some(Offset(10))] {
            assert_eq!(scan(&bytes, expected), (3, ScanEnd::Done));
        }
        for expected in [Offset(9), Offset(11)] {
            let elsewhere = SegmentDamage::Offset { found: Offset(10), expected };
            assert_eq!(scan(&bytes, Some(expected)), (0, damaged(0, elsewhere)));
        }

        let mut repeated = bytes.clone();
        stamp(&mut repeated[lengths[0]..], Offset(12), LeaderEpoch(1));
        let early = SegmentDamage::Offset { found: Offset(12), expected: Offset(13) };
        assert_eq!(scan(&repeated, None), (1, damaged(lengths[0], early)));
        let header_only = lengths[0] + HEADER_BYTES;
        assert_eq!(scan(&repeated[..header_only], None), (1, damaged(lengths[0], early)), "told at once");
    }

    #[test]
    fn padding_is_no_batch() {
        let (mut bytes, _) = segment(&[3]);
        let end = bytes.len();
        bytes.resize(end + 16, 0);
        let incomplete = ScanEnd::Incomplete { needed_bytes: HEADER_BYTES };
        assert_eq!(scan(&bytes, None), (1, incomplete));
        bytes.resize(end + 17, 0);
        let magic = SegmentDamage::Batch(BatchError::Magic { magic: 0 });
        assert_eq!(scan(&bytes, None), (1, damaged(end, magic)));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            rng_seed: RngSeed::Fixed(5),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pieces_of_any_size_give_every_batch_once(
            batches in prop::collection::vec(1..20_u32, 0..12),
            piece_bytes in 1..1500_usize,
        ) {
            let (bytes, lengths) = segment(&batches);
            let (mut found, mut position, mut expected, mut wanted) = (Vec::new(), 0, None, piece_bytes);
            loop {
                let piece = &bytes[position..bytes.len().min(position + wanted)];
                let mut scan = Scan::new(piece, position as u64, expected);
                for batch in scan.by_ref() {
                    prop_assert_eq!(batch::check(&piece[batch.range.clone()]), Ok(batch.header));
                    found.push(batch.range.len());
                }
                let end = scan.end().unwrap();
                expected = scan.expected();
                position += scan.consumed_bytes();
                match end {
                    ScanEnd::Done if position == bytes.len() => break,
                    ScanEnd::Done => wanted = piece_bytes,
                    ScanEnd::Incomplete { needed_bytes } => {
                        let left = piece.len() - scan.consumed_bytes();
                        prop_assert!(needed_bytes > left && needed_bytes <= bytes.len() - position);
                        wanted = needed_bytes.max(piece_bytes);
                    }
                    ScanEnd::Damaged { .. } => prop_assert!(false, "{end:?}"),
                }
            }
            prop_assert_eq!(found, lengths);
        }

        #[test]
        fn a_flipped_bit_ends_the_scan_where_its_batch_begins_or_is_one_that_no_checksum_covers(
            batches in prop::collection::vec(1..6_u32, 1..8),
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let (mut bytes, lengths) = segment(&batches);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let (mut victim, mut start) = (0, 0);
            while start + lengths[victim] <= place {
                start += lengths[victim];
                victim += 1;
            }
            let (given, end) = scan(&bytes, Some(Offset(10)));
            match place - start {
                0..8 => {
                    let is_told = matches!(end, ScanEnd::Damaged { .. });
                    prop_assert!(given == victim && is_told);
                }
                // A length may claim more than there is.
                8..12 => prop_assert!(given == victim && end != ScanEnd::Done),
                12..16 => prop_assert_eq!((given, end), (lengths.len(), ScanEnd::Done), "the leader epoch"),
                _ => {
                    prop_assert_eq!(given, victim);
                    let ScanEnd::Damaged { position, .. } = end else { panic!("{end:?}") };
                    prop_assert_eq!(position, (1 << 40) + start as u64);
                }
            }
        }
    }
}
