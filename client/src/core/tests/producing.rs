//! Batching, order, sequences, duplicates, failures and limits of producers.

use core::time::Duration;
use std::collections::BTreeSet;

use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionId, ProducerSequence, TopicId};
use ringmain_wire::native::errors::ErrorCode;

use super::world::World;
use crate::core::*;
use crate::error::{ClientError, Fault};

const TOPIC: &str = "orders";
const ID: TopicId = TopicId([1; 16]);

/// Each record a batch of its own.
fn one_by_one() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1, ..ProducerConfig::default() }
}

fn partition(index: u32) -> PartitionId {
    PartitionId::new(ID, PartitionIndex(index))
}

fn stored(delivery: &Delivery) -> (u64, i64, bool) {
    let stored = delivery.outcome.as_ref().expect("was stored");
    (delivery.records[0].tag.0, stored.base_offset.expect("is known").get(), stored.duplicate)
}

#[test]
fn records_land_with_offsets_and_equal_keys_share_kafkas_partition() {
    let mut world = World::with_topic(3, TOPIC, 10);
    let producer = world.core.open_producer(ProducerConfig::default());
    for tag in 0..3 {
        world.append(producer, TOPIC, None, Some("order_123"), &format!("v{tag}"), tag).unwrap();
    }
    world.settle();
    let deliveries = world.deliveries(producer);
    assert_eq!(deliveries.len(), 1, "one batch");
    let delivery = &deliveries[0];
    assert_eq!((&*delivery.topic, delivery.partition), (TOPIC, PartitionIndex(9)));
    let tags: Vec<_> = delivery.records.iter().map(|record| (record.tag.0, record.timestamp.get())).collect();
    assert_eq!(tags, [(0, 1000), (1, 1001), (2, 1002)]);
    let at = delivery.outcome.clone().unwrap();
    assert_eq!((at.offset(0), at.offset(2), at.duplicate), (Some(Offset(0)), Some(Offset(2)), false));
    let values = [(0, b"v0".to_vec()), (1, b"v1".to_vec()), (2, b"v2".to_vec())];
    assert_eq!(world.broker.values(partition(9)), values);
    assert_eq!(world.core.buffered_bytes(producer), 0);
    assert!(world.dialled.contains(&7100), "straight to the owner: {:?}", world.dialled);
}

#[test]
fn five_batches_in_flight_go_again_with_their_sequences_in_their_order() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "first", 0).unwrap();
    world.settle();
    assert_eq!(stored(&world.deliveries(producer)[0]), (0, 0, false));

    world.broker.frozen = true;
    for tag in 1..=7 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    world.settle();
    world.cut_all();
    world.broker.frozen = false;
    world.broker.attempts.clear();
    assert!(world.run(Duration::from_secs(5), |world| world.broker.values(partition(0)).len() == 8));
    let sequences: Vec<_> = world.broker.attempts.iter().map(|attempt| attempt.sequence.get()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7]);
    let identities: BTreeSet<_> = world.broker.attempts.iter().map(|attempt| attempt.producer).collect();
    assert_eq!(identities.len(), 1);
    world.settle();
    let outcomes: Vec<_> = world.deliveries(producer).iter().map(stored).collect();
    assert_eq!(outcomes, (1..=7).map(|tag| (tag, tag as i64, false)).collect::<Vec<_>>());
}

#[test]
fn no_more_than_five_batches_are_in_flight() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "opens the way", 0).unwrap();
    world.settle();
    world.broker.attempts.clear();
    // The fake broker serves what it has received only when it thaws: exactly what was in flight.
    world.broker.frozen = true;
    for tag in 0..9 {
        world.append(producer, TOPIC, Some(0), None, "v", tag).unwrap();
    }
    world.settle();
    world.broker.frozen = false;
    world.broker.serve(world.now);
    assert_eq!(world.broker.attempts.len(), 5);
    world.settle();
    assert_eq!(world.broker.attempts.len(), 9);
}

