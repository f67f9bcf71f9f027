//! Files of a log: rolling, empty ones, missing ones, recycled beginnings, other versions.

use ringmain_wal::group::{FORMAT_VERSION, GroupDamage, Sequence};
use ringmain_wal::replay::{Lost, ReadFailed, ReplayConfig, ReplayError};

use crate::model::{Disk, Log, config, header, replay, replay_config, replay_with, sequences};

/// Durable groups of 12 KiB over at least four files.
fn four_files() -> Log {
    let mut log = Log::new(config(), 1);
    while log.writes.last().is_none_or(|write| write.file < 3) {
        log.append_durably(10_000);
    }
    log
}

/// The first group in file `file`.
fn first_in(log: &Log, file: u32) -> Sequence {
    log.writes.iter().find(|write| write.file == file).unwrap().sequence
}

#[test]
fn nothing_written_is_nothing_replayed() {
    for bytes in [0, 100, 4096, 65_536] {
        let mut disk = Disk { files: [(0, vec![0; bytes]), (1, vec![0; 8192])].into(), ..Disk::default() };
        let (groups, report) = replay(&mut disk).unwrap();
        assert!(groups.is_empty() && report.cut.is_none() && report.rot.is_empty() && !report.closed);
    }
}

#[test]
fn the_chain_goes_on_in_the_next_file() {
    let mut log = four_files();
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(groups.len(), log.writes.len());
    assert_eq!((report.cut, report.rot.len()), (None, 0));
    assert!(groups.iter().zip(&log.writes).all(|(group, write)| group.file == write.file));
}

#[test]
fn a_first_file_too_small_for_the_first_group_stays_empty() {
    let mut log = Log::new(ringmain_wal::commit::GroupCommitConfig { first_file_bytes: 4096, ..config() }, 1);
    log.append_durably(10_000);
    assert_eq!(log.writes[0].file, 1);
    let (groups, _) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1]);
}

#[test]
fn rot_at_either_side_of_a_roll_is_skipped() {
    for side in 0..2 {
        let mut log = four_files();
        let victim = usize::try_from(first_in(&log, 2).0).unwrap() - 1 - side;
        let write = log.writes[victim].clone();
        log.disk.group_mut(&write).fill(0x77);
        let (groups, report) = replay(&mut log.disk).unwrap();
        assert_eq!(groups.len(), log.writes.len() - 1);
        assert_eq!((report.rot.len(), report.rot[0].first), (1, write.sequence));
        assert_eq!(report.cut, None);
    }
}

#[test]
fn a_wholly_zeroed_file_in_the_middle_is_rot() {
    let mut log = four_files();
    log.disk.files.get_mut(&1).unwrap().fill(0);
    let (groups, report) = replay(&mut log.disk).unwrap();
    let [first, behind] = [first_in(&log, 1), first_in(&log, 2)];
    assert_eq!((report.rot[0].first, report.rot[0].last), (first, behind.previous()));
    assert_eq!((&report.rot[0].lost, report.cut), (&Lost::Groups, None));
    assert!(!sequences(&groups).contains(&first.0) && sequences(&groups).contains(&behind.0));
}

#[test]
fn a_missing_file_and_a_refused_read_are_errors() {
    let mut log = four_files();
    let config = replay_config(&log.disk);
    let kept = log.disk.files.remove(&1).unwrap();
    assert_eq!(replay_with(&mut log.disk, config).unwrap_err(), ReplayError::FileMissing { file: 1 });
    log.disk.files.insert(1, kept);
    log.disk.broken_file = Some(2);
    let error = ReadFailed { errno: 5 };
    assert_eq!(replay(&mut log.disk).unwrap_err(), ReplayError::Read { file: 2, position: 0, error });
}

/// Two files left of at least four, the first of them numbered 2.
fn recycled() -> Log {
    let mut log = four_files();
    log.disk.files.retain(|&number, _| number >= 2);
    log
}

#[test]
fn a_log_whose_first_files_were_recycled_is_replayed_from_the_first_that_is_left() {
    let mut log = recycled();
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), (first_in(&log, 2).0..=log.writes.len() as u64).collect::<Vec<_>>());
    assert_eq!((report.cut, report.rot.len()), (None, 0));
}

#[test]
fn a_recycled_beginning_that_is_lost_is_rot_and_the_log_goes_on_behind_it() {
    for lost in 1..4 {
        let mut log = recycled();
        log.disk.files.get_mut(&2).unwrap()[..lost * 12_288].fill(0);
        let (groups, report) = replay(&mut log.disk).unwrap();
        let found = first_in(&log, 2).0 + lost as u64;
        assert_eq!(sequences(&groups), (found..=log.writes.len() as u64).collect::<Vec<_>>());
        let [rot] = &report.rot[..] else { panic!("{:?}", report.rot) };
        assert_eq!((rot.file, rot.position, &rot.lost), (2, 0, &Lost::Groups));
        assert_eq!((rot.first, rot.last, report.cut), (Sequence(found - 1), Sequence(found - 1), None));
    }
}

