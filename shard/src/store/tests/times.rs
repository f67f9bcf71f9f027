//! Whose clock gives records their time, and what follows from it.

use ringmain_wire::batch::{BatchHeader, TimestampType};
use ringmain_wire::ids::TimestampMs;

use super::node::{Node, PRODUCERS_BEHIND_MS, settle_config};
use super::{fill_partition, partition_id};
use crate::store::*;

/// Its batches have the time of their append.
fn appended() -> PartitionId {
    partition_id(1, 0)
}

/// Its batches keep the time that their producer gave them.
fn created() -> PartitionId {
    partition_id(0, 0)
}

#[test]
fn the_time_of_an_append_is_found_in_memory_in_segments_and_after_a_crash() {
    let mut node = Node::new(settle_config(), 5);
    node.pass(1_000);
    let early = node.now().wall;
    fill_partition(&mut node, appended(), 60);
    fill_partition(&mut node, created(), 60);
    node.rest(1);
    node.pass(5_000);
    let late = node.now().wall;
    let first_late = node.store.partition(appended()).unwrap().end();
    fill_partition(&mut node, appended(), 60);
    node.rest(1);
    let partition = node.store.partition(appended()).unwrap();
    assert!(!partition.segments().extents().is_empty() && partition.tail().start().is_some(), "both");
    for crashes in 0..3 {
        assert_eq!(node.find_time(appended(), early), Some((Offset(0), early)), "{crashes} crashes");
        assert_eq!(node.find_time(appended(), TimestampMs(early.get() + 1)), Some((first_late, late)));
        assert_eq!(node.find_time(appended(), TimestampMs(late.get() + 1)), None);
        let sent_at = TimestampMs(early.get() - PRODUCERS_BEHIND_MS);
        assert_eq!(node.find_time(created(), sent_at), Some((Offset(0), sent_at)));
        assert_eq!(node.find_time(created(), TimestampMs(sent_at.get() + 1)), None);
        node.check_at_rest();
        node.crash(crashes == 1);
        node.rest(1);
    }
    for batch in node.read(appended()) {
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(header.base_timestamp.get(), header.max_timestamp.get() - PRODUCERS_BEHIND_MS);
    }
}

#[test]
fn a_batch_sent_again_later_keeps_the_time_of_its_first_append() {
    let mut node = Node::new(settle_config(), 6);
    let first_at = node.now().wall;
    node.produce(appended(), 2, 10).unwrap();
    node.rest(1);
    node.pass(1_000);
    // As its producer sent it; only the header decides.
    let stored = node.read(appended()).concat();
    let header = BatchHeader::parse(&stored).unwrap();
    let outcome = node.store.produce(appended(), &header, &stored, Some(node.now().wall), None);
    let ProduceOutcome::Duplicate(Appended { base_offset, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(base_offset, Offset(0));
    node.rest(1);
    assert_eq!(node.find_time(appended(), TimestampMs(0)), Some((Offset(0), first_at)));
    node.check_at_rest();
}

#[test]
fn records_age_from_their_append_on() {
    let mut node = Node::new(settle_config(), 7);
    for id in [created(), appended()] {
        node.produce(id, 2, 10).unwrap();
        let limits = PartitionLimits { retention_ms: Some(600_000), ..PartitionLimits::default() };
        node.store.set_limits(id, limits);
    }
    let log_start = |node: &Node, id| node.store.partition(id).unwrap().log_start();
    node.rest(100);
    assert_eq!(log_start(&node, created()), Offset(2), "an hour old when it came");
    assert_eq!(log_start(&node, appended()), Offset(0));
    node.pass(700_000);
    node.rest(100);
    assert_eq!(log_start(&node, appended()), Offset(2));
}
