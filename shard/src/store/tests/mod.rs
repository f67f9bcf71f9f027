//! A store against a model of its partitions: through windows, crashes, full disks, and failing ones.

mod disk;
mod flush;
mod history;
mod node;
mod replayed;
mod scrub;
mod shortage;
mod times;
mod upkeep;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringmain_wal::group::Generation;
use ringmain_wal::names::{partition_directory, segment_file_name, stray_file_name};
use ringmain_wire::batch::Batches;
use ringmain_wire::ids::{PartitionIndex, TopicId};

use super::*;
use crate::effect::FileOperation;

use node::{Node, settle_config, store_config};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Produce {
        partition: u8,
        batches: u8,
        records: u32,
        value_bytes: usize,
    },
    Truncate {
        partition: u8,
        offset: u16,
    },
    LogStart {
        partition: u8,
        offset: u16,
    },
    Remove {
        partition: u8,
    },
    Complete {
        operations: u8,
    },
    Pass {
        milliseconds: u64,
    },
    Rest,
    Crash {
        loses_power: bool,
    },
    /// Or room again.
    Fill {
        is_full: bool,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let partition = || 0..4_u8;
    prop_oneof![
        12 => (partition(), 1..8_u8, 1..4_u32, 0..2_500_usize).prop_map(|(partition, batches, records, value_bytes)| {
            Operation::Produce { partition, batches, records, value_bytes }
        }),
        2 => (partition(), any::<u16>()).prop_map(|(partition, offset)| Operation::Truncate { partition, offset }),
        2 => (partition(), any::<u16>()).prop_map(|(partition, offset)| Operation::LogStart { partition, offset }),
        1 => partition().prop_map(|partition| Operation::Remove { partition }),
        8 => (1..60_u8).prop_map(|operations| Operation::Complete { operations }),
        2 => (1..2_000_u64).prop_map(|milliseconds| Operation::Pass { milliseconds }),
        2 => Just(Operation::Rest),
        1 => any::<bool>().prop_map(|loses_power| Operation::Crash { loses_power }),
        1 => any::<bool>().prop_map(|is_full| Operation::Fill { is_full }),
    ]
}

