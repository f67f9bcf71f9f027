//! The scrub: what rots in a segment that nobody reads is told all the same.

use ringmain_wal::names::index_file_name;
use ringmain_wire::batch::HEADER_BYTES;

use super::*;

/// Longer than the scrub takes to begin anew.
const A_PASS_MS: u64 = 100_001_000;
/// Where a batch names its leader epoch, which no checksum of its own covers.
const LEADER_EPOCH: usize = 12;

#[test]
fn a_bit_that_rots_in_a_cold_segment_is_told_by_the_next_pass() {
    let id = partition_id(0, 0);
    let mut node = Node::new(settle_config(), 9);
    fill(&mut node, 400);
    node.rest(1);
    node.crash(true);
    node.rest(1);
    assert_eq!(node.faults, []);
    // Nobody has read anything since the start: all that is known of it comes from the scrub.
    let extents = node.store.partition(id).unwrap().segments().extents();
    assert!(extents.len() > 10, "{extents:?}");
    let (path, index_path) = (segment_file_name(id, extents[4].base), index_file_name(id, extents[4].base));
    let index = node.disk.read(&index_path).unwrap().to_vec();
    let first = Batches::new(node.disk.read(&path).unwrap()).next().unwrap().unwrap();
    let second_at = first.1.len();
    let in_a_batch = (second_at + HEADER_BYTES + 100, format!("damaged at byte {second_at}: "));
    let beside_all_checksums =
        (second_at + LEADER_EPOCH + 3, format!("damaged at byte {second_at}: the batch at offset"));
    for (place, told) in [in_a_batch, beside_all_checksums] {
        let before = node.store.counters();
        node.disk.flip(&path, place);
        node.pass(A_PASS_MS);
        node.rest(1);
        let faults = core::mem::take(&mut node.faults);
        let [fault] = &faults[..] else { panic!("byte {place}: {faults:?}") };
        assert_eq!((fault.partition, &fault.path), (id, &path));
        assert!(fault.problem.contains(&told), "byte {place}: {}", fault.problem);
        let counters = node.store.counters();
        assert_eq!(counters.segments_damaged, before.segments_damaged + 1);
        assert!(counters.segments_inspected > before.segments_inspected + 10, "the others are looked at too");
        assert_eq!(node.disk.read(&index_path).unwrap(), index, "what it says is kept");
        assert_eq!(node.stopped, None);

        node.disk.flip(&path, place);
        node.pass(A_PASS_MS);
        node.rest(1);
        assert_eq!(node.faults, [], "byte {place} is as it was");
    }
    node.check_at_rest();
}

#[test]
fn passes_are_counted_and_where_it_is_off_there_are_none() {
    let mut node = Node::new(settle_config(), 9);
    fill(&mut node, 400);
    for scrubs in [true, false] {
        node.scrubs = scrubs;
        node.crash(false);
        node.rest(1);
        let before = node.store.counters();
        node.pass(A_PASS_MS);
        node.rest(1);
        let counters = node.store.counters();
        assert_eq!(counters.scrub_passes > before.scrub_passes, scrubs);
        assert_eq!(counters.segments_inspected > before.segments_inspected, scrubs);
    }
}
