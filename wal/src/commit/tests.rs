use ringmain_wire::batch::{self, BatchBuilder, Codec, TimestampType};
use ringmain_wire::ids::{PartitionIndex, TimestampMs, TopicId};

use super::*;
use crate::group::{self, GROUP_HEADER_BYTES, Generation, LogId, LogSalt};

const SALT: LogSalt = LogSalt(7);
const MARK_DELAY_NS: u64 = 10_000_000;

fn config() -> GroupCommitConfig {
    GroupCommitConfig {
        group_bytes_max: 8192,
        entry_bytes_max: 20_000,
        groups_in_flight_max: 2,
        chunk_bytes: 16_384,
        first_file_bytes: 65_536,
        file_bytes: 65_536,
        ..GroupCommitConfig::new(Generation(3), LogId(1), SALT)
    }
}

/// A log whose files are prepared as soon as they are asked for.
fn ready(config: GroupCommitConfig) -> GroupCommit {
    let mut commit = GroupCommit::new(config);
    prepare(&mut commit);
    commit
}

fn prepare(commit: &mut GroupCommit) {
    while let Some(file) = commit.poll_prepare() {
        commit.file_ready(file.number, file.bytes);
    }
}

fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId([1; 16]), PartitionIndex(index))
}

fn append(commit: &mut GroupCommit, length: usize) -> u64 {
    commit.append_batch(partition(0), LeaderEpoch(5), Offset(77), 3, &vec![0xab; length]).unwrap().0
}

fn header(write: &GroupWrite) -> GroupHeader {
    group::parse(&write.bytes, SALT).unwrap().header
}

#[test]
fn a_lone_append_leaves_at_once_stamped_and_intact() {
    let mut commit = ready(config());
    assert_eq!(append(&mut commit, 200), 1);
    let write = commit.poll_group(0).unwrap();
    assert_eq!((write.sequence, write.file, write.position), (Sequence(1), 0, 0));
    let view = group::parse(&write.bytes, SALT).unwrap();
    let head = view.heads[0];
    assert_eq!((head.kind, head.offset, head.leader_epoch), (EntryKind::Append, Offset(77), LeaderEpoch(5)));
    assert_eq!((head.records, head.position as usize, head.length), (3, GROUP_HEADER_BYTES, 200));
    let mut stamped = vec![0xab; 200];
    stamped[0..8].copy_from_slice(&77_i64.to_be_bytes());
    stamped[12..16].copy_from_slice(&5_i32.to_be_bytes());
    assert_eq!(view.entry_bytes(&head), stamped);
    assert_eq!((write.entries[0].head, &write.entries[0].bytes[..]), (head, &stamped[..]));
    assert_eq!(commit.poll_durable(), None);
    commit.handle_written(Sequence(1));
    assert_eq!(commit.poll_durable(), Some(Sequence(1)));
    assert_eq!(commit.poll_durable(), None, "each advance is told once");
}

#[test]
fn the_time_of_an_append_is_stamped_where_the_batch_lands() {
    let mut commit = ready(config());
    let mut builder = BatchBuilder::new(Codec::Lz4);
    builder.append(TimestampMs(5), None, Some(b"value"), &[]);
    let sent = builder.finish().unwrap();
    let options = AppendOptions { append_time: Some(TimestampMs(1_000)), ..AppendOptions::default() };
    commit.append_batch_with(partition(0), LeaderEpoch(5), Offset(77), 1, &sent, options).unwrap();
    commit.append_batch(partition(0), LeaderEpoch(5), Offset(78), 1, &sent).unwrap();
    let write = commit.poll_group(0).unwrap();
    let view = group::parse(&write.bytes, SALT).unwrap();
    let headers: Vec<_> =
        view.heads.iter().map(|head| batch::check(view.entry_bytes(head)).expect("a sound batch")).collect();
    let times = headers.iter().map(|header| (header.timestamp_type(), header.max_timestamp));
    let wanted =
        [(TimestampType::LogAppendTime, TimestampMs(1_000)), (TimestampType::CreateTime, TimestampMs(5))];
    assert!(times.eq(wanted), "{headers:?}");
    assert_eq!((headers[0].base_offset, headers[0].base_timestamp), (Offset(77), TimestampMs(5)));
}