/// The partition that takes this number's place; a topic that was deleted never comes back under its id.
fn partition_id(number: u8, incarnation: u8) -> PartitionId {
    PartitionId::new(TopicId([incarnation + 1; 16]), PartitionIndex(number.into()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        rng_seed: RngSeed::Fixed(4),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_acknowledged_is_read_and_found_again_whenever_power_is_lost(
        operations in prop::collection::vec(operation(), 1..160),
        seed in any::<u64>(),
    ) {
        let mut node = Node::new(settle_config(), seed);
        let mut incarnations = [0_u8; 4];
        for operation in operations {
            perform(&mut node, operation, &mut incarnations);
        }
        node.disk.bytes_max = usize::MAX;
        node.rest(10);
        node.check_at_rest();
    }
}

fn perform(node: &mut Node, operation: Operation, incarnations: &mut [u8; 4]) {
    let id_of = |partition: u8| partition_id(partition, incarnations[usize::from(partition)]);
    let offset_in = |node: &Node, id, offset: u16| {
        let partition = node.store.partition(id)?;
        Some(Offset((i64::from(offset) * (partition.end().get() + 1)) >> 16))
    };
    match operation {
        Operation::Produce { partition, batches, records, value_bytes } => {
            for _ in 0..batches {
                if let Err(code) = node.produce(id_of(partition), records, value_bytes) {
                    assert!(matches!(code, ErrorCode::OverBudget | ErrorCode::DiskFull), "{code:?}");
                }
            }
        }
        Operation::Truncate { partition, offset } => {
            if let Some(offset) = offset_in(node, id_of(partition), offset) {
                node.truncate(id_of(partition), offset);
            }
        }
        Operation::LogStart { partition, offset } => {
            if let Some(offset) = offset_in(node, id_of(partition), offset) {
                node.move_log_start(id_of(partition), offset);
            }
        }
        Operation::Remove { partition } => {
            node.remove(id_of(partition));
            incarnations[usize::from(partition)] += 1;
        }
        Operation::Complete { operations } => {
            for _ in 0..operations {
                if node.step() && node.below(4) == 0 {
                    node.check_crash();
                }
            }
        }
        Operation::Pass { milliseconds } => node.pass(milliseconds),
        Operation::Rest => {
            node.rest(3);
            node.check_crash();
            if node.disk.bytes_max == usize::MAX {
                node.check_at_rest();
            }
        }
        Operation::Crash { loses_power } => {
            node.check_crash();
            node.crash(loses_power);
        }
        Operation::Fill { is_full } => {
            node.disk.bytes_max = if is_full { 150_000 } else { usize::MAX };
        }
    }
}

/// Appends until `batches` more are in, as fast as the store takes them.
fn fill(node: &mut Node, batches: usize) {
    fill_partition(node, partition_id(0, 0), batches);
}

/// The same, into another partition.
fn fill_partition(node: &mut Node, id: PartitionId, batches: usize) {
    for _ in 0..batches {
        while node.produce(id, 2, 1_000).is_err() {
            node.rest(1);
        }
    }
}

#[test]
fn windows_give_back_memory_and_log_files() {
    let mut node = Node::new(settle_config(), 1);
    fill(&mut node, 400);
    node.rest(1);
    let counters = node.store.counters();
    assert!(counters.settled_bytes > 600_000 && counters.log_files_recycled >= 10, "{counters:?}");
    assert!(node.store.tail_bytes() < 150_000, "{}", node.store.tail_bytes());
    assert!(node.store.log_bytes() < 200_000, "{}", node.store.log_bytes());
    let files = node.log_files();
    assert_eq!(files.first(), Some(&(counters.log_files_recycled as u32)), "{files:?}");
    node.check_at_rest();
    node.crash(true);
    node.rest(1);
    node.check_at_rest();
    assert!(!node.store.rests_on_former_logs());
}

#[test]
fn a_log_of_three_files_goes_on_for_ever() {
    let mut config = store_config(Generation(1), &settle_config());
    config.commit.log_bytes_max = 4 * config.commit.file_bytes - 4096;
    let mut node = Node::new(settle_config(), 5);
    node.store = Store::new(config, Vec::new());
    for batch in 0..400 {
        let is_taken = (0..20).any(|_| {
            let taken = node.produce(partition_id(0, 0), 2, 1_000);
            taken.inspect_err(|_| node.rest(1)).is_ok()
        });
        assert!(is_taken, "batch {batch}: {:?}", node.store.counters());
    }
    node.rest(1);
    node.check_at_rest();
}

#[test]
fn a_full_disk_holds_settling_up_and_loses_nothing() {
    let mut node = Node::new(settle_config(), 2);
    fill(&mut node, 10);
    node.rest(1);
    node.disk.bytes_max = 0;
    while node.produce(partition_id(0, 0), 2, 1_000).is_ok() {
        node.step();
    }
    node.rest(5);
    assert_eq!(node.stopped, None);
    let settled = node.store.counters().settled_bytes;
    node.check_crash();
    node.disk.bytes_max = usize::MAX;
    node.rest(5);
    assert!(node.store.counters().settled_bytes > settled);
    fill(&mut node, 50);
    node.rest(5);
    node.check_at_rest();
}

/// Appends until there is no room on the disk for more, whatever is settled.
fn fill_disk(node: &mut Node, id: PartitionId) {
    let is_full = (0..1_000).any(|_| {
        let is_refused = |node: &mut Node| node.produce(id, 2, 1_000) == Err(ErrorCode::DiskFull);
        let was_refused = is_refused(node);
        node.rest(if was_refused { 5 } else { 1 });
        was_refused && is_refused(node)
    });
    assert!(is_full, "{:?}", node.store.counters());
}

#[test]
fn a_full_disk_takes_changes_of_metadata_and_what_is_deleted_makes_room_again() {
    let mut node = Node::new(settle_config(), 3);
    let ids = [partition_id(0, 0), partition_id(1, 0)];
    fill_partition(&mut node, ids[1], 1);
    node.disk.bytes_max = 170_000;
    fill_disk(&mut node, ids[0]);
    assert_eq!(node.produce(PartitionId::METADATA, 1, 100), Ok(()));
    node.rest(1);
    let metadata = node.store.partition(PartitionId::METADATA).expect("it was created");
    assert_eq!(metadata.high_watermark(), Offset(1), "the change waits for room");
    node.check_crash();
    node.remove(ids[0]);
    node.rest(5);
    assert_eq!(node.produce(ids[1], 2, 1_000), Ok(()), "{:?}", node.log_files());
    node.rest(5);
    node.check_at_rest();
}

#[test]
fn changes_of_metadata_leave_room_in_the_log_of_a_full_disk() {
    let mut node = Node::new(settle_config(), 4);
    fill(&mut node, 1);
    node.rest(1);
    node.disk.bytes_max = 0;
    fill_disk(&mut node, partition_id(0, 0));
    let change = |node: &mut Node| {
        let taken = node.produce(PartitionId::METADATA, 1, 100);
        node.rest(1);
        taken.is_ok()
    };
    let changes = (0..100).take_while(|_| change(&mut node)).count();
    assert!((1..20).contains(&changes), "{changes}");
    let groups = node.store.counters().groups;
    node.remove(partition_id(0, 0));
    node.rest(1);
    assert_eq!(node.store.groups_in_flight(), 0);
    assert!(node.store.counters().groups > groups, "there is no room to say that it is deleted");
    node.check_crash();
}

type IsWanted = dyn Fn(FileToken, &FileOperation) -> bool;

/// Lets the next operation that `is_wanted` find no descriptor, while records are appended. Gives the settled bytes of then.
fn exhaust(node: &mut Node, is_wanted: &IsWanted) -> u64 {
    for _ in 0..2_000 {
        let mut under_way = node.disk.under_way().iter();
        if let Some(place) = under_way.position(|(token, operation)| is_wanted(*token, operation)) {
            node.fail(place, FileError::Exhausted);
            return node.store.counters().settled_bytes;
        }
        if node.produce(partition_id(0, 0), 2, 1_000).is_err() {
            node.step();
        }
        node.step();
    }
    panic!("nothing of that kind is opened");
}

#[test]
fn want_of_descriptors_is_waited_for_and_loses_nothing() {
    fn is_opened(operation: &FileOperation) -> bool {
        matches!(operation, FileOperation::Open { .. })
    }
    fn is_synced(operation: &FileOperation) -> bool {
        matches!(operation, FileOperation::SyncDirectory { .. })
    }
    fn is_settling(token: FileToken) -> bool {
        matches!(StoreToken::decode(token), StoreToken::Settle(_))
    }
    let wanted: [&IsWanted; 5] = [
        &|token, operation| is_settling(token) && is_opened(operation),
        &|token, operation| is_settling(token) && is_synced(operation),
        &|token, operation| token == StoreToken::Prepare.encode() && is_opened(operation),
        &|token, operation| token == StoreToken::Prepare.encode() && is_synced(operation),
        &|token, operation| token == StoreToken::Remove.encode() && is_synced(operation),
    ];
    for (place, is_wanted) in wanted.into_iter().enumerate() {
        let mut node = Node::new(settle_config(), 21);
        let settled = exhaust(&mut node, is_wanted);
        assert_eq!(node.stopped, None, "{place}");
        node.check_crash();
        fill(&mut node, 100);
        node.rest(5);
        let counters = node.store.counters();
        assert!(counters.settled_bytes > settled, "{place}: {counters:?}");
        assert_eq!(node.log_files().first(), Some(&(counters.log_files_recycled as u32)), "{place}");
        node.check_at_rest();
    }
}

#[test]
fn a_read_that_finds_no_descriptor_may_be_asked_again() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 23);
    fill(&mut node, 400);
    node.rest(1);
    node.crash(true);
    node.rest(1);
    let mut effects: Effects<()> = Vec::new();
    node.store.read_segment(Ticket(0), id, Offset(0), 5_000, &mut effects).unwrap();
    let Some(Effect::File { token, operation: FileOperation::Open { .. } }) = effects.pop() else {
        panic!("its file is opened")
    };
    node.store.handle_file(node.now(), token, Err(FileError::Exhausted), &mut effects);
    assert_eq!(node.store.poll_read().unwrap().result, Err(ErrorCode::OverBudget));
    assert_eq!(node.store.poll_fault(), None, "nothing is wrong with it");
    assert!(matches!(node.find_in_segment(id, Offset(0)), Ok(Found::Batches(_))));
}

