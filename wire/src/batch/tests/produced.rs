//! What a broker takes from a producer.

use super::generated::small_batch;
use crate::batch::{
    Attributes, BatchError, BatchHeader, Codec, ProduceLimits, check, check_produced, stamp::stamp_crc,
};
use crate::ids::{Offset, ProducerEpoch, ProducerId, ProducerSequence};

const LIMITS: ProduceLimits = ProduceLimits { batch_bytes_max: 1_000 };

/// A good batch with its header changed and its checksum made right again.
fn produced(change: impl FnOnce(&mut BatchHeader)) -> Result<BatchHeader, BatchError> {
    let mut batch = small_batch(Codec::None).to_vec();
    let mut header = check(&batch).expect("sound");
    change(&mut header);
    header.write(&mut batch);
    stamp_crc(&mut batch);
    check_produced(&batch, LIMITS)
}

#[test]
fn a_good_batch_of_any_codec_is_taken() {
    for codec in Codec::ALL {
        let batch = small_batch(codec);
        assert_eq!(check_produced(&batch, LIMITS), check(&batch));
        assert!(check(&batch).is_ok());
    }
    let idempotent = produced(|header| {
        header.producer = ProducerId(0);
        header.producer_epoch = ProducerEpoch(0);
        header.base_sequence = ProducerSequence(0);
    });
    assert!(idempotent.is_ok_and(|header| header.is_idempotent()));
}

#[test]
fn the_size_limit_is_exact_and_asked_before_the_checksum() {
    let mut batch = small_batch(Codec::None).to_vec();
    let batch_bytes = batch.len() as u32;
    let check_with = |batch: &[u8], batch_bytes_max| check_produced(batch, ProduceLimits { batch_bytes_max });
    assert!(check_with(&batch, batch_bytes).is_ok());
    batch[70] ^= 1;
    let too_large = BatchError::TooLarge { batch_bytes, batch_bytes_max: batch_bytes - 1 };
    assert_eq!(check_with(&batch, batch_bytes - 1), Err(too_large));
    assert!(matches!(check_with(&batch, batch_bytes), Err(BatchError::Crc { .. })));
}

#[test]
fn exactly_one_batch_fills_the_bytes() {
    let batch = small_batch(Codec::None);
    let twice = [&batch[..], &batch[..]].concat();
    let error = BatchError::TrailingBytes { batch_bytes: batch.len(), given_bytes: twice.len() };
    assert_eq!(check_produced(&twice, LIMITS), Err(error));
    let error = BatchError::Truncated { needed_bytes: 61, given_bytes: 0 };
    assert_eq!(check_produced(&[], LIMITS), Err(error));
}

#[test]
fn each_rule_for_producers_has_its_own_error() {
    assert_eq!(
        produced(|header| header.base_offset = Offset(5)),
        Err(BatchError::BaseOffset { base_offset: 5 }),
    );
    assert_eq!(produced(|header| header.records = 0), Err(BatchError::NoRecords));
    for last_offset_delta in [1, 3, i32::MAX] {
        assert_eq!(
            produced(|header| header.last_offset_delta = last_offset_delta),
            Err(BatchError::OffsetCount { last_offset_delta, records: 3 }),
        );
    }
    assert_eq!(produced(|header| header.attributes = Attributes(5)), Err(BatchError::CodecBits { bits: 5 }));
    assert_eq!(produced(|header| header.attributes = Attributes(1 << 5)), Err(BatchError::Control));
    assert_eq!(produced(|header| header.attributes = Attributes(1 << 4)), Err(BatchError::Transactional));
    assert_eq!(produced(|header| header.attributes = Attributes(1 << 3)), Err(BatchError::LogAppendTime));
    for (producer_epoch, base_sequence) in [(-1, 0), (0, -1)] {
        assert_eq!(
            produced(|header| {
                header.producer = ProducerId(9);
                header.producer_epoch = ProducerEpoch(producer_epoch);
                header.base_sequence = ProducerSequence(base_sequence);
            }),
            Err(BatchError::ProducerState { producer: 9, producer_epoch, base_sequence }),
        );
    }
}
