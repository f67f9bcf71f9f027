//! Rot: damage to what was durable is reported, skipped, and never taken for a torn tail.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringmain_wal::commit::GroupCommitConfig;
use ringmain_wal::group::{ENTRY_HEAD_BYTES, GROUP_HEADER_BYTES, Sequence};
use ringmain_wal::replay::Lost;

use crate::model::{Log, config, header, meaningful_bytes, partition_id, replay, sequences};

/// Durable groups with entries of three partitions; all but the last few are covered by a mark on disk.
fn log_of(groups: usize, seed: u64) -> Log {
    // One chunk for all: no group is closed early, so that each round of appends is one group.
    let mut log = Log::new(GroupCommitConfig { chunk_bytes: 1 << 20, ..config() }, seed);
    for group in 0..groups {
        for partition in 0..3 {
            log.append(partition, 100 + group % 7 * 700);
        }
        log.complete_all();
    }
    log
}

fn durable_upto(log: &Log) -> u64 {
    log.writes.iter().map(|write| header(write).durable_upto.0).max().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_flipped_bit_at_or_below_the_mark_is_reported_and_costs_only_what_it_hit(
        groups in 2..40_usize,
        victim in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut log = log_of(groups, 1);
        let last = log.writes.len() as u64;
        let durable_upto = durable_upto(&log);
        let write = log.writes[victim.index(usize::try_from(durable_upto).unwrap())].clone();
        let place = place.index(meaningful_bytes(&write));
        log.disk.group_mut(&write)[place] ^= 1 << bit;

        let (groups, report) = replay(&mut log.disk).unwrap();
        prop_assert_eq!(report.cut, None, "rot is never cut");
        prop_assert_eq!(report.rot.len(), 1);
        let rot = &report.rot[0];
        prop_assert_eq!((rot.first, rot.last), (write.sequence, write.sequence));

        let directory = header(&write).directory_position as usize;
        let hit = write.entries.iter().find(|entry| entry.head.range().contains(&place));
        match (&rot.lost, hit) {
            (Lost::Entries(lost), Some(hit)) => prop_assert_eq!(lost, &vec![hit.head]),
            (Lost::Groups, None) => prop_assert!(place < GROUP_HEADER_BYTES || place >= directory),
            other => prop_assert!(false, "{other:?}"),
        }
        let expected: Vec<_> = (1..=last).filter(|&sequence| hit.is_some() || sequence != write.sequence.0).collect();
        prop_assert_eq!(sequences(&groups), expected);
        for group in &groups {
            log.assert_same(group, usize::from(group.sequence == write.sequence));
        }
    }

    #[test]
    fn whatever_is_overwritten_no_intact_group_up_to_the_mark_is_withheld_and_nothing_else_is_made_up(
        groups in 2..40_usize,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut log = log_of(groups, 2);
        for (block, filler) in hits {
            let used = log.writes.iter().filter(|write| write.file == 0).map(|write| write.bytes.len()).sum::<usize>();
            let start = block.index(used / 4096) * 4096;
            log.disk.files.get_mut(&0).unwrap()[start..start + 4096].fill(filler);
        }
        let (groups, report) = replay(&mut log.disk).unwrap();
        for group in &groups {
            let lost = report.rot.iter().find(|rot| rot.first == group.sequence).map_or(0, |rot| match &rot.lost {
                Lost::Entries(heads) => heads.len(),
                Lost::Groups => panic!("given and lost"),
            });
            log.assert_same(group, lost);
        }
        let given = sequences(&groups);
        prop_assert!(given.is_sorted_by(|a, b| a < b));
        for sequence in 1..=report.durable_upto.0 {
            let is_reported = report.rot.iter().any(|rot| rot.first.0 <= sequence && sequence <= rot.last.0);
            prop_assert!(given.contains(&sequence) || is_reported, "group {} vanished", sequence);
        }
        let end = report.durable_upto.0.max(given.last().copied().unwrap_or(0));
        for write in log.writes.clone() {
            if write.sequence.0 <= end && log.disk.holds(&write) {
                prop_assert!(given.contains(&write.sequence.0), "group {} is intact", write.sequence);
            }
        }
    }
}

