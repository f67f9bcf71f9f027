//! What is built is what is read.

use proptest::prelude::*;

use super::generated::{built, codec, finished, read, records, seeded, small_batch, small_records};
use crate::batch::header::{CHECKED_FROM, CRC};
use crate::batch::{
    BatchBuilder, BatchError, Batches, Codec, NO_LEADER_EPOCH, RecordReader, check, stamp, stamp_producer,
};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn every_record_comes_back_in_order(records in records(), codec in codec(), base in 0..i64::MAX / 2) {
        let builder = built(&records, codec);
        let estimate = builder.size_estimate_bytes();
        let mut batch = builder.finish().expect("small batches can be encoded").to_vec();
        stamp(&mut batch, Offset(base), LeaderEpoch(7));

        let header = check(&batch).expect("a finished batch is sound");
        prop_assert_eq!(header.codec(), Ok(codec));
        prop_assert_eq!(header.leader_epoch, LeaderEpoch(7));
        prop_assert_eq!(header.records as usize, records.len());
        prop_assert_eq!(header.next_offset(), Offset(base + records.len() as i64));
        prop_assert_eq!(header.base_timestamp.get(), records[0].timestamp);
        prop_assert_eq!(Some(header.max_timestamp.get()), records.iter().map(|record| record.timestamp).max());
        prop_assert!(codec != Codec::None || estimate == batch.len());

        let expected: Vec<_> = (base..).zip(records).collect();
        prop_assert_eq!(read(&batch), Ok(expected));
    }

    #[test]
    fn concatenated_batches_are_walked_one_by_one(all in proptest::collection::vec((records(), codec()), 0..4)) {
        let batches: Vec<_> = all.iter().map(|(records, codec)| finished(records, *codec)).collect();
        let log = batches.concat();
        let mut walked = Vec::new();
        for batch in Batches::new(&log) {
            let (header, bytes) = batch.expect("whole batches");
            prop_assert_eq!(Ok(header), check(bytes));
            walked.push(bytes);
        }
        prop_assert_eq!(walked, batches);
    }
}

#[test]
fn a_stamped_batch_keeps_its_checksum_and_all_its_other_bytes() {
    let fresh = small_batch(Codec::None);
    assert_eq!(check(&fresh).map(|header| header.leader_epoch), Ok(NO_LEADER_EPOCH));
    let mut batch = fresh.to_vec();
    stamp(&mut batch, Offset(0x0123_4567_89ab_cdef), LeaderEpoch(0x7654_3210));
    let header = check(&batch).expect("the checksum still holds");
    assert_eq!(header.base_offset, Offset(0x0123_4567_89ab_cdef));
    assert_eq!(header.leader_epoch, LeaderEpoch(0x7654_3210));
    assert_eq!((&batch[8..12], &batch[16..]), (&fresh[8..12], &fresh[16..]));
}

#[test]
fn a_producer_is_written_while_building_or_afterwards_with_the_same_bytes() {
    let (producer, epoch, sequence) = (ProducerId(77), ProducerEpoch(3), ProducerSequence(1_000));
    let mut builder = built(&small_records(), Codec::Gzip);
    builder.set_producer(producer, epoch, sequence);
    let built_with = builder.finish().expect("a small batch can be encoded");
    let mut stamped = small_batch(Codec::Gzip).to_vec();
    assert!(!check(&stamped).expect("sound").is_idempotent());
    stamp_producer(&mut stamped, producer, epoch, sequence);
    assert_eq!(stamped, built_with);
    let header = check(&stamped).expect("the checksum was computed again");
    assert_eq!((header.producer, header.producer_epoch, header.base_sequence), (producer, epoch, sequence));
    assert!(header.is_idempotent());
}

#[test]
fn the_time_of_the_append_holds_for_every_record() {
    let mut batch = small_batch(Codec::Lz4).to_vec();
    batch[CHECKED_FROM + 1] |= 1 << 3;
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    let max_timestamp = check(&batch).expect("sound").max_timestamp.get();
    let records = read(&batch).expect("sound");
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|(_, record)| record.timestamp == max_timestamp));
}

#[test]
fn a_batch_without_records_is_not_finished() {
    let mut builder = BatchBuilder::new(Codec::Zstd);
    assert!(builder.is_empty());
    assert_eq!(builder.clone().finish(), Err(BatchError::NoRecords));
    builder.append(TimestampMs(1), None, None, &[]);
    assert_eq!((builder.is_empty(), builder.records()), (false, 1));
    assert!(builder.finish().is_ok());
}

#[test]
fn a_batch_that_compaction_emptied_reads_as_no_records() {
    for codec in Codec::ALL {
        let mut batch = small_batch(codec)[..61].to_vec();
        batch[8..12].copy_from_slice(&49_u32.to_be_bytes());
        batch[57..61].fill(0);
        assert_eq!(read(&batch), Ok(vec![]), "{codec}");
    }
}

#[test]
fn records_taken_one_by_one_are_those_of_the_iterator() {
    for codec in Codec::ALL {
        let mut batch = small_batch(codec).to_vec();
        // Three records where the header says four: the error comes the same way too.
        batch[60] = 4;
        let mut reader = RecordReader::new(&batch, 1_000).expect("a sound header");
        let all: Vec<_> = reader.clone().records().map(|record| format!("{record:?}")).collect();
        assert_eq!(all.len(), 4);
        for (place, record) in all.iter().enumerate() {
            assert_eq!(reader.records().count(), all.len() - place);
            assert_eq!(reader.next().map(|record| format!("{record:?}")).as_ref(), Some(record));
        }
        assert_eq!(reader.next(), None);
    }
}

#[test]
fn headers_say_how_many_remain_and_can_be_walked_again() {
    let batch = small_batch(Codec::None);
    let reader = RecordReader::new(&batch, 0).expect("sound, and nothing to decompress");
    let record = reader.records().nth(1).expect("three records").expect("sound");
    let mut headers = record.headers.clone();
    assert_eq!(headers.len(), 3);
    assert_eq!(headers.next(), Some((b"a".as_slice(), Some(b"1".as_slice()))));
    assert_eq!(headers.next(), Some((b"a".as_slice(), None)));
    assert_eq!((headers.len(), record.headers.len()), (1, 3));
}
