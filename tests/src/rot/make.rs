//! Makes the data directory: a real broker, started and stopped well a few times, producers that wait for every
//! acknowledgement, and a reader of everything, after whom sealed segments have index files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmain_client::blocking::Client;
use ringmain_client::{ClientConfig, ClientError, ProduceRecord, ProducerConfig};
use ringmain_wire::ids::PartitionIndex;
use ringmain_wire::native::messages::{ConfigEntry, CreateTopicRequest};

use super::error::RotError;
use super::files::{FileKind, list};
use super::reader::Reader;
use super::served::read_partition;
use super::workload::{SETTINGS, STARTS, TOPICS, Written, WrittenPartition};
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::clock::Stopwatch;
use crate::crash::place;

/// Shards of every start.
pub(super) const SHARDS: u16 = 2;
/// Small batches, so that there are many.
const BATCH_BYTES: usize = 8 * 1024;
/// Index files are written at idle priority: on a busy host that takes its time.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// Makes it, and says what was acknowledged.
pub(super) fn make_directory(data_dir: &Path, log: &Path) -> Result<Written, RotError> {
    let mut written = Written::default();
    for topic in TOPICS {
        let partition = |index| WrittenPartition { topic: *topic, index: PartitionIndex(index), records: 0 };
        written.partitions.extend((0..topic.partitions).map(partition));
    }
    for start in 0..STARTS {
        let native = place::free_address()?;
        let options = BrokerOptions { data_dir: data_dir.to_owned(), native, shards: SHARDS };
        let sealed = missing_indexes(data_dir)?;
        let broker = Broker::start(&options, log)?;
        produce(&native.to_string(), start, &mut written)
            .map_err(|error| RotError::Unsound(format!("a producer was told: {error}")))?;
        if start + 1 == STARTS {
            let mut reader = Reader::connect(native)?;
            for partition in &written.partitions {
                read_partition(&mut reader, partition)?;
            }
            let is_missing = |path: &&PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0;
            await_files(&broker, || sealed.iter().find(is_missing).map(|path| path.display().to_string()))?;
        }
        broker.stop()?;
    }
    Ok(written)
}

/// Where index files belong that are not there. A segment of a former start grows no more: once it has been read from
/// anywhere but its start, it gets its own, unless it is small.
fn missing_indexes(data_dir: &Path) -> Result<Vec<PathBuf>, RotError> {
    const SMALL_BYTES: u64 = 300 << 10;
    if !data_dir.exists() {
        return Ok(Vec::new());
    }
    let files = list(data_dir).map_err(RotError::io("listing the data directory"))?;
    let segments = files.into_iter().filter(|(_, kind)| *kind == FileKind::Segment);
    let segments = segments.map(|(path, _)| data_dir.join(path));
    let large = segments.filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > SMALL_BYTES));
    Ok(large.map(|path| path.with_extension("index")).filter(|path| !path.exists()).collect())
}

/// Waits until no file is named that is not there yet.
pub(super) fn await_files(broker: &Broker, missing: impl Fn() -> Option<String>) -> Result<(), RotError> {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let began = Stopwatch::start();
    while let Some(missing) = missing() {
        if began.left_of(WRITTEN_WITHIN).is_none() {
            return Err(RotError::ProvesTooLittle(format!("{missing} is not written")));
        }
        broker.run_for(LOOK_EVERY)?;
    }
    Ok(())
}

fn produce(broker: &str, start: usize, written: &mut Written) -> Result<(), ClientError> {
    let client = Client::connect(broker, ClientConfig::default())?;
    if start == 0 {
        for topic in TOPICS {
            client.create_topic(CreateTopicRequest {
                name: topic.name.to_owned(),
                partitions: topic.partitions,
                replication_factor: 1,
                configs: SETTINGS
                    .iter()
                    .map(|(key, value)| ConfigEntry { key: (*key).to_owned(), value: (*value).to_owned() })
                    .collect(),
                ..CreateTopicRequest::default()
            })?;
        }
    }
    for partition in &mut written.partitions {
        let topic = partition.topic;
        let config =
            ProducerConfig { codec: topic.codec, batch_bytes: BATCH_BYTES, ..ProducerConfig::default() };
        let producer = client.producer(config);
        let first = partition.records;
        let mut deliveries = Vec::new();
        for number in first..first + topic.records[start] {
            let content = partition.content(number);
            let record = ProduceRecord {
                partition: Some(partition.index),
                timestamp: content.timestamp,
                key: content.key.as_deref(),
                value: content.value.as_deref(),
                headers: &[],
            };
            deliveries.push((number, producer.send(topic.name, &record)?));
        }
        for (number, delivery) in deliveries {
            let offset = delivery.wait()?.offset.map(|offset| offset.get());
            assert_eq!(
                offset,
                i64::try_from(number).ok(),
                "{partition}: the only producer's records lie in order"
            );
            partition.records += 1;
        }
    }
    Ok(())
}
