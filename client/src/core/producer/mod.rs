//! Records to batches to requests: partitioning, lingering, order and sequences over retries, delivery reports.

mod answers;
mod config;
mod queue;
mod record;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ringmain_wire::batch::HEADER_BYTES;
use ringmain_wire::ids::{PartitionId, PartitionIndex, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{InitProducerResponse, ProducePart, ProduceRequest};
use ringmain_wire::partitioner::partition_for_key;

pub use self::config::{Acks, ProducerConfig};
pub use self::record::{AppendError, Delivery, ProduceRecord, RecordTag, SentRecord, Stored};

use self::queue::{Batch, Fate, IN_FLIGHT_MAX, Identity, Queue, SendRules};
use super::backoff::Jitter;
use super::{ConnectionId, Topic};
use crate::error::ClientError;

/// Names one batch in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentBatch {
    partition: PartitionId,
    serial: u64,
}

/// A request to be sent.
#[derive(Debug)]
pub(crate) struct ProduceCommand {
    pub(crate) body: ProduceRequest,
    pub(crate) payload: Vec<Bytes>,
    /// Empty when no answer will come.
    pub(crate) batches: Vec<SentBatch>,
}

/// One producer: its partitions' queues and its identity. Owned by one client.
#[derive(Debug)]
pub(crate) struct Producer {
    config: ProducerConfig,
    queues: BTreeMap<PartitionId, Queue>,
    sticky: BTreeMap<TopicId, PartitionIndex>,
    identity: IdentityState,
    jitter: Jitter,
    serial_next: u64,
    buffered_bytes: usize,
    deliveries: VecDeque<Delivery>,
}

/// How far the producer is with getting its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdentityState {
    NotNeeded,
    Wanted { retry_at: Duration, attempts: u32 },
    Asked { attempts: u32 },
    Known(Identity),
}

/// Largest request, unless a single batch is larger: more would only queue in the socket.
const REQUEST_BYTES: usize = 1024 * 1024;
/// What a record takes in memory besides its bytes.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// What a request takes besides its batches, with room to spare.
const REQUEST_OVERHEAD_BYTES: usize = 64 * 1024;

impl Producer {
    pub(crate) fn new(mut config: ProducerConfig, seed: u64) -> Self {
        config.idempotent &= config.acks != Acks::None;
        let identity = if config.idempotent {
            IdentityState::Wanted { retry_at: Duration::ZERO, attempts: 0 }
        } else {
            IdentityState::NotNeeded
        };
        Self {
            config,
            queues: BTreeMap::new(),
            sticky: BTreeMap::new(),
            identity,
            jitter: Jitter::new(seed),
            serial_next: 0,
            buffered_bytes: 0,
            deliveries: VecDeque::new(),
        }
    }

    /// Memory taken by records without an outcome.
    pub(crate) const fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Whether an `append` may find room.
    pub(crate) const fn has_room(&self) -> bool {
        self.buffered_bytes < self.config.buffer_bytes_max
    }

    /// Batches begun before this number and not settled are part of what a flush waits for.
    pub(crate) const fn serial_next(&self) -> u64 {
        self.serial_next
    }

    /// The oldest batch that is not settled.
    pub(crate) fn oldest_serial(&self) -> Option<u64> {
        self.queues.values().filter_map(Queue::oldest_serial).min()
    }

    /// Takes a record.
    pub(crate) fn append(
        &mut self,
        now: Duration,
        topic: &Topic,
        record: &ProduceRecord<'_>,
        tag: RecordTag,
    ) -> Result<(), AppendError> {
        let bytes = record_bytes(record);
        if bytes > self.config.record_bytes_max {
            return Err(AppendError::Refused(ClientError::Refused {
                code: ErrorCode::MessageTooLarge,
                message: format!(
                    "record of {bytes} bytes: the largest allowed is {}",
                    self.config.record_bytes_max
                ),
            }));
        }
        // An empty producer takes any record, so that no limit can block one for ever.
        let bytes = bytes + RECORD_OVERHEAD_BYTES;
        if self.buffered_bytes > 0 && self.buffered_bytes + bytes > self.config.buffer_bytes_max {
            return Err(AppendError::Full);
        }
        let (partition, sticky) = self.choose(topic, record, bytes).map_err(AppendError::Refused)?;
        let serial = self.serial_next;
        let queue =
            self.queues.entry(partition).or_insert_with(|| Queue::new(partition, Arc::clone(&topic.name)));
        if queue.open_bytes().is_some_and(|open| open + bytes > self.config.batch_bytes) {
            queue.close_open();
        }
        let sent = SentRecord { tag, timestamp: record.timestamp };
        if queue.append(now, serial, self.config.codec, record, sent, bytes) {
            self.serial_next += 1;
        }
        self.buffered_bytes += bytes;
        if queue.open_bytes().is_some_and(|open| open >= self.config.batch_bytes) {
            queue.close_open();
            if sticky {
                self.move_sticky(topic.id, topic.partitions());
            }
        }
        Ok(())
    }

