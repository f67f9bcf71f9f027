//! Frames and bodies under honest, damaged and hostile bytes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::ids::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, ShardId, TimestampMs, TopicId,
};
use crate::native::messages::*;

/// Runs `$check::<T>(&T)` on a filled sample of every body.
macro_rules! for_every_body {
    ($check:ident $(, $argument:expr)*) => {
        $check(&HelloRequest { version_min: 1, version_max: 3, client_name: "test".into(), client_version: "0.1".into() } $(, $argument)*);
        $check(&HelloResponse {
            version: 1,
            cluster_id: [7; 16],
            node: NodeId(1),
            shard: ShardId(2),
            shards: (0..3).map(|shard| ShardEndpoint { shard: ShardId(shard), port: 7100 + shard }).collect(),
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            broker_version: "a version with more than eight bytes".into(),
        } $(, $argument)*);
        $check(&MetadataRequest { topics: Some(vec!["orders".into(), "a longer topic name".into()]) } $(, $argument)*);
        $check(&MetadataResponse { topics: vec![topic_metadata(), TopicMetadata { error: 9, ..Default::default() }] } $(, $argument)*);
        $check(&CreateTopicRequest {
            name: "orders".into(),
            partitions: 4,
            replication_factor: 1,
            configs: vec![config()],
            validate_only: true,
        } $(, $argument)*);
        $check(&ListTopicsRequest { internal: true } $(, $argument)*);
        $check(&ListTopicsResponse {
            topics: vec![TopicSummary { name: "orders".into(), id: TopicId([9; 16]), partitions: 4, replication_factor: 1 }],
        } $(, $argument)*);
        $check(&DescribeTopicRequest { name: "orders".into() } $(, $argument)*);
        $check(&TopicDescription {
            name: "orders".into(),
            id: TopicId([9; 16]),
            replication_factor: 3,
            partitions: topic_metadata().partitions,
            configs: vec![config(), config()],
        } $(, $argument)*);
        $check(&AlterTopicRequest { name: "orders".into(), set: vec![config()], unset: vec!["flush.ms".into()] } $(, $argument)*);
        $check(&AddPartitionsRequest { name: "orders".into(), partitions: 8 } $(, $argument)*);
        $check(&DeleteTopicRequest { name: "orders".into() } $(, $argument)*);
        $check(&DeleteTopicResponse { id: TopicId([9; 16]) } $(, $argument)*);
        $check(&InitProducerRequest { transactional_id: Some("payments".into()) } $(, $argument)*);
        $check(&InitProducerResponse { producer: ProducerId(42), epoch: ProducerEpoch(3) } $(, $argument)*);
        $check(&ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            parts: vec![ProducePart { topic: TopicId([9; 16]), partition: PartitionIndex(3), length: 61 }; 3],
        } $(, $argument)*);
        $check(&ProduceResponse {
            parts: vec![ProducedPart {
                error: 10,
                base_offset: Offset(17),
                log_start: Offset(2),
                duplicate: true,
                message: Some("a message with some length".into()),
            }],
        } $(, $argument)*);
        $check(&FetchRequest {
            wait_ms_max: 500,
            bytes_min: 1,
            bytes_max: 1 << 20,
            parts: vec![FetchPart {
                topic: TopicId([9; 16]),
                partition: PartitionIndex(3),
                offset: Offset(12),
                bytes_max: 1 << 16,
                leader_epoch: LeaderEpoch(-1),
            }],
        } $(, $argument)*);
        $check(&FetchResponse {
            parts: vec![FetchedPart { error: 0, high_watermark: Offset(99), log_start: Offset(1), length: 4096 }; 2],
        } $(, $argument)*);
        $check(&ListOffsetsRequest {
            parts: vec![ListOffsetsPart { topic: TopicId([9; 16]), partition: PartitionIndex(0), timestamp: TIMESTAMP_END }],
        } $(, $argument)*);
        $check(&ListOffsetsResponse {
            parts: vec![ListedOffset { error: 0, offset: Offset(4), timestamp: TimestampMs(1), leader_epoch: LeaderEpoch(2) }],
        } $(, $argument)*);
        $check(&StatsRequest { shards: Some(vec![ShardId(0), ShardId(7)]) } $(, $argument)*);
        $check(&StatsResponse {
            cluster_id: [3; 16],
            node: NodeId(1),
            broker_version: "a version with more than eight bytes".into(),
            shards: vec![ShardStats {
                shard: ShardId(1),
                memory: vec![MemoryUse { owner: "tails".into(), bytes: 5, bytes_max: Some(1 << 40) }],
                counters: vec![Counter { name: "batches_appended_total".into(), value: 1 << 50 }; 2],
            }],
        } $(, $argument)*);
        $check(&ErrorBody { message: "no such topic; create it with: ringmain topic create".into() } $(, $argument)*);
    };
}

