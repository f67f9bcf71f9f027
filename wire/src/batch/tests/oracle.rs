//! Agreement with the `kafka-protocol` crate, in both directions.
//!
//! Its codecs are not compiled in: records are compressed and decompressed here for it, so it judges the layout of
//! batches and records; the codecs are judged by recorded batches and by their own tests.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use super::generated::{OwnedRecord, built, codec, read, seeded, tame_records};
use crate::batch::{Codec, check, stamp};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence};

const PRODUCER: (i64, i16, i32) = (91, 2, 500);
const BASE_OFFSET: i64 = 1_000_000;
const EPOCH: i32 = 6;

fn theirs(records: &[OwnedRecord]) -> Vec<Record> {
    let (producer_id, producer_epoch, base_sequence) = PRODUCER;
    records
        .iter()
        .enumerate()
        .map(|(place, record)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: EPOCH,
            producer_id,
            producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: BASE_OFFSET + place as i64,
            sequence: base_sequence + place as i32,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| {
                    let key = StrBytes::from_utf8(key.clone().into()).expect("tame keys are UTF-8");
                    (key, value.clone().map(Bytes::from))
                })
                .collect::<IndexMap<_, _>>(),
        })
        .collect()
}

fn their_codec(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

fn our_codec(compression: Compression) -> Codec {
    Codec::from_bits(compression as u8).expect("one of the five")
}

proptest! {
    #![proptest_config(seeded(150))]

    #[test]
    fn our_batches_are_theirs(records in tame_records(), codec in codec()) {
        let (producer_id, producer_epoch, base_sequence) = PRODUCER;
        let mut builder = built(&records, codec);
        builder.set_producer(
            ProducerId(producer_id),
            ProducerEpoch(producer_epoch),
            ProducerSequence(base_sequence),
        );
        let mut batch = builder.finish().expect("small batches can be encoded").to_vec();
        stamp(&mut batch, Offset(BASE_OFFSET), LeaderEpoch(EPOCH));

        let decompressor = |compressed: &mut Bytes, compression| {
            let mut out = Vec::new();
            our_codec(compression).decompress(compressed, 1 << 20, &mut out)?;
            Ok(Bytes::from(out))
        };
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut Bytes::from(batch), Some(decompressor));
        let set = set.expect("they read it");
        prop_assert_eq!(set.compression, their_codec(codec));
        prop_assert_eq!(set.records, theirs(&records));
    }

    #[test]
    fn their_batches_are_ours(records in tame_records(), codec in codec()) {
        let compressor = |records: &mut BytesMut, out: &mut BytesMut, compression| {
            let mut compressed = Vec::new();
            our_codec(compression).compress(records, &mut compressed);
            out.extend_from_slice(&compressed);
            Ok(())
        };
        let options = RecordEncodeOptions { version: 2, compression: their_codec(codec) };
        let mut batch = BytesMut::new();
        let theirs = theirs(&records);
        RecordBatchEncoder::encode_with_custom_compression(&mut batch, &theirs, &options, Some(compressor))
            .expect("they write it");

        let header = check(&batch).expect("sound");
        prop_assert_eq!(header.codec(), Ok(codec));
        prop_assert_eq!(header.leader_epoch, LeaderEpoch(EPOCH));
        prop_assert_eq!((header.producer.get(), header.producer_epoch.get(), header.base_sequence.get()), PRODUCER);
        let expected: Vec<_> = (BASE_OFFSET..).zip(records).collect();
        prop_assert_eq!(read(&batch), Ok(expected));
    }
}
