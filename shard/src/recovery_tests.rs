//! Partitions out of entries: gaps, states, carried batches, and damage.

use ringmain_wal::group::Sequence;
use ringmain_wire::ids::{Offset, PartitionIndex, TopicId};

use super::*;
use crate::partition::Admission;
use crate::partition::testing::{batch, header};

const PLACE_IN_LOG: LogPlace = LogPlace { generation: Generation(1), sequence: Sequence(1) };
const PLACE: RottenLog = RottenLog { generation: Generation(1), log: LogId(1) };

fn id(index: u32) -> PartitionId {
    PartitionId::new(TopicId([1; 16]), PartitionIndex(index))
}

fn head(kind: EntryKind, index: u32, offset: i64, records: u32) -> EntryHead {
    EntryHead {
        kind,
        flags: 0,
        partition: id(index),
        leader_epoch: LeaderEpoch(1),
        offset: Offset(offset),
        records,
        position: 0,
        length: 0,
        crc: 0,
    }
}

fn append(recovery: &mut Recovery, index: u32, offset: i64) {
    recovery.apply(
        PLACE_IN_LOG,
        &head(EntryKind::Append, index, offset, 2),
        batch(7, 0, offset as i32, 2),
        4096,
    );
}

fn rot(lost: Lost) -> Rot {
    Rot { file: 0, position: 4096, first: Sequence(2), last: Sequence(2), lost }
}

#[test]
fn entries_apply_in_order() {
    let mut recovery = Recovery::default();
    append(&mut recovery, 0, 0);
    append(&mut recovery, 0, 2);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
    append(&mut recovery, 0, 2);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::LogStart, 0, 2, 0), Bytes::new(), 0);
    append(&mut recovery, 1, 0);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::PartitionDrop, 1, 0, 0), Bytes::new(), 0);
    let recovered = recovery.finish();
    assert_eq!(recovered.partitions.len(), 1);
    let partition = &recovered.partitions[&id(0)];
    assert_eq!(
        (partition.log_start(), partition.end(), partition.high_watermark()),
        (Offset(2), Offset(4), Offset(4))
    );
    assert!(!partition.is_damaged());
}

#[test]
fn a_log_start_above_a_later_cut_falls_to_it() {
    let mut recovery = Recovery::default();
    append(&mut recovery, 0, 0);
    append(&mut recovery, 0, 2);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::LogStart, 0, 4, 0), Bytes::new(), 0);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
    append(&mut recovery, 0, 2);
    let partition = &recovery.finish().partitions[&id(0)];
    assert_eq!(
        (partition.log_start(), partition.end(), partition.is_damaged()),
        (Offset(2), Offset(4), false)
    );
}

#[test]
fn a_producer_is_not_remembered_for_batches_that_were_cut_below_a_log_start() {
    let mut recovery = Recovery::default();
    append(&mut recovery, 0, 0);
    append(&mut recovery, 0, 2);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::LogStart, 0, 4, 0), Bytes::new(), 0);
    recovery.apply(PLACE_IN_LOG, &head(EntryKind::Truncate, 0, 2, 0), Bytes::new(), 0);
    let partition = &recovery.finish().partitions[&id(0)];
    let admitted = |sequence| partition.admit(&header(7, 0, sequence, 2));
    assert!(matches!(admitted(0), Admission::Duplicate(_)));
    assert!(matches!(admitted(2), Admission::Append { base_offset: Offset(2), .. }), "its batch is gone");
}

#[test]
fn past_rot_only_what_continues_without_a_gap_is_writable() {
    let mut recovery = Recovery::default();
    for index in 0..3 {
        append(&mut recovery, index, 0);
    }
    recovery.handle_rot(&rot(Lost::Groups), PLACE);
    append(&mut recovery, 0, 2); // continues: proven
    append(&mut recovery, 1, 4); // a gap: damaged
    append(&mut recovery, 3, 0); // begins at 0: proven
    let mut recovered = recovery.finish();
    let damaged: Vec<bool> =
        (0..5).map(|index| recovered.take(id(index), LeaderEpoch(1)).is_damaged()).collect();
    assert_eq!(damaged, [false, true, true, false, true], "2 was never heard of again, 4 never at all");
    assert!(!recovered.take(id(5), LeaderEpoch(2)).is_damaged(), "created in a later generation");
    assert!(!recovered.take(PartitionId::METADATA, LeaderEpoch(0)).is_damaged(), "in another log");
}