#[test]
fn a_log_start_among_carried_batches_is_settled_by_the_next_start() {
    let mut node = Node::new(settle_config(), 10);
    let id = partition_id(1, 0);
    let starts_with = |node: &Node| node.store.partition(id).unwrap().tail().start();
    for _ in 0..10 {
        node.produce(id, 2, 0).unwrap();
    }
    node.rest(1);
    node.crash(false);
    // The first window of a start carries them all, behind a state that knows where they will start.
    node.move_log_start(id, Offset(13));
    node.rest(1);
    assert!(node.store.counters().carried > 0, "{:?}", node.store.counters());
    for loses_power in [false, true] {
        node.crash(loses_power);
        assert_eq!(starts_with(&node), Some(Offset(12)), "the batch that holds the log start");
        node.rest(1);
        assert!(!node.store.rests_on_former_logs());
        node.check_at_rest();
    }
    node.truncate(id, Offset(0));
    node.produce(id, 2, 0).unwrap();
    node.rest(1);
    node.crash(true);
    assert_eq!(starts_with(&node), Some(Offset(13)));
    node.rest(1);
    node.check_at_rest();
}

/// Ends the first operation that `is_wanted` with EIO, while records are appended; gives why the store stopped.
fn fail_first(is_wanted: impl Fn(&FileOperation) -> bool) -> String {
    let mut node = Node::new(settle_config(), 3);
    loop {
        let place = node.disk.under_way().iter().position(|(_, operation)| is_wanted(operation));
        if let Some(place) = place {
            node.fail(place, FileError::Failed(5));
            break;
        }
        if node.produce(partition_id(0, 0), 2, 1_000).is_err() {
            node.step();
        }
        node.step();
    }
    node.check_crash();
    let Some(StopReason::StorageFailed { message }) = node.stopped else { panic!("goes on") };
    assert!(message.ends_with("failed: operating system error 5"), "{message}");
    message
}

