//! A client: the product's own client core, what it wishes for, and what the checker hears of it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmain_client::ClientError;
use ringmain_client::core::{
    Acks, Answer, ClientConfig, ClientCore, ConnectionId, ConsumerConfig, ConsumerKey, Delivery, Effect,
    Endpoint, Event, Fetched, ProduceRecord, ProducerConfig, ProducerKey, Request, RequestId,
};
use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{
    AddPartitionsRequest, CreateTopicRequest, DeleteTopicRequest, TIMESTAMP_END, TIMESTAMP_START,
};

use super::checker::{Intent, Violation};
use super::node::SHARED_PORT;
use super::queue::Happening;
use super::records::{VALUE_BYTES_MAX, key_of};
use super::world::{CLIENTS, Phase, Step, World};
use super::{MICROSECOND, SECOND};

/// The client that reads everything in the end, behind those that work.
const READER: usize = CLIENTS;
/// Names of topics: few, so that they are created again.
const TOPICS: &[&str] = &["a", "b", "c"];
/// Partitions of a topic at most.
const PARTITIONS_MAX: u32 = 4;
/// Producers of one client at most.
const PRODUCERS_MAX: usize = 3;

/// One client.
#[derive(Debug)]
pub(super) struct SimClient {
    core: ClientCore,
    pub(super) links: BTreeMap<ConnectionId, u64>,
    producers: Vec<SimProducer>,
    producers_made: u64,
    consumer: ConsumerKey,
    reading: BTreeMap<(Arc<str>, PartitionIndex), Reading>,
    questions: BTreeMap<RequestId, Question>,
    /// Looked at nothing until then.
    pub(super) stalled_until: u64,
    wake_at: Option<u64>,
}

#[derive(Debug)]
struct SimProducer {
    key: ProducerKey,
    /// Over all clients.
    number: u64,
    idempotent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    partition: PartitionId,
    next: Offset,
}

#[derive(Debug)]
enum Question {
    Create(String),
    AddPartitions,
    Delete(String),
    Offset,
    /// Where a partition begins, to read it from there.
    Begin(&'static str, PartitionIndex),
}

/// What a client hears of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Connected,
    Refused,
    Sent,
    Closed,
}

impl SimClient {
    pub(super) fn new(index: usize, seed: u64) -> Self {
        let config = ClientConfig { client_name: format!("client {index}"), ..ClientConfig::default() };
        let bootstrap = vec![Endpoint { host: "node".to_owned(), port: SHARED_PORT }];
        let mut core = ClientCore::new(config, bootstrap, seed);
        let consumer = core.open_consumer(ConsumerConfig {
            prefetch_bytes_max: 256 << 10,
            fetch_wait: Duration::from_millis(40),
            ..ConsumerConfig::default()
        });
        Self {
            core,
            links: BTreeMap::new(),
            producers: Vec::new(),
            producers_made: 0,
            consumer,
            reading: BTreeMap::new(),
            questions: BTreeMap::new(),
            stalled_until: 0,
            wake_at: None,
        }
    }

    /// No more faults of its own.
    pub(super) fn heal(&mut self, now: u64) {
        self.stalled_until = self.stalled_until.min(now);
        for producer in &self.producers {
            self.core.flush(producer.key);
        }
    }

    /// Whether every question has its answer.
    fn is_answered(&self) -> bool {
        self.questions.is_empty()
    }

    /// Whether every record has its outcome.
    fn is_drained(&self) -> bool {
        self.producers.iter().all(|producer| {
            let mark = self.core.flush_mark(producer.key);
            self.core.is_flushed(producer.key, mark)
        })
    }
}

// What happens to it.
impl World {
    /// A client looks at what there is soon.
    pub(super) fn wake_client(&mut self, index: usize, delay: u64) {
        let at = self.now + delay;
        let client = &mut self.clients[index];
        if client.wake_at.is_none_or(|set| at < set) {
            client.wake_at = Some(at);
            self.after(delay, Happening::Wake { client: index });
        }
    }

