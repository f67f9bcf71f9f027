//! Segments and their indexes.

use ringmain_wal::segment::{Index, IndexBuilder, IndexFooter, Scan, ScanEnd};
use ringmain_wire::batch::{BatchHeader, Batches, Codec, HEADER_BYTES, check, stamp};
use ringmain_wire::ids::{LeaderEpoch, Offset, TimestampMs};

use super::batch::{self, built};
use crate::fuzz::Verdict;

/// Where the bytes are said to begin.
const POSITION: u64 = 1 << 40;

/// Scans for batches, whatever comes first and with an offset that is due.
pub(in crate::fuzz) fn run_scan(input: &[u8]) -> Verdict {
    assert_scan(input, Some(Offset(5)));
    if assert_scan(input, None) > 0 { Verdict::Accepted } else { Verdict::Refused }
}

/// What is decoded leads to places within the segment, and is encoded and decoded to the same again.
pub(in crate::fuzz) fn run_index(input: &[u8]) -> Verdict {
    let decoded = Index::decode(input);
    match &decoded {
        Ok((index, footer)) => {
            for entry in index.entries() {
                assert_eq!(index.position_for(entry.base), entry.position);
                assert!(entry.position < footer.segment_bytes);
            }
            for extreme in [i64::MIN, 0, i64::MAX] {
                let places =
                    [index.position_for(Offset(extreme)), index.position_for_timestamp(TimestampMs(extreme))];
                assert!(places.into_iter().all(|place| place == 0 || place < footer.segment_bytes));
            }
            let again = Index::decode(&index.encode(*footer));
            assert_eq!(again.as_ref(), Ok(&(index.clone(), *footer)));
        }
        Err(damage) => assert!(!damage.to_string().is_empty()),
    }
    Verdict::of(&decoded)
}

/// Batches with gaps between their offsets; the same with padding behind; and a batch cut short.
pub(in crate::fuzz) fn scan_seeds() -> Vec<Vec<u8>> {
    let batches = [(10, 2), (12, 4), (30, 1)].map(|(offset, records)| {
        let mut batch = built(Codec::None, records);
        stamp(&mut batch, Offset(offset), LeaderEpoch(1));
        batch
    });
    let all = batches.concat();
    let padded = [&all[..], &[0; 200]].concat();
    vec![all[..all.len() - 20].to_vec(), all, padded]
}

/// The indexes of a segment with several entries and of one with none.
pub(in crate::fuzz) fn index_seeds() -> Vec<Vec<u8>> {
    let header = BatchHeader::parse(&built(Codec::None, 1)).expect("a batch");
    let mut builder = IndexBuilder::new();
    let mut position = 0;
    for number in 0..20 {
        let header = BatchHeader { base_offset: Offset(number * 10), length: 20_000, ..header };
        builder.append(&header, position);
        position += u64::from(header.length);
    }
    let footer = IndexFooter {
        segment_bytes: position,
        end: Offset(200),
        max_timestamp: header.max_timestamp,
        segment_crc: 0xdead_beef,
    };
    vec![builder.index().encode(footer), Index::default().encode(footer)]
}

/// Makes the checksum of batch behind batch right, up to one that is cut short.
pub(in crate::fuzz) fn seal_scan(input: &mut [u8]) {
    let mut rest = input;
    while let Ok(header) = BatchHeader::parse(rest) {
        let Some((batch, behind)) = rest.split_at_mut_checked(header.length as usize) else { return };
        batch::seal(batch);
        rest = behind;
    }
}

/// Makes the checksum of an index right, as far as its count stays within it.
pub(in crate::fuzz) fn seal_index(input: &mut [u8]) {
    const CRC_AT: usize = 12;
    const COUNT_AT: usize = 44;
    const HEADER_BYTES: usize = 48;
    const ENTRY_BYTES: usize = 24;
    let Some(count) = input.get(COUNT_AT..HEADER_BYTES) else { return };
    let count = count.iter().rev().fold(0, |count, &byte| count << 8 | usize::from(byte));
    let Some(covered) = input.get(..HEADER_BYTES + count * ENTRY_BYTES) else { return };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&covered[..CRC_AT]), &covered[CRC_AT + 4..]);
    input[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Checks what a scan gives against the bytes and against the plain walk; how many batches there were.
fn assert_scan(input: &[u8], expected: Option<Offset>) -> usize {
    let mut scan = Scan::new(input, POSITION, expected);
    let mut walk = Batches::new(input);
    let (mut batches, mut consumed_bytes, mut offset) = (0, 0, expected);
    for batch in scan.by_ref() {
        assert_eq!(batch.range.start, consumed_bytes);
        assert_eq!(check(&input[batch.range.clone()]), Ok(batch.header));
        assert_eq!(walk.next(), Some(Ok((batch.header, &input[batch.range.clone()]))));
        assert!(offset.is_none_or(|offset| offset <= batch.header.base_offset));
        offset = Some(batch.header.next_offset());
        consumed_bytes = batch.range.end;
        batches += 1;
    }
    assert_eq!((scan.consumed_bytes(), scan.expected()), (consumed_bytes, offset));
    match scan.end() {
        None => panic!("it ended and does not say why"),
        Some(ScanEnd::Done) => assert_eq!(consumed_bytes, input.len()),
        Some(ScanEnd::Incomplete { needed_bytes }) => {
            assert!(needed_bytes >= HEADER_BYTES && needed_bytes > input.len() - consumed_bytes);
        }
        Some(ScanEnd::Damaged { position, reason }) => {
            assert_eq!(position, POSITION + consumed_bytes as u64);
            assert!(!reason.to_string().is_empty());
        }
    }
    batches
}