#[test]
fn an_answer_that_was_lost_becomes_a_duplicate_at_its_offset() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "opens the way", 0).unwrap();
    world.settle();
    world.deliveries(producer);

    world.broker.frozen = true;
    for tag in 1..=3 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    world.settle();
    world.broker.frozen = false;
    // Stored, and the answers never leave the broker.
    world.broker.serve(world.now);
    assert_eq!(world.broker.values(partition(0)).len(), 4);
    world.cut_all();
    world.append(producer, TOPIC, Some(0), None, "v4", 4).unwrap();
    world.advance(Duration::from_secs(2));
    let outcomes: Vec<_> = world.deliveries(producer).iter().map(stored).collect();
    assert_eq!(outcomes, [(1, 1, true), (2, 2, true), (3, 3, true), (4, 4, false)]);
    assert_eq!(world.broker.values(partition(0)).len(), 5, "nothing twice");
}

#[test]
fn a_duplicate_too_old_to_be_placed_counts_as_stored() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.broker.produce_errors.push_back(Some(ErrorCode::DuplicateSequence));
    world.append(producer, TOPIC, Some(0), None, "v", 0).unwrap();
    world.settle();
    let outcome = world.deliveries(producer).remove(0).outcome;
    assert_eq!(outcome, Ok(Stored { base_offset: None, duplicate: true }));
}

#[test]
fn a_refusal_that_passes_holds_up_those_behind_it_and_keeps_the_order() {
    for code in [ErrorCode::OverBudget, ErrorCode::DiskFull, ErrorCode::StorageFailed, ErrorCode::NotLeader] {
        let mut world = World::with_topic(1, TOPIC, 1);
        let producer = world.core.open_producer(one_by_one());
        world.settle();
        // The very first batch: the broker knows nothing of the producer when the others arrive.
        world.broker.produce_errors.push_back(Some(code));
        for tag in 0..7 {
            world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
        }
        world.advance(Duration::from_secs(3));
        let outcomes: Vec<_> = world.deliveries(producer).iter().map(stored).collect();
        assert_eq!(outcomes, (0..7).map(|tag| (tag, tag as i64, false)).collect::<Vec<_>>(), "{code}");
        let firsts =
            world.broker.attempts.iter().filter(|attempt| attempt.sequence == ProducerSequence(0)).count();
        assert_eq!(firsts, 2, "{code}: the first batch kept its sequence");
    }
}

#[test]
fn nothing_is_sent_again_before_those_behind_the_refused_batch_have_come_back() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "opens the way", 0).unwrap();
    world.settle();
    world.broker.attempts.clear();
    world.broker.frozen = true;
    for tag in 1..=5 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    world.settle();
    world.broker.produce_errors.push_back(Some(ErrorCode::OverBudget));
    (world.broker.frozen, world.broker.freeze_after) = (false, Some(1));
    // Longer than any back-off, with the first refused and the others unanswered.
    world.advance(Duration::from_secs(3));
    (world.broker.frozen, world.broker.freeze_after) = (false, None);
    world.advance(Duration::from_secs(3));
    let sequences: Vec<_> = world.broker.attempts.iter().map(|attempt| attempt.sequence.get()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
}

#[test]
fn a_partition_that_moves_does_not_let_later_batches_overtake() {
    let mut world = World::with_topic(2, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    // Opens connections to both owners.
    for tag in 0..2 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
        world.advance(Duration::from_secs(1));
        world.broker.owner_shift = 1 - world.broker.owner_shift;
    }
    assert_eq!(world.deliveries(producer).len(), 2);
    // Owned by shard 0 again, while the client still asks shard 1.
    world.broker.holds_produces = true;
    world.append(producer, TOPIC, Some(0), None, "v2", 2).unwrap();
    world.settle();
    assert!(world.append(producer, TOPIC, Some(7), None, "no such partition", 9).is_err());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "v3", 3).unwrap();
    world.settle();
    world.broker.attempts.clear();
    world.broker.holds_produces = false;
    world.advance(Duration::from_secs(1));
    let sequences: Vec<_> = world.broker.attempts.iter().map(|attempt| attempt.sequence.get()).collect();
    assert_eq!(sequences, [2, 2, 3], "refused by the former owner, then both by the new one");
    assert_eq!(world.broker.values(partition(0)).len(), 4);
}

