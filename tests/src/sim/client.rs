//! A client: the product's own client core, what it wishes for, and what the checker hears of it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use ringmain_client::ClientError;
use ringmain_client::core::{
    Answer, ClientConfig, ClientCore, ConnectionId, ConsumerConfig, ConsumerKey, Delivery, Effect, Endpoint,
    Event, Fetched, ProducerKey, RequestId,
};
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex};
use ringmain_wire::native::errors::ErrorCode;

use super::checker::Violation;
use super::node::SHARED_PORT;
use super::queue::Happening;
use super::world::{CLIENTS, Step, World};
use super::{MICROSECOND, SECOND};

/// The client that reads everything in the end, behind those that work.
pub(super) const READER: usize = CLIENTS;

/// One client.
#[derive(Debug)]
pub(super) struct SimClient {
    pub(super) core: ClientCore,
    pub(super) links: BTreeMap<ConnectionId, u64>,
    pub(super) producers: Vec<SimProducer>,
    pub(super) producers_made: u64,
    pub(super) consumer: ConsumerKey,
    pub(super) reading: BTreeMap<(Arc<str>, PartitionIndex), Reading>,
    pub(super) questions: BTreeMap<RequestId, Question>,
    /// Looked at nothing until then.
    pub(super) stalled_until: u64,
    wake_at: Option<u64>,
}

/// One of its producers.
#[derive(Debug)]
pub(super) struct SimProducer {
    pub(super) key: ProducerKey,
    /// Over all clients.
    pub(super) number: u64,
    pub(super) idempotent: bool,
}

/// A partition that it reads, and what comes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) partition: PartitionId,
    pub(super) next: Offset,
    /// When it began to.
    pub(super) since: u64,
}

/// What it asked.
#[derive(Debug)]
pub(super) enum Question {
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
    pub(super) fn is_answered(&self) -> bool {
        self.questions.is_empty()
    }

    /// Whether every record has its outcome.
    pub(super) fn is_drained(&self) -> bool {
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
                    (_, ErrorCode::UnknownTopicOrPartition) => Ok(()),
                    (_, ErrorCode::PartitionDamaged) => {
                        let records = &delivery.records;
                        records
                            .iter()
                            .try_for_each(|record| self.checker.handle_refused_as_damaged(record.tag))
                    }
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
                let reading = self.clients[index].reading.remove(&(Arc::clone(&topic), partition));
                match error.code() {
                    ErrorCode::OffsetOutOfRange | ErrorCode::UnknownTopicOrPartition => Ok(()),
                    ErrorCode::PartitionDamaged => {
                        let goes_on =
                            reading.map(|reading| self.judge_refusal(index, reading)).transpose()?;
                        if let Some(offset) = goes_on.flatten() {
                            self.read_from(index, &topic, partition, offset);
                        }
                        Ok(())
                    }
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
