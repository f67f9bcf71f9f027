//! One connection of the producer: its partitions in turn, five batches in flight, and after every loss the same
//! batches again, from the oldest that was not acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ringmain_wire::ids::{LeaderEpoch, PartitionIndex, ProducerId, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{ProducePart, ProduceRequest, ProduceResponse};

use super::{Order, Orders, ProducerOptions, RETRY_PAUSE, find_topic, say};
use crate::crash::dice::Dice;
use crate::crash::report::{Acknowledged, Event};
use crate::crash::session::{Session, SessionError};
use crate::crash::workload::{BATCH_RECORDS_MAX, BATCHES_IN_FLIGHT, batch, partitions_of};

/// When every in-sync replica has it.
const ACKS_ALL: i8 = -1;
const TIMEOUT_MS: u32 = 30_000;

/// A connection through all its losses. Owned by its thread.
pub(super) struct Connection {
    number: u32,
    options: ProducerOptions,
    producer: ProducerId,
    topic: TopicId,
    orders: Arc<Orders>,
    dice: Dice,
    /// Its partitions with the number of their next record; the first has its turn.
    turns: VecDeque<(PartitionIndex, u64)>,
    /// Made and not yet acknowledged, oldest first.
    unacknowledged: VecDeque<Batch>,
}

/// A batch, the same in every attempt.
struct Batch {
    partition: PartitionIndex,
    first: u64,
    records: u64,
    bytes: Bytes,
    /// The broker's start that it was first sent to.
    sent_to: Option<LeaderEpoch>,
}

impl Connection {
    pub(super) fn new(
        number: u32,
        options: ProducerOptions,
        producer: ProducerId,
        topic: TopicId,
        orders: Arc<Orders>,
    ) -> Self {
        let turns = partitions_of(number).map(|partition| (partition, 0)).collect();
        let dice = Dice::new(options.seed, u64::from(number) + 1);
        Self { number, options, producer, topic, orders, dice, turns, unacknowledged: VecDeque::new() }
    }

    /// Until it is stopped and everything is acknowledged.
    pub(super) fn run(mut self) -> Result<(), SessionError> {
        loop {
            match self.serve() {
                Err(error) if error.is_passing() => self.orders.pause(RETRY_PAUSE),
                Ok(()) => return Ok(()),
                Err(error) => {
                    // At once: the other connections do not end by themselves.
                    say(&Event::Failed(error.to_string()));
                    return Err(error);
                }
            }
        }
    }

    /// From connecting to the loss of the connection.
    fn serve(&mut self) -> Result<(), SessionError> {
        let (mut session, _) = Session::connect(self.options.broker)?;
        let (topic, start) = find_topic(&mut session)?;
        assert_eq!(topic, self.topic, "the topic stays the same");
        let connection = self.number;
        say(&Event::Connected { connection, start });
        let served = self.exchange(&mut session, start);
        say(&Event::Disconnected { connection });
        served
    }

    fn exchange(&mut self, session: &mut Session, start: LeaderEpoch) -> Result<(), SessionError> {
        // Numbers of the requests under way: those of the oldest batches, in order.
        let mut requests = VecDeque::new();
        loop {
            if self.unacknowledged.is_empty() {
                self.orders.wait_while_held();
            }
            match self.orders.current() {
                Order::Produce => {
                    while self.unacknowledged.len() < BATCHES_IN_FLIGHT {
                        self.make_batch();
                    }
                }
                Order::Stop if self.unacknowledged.is_empty() => return Ok(()),
                Order::Hold | Order::Stop => {}
            }
            while let Some(batch) = self.unacknowledged.get_mut(requests.len()) {
                batch.sent_to.get_or_insert(start);
                requests.push_back(send(session, self.topic, batch)?);
            }
            if let Some(request) = requests.pop_front() {
                let (answer, _): (ProduceResponse, _) = session.receive(Api::Produce, request)?;
                self.handle_answer(answer, start)?;
            }
        }
    }

    fn make_batch(&mut self) {
        let (partition, first) = self.turns.pop_front().expect("every connection has partitions");
        let records = self.dice.between(1, BATCH_RECORDS_MAX);
        self.turns.push_back((partition, first + records));
        let bytes = batch(self.producer, partition, first, records);
        self.unacknowledged.push_back(Batch { partition, first, records, bytes, sent_to: None });
    }

    /// The answer to the oldest batch. Reported before anything takes the batch's place.
    fn handle_answer(&mut self, answer: ProduceResponse, start: LeaderEpoch) -> Result<(), SessionError> {
        let part = answer.parts.into_iter().next().ok_or(SessionError::WrongAnswer)?;
        if part.error != 0 {
            return Err(SessionError::refused(part.error, part.message));
        }
        let batch = self.unacknowledged.pop_front().expect("it was asked for");
        say(&Event::Acknowledged(Acknowledged {
            partition: batch.partition,
            offset: part.base_offset.get(),
            first: batch.first,
            records: batch.records,
            duplicate: part.duplicate,
            sent_to: batch.sent_to.expect("it was sent"),
            answered_by: start,
        }));
        Ok(())
    }
}

fn send(session: &mut Session, topic: TopicId, batch: &Batch) -> Result<u32, SessionError> {
    let length = u32::try_from(batch.bytes.len()).expect("batches are small");
    let part = ProducePart { topic, partition: batch.partition, length };
    let request = ProduceRequest { acks: ACKS_ALL, timeout_ms: TIMEOUT_MS, parts: vec![part] };
    session.send(Api::Produce, &request, &batch.bytes)
}
