use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};

use super::*;
use crate::block::BLOCK_BYTES;
use crate::layout::{put, u32_at};

const SALT: LogSalt = LogSalt(0x5a17);

fn head(kind: EntryKind, position: usize, bytes: &[u8]) -> EntryHead {
    EntryHead {
        kind,
        flags: 0,
        partition: PartitionId::new(TopicId([3; 16]), PartitionIndex(2)),
        leader_epoch: LeaderEpoch(6),
        offset: Offset(1 << 40),
        records: u32::from(kind == EntryKind::Append),
        position: position as u32,
        length: bytes.len() as u32,
        crc: crc32c::crc32c(bytes),
    }
}

/// A group of an append of 5000 bytes, a truncation and an append of 100 bytes.
fn sample() -> (GroupHeader, Vec<EntryHead>, Vec<u8>) {
    let (first, second) = (vec![1; 5000], vec![2; 100]);
    let heads = vec![
        head(EntryKind::Append, 64, &first),
        head(EntryKind::Truncate, 5064, &[]),
        head(EntryKind::Append, 5064, &second),
    ];
    let mut bytes = vec![0; 64];
    bytes.extend(first);
    bytes.extend(second);
    let (header, bytes) = seal(bytes, &heads);
    (header, heads, bytes)
}

/// Puts directory, padding and header around entries that are in place.
fn seal(mut bytes: Vec<u8>, heads: &[EntryHead]) -> (GroupHeader, Vec<u8>) {
    let directory_position = bytes.len();
    bytes.extend(heads.iter().flat_map(EntryHead::encode));
    let header = GroupHeader {
        closed: false,
        generation: Generation(4),
        log: LogId(1),
        sequence: Sequence(10),
        durable_upto: Sequence(7),
        previous_crc: 99,
        length: round_up(bytes.len()) as u32,
        directory_position: directory_position as u32,
        directory_crc: crc32c::crc32c(&bytes[directory_position..]),
        entries: heads.len() as u32,
    };
    bytes.resize(round_up(bytes.len()), 0);
    header.encode(SALT, &mut bytes);
    (header, bytes)
}

/// Writes a field of the header and makes its CRC match again.
fn forge(bytes: &[u8], place: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    put(&mut bytes, place, field);
    let crc = crc32c::crc32c(&bytes[..60]);
    put(&mut bytes, 60, &crc.to_le_bytes());
    bytes
}

fn damage(bytes: &[u8]) -> GroupDamage {
    parse(bytes, SALT).unwrap_err()
}

#[test]
fn a_group_parses_back_also_with_bytes_behind_it() {
    let (header, heads, mut bytes) = sample();
    assert_eq!(bytes.len(), 2 * BLOCK_BYTES);
    bytes.extend([7; 100]);
    let view = parse(&bytes, SALT).unwrap();
    assert_eq!((view.header, &view.heads), (header, &heads));
    assert_eq!(view.entry_bytes(&heads[0]), [1; 5000]);
    assert_eq!(view.entry_bytes(&heads[1]), []);
    assert_eq!(view.entry_bytes(&heads[2]), [2; 100]);
}

#[test]
fn the_layout_on_disk_is_pinned() {
    let (_, _, bytes) = sample();
    assert_eq!(&bytes[..8], b"RMGL\x01\0\0\0");
    assert_eq!(bytes[8..24], [0x17, 0x5a, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[24..40], [7, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(bytes[40..52], [99, 0, 0, 0, 0, 32, 0, 0, 44, 20, 0, 0]);
    assert_eq!(bytes[56..60], [3, 0, 0, 0]);
    let directory = &bytes[5164..];
    assert_eq!(directory[..16], [1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(directory[16..32], [3; 16]);
    assert_eq!(directory[32..48], [2, 0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0, 136, 19, 0, 0]);
    assert_eq!(u32_at(directory, 48), crc32c::crc32c(&[1; 5000]));
    assert_eq!((directory[56], directory[112], directory[168]), (2, 1, 0));
}

#[test]
fn every_flipped_bit_is_named_by_where_it_is() {
    let (_, _, bytes) = sample();
    let directory = 5164..5164 + 3 * ENTRY_HEAD_BYTES;
    for bit in
        (0..bytes.len() * 8).filter(|bit| *bit < 64 * 8 || bit % 61 == 0 || directory.contains(&(bit / 8)))
    {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..4 => Some(GroupDamage::NotAGroup),
            4..64 => Some(GroupDamage::HeaderCrc),
            64..5064 => Some(GroupDamage::EntryCrc { which: 0 }),
            5064..5164 => Some(GroupDamage::EntryCrc { which: 2 }),
            byte if directory.contains(&byte) => Some(GroupDamage::DirectoryCrc),
            _ => None,
        };
        assert_eq!(parse(&flipped, SALT).err(), expected, "bit {bit}");
    }
}

#[test]
fn every_length_cut_short_is_noticed() {
    let (_, _, bytes) = sample();
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length], SALT).is_err(), "{length} bytes");
    }
}