#[test]
fn a_recycled_log_in_which_nothing_is_found_is_rot_too() {
    for filler in [0, 0x77] {
        let mut log = recycled();
        log.disk.files.values_mut().for_each(|file| file.fill(filler));
        let (groups, report) = replay(&mut log.disk).unwrap();
        assert!(groups.is_empty());
        let [rot] = &report.rot[..] else { panic!("{:?}", report.rot) };
        assert_eq!((rot.first, rot.last, &rot.lost), (Sequence(1), Sequence(1), &Lost::Groups));
        assert_eq!(report.cut.is_some(), filler != 0, "zeroes are nothing that was cut");
    }
}

#[test]
fn the_first_group_behind_recycled_files_was_durable_whatever_the_marks_on_disk_say() {
    let mut log = Log::new(config(), 1);
    while log.writes.len() < 5 {
        log.append_durably(10_000);
    }
    for _ in 0..2 {
        log.append(0, 10_000);
        log.pump();
    }
    let [first, second] = [5, 6].map(|place| log.writes[place].clone());
    assert_eq!((first.file, first.position, header(&second).durable_upto), (1, 0, Sequence(5)));
    log.disk.files.remove(&0);
    log.disk.write(&first);
    let entry = &first.entries[0];
    let (byte, directory) = (entry.head.position as usize, header(&first).directory_position as usize);
    for (place, lost) in [(byte, Lost::Entries(vec![entry.head])), (directory, Lost::Groups)] {
        log.disk.group_mut(&first)[place] ^= 1;
        let (groups, report) = replay(&mut log.disk).unwrap();
        assert_eq!((groups.len(), report.cut), (usize::from(lost != Lost::Groups), None));
        assert_eq!((report.rot.len(), &report.rot[0].lost, report.durable_upto), (1, &lost, Sequence(6)));
        log.disk.group_mut(&first)[place] ^= 1;
    }
    log.disk.group_mut(&first).fill(0);
    log.disk.write(&second);
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!((sequences(&groups), report.cut, report.rot.len()), (vec![7], None, 1));
    assert_eq!((report.rot[0].last, report.durable_upto), (Sequence(6), Sequence(6)));
}

#[test]
fn a_recycled_log_that_was_served_begins_with_nothing_behind_its_end() {
    let mut log = recycled();
    let first = first_in(&log, 2);
    for (last, given, rotten) in [(first, 1, 0), (first.previous(), 0, 1), (first.next(), 2, 0)] {
        let config = ReplayConfig { served_upto: Some(last), ..replay_config(&log.disk) };
        let (groups, report) = replay_with(&mut log.disk, config).unwrap();
        assert_eq!((groups.len(), report.rot.len()), (given, rotten), "served up to {last}");
    }
}

#[test]
fn what_another_version_wrote_is_refused_not_cut() {
    let mut log = four_files();
    let write = log.writes[1].clone();
    let bytes = log.disk.group_mut(&write);
    bytes[4..6].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    let reason = GroupDamage::FormatVersion { found: FORMAT_VERSION + 1 };
    let expected = ReplayError::Unsupported { file: 0, position: write.position, reason };
    assert_eq!(replay(&mut log.disk).unwrap_err(), expected);
    assert!(expected.to_string().contains("another version"));
    assert_eq!(header(&write).sequence, Sequence(2));
}

#[test]
fn a_log_that_was_served_ends_where_it_ended_then_and_is_rotten_before() {
    let mut log = four_files();
    let last = log.writes.len() as u64 - 2;
    let config = ReplayConfig { served_upto: Some(Sequence(last)), ..replay_config(&log.disk) };
    let (groups, report) = replay_with(&mut log.disk, config.clone()).unwrap();
    assert_eq!(sequences(&groups), (1..=last).collect::<Vec<_>>(), "what is intact behind does not count");
    assert_eq!((report.cut, report.rot.len(), report.last_sequence), (None, 0, Sequence(last)));

    // No header says that the last group was durable, and still its damage is rot, not a torn tail.
    let write = log.writes[last as usize - 1].clone();
    log.disk.group_mut(&write)[0] ^= 1;
    let (groups, report) = replay_with(&mut log.disk, config).unwrap();
    assert_eq!(sequences(&groups), (1..last).collect::<Vec<_>>());
    assert_eq!(
        (report.rot.len(), report.rot[0].first, report.rot[0].last),
        (1, Sequence(last), Sequence(last))
    );
}
