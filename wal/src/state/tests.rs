use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn segment(base: i64, end: i64) -> SegmentExtent {
    let (created, max_timestamp) = (TimestampMs(1_700_000_000_000), TimestampMs(-1));
    SegmentExtent { base: Offset(base), end: Offset(end), bytes: 77, created, max_timestamp }
}

fn batch(base: i64, next: i64) -> RememberedBatch {
    let (first, last) = (ProducerSequence(i32::MAX), ProducerSequence(3));
    RememberedBatch { first, last, base_offset: Offset(base), next_offset: Offset(next) }
}

fn producer(id: i64, batches: Vec<RememberedBatch>) -> ProducerSnapshot {
    ProducerSnapshot { producer: ProducerId(id), epoch: ProducerEpoch(2), batches }
}

fn sample() -> PartitionState {
    PartitionState {
        log_start: Offset(10),
        settled_end: Offset(500),
        end: Offset(600),
        segments: vec![segment(0, 300), segment(300, 450)],
        epochs: vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(120))],
        producers: vec![producer(4, vec![batch(0, 5)]), producer(9, vec![batch(5, 10), batch(12, 600)])],
        is_read_only: true,
    }
}

#[test]
fn the_layout_is_pinned() {
    let encoded = sample().encode();
    assert_eq!(encoded.len(), 32 + (4 + 2 * 40) + (4 + 2 * 12) + (4 + 2 * 14 + 3 * 24));
    assert_eq!(encoded[..12], [1, 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0]);
    assert_eq!(encoded[16..36], [0xf4, 1, 0, 0, 0, 0, 0, 0, 0x58, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(encoded[44..60], [0x2c, 1, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encoded[68..76], [0xff; 8]);
    assert_eq!(encoded[116..132], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encoded[144..166], [2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 255, 255, 255, 127]);
}

#[test]
fn nothing_settled_is_a_state_too() {
    let nothing = PartitionState::default();
    assert_eq!(PartitionState::decode(&nothing.encode()), Ok(nothing));
    let deleted = PartitionState { log_start: Offset(7), ..PartitionState::default() };
    assert_eq!(PartitionState::decode(&deleted.encode()), Ok(deleted));
}

#[test]
fn other_versions_flags_and_lengths_are_refused() {
    let encoded = sample().encode();
    let with = |place: usize, value: u8| {
        let mut changed = encoded.clone();
        changed[place] = value;
        PartitionState::decode(&changed)
    };
    assert_eq!(with(0, 2), Err(StateDamage::FormatVersion { found: 2 }));
    assert_eq!(with(4, 2), Err(StateDamage::Bounds));
    for count in [32, 116, 144, 158] {
        assert_eq!(with(count + 3, 0x80), Err(StateDamage::Bounds), "a count beyond the bytes at {count}");
    }
    for length in 0..encoded.len() {
        assert_eq!(PartitionState::decode(&encoded[..length]), Err(StateDamage::Bounds), "{length} bytes");
    }
    let longer = [encoded.as_slice(), &[0]].concat();
    assert_eq!(PartitionState::decode(&longer), Err(StateDamage::Bounds));
}

#[test]
fn what_contradicts_itself_is_neither_read_nor_written() {
    let wrongs: [fn(&mut PartitionState); 15] = [
        |state| state.log_start = Offset(-1),
        |state| state.settled_end = Offset(449),
        |state| state.end = Offset(499),
        |state| state.segments[0].base = Offset(-1),
        |state| state.segments[0].end = Offset(0),
        |state| state.segments[1].base = Offset(299),
        |state| state.segments.swap(0, 1),
        |state| state.epochs[1].0 = LeaderEpoch(0),
        |state| state.epochs[0].1 = Offset(121),
        |state| state.epochs[1].1 = Offset(501),
        |state| state.producers.swap(0, 1),
        |state| state.producers[0].batches.clear(),
        |state| state.producers[0].batches = (0..6).map(|place| batch(place, place + 1)).collect(),
        |state| state.producers[1].batches[1].base_offset = Offset(9),
        |state| state.producers[1].batches[1].next_offset = Offset(12),
    ];
    for (which, wrong) in wrongs.into_iter().enumerate() {
        let mut state = sample();
        wrong(&mut state);
        let encoded = codec::encode(&state);
        assert_eq!(PartitionState::decode(&encoded), Err(StateDamage::Order), "wrong {which}");
        assert!(std::panic::catch_unwind(|| state.encode()).is_err(), "wrong {which}");
    }
}

/// Lists in order, of any lengths.
fn states() -> impl Strategy<Value = PartitionState> {
    let steps = || prop::collection::vec((1..1000_i64, 0..1000_i64, any::<i64>()), 0..8);
    let producers = prop::collection::vec(prop::collection::vec(1..1000_i64, 1..=5), 0..5);
    (steps(), steps(), producers, 0..10_000_i64, any::<bool>()).prop_map(
        |(segments, epochs, producers, log_start, is_read_only)| {
            let mut offset = 0;
            let mut extent = |(records, gap, timestamp): (i64, i64, i64)| {
                let base = Offset(offset + gap);
                offset = base.0 + records;
                let bytes = timestamp.cast_unsigned();
                let timestamp = TimestampMs(timestamp);
                SegmentExtent {
                    base,
                    end: Offset(offset),
                    bytes,
                    created: timestamp,
                    max_timestamp: timestamp,
                }
            };
            let segments = segments.into_iter().map(&mut extent).collect();
            let (mut epoch, mut start) = (-1, 0);
            let mut reign = |(epochs, records, _): (i64, i64, i64)| {
                epoch += epochs as i32;
                start += records;
                (LeaderEpoch(epoch), Offset(start))
            };
            let epochs = epochs.into_iter().map(&mut reign).collect();
            let remembered = |(id, lengths): (usize, Vec<i64>)| {
                let batches = lengths.iter().scan(0, |base, length| {
                    *base += length;
                    Some(batch(*base - length, *base))
                });
                producer(id as i64, batches.collect())
            };
            PartitionState {
                log_start: Offset(log_start),
                settled_end: Offset(offset.max(start)),
                end: Offset(offset.max(start) + 3),
                segments,
                epochs,
                producers: producers.into_iter().enumerate().map(remembered).collect(),
                is_read_only,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        rng_seed: RngSeed::Fixed(4),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_state_comes_back(state in states()) {
        prop_assert_eq!(PartitionState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn whatever_is_decoded_is_encoded_to_the_same_bytes(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        state in states(),
    ) {
        let mut bytes = state.encode();
        for (place, value) in hits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(decoded) = PartitionState::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