#[test]
fn rot_with_a_readable_directory_hurts_only_the_partitions_it_names() {
    let mut recovery = Recovery::default();
    append(&mut recovery, 0, 0);
    append(&mut recovery, 1, 0);
    recovery.handle_rot(&rot(Lost::Entries(vec![head(EntryKind::Append, 1, 2, 2)])), PLACE);
    append(&mut recovery, 1, 4);
    let mut recovered = recovery.finish();
    assert!(!recovered.take(id(0), LeaderEpoch(1)).is_damaged());
    let damaged = recovered.take(id(1), LeaderEpoch(1));
    assert_eq!((damaged.is_damaged(), damaged.end()), (true, Offset(2)));
    assert!(!recovered.take(id(9), LeaderEpoch(1)).is_damaged());
}

fn place_at(sequence: u64) -> LogPlace {
    LogPlace { generation: Generation(1), sequence: Sequence(sequence) }
}

/// A batch of two records as it stands in the log.
fn stamped(offset: i64) -> Bytes {
    let mut bytes = batch(7, 0, offset as i32, 2).to_vec();
    ringmain_wire::batch::stamp(&mut bytes, Offset(offset), LeaderEpoch(1));
    bytes.into()
}

fn put(recovery: &mut Recovery, kind: EntryKind, offset: i64, sequence: u64) {
    recovery.apply(place_at(sequence), &head(kind, 0, offset, 2), stamped(offset), 4096);
}

/// Says that partition 0 starts at `log_start`, is settled up to `settled_end`, and ended at `end`.
fn put_state(
    recovery: &mut Recovery,
    log_start: i64,
    (settled_end, end): (i64, i64),
    is_read_only: bool,
    sequence: u64,
) {
    let state = PartitionState {
        log_start: Offset(log_start),
        settled_end: Offset(settled_end),
        end: Offset(end),
        segments: Vec::new(),
        epochs: Vec::new(),
        producers: Vec::new(),
        is_read_only,
    };
    let bytes = Bytes::from(state.encode());
    recovery.apply(place_at(sequence), &head(EntryKind::State, 0, settled_end, 0), bytes, 0);
}

/// Log start, end, and whether it is damaged.
fn found(recovery: Recovery) -> (i64, i64, bool) {
    let partition = &recovery.finish().partitions[&id(0)];
    (partition.log_start().get(), partition.end().get(), partition.is_damaged())
}

#[test]
fn a_gap_is_closed_by_a_state_that_reaches_across() {
    for (settled_end, expected) in
        [(4, (0, 8, false)), (6, (0, 8, false)), (8, (0, 8, false)), (2, (0, 2, true))]
    {
        let mut recovery = Recovery::default();
        put(&mut recovery, EntryKind::Append, 4, 5);
        put(&mut recovery, EntryKind::Append, 6, 6);
        put_state(&mut recovery, 0, (settled_end, 8), false, 7);
        assert_eq!(found(recovery), expected, "settled to {settled_end}");
    }
}

#[test]
fn a_gap_is_closed_by_batches_carried_behind_a_state() {
    let mut recovery = Recovery::default();
    put(&mut recovery, EntryKind::Append, 6, 5);
    put_state(&mut recovery, 0, (2, 8), false, 6);
    put(&mut recovery, EntryKind::Carried, 2, 6);
    put(&mut recovery, EntryKind::Carried, 4, 7);
    put(&mut recovery, EntryKind::Carried, 6, 7);
    put(&mut recovery, EntryKind::Append, 8, 8);
    let partition = &recovery.finish().partitions[&id(0)];
    assert_eq!((partition.end(), partition.is_damaged()), (Offset(10), false));
    let places: Vec<_> = partition.tail().batches().map(|batch| batch.place.sequence.0).collect();
    assert_eq!(places, [6, 7, 7, 8], "carried batches rest on their newer copies");
}

#[test]
fn a_gap_that_is_cut_off_is_none() {
    let mut recovery = Recovery::default();
    put(&mut recovery, EntryKind::Append, 4, 5);
    recovery.apply(place_at(6), &head(EntryKind::Truncate, 0, 0, 0), Bytes::new(), 0);
    put(&mut recovery, EntryKind::Append, 0, 7);
    assert_eq!(found(recovery), (0, 2, false));
}

