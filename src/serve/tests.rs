//! A whole node on real files and sockets, stopped and started again.

use std::path::Path;

use ringmain_client::blocking::Client;
use ringmain_client::{ClientConfig, ConsumerConfig, Fetched, ProduceRecord, ProducerConfig, Start};
use ringmain_shard::store::UpkeepConfig;
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};
use ringmain_wire::native::messages::{AlterTopicRequest, ConfigEntry, CreateTopicRequest};

use super::*;

/// A node that runs until it is stopped.
fn start_node(data_dir: &Path, shards: u16) -> Beside {
    let options = ServeOptions {
        data_dir: data_dir.to_owned(),
        node: NodeId(1),
        shards,
        native: SocketAddr::from(([127, 0, 0, 1], 0)),
        native_shards: None,
        spin: Duration::ZERO,
        pin_cores: false,
        memory_bytes: Some(64 << 20),
        log_bytes_max: 256 << 20,
        upkeep: UpkeepConfig::default(),
        json: false,
        warnings: Vec::new(),
    };
    Beside::start(options).expect("the node starts")
}

fn client_of(node: &Beside) -> Client {
    Client::connect(&node.native().to_string(), ClientConfig::default()).unwrap()
}

fn directory() -> tempfile::TempDir {
    // Not the system's: it may be in memory.
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap()
}

fn produce(client: &Client, topic: &str, range: std::ops::Range<u32>) {
    let producer = client.producer(ProducerConfig::default());
    let deliveries: Vec<_> = range
        .map(|number| {
            let value = number.to_string();
            let record = ProduceRecord {
                partition: Some(PartitionIndex(number % 4)),
                timestamp: TimestampMs(1_000 + i64::from(number)),
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            };
            producer.send(topic, &record).unwrap()
        })
        .collect();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }
}

fn consume(client: &Client, topic: &str, count: usize) -> Vec<Vec<u32>> {
    let consumer = client.consumer(ConsumerConfig::default());
    let starts: Vec<_> = (0..4).map(|partition| (PartitionIndex(partition), Start::Beginning)).collect();
    consumer.assign_all(topic, &starts).unwrap();
    let mut found = vec![Vec::new(); 4];
    while found.iter().map(Vec::len).sum::<usize>() < count {
        match consumer.next().unwrap() {
            Fetched::Records { records, .. } => {
                for record in records {
                    let partition = &mut found[record.partition.get() as usize];
                    assert_eq!(record.offset, Offset(partition.len() as i64));
                    partition
                        .push(str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap());
                }
            }
            Fetched::Failed { error, .. } => panic!("{error}"),
        }
    }
    found
}

#[test]
fn records_survive_restarts_with_fewer_and_more_shards() {
    let directory = directory();
    let mut written = 0;
    for shards in [2, 1, 3] {
        let node = start_node(directory.path(), shards);
        let client = client_of(&node);
        if written == 0 {
            let request = CreateTopicRequest {
                name: "orders".to_owned(),
                partitions: 4,
                replication_factor: 1,
                ..Default::default()
            };
            client.create_topic(request).unwrap();
        }
        produce(&client, "orders", written..written + 1_000);
        written += 1_000;
        for (partition, values) in consume(&client, "orders", written as usize).into_iter().enumerate() {
            let expected: Vec<u32> =
                (0..written).filter(|number| *number as usize % 4 == partition).collect();
            assert_eq!(values, expected, "partition {partition} with {shards} shards");
        }
        drop(client);
        node.stop().unwrap();
    }
}

/// The time of every record of partition `index`, in order.
fn times(client: &Client, topic: &str, index: PartitionIndex, count: usize) -> Vec<TimestampMs> {
    let consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_all(topic, &[(index, Start::Beginning)]).unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        match consumer.next().unwrap() {
            Fetched::Records { records, .. } => found.extend(records.iter().map(|record| record.timestamp)),
            Fetched::Failed { error, .. } => panic!("{error}"),
        }
    }
    found
}

