//! The client without sockets: events go in (`handle_*`), commands are given, effects and outcomes come out (`poll_*`).
//!
//! Must never import: sockets, clocks, randomness, threads, an executor. Time is an argument, counted from any moment
//! that does not change; jitter comes from a seed. The same code runs under tokio and in the simulator.
//!
//! A carrier of effects does, in a loop:
//! 1. [`ClientCore::poll_effect`] until `None`: connect, send, close;
//! 2. take outcomes: [`ClientCore::poll_event`], [`ClientCore::poll_delivery`], [`ClientCore::poll_fetched`];
//! 3. wait for something to hand to a `handle_*` method, a command, or [`ClientCore::deadline`].

mod backoff;
mod cluster;
mod connection;
mod consumer;
mod links;
mod producer;
mod receiving;
mod request;
mod sending;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, ShardId};
use ringmain_wire::native::errors::ErrorCode;

pub use self::cluster::{Endpoint, Topic};
pub use self::consumer::{ConsumerConfig, Fetched, Position, Record};
pub use self::producer::{
    Acks, AppendError, Delivery, ProduceRecord, ProducerConfig, RecordTag, SentRecord, Stored,
};
pub use self::request::{Answer, Request};

use self::backoff::Jitter;
use self::cluster::Cluster;
use self::connection::{Arrival, Connection};
use self::consumer::{Consumer, SentFetch};
use self::links::{Lane, Links};
use self::producer::{Producer, SentBatch};
use self::request::Requests;
use crate::error::ClientError;

/// Names a connection between [`Effect::Connect`] and its end; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Names a producer of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProducerKey(pub u64);

/// Names a consumer of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerKey(pub u64);

/// Names a question of this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the carrier has to do. It reports back with the `handle_*` methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Establish a connection; then [`ClientCore::handle_connected`] or [`ClientCore::handle_connect_failed`].
    Connect {
        /// Its name from now on.
        connection: ConnectionId,
        /// Where to.
        endpoint: Endpoint,
    },
    /// Send all of it in order; then [`ClientCore::handle_sent`], before which nothing more is given for this
    /// connection.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes.
        segments: Vec<Bytes>,
    },
    /// Close it, or stop establishing it. Nothing is reported back, and what still arrives on it is ignored.
    Close {
        /// Which one.
        connection: ConnectionId,
    },
}

/// What happened that someone may wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A broker greeted this client for the first time.
    Ready,
    /// No bootstrap address could be reached, and none ever was. The client goes on trying.
    ConnectFailed(ClientError),
    /// A question has its outcome.
    Answered {
        /// Which one.
        request: RequestId,
        /// The answer, or why there is none.
        outcome: Result<Answer, ClientError>,
    },
}

/// How a client connects and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Names the program in the broker's log.
    pub client_name: String,
    /// How long establishing a connection, greeting included, may take.
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection counts as dead.
    pub request_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            client_name: concat!("ringmain-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// What a request on a connection is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Metadata,
    Request(RequestId),
    Identity(ProducerKey),
    Produce { producer: ProducerKey, batches: Vec<SentBatch> },
    Fetch { consumer: ConsumerKey, shard: ShardId, parts: Vec<SentFetch> },
}

/// One client: its connections, metadata, producers, consumers and questions. View: one process.
#[derive(Debug)]
pub struct ClientCore {
    config: ClientConfig,
    cluster: Cluster,
    links: Links,
    requests: Requests,
    producers: BTreeMap<ProducerKey, Producer>,
    consumers: BTreeMap<ConsumerKey, Consumer>,
    metadata: MetadataRefresh,
    /// A shard was not where the map says: the map is asked for again with a new greeting.
    map_outdated: bool,
    ever_ready: bool,
    key_next: u64,
    jitter: Jitter,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
}

#[derive(Debug, Default)]
struct MetadataRefresh {
    in_flight: bool,
    retry_at: Duration,
    attempts: u32,
    /// When everything is asked for again, for partitions that others have added.
    refresh_at: Duration,
}

// Getters.
impl ClientCore {
    /// Whether an `append` to a producer may find room.
    pub fn has_room(&self, producer: ProducerKey) -> bool {
        self.producers.get(&producer).is_some_and(Producer::has_room)
    }

    /// Memory taken by a producer's records that have no outcome yet.
    pub fn buffered_bytes(&self, producer: ProducerKey) -> usize {
        self.producers.get(&producer).map_or(0, Producer::buffered_bytes)
    }

    /// A mark behind every record that was appended so far, for [`ClientCore::is_flushed`].
    pub fn flush_mark(&self, producer: ProducerKey) -> u64 {
        self.producers.get(&producer).map_or(0, Producer::serial_next)
    }

