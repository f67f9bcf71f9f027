//! Records that count once they are written: shown and acknowledged then, synced later.

use super::node::RELAXED;
use super::*;

fn relaxed() -> PartitionId {
    partition_id(2, 0)
}

fn is_sync(operation: &FileOperation) -> bool {
    matches!(operation, FileOperation::Sync { .. })
}

/// Ends everything under way but syncs.
fn write_out(node: &mut Node) {
    while let Some(place) = node.disk.under_way().iter().position(|(_, operation)| !is_sync(operation)) {
        node.complete(place);
    }
}

/// A node whose log is ready.
fn ready() -> Node {
    let mut node = Node::new(settle_config(), 8);
    node.produce(partition_id(0, 0), 1, 10).unwrap();
    node.rest(1);
    node
}

fn marks(node: &Node, id: PartitionId) -> (Offset, Offset) {
    let partition = node.store.partition(id).unwrap();
    (partition.high_watermark(), partition.end())
}

#[test]
fn they_are_shown_when_written_and_synced_in_time() {
    let mut node = ready();
    node.produce(relaxed(), 2, 10).unwrap();
    assert_eq!(marks(&node, relaxed()), (Offset(0), Offset(2)), "not before");
    write_out(&mut node);
    assert_eq!(marks(&node, relaxed()), (Offset(2), Offset(2)));
    assert!(node.disk.under_way().is_empty(), "nobody waits for a sync");
    node.pass(RELAXED.within_ns / 1_000_000);
    assert!(node.disk.under_way().iter().any(|(_, operation)| is_sync(operation)), "now it is time");
    node.rest(1);
    assert_eq!(node.store.counters().log_syncs, 1);
    node.crash(true);
    assert_eq!(marks(&node, relaxed()), (Offset(2), Offset(2)));
}

#[test]
fn whoever_waits_for_stable_storage_behind_them_waits_for_their_sync() {
    let mut node = ready();
    node.produce(relaxed(), 2, 10).unwrap();
    node.produce(partition_id(0, 0), 1, 10).unwrap();
    write_out(&mut node);
    assert_eq!(marks(&node, relaxed()), (Offset(2), Offset(2)));
    assert_eq!(marks(&node, partition_id(0, 0)), (Offset(1), Offset(2)), "written, not synced");
    assert!(node.step());
    assert_eq!(marks(&node, partition_id(0, 0)), (Offset(2), Offset(2)));
    node.crash(true);
    node.check_at_rest();
}

#[test]
fn a_setting_that_comes_later_shows_nothing_before_what_stands_in_front() {
    let mut node = ready();
    let id = partition_id(0, 0);
    let limits = |flush| PartitionLimits { flush, ..PartitionLimits::default() };
    node.produce(relaxed(), 2, 10).unwrap();
    node.produce(id, 1, 10).unwrap();
    node.store.set_limits(id, limits(Some(RELAXED)));
    node.produce(id, 1, 10).unwrap();
    write_out(&mut node);
    assert_eq!(marks(&node, id), (Offset(1), Offset(3)), "the one before it is not synced");
    node.rest(1);
    assert_eq!(marks(&node, id), (Offset(3), Offset(3)));
    node.produce(id, 1, 10).unwrap();
    write_out(&mut node);
    assert_eq!(marks(&node, id), (Offset(4), Offset(4)));
}

#[test]
fn a_sync_of_the_log_that_fails_stops_the_store() {
    let mut node = ready();
    node.produce(relaxed(), 2, 10).unwrap();
    write_out(&mut node);
    node.pass(RELAXED.within_ns / 1_000_000);
    let place = node.disk.under_way().iter().position(|(_, operation)| is_sync(operation)).unwrap();
    node.fail(place, FileError::Failed(5));
    let Some(StopReason::StorageFailed { message }) = &node.stopped else { panic!("it goes on") };
    assert!(message.starts_with("sync of logs/0000000001-"), "{message}");
    assert!(message.ends_with(".log failed: operating system error 5"), "{message}");
}
