//! Well-formed requests of every API, by the real encoders: what the attack makes its frames of.

use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs, TopicId,
};
use ringmain_wire::native::frame::{self, Api, Body, HEADER_BYTES, PROTOCOL_VERSION};
use ringmain_wire::native::messages::*;

use crate::fuzz::mutate::Entry;
use crate::siege::client::{fetch_part, produce_request};

/// The topic that the attack may do with as it likes.
pub(super) const PREY: &str = "prey";
/// Its partitions.
pub(super) const PREY_PARTITIONS: u32 = 4;

/// A request: what stands in its frame behind the header.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) api: Api,
    pub(super) body: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Templates {
    pub(super) hello: Template,
    pub(super) requests: Vec<Template>,
    /// Bodies of all requests, to be mutated, and to be spliced into one another.
    pub(super) bodies: Vec<Entry>,
    /// Batches likewise.
    pub(super) batches: Vec<Entry>,
    pub(super) prey: TopicId,
}

impl Template {
    fn of<T: Body>(api: Api, body: &T) -> Self {
        let body = frame::encode(api.number(), false, 0, 0, body, 0)[HEADER_BYTES..].to_vec();
        Self { api, body, payload: Vec::new() }
    }
}

impl Templates {
    /// Those that are about the topic `prey`.
    pub(super) fn about(prey: TopicId) -> Self {
        let batches: Vec<Vec<u8>> = [(Codec::None, 1), (Codec::Lz4, 20), (Codec::None, 40)]
            .map(|(codec, records)| batch(codec, records))
            .into();
        let mut requests = requests(prey);
        for (partition, bytes) in (0..).zip(&batches) {
            let request = produce_request(prey, PartitionIndex(partition), bytes);
            requests.push(Template { payload: bytes.clone(), ..Template::of(Api::Produce, &request) });
        }
        Self {
            hello: Template::of(
                Api::Hello,
                &HelloRequest {
                    version_min: PROTOCOL_VERSION,
                    version_max: PROTOCOL_VERSION,
                    client_name: "siege".to_owned(),
                    client_version: "0".to_owned(),
                },
            ),
            bodies: requests.iter().map(|request| Entry::new(request.body.clone())).collect(),
            batches: batches.into_iter().map(Entry::new).collect(),
            requests,
            prey,
        }
    }
}

fn requests(prey: TopicId) -> Vec<Template> {
    let name = PREY.to_owned();
    let setting = ConfigEntry { key: "retention.ms".to_owned(), value: "600000".to_owned() };
    let fetch_parts = (0..PREY_PARTITIONS)
        .map(|partition| fetch_part(prey, PartitionIndex(partition), Offset::ZERO, 4_096))
        .collect();
    let times = [TIMESTAMP_START, TIMESTAMP_END, TimestampMs(1_700_000_000_000)];
    let times = times
        .map(|timestamp| ListOffsetsPart { topic: prey, partition: PartitionIndex(1), timestamp })
        .to_vec();
    vec![
        Template::of(
            Api::Metadata,
            &MetadataRequest { topics: Some(vec![name.clone(), "nobody".to_owned()]) },
        ),
        Template::of(
            Api::CreateTopic,
            &CreateTopicRequest {
                name: "another".to_owned(),
                partitions: 2,
                replication_factor: 1,
                configs: vec![setting.clone()],
                validate_only: true,
            },
        ),
        Template::of(Api::ListTopics, &ListTopicsRequest { internal: true }),
        Template::of(Api::DescribeTopic, &DescribeTopicRequest { name: name.clone() }),
        Template::of(
            Api::AlterTopic,
            &AlterTopicRequest {
                name: name.clone(),
                set: vec![setting],
                unset: vec!["segment.ms".to_owned()],
            },
        ),
        Template::of(Api::AddPartitions, &AddPartitionsRequest { name, partitions: PREY_PARTITIONS }),
        Template::of(Api::DeleteTopic, &DeleteTopicRequest { name: "nobody".to_owned() }),
        Template::of(Api::InitProducer, &InitProducerRequest { transactional_id: None }),
        Template::of(
            Api::Fetch,
            &FetchRequest { wait_ms_max: 5, bytes_min: 1, bytes_max: 16_384, parts: fetch_parts },
        ),
        Template::of(Api::ListOffsets, &ListOffsetsRequest { parts: times }),
    ]
}

fn batch(codec: Codec, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    if records > 1 {
        builder.set_producer(ProducerId(1), ProducerEpoch(0), ProducerSequence(0));
    }
    for number in 0..records {
        let value = format!("record {number} of a batch that is about to be mangled");
        builder.append(TimestampMs(1_700_000_000_000), Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.finish().expect("a small batch with records can be built").to_vec()
}
