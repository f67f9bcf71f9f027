//! Full disks where it hurts: on the way out, and where even removing takes room.

use super::*;

/// Ends the first operation that `is_wanted` for want of room, while records are appended.
fn refuse_room(node: &mut Node, is_wanted: impl Fn(FileToken, &FileOperation) -> bool) {
    for _ in 0..2_000 {
        let mut under_way = node.disk.under_way().iter();
        if let Some(place) = under_way.position(|(token, operation)| is_wanted(*token, operation)) {
            return node.fail(place, FileError::Full);
        }
        if node.produce(partition_id(0, 0), 2, 1_000).is_err() {
            node.step();
        }
        node.step();
    }
    panic!("nothing of that kind is done");
}

fn is_removed(operation: &FileOperation) -> bool {
    matches!(operation, FileOperation::Remove { .. })
}

#[test]
fn room_to_remove_a_half_made_log_file_is_waited_for() {
    let mut node = Node::new(settle_config(), 31);
    let is_prepared = |token| token == StoreToken::Prepare.encode();
    for _ in 0..2 {
        refuse_room(&mut node, |token, operation| is_prepared(token) && !is_removed(operation));
        for _ in 0..2 {
            refuse_room(&mut node, |token, operation| is_prepared(token) && is_removed(operation));
            node.pass(1_000);
        }
        assert_eq!(node.stopped, None);
        assert_eq!(node.produce(partition_id(0, 0), 2, 1_000), Err(ErrorCode::DiskFull));
        node.check_crash();
        fill(&mut node, 100);
        node.rest(5);
        node.check_at_rest();
    }
}

#[test]
fn room_to_remove_what_is_void_is_waited_for() {
    let mut node = Node::new(settle_config(), 32);
    fill_partition(&mut node, partition_id(1, 0), 20);
    node.rest(1);
    node.remove(partition_id(1, 0));
    refuse_room(&mut node, |token, operation| {
        token == StoreToken::Remove.encode() && !matches!(operation, FileOperation::SyncDirectory { .. })
    });
    assert_eq!(node.stopped, None);
    node.rest(5);
    let directory = partition_directory(partition_id(1, 0));
    assert!(node.disk.paths().all(|path| !path.starts_with(&directory)));
    node.check_at_rest();
}

/// A store on a full disk whose log takes nothing more, with an entry that nobody waits for.
fn wedged() -> Node {
    let mut node = Node::new(settle_config(), 33);
    fill(&mut node, 3);
    node.rest(1);
    node.disk.bytes_max = 0;
    for offset in 1..100 {
        if node.store.commit.waits_for_file() {
            return node;
        }
        node.let_go(partition_id(0, 0), Offset(1 + offset % 2));
        for _ in 0..50 {
            node.step();
        }
    }
    panic!("there is always room");
}

fn end(mut node: Node) -> Node {
    node.store.close();
    node.store.abandon_leftovers();
    node.rest(10);
    node.store.abandon_leftovers();
    node.rest(10);
    assert_eq!(node.stopped, None);
    assert!(node.store.is_drained(), "it waits for room");
    node.check_crash();
    node
}

#[test]
fn a_store_that_closes_on_a_full_disk_gives_up_what_nobody_waits_for() {
    let mut node = end(wedged());
    node.disk.bytes_max = usize::MAX;
    node.crash(true);
    node.rest(1);
    node.check_at_rest();
}

#[test]
fn what_counts_once_written_is_synced_even_if_what_waits_is_given_up() {
    let mut node = Node::new(settle_config(), 34);
    fill(&mut node, 1);
    node.rest(1);
    let relaxed = partition_id(2, 0);
    let shown = |node: &Node| node.store.partition(relaxed).unwrap().high_watermark();
    while !node.store.commit.waits_for_file() {
        node.produce(relaxed, 1, 1_000).unwrap();
        let is_group = |token| matches!(StoreToken::decode(token), StoreToken::Group(_));
        while let Some(place) = node.disk.under_way().iter().position(|(token, _)| is_group(*token)) {
            node.complete(place);
        }
    }
    let is_prepared = |(token, _): &(FileToken, FileOperation)| *token == StoreToken::Prepare.encode();
    let place = node.disk.under_way().iter().position(is_prepared).expect("a file is being made");
    node.fail(place, FileError::Full);
    let before = shown(&node);
    assert!(before > Offset(5), "{before}");
    node.store.abandon();
    assert_eq!(node.produce(relaxed, 1, 10), Err(ErrorCode::ShuttingDown));
    node.rest(1);
    node.store.close();
    node.rest(1);
    assert!(node.store.is_drained());
    node.crash(true);
    assert!(shown(&node) >= before, "{before} were acknowledged, {} are left", shown(&node));
}

#[test]
fn states_of_many_producers_never_take_the_room_that_lets_the_log_go() {
    let mut node = Node::new(settle_config(), 35);
    let mut refused = 0;
    for number in 0..6_000_u32 {
        let id = PartitionId::new(TopicId([7; 16]), PartitionIndex(number % 12 * 3));
        while let Err(code) = node.produce_as_new(id) {
            assert_eq!(code, ErrorCode::OverBudget);
            refused += 1;
            assert!(refused < 100_000, "batch {number} finds room");
            node.pass(1);
            node.step();
        }
    }
    node.rest(5);
    let states_bytes: usize = node.store.partitions().map(Partition::state_bytes_max).sum();
    assert!(states_bytes as u64 <= node.store.log_bytes_max() / 8, "{states_bytes}");
    node.check_at_rest();
    node.check_crash();
}