#[test]
fn a_topic_may_have_its_records_time_from_the_broker_and_give_that_up_again() {
    const LONG_AGO: TimestampMs = TimestampMs(1_000_000);
    let directory = directory();
    let node = start_node(directory.path(), 2);
    let client = client_of(&node);
    let setting = ConfigEntry { key: "message.timestamp.type".into(), value: "LogAppendTime".into() };
    let request = CreateTopicRequest {
        name: "orders".to_owned(),
        partitions: 4,
        replication_factor: 1,
        configs: vec![setting.clone()],
        ..Default::default()
    };
    client.create_topic(request).unwrap();
    assert_eq!(client.describe_topic("orders").unwrap().configs, [setting]);
    produce(&client, "orders", 0..400);
    drop(client);
    node.stop().unwrap();

    let node = start_node(directory.path(), 3);
    let client = client_of(&node);
    let mut newest = LONG_AGO;
    for index in (0..4).map(PartitionIndex) {
        let times = times(&client, "orders", index, 100);
        assert!(times[0] > TimestampMs(1_700_000_000_000), "the producer said {LONG_AGO} at most: {times:?}");
        assert!(times.is_sorted(), "{times:?}");
        let found = client.list_offset("orders", index, LONG_AGO).unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset(0), times[0]));
        let behind = TimestampMs(times[99].get() + 1);
        assert_eq!(client.list_offset("orders", index, behind).unwrap().offset, Offset(-1));
        newest = newest.max(times[99]);
    }
    let request = AlterTopicRequest {
        name: "orders".to_owned(),
        unset: vec!["message.timestamp.type".to_owned()],
        ..Default::default()
    };
    client.alter_topic(request).unwrap();
    produce(&client, "orders", 400..404);
    let times = times(&client, "orders", PartitionIndex(3), 101);
    assert!(times[99] <= newest && times[100] == TimestampMs(1_403), "{times:?}");
    drop(client);
    node.stop().unwrap();
}

#[test]
fn the_shards_tell_what_they_hold_and_have_done() {
    let directory = directory();
    let node = start_node(directory.path(), 3);
    let client = client_of(&node);
    let request = CreateTopicRequest {
        name: "orders".to_owned(),
        partitions: 9,
        replication_factor: 1,
        ..Default::default()
    };
    client.create_topic(request).unwrap();
    produce(&client, "orders", 0..900);
    let stats = client.stats().unwrap();
    assert_eq!(stats.shards.iter().map(|stats| stats.shard.get()).collect::<Vec<_>>(), [0, 1, 2]);
    let total = |name: &str| {
        let counters = stats.shards.iter().flat_map(|stats| &stats.counters);
        counters.filter(|counter| counter.name == name).map(|counter| counter.value).sum::<u64>()
    };
    assert_eq!(total("partitions"), 9 + 1, "and that of the topics themselves");
    assert!(total("batches_appended_total") >= 4 && total("connections") >= 1, "{stats:?}");
    for stats in &stats.shards {
        let tails = stats.memory.iter().find(|held| held.owner == "tails").unwrap();
        assert!(tails.bytes > 0 && tails.bytes_max == Some(64 << 20), "{tails:?}");
        assert!(stats.memory.iter().all(|held| held.bytes_max.is_none_or(|most| held.bytes <= most)));
    }
    drop(client);
    node.stop().unwrap();
}

#[test]
fn the_first_question_of_a_client_may_be_about_a_topic_it_does_not_know() {
    let directory = directory();
    let node = start_node(directory.path(), 2);
    let request = CreateTopicRequest {
        name: "one".to_owned(),
        partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    client_of(&node).create_topic(request).unwrap();
    let impatient = ClientConfig { request_timeout: Duration::from_secs(5), ..Default::default() };
    let client = Client::connect(&node.native().to_string(), impatient).unwrap();
    let end = client.list_offset("one", PartitionIndex(0), ringmain_wire::native::messages::TIMESTAMP_END);
    assert_eq!(end.unwrap().offset, Offset(0));
    drop(client);
    node.stop().unwrap();
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_and_left_alone() {
    let directory = directory();
    std::fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
    let error = DataDirectory::lock(directory.path()).map(drop).unwrap_err();
    let error = ServeError::locking(directory.path(), error);
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let directory = directory();
    let node = start_node(directory.path(), 1);
    let error = DataDirectory::lock(directory.path()).map(drop).unwrap_err();
    let error = ServeError::locking(directory.path(), error);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    node.stop().unwrap();
}
