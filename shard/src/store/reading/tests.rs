//! Interleaved readers against a linear model, and damage that must not get through.

mod behaviour;
mod disk;
mod segment;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use ringmain_wal::segment::SegmentDamage;
use ringmain_wire::batch::BatchError;
use ringmain_wire::ids::TimestampMs;

use super::*;
use crate::store::Ticket;
use disk::Disk;
use segment::{Sample, Shape, next_offset};

/// A reader that asks for one thing at a time, and what it waits for.
#[derive(Debug)]
struct Reader {
    sample: usize,
    offset: Offset,
    bytes_max: usize,
    waits_for: Option<Purpose>,
}

impl Reader {
    /// Asks for something: mostly for what follows what it got last.
    fn ask(&mut self, disk: &mut Disk, ticket: usize, sample: &Sample) {
        let (base, end) = (sample.extent.base, sample.extent.end);
        let mut anywhere = || Offset(base.0 + disk.below((end.0 - base.0) as usize) as i64);
        let (offset, log_start) = (anywhere(), anywhere());
        let purpose = match disk.below(10) {
            0 => Purpose::FindBatch { offset },
            1 => {
                let timestamp = TimestampMs(disk.below(1100) as i64);
                Purpose::FindTime { timestamp, log_start, decompressed_bytes_max: 1 << 20 }
            }
            2 => Purpose::Fetch { offset, bytes_max: 3000 },
            _ => {
                if self.offset >= end || self.offset < base {
                    self.offset = base;
                }
                Purpose::Fetch { offset: self.offset, bytes_max: self.bytes_max }
            }
        };
        self.waits_for = Some(purpose.clone());
        disk.start(ReadRequest { ticket: Ticket(ticket as u64), ..sample.request(purpose) });
    }

    fn take(&mut self, sample: &Sample, result: ReadResult) {
        match (self.waits_for.take().expect("a read ends once"), result) {
            (Purpose::Fetch { offset, bytes_max }, ReadResult::Batches(served)) => {
                assert!(
                    sample.is_fetched(offset, bytes_max, &served),
                    "{offset} {bytes_max}: {}",
                    served.len()
                );
                if bytes_max == self.bytes_max && offset == self.offset {
                    self.offset = next_offset(&served);
                }
            }
            (Purpose::FindTime { timestamp, log_start, .. }, ReadResult::Found(found)) => {
                assert_eq!(found, sample.find_time(timestamp, log_start));
            }
            (Purpose::FindBatch { offset }, ReadResult::Batch(found)) => {
                assert_eq!(found, sample.find_batch(offset));
            }
            (purpose, result) => panic!("{result:?} for {purpose:?}"),
        }
    }
}

fn shapes(batches: core::ops::Range<usize>) -> impl Strategy<Value = Vec<Shape>> {
    prop::collection::vec((1..5_u32, 0..4_000_usize, 0..1_000_i64), batches)
}

fn config() -> impl Strategy<Value = ReadingConfig> {
    (1..5_usize, 0..60_000_usize, 1..8_usize, 0..3_usize, 1..12_usize).prop_map(
        |(reads_in_flight_max, read_ahead_bytes_max, read_blocks, more_files, index_entries_max)| {
            ReadingConfig {
                reads_in_flight_max,
                read_ahead_bytes_max,
                read_bytes: read_blocks * 4096,
                batch_bytes_max: 1 << 20,
                open_files_max: reads_in_flight_max + more_files,
                index_entries_max,
            }
        },
    )
}

