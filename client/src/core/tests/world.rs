//! One client, one fake broker, and a network between them that can be slow, cut in the middle of a frame, and refused.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ringmain_wire::ids::TimestampMs;

use crate::core::*;
use crate::fake_broker::{BOOTSTRAP_PORT, FakeBroker};

pub(super) struct World {
    pub(super) core: ClientCore,
    pub(super) broker: FakeBroker,
    pub(super) now: Duration,
    /// Nothing listens.
    pub(super) down: bool,
    pub(super) faults: Faults,
    pub(super) events: Vec<Event>,
    /// Every endpoint that was dialled.
    pub(super) dialled: Vec<u16>,
    pub(super) random: ChaCha8Rng,
    pipes: BTreeMap<ConnectionId, Pipe>,
}

/// How often, in steps of a thousand, things go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) cut: u32,
    pub(super) restart: u32,
    /// Bytes move in pieces of random length.
    pub(super) pieces: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    to_broker: VecDeque<u8>,
    to_client: VecDeque<u8>,
    sending: bool,
}

impl World {
    pub(super) fn new(shards: u16, seed: u64) -> Self {
        let bootstrap = vec![Endpoint { host: "broker".to_owned(), port: BOOTSTRAP_PORT }];
        Self {
            core: ClientCore::new(ClientConfig::default(), bootstrap, seed),
            broker: FakeBroker::new(shards),
            now: Duration::ZERO,
            down: false,
            faults: Faults::default(),
            events: Vec::new(),
            dialled: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            pipes: BTreeMap::new(),
        }
    }

    /// Moves effects and bytes until nothing moves without time passing.
    pub(super) fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets things happen, time included, until `done` or `limit` has passed.
    pub(super) fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            while self.step() {
                if done(self) {
                    return true;
                }
                self.inflict();
            }
            if done(self) {
                return true;
            }
            let times = [self.core.deadline(self.now), self.broker.deadline()];
            match times.into_iter().flatten().min() {
                Some(at) if at <= end => self.now = at.max(self.now + Duration::from_nanos(1)),
                _ => {
                    self.now = end;
                    self.settle();
                    return done(self);
                }
            }
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.run(by, |_| false);
        assert_eq!(self.now, end);
    }

    /// Cuts every connection; what was on its way is lost, in both directions.
    pub(super) fn cut_all(&mut self) {
        for connection in self.pipes.keys().copied().collect::<Vec<_>>() {
            self.cut(connection);
        }
    }

    pub(super) fn append(
        &mut self,
        producer: ProducerKey,
        topic: &str,
        partition: Option<u32>,
        key: Option<&str>,
        value: &str,
        tag: u64,
    ) -> Result<(), AppendError> {
        let record = ProduceRecord {
            partition: partition.map(PartitionIndex),
            timestamp: TimestampMs(1_000 + tag as i64),
            key: key.map(str::as_bytes),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        self.core.append(self.now, producer, topic, &record, RecordTag(tag))
    }

    pub(super) fn deliveries(&mut self, producer: ProducerKey) -> Vec<Delivery> {
        core::iter::from_fn(|| self.core.poll_delivery(producer)).collect()
    }

    /// A world whose client is connected and knows the topic.
    pub(super) fn with_topic(shards: u16, topic: &str, partitions: u32) -> Self {
        let mut world = Self::new(shards, 1);
        world.broker.create_topic(topic, partitions);
        world.settle();
        assert_eq!(world.core.topic(topic), Ok(None));
        world.settle();
        assert!(matches!(world.core.topic(topic), Ok(Some(_))));
        world
    }

    /// Effects and some bytes; whether anything moved.
    fn step(&mut self) -> bool {
        let mut moved = false;
        while let Some(effect) = self.core.poll_effect(self.now) {
            self.carry_out(effect);
            moved = true;
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
        self.broker.serve(self.now);
        for connection in self.pipes.keys().copied().collect::<Vec<_>>() {
            moved |= self.carry(connection);
        }
        moved
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { connection, endpoint } => {
                self.dialled.push(endpoint.port);
                assert_eq!(endpoint.host, "broker");
                match self.broker.listener(endpoint.port) {
                    Some(shard) if !self.down => {
                        self.broker.open(connection, shard);
                        self.pipes.insert(connection, Pipe::default());
                        self.core.handle_connected(self.now, connection);
                    }
                    _ => {
                        self.core.handle_connect_failed(
                            self.now,
                            connection,
                            "connection refused".to_owned(),
                        );
                    }
                }
            }
            Effect::Send { connection, segments } => {
                let Some(pipe) = self.pipes.get_mut(&connection) else { return };
                assert!(!pipe.sending, "two sends under way on one connection");
                pipe.sending = true;
                pipe.to_broker.extend(segments.iter().flatten());
            }
            Effect::Close { connection } => {
                self.pipes.remove(&connection);
                self.broker.close(connection);
            }
        }
    }

    fn carry(&mut self, connection: ConnectionId) -> bool {
        let mut moved = false;
        let output = self.broker.take_output(connection);
        let Some(pipe) = self.pipes.get_mut(&connection) else { return false };
        pipe.to_client.extend(output);
        if !pipe.to_broker.is_empty() {
            let length = piece(&mut self.random, self.faults, pipe.to_broker.len());
            let bytes: Vec<u8> = pipe.to_broker.drain(..length).collect();
            self.broker.receive(self.now, connection, &bytes);
            moved = true;
        } else if pipe.sending {
            pipe.sending = false;
            self.core.handle_sent(connection);
            moved = true;
        }
        let Some(pipe) = self.pipes.get_mut(&connection) else { return moved };
        if !pipe.to_client.is_empty() {
            let length = piece(&mut self.random, self.faults, pipe.to_client.len());
            let bytes: Vec<u8> = pipe.to_client.drain(..length).collect();
            self.core.handle_received(self.now, connection, &bytes);
            moved = true;
        }
        moved
    }

    fn inflict(&mut self) {
        if self.happens(self.faults.cut)
            && let Some(connection) = {
                let place = self.random.next_u32() as usize % self.pipes.len().max(1);
                self.pipes.keys().nth(place).copied()
            }
        {
            self.cut(connection);
        }
        if self.happens(self.faults.restart) {
            let shards = 1 + (self.random.next_u32() % 4) as u16;
            self.broker.restart(shards);
            self.cut_all();
        }
    }

    fn happens(&mut self, per_mille: u32) -> bool {
        self.random.next_u32() % 1000 < per_mille
    }

    fn cut(&mut self, connection: ConnectionId) {
        self.pipes.remove(&connection);
        self.broker.close(connection);
        self.core.handle_closed(self.now, connection, "cut".to_owned());
    }
}

fn piece(random: &mut ChaCha8Rng, faults: Faults, length: usize) -> usize {
    if faults.pieces { 1 + random.next_u32() as usize % length.min(400) } else { length }
}
