//! Random cuts, restarts with other shard counts and passing refusals: every record once, in order, at its offset.

use core::time::Duration;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::rand_core::Rng;
use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionId, TopicId};
use ringmain_wire::native::errors::ErrorCode;

use super::world::{Faults, World};
use crate::core::*;

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 5;
const RECORDS: u64 = 300;

fn partition(index: u32) -> PartitionId {
    PartitionId::new(TopicId([1; 16]), PartitionIndex(index))
}

/// Sends and reads under faults, then checks; returns how many records were answered as duplicates.
fn check(seed: u64, faults: Faults, config: ProducerConfig) -> u64 {
    let mut world = World::new(3, seed);
    world.broker.create_topic(TOPIC, PARTITIONS);
    world.faults = faults;
    let producer = world.core.open_producer(config);
    let consumer = world.core.open_consumer(ConsumerConfig::default());
    let mut sent: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut acknowledged: BTreeMap<u64, (PartitionIndex, i64)> = BTreeMap::new();
    let mut read: BTreeMap<u32, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
    let (mut next, mut duplicates, mut assigned) = (0, 0, false);
    let done = world.run(Duration::from_secs(100), |world| {
        if world.now > Duration::from_secs(30) {
            // Long enough: without faults the rest has to come through.
            world.faults = Faults { pieces: faults.pieces, ..Faults::default() };
            world.broker.produce_errors.clear();
        }
        if !assigned && let Ok(Some(topic)) = world.core.topic(TOPIC) {
            for index in 0..PARTITIONS {
                world.core.assign(consumer, &topic, PartitionIndex(index), Offset::ZERO).unwrap();
            }
            assigned = true;
        }
        for _ in 0..world.random.next_u32() % 4 {
            let index = world.random.next_u32() % PARTITIONS;
            if next < RECORDS
                && world.append(producer, TOPIC, Some(index), None, &next.to_string(), next).is_ok()
            {
                sent.entry(index).or_default().push(next);
                next += 1;
            }
        }
        if world.random.next_u32() % 1000 < world.faults.cut {
            let codes = [ErrorCode::OverBudget, ErrorCode::NotLeader, ErrorCode::TimedOut];
            let code = codes[world.random.next_u32() as usize % codes.len()];
            world.broker.produce_errors.push_back(Some(code));
        }
        for delivery in world.deliveries(producer) {
            let stored = delivery.outcome.expect("no fault lasts as long as the delivery timeout");
            for (place, record) in (0..).zip(&delivery.records) {
                let offset = stored.offset(place).expect("recent enough to be known").get();
                assert_eq!(
                    acknowledged.insert(record.tag.0, (delivery.partition, offset)),
                    None,
                    "two outcomes"
                );
                duplicates += u64::from(stored.duplicate);
            }
        }
        while let Some(fetched) = world.core.poll_fetched(consumer) {
            let Fetched::Records { records, .. } = fetched else { panic!("{fetched:?}") };
            for record in records {
                let value = record.value.unwrap().to_vec();
                read.entry(record.partition.get()).or_default().push((record.offset.get(), value));
            }
        }
        acknowledged.len() as u64 == RECORDS && read.values().map(Vec::len).sum::<usize>() as u64 == RECORDS
    });
    assert!(
        done,
        "{} sent, {} acknowledged, {} read",
        next,
        acknowledged.len(),
        read.values().map(Vec::len).sum::<usize>()
    );
    for (index, tags) in sent {
        let stored = world.broker.values(partition(index));
        let expected: Vec<_> =
            (0..).zip(&tags).map(|(offset, tag)| (offset, tag.to_string().into_bytes())).collect();
        assert_eq!(stored, expected, "partition {index}: every record once, in order");
        assert_eq!(read[&index], stored, "partition {index}: read as stored");
        for (offset, tag) in (0..).zip(tags) {
            assert_eq!(acknowledged[&tag], (PartitionIndex(index), offset), "at its acknowledged offset");
        }
    }
    duplicates
}

fn config(batch_bytes: usize, linger_ms: u64, codec: Codec) -> ProducerConfig {
    ProducerConfig {
        batch_bytes,
        linger: Duration::from_millis(linger_ms),
        codec,
        ..ProducerConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_record_lands_once_and_in_order(
        seed: u64,
        cut in 0_u32..40,
        restart in 0_u32..8,
        pieces: bool,
        batch_bytes in prop_oneof![Just(1), Just(300), Just(100_000)],
        linger_ms in 0_u64..5,
        codec in prop::sample::select(&Codec::ALL[..]),
    ) {
        check(seed, Faults { cut, restart, pieces }, config(batch_bytes, linger_ms, codec));
    }
}

#[test]
fn the_faults_do_make_duplicates() {
    let faults = Faults { cut: 30, restart: 5, pieces: true };
    let duplicates: u64 = (0..20).map(|seed| check(seed, faults, config(1, 0, Codec::None))).sum();
    assert!(duplicates > 20, "only {duplicates} duplicates: the cuts miss");
}
