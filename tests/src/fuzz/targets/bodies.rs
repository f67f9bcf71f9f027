//! Bodies of native requests and answers, each of which is validated where it lies.

use core::fmt::Debug;

use ringmain_wire::batch::NO_LEADER_EPOCH;
use ringmain_wire::ids::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, ShardId, TimestampMs, TopicId,
};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Body, HEADER_BYTES};
use ringmain_wire::native::messages::*;

use crate::fuzz::Verdict;

/// A body with values of its fields to begin with.
pub(in crate::fuzz) trait Sample: Body + Default + PartialEq + Debug {
    /// The fullest value of its kind.
    fn sample() -> Self;
}

/// What decodes is encoded and decoded to the same again.
pub(in crate::fuzz) fn run<T: Sample>(input: &[u8]) -> Verdict {
    let decoded = frame::decode::<T>(input);
    if let Ok(body) = &decoded {
        assert_eq!(frame::decode::<T>(&encode(body)).as_ref(), Ok(body), "it changes on the way");
    }
    Verdict::of(&decoded)
}

/// A full body, and one with nothing in it.
pub(in crate::fuzz) fn seeds<T: Sample>() -> Vec<Vec<u8>> {
    vec![encode(&T::sample()), encode(&T::default())]
}

fn encode<T: Body>(body: &T) -> Vec<u8> {
    frame::encode(0, false, 0, 0, body, 0)[HEADER_BYTES..].to_vec()
}

macro_rules! samples {
    ($($name:ident { $($field:ident: $value:expr,)* })*) => {
        $(impl Sample for $name {
            fn sample() -> Self {
                Self { $($field: $value,)* }
            }
        })*
    };
}

samples! {
    HelloRequest {
        version_min: 1,
        version_max: 3,
        client_name: "a-program".to_owned(),
        client_version: "0.1.0".to_owned(),
    }
    HelloResponse {
        version: 1,
        cluster_id: [3; 16],
        node: NodeId(1),
        shard: ShardId(1),
        shards: (0..3).map(|shard| ShardEndpoint { shard: ShardId(shard), port: 7100 + shard }).collect(),
        frame_bytes_max: frame::FRAME_BYTES_MAX_DEFAULT,
        broker_version: "0.1.0".to_owned(),
    }
    MetadataRequest {
        topics: Some(vec!["orders".to_owned(), "a-topic-with-a-long-name".to_owned()]),
    }
    MetadataResponse {
        topics: vec![
            TopicMetadata {
                error: 0,
                name: "orders".to_owned(),
                id: TopicId([1; 16]),
                partitions: vec![partition(0), partition(1)],
            },
            TopicMetadata {
                error: ErrorCode::UnknownTopicOrPartition.number(),
                name: "a-topic-with-a-long-name".to_owned(),
                ..TopicMetadata::default()
            },
        ],
    }
    CreateTopicRequest {
        name: "orders".to_owned(),
        partitions: 4,
        replication_factor: 1,
        configs: configs(),
        validate_only: true,
    }
    ListTopicsRequest {
        internal: true,
    }
    ListTopicsResponse {
        topics: ["orders", "payments-of-last-year"]
            .map(|name| TopicSummary {
                name: name.to_owned(),
                id: TopicId([1; 16]),
                partitions: 4,
                replication_factor: 1,
            })
            .to_vec(),
    }
    StatsRequest {
        shards: Some(vec![ShardId(0), ShardId(1)]),
    }
    StatsResponse {
        cluster_id: [3; 16],
        node: NodeId(1),
        broker_version: "0.1.0".to_owned(),
        shards: vec![ShardStats {
            shard: ShardId(1),
            memory: vec![MemoryUse { owner: "tails".to_owned(), bytes: 5, bytes_max: Some(9) }],
            counters: vec![Counter { name: "batches_appended_total".to_owned(), value: 7 }],
        }],
    }
    DescribeTopicRequest {
        name: "payments-of-last-year".to_owned(),
    }
    TopicDescription {
        name: "payments-of-last-year".to_owned(),
        id: TopicId([1; 16]),
        replication_factor: 1,
        partitions: vec![partition(0), partition(1), partition(2)],
        configs: configs(),
    }
    AlterTopicRequest {
        name: "orders".to_owned(),
        set: configs(),
        unset: vec!["retention.ms".to_owned()],
    }
    AddPartitionsRequest {
        name: "orders".to_owned(),
        partitions: 8,
    }
    DeleteTopicRequest {
        name: "payments-of-last-year".to_owned(),
    }
    DeleteTopicResponse {
        id: TopicId([1; 16]),
    }
    InitProducerRequest {
        transactional_id: Some("a-transactional-producer".to_owned()),
    }
    InitProducerResponse {
        producer: ProducerId(4_000),
        epoch: ProducerEpoch(1),
    }
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        parts: [0, 1]
            .map(|index| ProducePart {
                topic: TopicId([1; 16]),
                partition: PartitionIndex(index),
                length: 100,
            })
            .to_vec(),
    }
    ProduceResponse {
        parts: vec![
            ProducedPart { base_offset: Offset(1_000), duplicate: true, ..ProducedPart::default() },
            ProducedPart {
                error: ErrorCode::OutOfOrderSequence.number(),
                message: Some("sequence 7 where 5 was due".to_owned()),
                ..ProducedPart::default()
            },
        ],
    }
    FetchRequest {
        wait_ms_max: 500,
        bytes_min: 1,
        bytes_max: 1 << 20,
        parts: [0, 1]
            .map(|index| FetchPart {
                topic: TopicId([1; 16]),
                partition: PartitionIndex(index),
                offset: Offset(1_000),
                bytes_max: 1 << 20,
                leader_epoch: NO_LEADER_EPOCH,
            })
            .to_vec(),
    }
    FetchResponse {
        parts: [0, ErrorCode::NotLeader.number()]
            .map(|error| FetchedPart {
                error,
                high_watermark: Offset(2_000),
                log_start: Offset(10),
                length: 100,
            })
            .to_vec(),
    }
    ListOffsetsRequest {
        parts: [TIMESTAMP_START, TIMESTAMP_END]
            .map(|timestamp| ListOffsetsPart {
                topic: TopicId([1; 16]),
                partition: PartitionIndex(1),
                timestamp,
            })
            .to_vec(),
    }
    ListOffsetsResponse {
        parts: vec![ListedOffset {
            error: 0,
            offset: Offset(1_000),
            timestamp: TimestampMs(1_700_000_000_000),
            leader_epoch: LeaderEpoch(3),
        }],
    }
    ErrorBody {
        message: "no such topic, and no topic of a similar name".to_owned(),
    }
}

fn partition(index: u32) -> PartitionMetadata {
    PartitionMetadata {
        index: PartitionIndex(index),
        leader: NodeId(1),
        shard: ShardId(1),
        leader_epoch: LeaderEpoch(3),
        damaged: index == 1,
    }
}

fn configs() -> Vec<ConfigEntry> {
    vec![
        ConfigEntry { key: "max.message.bytes".to_owned(), value: "2000000".to_owned() },
        ConfigEntry { key: "x".to_owned(), value: String::new() },
    ]
}
