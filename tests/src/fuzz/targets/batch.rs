//! Record batches as a broker sees them: the header, its rules, and one batch after another.

use ringmain_wire::batch::{
    BatchBuilder, BatchError, BatchHeader, Batches, Codec, HEADER_BYTES, ProduceLimits, check,
    check_produced, stamp,
};
use ringmain_wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

use crate::fuzz::Verdict;

const LIMITS: ProduceLimits = ProduceLimits { batch_bytes_max: 16 * 1024 };

const LENGTH_AT: usize = 8;
/// Bytes that the length field does not count.
const UNCOUNTED_BYTES: usize = 12;
const CRC_AT: usize = 17;
const CHECKED_FROM: usize = 21;

/// The header alone.
pub(in crate::fuzz) fn run_header(input: &[u8]) -> Verdict {
    let parsed = BatchHeader::parse(input);
    if let Ok(header) = &parsed {
        assert_header(header);
    }
    told(&parsed)
}

/// One whole batch with its checksum, and the rules for what a producer may send.
pub(in crate::fuzz) fn run_check(input: &[u8]) -> Verdict {
    let checked = check(input);
    if let Ok(header) = &checked {
        assert_header(header);
        assert_eq!(header.length as usize, input.len());
    }
    match check_produced(input, LIMITS) {
        Ok(header) => {
            assert_eq!(checked, Ok(header), "no rule for producers makes a damaged batch sound");
            assert_eq!(header.next_offset(), Offset(i64::from(header.records)));
            assert!(header.records > 0 && header.length <= LIMITS.batch_bytes_max);
            assert!(header.codec().is_ok() && !header.is_control());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    told(&checked)
}

/// Batch after batch, as in a segment or an answer.
pub(in crate::fuzz) fn run_walk(input: &[u8]) -> Verdict {
    let mut batches = Batches::new(input);
    let mut walked_bytes = 0;
    let mut verdict = Verdict::Refused;
    while let Some(batch) = batches.next() {
        let Ok((header, bytes)) = batch else {
            assert_eq!(batches.next(), None, "behind an error no boundary is known");
            return verdict;
        };
        assert_header(&header);
        assert_eq!(&input[walked_bytes..walked_bytes + header.length as usize], bytes);
        walked_bytes += bytes.len();
        verdict = Verdict::Accepted;
    }
    assert_eq!(walked_bytes, input.len());
    verdict
}

/// One batch: small, of an idempotent producer, and stamped by a leader.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let mut stamped = built(Codec::None, 5);
    stamp(&mut stamped, Offset(1_000), LeaderEpoch(7));
    vec![built(Codec::None, 1), built(Codec::Lz4, 3), stamped]
}

/// Three batches behind one another.
pub(in crate::fuzz) fn walk_seeds() -> Vec<Vec<u8>> {
    let mut end = 0;
    let batches = [(Codec::None, 2), (Codec::Zstd, 4), (Codec::None, 1)].map(|(codec, records)| {
        let mut batch = built(codec, records);
        stamp(&mut batch, Offset(end), LeaderEpoch(1));
        end += i64::from(records);
        batch
    });
    vec![batches.concat(), batches[0].clone()]
}

/// A batch of that many records, keys, absent values and headers among them.
pub(in crate::fuzz) fn built(codec: Codec, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.set_producer(ProducerId(4_000), ProducerEpoch(2), ProducerSequence(100));
    for number in 0..records {
        let value = format!("the value of record {number}, with some words some words some words");
        let value = (number % 4 != 3).then_some(value.as_bytes());
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"abc")), (b"none", None)];
        let headers = if number % 2 == 0 { &headers[..] } else { &[] };
        let time = TimestampMs(1_700_000_000_000 + i64::from(number) * 3);
        builder.append(time, (number % 3 == 0).then_some(b"key"), value, headers);
    }
    builder.finish().expect("a small batch with records").to_vec()
}

/// Makes length and checksum of the one batch that the bytes are right.
pub(crate) fn seal(input: &mut [u8]) {
    if input.len() < HEADER_BYTES {
        return;
    }
    let length = (input.len() - UNCOUNTED_BYTES) as u32;
    input[LENGTH_AT..UNCOUNTED_BYTES].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&input[CHECKED_FROM..]);
    input[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn assert_header(header: &BatchHeader) {
    assert!(header.length as usize >= HEADER_BYTES);
    assert!(Offset::ZERO <= header.base_offset && header.base_offset <= header.last_offset());
    assert!(header.last_offset() < header.next_offset());
    assert!(i32::try_from(header.records).is_ok());
}

fn told(result: &Result<BatchHeader, BatchError>) -> Verdict {
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
    Verdict::of(result)
}