/// Reads on from the segment's beginning until its end, or an error.
fn read_through(disk: &mut Disk, sample: &Sample, bytes_max: usize) -> (Vec<u8>, Option<ReadError>) {
    let (mut served, mut offset) = (Vec::new(), sample.extent.base);
    while offset < sample.extent.end {
        disk.start(sample.fetch(offset.0, bytes_max));
        match disk.result() {
            Ok(ReadResult::Batches(batches)) if batches.is_empty() => break,
            Ok(ReadResult::Batches(batches)) => {
                offset = next_offset(&batches);
                served.extend(batches);
            }
            Ok(result) => panic!("{result:?}"),
            Err(error) => return (served, Some(error)),
        }
    }
    (served, None)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(4),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn interleaved_readers_find_what_a_linear_search_finds(
        config in config(),
        shapes in prop::collection::vec(shapes(1..25), 1..5),
        cuts in prop::collection::vec(any::<Option<Index>>(), 4),
        readers in prop::collection::vec((any::<Index>(), 1..20_000_usize), 1..6),
        seed in any::<u64>(),
    ) {
        let mut disk = Disk::new(config, seed);
        let mut samples = Vec::new();
        for (place, shapes) in shapes.iter().enumerate() {
            let sample = Sample::new(place as u32 / 2, 1_000 * (place as i64 % 2), shapes);
            disk.files.insert(sample.path(), sample.file());
            let cut = cuts[place].map_or(0, |cut| cut.index(shapes.len()));
            samples.push(if cut > 0 { sample.cut_before(cut) } else { sample });
        }
        let mut readers: Vec<_> = readers
            .iter()
            .map(|(sample, bytes_max)| Reader {
                sample: sample.index(samples.len()),
                offset: Offset::ZERO,
                bytes_max: *bytes_max,
                waits_for: None,
            })
            .collect();
        let mut left = 250;
        while left > 0 || readers.iter().any(|reader| reader.waits_for.is_some()) {
            let chosen = disk.below(readers.len());
            if left > 0 && readers[chosen].waits_for.is_none() && disk.below(2) == 0 {
                left -= 1;
                let sample = &samples[readers[chosen].sample];
                readers[chosen].ask(&mut disk, chosen, sample);
            } else {
                let is_idle = !disk.complete_one();
                prop_assert!(!is_idle || readers.iter().any(|reader| reader.waits_for.is_none()), "stuck");
            }
            while let Some(done) = disk.reading.poll_done() {
                let reader = &mut readers[done.ticket.0 as usize];
                reader.take(&samples[reader.sample], done.result.expect("nothing is damaged"));
            }
        }
        while disk.complete_one() {}
        prop_assert_eq!(disk.reading.held_bytes(), disk.reading.streams.held_bytes());
    }

    #[test]
    fn what_stands_before_damage_is_served_and_nothing_else(
        config in config(),
        shapes in shapes(1..25),
        place in any::<Index>(),
        mask in 1..=255_u8,
        bytes_max in 1..20_000_usize,
        cut_short in any::<bool>(),
    ) {
        let sample = Sample::new(0, 0, &shapes);
        let place = place.index(sample.extent.bytes as usize);
        let victim = (1..sample.batches.len()).find(|&next| sample.position(next) > place);
        let victim = victim.unwrap_or(sample.batches.len()) - 1;
        let mut file = sample.file();
        if cut_short {
            file.truncate(place);
        } else {
            // Nothing tells whether a leader epoch is sound.
            prop_assume!(!(12..16).contains(&(place - sample.position(victim))));
            file[place] ^= mask;
        }
        let mut disk = Disk::new(config, 1);
        disk.files.insert(sample.path(), file);
        for _ in 0..2 {
            let (served, error) = read_through(&mut disk, &sample, bytes_max);
            prop_assert_eq!(served, sample.batches[..victim].concat());
            let Some(ReadError::Damaged { path, position, .. }) = error else { panic!("{error:?}") };
            prop_assert_eq!((path, position), (sample.path(), sample.position(victim) as u64));
        }
    }
}

#[test]
fn a_length_beyond_all_batches_is_damage_and_asks_for_no_memory() {
    let sample = Sample::uniform(40, 4_000);
    let mut file = sample.file();
    let position = sample.position(3);
    file[position + 8..position + 12].copy_from_slice(&100_000_u32.to_be_bytes());
    let config = ReadingConfig { read_bytes: 4096, batch_bytes_max: 50_000, ..ReadingConfig::default() };
    let mut disk = Disk::new(config, 1);
    disk.files.insert(sample.path(), file);
    let (served, error) = read_through(&mut disk, &sample, 1);
    assert_eq!(served, sample.batches[..3].concat());
    let reason = BatchError::TooLarge { batch_bytes: 100_012, batch_bytes_max: 50_000 };
    let reason = SegmentDamage::Batch(reason);
    assert_eq!(error, Some(ReadError::Damaged { path: sample.path(), position: position as u64, reason }));
    assert!(disk.read_bytes <= 10 * 4096, "{}", disk.read_bytes);
}

#[test]
fn a_batch_larger_than_a_piece_is_served_whole() {
    let sample = Sample::new(0, 100, &[(1, 3_000, 1), (2, 30_000, 2), (1, 10, 3), (1, 90_000, 4)]);
    for read_bytes in [4096, 8192, 1 << 20] {
        let config = ReadingConfig { read_bytes, ..ReadingConfig::default() };
        let mut disk = Disk::new(config, 1);
        disk.files.insert(sample.path(), sample.file());
        assert_eq!(read_through(&mut disk, &sample, 1), (sample.batches.concat(), None));
        disk.start(sample.fetch(102, 1));
        assert_eq!(disk.result(), Ok(ReadResult::Batches(Bytes::clone(&sample.batches[1]))));
    }
}
