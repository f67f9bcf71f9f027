use ringmain_wal::group::{Generation, Sequence};

use super::testing::{batch, header};
use super::*;

fn place(sequence: u64) -> LogPlace {
    LogPlace { generation: Generation(1), sequence: Sequence(sequence) }
}

fn stamped(bytes: &Bytes, base_offset: Offset) -> Bytes {
    let mut copy = bytes.to_vec();
    ringmain_wire::batch::stamp(&mut copy, base_offset, LeaderEpoch(1));
    copy.into()
}

/// A partition with batches of two records each from one producer, of which the first `durable` are shown.
fn partition(batches: i32, durable: i32) -> Partition {
    let mut partition = Partition::new(PartitionId::default(), LeaderEpoch(1));
    for number in 0..batches {
        let header = header(7, 0, number * 2, 2);
        let base_offset = partition.end();
        assert_eq!(partition.admit(&header), Admission::Append { base_offset, leader_epoch: LeaderEpoch(1) });
        partition.appended(&header, place(number as u64));
        partition.frozen(stamped(&batch(7, 0, number * 2, 2), base_offset), 100);
    }
    partition.advance(Offset(i64::from(durable) * 2));
    partition
}

#[test]
fn nothing_above_the_high_watermark_is_read() {
    let partition = partition(3, 2);
    let mut batches = Vec::new();
    partition.read(Offset(0), usize::MAX, true, &mut batches).unwrap();
    assert_eq!(batches.len(), 2);
    assert_eq!(partition.read(Offset(4), usize::MAX, true, &mut batches), Ok(0));
    assert_eq!(partition.read(Offset(5), usize::MAX, true, &mut batches), Err(ErrorCode::OffsetOutOfRange));
}

#[test]
fn a_batch_is_read_whole_even_when_it_is_too_large_or_entered_in_the_middle() {
    let partition = partition(3, 3);
    let mut batches = Vec::new();
    partition.read(Offset(3), 1, true, &mut batches).unwrap();
    assert_eq!(BatchHeader::parse(&batches[0]).unwrap().base_offset, Offset(2));
    assert_eq!(batches.len(), 1);
    assert_eq!(partition.read(Offset(3), 1, false, &mut batches), Ok(0));
}

#[test]
fn truncation_drops_whole_batches_and_what_was_known_of_their_producer() {
    let mut partition = partition(3, 3);
    let cut = partition.cut_at(Offset(3)).unwrap();
    assert_eq!(cut, Offset(2));
    partition.truncate(cut, place(9));
    assert_eq!((partition.end(), partition.high_watermark()), (Offset(2), Offset(2)));
    assert!(matches!(partition.admit(&header(7, 0, 0, 2)), Admission::Duplicate(_)));
    assert_eq!(
        partition.admit(&header(7, 0, 2, 2)),
        Admission::Append { base_offset: Offset(2), leader_epoch: LeaderEpoch(1) }
    );
}

#[test]
fn truncation_reaches_batches_whose_group_has_not_left() {
    let mut partition = partition(1, 1);
    partition.appended(&header(7, 0, 2, 2), place(9));
    partition.appended(&header(7, 0, 4, 2), place(9));
    assert_eq!(partition.cut_at(Offset(5)), Some(Offset(4)));
    partition.truncate(Offset(4), place(9));
    let Admission::Duplicate(remembered) = partition.admit(&header(7, 0, 2, 2)) else { panic!("forgotten") };
    assert_eq!(remembered.base_offset, Offset(2));
    partition.frozen(stamped(&batch(7, 0, 2, 2), Offset(2)), 100);
    assert_eq!(partition.tail().batches().count(), 2);
}

#[test]
fn producers_outlive_their_records() {
    let mut partition = partition(3, 3);
    partition.move_log_start(Offset(6), place(9));
    assert_eq!(partition.tail().charged_bytes(), 0);
    assert!(matches!(partition.admit(&header(7, 0, 4, 2)), Admission::Duplicate(_)));
    partition.truncate(partition.cut_at(Offset(6)).unwrap(), place(10));
    assert!(matches!(partition.admit(&header(7, 0, 4, 2)), Admission::Duplicate(_)));
}

#[test]
fn finds_the_first_record_of_a_time() {
    let partition = partition(2, 2);
    let found = partition.find_timestamp(TimestampMs(1_001), 1 << 20);
    assert_eq!(found, Some((Offset(1), TimestampMs(1_001))));
    assert_eq!(partition.find_timestamp(TimestampMs(5_000), 1 << 20), None);
}

/// The batches of `partition` from `from` on, up to `end`, in a segment of their own.
fn extent(from: i64, end: i64) -> SegmentExtent {
    SegmentExtent {
        base: Offset(from),
        end: Offset(end),
        bytes: 100,
        created: TimestampMs(0),
        max_timestamp: TimestampMs(1_001),
    }
}