#[test]
fn an_unreadable_directory_loses_the_group_but_not_the_chain() {
    let mut log = log_of(6, 3);
    let write = log.writes[2].clone();
    let directory = header(&write).directory_position as usize;
    log.disk.group_mut(&write)[directory + ENTRY_HEAD_BYTES] ^= 0x40;
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1, 2, 4, 5, 6]);
    let rot = &report.rot[0];
    assert_eq!((rot.position, &rot.lost), (write.position, &Lost::Groups));
}

#[test]
fn damaged_entries_are_named_by_partition_and_the_others_are_given() {
    let mut log = log_of(6, 4);
    let write = log.writes[2].clone();
    for which in [0, 2] {
        log.disk.group_mut(&write)[write.entries[which].head.position as usize + 70] ^= 1;
    }
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1, 2, 3, 4, 5, 6]);
    let Lost::Entries(lost) = &report.rot[0].lost else { panic!("the directory is intact") };
    let partitions: Vec<_> = lost.iter().map(|head| head.partition).collect();
    assert_eq!(partitions, [partition_id(0), partition_id(2)]);
    let given: Vec<_> = groups[2].entries.iter().map(|(head, _)| head.partition).collect();
    assert_eq!(given, [partition_id(1)]);
}

#[test]
fn rot_that_runs_into_a_hole_above_the_mark_is_both_reported_and_cut() {
    let mut log = log_of(6, 5);
    for _ in 0..3 {
        log.append(0, 200);
        log.pump();
    }
    let last = log.in_flight[2].clone();
    log.disk.write(&last);
    assert_eq!((last.sequence, header(&last).durable_upto), (Sequence(9), Sequence(6)));
    for sequence in [5, 6] {
        let write = log.writes[sequence - 1].clone();
        log.disk.group_mut(&write).fill(0);
    }
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1, 2, 3, 4]);
    assert_eq!((report.rot.len(), report.rot[0].first, report.rot[0].last), (1, Sequence(5), Sequence(6)));
    let cut = report.cut.unwrap();
    assert_eq!((cut.first, cut.groups_complete), (Sequence(7), 1));
}

#[test]
fn the_mark_only_group_of_an_idle_log_turns_loss_of_its_last_group_into_rot() {
    let mut log = log_of(3, 6);
    log.pump();
    log.now_ns += 10_000_000;
    log.pump();
    log.complete(0);
    assert!(log.writes[3].entries.is_empty());
    let write = log.writes[2].clone();
    log.disk.group_mut(&write).fill(0);
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1, 2, 4]);
    assert_eq!((report.rot[0].first, report.cut), (Sequence(3), None));
}

#[test]
fn a_group_of_another_history_is_not_taken_although_all_in_it_is_intact() {
    let (mut log, other) = (log_of(6, 7), log_of(6, 8));
    let stray = &other.writes[2];
    assert_eq!((stray.position, stray.bytes.len()), (log.writes[2].position, log.writes[2].bytes.len()));
    log.disk.write(stray);
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1, 2, 4, 5, 6]);
    assert_eq!((report.rot[0].first, report.rot[0].last, report.cut), (Sequence(3), Sequence(3), None));
}

#[test]
fn looking_ahead_over_much_damage_does_not_read_everything_again_each_time() {
    let mut log = Log::new(config(), 9);
    (0..300).for_each(|_| log.append_durably(200));
    let victims: Vec<_> = log.writes.iter().filter(|write| write.sequence.0 % 2 == 0).cloned().collect();
    victims.iter().for_each(|write| log.disk.group_mut(write).fill(0));
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!((groups.len(), report.rot.len()), (150, 149));
    let stored: usize = log.disk.files.values().map(Vec::len).sum();
    assert!(log.disk.read_bytes < 3 * stored, "{} bytes read of {stored}", log.disk.read_bytes);
}