#[test]
fn changes_keep_their_order_among_batches() {
    let mut commit = ready(config());
    append(&mut commit, 100);
    let truncate = PartitionChange::Truncate { offset: Offset(9), leader_epoch: LeaderEpoch(6) };
    commit.append_entry(partition(1), truncate).unwrap();
    commit.append_entry(partition(2), PartitionChange::LogStart { offset: Offset(4) }).unwrap();
    commit.append_entry(partition(3), PartitionChange::PartitionDrop).unwrap();
    append(&mut commit, 61);
    let write = commit.poll_group(0).unwrap();
    let heads = group::parse(&write.bytes, SALT).unwrap().heads;
    let kinds: Vec<_> = heads.iter().map(|head| (head.kind, head.partition.index.0, head.offset.0)).collect();
    assert_eq!(
        kinds,
        [
            (EntryKind::Append, 0, 77),
            (EntryKind::Truncate, 1, 9),
            (EntryKind::LogStart, 2, 4),
            (EntryKind::PartitionDrop, 3, 0),
            (EntryKind::Append, 0, 77),
        ]
    );
    assert!(write.entries[1].bytes.is_empty());
}

#[test]
fn carried_batches_states_and_floors_are_entries_like_others() {
    let mut commit = ready(config());
    let state = [0xee; 200];
    commit.append_state(partition(1), Offset(40), &state).unwrap();
    commit.append_carried(partition(1), LeaderEpoch(2), Offset(40), 7, &[0xab; 61]).unwrap();
    commit.append_floor(3).unwrap();
    let write = commit.poll_group(0).unwrap();
    let view = group::parse(&write.bytes, SALT).unwrap();
    let [settled, carried, floor] = view.heads[..] else { panic!("three entries") };
    assert_eq!(
        (settled.kind, settled.partition, settled.offset),
        (EntryKind::State, partition(1), Offset(40))
    );
    assert_eq!(view.entry_bytes(&settled), state, "nothing is stamped into a state");
    assert_eq!(
        (carried.kind, carried.partition, carried.offset),
        (EntryKind::Carried, partition(1), Offset(40))
    );
    assert_eq!((carried.leader_epoch, carried.records), (LeaderEpoch(2), 7));
    assert_eq!(
        view.entry_bytes(&carried)[..16],
        [0, 0, 0, 0, 0, 0, 0, 40, 0xab, 0xab, 0xab, 0xab, 0, 0, 0, 2]
    );
    assert_eq!(
        (floor.kind, floor.partition, floor.offset),
        (EntryKind::Floor, PartitionId::default(), Offset(3))
    );
    assert!(write.entries[2].bytes.is_empty());
}

