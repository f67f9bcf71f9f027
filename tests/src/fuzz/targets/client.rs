//! The client's core against a broker whose answers are the input: whatever a peer answers, the client goes on or
//! closes the connection.
//!
//! The input is a row of frames. Each request takes the next; what is under the frame's checksum stays as it is, but API
//! and correlation are made those of the request, as otherwise hardly an answer would pass the frame.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_client::core::{
    ClientConfig, ClientCore, ConnectionId, ConsumerConfig, ConsumerKey, Effect, Endpoint, Event, Fetched,
    ProduceRecord, ProducerConfig, ProducerKey, RecordTag, Request,
};
use ringmain_wire::batch::{Codec, stamp};
use ringmain_wire::ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, ShardId, TimestampMs, TopicId};
use ringmain_wire::native::frame::{self, Api, Body, FrameHeader, HEADER_BYTES};
use ringmain_wire::native::messages::*;

use super::batch::built;
use super::bodies::Sample;
use super::frame::seal;
use crate::fuzz::Verdict;

const TOPIC: &str = "orders";
const TOPIC_ID: TopicId = TopicId([1; 16]);
/// What a question may take; the client's own times are longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most deadlines that pass while nothing else happens.
const DEADLINES_MAX: u32 = 20;
/// What compressed answers may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024;

/// Plays the answers to a client that asks, produces and consumes.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let mut rest = input;
    let understood = Session::new().run(|request| {
        let answer = take_frame(&mut rest)?;
        Some(addressed(answer, request))
    });
    if understood == Understood::default() { Verdict::Refused } else { Verdict::Accepted }
}

/// What a sound broker answers to all that the client asks, with each codec.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    [Codec::None, Codec::Zstd].map(|codec| recorded(codec).0).to_vec()
}

/// The answers of one session, as they came, and what the client made of them.
fn recorded(codec: Codec) -> (Vec<u8>, Understood) {
    let mut answers = Vec::new();
    let understood = Session::new().run(|request| {
        let answer = sound_answer(request, codec)?;
        answers.extend_from_slice(&answer);
        Some(answer)
    });
    (answers, understood)
}

/// The frame that the bytes begin with, or all of them where no frame can be told.
fn take_frame(rest: &mut &[u8]) -> Option<Vec<u8>> {
    if rest.is_empty() {
        return None;
    }
    let frame_bytes = match FrameHeader::parse(rest) {
        Ok(Some(header)) => usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX),
        _ => rest.len(),
    };
    let (taken, behind) = rest.split_at(frame_bytes.min(rest.len()));
    *rest = behind;
    Some(taken.to_vec())
}

/// The frame as the answer to that request.
fn addressed(mut answer: Vec<u8>, request: &FrameHeader) -> Vec<u8> {
    if answer.len() >= HEADER_BYTES {
        answer[2..4].copy_from_slice(&request.api.to_le_bytes());
        answer[8..12].copy_from_slice(&request.correlation.to_le_bytes());
        seal(&mut answer);
    }
    answer
}

/// A client with something to do, and what came of it.
#[derive(Debug)]
struct Session {
    core: ClientCore,
    producer: ProducerKey,
    consumer: ConsumerKey,
    now: Duration,
    is_consuming: bool,
    is_producing: bool,
    understood: Understood,
}

/// What the client told that is no failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Understood {
    answers: u32,
    batches_delivered: u32,
    records_fetched: usize,
}

impl Session {
    fn new() -> Self {
        let bootstrap = vec![Endpoint { host: "broker".to_owned(), port: 7092 }];
        let mut core = ClientCore::new(ClientConfig::default(), bootstrap, 1);
        let producer = core.open_producer(ProducerConfig::default());
        let consumer = core.open_consumer(ConsumerConfig {
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            ..ConsumerConfig::default()
        });
        for request in [
            Request::CreateTopic(CreateTopicRequest::sample()),
            Request::ListTopics(ListTopicsRequest::default()),
            Request::Stats(StatsRequest::default()),
            Request::DeleteTopic(DeleteTopicRequest::default()),
            Request::Metadata(MetadataRequest::default()),
        ] {
            core.ask(Duration::ZERO, request, TIMEOUT);
        }
        let (partition, timestamp) = (PartitionIndex(0), TIMESTAMP_END);
        core.ask(
            Duration::ZERO,
            Request::ListOffsets { topic: TOPIC.to_owned(), partition, timestamp },
            TIMEOUT,
        );
        Self {
            core,
            producer,
            consumer,
            now: Duration::ZERO,
            is_consuming: false,
            is_producing: false,
            understood: Understood::default(),
        }
    }