fn topic_metadata() -> TopicMetadata {
    let partition = |index| PartitionMetadata {
        index: PartitionIndex(index),
        leader: NodeId(1),
        shard: ShardId(index as u16 % 2),
        leader_epoch: LeaderEpoch(5),
        damaged: index == 1,
    };
    TopicMetadata {
        error: 0,
        name: "orders".into(),
        id: TopicId([9; 16]),
        partitions: (0..4).map(partition).collect(),
    }
}

fn config() -> ConfigEntry {
    ConfigEntry { key: "retention.ms".into(), value: "86400000".into() }
}

const PAYLOAD: &[u8] = b"batches";

fn frame_with<T: Body>(body: &T) -> Vec<u8> {
    let mut frame = encode(Api::Fetch.number(), true, 0, 77, body, PAYLOAD.len() as u32).to_vec();
    frame.extend_from_slice(PAYLOAD);
    frame
}

#[test]
fn every_api_survives_the_wire_and_has_a_name_of_its_own() {
    let mut names = std::collections::BTreeSet::new();
    for &api in Api::ALL {
        assert_eq!(Api::from_number(api.number()), Some(api));
        assert!(names.insert(api.name()), "{api} named twice");
    }
    assert_eq!(Api::from_number(Api::ALL.len() as u16), None);
}

#[test]
fn every_body_survives_the_wire_at_any_alignment() {
    fn check<T: Body + PartialEq + fmt::Debug>(body: &T) {
        let frame = frame_with(body);
        for shift in 0..8 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&frame);
            shifted.extend_from_slice(b"the next frame");
            let (found, bytes) = split(&shifted[shift..], FRAME_BYTES_MAX_DEFAULT).unwrap().unwrap();
            assert_eq!(bytes, frame.len());
            assert_eq!(found.payload, PAYLOAD);
            assert_eq!(&decode::<T>(found.body).unwrap(), body);
            let expected = FrameHeader {
                api: Api::Fetch.number(),
                answer: true,
                error: 0,
                correlation: 77,
                body_length: found.body.len() as u32,
                payload_length: PAYLOAD.len() as u32,
            };
            assert_eq!(found.header, expected);
        }
    }
    for_every_body!(check);
}

#[test]
fn every_prefix_waits_for_more() {
    fn check<T: Body + PartialEq + fmt::Debug>(body: &T) {
        let frame = frame_with(body);
        for length in 0..frame.len() {
            assert_eq!(split(&frame[..length], FRAME_BYTES_MAX_DEFAULT), Ok(None), "{length} bytes");
        }
    }
    for_every_body!(check);
}

#[test]
fn every_changed_byte_of_header_and_body_is_noticed() {
    fn check<T: Body + PartialEq + fmt::Debug>(body: &T) {
        let mut frame = frame_with(body);
        for place in 0..frame.len() - PAYLOAD.len() {
            for bit in 0..8 {
                frame[place] ^= 1 << bit;
                // A longer length makes the receiver wait for bytes; it never yields a frame.
                assert!(
                    !matches!(split(&frame, FRAME_BYTES_MAX_DEFAULT), Ok(Some(_))),
                    "bit {bit} of byte {place}"
                );
                frame[place] ^= 1 << bit;
            }
        }
    }
    for_every_body!(check);
}

