//! Bodies of native requests and answers, version 1.
//!
//! Batch bytes never stand in a body: they follow it as the frame's payload, in the order of the parts, and each part
//! says how many bytes are its own.

use rkyv::{Archive, Deserialize, Serialize};

use crate::ids::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, ShardId, TimestampMs, TopicId,
};

/// Declares bodies: plain data that is archived with rkyv.
macro_rules! bodies {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        )*
    };
}

bodies! {
    /// First request of a connection.
    pub struct HelloRequest {
        /// Oldest protocol version that the client speaks.
        pub version_min: u8,
        /// Newest protocol version that the client speaks.
        pub version_max: u8,
        /// Name of the client library or program, for logs.
        pub client_name: String,
        /// Its version.
        pub client_version: String,
    }
    /// Answer to [`HelloRequest`].
    pub struct HelloResponse {
        /// The version both sides speak from now on.
        pub version: u8,
        /// Names the cluster for ever.
        pub cluster_id: [u8; 16],
        /// The node that answers.
        pub node: NodeId,
        /// The shard that accepted this connection.
        pub shard: ShardId,
        /// Where each shard of this node listens, by shard number.
        pub shards: Vec<ShardEndpoint>,
        /// Largest frame that this node accepts, header included.
        pub frame_bytes_max: u32,
        /// Software version of the broker.
        pub broker_version: String,
    }
    /// Where a shard listens; to be used with the host that was dialled.
    pub struct ShardEndpoint {
        /// The shard.
        pub shard: ShardId,
        /// Its own port.
        pub port: u16,
    }

    /// Asks which topics there are and who owns their partitions.
    pub struct MetadataRequest {
        /// Names asked for; `None` asks for all.
        pub topics: Option<Vec<String>>,
    }
    /// Answer to [`MetadataRequest`].
    pub struct MetadataResponse {
        /// One for each name asked for, or all; by name, each once.
        pub topics: Vec<TopicMetadata>,
    }
    /// One topic, as clients that produce and fetch need it.
    pub struct TopicMetadata {
        /// [`ErrorCode`](super::errors::ErrorCode) number; the rest is empty unless 0.
        pub error: u16,
        /// Its name.
        pub name: String,
        /// Its id.
        pub id: TopicId,
        /// Its partitions by index.
        pub partitions: Vec<PartitionMetadata>,
    }
    /// Who owns a partition.
    pub struct PartitionMetadata {
        /// Which partition.
        pub index: PartitionIndex,
        /// The node that leads it.
        pub leader: NodeId,
        /// The shard of that node which owns it.
        pub shard: ShardId,
        /// The leader's epoch.
        pub leader_epoch: LeaderEpoch,
        /// Whether it was found damaged and refuses appends.
        pub damaged: bool,
    }

    /// A topic setting, under Kafka's own key.
    pub struct ConfigEntry {
        /// Kafka's key, such as `retention.ms`.
        pub key: String,
        /// Its value.
        pub value: String,
    }

    /// Creates a topic. Answered when every shard of the node serves it: [`TopicDescription`].
    pub struct CreateTopicRequest {
        /// Its name: 1 to 249 of `a-z A-Z 0-9 . _ -`.
        pub name: String,
        /// Partitions.
        pub partitions: u32,
        /// Replicas a partition, the leader included.
        pub replication_factor: u16,
        /// Settings that differ from the defaults.
        pub configs: Vec<ConfigEntry>,
        /// Only says whether it would be accepted.
        pub validate_only: bool,
    }
    /// Lists topics: [`ListTopicsResponse`].
    pub struct ListTopicsRequest {
        /// Also topics of the broker itself.
        pub internal: bool,
    }
    /// Answer to [`ListTopicsRequest`].
    pub struct ListTopicsResponse {
        /// By name.
        pub topics: Vec<TopicSummary>,
    }
    /// A line of a topic list.
    pub struct TopicSummary {
        /// Its name.
        pub name: String,
        /// Its id.
        pub id: TopicId,
        /// Partitions.
        pub partitions: u32,
        /// Replicas a partition.
        pub replication_factor: u16,
    }
    /// Describes one topic: [`TopicDescription`].
    pub struct DescribeTopicRequest {
        /// Its name.
        pub name: String,
    }
    /// A topic with its settings.
    pub struct TopicDescription {
        /// Its name.
        pub name: String,
        /// Its id.
        pub id: TopicId,
        /// Replicas a partition.
        pub replication_factor: u16,
        /// Its partitions by index.
        pub partitions: Vec<PartitionMetadata>,
        /// Settings that differ from the defaults.
        pub configs: Vec<ConfigEntry>,
    }
    /// Changes settings of a topic: [`TopicDescription`].
    pub struct AlterTopicRequest {
        /// Its name.
        pub name: String,
        /// Keys to set.
        pub set: Vec<ConfigEntry>,
        /// Keys to put back to their default.
        pub unset: Vec<String>,
    }
    /// Raises the number of partitions: [`TopicDescription`]. Existing records stay where they are.
    pub struct AddPartitionsRequest {
        /// Its name.
        pub name: String,
        /// Partitions there shall be, more than there are.
        pub partitions: u32,
    }
    /// Deletes a topic and its records: [`DeleteTopicResponse`].
    pub struct DeleteTopicRequest {
        /// Its name.
        pub name: String,
    }
    /// Answer to [`DeleteTopicRequest`].
    pub struct DeleteTopicResponse {
        /// The id that is gone.
        pub id: TopicId,
    }

    /// Asks for a producer id: [`InitProducerResponse`].
    pub struct InitProducerRequest {
        /// Room for a transactional id; must be empty in this version.
        pub transactional_id: Option<String>,
    }
    /// Answer to [`InitProducerRequest`].
    pub struct InitProducerResponse {
        /// The producer's id.
        pub producer: ProducerId,
        /// Its epoch.
        pub epoch: ProducerEpoch,
    }

    /// Appends batches; the payload holds them, one a part. Answered by [`ProduceResponse`] unless `acks` is 0.
    pub struct ProduceRequest {
        /// 0: no answer. 1: when the leader has it durable. -1: when every in-sync replica has it durable.
        pub acks: i8,
        /// How long the answer may wait for replicas.
        pub timeout_ms: u32,
        /// One batch each.
        pub parts: Vec<ProducePart>,
    }
    /// One batch for one partition.
    pub struct ProducePart {
        /// The topic.
        pub topic: TopicId,
        /// The partition.
        pub partition: PartitionIndex,
        /// Bytes of the payload that are its batch.
        pub length: u32,
    }
    /// Answer to [`ProduceRequest`].
    pub struct ProduceResponse {
        /// In the order of the request.
        pub parts: Vec<ProducedPart>,
    }
    /// What became of one batch.
    pub struct ProducedPart {
        /// [`ErrorCode`](super::errors::ErrorCode) number; 0 when the batch is durable as asked for.
        pub error: u16,
        /// Offset of its first record.
        pub base_offset: Offset,
        /// First offset of the partition that is still stored.
        pub log_start: Offset,
        /// The batch had been stored by an earlier attempt; `base_offset` is that attempt's.
        pub duplicate: bool,
        /// More about the error, for people.
        pub message: Option<String>,
    }

    /// Reads batches: [`FetchResponse`] and a payload.
    pub struct FetchRequest {
        /// How long to wait for `bytes_min`.
        pub wait_ms_max: u32,
        /// Answer as soon as that many bytes are there.
        pub bytes_min: u32,
        /// Answer with no more than that, but with at least one whole batch where there is one.
        pub bytes_max: u32,
        /// What to read.
        pub parts: Vec<FetchPart>,
    }
    /// Where to read one partition.
    pub struct FetchPart {
        /// The topic.
        pub topic: TopicId,
        /// The partition.
        pub partition: PartitionIndex,
        /// The first offset wanted; the batch that holds it is returned whole.
        pub offset: Offset,
        /// No more than that from this partition.
        pub bytes_max: u32,
        /// The leader epoch that the client knows, to detect a truncated log; -1 if none.
        pub leader_epoch: LeaderEpoch,
    }
    /// Answer to [`FetchRequest`].
    pub struct FetchResponse {
        /// In the order of the request.
        pub parts: Vec<FetchedPart>,
    }
    /// What was read from one partition.
    pub struct FetchedPart {
        /// [`ErrorCode`](super::errors::ErrorCode) number.
        pub error: u16,
        /// Records below this offset are committed; nothing above is shown.
        pub high_watermark: Offset,
        /// First offset that is still stored.
        pub log_start: Offset,
        /// Bytes of the payload that are its whole batches.
        pub length: u32,
    }

    /// Finds offsets: [`ListOffsetsResponse`].
    pub struct ListOffsetsRequest {
        /// One answer each.
        pub parts: Vec<ListOffsetsPart>,
    }
    /// What to find in one partition.
    pub struct ListOffsetsPart {
        /// The topic.
        pub topic: TopicId,
        /// The partition.
        pub partition: PartitionIndex,
        /// The first record at or after this time; [`TIMESTAMP_END`] or [`TIMESTAMP_START`] for the ends.
        pub timestamp: TimestampMs,
    }
    /// Answer to [`ListOffsetsRequest`].
    pub struct ListOffsetsResponse {
        /// In the order of the request.
        pub parts: Vec<ListedOffset>,
    }
    /// What was found in one partition.
    pub struct ListedOffset {
        /// [`ErrorCode`](super::errors::ErrorCode) number.
        pub error: u16,
        /// The offset; -1 when no record is that late.
        pub offset: Offset,
        /// That record's timestamp; -1 for the ends or when there is none.
        pub timestamp: TimestampMs,
        /// Leader epoch of that offset; -1 when there is none.
        pub leader_epoch: LeaderEpoch,
    }

    /// Asks what the shards of a node hold and have done.
    pub struct StatsRequest {
        /// Shards asked for; `None` asks for all.
        pub shards: Option<Vec<ShardId>>,
    }
    /// Answer to [`StatsRequest`].
    pub struct StatsResponse {
        /// Names the cluster for ever.
        pub cluster_id: [u8; 16],
        /// The node that answers.
        pub node: NodeId,
        /// Software version of the broker.
        pub broker_version: String,
        /// One for each shard asked for that the node has, by number.
        pub shards: Vec<ShardStats>,
    }
    /// One shard.
    pub struct ShardStats {
        /// Which.
        pub shard: ShardId,
        /// Its memory, by owner.
        pub memory: Vec<MemoryUse>,
        /// Its counters; names that end in `_total` count since the start of the node.
        pub counters: Vec<Counter>,
    }
    /// Memory of one owner.
    pub struct MemoryUse {
        /// Who holds it.
        pub owner: String,
        /// How much, in bytes.
        pub bytes: u64,
        /// At how much it holds others back, in bytes; `None` where each of many holders has a limit of its own.
        pub bytes_max: Option<u64>,
    }
    /// A number and its name.
    pub struct Counter {
        /// Lower case, its unit in it.
        pub name: String,
        /// How many.
        pub value: u64,
    }

    /// Body of an answer whose frame carries an error: the whole request failed.
    pub struct ErrorBody {
        /// What was wrong, which input, and what to do about it.
        pub message: String,
    }
}

/// In [`ListOffsetsPart::timestamp`]: the high watermark.
pub const TIMESTAMP_END: TimestampMs = TimestampMs(-1);
/// In [`ListOffsetsPart::timestamp`]: the log start.
pub const TIMESTAMP_START: TimestampMs = TimestampMs(-2);