#[test]
fn a_gap_that_nothing_closes_is_damage() {
    let mut recovery = Recovery::default();
    put(&mut recovery, EntryKind::Append, 0, 1);
    put(&mut recovery, EntryKind::Append, 4, 5);
    assert_eq!(found(recovery), (0, 2, true));
}

#[test]
fn a_log_start_before_its_state_is_kept() {
    let mut recovery = Recovery::default();
    put(&mut recovery, EntryKind::Append, 4, 5);
    recovery.apply(place_at(6), &head(EntryKind::LogStart, 0, 5, 0), Bytes::new(), 0);
    put_state(&mut recovery, 0, (4, 6), false, 7);
    assert_eq!(found(recovery), (5, 6, false));
}

#[test]
fn a_log_start_behind_a_gap_falls_to_a_later_cut_and_to_nothing_else() {
    for (cut, again, expected) in
        [(None, None, (7, 8, false)), (None, Some(5), (7, 8, false)), (Some(6), None, (6, 10, false))]
    {
        let mut recovery = Recovery::default();
        put(&mut recovery, EntryKind::Append, 6, 5);
        recovery.apply(place_at(6), &head(EntryKind::LogStart, 0, 7, 0), Bytes::new(), 0);
        if let Some(offset) = again {
            recovery.apply(place_at(7), &head(EntryKind::LogStart, 0, offset, 0), Bytes::new(), 0);
        }
        if let Some(offset) = cut {
            recovery.apply(place_at(7), &head(EntryKind::Truncate, 0, offset, 0), Bytes::new(), 0);
            put(&mut recovery, EntryKind::Append, offset, 8);
            put(&mut recovery, EntryKind::Append, offset + 2, 9);
        }
        put_state(&mut recovery, 0, (6, 6), false, 10);
        assert_eq!(found(recovery), expected, "cut at {cut:?}");
    }
}

#[test]
fn batches_carried_behind_a_state_that_starts_above_them_are_let_go() {
    let mut recovery = Recovery::default();
    put_state(&mut recovery, 5, (0, 6), false, 1);
    for offset in [0, 2, 4] {
        put(&mut recovery, EntryKind::Carried, offset, 2);
    }
    let partition = &recovery.partitions[&id(0)];
    assert_eq!((partition.tail().start(), partition.settled_end()), (Some(Offset(4)), Offset(4)));
    assert_eq!(partition.needed_place(), Some(place_at(1)), "what brought them there is needed all the same");
    recovery.apply(place_at(3), &head(EntryKind::Truncate, 0, 5, 0), Bytes::new(), 0);
    put(&mut recovery, EntryKind::Append, 5, 4);
    let partition = &recovery.partitions[&id(0)];
    assert_eq!((partition.tail().start(), partition.settled_end()), (Some(Offset(5)), Offset(5)));
    assert_eq!(found(recovery), (5, 7, false));
}

#[test]
fn states_before_and_after_a_cut_say_what_is_left() {
    let mut recovery = Recovery::default();
    put_state(&mut recovery, 0, (6, 6), false, 1);
    recovery.apply(place_at(2), &head(EntryKind::Truncate, 0, 4, 0), Bytes::new(), 0);
    put(&mut recovery, EntryKind::Append, 4, 3);
    put_state(&mut recovery, 0, (4, 6), false, 4);
    put(&mut recovery, EntryKind::Append, 6, 5);
    assert_eq!(found(recovery), (0, 8, false));
}

#[test]
fn a_state_heals_only_when_it_reaches_as_far_as_what_was_lost() {
    for (settled_end, expected) in [(2, (0, 2, true)), (4, (0, 6, false))] {
        let mut recovery = Recovery::default();
        put(&mut recovery, EntryKind::Append, 0, 1);
        recovery.handle_rot(&rot(Lost::Entries(vec![head(EntryKind::Append, 0, 2, 2)])), PLACE);
        put_state(&mut recovery, 0, (settled_end, 4), false, 3);
        put(&mut recovery, EntryKind::Append, 4, 4);
        assert_eq!(found(recovery), expected, "settled to {settled_end}");
    }
}

#[test]
fn a_partition_that_its_state_calls_damaged_stays_so() {
    let mut recovery = Recovery::default();
    put_state(&mut recovery, 0, (4, 4), true, 1);
    recovery.apply(place_at(2), &head(EntryKind::LogStart, 0, 2, 0), Bytes::new(), 0);
    put_state(&mut recovery, 2, (4, 4), true, 3);
    assert_eq!(found(recovery), (2, 4, true));
}