#[test]
fn with_k_in_flight_appends_gather_and_full_groups_queue() {
    let mut commit = ready(config());
    for sequence in 1..=2 {
        assert_eq!(append(&mut commit, 100), sequence);
        assert_eq!(commit.poll_group(0).unwrap().sequence.0, sequence);
    }
    let promised: Vec<_> = (0..5).map(|_| append(&mut commit, 3000)).collect();
    assert_eq!(promised, [3, 3, 4, 4, 5]);
    assert!(commit.poll_group(0).is_none(), "two are in flight");
    assert_eq!(commit.gathered_bytes(), 8192 + 8192 + 4096);
    commit.handle_written(Sequence(2));
    assert!(commit.poll_group(0).is_none(), "the mark still waits for the first");
    commit.handle_written(Sequence(1));
    assert_eq!(commit.poll_durable(), Some(Sequence(2)));
    let writes: Vec<_> = std::iter::from_fn(|| commit.poll_group(0)).collect();
    assert_eq!(writes.iter().map(|write| write.sequence.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(writes.iter().map(|write| write.entries.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(header(&writes[0]).durable_upto, Sequence(2), "the mark as it is when the group leaves");
    assert_eq!(append(&mut commit, 100), 5);
    assert_eq!(commit.gathered_bytes(), 4096);
}

#[test]
fn every_header_names_the_one_before() {
    let mut commit = ready(config());
    let mut previous_crc = 0;
    for sequence in 1..=4 {
        append(&mut commit, 100);
        let write = commit.poll_group(0).unwrap();
        assert_eq!(header(&write).previous_crc, previous_crc);
        previous_crc = GroupHeader::crc_at(&write.bytes);
        commit.handle_written(Sequence(sequence));
    }
}

#[test]
fn a_batch_larger_than_a_group_gets_one_of_its_own() {
    let mut commit = ready(config());
    assert_eq!([append(&mut commit, 100), append(&mut commit, 20_000), append(&mut commit, 100)], [1, 2, 3]);
    assert_eq!(commit.gathered_bytes(), 4096 + 20_480 + 4096);
    commit.poll_group(0).unwrap();
    let write = commit.poll_group(0).unwrap();
    assert_eq!((write.bytes.len(), write.entries.len()), (20_480, 1));
    let refused = commit.append_batch(partition(0), LeaderEpoch(0), Offset(0), 1, &vec![0; 20_001]);
    assert_eq!(refused, Err(Refused::TooLarge { bytes: 20_001, bytes_max: 20_000 }));
    let refused = commit.append_state(partition(0), Offset(0), &[0; 20_001]);
    assert_eq!(refused, Err(Refused::TooLarge { bytes: 20_001, bytes_max: 20_000 }));
}

#[test]
fn memory_handed_out_is_aligned_and_the_copy_is_not_made_again() {
    let mut commit = ready(GroupCommitConfig { groups_in_flight_max: 64, ..config() });
    for round in 0..12 {
        append(&mut commit, 100 + round * 911);
        let write = commit.poll_group(0).unwrap();
        assert!(write.bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
        let entry = &write.entries[0];
        assert_eq!(entry.bytes.as_ptr(), write.bytes[entry.head.range()].as_ptr());
        prepare(&mut commit);
    }
}

#[test]
fn without_room_groups_gather_until_a_file_is_ready() {
    let mut commit = GroupCommit::new(GroupCommitConfig { first_file_bytes: 8192, ..config() });
    append(&mut commit, 100);
    assert!(commit.poll_group(0).is_none(), "no file yet");
    let first = commit.poll_prepare().unwrap();
    assert_eq!((first, commit.poll_prepare()), (PrepareFile { number: 0, bytes: 8192 }, None));
    commit.file_ready(0, 8192);
    assert_eq!(commit.poll_group(0).unwrap().position, 0);
    assert_eq!(commit.poll_prepare(), Some(PrepareFile { number: 1, bytes: 65_536 }));
    append(&mut commit, 5000);
    assert!(commit.poll_group(0).is_none(), "does not fit what is left");
    append(&mut commit, 100);
    commit.file_ready(1, 65_536);
    let write = commit.poll_group(0).unwrap();
    assert_eq!((write.file, write.position, write.entries.len()), (1, 0, 2));
}

/// Groups of 16 KiB that fill the log to its limit, four a file, all durable; one more waits.
fn full_log() -> GroupCommit {
    let mut commit = ready(GroupCommitConfig { log_bytes_max: 4 * 65_536, ..config() });
    for sequence in 1..=16 {
        assert_eq!(append(&mut commit, 16_000), sequence);
        assert_eq!(commit.poll_group(0).unwrap().file, (sequence as u32 - 1) / 4);
        commit.handle_written(Sequence(sequence));
        prepare(&mut commit);
    }
    assert_eq!(append(&mut commit, 16_000), 17);
    assert!(commit.poll_prepare().is_none() && commit.poll_group(0).is_none());
    assert_eq!(commit.live_bytes(), 4 * 65_536);
    commit
}

#[test]
fn a_full_log_gathers_until_files_are_forgotten() {
    let mut commit = full_log();
    assert_eq!(commit.first_file_from(Sequence(12)), 2);
    assert_eq!(commit.first_file_from(Sequence(13)), 3);
    assert_eq!(commit.first_file_from(Sequence(17)), 3, "it waits, so the file in use");
    commit.forget_files_before(2);
    assert_eq!(commit.live_bytes(), 2 * 65_536);
    assert_eq!(commit.poll_prepare(), Some(PrepareFile { number: 4, bytes: 65_536 }));
    commit.file_ready(4, 65_536);
    assert_eq!(commit.poll_group(0).unwrap().file, 4);
    assert_eq!((commit.first_file_from(Sequence(17)), commit.first_file_from(Sequence(1))), (4, 2));
}

#[test]
fn a_full_log_that_is_closed_still_writes_what_it_took() {
    let mut commit = full_log();
    commit.close();
    assert_eq!(commit.poll_prepare(), Some(PrepareFile { number: 4, bytes: 65_536 }));
    commit.file_ready(4, 65_536);
    assert_eq!(commit.poll_group(0).unwrap().sequence, Sequence(17));
    commit.handle_written(Sequence(17));
    assert!(header(&commit.poll_group(0).unwrap()).closed);
}

#[test]
#[should_panic(expected = "before its groups were durable")]
fn a_file_with_a_group_in_flight_is_never_forgotten() {
    let mut commit = ready(config());
    for sequence in 1..=5 {
        append(&mut commit, 16_000);
        commit.poll_group(0).unwrap();
        if sequence != 4 {
            commit.handle_written(Sequence(sequence));
        }
        prepare(&mut commit);
    }
    commit.forget_files_before(1);
}

#[test]
#[should_panic(expected = "must fit a log")]
fn a_limit_that_leaves_no_room_for_rolling_is_our_bug() {
    let _ = GroupCommit::new(GroupCommitConfig { log_bytes_max: 4 * 65_536 - 1, ..config() });
}

#[test]
fn an_idle_log_closes_the_gap_exactly_once() {
    let mut commit = ready(config());
    assert!(commit.poll_group(0).is_none() && commit.deadline_ns().is_none(), "nothing written, no gap");
    append(&mut commit, 100);
    commit.poll_group(0).unwrap();
    assert!(commit.poll_group(5).is_none() && commit.deadline_ns().is_none(), "in flight");
    commit.handle_written(Sequence(1));
    assert!(commit.poll_group(1000).is_none());
    let due_ns = commit.deadline_ns().unwrap();
    assert_eq!(due_ns, 1000 + MARK_DELAY_NS);
    assert!(commit.poll_group(due_ns - 1).is_none());
    let write = commit.poll_group(due_ns).unwrap();
    assert_eq!((write.sequence, write.entries.len(), write.bytes.len()), (Sequence(2), 0, BLOCK_BYTES));
    assert_eq!(header(&write).durable_upto, Sequence(1));
    assert!(!header(&write).closed);
    commit.handle_written(Sequence(2));
    assert_eq!(commit.poll_durable(), Some(Sequence(2)));
    for round in 0..100 {
        assert!(commit.poll_group(due_ns + round * MARK_DELAY_NS).is_none());
        assert_eq!(commit.deadline_ns(), None, "the mark-only group leaves no gap");
    }
}

#[test]
fn an_append_puts_the_mark_only_group_off() {
    let mut commit = ready(config());
    append(&mut commit, 100);
    commit.poll_group(0).unwrap();
    commit.handle_written(Sequence(1));
    assert!(commit.poll_group(0).is_none());
    assert_eq!(append(&mut commit, 100), 2);
    assert_eq!(commit.deadline_ns(), None);
    let write = commit.poll_group(MARK_DELAY_NS).unwrap();
    assert_eq!((write.sequence, write.entries.len()), (Sequence(2), 1));
    commit.handle_written(Sequence(2));
    assert!(commit.poll_group(MARK_DELAY_NS + 1).is_none());
    assert_eq!(commit.deadline_ns(), Some(2 * MARK_DELAY_NS + 1));
}

#[test]
fn no_deadline_is_given_that_could_not_be_met() {
    let mut commit = GroupCommit::new(GroupCommitConfig { first_file_bytes: 4096, ..config() });
    commit.poll_prepare();
    commit.file_ready(0, 4096);
    append(&mut commit, 100);
    commit.poll_group(0).unwrap();
    commit.handle_written(Sequence(1));
    assert!(commit.poll_group(0).is_none());
    assert_eq!(commit.deadline_ns(), None, "no room for a mark-only group");
    prepare(&mut commit);
    assert!(commit.poll_group(5).is_none());
    assert_eq!(commit.deadline_ns(), Some(5 + MARK_DELAY_NS));
}

#[test]
fn closing_writes_what_waits_and_then_one_last_group() {
    let mut commit = ready(config());
    for _ in 0..3 {
        append(&mut commit, 3000);
    }
    commit.close();
    assert_eq!(commit.append_entry(partition(0), PartitionChange::PartitionDrop), Err(Refused::Closed));
    for sequence in 1..=2 {
        assert_eq!(commit.poll_group(0).unwrap().sequence.0, sequence);
    }
    commit.handle_written(Sequence(2));
    assert!(commit.poll_group(0).is_none() && !commit.is_drained());
    commit.handle_written(Sequence(1));
    let last = commit.poll_group(0).unwrap();
    let header = header(&last);
    assert_eq!((header.closed, header.sequence, header.durable_upto), (true, Sequence(3), Sequence(2)));
    assert!(!commit.is_drained() && commit.poll_group(0).is_none());
    commit.handle_written(Sequence(3));
    assert!(commit.is_drained() && commit.poll_group(u64::MAX).is_none() && commit.deadline_ns().is_none());
}

#[test]
fn closing_does_not_wait_for_a_file_that_only_the_last_group_needs() {
    let mut commit = GroupCommit::new(config());
    commit.close();
    assert!(commit.is_drained() && commit.poll_prepare().is_none() && commit.poll_group(0).is_none());
}

#[test]
fn a_failed_write_ends_everything() {
    let mut commit = GroupCommit::new(GroupCommitConfig { groups_in_flight_max: 3, ..config() });
    commit.poll_prepare();
    commit.file_ready(0, 65_536);
    append(&mut commit, 100);
    commit.poll_group(0).unwrap();
    append(&mut commit, 100);
    commit.poll_group(0).unwrap();
    append(&mut commit, 100);
    commit.handle_failed(Sequence(1));
    commit.handle_written(Sequence(2));
    assert!(commit.is_poisoned());
    assert_eq!((commit.mark(), commit.poll_durable()), (Sequence::ZERO, None));
    assert!(commit.poll_group(u64::MAX).is_none() && commit.deadline_ns().is_none());
    assert!(commit.poll_prepare().is_none());
    let refused = commit.append_batch(partition(0), LeaderEpoch(0), Offset(0), 1, &[0; 61]);
    assert_eq!(refused, Err(Refused::Poisoned));
    commit.close();
    assert!(commit.poll_group(0).is_none() && !commit.is_drained());
}

#[test]
#[should_panic(expected = "not in flight")]
fn a_completion_of_nothing_is_our_bug() {
    ready(config()).handle_written(Sequence(1));
}
