//! What clients wish for, from a stream of its own; and in the end a client that reads everything.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use ringmain_client::core::{Acks, ProduceRecord, ProducerConfig, Request};
use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TimestampMs};
use ringmain_wire::native::messages::{
    AddPartitionsRequest, ConfigEntry, CreateTopicRequest, DeleteTopicRequest, TIMESTAMP_END, TIMESTAMP_START,
};

use super::MICROSECOND;
use super::checker::Intent;
use super::client::{Question, READER, Reading, SimClient, SimProducer};
use super::queue::Happening;
use super::records::{VALUE_BYTES_MAX, key_of};
use super::world::{Phase, Step, World};

/// Names of topics: few, so that they are created again.
const TOPICS: &[&str] = &["a", "b", "c", "d"];
/// The one whose records have their time from the node.
pub(super) const TIMED_TOPIC: &str = "c";
/// The one whose records count once they are written.
pub(super) const RELAXED_TOPIC: &str = "d";
/// Of which a loss of power takes fewer than so many.
pub(super) const RELAXED_RECORDS: i64 = 20;
/// Partitions of a topic at most.
const PARTITIONS_MAX: u32 = 4;
/// Producers of one client at most.
const PRODUCERS_MAX: usize = 3;

/// How topics of that name are kept; always the same, so that who only knows the name knows that too.
fn configs_of(name: &str) -> Vec<ConfigEntry> {
    let config = |key: &str, value: &str| ConfigEntry { key: key.to_owned(), value: value.to_owned() };
    match name {
        TIMED_TOPIC => vec![config("message.timestamp.type", "LogAppendTime")],
        RELAXED_TOPIC => {
            vec![config("flush.messages", &RELAXED_RECORDS.to_string()), config("flush.ms", "20")]
        }
        _ => Vec::new(),
    }
}

// What it wishes for.
impl World {
    /// A client wants something new.
    pub(super) fn wish(&mut self, index: usize) -> Step {
        if self.phase != Phase::Active {
            return Ok(());
        }
        match self.random.workload.below(100) {
            0..=59 => self.produce(index),
            60..=74 => self.consume(index),
            75..=84 => self.create_topic(index),
            85..=87 => self.add_partitions(index),
            88..=90 if self.plan.deletions => self.delete_topic(index),
            91..=94 => self.list_offset(index),
            95..=96 => self.close_producer(index),
            97..=98 if self.plan.slow_clients => self.stall_client(index),
            _ => {}
        }
        self.wake_client(index, MICROSECOND);
        let gap = self.random.workload.between(self.plan.wish_gap / 4, self.plan.wish_gap * 7 / 4);
        self.after(gap, Happening::Wish { client: index });
        Ok(())
    }

    fn produce(&mut self, index: usize) {
        let now = Duration::from_nanos(self.now);
        let name = *self.random.workload.pick(TOPICS);
        let producer = self.any_producer(index);
        let records = self.random.workload.between(1, 6);
        let large = self.random.workload.chance(60);
        let place = self.random.workload.number();
        let client = &mut self.clients[index];
        let Ok(Some(topic)) = client.core.topic(name) else { return };
        let SimProducer { key, number, idempotent } = client.producers[producer];
        let index_in_topic = PartitionIndex((place % u64::from(topic.partitions())) as u32);
        let partition = PartitionId::new(topic.id, index_in_topic);
        let timestamp = self.wall();
        for _ in 0..records {
            let value_bytes = if large {
                self.random.workload.between(1, VALUE_BYTES_MAX as u64)
            } else {
                self.random.workload.between(1, 600)
            } as usize;
            let tag = self.checker.next_tag();
            let record = ProduceRecord {
                partition: Some(index_in_topic),
                timestamp,
                key: Some(&key_of(tag)),
                value: Some(self.checker.values().of(tag, value_bytes)),
                headers: &[],
            };
            if self.clients[index].core.append(now, key, name, &record, tag).is_err() {
                return;
            }
            self.checker.handle_sent(Intent { partition, producer: number, idempotent, value_bytes });
        }
    }

    /// One of its producers, or another one.
    fn any_producer(&mut self, index: usize) -> usize {
        let count = self.clients[index].producers.len();
        if count > 0 && (count == PRODUCERS_MAX || self.random.workload.chance(950)) {
            return self.random.workload.below(count as u64) as usize;
        }
        let acks = *self.random.workload.pick(&[Acks::All, Acks::All, Acks::All, Acks::Leader, Acks::None]);
        let idempotent = acks != Acks::None && self.random.workload.chance(800);
        let codecs = [Codec::None, Codec::None, Codec::None, Codec::Lz4, Codec::Zstd];
        let config = ProducerConfig {
            acks,
            codec: *self.random.workload.pick(&codecs),
            linger: Duration::from_micros(self.random.workload.below(3) * 500),
            batch_bytes: *self.random.workload.pick(&[500, 4_000, 16_000]),
            idempotent,
            buffer_bytes_max: 512 << 10,
            ..ProducerConfig::default()
        };
        let client = &mut self.clients[index];
        let key = client.core.open_producer(config);
        client.producers_made += 1;
        let number = client.producers_made << 8 | index as u64;
        client.producers.push(SimProducer { key, number, idempotent });
        count
    }

    fn close_producer(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.producers.len() == PRODUCERS_MAX {
            let producer = client.producers.remove(0);
            client.core.close_producer(producer.key);
        }
    }

