//! Fetching ahead, skipping within batches, surviving restarts, and telling failures.

use core::time::Duration;

use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionId, TopicId};
use ringmain_wire::native::errors::ErrorCode;

use super::world::World;
use crate::core::*;
use crate::error::{ClientError, Fault};

const TOPIC: &str = "orders";
const FIRST: PartitionId = PartitionId::new(TopicId([1; 16]), PartitionIndex(0));

/// A topic with `records` in partition 0, ten a batch.
fn filled(records: u64, codec: Codec) -> World {
    let mut world = World::with_topic(2, TOPIC, 2);
    let producer = world.core.open_producer(ProducerConfig { codec, ..ProducerConfig::default() });
    for tag in 0..records {
        world.append(producer, TOPIC, Some(0), Some("key"), &format!("v{tag}"), tag).unwrap();
        if tag % 10 == 9 {
            world.settle();
        }
    }
    world.settle();
    assert_eq!(world.broker.values(FIRST).len(), records as usize);
    world
}

fn assign(world: &mut World, consumer: ConsumerKey, offset: i64) {
    let topic = world.core.topic(TOPIC).unwrap().unwrap();
    world.core.assign(consumer, &topic, PartitionIndex(0), Offset(offset)).unwrap();
}

/// Everything that can be read now.
fn read(world: &mut World, consumer: ConsumerKey) -> Vec<(i64, String)> {
    let mut read = Vec::new();
    loop {
        world.settle();
        match world.core.poll_fetched(consumer) {
            Some(Fetched::Records { records, .. }) => {
                assert!(!records.is_empty());
                read.extend(records.iter().map(|record| {
                    let value = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
                    (record.offset.get(), value)
                }));
            }
            Some(Fetched::Failed { error, .. }) => panic!("{error}"),
            None => return read,
        }
    }
}

fn expected(from: i64, to: i64) -> Vec<(i64, String)> {
    (from..to).map(|offset| (offset, format!("v{offset}"))).collect()
}

#[test]
fn reading_begins_within_a_batch_with_every_codec() {
    for codec in Codec::ALL {
        let mut world = filled(35, codec);
        let consumer = world.core.open_consumer(ConsumerConfig::default());
        assign(&mut world, consumer, 7);
        assert_eq!(read(&mut world, consumer), expected(7, 35), "{codec:?}");
        let position = Position { offset: Offset(35), high_watermark: Some(Offset(35)) };
        assert_eq!(world.core.position(consumer, FIRST), Some(position));
    }
}

#[test]
fn a_seek_forgets_what_was_fetched_and_what_is_under_way() {
    let mut world = filled(30, Codec::None);
    let consumer = world.core.open_consumer(ConsumerConfig::default());
    assign(&mut world, consumer, 0);
    world.settle();
    assign(&mut world, consumer, 25);
    world.advance(Duration::from_secs(1));
    assert_eq!(read(&mut world, consumer), expected(25, 30));
    world.core.set_paused(consumer, FIRST, true);
    assign(&mut world, consumer, 28);
    world.advance(Duration::from_secs(1));
    assert_eq!(read(&mut world, consumer), [], "paused");
    world.core.set_paused(consumer, FIRST, false);
    assert_eq!(read(&mut world, consumer), expected(28, 30));
    world.core.unassign(consumer, FIRST);
    assert_eq!(world.core.position(consumer, FIRST), None);
}

#[test]
fn a_fetch_from_before_a_seek_is_thrown_away() {
    let mut world = filled(30, Codec::None);
    let consumer = world.core.open_consumer(ConsumerConfig::default());
    assign(&mut world, consumer, 30);
    world.settle();
    // Parked at the end, and answered only after the seek.
    assign(&mut world, consumer, 5);
    let producer = world.core.open_producer(ProducerConfig::default());
    world.append(producer, TOPIC, Some(0), None, "v30", 0).unwrap();
    assert_eq!(read(&mut world, consumer), expected(5, 31));
}

#[test]
fn new_records_wake_a_parked_fetch_and_restarts_lose_and_repeat_nothing() {
    let mut world = filled(10, Codec::None);
    let consumer = world.core.open_consumer(ConsumerConfig::default());
    assign(&mut world, consumer, 0);
    assert_eq!(read(&mut world, consumer), expected(0, 10));
    let producer = world.core.open_producer(ProducerConfig::default());
    for round in 1..=3 {
        for tag in 0..10 {
            let value = format!("v{}", round * 10 + tag);
            world.append(producer, TOPIC, Some(0), None, &value, tag as u64).unwrap();
        }
        // No time passes unless the broker was restarted: the produce wakes the fetch.
        if round > 1 {
            world.advance(Duration::from_secs(2));
        }
        assert_eq!(read(&mut world, consumer), expected(round * 10, round * 10 + 10));
        world.broker.restart(1 + round as u16);
        world.cut_all();
    }
}

#[test]
fn no_more_is_fetched_ahead_than_allowed() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer = world.core.open_producer(ProducerConfig::default());
    let value = "x".repeat(10_000);
    for tag in 0..100 {
        world.append(producer, TOPIC, Some(0), None, &value, tag).unwrap();
        world.settle();
    }
    let config = ConsumerConfig { prefetch_bytes_max: 256 * 1024, ..ConsumerConfig::default() };
    let consumer = world.core.open_consumer(config);
    assign(&mut world, consumer, 0);
    world.advance(Duration::from_secs(5));
    let ahead = core::iter::from_fn(|| world.core.poll_fetched(consumer)).count();
    assert!((10..=26).contains(&ahead), "{ahead} batches of 10 kB within 256 KiB");
    world.settle();
    let mut total = ahead;
    while world.core.poll_fetched(consumer).is_some() {
        total += 1;
        world.settle();
    }
    assert_eq!(total, 100, "the rest came as room was made");
}

#[test]
fn an_offset_that_is_not_there_ends_the_partition_with_its_name() {
    let mut world = filled(10, Codec::None);
    let consumer = world.core.open_consumer(ConsumerConfig::default());
    assign(&mut world, consumer, 11);
    world.settle();
    let fetched = world.core.poll_fetched(consumer);
    let Some(Fetched::Failed { partition, error, .. }) = fetched else { panic!("{fetched:?}") };
    assert_eq!(
        (partition, error.code(), error.fault()),
        (PartitionIndex(0), ErrorCode::OffsetOutOfRange, Fault::Caller)
    );
    assert!(error.to_string().contains("orders/0 does not hold offset 11"), "{error}");
    assert_eq!(world.core.position(consumer, FIRST), None);
}

#[test]
fn a_batch_that_inflates_beyond_the_bound_is_refused() {
    let mut world = World::with_topic(1, TOPIC, 1);
    let producer =
        world.core.open_producer(ProducerConfig { codec: Codec::Zstd, ..ProducerConfig::default() });
    world.append(producer, TOPIC, Some(0), None, &"x".repeat(500_000), 0).unwrap();
    world.settle();
    let config = ConsumerConfig { decompressed_bytes_max: 100_000, ..ConsumerConfig::default() };
    let consumer = world.core.open_consumer(config);
    assign(&mut world, consumer, 0);
    world.settle();
    let fetched = world.core.poll_fetched(consumer);
    let Some(Fetched::Failed { error: ClientError::Batch { .. }, .. }) = fetched else {
        panic!("{fetched:?}")
    };
}