#[test]
fn headers_that_contradict_themselves_are_out_of_bounds() {
    let (_, _, bytes) = sample();
    let fields: [(usize, &[u8]); 10] = [
        (6, &2_u16.to_le_bytes()),
        (16, &7_u64.to_le_bytes()),
        (24, &10_u64.to_le_bytes()),
        (38, &1_u16.to_le_bytes()),
        (44, &4096_u32.to_le_bytes()),
        (44, &8191_u32.to_le_bytes()),
        (44, &u32::MAX.to_le_bytes()),
        (48, &63_u32.to_le_bytes()),
        (48, &u32::MAX.to_le_bytes()),
        (56, &u32::MAX.to_le_bytes()),
    ];
    for (place, field) in fields {
        assert_eq!(damage(&forge(&bytes, place, field)), GroupDamage::Bounds, "{field:?} at {place}");
    }
}

#[test]
fn other_directories_and_newer_formats_are_told_from_damage() {
    let (_, _, bytes) = sample();
    assert_eq!(damage(&forge(&bytes, 8, &1_u64.to_le_bytes())), GroupDamage::Foreign);
    assert_eq!(damage(&forge(&bytes, 4, &2_u16.to_le_bytes())), GroupDamage::FormatVersion { found: 2 });
}

#[test]
fn directories_must_account_for_every_byte_between_header_and_directory() {
    let entry = vec![1; 100];
    let good = head(EntryKind::Append, 64, &entry);
    let mut bytes = vec![0; 64];
    bytes.extend(&entry);
    let check = |heads: &[EntryHead]| parse(&seal(bytes.clone(), heads).1, SALT).err();

    assert_eq!(check(&[good]), None);
    assert_eq!(check(&[]), Some(GroupDamage::Bounds), "bytes that nobody owns");
    assert_eq!(check(&[good, good]), Some(GroupDamage::Bounds), "the same bytes twice");
    assert_eq!(check(&[EntryHead { position: 63, ..good }]), Some(GroupDamage::Bounds));
    assert_eq!(check(&[EntryHead { length: 99, ..good }]), Some(GroupDamage::Bounds));
    assert_eq!(check(&[EntryHead { length: u32::MAX, ..good }]), Some(GroupDamage::Bounds));
    assert_eq!(check(&[EntryHead { kind: EntryKind::Truncate, ..good }]), Some(GroupDamage::Bounds));
    let empty = EntryHead { length: 0, ..good };
    assert_eq!(check(&[empty, good]), Some(GroupDamage::Bounds), "an append without a batch");
}

#[test]
fn every_kind_parses_back_with_bytes_exactly_if_it_has_any() {
    use EntryKind::{Append, Carried, Floor, LogStart, PartitionDrop, State, Truncate};
    for kind in [Append, Truncate, LogStart, PartitionDrop, State, Carried, Floor] {
        for length in [0, 100] {
            let entry = vec![1; length];
            let mut bytes = vec![0; 64];
            bytes.extend(&entry);
            let written = head(kind, 64, &entry);
            let found = parse(&seal(bytes, &[written]).1, SALT).map(|view| view.heads);
            let fits = matches!(kind, Append | State | Carried) == (length > 0);
            assert_eq!(found, if fits { Ok(vec![written]) } else { Err(GroupDamage::Bounds) }, "{kind:?}");
        }
    }
}

#[test]
fn unknown_kinds_and_flags_are_refused_not_ignored() {
    let (_, heads, bytes) = sample();
    for (place, value) in [(0, 8), (0, 0), (1, 1), (2, 1), (55, 1)] {
        let mut changed = bytes[..5164].to_vec();
        let mut directory: Vec<u8> = heads.iter().flat_map(EntryHead::encode).collect();
        directory[ENTRY_HEAD_BYTES + place] = value;
        let directory_crc = crc32c::crc32c(&directory);
        changed.extend(directory);
        changed.resize(bytes.len(), 0);
        let changed = forge(&changed, 52, &directory_crc.to_le_bytes());
        let found = damage(&changed);
        assert!(matches!(found, GroupDamage::UnknownEntry { which: 1, .. }), "{found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whoever writes these bytes also knows how to make the CRCs match.
    #[test]
    fn no_header_or_directory_leads_out_of_the_group(
        hits in prop::collection::vec((prop_oneof![16..60_usize, 5164..5332_usize], any::<u8>()), 0..4),
    ) {
        let (_, _, mut bytes) = sample();
        for (place, value) in hits {
            bytes[place] = value;
        }
        let start = u32_at(&bytes, 48) as usize;
        let length = (u32_at(&bytes, 56) as usize).saturating_mul(ENTRY_HEAD_BYTES);
        let directory_crc = bytes.get(start..start.saturating_add(length)).map_or(0, crc32c::crc32c);
        let bytes = forge(&bytes, 52, &directory_crc.to_le_bytes());
        if let Ok(view) = parse(&bytes, SALT) {
            let stored: usize = view.heads.iter().map(|head| view.entry_bytes(head).len()).sum();
            prop_assert_eq!(stored, start - GROUP_HEADER_BYTES);
        }
    }
}