    /// Goes on until there is no further answer or nothing to wait for.
    fn run(mut self, mut answer: impl FnMut(&FrameHeader) -> Option<Vec<u8>>) -> Understood {
        let mut deadlines = 0;
        loop {
            let mut asked = VecDeque::new();
            while let Some(effect) = self.core.poll_effect(self.now) {
                self.carry_out(effect, &mut asked);
            }
            self.listen();
            self.use_topic();
            if asked.is_empty() {
                let Some(at) = self.core.deadline(self.now).filter(|_| deadlines < DEADLINES_MAX) else {
                    return self.understood;
                };
                self.now = at.max(self.now + Duration::from_nanos(1));
                deadlines += 1;
            }
            for (connection, request) in asked {
                let Some(bytes) = answer(&request) else {
                    self.core.handle_closed(self.now, connection, "no answers are left".to_owned());
                    self.listen();
                    return self.understood;
                };
                let (first, second) = bytes.split_at(bytes.len() / 2);
                self.core.handle_received(self.now, connection, first);
                self.core.handle_received(self.now, connection, second);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, asked: &mut VecDeque<(ConnectionId, FrameHeader)>) {
        match effect {
            Effect::Connect { connection, .. } => self.core.handle_connected(self.now, connection),
            Effect::Send { connection, segments } => {
                asked.extend(requests(&segments).map(|request| (connection, request)));
                self.core.handle_sent(connection);
            }
            Effect::Close { .. } => {}
        }
    }

    /// Takes all that the client tells.
    fn listen(&mut self) {
        while let Some(event) = self.core.poll_event() {
            self.understood.answers += u32::from(matches!(event, Event::Answered { outcome: Ok(_), .. }));
        }
        while let Some(delivery) = self.core.poll_delivery(self.producer) {
            self.understood.batches_delivered += u32::from(delivery.outcome.is_ok());
        }
        while let Some(fetched) = self.core.poll_fetched(self.consumer) {
            if let Fetched::Records { records, .. } = fetched {
                assert!(!records.is_empty(), "a batch without records is told");
                assert!(records.is_sorted_by(|before, after| before.offset < after.offset));
                self.understood.records_fetched += records.len();
            }
        }
    }

    /// Produces to and consumes from the topic once it is known.
    fn use_topic(&mut self) {
        if !self.is_producing {
            let record = ProduceRecord {
                partition: Some(PartitionIndex(0)),
                timestamp: TimestampMs(1_700_000_000_000),
                key: Some(b"key"),
                value: Some(b"value"),
                headers: &[],
            };
            let appended = self.core.append(self.now, self.producer, TOPIC, &record, RecordTag(1));
            self.is_producing = appended.is_ok();
        }
        if !self.is_consuming
            && let Ok(Some(topic)) = self.core.topic(TOPIC)
        {
            let assigned = self.core.assign(self.consumer, &topic, PartitionIndex(0), Offset(0));
            self.is_consuming = assigned.is_ok();
        }
    }
}

/// The headers of the requests in what is sent; record batches stand in segments of their own.
fn requests(segments: &[Bytes]) -> impl Iterator<Item = FrameHeader> {
    let sent: Vec<u8> = segments.concat();
    let mut at = 0;
    core::iter::from_fn(move || {
        let header = FrameHeader::parse(&sent[at..]).expect("the client speaks the protocol")?;
        at += usize::try_from(header.frame_bytes()).expect("a frame in memory");
        Some(header)
    })
}

/// What a broker with one topic of one partition says; `None` to what nobody asks here.
fn sound_answer(request: &FrameHeader, codec: Codec) -> Option<Vec<u8>> {
    let api = Api::from_number(request.api)?;
    Some(match api {
        Api::Hello => encoded(request, &hello(), &[]),
        Api::Metadata => encoded(request, &MetadataResponse { topics: vec![topic()] }, &[]),
        Api::CreateTopic => encoded(request, &TopicDescription::sample(), &[]),
        Api::ListTopics => encoded(request, &ListTopicsResponse::sample(), &[]),
        Api::DeleteTopic => encoded(request, &DeleteTopicResponse::sample(), &[]),
        Api::Stats => encoded(request, &StatsResponse::sample(), &[]),
        Api::InitProducer => encoded(request, &InitProducerResponse::sample(), &[]),
        Api::ListOffsets => encoded(request, &ListOffsetsResponse::sample(), &[]),
        Api::Produce => encoded(request, &ProduceResponse { parts: vec![ProducedPart::default()] }, &[]),
        Api::Fetch => {
            let mut batch = built(codec, 5);
            stamp(&mut batch, Offset(0), LeaderEpoch(1));
            let length = batch.len() as u32;
            let part = FetchedPart { high_watermark: Offset(5), length, ..FetchedPart::default() };
            encoded(request, &FetchResponse { parts: vec![part] }, &batch)
        }
        Api::DescribeTopic | Api::AlterTopic | Api::AddPartitions => return None,
    })
}

fn encoded<T: Body>(request: &FrameHeader, body: &T, payload: &[u8]) -> Vec<u8> {
    let header = frame::encode(request.api, true, 0, request.correlation, body, payload.len() as u32);
    [&header[..], payload].concat()
}

fn hello() -> HelloResponse {
    let shards = vec![ShardEndpoint { shard: ShardId(0), port: 7100 }];
    HelloResponse { shard: ShardId(0), shards, ..HelloResponse::sample() }
}

fn topic() -> TopicMetadata {
    let leader_epoch = LeaderEpoch(1);
    let partition = PartitionMetadata { leader: NodeId(1), leader_epoch, ..PartitionMetadata::default() };
    TopicMetadata { error: 0, name: TOPIC.to_owned(), id: TOPIC_ID, partitions: vec![partition] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_reaches_every_kind_of_answer() {
        for codec in [Codec::None, Codec::Zstd] {
            let understood = recorded(codec).1;
            assert_eq!((understood.answers, understood.batches_delivered), (6, 1), "{codec}");
            assert!(understood.records_fetched >= 5, "{codec}");
        }
    }
}
