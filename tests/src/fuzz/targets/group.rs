//! A log group with all its checksums.

use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::group::{ENTRY_HEAD_BYTES, GROUP_HEADER_BYTES, GroupHeader, LogSalt, parse};

use super::log::written;
use crate::fuzz::Verdict;

/// What every log here was written with.
pub(in crate::fuzz) const SALT: LogSalt = LogSalt(0x5a17_5a17_5a17_5a17);

const MAGIC: &[u8] = b"RMGL";
const PREVIOUS_CRC_AT: usize = 40;
const DIRECTORY_POSITION_AT: usize = 48;
const DIRECTORY_CRC_AT: usize = 52;
const ENTRIES_AT: usize = 56;
const HEADER_CRC_AT: usize = GROUP_HEADER_BYTES - 4;

const ENTRY_POSITION_AT: usize = 40;
const ENTRY_LENGTH_AT: usize = 44;
const ENTRY_CRC_AT: usize = 48;

/// Parses the group that the bytes begin with.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let parsed = parse(input, SALT);
    match &parsed {
        Ok(view) => {
            assert!(view.heads.capacity() * ENTRY_HEAD_BYTES <= input.len(), "room for more than there is");
            let entry_bytes: usize = view.heads.iter().map(|head| view.entry_bytes(head).len()).sum();
            assert!(GROUP_HEADER_BYTES + entry_bytes <= view.header.directory_position as usize);
            assert!(view.header.length as usize <= input.len());
            let mut encoded = [0; GROUP_HEADER_BYTES];
            view.header.encode(SALT, &mut encoded);
            assert_eq!(GroupHeader::decode(&encoded, SALT), Ok(view.header));
        }
        Err(damage) => assert!(!damage.to_string().is_empty()),
    }
    Verdict::of(&parsed)
}

/// Each group of a log by itself.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    written().into_iter().map(|write| write.bytes.to_vec()).collect()
}

/// Makes the checksums of the group that the bytes begin with right, from the entries outwards, as far as its lengths
/// stay within them.
pub(in crate::fuzz) fn seal(input: &mut [u8]) {
    if input.len() < GROUP_HEADER_BYTES {
        return;
    }
    let start = u32_at(input, DIRECTORY_POSITION_AT);
    let end = u32_at(input, ENTRIES_AT).saturating_mul(ENTRY_HEAD_BYTES).saturating_add(start);
    if let Some(directory) = input.get(start..end) {
        let mut directory = directory.to_vec();
        for head in directory.chunks_exact_mut(ENTRY_HEAD_BYTES) {
            let position = u32_at(head, ENTRY_POSITION_AT);
            let bytes = position.checked_add(u32_at(head, ENTRY_LENGTH_AT)).map(|end| position..end);
            if let Some(bytes) = bytes.and_then(|range| input.get(range)) {
                put_crc(head, ENTRY_CRC_AT, crc32c::crc32c(bytes));
            }
        }
        put_crc(input, DIRECTORY_CRC_AT, crc32c::crc32c(&directory));
        input[start..end].copy_from_slice(&directory);
    }
    put_crc(input, HEADER_CRC_AT, crc32c::crc32c(&input[..HEADER_CRC_AT]));
}

/// The same for every block that begins as a group does; a group that named the one before it goes on doing so.
pub(in crate::fuzz) fn seal_all(input: &mut [u8]) {
    let mut before = None;
    for start in (0..input.len()).step_by(BLOCK_BYTES) {
        let group = &mut input[start..];
        if !group.starts_with(MAGIC) || group.len() < GROUP_HEADER_BYTES {
            continue;
        }
        if let Some((was, is)) = before
            && u32_at(group, PREVIOUS_CRC_AT) == was
        {
            put_crc(group, PREVIOUS_CRC_AT, is as u32);
        }
        let was = u32_at(group, HEADER_CRC_AT);
        seal(group);
        before = Some((was, u32_at(group, HEADER_CRC_AT)));
    }
}

fn u32_at(bytes: &[u8], place: usize) -> usize {
    bytes[place..place + 4].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn put_crc(bytes: &mut [u8], place: usize, crc: u32) {
    bytes[place..place + 4].copy_from_slice(&crc.to_le_bytes());
}
