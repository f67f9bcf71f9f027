//! The records of a batch, decompressed or not.

use ringmain_wire::batch::{BatchBuilder, BatchError, Codec, Record, RecordReader};

use super::batch::built;
use crate::fuzz::Verdict;

/// What records may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024;
/// Most records that are put into a batch again.
const REBUILT_RECORDS_MAX: usize = 1_000;

/// Reads all records, and puts sound ones into a batch again.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let reader = match RecordReader::new(input, DECOMPRESSED_BYTES_MAX) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Verdict::Refused;
        }
    };
    let read: Result<Vec<Record<'_>>, BatchError> = reader.records().collect();
    let header = *reader.header();
    let is_compressed = header.codec() != Ok(Codec::None);
    let bytes_max = if is_compressed { DECOMPRESSED_BYTES_MAX } else { input.len() };
    if let Ok(records) = &read {
        assert_eq!(records.len(), header.records as usize);
        assert!(records.iter().map(content_bytes).sum::<usize>() <= bytes_max);
        let offsets = header.base_offset..header.next_offset();
        assert!(records.iter().all(|record| offsets.contains(&record.offset)));
        if (1..=REBUILT_RECORDS_MAX).contains(&records.len()) {
            assert_rebuilt(records);
        }
    }
    assert_lent(input, &read);
    Verdict::of(&read)
}

/// Batches of `codec` with few and with many records.
pub(in crate::fuzz) fn seeds(codec: Codec) -> Vec<Vec<u8>> {
    vec![built(codec, 1), built(codec, 4), built(codec, 40)]
}

fn content_bytes(record: &Record<'_>) -> usize {
    let headers = record.headers.clone();
    let in_headers: usize = headers.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + in_headers
}

/// The same records come out of a batch that is built of them.
fn assert_rebuilt(records: &[Record<'_>]) {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        let headers: Vec<_> = record.headers.clone().collect();
        builder.append(record.timestamp, record.key, record.value, &headers);
    }
    let batch = builder.finish().expect("as large as what was read");
    let reader = RecordReader::new(&batch, 0).expect("a batch that was just built");
    let mut again = reader.records();
    for record in records {
        let found = again.next().expect("as many records").expect("sound records");
        assert_eq!((found.timestamp, found.key, found.value), (record.timestamp, record.key, record.value));
        assert!(found.headers.eq(record.headers.clone()));
    }
    assert_eq!(again.next(), None);
}

/// One by one, the reader lends what the iterator gives.
fn assert_lent(input: &[u8], read: &Result<Vec<Record<'_>>, BatchError>) {
    let mut reader = RecordReader::new(input, DECOMPRESSED_BYTES_MAX).expect("opened before");
    let mut lent = 0;
    let end = loop {
        match reader.next() {
            None => break Ok(lent),
            Some(Ok(_)) => lent += 1,
            Some(Err(error)) => break Err(error),
        }
    };
    assert_eq!(end, read.as_ref().map(Vec::len).map_err(|error| *error));
    assert!(reader.next().is_none(), "it goes on behind its end");
}
