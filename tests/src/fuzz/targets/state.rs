//! What a log entry says of the settled part of a partition.

use ringmain_wal::state::{PartitionState, ProducerSnapshot, RememberedBatch, SegmentExtent};
use ringmain_wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

use crate::fuzz::Verdict;

/// What decodes is encoded to the same bytes.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let decoded = PartitionState::decode(input);
    match &decoded {
        Ok(state) => assert_eq!(state.encode(), input),
        Err(damage) => assert!(!damage.to_string().is_empty()),
    }
    Verdict::of(&decoded)
}

/// A partition with a little of everything, and one of which nothing is settled.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let segment = |base: i64, end: i64| SegmentExtent {
        base: Offset(base),
        end: Offset(end),
        bytes: 1_000,
        created: TimestampMs(1_700_000_000_000),
        max_timestamp: TimestampMs(1_700_000_100_000),
    };
    let batch = |first: i32| RememberedBatch {
        first: ProducerSequence(first),
        last: ProducerSequence(first + 9),
        base_offset: Offset(100 + i64::from(first)),
        next_offset: Offset(110 + i64::from(first)),
    };
    let snapshot = |producer: i64| ProducerSnapshot {
        producer: ProducerId(producer),
        epoch: ProducerEpoch(1),
        batches: vec![batch(0), batch(10)],
    };
    let full = PartitionState {
        log_start: Offset(20),
        settled_end: Offset(500),
        end: Offset(600),
        segments: vec![segment(0, 300), segment(300, 500)],
        epochs: vec![(LeaderEpoch(1), Offset(0)), (LeaderEpoch(4), Offset(250))],
        producers: vec![snapshot(7), snapshot(4_000)],
        is_read_only: true,
    };
    let empty = PartitionState {
        log_start: Offset::ZERO,
        settled_end: Offset::ZERO,
        end: Offset::ZERO,
        segments: Vec::new(),
        epochs: Vec::new(),
        producers: Vec::new(),
        is_read_only: false,
    };
    vec![full.encode(), empty.encode()]
}