#[test]
fn the_header_stands_as_documented() {
    let frame =
        encode(0x0102, true, 0x0304, 0x0506_0708, &ListTopicsRequest { internal: false }, 0x0a0b_0c0d);
    assert_eq!(
        frame[..20],
        [
            0x52, 0x4d, 2, 1, 1, 0, 4, 3, 8, 7, 6, 5, //
            1, 0, 0, 0, // the body is one bool
            0x0d, 0x0c, 0x0b, 0x0a,
        ]
    );
    let covered = [&frame[..20], &frame[24..]].concat();
    assert_eq!(frame[20..24], crc32c::crc32c(&covered).to_le_bytes());
}

#[test]
fn oversize_is_refused_before_the_bytes_are_there() {
    let frame = encode(Api::Produce.number(), false, 0, 1, &ListTopicsRequest::default(), 1000);
    let bytes = frame.len() as u64 + 1000;
    assert_eq!(split(&frame, bytes as u32), Ok(None));
    assert_eq!(split(&frame, bytes as u32 - 1), Err(FrameError::TooLarge { bytes, max: bytes as u32 - 1 }));
    let mut header = frame[..HEADER_BYTES].to_vec();
    header[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    header[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(split(&header, u32::MAX), Err(FrameError::TooLarge { .. })));
    header[16..20].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(
        split(&header[..], u32::MAX).unwrap_err().code(),
        ErrorCode::MessageTooLarge,
        "a body above the bound"
    );
}

#[test]
fn an_error_answer_carries_code_and_message() {
    let bytes = encode_error(999, 5, ErrorCode::UnsupportedVersion, "api 999 is not in this version");
    let (frame, _) = split(&bytes, FRAME_BYTES_MAX_DEFAULT).unwrap().unwrap();
    assert_eq!((frame.header.api, frame.header.answer), (999, true));
    assert_eq!(ErrorCode::from_number(frame.header.error), Some(ErrorCode::UnsupportedVersion));
    assert_eq!(decode::<ErrorBody>(frame.body).unwrap().message, "api 999 is not in this version");
}

#[test]
fn random_bytes_are_never_a_frame() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut bytes = [0; 300];
    for round in 0..20_000 {
        random.fill_bytes(&mut bytes);
        if round % 2 == 0 {
            // Lets half of them past the magic and the flags.
            bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[4] &= FLAG_ANSWER;
            bytes[5] = 0;
            bytes[13..16].fill(0);
            bytes[17..20].fill(0);
        }
        let length = random.next_u32() as usize % bytes.len();
        assert!(!matches!(split(&bytes[..length], FRAME_BYTES_MAX_DEFAULT), Ok(Some(_))));
    }
}

#[test]
fn hostile_bodies_are_refused_or_read_but_never_panic() {
    fn check<T: Body>(body: &T, random: &mut ChaCha8Rng, refused: &mut u32) {
        let honest = encode(0, false, 0, 0, body, 0)[HEADER_BYTES..].to_vec();
        let mut try_body = |bytes: &[u8]| match decode::<T>(bytes) {
            // What was read must be a value like any other.
            Ok(read) => drop(encode(0, false, 0, 0, &read, 0)),
            Err(error) => {
                assert_eq!(error, FrameError::Malformed);
                *refused += 1;
            }
        };
        for length in 0..honest.len() {
            try_body(&honest[..length]);
            try_body(&honest[length..]);
        }
        for _ in 0..400 {
            let mut bytes = honest.clone();
            for _ in 0..1 + random.next_u32() % 4 {
                let place = random.next_u32() as usize % bytes.len();
                bytes[place] = match random.next_u32() % 4 {
                    0 => 0xff,
                    1 => 0x80,
                    2 => bytes[place].wrapping_add(1),
                    _ => random.next_u32() as u8,
                };
            }
            try_body(&bytes);
        }
        for _ in 0..100 {
            let mut bytes = vec![0; random.next_u32() as usize % 200];
            random.fill_bytes(&mut bytes);
            try_body(&bytes);
        }
    }
    let (mut random, mut refused) = (ChaCha8Rng::seed_from_u64(2), 0);
    for_every_body!(check, &mut random, &mut refused);
    assert!(refused > 1_000, "only {refused} refused: the mutations miss");
}
