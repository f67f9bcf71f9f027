//! Requests that sieges make of the broker, each answered before the next.

use std::collections::VecDeque;
use std::time::Duration;

use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    ConfigEntry, CreateTopicRequest, FetchPart, FetchRequest, FetchResponse, InitProducerRequest,
    InitProducerResponse, ProducePart, ProduceRequest, ProduceResponse, TopicDescription,
};

use super::run::pause;
use crate::crash::session::{Session, SessionError};
use crate::fuzz::dice::Dice;

/// When every in-sync replica has it.
const ACKS_ALL: i8 = -1;
const TIMEOUT_MS: u32 = 30_000;

/// Creates a topic and gives its id. Its records stay however old they say that they are: those of sieges are of 2023.
pub(crate) fn create_topic(
    session: &mut Session,
    name: &str,
    partitions: u32,
) -> Result<TopicId, SessionError> {
    let request = CreateTopicRequest {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        configs: vec![ConfigEntry { key: "retention.ms".to_owned(), value: "-1".to_owned() }],
        validate_only: false,
    };
    let (created, _): (TopicDescription, _) = session.request(Api::CreateTopic, &request)?;
    Ok(created.id)
}

/// A new producer id.
pub(crate) fn init_producer(session: &mut Session) -> Result<ProducerId, SessionError> {
    let request = InitProducerRequest { transactional_id: None };
    let (given, _): (InitProducerResponse, _) = session.request(Api::InitProducer, &request)?;
    Ok(given.producer)
}

/// A request with one batch.
pub(crate) fn produce_request(topic: TopicId, partition: PartitionIndex, batch: &[u8]) -> ProduceRequest {
    let length = u32::try_from(batch.len()).expect("batches are bounded");
    let part = ProducePart { topic, partition, length };
    ProduceRequest { acks: ACKS_ALL, timeout_ms: TIMEOUT_MS, parts: vec![part] }
}

/// Appends one batch; gives the offset of its first record.
pub(crate) fn produce(
    session: &mut Session,
    topic: TopicId,
    partition: PartitionIndex,
    batch: &[u8],
) -> Result<Offset, SessionError> {
    let number = session.send(Api::Produce, &produce_request(topic, partition, batch), batch)?;
    receive_produced(session, number)
}

/// The answer to a produce request with one batch.
pub(crate) fn receive_produced(session: &mut Session, number: u32) -> Result<Offset, SessionError> {
    let (answer, _): (ProduceResponse, _) = session.receive(Api::Produce, number)?;
    let part = answer.parts.into_iter().next().ok_or(SessionError::WrongAnswer)?;
    if part.error != 0 {
        return Err(SessionError::refused(part.error, part.message));
    }
    Ok(part.base_offset)
}

/// Where to read one partition.
pub(crate) fn fetch_part(
    topic: TopicId,
    partition: PartitionIndex,
    offset: Offset,
    bytes_max: u32,
) -> FetchPart {
    FetchPart { topic, partition, offset, bytes_max, leader_epoch: LeaderEpoch(-1) }
}

/// Reads partitions; gives the batches of each, in the order of the parts.
pub(crate) fn fetch(session: &mut Session, request: &FetchRequest) -> Result<Vec<Vec<u8>>, SessionError> {
    let (answer, payload): (FetchResponse, _) = session.request(Api::Fetch, request)?;
    let mut rest = &payload[..];
    let mut batches = Vec::new();
    for part in answer.parts {
        if part.error != 0 {
            return Err(SessionError::refused(part.error, None));
        }
        let taken = rest.split_at_checked(part.length as usize).ok_or(SessionError::WrongAnswer)?;
        batches.push(taken.0.to_vec());
        rest = taken.1;
    }
    Ok(batches)
}

/// Bytes of a batch that [`fill`] writes.
pub(super) const FILL_BATCH_BYTES: usize = 512 * 1024;
/// Records of it.
pub(super) const FILL_BATCH_RECORDS: usize = 64;
/// Batches under way.
const FILLS_IN_FLIGHT: usize = 8;
/// Before a batch is sent again that found the broker busy.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Writes at least as many bytes, in turn to all partitions; where the broker is busy settling it is waited for. Gives how
/// many batches that were.
pub(crate) fn fill(
    session: &mut Session,
    topic: TopicId,
    partitions: u32,
    bytes: u64,
) -> Result<u64, SessionError> {
    let batch = filler(FILL_BATCH_RECORDS, FILL_BATCH_BYTES / FILL_BATCH_RECORDS);
    let batches = bytes.div_ceil(batch.len() as u64);
    let mut due = (0..batches).map(|number| PartitionIndex((number % u64::from(partitions)) as u32));
    let mut again = VecDeque::new();
    let mut under_way = VecDeque::new();
    loop {
        while under_way.len() < FILLS_IN_FLIGHT
            && let Some(partition) = again.pop_front().or_else(|| due.next())
        {
            let request = produce_request(topic, partition, &batch);
            under_way.push_back((session.send(Api::Produce, &request, &batch)?, partition));
        }
        let Some((number, partition)) = under_way.pop_front() else { return Ok(batches) };
        match receive_produced(session, number) {
            Ok(_) => {}
            Err(error @ SessionError::Refused { .. }) if error.is_passing() => {
                again.push_back(partition);
                pause(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A batch of so many records with values of whole words that no filesystem could shrink.
pub(super) fn filler(records: usize, value_bytes: usize) -> Vec<u8> {
    let mut dice = Dice::new(1, 0);
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..records {
        let value: Vec<u8> = (0..value_bytes / 8).flat_map(|_| dice.number().to_le_bytes()).collect();
        builder.append(TimestampMs(1_700_000_000_000), None, Some(&value), &[]);
    }
    builder.finish().expect("a batch with records can be built").to_vec()
}