    /// Lets every batch go as soon as its turn comes, without lingering.
    pub(crate) fn flush(&mut self) {
        for queue in self.queues.values_mut() {
            queue.close_open();
        }
    }

    /// Whether a producer id has to be asked for now; if so, it counts as asked.
    pub(crate) fn poll_identity(&mut self, now: Duration) -> bool {
        match self.identity {
            IdentityState::Wanted { retry_at, attempts } if now >= retry_at => {
                self.identity = IdentityState::Asked { attempts };
                true
            }
            _ => false,
        }
    }

    /// A producer id arrived.
    pub(crate) fn handle_identity(&mut self, answer: &InitProducerResponse) {
        self.identity = IdentityState::Known(Identity { producer: answer.producer, epoch: answer.epoch });
    }

    /// The request for a producer id came to nothing.
    pub(crate) fn handle_identity_failed(&mut self, now: Duration, error: &ClientError) {
        let IdentityState::Asked { attempts } = self.identity else { return };
        let retry_at = now + self.jitter.delay(attempts);
        self.identity = IdentityState::Wanted { retry_at, attempts: attempts + 1 };
        if error.fault() == crate::error::Fault::Caller {
            self.fail_all(error);
        }
    }

    /// Partitions with a batch that may be sent now.
    pub(crate) fn due(&self, now: Duration) -> Vec<PartitionId> {
        let rules = self.rules();
        self.queues.values().filter(|queue| queue.is_due(now, rules)).map(|queue| queue.partition).collect()
    }

    /// One request with at most one batch of each of `partitions`, all owned by the shard behind `connection`; `None`
    /// when nothing may be sent on it.
    pub(crate) fn poll_request(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        frame_bytes_max: u32,
        partitions: &[PartitionId],
    ) -> Option<ProduceCommand> {
        let rules = self.rules();
        let batch_bytes_max = (frame_bytes_max as usize).saturating_sub(REQUEST_OVERHEAD_BYTES);
        let (mut parts, mut payload, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes_total = 0;
        for &partition in partitions {
            if bytes_total >= REQUEST_BYTES.min(batch_bytes_max) {
                break;
            }
            let Some(queue) = self.queues.get_mut(&partition) else { continue };
            if !queue.is_due(now, rules) || !queue.can_use(connection) {
                continue;
            }
            let sent = queue.send(rules, connection);
            if queue.open_bytes().is_none()
                && let Some(stuck) = self.sticky.get_mut(&partition.topic)
                && *stuck == partition.index
            {
                // A batch sent is a batch closed: keyless records move on. `stuck_to` wraps at the last partition.
                *stuck = PartitionIndex(stuck.get() + 1);
            }
            match sent {
                Ok((serial, bytes)) if bytes.len() <= batch_bytes_max => {
                    bytes_total += bytes.len();
                    parts.push(ProducePart {
                        topic: partition.topic,
                        partition: partition.index,
                        length: bytes.len() as u32,
                    });
                    payload.push(bytes);
                    if self.config.acks == Acks::None {
                        let batch = queue.take_sent();
                        let stored = Stored { base_offset: None, duplicate: false };
                        self.buffered_bytes -= batch.bytes;
                        self.deliveries.push_back(queue.delivery(batch, Ok(stored)));
                    } else {
                        batches.push(SentBatch { partition, serial });
                    }
                }
                Ok((serial, bytes)) => {
                    let error = ClientError::Refused {
                        code: ErrorCode::MessageTooLarge,
                        message: format!(
                            "batch of {} bytes: this broker takes {batch_bytes_max}",
                            bytes.len()
                        ),
                    };
                    self.fail(partition, serial, Fate::NotStored, error);
                }
                Err(error) => {
                    let batch = queue.take_next();
                    self.buffered_bytes -= batch.bytes;
                    let error = ClientError::Batch { partition: None, error };
                    self.deliveries.push_back(queue.delivery(batch, Err(error)));
                }
            }
        }
        let acks = match self.config.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let timeout_ms = ANSWER_TIMEOUT_MS;
        (!parts.is_empty()).then(|| ProduceCommand {
            body: ProduceRequest { acks, timeout_ms, parts },
            payload,
            batches,
        })
    }

    /// The topic is gone: nothing of it can be delivered any more.
    pub(crate) fn handle_topic_gone(&mut self, topic: TopicId, error: &ClientError) {
        let first = PartitionId::new(topic, PartitionIndex(0));
        let last = PartitionId::new(topic, PartitionIndex(u32::MAX));
        let gone: Vec<_> = self.queues.range(first..=last).map(|(&partition, _)| partition).collect();
        for partition in gone {
            if let Some(mut queue) = self.queues.remove(&partition) {
                for batch in queue.take_all() {
                    self.settle(&queue, batch, Err(error.clone()));
                }
            }
        }
        self.sticky.remove(&topic);
    }

    /// Time passed: what is older than the delivery timeout fails.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        let timeout = self.config.delivery_timeout;
        let expired = |queue: &Queue| queue.expired(now, timeout).map(|serial| (queue.partition, serial));
        while let Some((partition, serial)) = self.queues.values().find_map(expired) {
            let last_error =
                self.queues[&partition].last_error().map(|error| format!(" (last error: {error})"));
            let error = ClientError::TimedOut {
                waited_for: format!(
                    "delivery within {} ms{}",
                    timeout.as_millis(),
                    last_error.as_deref().unwrap_or_default()
                ),
            };
            self.fail(partition, serial, Fate::Unknown, error);
        }
    }

