//! Batches for tests of this crate.

use super::*;
use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{ProducerEpoch, ProducerId, ProducerSequence};

/// A batch of `records` small records.
pub(crate) fn batch(producer: i64, epoch: i16, sequence: i32, records: u32) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for number in 0..records {
        let value = format!("{sequence}+{number}");
        builder.append(TimestampMs(1_000 + i64::from(number)), None, Some(value.as_bytes()), &[]);
    }
    builder.set_producer(ProducerId(producer), ProducerEpoch(epoch), ProducerSequence(sequence));
    builder.finish().expect("a small batch is always in bounds")
}

/// The header of [`batch`].
pub(crate) fn header(producer: i64, epoch: i16, sequence: i32, records: u32) -> BatchHeader {
    BatchHeader::parse(&batch(producer, epoch, sequence, records)).expect("the builder's own output parses")
}
