//! Batches recorded from other implementations, of every codec, each with that project's own choice of encoder.
//!
//! All hold the records below, as producer 4711, epoch 5, sequence 300:
//! - `fixtures/kafka-clients-4.3.1-*.batch`, by `MemoryRecordsBuilder` of Kafka's own client on OpenJDK 17;
//! - `fixtures/kafka-python-3.0.12-*.batch`, by `DefaultRecordBatchBuilder` of kafka-python with zlib, python-snappy
//!   0.7.3, lz4 4.4.5 and zstandard 0.25.

use super::generated::{OwnedRecord, built, read};
use crate::batch::{Codec, ProduceLimits, check_produced};
use crate::ids::{ProducerEpoch, ProducerId, ProducerSequence};

const RECORDED: [(Codec, &[u8]); 10] = [
    (Codec::None, include_bytes!("fixtures/kafka-clients-4.3.1-none.batch")),
    (Codec::Gzip, include_bytes!("fixtures/kafka-clients-4.3.1-gzip.batch")),
    (Codec::Snappy, include_bytes!("fixtures/kafka-clients-4.3.1-snappy.batch")),
    (Codec::Lz4, include_bytes!("fixtures/kafka-clients-4.3.1-lz4.batch")),
    (Codec::Zstd, include_bytes!("fixtures/kafka-clients-4.3.1-zstd.batch")),
    (Codec::None, include_bytes!("fixtures/kafka-python-3.0.12-none.batch")),
    (Codec::Gzip, include_bytes!("fixtures/kafka-python-3.0.12-gzip.batch")),
    (Codec::Snappy, include_bytes!("fixtures/kafka-python-3.0.12-snappy.batch")),
    (Codec::Lz4, include_bytes!("fixtures/kafka-python-3.0.12-lz4.batch")),
    (Codec::Zstd, include_bytes!("fixtures/kafka-python-3.0.12-zstd.batch")),
];

fn recorded_records() -> Vec<OwnedRecord> {
    vec![
        OwnedRecord {
            timestamp: 1_700_000_000_000,
            key: None,
            value: Some(b"first value".to_vec()),
            headers: vec![],
        },
        OwnedRecord {
            timestamp: 1_700_000_000_250,
            key: Some(b"key".to_vec()),
            value: None,
            headers: vec![
                (b"h".to_vec(), Some(vec![])),
                (b"h".to_vec(), Some(b"twice".to_vec())),
                (b"n".to_vec(), None),
            ],
        },
        OwnedRecord {
            timestamp: 1_699_999_999_000,
            key: Some(vec![]),
            value: Some(b"ab".repeat(60)),
            headers: vec![],
        },
    ]
}

#[test]
fn recorded_batches_are_taken_and_read() {
    let expected: Vec<_> = (0..).zip(recorded_records()).collect();
    for (codec, batch) in RECORDED {
        let header = check_produced(batch, ProduceLimits { batch_bytes_max: 1_000 }).expect("sound");
        assert_eq!(header.codec(), Ok(codec));
        assert_eq!(
            (header.producer, header.producer_epoch, header.base_sequence),
            (ProducerId(4_711), ProducerEpoch(5), ProducerSequence(300)),
        );
        assert_eq!(read(batch).as_ref(), Ok(&expected), "{codec}");
    }
}

#[test]
fn kafkas_own_client_builds_the_same_records_to_the_same_bytes() {
    let (codec, recorded) = RECORDED[0];
    let mut builder = built(&recorded_records(), codec);
    builder.set_producer(ProducerId(4_711), ProducerEpoch(5), ProducerSequence(300));
    assert_eq!(builder.finish().expect("a small batch can be encoded"), recorded);
}