    /// Everything that has no outcome yet fails.
    pub(crate) fn fail_all(&mut self, error: &ClientError) {
        let mut queues = core::mem::take(&mut self.queues);
        for queue in queues.values_mut() {
            for batch in queue.take_all() {
                self.settle(queue, batch, Err(error.clone()));
            }
        }
    }

    /// The next outcome.
    pub(crate) fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// When time alone changes something after `now`.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        let identity = match self.identity {
            IdentityState::Wanted { retry_at, .. } if retry_at > now => Some(retry_at),
            _ => None,
        };
        let queues = self.queues.values();
        queues
            .filter_map(|queue| queue.deadline(now, self.config.linger, self.config.delivery_timeout))
            .chain(identity)
            .min()
    }

    fn rules(&self) -> SendRules {
        SendRules {
            linger: self.config.linger,
            in_flight_max: if self.config.idempotent || self.config.acks == Acks::None {
                IN_FLIGHT_MAX
            } else {
                1
            },
            idempotent: self.config.idempotent,
            identity: match self.identity {
                IdentityState::Known(identity) => Some(identity),
                _ => None,
            },
        }
    }

    /// The partition of a record, and whether the sticky partitioner chose it.
    fn choose(
        &mut self,
        topic: &Topic,
        record: &ProduceRecord<'_>,
        bytes: usize,
    ) -> Result<(PartitionId, bool), ClientError> {
        if let Some(partition) = record.partition {
            return Ok((topic.partition(partition)?, false));
        }
        let partitions = topic.partitions();
        if partitions == 0 {
            return Err(ClientError::Protocol { violation: "a topic without partitions" });
        }
        if let Some(key) = record.key {
            return Ok((PartitionId::new(topic.id, partition_for_key(key, partitions)), false));
        }
        let stuck = self.stuck_to(topic.id, partitions);
        let queue = self.queues.get(&PartitionId::new(topic.id, stuck));
        if queue.and_then(Queue::open_bytes).is_some_and(|open| open + bytes > self.config.batch_bytes) {
            self.move_sticky(topic.id, partitions);
        }
        Ok((PartitionId::new(topic.id, self.stuck_to(topic.id, partitions)), true))
    }

    /// Where keyless records of a topic go until the batch there closes; the first is chosen by the seed.
    fn stuck_to(&mut self, topic: TopicId, partitions: u32) -> PartitionIndex {
        let jitter = &mut self.jitter;
        let stuck = self
            .sticky
            .entry(topic)
            .or_insert_with(|| PartitionIndex((jitter.next() >> 32) as u32 % partitions));
        *stuck = PartitionIndex(stuck.get() % partitions);
        *stuck
    }

    fn move_sticky(&mut self, topic: TopicId, partitions: u32) {
        let next = (self.stuck_to(topic, partitions).get() + 1) % partitions;
        self.sticky.insert(topic, PartitionIndex(next));
    }

    fn fail(&mut self, partition: PartitionId, serial: u64, fate: Fate, error: ClientError) {
        let Some(queue) = self.queues.get_mut(&partition) else { return };
        let failed = queue.handle_failed(serial, fate);
        let mut error = Some(error);
        for batch in failed {
            if batch.has_sequence() && matches!(self.identity, IdentityState::Known(_)) {
                // The partition may never go on under the identity whose sequence broke.
                self.identity = IdentityState::Wanted { retry_at: Duration::ZERO, attempts: 0 };
            }
            self.buffered_bytes -= batch.bytes;
            let error = error.take().unwrap_or(ClientError::OrderBroken);
            self.deliveries.push_back(queue.delivery(batch, Err(error)));
        }
    }

    fn settle(&mut self, queue: &Queue, batch: Batch, outcome: Result<Stored, ClientError>) {
        self.buffered_bytes -= batch.bytes;
        self.deliveries.push_back(queue.delivery(batch, outcome));
    }
}

/// How long a broker may wait for replicas before it answers; less than the client waits for the answer.
const ANSWER_TIMEOUT_MS: u32 = 20_000;

fn record_bytes(record: &ProduceRecord<'_>) -> usize {
    let field = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|&(name, value)| name.len() + field(value)).sum();
    field(record.key) + field(record.value) + headers
}

const _: () = assert!(HEADER_BYTES < REQUEST_OVERHEAD_BYTES);
