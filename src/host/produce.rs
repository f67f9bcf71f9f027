//! Produce: batches to the shards that own their partitions, and one answer when all of them are durable.

use bytes::Bytes;
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::store::{Appended, ProduceOutcome, Ticket};
use ringmain_shard::time::Now;
use ringmain_wire::batch::{BatchError, ProduceLimits, TimestampType, check_produced};
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, ShardId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{
    ArchivedProduceRequest, ProduceRequest, ProduceResponse, ProducedPart,
};

use super::connection::Connection;
use super::dispatch::Flow;
use super::mail::{Mail, PartError, RequestNumber};
use super::peers::Asking;
use super::requests::{Asker, PARTS_MAX, Waiting, ticket};
use super::{ShardHost, placement};

impl ShardHost {
    pub(super) fn produce(
        &mut self,
        now: Now,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let request = match frame::access::<ProduceRequest>(frame.body) {
            Ok(request) => request,
            Err(error) => {
                self.refuse_body(id, frame, error);
                return Flow::Next;
            }
        };
        if let Err((code, problem)) = check_request(request, frame.payload) {
            self.refuse(id, frame.header.api, frame.header.correlation, code, problem);
            return Flow::Next;
        }
        if let Some(shard) = self.full_peer(request) {
            self.peers.stall(shard, Asking::Request, id);
            return Flow::Wait;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let answer = (request.acks != 0).then(|| connection.reserve_answer());
        let waiting = Waiting::Produce {
            answer,
            correlation: frame.header.correlation,
            parts: vec![ProducedPart::default(); request.parts.len()],
            missing: request.parts.len(),
        };
        let number = self.requests.insert(waiting);
        let mut payload = frame.payload;
        let mut refused = false;
        for (part, sent) in request.parts.iter().enumerate() {
            let (batch, rest) = payload.split_at(sent.length.to_native() as usize);
            payload = rest;
            let partition = part_id(&sent.topic.0, sent.partition.0.to_native());
            refused |= !self.produce_part(now, number, part, partition, batch, effects);
        }
        if refused && answer.is_none() {
            // Nobody would be told: the client notices the lost connection and refreshes its metadata, as with Kafka.
            self.connections.entry(id).and_modify(Connection::close);
        }
        Flow::Next
    }

    /// A batch that another shard accepted for a partition of this one.
    pub(super) fn produce_for(
        &mut self,
        now: Now,
        asker: Asker,
        partition: PartitionId,
        batch: &[u8],
        effects: &mut Effects<Mail>,
    ) {
        let Asker { shard, request, part } = asker;
        let number = self.requests.next_number();
        match self.produce_here(now, partition, batch, ticket(number, 0)) {
            Ok(None) => {
                self.requests.insert(Waiting::ProduceFor { shard, request, part });
            }
            Ok(Some(appended)) => {
                effects.push(Effect::Mail {
                    to: shard,
                    mail: Mail::Produced { request, part, result: Ok(appended) },
                });
            }
            Err(error) => {
                effects.push(Effect::Mail {
                    to: shard,
                    mail: Mail::Produced { request, part, result: Err(error) },
                });
            }
        }
    }

    /// One batch of a request of this shard's clients is settled; answers when it was the last.
    pub(super) fn handle_produced(
        &mut self,
        number: RequestNumber,
        part: usize,
        result: Result<Appended, PartError>,
    ) {
        let Some(Waiting::Produce { parts, missing, .. }) = self.requests.get_mut(number) else {
            unreachable!("a batch was settled twice");
        };
        parts[part] = match result {
            Ok(Appended { base_offset, log_start, duplicate }) => {
                ProducedPart { error: 0, base_offset, log_start, duplicate, message: None }
            }
            Err(PartError { code, message }) => {
                let nowhere = Offset(-1);
                ProducedPart {
                    error: code.number(),
                    base_offset: nowhere,
                    log_start: nowhere,
                    duplicate: false,
                    message,
                }
            }
        };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        if let Some(Waiting::Produce { answer: Some(key), correlation, parts, .. }) =
            self.requests.remove(number)
        {
            let response = ProduceResponse { parts };
            let bytes = frame::encode(Api::Produce.number(), true, 0, correlation, &response, 0);
            self.answer_own(key, bytes);
        }
    }

    /// Sends one batch on its way. False when it was refused at once.
    fn produce_part(
        &mut self,
        now: Now,
        number: RequestNumber,
        part: usize,
        partition: PartitionId,
        batch: &[u8],
        effects: &mut Effects<Mail>,
    ) -> bool {
        let shard = placement::owner(partition, self.identity.shards);
        if shard != self.identity.shard {
            self.peers.handle_asked(shard, Asking::Request);
            let batch = Bytes::copy_from_slice(batch);
            let part = u16::try_from(part).expect("requests have fewer parts");
            effects.push(Effect::Mail {
                to: shard,
                mail: Mail::Produce { request: number, part, partition, batch },
            });
            return true;
        }
        match self.produce_here(now, partition, batch, ticket(number, part)) {
            Ok(None) => true,
            Ok(Some(appended)) => {
                self.handle_produced(number, part, Ok(appended));
                true
            }
            Err(error) => {
                self.handle_produced(number, part, Err(error));
                false
            }
        }
    }

    /// Appends a batch to a partition of this shard. `None`: the ticket completes when it is durable.
    fn produce_here(
        &mut self,
        now: Now,
        partition: PartitionId,
        batch: &[u8],
        ticket: Ticket,
    ) -> Result<Option<Appended>, PartError> {
        let topic = self.catalog.topic_of(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let limits = ProduceLimits { batch_bytes_max: topic.batch_bytes_max() };
        let header = check_produced(batch, limits).map_err(refuse_batch)?;
        let append_time = match topic.settings().timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(now.wall),
        };
        match self.store.produce(partition, &header, batch, append_time, Some(ticket)) {
            ProduceOutcome::Waiting => Ok(None),
            ProduceOutcome::Duplicate(appended) => Ok(Some(appended)),
            ProduceOutcome::Refused(code) => Err(code.into()),
        }
    }

    /// A shard that cannot be asked as often as this request would have to.
    fn full_peer(&self, request: &ArchivedProduceRequest) -> Option<ShardId> {
        let owners = request.parts.iter().map(|part| {
            let partition = part_id(&part.topic.0, part.partition.0.to_native());
            placement::owner(partition, self.identity.shards)
        });
        if owners.clone().all(|owner| owner == self.identity.shard) {
            return None;
        }
        let mut asked = vec![0; usize::from(self.identity.shards)];
        for owner in owners {
            asked[usize::from(owner.get())] += 1;
        }
        asked[usize::from(self.identity.shard.get())] = 0;
        let shards = (0..self.identity.shards).map(ShardId).zip(asked);
        shards
            .filter(|&(shard, asked)| asked > 0 && !self.peers.has_room(shard, Asking::Request, asked))
            .map(|(shard, _)| shard)
            .next()
    }
}

fn check_request(request: &ArchivedProduceRequest, payload: &[u8]) -> Result<(), (ErrorCode, &'static str)> {
    if !matches!(request.acks, -1..=1) {
        return Err((ErrorCode::InvalidRequest, "acks is 0, 1 or -1 (all)"));
    }
    if request.parts.is_empty() || request.parts.len() > super::mail::REQUESTS_MAX.min(PARTS_MAX) {
        return Err((ErrorCode::InvalidRequest, "a produce request has 1 to 256 batches"));
    }
    let lengths = request.parts.iter().map(|part| u64::from(part.length.to_native()));
    if lengths.sum::<u64>() != payload.len() as u64 {
        return Err((ErrorCode::MalformedRequest, "the batches' lengths do not add up to the payload"));
    }
    Ok(())
}

fn part_id(topic: &[u8; 16], index: u32) -> PartitionId {
    PartitionId::new(TopicId(*topic), PartitionIndex(index))
}

/// The border between what the batch format says and what clients are told.
fn refuse_batch(error: BatchError) -> PartError {
    let code = match error {
        BatchError::Crc { .. } => ErrorCode::CorruptBatch,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::Transactional => ErrorCode::Unsupported,
        _ => ErrorCode::InvalidBatch,
    };
    PartError { code, message: Some(error.to_string()) }
}
