//! Reading partitions from given offsets on: what to fetch next, what has been fetched, records out of batches.

mod config;
mod record;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, ShardId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{FetchPart, FetchRequest, FetchResponse, FetchedPart};

pub use self::config::ConsumerConfig;
pub use self::record::{Fetched, Position, Record};

use self::record::{next_offset, read_batch};
use super::Topic;
use super::backoff::Jitter;
use crate::error::{ClientError, Fault};

/// Names the fetch of one partition in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentFetch {
    partition: PartitionId,
    offset: Offset,
    /// That of the assignment: an answer to a fetch from before a seek is thrown away.
    generation: u64,
}

/// One consumer: its assignments and what was fetched ahead. Owned by one client.
#[derive(Debug)]
pub(crate) struct Consumer {
    config: ConsumerConfig,
    assignments: BTreeMap<PartitionId, Assignment>,
    fetched: VecDeque<Chunk>,
    failures: VecDeque<Fetched>,
    /// Bytes fetched and not taken, by the shard they came from.
    fetched_bytes: BTreeMap<ShardId, usize>,
    generation_next: u64,
    /// Moves the order of partitions in requests, so that none starves at the end of a full answer.
    rotation: usize,
    jitter: Jitter,
}

#[derive(Debug)]
struct Assignment {
    topic: Arc<str>,
    generation: u64,
    /// Where the next fetch begins.
    fetch_offset: Offset,
    position: Position,
    in_fetch: bool,
    paused: bool,
    retry_at: Duration,
    attempts: u32,
}

/// Whole batches of one partition, as they came.
#[derive(Debug)]
struct Chunk {
    partition: PartitionId,
    generation: u64,
    shard: ShardId,
    high_watermark: Offset,
    batches: Bytes,
}

/// The smallest fetch: below it a long list of shards would fetch in crumbs.
const FETCH_BYTES_MIN: u32 = 64 * 1024;
/// The client does not say which leader epoch it knows: a log of one node is not truncated below its watermark.
const EPOCH_UNKNOWN: LeaderEpoch = LeaderEpoch(-1);

impl Consumer {
    pub(crate) fn new(config: ConsumerConfig, seed: u64) -> Self {
        Self {
            config,
            assignments: BTreeMap::new(),
            fetched: VecDeque::new(),
            failures: VecDeque::new(),
            fetched_bytes: BTreeMap::new(),
            generation_next: 0,
            rotation: 0,
            jitter: Jitter::new(seed),
        }
    }

    /// Where it stands in a partition that it reads.
    pub(crate) fn position(&self, partition: PartitionId) -> Option<Position> {
        self.assignments.get(&partition).map(|assignment| assignment.position)
    }

    /// Reads a partition from `offset` on; one that is read already goes on there (seek).
    pub(crate) fn assign(&mut self, topic: &Topic, partition: PartitionId, offset: Offset) {
        let generation = self.generation_next;
        self.generation_next += 1;
        let paused = self.assignments.get(&partition).is_some_and(|assignment| assignment.paused);
        let assignment = Assignment {
            topic: Arc::clone(&topic.name),
            generation,
            fetch_offset: offset,
            position: Position { offset, high_watermark: None },
            in_fetch: false,
            paused,
            retry_at: Duration::ZERO,
            attempts: 0,
        };
        self.assignments.insert(partition, assignment);
        self.drop_outdated();
    }

    /// Reads a partition no further; what was fetched of it is dropped.
    pub(crate) fn unassign(&mut self, partition: PartitionId) {
        self.assignments.remove(&partition);
        self.drop_outdated();
    }

    /// Fetches no more of a partition until it is resumed; what was fetched is still given out.
    pub(crate) fn set_paused(&mut self, partition: PartitionId, paused: bool) {
        if let Some(assignment) = self.assignments.get_mut(&partition) {
            assignment.paused = paused;
        }
    }

    /// Partitions that may be fetched now.
    pub(crate) fn due(&self, now: Duration) -> Vec<PartitionId> {
        let due = |assignment: &Assignment| {
            !assignment.in_fetch && !assignment.paused && now >= assignment.retry_at
        };
        self.assignments
            .iter()
            .filter(|(_, assignment)| due(assignment))
            .map(|(&partition, _)| partition)
            .collect()
    }

