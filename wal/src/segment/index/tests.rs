use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Codec};

use super::builder::{ENTRIES_MAX, INTERVAL_BYTES};
use super::*;
use crate::block::BLOCK_BYTES;
use crate::state::SegmentExtent;

/// A batch's place, and all that an index looks at.
#[derive(Clone, Copy, Debug)]
struct Placed {
    position: u64,
    header: BatchHeader,
}

/// Headers of batches of so many bytes, back to back, with a gap of offsets before each, and such timestamps.
fn placed(batches: impl IntoIterator<Item = (u32, i64, i64)>) -> Vec<Placed> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(TimestampMs(0), None, None, &[]);
    let template = BatchHeader::parse(&builder.finish().unwrap()).unwrap();
    let (mut position, mut offset) = (0, 0);
    let place = |(length, gap, timestamp)| {
        let base_offset = Offset(offset + gap);
        let max_timestamp = TimestampMs(timestamp);
        let header = BatchHeader { base_offset, length, last_offset_delta: 2, max_timestamp, ..template };
        let placed = Placed { position, header };
        position += u64::from(length);
        offset = header.next_offset().0;
        placed
    };
    batches.into_iter().map(place).collect()
}

fn built(batches: &[Placed]) -> IndexBuilder {
    let mut builder = IndexBuilder::new();
    batches.iter().for_each(|batch| builder.append(&batch.header, batch.position));
    builder
}

fn footer_of(batches: &[Placed]) -> IndexFooter {
    let last = batches.last().unwrap();
    IndexFooter {
        segment_bytes: last.position + u64::from(last.header.length),
        end: last.header.next_offset(),
        max_timestamp: batches.iter().map(|batch| batch.header.max_timestamp).max().unwrap(),
        segment_crc: 0xc0ffee,
    }
}

fn sample() -> (Vec<Placed>, Index) {
    let batches = placed((0..40).map(|place| (20_000, place % 3, 1000 - 7 * place)));
    let index = built(&batches).index().clone();
    (batches, index)
}

/// Makes the CRC match again that a test has broken.
fn seal(bytes: &mut [u8], entries: usize) {
    let crc = crc(&bytes[..HEADER_BYTES + entries * ENTRY_BYTES]);
    put(bytes, CRC_PLACE, &crc.to_le_bytes());
}

#[test]
fn entries_stand_an_interval_apart_and_thin_out_when_there_are_many() {
    let interval = INTERVAL_BYTES as u32;
    let batches = placed((0..ENTRIES_MAX).map(|place| (interval, 0, place as i64)));
    let full = built(&batches);
    assert_eq!(full.index().entries().len(), ENTRIES_MAX - 1, "the first batch needs none");
    assert!(full.index().entries().iter().zip(&batches[1..]).all(|(entry, batch)| {
        entry.position == batch.position && entry.max_timestamp_before.0 == batch.header.max_timestamp.0 - 1
    }));

    let batches = placed((0..ENTRIES_MAX + 3).map(|place| (interval, 0, place as i64)));
    let thinned = built(&batches);
    let positions: Vec<_> = thinned.index().entries().iter().map(|entry| entry.position).collect();
    let expected: Vec<_> = (1..=ENTRIES_MAX as u64 / 2 + 1).map(|place| 2 * place * INTERVAL_BYTES).collect();
    assert_eq!(positions, expected);
}

