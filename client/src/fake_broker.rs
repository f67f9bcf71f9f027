//! A broker in memory for tests: the native protocol over byte queues, batches kept in order, duplicates recognised by
//! producer id, epoch and sequence. Restarts forget connections and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ringmain_wire::batch::{self, BatchHeader, RecordReader};
use ringmain_wire::ids::{
    LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, ProducerSequence,
    ShardId, TimestampMs, TopicId,
};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Body, FRAME_BYTES_MAX_DEFAULT, FrameHeader};
use ringmain_wire::native::messages::*;

use crate::core::ConnectionId;

/// The port whose connections go to any shard.
pub(crate) const BOOTSTRAP_PORT: u16 = 7092;
const SHARD_PORTS: u16 = 7100;

#[derive(Debug)]
pub(crate) struct FakeBroker {
    pub(crate) shards: u16,
    /// Taken one by one by the parts of produce requests; `None` lets a part pass.
    pub(crate) produce_errors: VecDeque<Option<ErrorCode>>,
    /// Receives and does nothing.
    pub(crate) frozen: bool,
    /// Freezes itself after so many more answers.
    pub(crate) freeze_after: Option<u32>,
    /// Leaves produces, and what follows them on their connection, unanswered.
    pub(crate) holds_produces: bool,
    /// Moves every partition that many shards on.
    pub(crate) owner_shift: u16,
    /// Every batch that arrived, stored or not.
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) frame_bytes_max: u32,
    /// Where shards really listen, when not on [`SHARD_PORTS`].
    pub(crate) shard_ports: Vec<u16>,
    topics: BTreeMap<String, (TopicId, u32)>,
    logs: BTreeMap<PartitionId, Log>,
    connections: BTreeMap<ConnectionId, Served>,
    producers: i64,
    topics_created: u8,
}

/// A batch that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) partition: PartitionIndex,
    pub(crate) producer: ProducerId,
    pub(crate) sequence: ProducerSequence,
    pub(crate) records: u32,
}

#[derive(Debug, Default)]
struct Log {
    batches: Vec<(BatchHeader, Vec<u8>)>,
    end: i64,
    producers: BTreeMap<(ProducerId, ProducerEpoch), Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: ProducerSequence,
    recent: VecDeque<(ProducerSequence, Offset)>,
}

#[derive(Debug)]
struct Served {
    shard: ShardId,
    greeted: bool,
    received: Vec<u8>,
    output: Vec<u8>,
    parked: Option<(u32, FetchRequest, Duration)>,
}