    /// A request for `partitions`, all owned by `shard`, one of `shards` that are read; `None` while enough of that
    /// shard is held.
    pub(crate) fn poll_request(
        &mut self,
        shard: ShardId,
        shards: usize,
        partitions: &[PartitionId],
    ) -> Option<(FetchRequest, Vec<SentFetch>)> {
        // Half of a shard's share may be held, the other half be under way.
        let share = self.config.prefetch_bytes_max / (2 * shards.max(1) as u32);
        let bytes_max = share.max(FETCH_BYTES_MIN);
        let held = self.fetched_bytes.get(&shard).copied().unwrap_or(0);
        if held >= bytes_max as usize || partitions.is_empty() {
            return None;
        }
        self.rotation = self.rotation.wrapping_add(1);
        let mut order = partitions.to_vec();
        order.rotate_left(self.rotation % partitions.len());
        let (mut parts, mut sent) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        for partition in order {
            let Some(assignment) = self.assignments.get_mut(&partition) else { continue };
            assignment.in_fetch = true;
            let offset = assignment.fetch_offset;
            parts.push(FetchPart {
                topic: partition.topic,
                partition: partition.index,
                offset,
                bytes_max,
                leader_epoch: EPOCH_UNKNOWN,
            });
            sent.push(SentFetch { partition, offset, generation: assignment.generation });
        }
        let request = FetchRequest {
            wait_ms_max: u32::try_from(self.config.fetch_wait.as_millis()).unwrap_or(u32::MAX),
            bytes_min: self.config.fetch_bytes_min,
            bytes_max,
            parts,
        };
        Some((request, sent))
    }

    /// How long a broker may take to answer a fetch, on top of what any request may take.
    pub(crate) const fn fetch_wait(&self) -> Duration {
        self.config.fetch_wait
    }

    /// The broker answered a fetch. Returns the topics whose owner has to be asked for again.
    ///
    /// # Errors
    /// When the answer does not fit the request.
    pub(crate) fn handle_answer(
        &mut self,
        now: Duration,
        shard: ShardId,
        sent: &[SentFetch],
        answer: &FetchResponse,
        mut payload: Bytes,
    ) -> Result<Vec<TopicId>, ClientError> {
        let lengths: u64 = answer.parts.iter().map(|part| u64::from(part.length)).sum();
        if answer.parts.len() != sent.len() || lengths != payload.len() as u64 {
            self.handle_lost(now, sent);
            return Err(ClientError::Protocol { violation: "a fetch answer that does not fit its request" });
        }
        let mut moved = Vec::new();
        for (sent, part) in sent.iter().zip(&answer.parts) {
            let batches = payload.split_to(part.length as usize);
            moved.extend(self.handle_part(now, shard, *sent, part, batches));
        }
        Ok(moved)
    }

    /// The broker refused a fetch as a whole.
    pub(crate) fn handle_refused(&mut self, now: Duration, sent: &[SentFetch], error: &ClientError) {
        for sent in sent {
            self.handle_error(now, *sent, error.clone());
        }
    }

    /// The connection was lost before the answer: everything is fetched again.
    pub(crate) fn handle_lost(&mut self, now: Duration, sent: &[SentFetch]) {
        for sent in sent {
            if let Some(assignment) = self.current(*sent) {
                assignment.in_fetch = false;
                assignment.retry_at = now;
            }
        }
    }

    /// The topic is gone: its partitions are read no further.
    pub(crate) fn handle_topic_gone(&mut self, topic: TopicId, error: &ClientError) {
        let gone: Vec<_> =
            self.assignments.keys().copied().filter(|partition| partition.topic == topic).collect();
        for partition in gone {
            self.fail(partition, error.clone());
        }
    }