#[test]
fn a_batch_refused_for_good_fails_alone_and_the_rest_goes_on_under_a_fresh_identity() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "v0", 0).unwrap();
    world.settle();
    world.broker.frozen = true;
    for tag in 1..=4 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    world.settle();
    world.broker.produce_errors.extend([None, Some(ErrorCode::InvalidTimestamp)]);
    world.broker.frozen = false;
    world.advance(Duration::from_secs(3));
    let mut deliveries = world.deliveries(producer);
    let failed = deliveries.remove(2);
    assert_eq!(failed.records[0].tag, RecordTag(2));
    let error = failed.outcome.unwrap_err();
    assert_eq!((error.code(), error.fault()), (ErrorCode::InvalidTimestamp, Fault::Caller));
    let outcomes: Vec<_> = deliveries.iter().map(stored).collect();
    assert_eq!(outcomes, [(0, 0, false), (1, 1, false), (3, 2, false), (4, 3, false)]);
    let last = world.broker.attempts.last().unwrap();
    assert_eq!(last.sequence, ProducerSequence(1), "counted from 0 again");
    assert_ne!(last.producer, world.broker.attempts[0].producer);
}

#[test]
fn a_fresh_identity_begins_only_behind_the_last_batch_of_the_former_one() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    for tag in 0..3 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    // v0 is refused for a while, v1 for good; v2 needs a fresh identity, and must not overtake v0.
    let (passing, lasting) = (Some(ErrorCode::OverBudget), Some(ErrorCode::InvalidTimestamp));
    world.broker.produce_errors.extend([passing, lasting, None, passing]);
    world.advance(Duration::from_secs(3));
    let values: Vec<_> = world.broker.values(partition(0)).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"v0", b"v2"]);
}

#[test]
fn a_broker_that_lost_records_is_told_by_a_failure_not_by_silence() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "v0", 0).unwrap();
    world.settle();
    world.deliveries(producer);
    world.broker.produce_errors.push_back(Some(ErrorCode::OutOfOrderSequence));
    world.append(producer, TOPIC, Some(0), None, "v1", 1).unwrap();
    world.settle();
    let outcome = world.deliveries(producer).remove(0).outcome;
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::OutOfOrderSequence);
    world.append(producer, TOPIC, Some(0), None, "v2", 2).unwrap();
    world.settle();
    assert_eq!(stored(&world.deliveries(producer)[0]), (2, 1, false));
}

#[test]
fn a_lingering_batch_goes_when_its_time_has_come_or_when_it_is_full() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let linger = Duration::from_millis(10);
    let config = ProducerConfig { linger, batch_bytes: 1000, ..ProducerConfig::default() };
    let producer = world.core.open_producer(config);
    world.settle();
    for tag in 0..3 {
        world.append(producer, TOPIC, None, None, "v", tag).unwrap();
        world.advance(Duration::from_millis(3));
    }
    assert!(world.broker.attempts.is_empty(), "sent after 9 ms");
    world.advance(Duration::from_millis(1));
    assert_eq!(world.broker.batch_sizes(partition(0)), [3]);
    world.append(producer, TOPIC, None, None, &"x".repeat(990), 3).unwrap();
    world.settle();
    assert_eq!(world.broker.batch_sizes(partition(0)), [3, 1], "full, and did not linger");
    world.append(producer, TOPIC, None, None, "v", 4).unwrap();
    world.core.flush(producer);
    let mark = world.core.flush_mark(producer);
    assert!(!world.core.is_flushed(producer, mark));
    world.settle();
    assert_eq!(world.broker.batch_sizes(partition(0)), [3, 1, 1], "flushed, and did not linger");
    assert!(world.core.is_flushed(producer, mark));
}