#[test]
fn a_failing_disk_stops_the_store_while_it_settles_and_removes_and_the_file_is_named() {
    let settling = fail_first(
        |operation| matches!(operation, FileOperation::Open { path, .. } if path.starts_with("partitions/")),
    );
    assert!(settling.starts_with("settling into partitions/"), "{settling}");
    let removing = fail_first(|operation| matches!(operation, FileOperation::Remove { .. }));
    assert!(removing.starts_with("removing logs/0000000001-0000-000000.log"), "{removing}");
}

#[test]
fn what_a_person_put_into_a_directory_is_left_there_and_told_and_all_else_goes_on() {
    let mut node = Node::new(settle_config(), 8);
    let (deleted, kept) = (partition_id(0, 0), partition_id(2, 0));
    for id in [deleted, kept] {
        fill_partition(&mut node, id, 60);
    }
    node.rest(1);
    let directory = partition_directory(deleted);
    let theirs = format!("{directory}/notes.txt");
    node.disk.put(&theirs);
    node.remove(deleted);
    node.rest(1);
    let within: Vec<_> = node.disk.paths().filter(|path| path.starts_with(&directory)).collect();
    assert_eq!(within, [&theirs], "the broker's own files are gone");
    let faults = core::mem::take(&mut node.faults);
    let [StorageFault { partition, path, problem }] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!((*partition, path), (deleted, &directory));
    assert!(problem.contains("move the directory out of the data directory"), "{problem}");
    assert_eq!(node.stopped, None);
    fill_partition(&mut node, kept, 60);
    node.remove(kept);
    fill_partition(&mut node, partition_id(3, 0), 60);
    node.rest(1);
    node.check_at_rest();
    assert!(!node.disk.paths().any(|path| path.starts_with(&partition_directory(kept))), "as ever");
}

