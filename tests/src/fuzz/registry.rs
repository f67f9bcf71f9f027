//! All targets, a line each.

use ringmain_wire::batch::Codec;
use ringmain_wire::native::messages::*;

use super::targets::{
    batch, bodies, checkpoint, client, codec, frame, group, log, metadata, names, records, segment, state,
    superblock,
};
use super::{Ending, Target, canaries};

/// A new parser is one more line, and `cargo fuzzing --renew-corpus`.
pub const TARGETS: &[Target] = &[
    Target::new("frame", frame::run, frame::seeds).sealed(frame::seal),
    body::<HelloRequest>("body-hello-request"),
    body::<HelloResponse>("body-hello-response"),
    body::<MetadataRequest>("body-metadata-request"),
    body::<MetadataResponse>("body-metadata-response"),
    body::<CreateTopicRequest>("body-create-topic-request"),
    body::<ListTopicsRequest>("body-list-topics-request"),
    body::<ListTopicsResponse>("body-list-topics-response"),
    body::<DescribeTopicRequest>("body-describe-topic-request"),
    body::<TopicDescription>("body-topic-description"),
    body::<AlterTopicRequest>("body-alter-topic-request"),
    body::<AddPartitionsRequest>("body-add-partitions-request"),
    body::<DeleteTopicRequest>("body-delete-topic-request"),
    body::<DeleteTopicResponse>("body-delete-topic-response"),
    body::<InitProducerRequest>("body-init-producer-request"),
    body::<InitProducerResponse>("body-init-producer-response"),
    body::<ProduceRequest>("body-produce-request"),
    body::<ProduceResponse>("body-produce-response"),
    body::<FetchRequest>("body-fetch-request"),
    body::<FetchResponse>("body-fetch-response"),
    body::<ListOffsetsRequest>("body-list-offsets-request"),
    body::<ListOffsetsResponse>("body-list-offsets-response"),
    body::<StatsRequest>("body-stats-request"),
    body::<StatsResponse>("body-stats-response"),
    body::<ErrorBody>("body-error"),
    Target::new("client", client::run, client::seeds),
    Target::new("batch-header", batch::run_header, batch::seeds),
    Target::new("batch-check", batch::run_check, batch::seeds).sealed(batch::seal),
    Target::new("batch-walk", batch::run_walk, batch::walk_seeds),
    Target::new("records-none", records::run, || records::seeds(Codec::None)).sealed(batch::seal),
    Target::new("records-gzip", records::run, || records::seeds(Codec::Gzip)).sealed(batch::seal),
    Target::new("records-snappy", records::run, || records::seeds(Codec::Snappy)).sealed(batch::seal),
    Target::new("records-lz4", records::run, || records::seeds(Codec::Lz4)).sealed(batch::seal),
    Target::new("records-zstd", records::run, || records::seeds(Codec::Zstd)).sealed(batch::seal),
    Target::new("codec-gzip", |input| codec::run(Codec::Gzip, input), || codec::seeds(Codec::Gzip)),
    Target::new("codec-snappy", |input| codec::run(Codec::Snappy, input), || codec::seeds(Codec::Snappy)),
    Target::new("codec-lz4", |input| codec::run(Codec::Lz4, input), || codec::seeds(Codec::Lz4)),
    Target::new("codec-zstd", |input| codec::run(Codec::Zstd, input), || codec::seeds(Codec::Zstd)),
    Target::new("log-group", group::run, group::seeds).sealed(group::seal),
    Target::new("log-replay", log::run, log::seeds).sealed(group::seal_all),
    Target::new("partition-state", state::run, state::seeds),
    Target::new("segment-scan", segment::run_scan, segment::scan_seeds).sealed(segment::seal_scan),
    Target::new("segment-index", segment::run_index, segment::index_seeds).sealed(segment::seal_index),
    Target::new("superblock", superblock::run, superblock::seeds).sealed(superblock::seal),
    Target::new("checkpoint", checkpoint::run, checkpoint::seeds).sealed(checkpoint::seal),
    Target::new("file-names", names::run, names::seeds),
    Target::new("metadata-change", metadata::run_change, metadata::change_seeds),
    Target::new("topic-setting", metadata::run_setting, metadata::setting_seeds),
    Target::new("canary-panic", canaries::run_reading_beyond, canaries::seeds)
        .sealed(canaries::seal)
        .planted(Ending::Panicked),
    Target::new("canary-memory", canaries::run_making_room, canaries::seeds)
        .sealed(canaries::seal)
        .planted(Ending::Killed),
    Target::new("canary-hang", canaries::run_standing_still, canaries::seeds)
        .sealed(canaries::seal)
        .planted(Ending::Hung),
];

/// The target called `name`.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

const fn body<T: bodies::Sample>(name: &'static str) -> Target {
    Target::new(name, bodies::run::<T>, bodies::seeds::<T>)
}
