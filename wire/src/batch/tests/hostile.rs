//! Damaged, random and malicious bytes: an error or a value, never a panic, never memory that the bytes do not hold.

use proptest::collection::vec;
use proptest::prelude::*;

use super::generated::{codec, read, seeded, small_batch};
use crate::batch::{
    BatchError, BatchHeader, Batches, Codec, HEADER_BYTES, ProduceLimits, RecordReader, check,
    check_produced, stamp::stamp_crc,
};

const LIMITS: ProduceLimits = ProduceLimits { batch_bytes_max: u32::MAX };

/// Everything that looks at bytes from outside.
fn look_at(bytes: &[u8]) {
    let _ = check_produced(bytes, LIMITS);
    for batch in Batches::new(bytes).flatten() {
        let (header, batch) = batch;
        assert_eq!(header.length as usize, batch.len());
        assert!(header.base_offset <= header.last_offset() && header.last_offset() < header.next_offset());
        let _ = read(batch);
    }
}

/// A batch whose records are `body`, with a sound header that says `records`.
fn around(body: &[u8], records: u32, codec: Codec) -> Vec<u8> {
    let mut batch = small_batch(codec)[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(body);
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    stamp_crc(&mut batch);
    batch
}

#[test]
fn every_prefix_is_truncated() {
    for codec in Codec::ALL {
        let batch = small_batch(codec);
        for given_bytes in 0..batch.len() {
            let prefix = &batch[..given_bytes];
            let needed_bytes = if given_bytes < HEADER_BYTES { HEADER_BYTES } else { batch.len() };
            let truncated = BatchError::Truncated { needed_bytes, given_bytes };
            assert_eq!(check(prefix), Err(truncated));
            assert_eq!(RecordReader::new(prefix, 1_000).err(), Some(truncated));

            let tail = [&batch[..], prefix].concat();
            let mut batches = Batches::new(&tail);
            assert_eq!(batches.next(), Some(Ok((check(&batch).expect("sound"), &batch[..]))));
            let end = if given_bytes == 0 { None } else { Some(Err(truncated)) };
            assert_eq!(batches.next(), end);
            assert_eq!(batches.next(), None);
        }
    }
}

#[test]
fn every_flipped_bit_behind_the_checksum_is_caught_and_before_it_none_passes_unseen() {
    for codec in [Codec::None, Codec::Zstd] {
        let batch = small_batch(codec);
        let sound = check(&batch).expect("sound");
        for place in 0..batch.len() {
            for bit in 0..8 {
                let mut flipped = batch.to_vec();
                flipped[place] ^= 1 << bit;
                look_at(&flipped);
                match (place, check(&flipped)) {
                    // Base offset and leader epoch are the broker's to write.
                    (0..=7, Ok(header)) => assert_ne!(header.base_offset, sound.base_offset),
                    (12..=15, Ok(header)) => assert_ne!(header.leader_epoch, sound.leader_epoch),
                    (_, Ok(_)) => panic!("bit {bit} of byte {place} was not caught"),
                    (17.., Err(BatchError::Crc { .. })) => {}
                    // Fields of the header that no value of theirs can mean.
                    (23..=26, Err(BatchError::OffsetRange { .. })) => {}
                    (57..=60, Err(BatchError::RecordsNegative { .. })) => {}
                    (17.., Err(error)) => panic!("bit {bit} of byte {place}: {error}"),
                    (_, Err(_)) => {}
                }
            }
        }
    }
}

#[test]
fn lengths_of_any_size_are_compared_with_the_bytes_that_there_are() {
    for shift in 0..32 {
        for length in [1_u32 << shift, (1_u32 << shift) - 1, (1_u32 << shift).wrapping_neg()] {
            let mut batch = small_batch(Codec::None).to_vec();
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            if length as usize + 12 != batch.len() {
                assert!(check(&batch).is_err() && RecordReader::new(&batch, 1_000).is_err(), "{length}");
            }
            look_at(&batch);
            let mut batch = small_batch(Codec::None).to_vec();
            batch[57..61].copy_from_slice(&length.to_be_bytes());
            if length != 3 {
                assert!(read(&batch).is_err(), "{length} records");
            }
        }
    }
}

#[test]
fn the_number_of_records_must_be_right() {
    for codec in Codec::ALL {
        let batch = small_batch(codec);
        let with = |records: u32| {
            let mut batch = batch.to_vec();
            batch[57..61].copy_from_slice(&records.to_be_bytes());
            read(&batch).map(|records| records.len())
        };
        assert_eq!(with(3), Ok(3));
        assert_eq!(with(4), Err(BatchError::RecordsMissing { records: 4, found: 3 }), "{codec}");
        assert_eq!(
            with(i32::MAX as u32),
            Err(BatchError::RecordsMissing { records: i32::MAX as u32, found: 3 }),
        );
        assert!(matches!(with(2), Err(BatchError::RecordsTrailing { records: 2, .. })), "{codec}");
        assert!(matches!(with(0), Err(BatchError::RecordsTrailing { records: 0, .. })), "{codec}");
    }
}

#[test]
fn sound_records_come_before_the_error_and_nothing_after_it() {
    let batch = small_batch(Codec::None);
    let mut batch = around(&batch[HEADER_BYTES..], 3, Codec::None);
    // The second record's length: the first takes 7 bytes and its own.
    batch[HEADER_BYTES + 8] = 0x7f;
    let reader = RecordReader::new(&batch, 0).expect("a sound header");
    let mut records = reader.records();
    assert!(records.next().is_some_and(|record| record.is_ok()));
    assert!(records.next().is_some_and(|record| record.is_err()));
    assert_eq!(records.next(), None);
}

#[test]
fn each_malformed_field_has_its_own_error() {
    // length, attributes, timestamp delta, offset delta, key, value, headers: zigzag, so 1 is null and 2 is one byte.
    let read_one = |body: &[u8]| read(&around(body, 1, Codec::None)).map(|records| records.len());
    let length = |length, remaining_bytes| Err(BatchError::FieldLength { length, remaining_bytes });
    assert_eq!(read_one(&[12, 0, 0, 0, 1, 1, 0]), Ok(1));
    assert_eq!(read_one(&[14, 0, 0, 0, 1, 1, 0]), length(7, 6));
    assert_eq!(read_one(&[1, 0, 0, 0, 1, 1, 0]), length(-1, 6));
    assert_eq!(read_one(&[0]), Err(BatchError::RecordTruncated));
    assert_eq!(read_one(&[10, 0, 0, 0, 1, 1]), Err(BatchError::RecordTruncated));
    assert_eq!(read_one(&[14, 0, 0, 0, 1, 1, 0, 0]), Err(BatchError::RecordTrailing { bytes: 1 }));
    assert_eq!(read_one(&[12, 0, 0, 0, 3, 1, 0]), length(-2, 2));
    assert_eq!(read_one(&[12, 0, 0, 0, 1, 4, 0]), length(2, 1));
    assert_eq!(read_one(&[12, 0, 0, 0, 1, 1, 1]), Err(BatchError::HeaderCount { headers: -1 }));
    assert_eq!(read_one(&[12, 0, 0, 0, 1, 1, 2]), Err(BatchError::RecordTruncated));
    assert_eq!(read_one(&[16, 0, 0, 0, 1, 1, 2, 1, 1]), length(-1, 1));
    for (byte, offset_delta) in [(6, 3), (1, -1)] {
        let error = BatchError::RecordOffset { offset_delta, last_offset_delta: 2 };
        assert_eq!(read_one(&[12, 0, 0, byte, 1, 1, 0]), Err(error));
    }
    let timestamp = [&[32, 0][..], &[0xff; 11], &[0, 1, 1, 0]].concat();
    assert_eq!(read_one(&timestamp), Err(BatchError::Varint { bytes_max: 10 }));
    let count = [12, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(read_one(&[&[20][..], &count[1..]].concat()), Err(BatchError::RecordTruncated));
}

#[test]
fn a_bomb_in_a_batch_stops_at_the_limit() {
    let records = vec![0; 32 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut body = Vec::new();
        codec.compress(&records, &mut body);
        let bomb = around(&body, 1, codec);
        let error = BatchError::Decompressed { codec, bytes_max: 1 << 20 };
        assert_eq!(RecordReader::new(&bomb, 1 << 20).err(), Some(error));
    }
}

#[test]
fn every_error_says_its_numbers() {
    let error = BatchError::FieldLength { length: -17, remaining_bytes: 4_711 };
    assert_eq!(error.to_string(), "record field of length -17 where 4711 bytes remain");
    let error = BatchError::Decompressed { codec: Codec::Lz4, bytes_max: 99 };
    assert_eq!(error.to_string(), "lz4 records decompress to more than the 99 bytes allowed");
}

proptest! {
    #![proptest_config(seeded(2_000))]

    #[test]
    fn random_bytes_are_judged(bytes in vec(any::<u8>(), 0..200)) {
        look_at(&bytes);
        let _ = BatchHeader::parse(&bytes);
    }

    #[test]
    fn random_records_behind_a_sound_header_are_judged(
        body in vec(prop_oneof![0..16_u8, any::<u8>()], 0..80),
        records in 0..6_u32,
        codec in codec(),
    ) {
        let batch = around(&body, records, codec);
        prop_assert!(check(&batch).is_ok());
        look_at(&batch);
    }

    #[test]
    fn damaged_records_behind_a_sound_header_are_judged(
        codec in codec(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = small_batch(codec)[HEADER_BYTES..].to_vec();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        look_at(&around(&body, 3, codec));
    }
}