#[test]
fn a_partition_goes_with_the_strays_that_were_put_aside() {
    let id = partition_id(0, 0);
    let mut partition = Partition::new(id, LeaderEpoch(0));
    partition.note_strays(vec![Offset(7)]);
    let mut store = Store::new(store_config(Generation(1), &settle_config()), vec![partition]);
    store.remove::<()>(id, &mut Vec::new());
    store.removal.handle_durable(Sequence(1));
    let mut removed = Vec::new();
    loop {
        let mut effects: Effects<()> = Vec::new();
        store.removal.poll(Mono(1), |_, _| false, &mut effects);
        let Some(Effect::File { operation, .. }) = effects.pop() else { break };
        removed.push(match operation {
            FileOperation::Remove { path } | FileOperation::RemoveDirectory { path } => path,
            other => panic!("nothing but removing is wanted, not {other:?}"),
        });
        store.removal.handle_step();
    }
    let stray = stray_file_name(id, Offset(7));
    assert_eq!(removed, [stray, partition_directory(id)], "the directory is empty when it goes");
}

#[test]
fn a_batch_that_names_another_leader_than_led_is_never_served() {
    const LEADER_EPOCH: usize = 12;
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 4);
    fill(&mut node, 400);
    node.rest(1);
    node.crash(true);
    let extent = node.store.partition(id).unwrap().segments().extents()[0];
    let path = segment_file_name(id, extent.base);
    let batches: Vec<_> = Batches::new(node.disk.read(&path).unwrap()).take(3).map(Result::unwrap).collect();
    let (first_bytes, third) = (batches[0].1.len(), batches[2].0.base_offset);
    let second = batches[1].0.base_offset;
    node.disk.flip(&path, first_bytes + LEADER_EPOCH + 3);
    let Ok(Found::Batches(before)) = node.find_in_segment(id, extent.base) else { panic!("it is intact") };
    assert_eq!(before.len(), first_bytes, "what stands before it is");
    assert_eq!(node.find_in_segment(id, second), Err(ErrorCode::PartitionDamaged));
    let fault = node.store.poll_fault().unwrap();
    assert_eq!((fault.partition, fault.path), (id, path));
    assert!(fault.problem.contains(&format!("the batch at offset {second} names leader epoch")));
    assert!(matches!(node.find_in_segment(id, third), Ok(Found::Batches(_))));
}

#[test]
fn a_read_whose_partition_is_cut_or_goes_meanwhile_is_told_that_it_has_moved() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 21);
    fill(&mut node, 60);
    node.rest(1);
    let end = node.store.partition(id).unwrap().end();
    node.ask_segment(id, Offset(0));
    node.truncate(id, Offset(end.0 - 1));
    assert_eq!(node.read_done().result, Ok(Found::Moved), "the record is still there: no error");
    assert!(
        matches!(node.find_in_segment(id, Offset(0)), Ok(Found::Batches(_))),
        "and read when asked again"
    );
    node.ask_segment(id, Offset(0));
    node.remove(id);
    assert_eq!(node.read_done().result, Ok(Found::Moved));
}