#[test]
fn the_layout_on_disk_is_pinned() {
    let (batches, index) = sample();
    let bytes = index.encode(footer_of(&batches));
    assert_eq!(bytes.len(), BLOCK_BYTES);
    assert_eq!(&bytes[..12], b"RMSEGIDX\x01\0\0\0");
    assert_eq!(bytes[16..24], 800_000_u64.to_le_bytes());
    assert_eq!(bytes[24..32], batches[39].header.next_offset().0.to_le_bytes());
    assert_eq!(bytes[32..48], [0xe8, 3, 0, 0, 0, 0, 0, 0, 0xee, 0xff, 0xc0, 0, 9, 0, 0, 0]);
    assert_eq!(bytes[48..56], batches[4].header.base_offset.0.to_le_bytes());
    assert_eq!(bytes[56..72], [0x80, 0x38, 1, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Index::decode(&bytes), Ok((index, footer_of(&batches))));
}

#[test]
fn every_damage_is_noticed() {
    let (batches, index) = sample();
    let (bytes, entries) = (index.encode(footer_of(&batches)), index.entries().len());
    let end = HEADER_BYTES + entries * ENTRY_BYTES;
    for bit in 0..end * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Index::decode(&flipped).is_err(), "bit {bit}");
    }
    for length in 0..end {
        assert!(Index::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(Index::decode(&[0; BLOCK_BYTES]), Err(IndexDamage::NotAnIndex));
    assert_eq!(Index::decode(&bytes[..HEADER_BYTES - 1]), Err(IndexDamage::Bounds));

    let forged = |place: usize, field: &[u8]| {
        let mut forged = bytes.clone();
        put(&mut forged, place, field);
        seal(&mut forged, entries);
        Index::decode(&forged)
    };
    assert_eq!(forged(8, &[2]), Err(IndexDamage::FormatVersion { found: 2 }));
    let last = HEADER_BYTES + (entries - 1) * ENTRY_BYTES;
    for (place, value) in [(last, 0_i64), (last + 8, 0), (last + 16, 0), (16, 720_000), (24, 115), (32, 999)]
    {
        assert_eq!(forged(place, &value.to_le_bytes()), Err(IndexDamage::Order), "{value} at {place}");
    }
}

#[test]
fn entries_of_batches_that_were_cut_off_are_not_written() {
    let (batches, index) = sample();
    for kept in 1..=batches.len() {
        let footer = footer_of(&batches[..kept]);
        let (decoded, _) = Index::decode(&index.encode(footer)).unwrap();
        assert_eq!(&decoded, built(&batches[..kept]).index(), "{kept} batches");
    }
}

#[test]
fn a_resumed_index_reads_from_the_start_until_it_knows_better() {
    let (batches, _) = sample();
    let (settled, appended) = batches.split_at(10);
    let footer = footer_of(settled);
    let mut builder = IndexBuilder::resume(&SegmentExtent {
        base: Offset::ZERO,
        end: footer.end,
        bytes: footer.segment_bytes,
        created: TimestampMs(0),
        max_timestamp: footer.max_timestamp,
    });
    appended.iter().for_each(|batch| builder.append(&batch.header, batch.position));
    let resumed = builder.index();
    assert_eq!(resumed.entries()[0].position, footer.segment_bytes);
    assert_eq!(resumed.position_for(settled[9].header.base_offset), 0);
    assert_eq!(resumed.position_for(appended[0].header.base_offset), footer.segment_bytes);
    assert_eq!(resumed.position_for_timestamp(footer.max_timestamp), 0);
    assert_eq!(builder.max_timestamp(), footer.max_timestamp);
}

#[test]
#[should_panic(expected = "back to back")]
fn a_gap_between_batches_is_our_bug() {
    let batches = placed([(100, 0, 0), (100, 0, 0)]);
    IndexBuilder::new().append(&batches[1].header, batches[1].position);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        rng_seed: RngSeed::Fixed(6),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn reading_from_where_the_index_says_finds_what_a_linear_search_finds(
        batches in prop::collection::vec((61..200_000_u32, 0..3_i64, 0..500_i64), 1..300),
        repeat in prop_oneof![4 => Just(1_usize), 1 => Just(40)],
        offsets in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let cycle = batches.iter().copied().cycle().take(batches.len() * repeat);
        let placed = placed(cycle);
        let footer = footer_of(&placed);
        let (index, decoded) = Index::decode(&built(&placed).index().encode(footer)).unwrap();
        prop_assert_eq!(decoded, footer);
        prop_assert!(index.entries().len() < ENTRIES_MAX);
        // A read starts within this much of what it looks for.
        let apart = index.entries().windows(2).map(|pair| pair[1].position - pair[0].position).max();
        prop_assert!(apart.is_none_or(|apart| apart <= 8 * (INTERVAL_BYTES + 200_000)));

        for offset in offsets.iter().map(|offset| Offset(offset.index(footer.end.0 as usize + 2) as i64)) {
            let start = index.position_for(offset);
            let found = placed.iter().rfind(|batch| batch.header.base_offset <= offset);
            prop_assert!(found.map_or(0, |batch| batch.position) >= start);
            prop_assert!(start == 0 || placed.iter().any(|batch| batch.position == start));
            let later = index.entries().iter().find(|entry| entry.position > start);
            prop_assert!(later.is_none_or(|entry| entry.base > offset), "a later entry would do");
        }
        for timestamp in (-1..=500).step_by(7).map(TimestampMs) {
            let start = index.position_for_timestamp(timestamp);
            let first = placed.iter().find(|batch| batch.header.max_timestamp >= timestamp);
            prop_assert!(first.is_none_or(|batch| batch.position >= start), "a batch was skipped");
            let later = index.entries().iter().find(|entry| entry.position > start);
            prop_assert!(later.is_none_or(|entry| entry.max_timestamp_before >= timestamp));
        }
    }
}