#[test]
fn keyless_records_stick_to_a_partition_until_its_batch_closes_then_move_on() {
    let mut world = World::with_topic(2, TOPIC, 4);
    let producer =
        world.core.open_producer(ProducerConfig { batch_bytes: 1000, ..ProducerConfig::default() });
    world.settle();
    // Ten records of about 164 bytes fill a batch with six, or fewer.
    for tag in 0..40 {
        world.append(producer, TOPIC, None, None, &"x".repeat(100), tag).unwrap();
    }
    world.settle();
    let mut total = 0;
    for index in 0..4 {
        let sizes = world.broker.batch_sizes(partition(index));
        assert!(!sizes.is_empty(), "partition {index} was left out");
        assert!(sizes[0] >= 5, "{sizes:?}: records were scattered");
        total += sizes.iter().sum::<u32>();
    }
    assert_eq!(total, 40);
    let mut visited = BTreeSet::new();
    for tag in 0..4 {
        world.append(producer, TOPIC, None, None, "v", tag).unwrap();
        world.settle();
        visited.extend(world.broker.attempts.last().map(|attempt| attempt.partition));
    }
    assert_eq!(visited.len(), 4, "a batch that was sent is closed too");
}

#[test]
fn a_record_waits_no_longer_than_the_delivery_timeout() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "v0", 0).unwrap();
    world.settle();
    world.deliveries(producer);
    world.broker.frozen = true;
    world.append(producer, TOPIC, Some(0), None, "v1", 1).unwrap();
    world.settle();
    world.down = true;
    world.cut_all();
    world.advance(Duration::from_secs(60));
    world.append(producer, TOPIC, Some(0), None, "v2", 2).unwrap();
    world.advance(Duration::from_secs(59));
    assert_eq!(world.deliveries(producer), []);
    world.advance(Duration::from_secs(1));
    let deliveries = world.deliveries(producer);
    assert_eq!(deliveries.len(), 1);
    let error = deliveries[0].outcome.clone().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Retriable);

    (world.down, world.broker.frozen) = (false, false);
    world.advance(Duration::from_secs(5));
    assert_eq!(stored(&world.deliveries(producer)[0]), (2, 1, false));
    assert_eq!(world.core.buffered_bytes(producer), 0);
}

#[test]
fn a_silent_broker_is_given_up_and_dialled_again() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.broker.frozen = true;
    world.append(producer, TOPIC, Some(0), None, "v0", 0).unwrap();
    world.advance(Duration::from_secs(29));
    world.broker.frozen = false;
    world.broker.restart(1);
    let dials = world.dialled.len();
    world.advance(Duration::from_secs(10));
    assert!(world.dialled.len() > dials);
    assert_eq!(stored(&world.deliveries(producer)[0]), (0, 0, false));
}

#[test]
fn a_full_buffer_takes_no_more_until_there_is_room() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let config = ProducerConfig { buffer_bytes_max: 10_000, ..ProducerConfig::default() };
    let producer = world.core.open_producer(config);
    world.broker.frozen = true;
    let value = "x".repeat(936);
    let taken =
        (0..100).take_while(|&tag| world.append(producer, TOPIC, Some(0), None, &value, tag).is_ok()).count();
    assert_eq!(taken, 10, "each takes 1000 bytes");
    assert_eq!(world.append(producer, TOPIC, Some(0), None, &value, 10), Err(AppendError::Full));
    assert!(!world.core.has_room(producer));
    world.broker.frozen = false;
    world.settle();
    assert!(world.core.has_room(producer));
    assert_eq!(world.append(producer, TOPIC, Some(0), None, &value, 10), Ok(()));
}

