//! Parsers with planted bugs of the usual kinds: a run that does not find them proves nothing about the others.
//!
//! A CRC-32C over the rest stands in front, then a count, then records of a tag, a length and as many bytes. Each canary
//! leaves out one check, behind the CRC and only for one tag.

use core::hint::black_box;

use super::Verdict;

/// Bytes of checksum and count.
const HEADER_BYTES: usize = 8;
/// The tag whose records are treated wrongly.
const TAG: u8 = 3;

/// Believes a record's length: reads beyond the end, which panics.
pub(super) fn run_reading_beyond(input: &[u8]) -> Verdict {
    walk(input, |_, rest| if rest[0] == TAG { Some(2 + usize::from(rest[1])) } else { checked_length(rest) })
}

/// Believes the count: makes room for as many records before it has seen them.
pub(super) fn run_making_room(input: &[u8]) -> Verdict {
    walk(input, |count, rest| {
        if rest[0] == TAG {
            let room: Vec<u64> = Vec::with_capacity(count as usize);
            black_box(&room);
        }
        checked_length(rest)
    })
}

/// Lets a length of 255 mean that nothing is to be passed over, and so never comes to the end.
pub(super) fn run_standing_still(input: &[u8]) -> Verdict {
    walk(input, |_, rest| if rest[..2] == [TAG, 255] { Some(0) } else { checked_length(rest) })
}

/// Two sound inputs that have everything but the damage.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = [&[1, 4][..], b"long", &[TAG, 6], b"enough", &[2, 0]].concat();
    [(1, vec![TAG, 1, b'x']), (3, long)]
        .into_iter()
        .map(|(count, records)| {
            let mut input = vec![0; 4];
            input.extend_from_slice(&u32::to_le_bytes(count));
            input.extend_from_slice(&records);
            seal(&mut input);
            input
        })
        .collect()
}

/// Writes the checksum.
pub(super) fn seal(input: &mut [u8]) {
    if let Some((crc, rest)) = input.split_first_chunk_mut::<4>() {
        *crc = crc32c::crc32c(rest).to_le_bytes();
    }
}

/// Passes over the records; `length` says how many bytes the one in front takes.
fn walk(input: &[u8], length: impl Fn(u32, &[u8]) -> Option<usize>) -> Verdict {
    let Some((header, mut rest)) = input.split_first_chunk::<HEADER_BYTES>() else { return Verdict::Refused };
    let (crc, count) = header.split_at(4);
    if crc32c::crc32c(&input[4..]).to_le_bytes() != crc {
        return Verdict::Refused;
    }
    let count = count.iter().rev().fold(0, |count, &byte| count << 8 | u32::from(byte));
    while rest.len() >= 2 {
        let Some(length) = length(count, rest) else { return Verdict::Refused };
        rest = black_box(&rest[length..]);
    }
    if rest.is_empty() { Verdict::Accepted } else { Verdict::Refused }
}

fn checked_length(rest: &[u8]) -> Option<usize> {
    Some(2 + usize::from(rest[1])).filter(|&length| length <= rest.len())
}