    /// Whether every record before that mark has its outcome.
    pub fn is_flushed(&self, producer: ProducerKey, mark: u64) -> bool {
        let oldest = self.producers.get(&producer).and_then(Producer::oldest_serial);
        oldest.is_none_or(|oldest| oldest >= mark)
    }

    /// Where a consumer stands in a partition that it reads.
    pub fn position(&self, consumer: ConsumerKey, partition: PartitionId) -> Option<Position> {
        self.consumers.get(&consumer)?.position(partition)
    }

    /// When [`ClientCore::poll_effect`] has to be called at the latest, though nothing else happens; to be asked for
    /// after it has returned `None` for this `now`.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let metadata =
            [self.metadata.retry_at, self.metadata.refresh_at].into_iter().filter(|&at| at > now).min();
        let producers = self.producers.values().filter_map(|producer| producer.deadline(now));
        let consumers = self.consumers.values().filter_map(|consumer| consumer.deadline(now));
        [self.links.deadline(now), self.requests.deadline(now), metadata]
            .into_iter()
            .flatten()
            .chain(producers)
            .chain(consumers)
            .min()
    }
}

// Something happened.
impl ClientCore {
    /// A connection was established.
    pub fn handle_connected(&mut self, now: Duration, connection: ConnectionId) {
        let deadline = now + self.config.connect_timeout;
        self.links.handle_connected(connection, Connection::new(&self.config.client_name, deadline));
    }

    /// A connection could not be established.
    pub fn handle_connect_failed(&mut self, now: Duration, connection: ConnectionId, reason: String) {
        if let Some(lane) = self.links.lane(connection) {
            self.fail_link(now, lane, None, reason);
        }
    }