    fn consume(&mut self, index: usize) {
        let name = *self.random.workload.pick(TOPICS);
        let place = self.random.workload.number();
        let Ok(Some(topic)) = self.clients[index].core.topic(name) else { return };
        let partition = PartitionIndex((place % u64::from(topic.partitions())) as u32);
        let end =
            self.node.partition(PartitionId::new(topic.id, partition)).map_or(0, |found| found.end().get());
        let offset = Offset(self.random.workload.below(end as u64 + 2) as i64);
        self.read_from(index, name, partition, offset);
    }

    pub(super) fn read_from(&mut self, index: usize, name: &str, partition: PartitionIndex, offset: Offset) {
        let since = self.now;
        let client = &mut self.clients[index];
        let Ok(Some(topic)) = client.core.topic(name) else { return };
        if client.core.assign(client.consumer, &topic, partition, offset).is_ok() {
            let reading = Reading { partition: PartitionId::new(topic.id, partition), next: offset, since };
            client.reading.insert((Arc::clone(&topic.name), partition), reading);
        }
    }

    fn create_topic(&mut self, index: usize) {
        let name = (*self.random.workload.pick(TOPICS)).to_owned();
        let partitions = self.random.workload.between(1, 3) as u32;
        let request = CreateTopicRequest {
            name: name.clone(),
            partitions,
            replication_factor: 1,
            configs: configs_of(&name),
            ..Default::default()
        };
        self.ask(index, Request::CreateTopic(request), Question::Create(name));
    }

    fn add_partitions(&mut self, index: usize) {
        let name = (*self.random.workload.pick(TOPICS)).to_owned();
        let partitions = self.random.workload.between(2, u64::from(PARTITIONS_MAX)) as u32;
        let request = AddPartitionsRequest { name, partitions };
        self.ask(index, Request::AddPartitions(request), Question::AddPartitions);
    }

    fn delete_topic(&mut self, index: usize) {
        let name = (*self.random.workload.pick(TOPICS)).to_owned();
        self.checker.handle_deletion_asked(&name);
        self.ask(
            index,
            Request::DeleteTopic(DeleteTopicRequest { name: name.clone() }),
            Question::Delete(name),
        );
    }

    fn list_offset(&mut self, index: usize) {
        let topic = (*self.random.workload.pick(TOPICS)).to_owned();
        let partition = PartitionIndex(self.random.workload.below(u64::from(PARTITIONS_MAX)) as u32);
        let sometime = TimestampMs(self.wall().get() - self.random.workload.below(300) as i64);
        let timestamp = *self.random.workload.pick(&[TIMESTAMP_START, TIMESTAMP_END, sometime]);
        self.ask(index, Request::ListOffsets { topic, partition, timestamp }, Question::Offset);
    }

    fn ask(&mut self, index: usize, request: Request, question: Question) {
        let client = &mut self.clients[index];
        let id = client.core.ask(Duration::from_nanos(self.now), request, Duration::from_secs(20));
        client.questions.insert(id, question);
    }
}

// The end.
impl World {
    /// Reads every partition from where it begins.
    pub(super) fn read_everything(&mut self, index: usize) {
        for &name in TOPICS {
            let client = &mut self.clients[index];
            let Ok(Some(topic)) = client.core.topic(name) else { continue };
            for partition in (0..topic.partitions()).map(PartitionIndex) {
                let client = &mut self.clients[index];
                let is_asked = client
                    .questions
                    .values()
                    .any(|question| matches!(question, Question::Begin(asked, of) if (*asked, *of) == (name, partition)));
                let is_read = client
                    .reading
                    .get(&(Arc::clone(&topic.name), partition))
                    .is_some_and(|reading| reading.partition.topic == topic.id);
                if !is_asked && !is_read {
                    let request = Request::ListOffsets {
                        topic: name.to_owned(),
                        partition,
                        timestamp: TIMESTAMP_START,
                    };
                    self.ask(index, request, Question::Begin(name, partition));
                }
            }
        }
    }

    /// Whether every producer's records have their outcome, and every partition is read to its end, by a client that
    /// comes when the others are done.
    pub(super) fn clients_are_done(&mut self) -> bool {
        let drained = self.clients.iter().all(SimClient::is_drained);
        if self.clients.len() == READER {
            if drained && self.clients.iter().all(SimClient::is_answered) {
                let seed = self.random.workload.number();
                self.clients.push(SimClient::new(READER, seed));
            }
            return false;
        }
        self.wake_client(READER, MICROSECOND);
        drained && self.node.is_serving() && self.unread().is_empty()
    }

    /// What keeps a run from coming to rest.
    pub(super) fn what_is_left(&self) -> String {
        let undrained: Vec<usize> =
            (0..self.clients.len()).filter(|&index| !self.clients[index].is_drained()).collect();
        format!(
            "60 s after the last fault: serving {}, clients with records that have no outcome {undrained:?}, partitions \
             not read to their end {:?}",
            self.node.is_serving(),
            self.unread()
        )
    }

    fn unread(&self) -> BTreeSet<String> {
        let Some(SimClient { reading, .. }) = self.clients.get(READER) else { return BTreeSet::new() };
        let is_read = |id: PartitionId, end: Offset| {
            reading.values().any(|reading| reading.partition == id && reading.next >= end)
        };
        let partitions = self.node.shards().iter().flat_map(|shard| shard.host.store().partitions());
        partitions
            .filter(|partition| partition.id() != PartitionId::METADATA && !partition.is_damaged())
            .filter(|partition| !is_read(partition.id(), partition.high_watermark()))
            .map(|partition| format!("{} to {}", partition.id(), partition.high_watermark()))
            .collect()
    }
}