    /// The next records, or a partition that is read no further; `None` when nothing is there.
    pub(crate) fn poll_fetched(&mut self) -> Option<Fetched> {
        while let Some(chunk) = self.fetched.front_mut() {
            let partition = chunk.partition;
            let Some(assignment) = self.assignments.get_mut(&partition) else {
                unreachable!("chunks leave with their assignment")
            };
            let wanted = assignment.position.offset;
            let held = chunk.batches.len();
            let read = read_batch(
                &mut chunk.batches,
                &assignment.topic,
                partition.index,
                wanted,
                self.config.decompressed_bytes_max,
            );
            let (taken, high_watermark) = (held - chunk.batches.len(), chunk.high_watermark);
            *self.fetched_bytes.entry(chunk.shard).or_default() -= taken;
            if chunk.batches.is_empty() {
                self.fetched.pop_front();
            }
            match read {
                Ok((next, records)) => {
                    assignment.position.offset = next.max(wanted);
                    // A batch of markers or of records below the wanted offset gives none.
                    if !records.is_empty() {
                        return Some(Fetched::Records { records, high_watermark });
                    }
                }
                Err(error) => {
                    let name = Some(format!("{}/{} at offset {wanted}", assignment.topic, partition.index));
                    self.fail(partition, ClientError::Batch { partition: name, error });
                }
            }
        }
        self.failures.pop_front()
    }

    /// When time alone changes something after `now`.
    pub(crate) fn deadline(&self, now: Duration) -> Option<Duration> {
        self.assignments.values().map(|assignment| assignment.retry_at).filter(|&at| at > now).min()
    }

    fn handle_part(
        &mut self,
        now: Duration,
        shard: ShardId,
        sent: SentFetch,
        part: &FetchedPart,
        batches: Bytes,
    ) -> Option<TopicId> {
        if part.error != 0 {
            return self.handle_error(now, sent, ClientError::refused(part.error, String::new()));
        }
        let assignment = self.current(sent)?;
        assignment.in_fetch = false;
        assignment.attempts = 0;
        assignment.position.high_watermark = Some(part.high_watermark);
        if batches.is_empty() {
            return None;
        }
        match next_offset(&batches, sent.offset) {
            Ok(next) => {
                assignment.fetch_offset = next;
                *self.fetched_bytes.entry(shard).or_default() += batches.len();
                self.fetched.push_back(Chunk {
                    partition: sent.partition,
                    generation: sent.generation,
                    shard,
                    high_watermark: part.high_watermark,
                    batches,
                });
            }
            Err(error) => self.fail(sent.partition, error),
        }
        None
    }

    fn handle_error(&mut self, now: Duration, sent: SentFetch, error: ClientError) -> Option<TopicId> {
        let attempts = self.current(sent)?.attempts;
        let delay = self.jitter.delay(attempts);
        let assignment = self.current(sent)?;
        assignment.in_fetch = false;
        // A node whose storage failed stops; its records are there after the restart.
        if error.fault() == Fault::Retriable || error.code() == ErrorCode::StorageFailed {
            assignment.retry_at = now + delay;
            assignment.attempts += 1;
            return Some(sent.partition.topic);
        }
        let error = match error {
            ClientError::Refused { code: code @ ErrorCode::OffsetOutOfRange, .. } => {
                let (topic, index) = (&assignment.topic, sent.partition.index);
                let message = format!("{topic}/{index} does not hold offset {}", sent.offset);
                ClientError::Refused { code, message }
            }
            other => other,
        };
        self.fail(sent.partition, error);
        None
    }

    /// The assignment that a fetch was made for, unless it is another one by now.
    fn current(&mut self, sent: SentFetch) -> Option<&mut Assignment> {
        self.assignments
            .get_mut(&sent.partition)
            .filter(|assignment| assignment.generation == sent.generation)
    }

    fn fail(&mut self, partition: PartitionId, error: ClientError) {
        if let Some(assignment) = self.assignments.remove(&partition) {
            self.failures.push_back(Fetched::Failed {
                topic: assignment.topic,
                partition: partition.index,
                error,
            });
            self.drop_outdated();
        }
    }

    /// Drops what was fetched for assignments that are no more.
    fn drop_outdated(&mut self) {
        let (assignments, fetched_bytes) = (&self.assignments, &mut self.fetched_bytes);
        self.fetched.retain(|chunk| {
            let current = assignments
                .get(&chunk.partition)
                .is_some_and(|assignment| assignment.generation == chunk.generation);
            if !current {
                *fetched_bytes.entry(chunk.shard).or_default() -= chunk.batches.len();
            }
            current
        });
    }
}
