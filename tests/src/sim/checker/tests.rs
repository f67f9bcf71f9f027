use ringmain_wire::ids::PartitionIndex;

use super::super::records::key_of;
use super::*;

const PARTITION: PartitionId = PartitionId::new(TopicId([7; 16]), PartitionIndex(0));

fn checker(records: u64) -> Checker {
    let mut checker = Checker::new();
    for producer in 0..records {
        let intent = Intent { partition: PARTITION, producer, idempotent: true, value_bytes: 1 };
        checker.handle_sent(intent);
    }
    checker
}

fn consume(checker: &mut Checker, offset: i64, tag: u64) -> Checked {
    let tag = RecordTag(tag);
    let value = checker.values().of(tag, 1).to_vec();
    checker.handle_consumed(PARTITION, Offset(offset), Some(&key_of(tag)), Some(&value))
}

fn acknowledge(checker: &mut Checker, offset: i64, tag: u64) -> Checked {
    checker.handle_acknowledged(RecordTag(tag), Some(Offset(offset))).map(|_| ())
}

#[test]
fn what_a_cut_took_may_be_heard_of_late_and_binds_nobody() {
    let mut checker = checker(3);
    let readable = vec![(Offset(0), RecordTag(0)), (Offset(1), RecordTag(1))];
    checker.handle_truncation(PARTITION, Offset(1), readable);
    assert_eq!(consume(&mut checker, 1, 1), Ok(()));
    assert_eq!(acknowledge(&mut checker, 1, 2), Ok(()));
    assert_eq!(acknowledge(&mut checker, 1, 1), Ok(()), "as late as that");
}

#[test]
fn what_could_not_be_read_before_a_cut_is_bound_to_its_offset() {
    let mut checker = checker(3);
    let readable = vec![(Offset(0), RecordTag(0)), (Offset(1), RecordTag(1))];
    checker.handle_truncation(PARTITION, Offset(1), readable);
    for (offset, other) in [(0, 1), (1, 0), (2, 1)] {
        assert_eq!(consume(&mut checker, offset, 2), Ok(()));
        let broken = consume(&mut checker, offset, other);
        assert_eq!(broken.map_err(|violation| violation.invariant), Err("I8"), "offset {offset}");
    }
}
