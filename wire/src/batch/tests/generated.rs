//! Records as the model has them, and strategies that generate them.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::batch::{BatchBuilder, BatchError, Codec, Record, RecordReader};
use crate::ids::TimestampMs;

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnedRecord {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Every run tries the same `cases`.
pub(in crate::batch) fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x0052_4d42_4154_4348),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(super) fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(Codec::ALL.as_slice())
}

/// Records with any timestamps and any bytes, header keys that repeat among them.
pub(super) fn records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let header_key = prop_oneof![Just(b"trace".to_vec()), Just(Vec::new()), Just(vec![0xff, 0xc0]), bytes(9)];
    vec(record(any::<i64>(), vec((header_key, nullable(20)), 0..5)), 1..40)
}

/// Records that every implementation can carry: timestamps of this era, header keys in UTF-8 and only once.
pub(super) fn tame_records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let headers = proptest::collection::btree_map("[a-zé]{0,6}", nullable(20), 0..4)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect::<Vec<_>>());
    vec(record(1_700_000_000_000..1_800_000_000_000_i64, headers), 1..40)
}

fn record(
    timestamps: impl Strategy<Value = i64>,
    headers: impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>>,
) -> impl Strategy<Value = OwnedRecord> {
    (timestamps, nullable(70), nullable(300), headers)
        .prop_map(|(timestamp, key, value, headers)| OwnedRecord { timestamp, key, value, headers })
}

fn nullable(bytes_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(bytes(bytes_max))
}

fn bytes(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=bytes_max)
}

/// Three records that hold every kind of field, as a batch of `codec`.
pub(super) fn small_batch(codec: Codec) -> Bytes {
    finished(&small_records(), codec)
}

pub(super) fn small_records() -> Vec<OwnedRecord> {
    vec![
        OwnedRecord { timestamp: 1_700_000_000_000, key: None, value: None, headers: vec![] },
        OwnedRecord {
            timestamp: 1_700_000_000_500,
            key: Some(b"key".to_vec()),
            value: Some(vec![b'v'; 200]),
            headers: vec![
                (b"a".to_vec(), Some(b"1".to_vec())),
                (b"a".to_vec(), None),
                (vec![], Some(vec![])),
            ],
        },
        OwnedRecord {
            timestamp: 1_699_999_999_999,
            key: Some(vec![]),
            value: Some(vec![]),
            headers: vec![(b"\xff".to_vec(), Some(b"\0".to_vec()))],
        },
    ]
}

pub(super) fn finished(records: &[OwnedRecord], codec: Codec) -> Bytes {
    built(records, codec).finish().expect("small batches can be encoded")
}

pub(super) fn built(records: &[OwnedRecord], codec: Codec) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        builder.append(
            TimestampMs(record.timestamp),
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    builder
}

/// Everything a batch holds, with the offsets.
pub(super) fn read(batch: &[u8]) -> Result<Vec<(i64, OwnedRecord)>, BatchError> {
    const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
    let reader = RecordReader::new(batch, DECOMPRESSED_BYTES_MAX)?;
    reader.records().map(|record| record.map(owned)).collect()
}

fn owned(record: Record<'_>) -> (i64, OwnedRecord) {
    let headers = record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
    let owned = OwnedRecord {
        timestamp: record.timestamp.get(),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers,
    };
    (record.offset.get(), owned)
}
