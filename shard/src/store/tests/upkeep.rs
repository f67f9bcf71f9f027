//! Inspections that stand still, are refused, or meet removals: nothing waits for them, and none is forgotten.

use super::*;

/// Appends for as long as that takes for `batches` to be in, but gives up where the store takes no more.
fn fill_if_possible(node: &mut Node, batches: usize) {
    for _ in 0..batches {
        if node.produce(partition_id(0, 0), 2, 1_000).is_err() {
            node.rest(1);
        }
        node.step();
    }
}

#[test]
fn a_removal_that_waits_for_an_inspection_holds_nothing_else_up() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 31);
    node.holds_inspections = true;
    fill(&mut node, 100);
    node.rest(1);
    let segments = node.store.partition(id).unwrap().segments().extents().to_vec();
    let (first, second) = (segments[0], segments[1]);
    assert!(node.store.upkeep.works_on(id, Some(first.base)));
    node.move_log_start(id, second.end);
    node.rest(1);
    assert_eq!(node.inspections_cancelled, 1, "the inspection stands in the way of its own segment");
    let exists = |node: &Node, base| node.disk.read(&segment_file_name(id, base)).is_some();
    assert!(exists(&node, first.base) && !exists(&node, second.base));
    let before = node.store.counters();
    fill_if_possible(&mut node, 400);
    node.rest(1);
    let after = node.store.counters();
    assert!(after.settled_bytes > before.settled_bytes + 600_000, "{after:?}");
    assert!(after.log_files_recycled > before.log_files_recycled + 10, "{after:?}");
    node.holds_inspections = false;
    for _ in 0..10 {
        node.step();
    }
    node.rest(5);
    assert!(!exists(&node, first.base));
    node.check_at_rest();
}

#[test]
fn a_removal_leaves_the_inspection_of_another_segment_alone() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 32);
    fill(&mut node, 60);
    node.rest(1);
    node.holds_inspections = true;
    fill(&mut node, 60);
    node.rest(1);
    let first = node.store.partition(id).unwrap().segments().extents()[0];
    assert!(node.store.upkeep.works_on(id, None) && !node.store.upkeep.works_on(id, Some(first.base)));
    node.move_log_start(id, first.end);
    node.rest(1);
    assert_eq!(node.inspections_cancelled, 0);
    assert_eq!(node.disk.read(&segment_file_name(id, first.base)), None);
    node.holds_inspections = false;
    node.step();
    node.rest(1);
    node.check_at_rest();
}

#[test]
fn what_could_not_be_inspected_is_inspected_later() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 33);
    node.refuses_inspections = true;
    fill(&mut node, 200);
    node.rest(1);
    let refused = node.store.counters().inspections_unavailable;
    assert!((1..=2).contains(&refused), "it is not asked for all the time: {refused}");
    node.rest(600);
    let refused = node.store.counters().inspections_unavailable;
    assert!((3..=6).contains(&refused), "less and less often: {refused}");
    node.refuses_inspections = false;
    node.rest(4_000);
    let open = node.store.partition(id).unwrap().segments().open().map(|open| open.base);
    let extents = node.store.partition(id).unwrap().segments().extents();
    let mut sealed = extents.iter().filter(|extent| Some(extent.base) != open);
    let index_of = |base| ringmain_wal::names::index_file_name(id, base);
    assert!(extents.len() > 10 && sealed.all(|extent| node.disk.read(&index_of(extent.base)).is_some()));
    assert_eq!(node.faults, []);
}

#[test]
fn an_index_file_for_which_there_is_no_descriptor_is_written_later() {
    let mut node = Node::new(settle_config(), 34);
    node.holds_inspections = true;
    fill(&mut node, 60);
    let is_index = |operation: &FileOperation| matches!(operation, FileOperation::Open { path, .. } if path.ends_with(".index"));
    let place = node.disk.under_way().iter().position(|(_, operation)| is_index(operation)).unwrap();
    node.complete(place);
    let is_segment = |operation: &FileOperation| matches!(operation, FileOperation::Open { path, .. } if path.ends_with(".log") && path.starts_with("partitions/"));
    let place = node.disk.under_way().iter().position(|(_, operation)| is_segment(operation)).unwrap();
    node.fail(place, FileError::Exhausted);
    node.holds_inspections = false;
    node.rest(1);
    assert_eq!((node.store.counters().inspections_failed, node.store.counters().index_files_written), (1, 0));
    node.rest(120);
    assert!(node.store.counters().index_files_written > 0);
    node.check_at_rest();
}