/// Logs the state of a partition at `sequence`, durably.
fn log_state(partition: &mut Partition, sequence: u64) -> PartitionState {
    let (settled_end, truncations) = (partition.settled_end(), partition.truncations());
    partition.state_logging(place(sequence));
    let state = partition.state();
    partition.state_logged(place(sequence), settled_end, truncations);
    state
}

#[test]
fn the_log_is_needed_from_the_oldest_batch_that_no_durable_state_covers() {
    let mut partition = partition(4, 4);
    assert_eq!(partition.needed_place(), Some(place(0)));
    partition.settled(extent(0, 4));
    assert_eq!(partition.needed_place(), Some(place(0)), "no log says so yet");
    partition.state_logging(place(10));
    assert_eq!(partition.needed_place(), Some(place(0)), "not durably");
    partition.state_logged(place(10), Offset(4), 0);
    assert_eq!(partition.needed_place(), Some(place(2)));
    partition.settled(extent(4, 8));
    log_state(&mut partition, 11);
    assert_eq!(partition.needed_place(), Some(place(11)));
}

#[test]
fn a_cut_and_a_log_start_are_needed_until_a_later_state_tells_of_them() {
    let mut partition = partition(4, 4);
    partition.settled(extent(0, 8));
    log_state(&mut partition, 10);
    partition.truncate(Offset(6), place(11));
    partition.state_logging(place(12));
    partition.move_log_start(Offset(2), place(13));
    partition.state_logged(place(12), Offset(6), partition.truncations());
    assert_eq!(partition.needed_place(), Some(place(12)), "the cut is told of");
    log_state(&mut partition, 20);
    assert_eq!(partition.needed_place(), Some(place(20)), "the log start too");
}

#[test]
fn a_batch_that_is_cut_at_the_log_start_is_needed_until_a_later_state_ends_there() {
    let mut partition = partition(4, 4);
    partition.settled(extent(0, 4));
    log_state(&mut partition, 10);
    partition.move_log_start(Offset(5), place(11));
    partition.truncate(partition.cut_at(Offset(0)).unwrap(), place(12));
    assert_eq!((partition.log_start(), partition.end()), (Offset(5), Offset(5)));
    assert_eq!(partition.needed_place(), Some(place(2)), "the state does not reach as far as the cut");
    assert_eq!(log_state(&mut partition, 20).settled_end, Offset(5));
    assert_eq!(partition.needed_place(), Some(place(20)));
}

#[test]
fn a_state_logged_before_a_cut_settles_nothing_behind_it() {
    let mut partition = partition(3, 3);
    partition.settled(extent(0, 6));
    partition.state_logging(place(10));
    partition.truncate(Offset(2), place(11));
    let header = header(7, 0, 2, 2);
    partition.appended(&header, place(12));
    partition.frozen(stamped(&batch(7, 0, 2, 2), Offset(2)), 100);
    partition.advance(Offset(4));
    partition.state_logged(place(10), Offset(6), 0);
    partition.evict(place(99));
    let left: Vec<_> = partition.tail().batches().map(|batch| batch.base_offset).collect();
    assert_eq!(left, [Offset(0), Offset(2)], "what that state settled was cut");
}

#[test]
fn a_replayed_state_remembers_producers_epochs_and_log_start() {
    let mut partition = partition(4, 4);
    partition.move_log_start(Offset(3), place(9));
    partition.settled(extent(0, 8));
    let state = log_state(&mut partition, 10);
    let state = PartitionState::decode(&state.encode()).unwrap();
    let mut replayed = Partition::new(PartitionId::default(), LeaderEpoch(0));
    replayed.replayed_state(state, place(10));
    assert_eq!(
        (replayed.log_start(), replayed.end(), replayed.high_watermark()),
        (Offset(3), Offset(8), Offset(8))
    );
    assert_eq!((replayed.producers(), replayed.epochs()), (partition.producers(), partition.epochs()));
    assert_eq!(replayed.segments().extents(), partition.segments().extents());
    replayed.lead(LeaderEpoch(2));
    assert!(matches!(replayed.admit(&header(7, 0, 4, 2)), Admission::Duplicate(_)));
    let next = Admission::Append { base_offset: Offset(8), leader_epoch: LeaderEpoch(2) };
    assert_eq!(replayed.admit(&header(7, 0, 8, 2)), next);
}

#[test]
fn only_what_is_durably_settled_is_evicted() {
    let mut partition = partition(4, 4);
    partition.settled(extent(0, 6));
    partition.evict(place(99));
    assert_eq!(partition.tail().batches().count(), 4);
    log_state(&mut partition, 10);
    partition.evict(place(1));
    assert_eq!((partition.tail().start(), partition.tail().charged_bytes()), (Some(Offset(4)), 200));
    partition.evict(place(99));
    assert_eq!(partition.tail().start(), Some(Offset(6)));
}
