//! The time of an append, stamped by a broker.

use proptest::prelude::*;

use super::generated::{codec, finished, read, records, seeded, small_batch};
use crate::batch::{BatchHeader, Codec, RecordReader, TimestampType, check, stamp, stamp_append_time};
use crate::ids::{LeaderEpoch, Offset, TimestampMs};

const APPEND_TIME: TimestampMs = TimestampMs(1_800_000_000_000);

#[test]
fn the_bit_the_time_and_the_checksum_change_and_nothing_else() {
    for codec in Codec::ALL {
        let sent = small_batch(codec);
        let mut stamped = sent.to_vec();
        stamp_append_time(&mut stamped, APPEND_TIME);
        let (before, after) = (check(&sent).expect("sound"), check(&stamped).expect("sound again"));
        assert_eq!(after, BatchHeader { crc: after.crc, ..before.with_append_time(APPEND_TIME) });
        assert_eq!(after.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(after.codec(), before.codec());
        let changed: Vec<usize> = (0..sent.len()).filter(|&at| sent[at] != stamped[at]).collect();
        assert!(changed.iter().all(|at| (17..23).contains(at) || (35..43).contains(at)), "{changed:?}");
        let again = stamped.clone();
        stamp_append_time(&mut stamped, APPEND_TIME);
        assert_eq!(stamped, again, "stamping twice is stamping once");
    }
}

#[test]
fn a_place_in_the_log_may_be_stamped_before_and_after() {
    let mut before = small_batch(Codec::None).to_vec();
    let mut after = before.clone();
    stamp(&mut before, Offset(70), LeaderEpoch(3));
    stamp_append_time(&mut before, APPEND_TIME);
    stamp_append_time(&mut after, APPEND_TIME);
    stamp(&mut after, Offset(70), LeaderEpoch(3));
    assert_eq!(before, after);
    assert!(check(&before).is_ok_and(|header| header.base_offset == Offset(70)));
}

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn every_record_has_the_time_of_the_append_and_all_else_as_sent(
        records in records(),
        codec in codec(),
        append_time in any::<i64>(),
    ) {
        let sent = finished(&records, codec);
        let mut stamped = sent.to_vec();
        stamp_append_time(&mut stamped, TimestampMs(append_time));
        prop_assert!(check(&stamped).is_ok());
        let mut expected = read(&sent).expect("sound");
        expected.iter_mut().for_each(|(_, record)| record.timestamp = append_time);
        prop_assert_eq!(read(&stamped), Ok(expected));
        let mut lent = RecordReader::new(&stamped, 1 << 20).expect("sound");
        while let Some(record) = lent.next() {
            prop_assert_eq!(record.expect("sound").timestamp, TimestampMs(append_time));
        }
    }
}