#[test]
fn oversize_is_refused_by_the_record_or_by_the_batch() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let config = ProducerConfig { record_bytes_max: 100, ..ProducerConfig::default() };
    let producer = world.core.open_producer(config);
    let refused = world.append(producer, TOPIC, Some(0), None, &"x".repeat(101), 0);
    let Err(AppendError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code(), error.fault()), (ErrorCode::MessageTooLarge, Fault::Caller));

    let mut world = World::new(1, 1);
    world.broker.create_topic(TOPIC, 1);
    world.broker.frame_bytes_max = 65 * 1024;
    let producer = world.core.open_producer(ProducerConfig::default());
    assert_eq!(world.append(producer, TOPIC, Some(0), None, "v", 0), Err(AppendError::AwaitingMetadata));
    world.settle();
    world.append(producer, TOPIC, Some(0), None, &"x".repeat(2000), 0).unwrap();
    world.settle();
    world.append(producer, TOPIC, Some(0), None, "fits", 1).unwrap();
    world.advance(Duration::from_secs(1));
    let deliveries = world.deliveries(producer);
    assert_eq!(deliveries[0].outcome.clone().unwrap_err().code(), ErrorCode::MessageTooLarge);
    assert_eq!(stored(&deliveries[1]), (1, 0, false));
}

#[test]
fn without_acks_records_count_as_sent_and_carry_no_identity() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let config = ProducerConfig { acks: Acks::None, ..one_by_one() };
    let producer = world.core.open_producer(config);
    for tag in 0..10 {
        world.append(producer, TOPIC, Some(0), None, "v", tag).unwrap();
    }
    world.settle();
    let deliveries = world.deliveries(producer);
    assert_eq!(deliveries.len(), 10);
    assert!(deliveries.iter().all(|delivery| delivery.outcome.as_ref().unwrap().base_offset.is_none()));
    assert_eq!(world.broker.values(partition(0)).len(), 10);
    assert!(world.broker.attempts.iter().all(|attempt| attempt.producer.get() == -1));
}

#[test]
fn without_idempotence_one_batch_is_in_flight_to_keep_the_order() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(ProducerConfig { idempotent: false, ..one_by_one() });
    for tag in 0..4 {
        world.append(producer, TOPIC, Some(0), None, &format!("v{tag}"), tag).unwrap();
    }
    world.broker.produce_errors.push_back(Some(ErrorCode::OverBudget));
    world.advance(Duration::from_secs(1));
    let outcomes: Vec<_> = world.deliveries(producer).iter().map(stored).collect();
    assert_eq!(outcomes, (0..4).map(|tag| (tag, tag as i64, false)).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_is_gone_fails_its_records_and_is_named() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(one_by_one());
    world.settle();
    world.broker.delete_topic(TOPIC);
    for tag in 0..8 {
        world.append(producer, TOPIC, Some(0), None, "v", tag).unwrap();
    }
    world.advance(Duration::from_secs(1));
    let deliveries = world.deliveries(producer);
    assert_eq!(deliveries.len(), 8);
    for delivery in deliveries {
        let error = delivery.outcome.unwrap_err();
        assert!(matches!(error.code(), ErrorCode::UnknownTopicOrPartition | ErrorCode::TimedOut), "{error}");
    }
    let refused = world.append(producer, TOPIC, Some(0), None, "v", 9);
    let Err(AppendError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("topic create"), "{error}");
    // Created again, it is found without anything being restarted.
    world.broker.create_topic(TOPIC, 1);
    assert_eq!(world.append(producer, TOPIC, Some(0), None, "v", 9), Err(AppendError::AwaitingMetadata));
    world.settle();
    assert_eq!(world.append(producer, TOPIC, Some(0), None, "v", 9), Ok(()));
}

#[test]
fn a_closed_producer_gives_back_what_has_no_outcome() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer =
        world.core.open_producer(ProducerConfig { codec: Codec::Zstd, ..ProducerConfig::default() });
    world.broker.frozen = true;
    world.append(producer, TOPIC, Some(0), None, "v", 7).unwrap();
    world.settle();
    let abandoned = world.core.close_producer(producer);
    assert_eq!(abandoned.len(), 1);
    assert_eq!(abandoned[0].outcome, Err(ClientError::Closed));
    world.broker.frozen = false;
    world.settle();
    assert_eq!(
        world.append(producer, TOPIC, Some(0), None, "v", 8),
        Err(AppendError::Refused(ClientError::Closed))
    );
}