impl FakeBroker {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards,
            produce_errors: VecDeque::new(),
            frozen: false,
            freeze_after: None,
            holds_produces: false,
            owner_shift: 0,
            attempts: Vec::new(),
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            shard_ports: Vec::new(),
            topics: BTreeMap::new(),
            logs: BTreeMap::new(),
            connections: BTreeMap::new(),
            producers: 0,
            topics_created: 0,
        }
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: u32) -> TopicId {
        self.topics_created += 1;
        let id = TopicId([self.topics_created; 16]);
        self.topics.insert(name.to_owned(), (id, partitions));
        id
    }

    pub(crate) fn set_partitions(&mut self, name: &str, partitions: u32) {
        self.topics.get_mut(name).unwrap().1 = partitions;
    }

    pub(crate) fn delete_topic(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// The shard behind a port, if one listens there.
    pub(crate) fn listener(&self, port: u16) -> Option<ShardId> {
        match port {
            BOOTSTRAP_PORT => Some(ShardId(0)),
            _ => port.checked_sub(SHARD_PORTS).filter(|&shard| shard < self.shards).map(ShardId),
        }
    }

    pub(crate) fn open(&mut self, connection: ConnectionId, shard: ShardId) {
        let served = Served { shard, greeted: false, received: Vec::new(), output: Vec::new(), parked: None };
        self.connections.insert(connection, served);
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    pub(crate) fn restart(&mut self, shards: u16) {
        self.connections.clear();
        self.shards = shards;
    }

    pub(crate) fn receive(&mut self, now: Duration, connection: ConnectionId, bytes: &[u8]) {
        if let Some(served) = self.connections.get_mut(&connection) {
            served.received.extend_from_slice(bytes);
        }
        self.serve(now);
    }

    /// Does what can be done now.
    pub(crate) fn serve(&mut self, now: Duration) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for connection in connections {
            while !self.frozen && self.serve_next(now, connection) {
                if let Some(left) = &mut self.freeze_after {
                    *left -= 1;
                    self.frozen = *left == 0;
                }
            }
        }
    }

    pub(crate) fn take_output(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.connections
            .get_mut(&connection)
            .map(|served| core::mem::take(&mut served.output))
            .unwrap_or_default()
    }

    /// When a parked fetch has to be answered.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.connections.values().filter_map(|served| served.parked.as_ref()).map(|(_, _, at)| *at).min()
    }

    /// Offsets and values of a partition, by reading its batches.
    pub(crate) fn values(&self, partition: PartitionId) -> Vec<(i64, Vec<u8>)> {
        let mut values = Vec::new();
        for (_, bytes) in self.logs.get(&partition).map(|log| log.batches.as_slice()).unwrap_or_default() {
            let reader = RecordReader::new(bytes, usize::MAX).unwrap();
            for record in reader.records() {
                let record = record.unwrap();
                values.push((record.offset.get(), record.value.unwrap_or_default().to_vec()));
            }
        }
        values
    }

    /// Records of each batch of a partition.
    pub(crate) fn batch_sizes(&self, partition: PartitionId) -> Vec<u32> {
        self.logs
            .get(&partition)
            .map_or(Vec::new(), |log| log.batches.iter().map(|(header, _)| header.records).collect())
    }

    /// Takes the first request of a connection, or its parked fetch; whether it was answered.
    fn serve_next(&mut self, now: Duration, connection: ConnectionId) -> bool {
        let served = self.connections.get_mut(&connection).unwrap();
        if let Some((correlation, request, deadline)) = served.parked.take() {
            return self.serve_fetch(now, connection, correlation, request, deadline);
        }
        let Some((found, bytes)) = frame::split(&served.received, FRAME_BYTES_MAX_DEFAULT).unwrap() else {
            return false;
        };
        let (header, body, payload) = (found.header, found.body.to_vec(), found.payload.to_vec());
        if self.holds_produces && header.api == Api::Produce.number() {
            return false;
        }
        served.received.drain(..bytes);
        assert!(!header.answer, "a client sent an answer");
        let api = Api::from_number(header.api).unwrap();
        assert_eq!(served.greeted, api != Api::Hello, "{api} before the greeting, or greeted twice");
        match api {
            Api::Hello => {
                served.greeted = true;
                let port =
                    |shard| self.shard_ports.get(usize::from(shard)).copied().unwrap_or(SHARD_PORTS + shard);
                let shards =
                    (0..self.shards).map(|shard| ShardEndpoint { shard: ShardId(shard), port: port(shard) });
                let hello = HelloResponse {
                    version: 1,
                    shard: served.shard,
                    shards: shards.collect(),
                    frame_bytes_max: self.frame_bytes_max,
                    ..HelloResponse::default()
                };
                self.answer(connection, &header, &hello);
            }
            Api::Metadata => {
                let request: MetadataRequest = frame::decode(&body).unwrap();
                let topics = request.topics.unwrap().iter().map(|name| self.metadata(name)).collect();
                self.answer(connection, &header, &MetadataResponse { topics });
            }
            Api::CreateTopic => {
                let request: CreateTopicRequest = frame::decode(&body).unwrap();
                let id = self.create_topic(&request.name, request.partitions);
                self.answer(
                    connection,
                    &header,
                    &TopicDescription { name: request.name, id, ..Default::default() },
                );
            }
            Api::ListTopics => {
                let summary = |(name, &(id, partitions)): (&String, &(TopicId, u32))| TopicSummary {
                    name: name.clone(),
                    id,
                    partitions,
                    replication_factor: 1,
                };
                let topics = self.topics.iter().map(summary).collect();
                self.answer(connection, &header, &ListTopicsResponse { topics });
            }
            Api::Stats => self.answer(connection, &header, &StatsResponse::default()),
            Api::InitProducer => {
                self.producers += 1;
                let answer =
                    InitProducerResponse { producer: ProducerId(self.producers), epoch: ProducerEpoch(0) };
                self.answer(connection, &header, &answer);
            }
            Api::Produce => self.serve_produce(connection, &header, &frame::decode(&body).unwrap(), &payload),
            Api::Fetch => {
                let request: FetchRequest = frame::decode(&body).unwrap();
                let deadline = now + Duration::from_millis(request.wait_ms_max.into());
                return self.serve_fetch(now, connection, header.correlation, request, deadline);
            }
            Api::ListOffsets => {
                let request: ListOffsetsRequest = frame::decode(&body).unwrap();
                let parts = request.parts.iter().map(|part| {
                    let partition = PartitionId::new(part.topic, part.partition);
                    let end = self.logs.get(&partition).map_or(0, |log| log.end);
                    let offset = Offset(if part.timestamp == TIMESTAMP_START { 0 } else { end });
                    ListedOffset {
                        error: 0,
                        offset,
                        timestamp: TimestampMs(-1),
                        leader_epoch: LeaderEpoch(0),
                    }
                });
                let parts = parts.collect();
                self.answer(connection, &header, &ListOffsetsResponse { parts });
            }
            Api::DescribeTopic | Api::AlterTopic | Api::AddPartitions | Api::DeleteTopic => {
                let bytes =
                    frame::encode_error(header.api, header.correlation, ErrorCode::Unsupported, "not faked");
                self.connections.get_mut(&connection).unwrap().output.extend_from_slice(&bytes);
            }
        }
        true
    }

    fn metadata(&self, name: &str) -> TopicMetadata {
        let Some(&(id, partitions)) = self.topics.get(name) else {
            let error = ErrorCode::UnknownTopicOrPartition.number();
            return TopicMetadata { error, name: name.to_owned(), ..TopicMetadata::default() };
        };
        let partition = |index| PartitionMetadata {
            index: PartitionIndex(index),
            leader: NodeId(0),
            shard: self.owner(PartitionIndex(index)),
            leader_epoch: LeaderEpoch(0),
            damaged: false,
        };
        TopicMetadata {
            error: 0,
            name: name.to_owned(),
            id,
            partitions: (0..partitions).map(partition).collect(),
        }
    }

    fn owner(&self, partition: PartitionIndex) -> ShardId {
        ShardId((partition.get() as u16 + self.owner_shift) % self.shards)
    }

    fn serve_produce(
        &mut self,
        connection: ConnectionId,
        header: &FrameHeader,
        request: &ProduceRequest,
        mut payload: &[u8],
    ) {
        let mut parts = Vec::new();
        for part in &request.parts {
            let (bytes, rest) = payload.split_at(part.length as usize);
            payload = rest;
            let partition = PartitionId::new(part.topic, part.partition);
            parts.push(match self.append(connection, partition, bytes) {
                Ok((base_offset, duplicate)) => {
                    ProducedPart { base_offset, duplicate, ..ProducedPart::default() }
                }
                Err(code) => ProducedPart { error: code.number(), ..ProducedPart::default() },
            });
        }
        assert!(payload.is_empty(), "payload beyond the parts");
        if request.acks != 0 {
            self.answer(connection, header, &ProduceResponse { parts });
        }
    }

    fn append(
        &mut self,
        connection: ConnectionId,
        partition: PartitionId,
        bytes: &[u8],
    ) -> Result<(Offset, bool), ErrorCode> {
        let header = batch::check(bytes).unwrap();
        self.attempts.push(Attempt {
            partition: partition.index,
            producer: header.producer,
            sequence: header.base_sequence,
            records: header.records,
        });
        if let Some(Some(error)) = self.produce_errors.pop_front() {
            return Err(error);
        }
        if !self
            .topics
            .values()
            .any(|&(id, partitions)| id == partition.topic && partition.index.get() < partitions)
        {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if self.owner(partition.index) != self.connections[&connection].shard {
            return Err(ErrorCode::NotLeader);
        }
        let log = self.logs.entry(partition).or_default();
        let base_offset = Offset(log.end);
        if header.is_idempotent() {
            let identity = (header.producer, header.producer_epoch);
            if !log.producers.contains_key(&identity) && header.base_sequence != ProducerSequence(0) {
                return Err(ErrorCode::UnknownProducer);
            }
            let known = log.producers.entry(identity).or_default();
            if let Some(&(_, offset)) =
                known.recent.iter().find(|(sequence, _)| *sequence == header.base_sequence)
            {
                return Ok((offset, true));
            }
            if header.base_sequence != known.next {
                return Err(ErrorCode::OutOfOrderSequence);
            }
            known.next = header.base_sequence.plus(header.records);
            known.recent.push_back((header.base_sequence, base_offset));
            if known.recent.len() > 5 {
                known.recent.pop_front();
            }
        }
        let mut bytes = bytes.to_vec();
        batch::stamp(&mut bytes, base_offset, LeaderEpoch(0));
        log.end += i64::from(header.records);
        log.batches.push((BatchHeader::parse(&bytes).unwrap(), bytes));
        Ok((base_offset, false))
    }

    fn serve_fetch(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        correlation: u32,
        request: FetchRequest,
        deadline: Duration,
    ) -> bool {
        let (mut parts, mut payload) = (Vec::new(), Vec::new());
        for part in &request.parts {
            let partition = PartitionId::new(part.topic, part.partition);
            let empty = Log::default();
            let log = self.logs.get(&partition).unwrap_or(&empty);
            let mut fetched = FetchedPart { high_watermark: Offset(log.end), ..FetchedPart::default() };
            if self.owner(part.partition) != self.connections[&connection].shard {
                fetched.error = ErrorCode::NotLeader.number();
            } else if part.offset.get() > log.end || part.offset.get() < 0 {
                fetched.error = ErrorCode::OffsetOutOfRange.number();
            } else {
                for (header, bytes) in
                    log.batches.iter().filter(|(header, _)| header.next_offset() > part.offset)
                {
                    let fits = payload.len() + bytes.len() <= request.bytes_max as usize;
                    if !payload.is_empty() && !fits {
                        break;
                    }
                    assert!(header.length as usize == bytes.len());
                    payload.extend_from_slice(bytes);
                    fetched.length += header.length;
                }
            }
            parts.push(fetched);
        }
        let served = self.connections.get_mut(&connection).unwrap();
        if payload.is_empty() && now < deadline && parts.iter().all(|part| part.error == 0) {
            served.parked = Some((correlation, request, deadline));
            return false;
        }
        let api = Api::Fetch.number();
        let length = payload.len() as u32;
        served.output.extend_from_slice(&frame::encode(
            api,
            true,
            0,
            correlation,
            &FetchResponse { parts },
            length,
        ));
        served.output.extend_from_slice(&payload);
        true
    }

    fn answer<T: Body>(&mut self, connection: ConnectionId, header: &FrameHeader, body: &T) {
        let bytes: Bytes = frame::encode(header.api, true, 0, header.correlation, body, 0);
        self.connections.get_mut(&connection).unwrap().output.extend_from_slice(&bytes);
    }
}