    /// Bytes arrived.
    pub fn handle_received(&mut self, now: Duration, connection: ConnectionId, bytes: &[u8]) {
        let Some(lane) = self.links.lane(connection) else { return };
        let Some(wire) = self.links.wire(lane) else { return };
        wire.handle_received(bytes);
        // Taking what arrived may take the link down.
        while let Some(wire) = self.links.wire(lane) {
            let handled = match wire.poll_arrival() {
                Ok(None) => return,
                Ok(Some(Arrival::Greeted(hello))) => self.handle_greeted(lane, &hello),
                Ok(Some(Arrival::Answer(answer))) => {
                    self.links.handle_served(lane);
                    self.handle_answer(now, answer)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                self.effects.push_back(Effect::Close { connection });
                let reason = error.to_string();
                self.fail_link(now, lane, Some(error), reason);
                return;
            }
        }
    }

    /// The bytes of the last [`Effect::Send`] were given to the socket: it may have more.
    pub fn handle_sent(&mut self, connection: ConnectionId) {
        self.links.handle_sent(connection);
    }

    /// A connection broke or was closed by the other side.
    pub fn handle_closed(&mut self, now: Duration, connection: ConnectionId, reason: String) {
        if let Some(lane) = self.links.lane(connection) {
            self.fail_link(now, lane, None, reason);
        }
    }
}

// Commands.
impl ClientCore {
    /// A client that begins with those addresses, in turn. `seed` spreads its retries and must differ between clients.
    ///
    /// # Panics
    /// When `bootstrap` is empty.
    pub fn new(config: ClientConfig, bootstrap: Vec<Endpoint>, seed: u64) -> Self {
        let mut links = Links::default();
        links.want(Lane::Control);
        Self {
            config,
            cluster: Cluster::new(bootstrap),
            links,
            requests: Requests::default(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            metadata: MetadataRefresh::default(),
            map_outdated: false,
            ever_ready: false,
            key_next: 0,
            jitter: Jitter::new(seed),
            effects: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks a question; its outcome comes as [`Event::Answered`], at the latest after `timeout`.
    pub fn ask(&mut self, now: Duration, request: Request, timeout: Duration) -> RequestId {
        self.requests.ask(request, now + timeout)
    }

    /// Nobody waits for that answer any more. What was asked may still be carried out.
    pub fn forget(&mut self, request: RequestId) {
        self.requests.forget(request);
    }

    /// The topic of that name; `None` while it is being asked for.
    ///
    /// # Errors
    /// When there is none. The next call asks again.
    pub fn topic(&mut self, name: &str) -> Result<Option<Arc<Topic>>, ClientError> {
        self.cluster.want(name)
    }

    /// Whether, since the last call, [`ClientCore::topic`] or [`ClientCore::append`] left a topic to be asked for. For
    /// carriers that call them elsewhere than in their loop, and must then wake it.
    pub fn take_newly_wanted(&mut self) -> bool {
        self.cluster.take_newly_wanted()
    }

    /// Opens a producer, with an id of its own if it is idempotent.
    pub fn open_producer(&mut self, config: ProducerConfig) -> ProducerKey {
        let key = ProducerKey(self.next_key());
        self.producers.insert(key, Producer::new(config, self.jitter.next()));
        key
    }

    /// Takes a record into a producer's buffer.
    ///
    /// # Errors
    /// When it has to be tried again later, or cannot be produced.
    pub fn append(
        &mut self,
        now: Duration,
        producer: ProducerKey,
        topic: &str,
        record: &ProduceRecord<'_>,
        tag: RecordTag,
    ) -> Result<(), AppendError> {
        let producer = self.producers.get_mut(&producer).ok_or(AppendError::Refused(ClientError::Closed))?;
        let known = self.cluster.want(topic).map_err(AppendError::Refused)?;
        let known = known.ok_or(AppendError::AwaitingMetadata)?;
        let appended = producer.append(now, &known, record, tag);
        match &appended {
            // The topic may have more partitions than when it was last heard of.
            Err(AppendError::Refused(error)) if error.code() == ErrorCode::UnknownTopicOrPartition => {
                if self.cluster.is_stale(topic) {
                    return Err(AppendError::AwaitingMetadata);
                }
                self.cluster.handle_outdated(topic);
            }
            _ => {}
        }
        appended
    }

    /// Lets everything that a producer holds go without lingering.
    pub fn flush(&mut self, producer: ProducerKey) {
        if let Some(producer) = self.producers.get_mut(&producer) {
            producer.flush();
        }
    }

    /// Ends a producer; whatever has no outcome yet is returned as failed.
    pub fn close_producer(&mut self, producer: ProducerKey) -> Vec<Delivery> {
        let Some(mut producer) = self.producers.remove(&producer) else { return Vec::new() };
        producer.fail_all(&ClientError::Closed);
        core::iter::from_fn(|| producer.poll_delivery()).collect()
    }

    /// Opens a consumer that reads nothing yet.
    pub fn open_consumer(&mut self, config: ConsumerConfig) -> ConsumerKey {
        let key = ConsumerKey(self.next_key());
        self.consumers.insert(key, Consumer::new(config, self.jitter.next()));
        key
    }

    /// Reads a partition from `offset` on; one that is read already goes on there (seek).
    ///
    /// # Errors
    /// When the topic has no such partition.
    pub fn assign(
        &mut self,
        consumer: ConsumerKey,
        topic: &Topic,
        partition: PartitionIndex,
        offset: Offset,
    ) -> Result<(), ClientError> {
        let partition = topic.partition(partition)?;
        let consumer = self.consumers.get_mut(&consumer).ok_or(ClientError::Closed)?;
        consumer.assign(topic, partition, offset);
        Ok(())
    }

    /// Reads a partition no further.
    pub fn unassign(&mut self, consumer: ConsumerKey, partition: PartitionId) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.unassign(partition);
        }
    }

    /// Stops or resumes fetching a partition.
    pub fn set_paused(&mut self, consumer: ConsumerKey, partition: PartitionId, paused: bool) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.set_paused(partition, paused);
        }
    }

    /// Ends a consumer and its connections.
    pub fn close_consumer(&mut self, consumer: ConsumerKey) {
        self.consumers.remove(&consumer);
        for lane in self.links.fetch_lanes(consumer) {
            self.remove_link(lane);
        }
    }
}

// What to do now.
impl ClientCore {
    /// The next thing that the carrier has to do; `None` when it has to wait.
    pub fn poll_effect(&mut self, now: Duration) -> Option<Effect> {
        if self.effects.is_empty() {
            self.advance(now);
        }
        self.effects.pop_front()
    }

    /// What happened that someone may wait for.
    pub fn poll_event(&mut self) -> Option<Event> {
        let answered = |(request, outcome)| Event::Answered { request, outcome };
        self.events.pop_front().or_else(|| self.requests.poll_answer().map(answered))
    }

    /// The next outcome of a producer's records.
    pub fn poll_delivery(&mut self, producer: ProducerKey) -> Option<Delivery> {
        self.producers.get_mut(&producer)?.poll_delivery()
    }

    /// The next records of a consumer.
    pub fn poll_fetched(&mut self, consumer: ConsumerKey) -> Option<Fetched> {
        self.consumers.get_mut(&consumer)?.poll_fetched()
    }
}

// Within.
impl ClientCore {
    fn remove_link(&mut self, lane: Lane) {
        let connection = self.links.remove(lane);
        self.effects.extend(connection.map(|connection| Effect::Close { connection }));
    }

    const fn next_key(&mut self) -> u64 {
        let key = self.key_next;
        self.key_next += 1;
        key
    }
}

#[cfg(test)]
mod tests;