    /// A client hears of one of its connections.
    pub(super) fn tell_client(&mut self, index: usize, name: ConnectionId, what: Dial) {
        let now = Duration::from_nanos(self.now);
        let core = &mut self.clients[index].core;
        match what {
            Dial::Connected => core.handle_connected(now, name),
            Dial::Refused => core.handle_connect_failed(now, name, "refused".to_owned()),
            Dial::Sent => core.handle_sent(name),
            Dial::Closed => core.handle_closed(now, name, "closed".to_owned()),
        }
        self.wake_client(index, 5 * MICROSECOND);
    }

    /// A client reads what has arrived on one connection.
    pub(super) fn read_by_client(&mut self, index: usize, link: u64) {
        let now = Duration::from_nanos(self.now);
        if let Some((name, bytes)) = self.take_arrived(link) {
            let middle = self.random.schedule.below(bytes.len() as u64 + 1) as usize;
            for piece in [&bytes[..middle], &bytes[middle..]] {
                if !piece.is_empty() {
                    self.clients[index].core.handle_received(now, name, piece);
                }
            }
        }
    }

    /// A client looks at everything there is for it.
    pub(super) fn wake(&mut self, index: usize) -> Step {
        let client = &mut self.clients[index];
        if client.wake_at.is_some_and(|at| at > self.now) {
            return Ok(());
        }
        client.wake_at = None;
        if client.stalled_until > self.now {
            let delay = client.stalled_until - self.now;
            self.wake_client(index, delay);
            return Ok(());
        }
        let links: Vec<u64> = client.links.values().copied().collect();
        for link in links {
            self.read_by_client(index, link);
        }
        let now = Duration::from_nanos(self.now);
        if index == READER {
            self.read_everything(index);
        }
        loop {
            let mut moved = false;
            while let Some(effect) = self.clients[index].core.poll_effect(now) {
                moved = true;
                self.carry_out(index, effect);
            }
            while let Some(event) = self.clients[index].core.poll_event() {
                moved = true;
                if let Event::Answered { request, outcome } = event {
                    self.answered(index, request, outcome)?;
                }
            }
            let producers: Vec<(ProducerKey, bool)> = self.clients[index]
                .producers
                .iter()
                .map(|producer| (producer.key, producer.idempotent))
                .collect();
            for (producer, idempotent) in producers {
                while let Some(delivery) = self.clients[index].core.poll_delivery(producer) {
                    moved = true;
                    self.delivered(&delivery, idempotent)?;
                }
            }
            let consumer = self.clients[index].consumer;
            while let Some(fetched) = self.clients[index].core.poll_fetched(consumer) {
                moved = true;
                self.fetched(index, fetched)?;
            }
            if !moved {
                break;
            }
        }
        self.note("client", [index as u64, 0, 0]);
        if let Some(deadline) = self.clients[index].core.deadline(now) {
            let at = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
            if at < 1000 * SECOND {
                self.wake_client(index, at.saturating_sub(self.now).max(MICROSECOND));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Connect { connection, endpoint } => self.dial(index, connection, endpoint.port),
            Effect::Send { connection, segments } => {
                if let Some(&link) = self.clients[index].links.get(&connection) {
                    self.send_by_client(link, segments);
                }
            }
            Effect::Close { connection } => {
                if let Some(&link) = self.clients[index].links.get(&connection) {
                    self.close_by_client(link);
                }
            }
        }
    }

    fn delivered(&mut self, delivery: &Delivery, idempotent: bool) -> Step {
        match &delivery.outcome {
            Ok(stored) => {
                for (place, record) in delivery.records.iter().enumerate() {
                    let offset = stored.offset(place as u32);
                    if offset.is_none() && !idempotent {
                        // Sent with acks=0: nothing was promised.
                        continue;
                    }
                    let partition = self.checker.handle_acknowledged(record.tag, offset)?;
                    self.met.acknowledged += 1;
                    if stored.duplicate && place == 0 && idempotent {
                        self.met.dedup += 1;
                        let recovered =
                            offset.is_some_and(|offset| self.node.had_recovered(partition, offset.get()));
                        self.met.dedup_after_restart += u64::from(recovered);
                    }
                }
                Ok(())
            }
            Err(error) => {
                let code = error.code();
                match (error, code) {
                    (ClientError::OrderBroken | ClientError::TimedOut { .. }, _) => Ok(()),
                    (_, ErrorCode::UnknownTopicOrPartition | ErrorCode::PartitionDamaged) => Ok(()),
                    (_, ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer) => {
                        let records = &delivery.records;
                        records.iter().try_for_each(|record| self.checker.handle_sequence_refused(record.tag))
                    }
                    _ => {
                        let what = format!("a delivery failed for no reason that there is: {error}");
                        Err(Violation { invariant: "liveness", what })
                    }
                }
            }
        }
    }

    fn fetched(&mut self, index: usize, fetched: Fetched) -> Step {
        match fetched {
            Fetched::Records { records, .. } => {
                for record in records {
                    let place = (record.topic, record.partition);
                    let Some(reading) = self.clients[index].reading.get_mut(&place) else { continue };
                    if record.offset != reading.next {
                        let what = format!(
                            "{} was read from {} on, and {} came",
                            reading.partition, reading.next, record.offset
                        );
                        return Err(Violation { invariant: "I7", what });
                    }
                    reading.next = record.offset.plus(1);
                    let (partition, offset) = (reading.partition, record.offset);
                    self.met.consumed += 1;
                    let (key, value) = (record.key.as_deref(), record.value.as_deref());
                    self.checker.handle_consumed(partition, offset, key, value)?;
                }
                Ok(())
            }
            Fetched::Failed { topic, partition, error } => {
                self.clients[index].reading.remove(&(topic, partition));
                match error.code() {
                    ErrorCode::OffsetOutOfRange
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::PartitionDamaged => Ok(()),
                    _ => {
                        let what = format!("a consumer failed: {error}");
                        Err(Violation { invariant: "I8", what })
                    }
                }
            }
        }
    }

    fn answered(&mut self, index: usize, request: RequestId, outcome: Result<Answer, ClientError>) -> Step {
        let Some(question) = self.clients[index].questions.remove(&request) else { return Ok(()) };
        match (question, outcome) {
            (Question::Create(name), Ok(Answer::Topic(topic))) => {
                self.met.topics_created += 1;
                self.met.topics_recreated += u64::from(self.checker.was_deleted(&name));
                self.checker.handle_created(topic.id, &name)
            }
            (Question::AddPartitions, Ok(_)) => {
                self.met.partitions_added += 1;
                Ok(())
            }
            (Question::Delete(name), Ok(Answer::Deleted(deleted))) => {
                self.met.topics_deleted += 1;
                self.checker.handle_deletion_answered(&name, Some(deleted.id));
                Ok(())
            }
            (Question::Delete(name), Err(error)) if error.code() == ErrorCode::UnknownTopicOrPartition => {
                self.checker.handle_deletion_answered(&name, None);
                Ok(())
            }
            (Question::Begin(name, partition), Ok(Answer::Offset(begin))) => {
                self.read_from(index, name, partition, begin.offset);
                Ok(())
            }
            _ => Ok(()),
        }
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
            self.checker.handle_sent(Intent {
                at: self.now,
                partition,
                producer: number,
                idempotent,
                value_bytes,
            });
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

    fn read_from(&mut self, index: usize, name: &str, partition: PartitionIndex, offset: Offset) {
        let client = &mut self.clients[index];
        let Ok(Some(topic)) = client.core.topic(name) else { return };
        if client.core.assign(client.consumer, &topic, partition, offset).is_ok() {
            let reading = Reading { partition: PartitionId::new(topic.id, partition), next: offset };
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
    fn read_everything(&mut self, index: usize) {
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
