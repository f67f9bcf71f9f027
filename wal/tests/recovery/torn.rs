//! Torn tails, exhaustively: every sector boundary, every subset of holes.

use ringmain_wal::group::{Generation, GroupHeader, LogSalt, Sequence};
use ringmain_wal::replay::Cut;

use crate::model::{
    GENERATION, LOG, Log, SALT, SECTOR_BYTES, batch_with_planted_blocks, config, meaningful_bytes, replay,
    sequences,
};

/// Two durable groups and one of 12 KiB in flight.
fn one_in_flight() -> Log {
    let mut log = Log::new(config(), 1);
    log.append_durably(3000);
    log.append_durably(100);
    log.append(1, 9000);
    log.append(2, 2500);
    log.pump();
    assert_eq!(log.in_flight.len(), 1);
    log
}

#[test]
fn a_group_torn_at_any_sector_is_cut_and_a_whole_one_is_not() {
    let log = one_in_flight();
    let write = &log.in_flight[0];
    let sectors = write.bytes.len() / SECTOR_BYTES;
    let needed = meaningful_bytes(write).div_ceil(SECTOR_BYTES);
    assert_eq!((sectors, needed), (24, 23), "the last sector is padding");
    for boundary in 0..=sectors {
        let mut first_part = log.disk.clone();
        (0..boundary).for_each(|sector| first_part.write_sector(write, sector));
        let mut last_part = log.disk.clone();
        (boundary..sectors).for_each(|sector| last_part.write_sector(write, sector));

        let (groups, report) = replay(&mut first_part).unwrap();
        let whole = boundary >= needed;
        assert_eq!(sequences(&groups), if whole { vec![1, 2, 3] } else { vec![1, 2] }, "boundary {boundary}");
        let removed = report.cut.map(|cut| (cut.first, cut.position, cut.groups_damaged, cut.blocks_unknown));
        let torn = Some((Sequence(3), write.position, 1, 0));
        assert_eq!(removed, if whole || boundary == 0 { None } else { torn }, "boundary {boundary}");

        let (groups, report) = replay(&mut last_part).unwrap();
        assert_eq!(groups.len(), if boundary == 0 { 3 } else { 2 }, "boundary {boundary}");
        let is_nothing = boundary == 0 || boundary >= needed;
        assert_eq!(
            report.cut.is_none(),
            is_nothing,
            "boundary {boundary}: without a header, still not nothing"
        );
    }
}

#[test]
fn any_holes_among_groups_in_flight_end_the_log_at_the_first() {
    for kept in 0..16_u32 {
        let mut log = Log::new(config(), 2);
        log.append_durably(200);
        for _ in 0..4 {
            log.append(0, 5000);
            log.pump();
        }
        for (which, write) in (0..).zip(&log.in_flight) {
            if kept & 1 << which != 0 {
                log.disk.write(write);
            }
        }
        let before_hole = kept.trailing_ones();
        let behind = kept.count_ones() - before_hole;
        let (groups, report) = replay(&mut log.disk).unwrap();
        assert_eq!(groups.len() as u32, 1 + before_hole, "kept {kept:04b}");
        let expected = (behind > 0).then(|| Cut {
            file: 0,
            position: log.in_flight[before_hole as usize].position,
            first: Sequence(u64::from(before_hole) + 2),
            groups_complete: behind,
            groups_damaged: 0,
            blocks_unknown: 0,
        });
        assert_eq!(report.cut, expected, "kept {kept:04b}");
        assert_eq!(report.rot, []);
    }
}

#[test]
fn without_a_mark_on_disk_a_lost_last_group_is_cut_and_said_so() {
    let mut log = Log::new(config(), 3);
    log.append_durably(200);
    log.append_durably(200);
    let last = log.writes[1].clone();
    log.disk.group_mut(&last)[100] ^= 1;
    let (groups, report) = replay(&mut log.disk).unwrap();
    assert_eq!(sequences(&groups), [1]);
    let cut = report.cut.unwrap();
    assert_eq!((cut.first, cut.groups_damaged, report.rot.len()), (Sequence(2), 1, 0));
}

/// What a record looks like whose author wants the log to take it for a group with a mark.
fn forged(salt: LogSalt, generation: Generation) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let header = GroupHeader {
        closed: false,
        generation,
        log: LOG,
        sequence: Sequence(4),
        durable_upto: Sequence(3),
        previous_crc: 0,
        length: 4096,
        directory_position: 64,
        directory_crc: 0,
        entries: 0,
    };
    header.encode(salt, &mut bytes);
    bytes
}

#[test]
fn a_record_that_looks_like_a_group_does_not_turn_a_torn_tail_into_rot() {
    for (salt, is_rot) in [(LogSalt(1), false), (SALT, true)] {
        let mut log = Log::new(config(), 4);
        log.append_durably(200);
        log.append_durably(200);
        log.append_bytes(0, &batch_with_planted_blocks(&forged(salt, GENERATION), 3));
        log.pump();
        let write = log.in_flight[0].clone();
        (1..write.bytes.len() / SECTOR_BYTES).for_each(|sector| log.disk.write_sector(&write, sector));
        let (groups, report) = replay(&mut log.disk).unwrap();
        assert_eq!(sequences(&groups)[..2], [1, 2]);
        assert_eq!(!report.rot.is_empty(), is_rot, "only who knows the salt could do it");
        assert!(is_rot || groups.len() == 2 && report.cut.is_some());
    }
}
