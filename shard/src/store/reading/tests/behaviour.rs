use ringmain_wal::names::index_file_name;
use ringmain_wal::segment::{IndexBuilder, IndexFooter};
use ringmain_wal::state::SegmentExtent;

use super::disk::MISSING;
use super::segment::next_offset;
use super::*;

const READ_BYTES: usize = 64 << 10;

fn disk(samples: &[&Sample], change: impl FnOnce(&mut ReadingConfig)) -> Disk {
    let mut config = ReadingConfig { read_bytes: READ_BYTES, ..ReadingConfig::default() };
    change(&mut config);
    let mut disk = Disk::new(config, 1);
    for sample in samples {
        disk.files.insert(sample.path(), sample.file());
    }
    disk
}

fn batches(result: Result<ReadResult, ReadError>) -> Bytes {
    let Ok(ReadResult::Batches(batches)) = result else { panic!("{result:?}") };
    batches
}

/// Two fetches in a row, so that the next piece is being read ahead; where the next fetch begins.
fn read_twice(disk: &mut Disk, sample: &Sample, bytes_max: usize) -> i64 {
    let mut offset = sample.extent.base.0;
    for _ in 0..2 {
        disk.start(sample.fetch(offset, bytes_max));
        let done = loop {
            match disk.reading.poll_done() {
                Some(done) => break done,
                None => disk.complete(0),
            }
        };
        offset = next_offset(&batches(done.result)).0;
    }
    offset
}

#[test]
fn a_reader_that_goes_on_is_served_from_memory_and_reads_the_file_once() {
    let sample = Sample::uniform(2_000, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    let mut offset = read_twice(&mut disk, &sample, 10_000);
    while offset < 1_999 {
        while disk.complete_one() {}
        disk.start(sample.fetch(offset, 10_000));
        let done = disk.reading.poll_done().expect("all of it was read ahead");
        offset = next_offset(&batches(done.result)).0;
    }
    assert!(disk.read_bytes < sample.file().len() * 11 / 10, "{}", disk.read_bytes);
    assert_eq!(disk.opens, 1);
}

#[test]
fn a_fetch_joins_the_read_ahead_that_is_under_way_and_all_who_do_are_served() {
    let sample = Sample::uniform(500, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    let offset = read_twice(&mut disk, &sample, READ_BYTES - 5_000);
    assert_eq!(disk.pending.len(), 1);
    let bytes_max = [READ_BYTES, 1_000, READ_BYTES];
    for bytes_max in bytes_max {
        disk.start(sample.fetch(offset, bytes_max));
    }
    assert_eq!(disk.pending.len(), 1, "no read of their own");
    assert!(disk.reading.poll_done().is_none(), "nobody overtakes who waits");
    disk.complete(0);
    for bytes_max in bytes_max {
        let served = batches(disk.reading.poll_done().unwrap().result);
        assert!(sample.is_fetched(Offset(offset), bytes_max, &served) && served.len() > bytes_max / 2);
    }
}

#[test]
fn what_was_read_ahead_of_a_truncation_or_of_another_end_is_not_served() {
    let sample = Sample::uniform(500, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    let offset = read_twice(&mut disk, &sample, 10_000);
    while disk.complete_one() {}

    let other = Sample::new(0, 0, &[(1, 930, 5_000); 500]);
    disk.files.insert(other.path(), other.file());
    disk.start(ReadRequest { truncations: 1, ..other.fetch(offset, 10_000) });
    assert!(disk.reading.poll_done().is_none());
    assert!(other.is_fetched(Offset(offset), 10_000, &batches(disk.result())));

    disk.files.insert(sample.path(), sample.file());
    let offset = read_twice(&mut disk, &sample, 10_000);
    while disk.complete_one() {}
    let cut = sample.cut_before(offset as usize + 2);
    disk.start(cut.fetch(offset, 10_000));
    assert!(disk.reading.poll_done().is_none());
    assert_eq!(batches(disk.result()), cut.batches[offset as usize..].concat());
}

#[test]
fn what_lies_behind_the_end_of_a_cut_segment_is_void_even_if_it_is_no_batch() {
    let sample = Sample::uniform(100, 1_000);
    let cut = sample.cut_before(60);
    let mut file = sample.file();
    file[sample.position(60)..].fill(0xff);
    let mut disk = disk(&[], |_| {});
    disk.files.insert(sample.path(), file);
    assert_eq!(read_through(&mut disk, &cut, 7_000), (cut.batches.concat(), None));
    for purpose in [
        Purpose::FindBatch { offset: Offset(60) },
        Purpose::FindTime { timestamp: TimestampMs(60), log_start: Offset(0), decompressed_bytes_max: 0 },
        Purpose::Fetch { offset: Offset(60), bytes_max: 1 },
    ] {
        disk.start(cut.request(purpose));
        let result = disk.result();
        let is_nothing = match result {
            Ok(ReadResult::Batches(ref batches)) => batches.is_empty(),
            Ok(ReadResult::Found(found)) => found.is_none(),
            Ok(ReadResult::Batch(found)) => found.is_none(),
            Err(_) => false,
        };
        assert!(is_nothing, "{result:?}");
    }
}

#[test]
fn a_batch_that_goes_on_behind_the_bytes_that_count_is_damage() {
    let mut sample = Sample::uniform(10, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    sample.extent.bytes -= 1;
    let (served, error) = read_through(&mut disk, &sample, 1 << 20);
    assert_eq!(served, sample.batches[..9].concat());
    assert!(
        matches!(error, Some(ReadError::Damaged { position, .. }) if position == sample.position(9) as u64)
    );
}

#[test]
fn an_index_file_spares_the_scan_and_one_that_cannot_be_relied_on_is_told() {
    let sample = Sample::uniform(3_000, 1_000);
    let mut index = IndexBuilder::new();
    (0..3_000).for_each(|place| index.append(&sample.header(place), sample.position(place) as u64));
    let SegmentExtent { bytes, end, max_timestamp, .. } = sample.extent;
    let footer = IndexFooter { segment_bytes: bytes, end, max_timestamp, segment_crc: 0 };
    let sound = index.index().encode(footer);
    let mut rotten = sound.clone();
    rotten[60] ^= 1;
    let other = index.index().encode(IndexFooter { end: Offset(2_999), ..footer });
    let longer = index.index().encode(IndexFooter { segment_bytes: bytes + 1, ..footer });
    let cases = [
        (Some(sound), true),
        (Some(rotten), false),
        (Some(other), false),
        (Some(longer), false),
        (None, false),
    ];
    for (file, is_sound) in cases {
        let mut disk = disk(&[&sample], |_| {});
        let path = index_file_name(sample.partition, sample.extent.base);
        if let Some(file) = file {
            disk.files.insert(path, file);
        }
        disk.start(sample.fetch(2_900, 1_000));
        let Ok(ReadResult::Batches(batches)) = disk.result() else { panic!("it is all there") };
        assert!(sample.is_fetched(Offset(2_900), 1_000, &batches));
        assert_eq!(disk.read_bytes < 600_000, is_sound, "{}", disk.read_bytes);
        let unindexed = disk.reading.poll_unindexed();
        assert_eq!(unindexed, (!is_sound).then_some((sample.partition, sample.extent.base)));
        assert_eq!(disk.reading.indexes_loaded(), u64::from(is_sound));
    }
}

#[test]
fn an_index_file_written_late_spares_the_scans_from_then_on() {
    let sample = Sample::uniform(3_000, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    disk.start(sample.fetch(2_000, 1_000));
    disk.result().unwrap();
    assert!(disk.reading.poll_unindexed().is_some());
    let mut index = IndexBuilder::new();
    (0..3_000).for_each(|place| index.append(&sample.header(place), sample.position(place) as u64));
    let SegmentExtent { bytes, end, max_timestamp, .. } = sample.extent;
    let footer = IndexFooter { segment_bytes: bytes, end, max_timestamp, segment_crc: 0 };
    disk.files.insert(index_file_name(sample.partition, sample.extent.base), index.index().encode(footer));
    disk.reading.handle_index_written(sample.partition, sample.extent.base);
    let before = disk.read_bytes;
    disk.start(sample.fetch(2_900, 1_000));
    assert!(sample.is_fetched(Offset(2_900), 1_000, &batches(disk.result())));
    assert_eq!(disk.reading.indexes_loaded(), 1);
    assert!(disk.read_bytes - before < 600_000, "{}", disk.read_bytes - before);
    disk.reading.handle_index_written(sample.partition, sample.extent.base);
    disk.start(sample.fetch(2_800, 1_000));
    disk.result().unwrap();
    assert_eq!(disk.reading.indexes_loaded(), 1, "what it says is known");
}

#[test]
fn an_index_file_leads_past_damage_that_a_scan_has_met() {
    // Small enough to be read without an index file otherwise.
    let sample = Sample::uniform(200, 1_000);
    let mut index = IndexBuilder::new();
    (0..200).for_each(|place| index.append(&sample.header(place), sample.position(place) as u64));
    let SegmentExtent { bytes: segment_bytes, end, max_timestamp, .. } = sample.extent;
    let footer = IndexFooter { segment_bytes, end, max_timestamp, segment_crc: 0 };
    let mut disk = disk(&[&sample], |_| {});
    disk.files.insert(index_file_name(sample.partition, sample.extent.base), index.index().encode(footer));
    disk.files.get_mut(&sample.path()).unwrap()[sample.position(20) + 100] ^= 1;
    for _ in 0..2 {
        disk.start(sample.fetch(150, 1));
        assert_eq!(batches(disk.result()), sample.batches[150]);
        for offset in [20, 30] {
            disk.start(sample.fetch(offset, 1));
            let Err(ReadError::Damaged { position, .. }) = disk.result() else {
                panic!("{offset} is served")
            };
            assert_eq!(position, sample.position(20) as u64);
        }
    }
    assert_eq!(disk.reading.indexes_loaded(), 1);
}

#[test]
fn a_read_that_waits_for_an_index_is_told_when_its_segment_goes() {
    let sample = Sample::uniform(3_000, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    disk.start(sample.fetch(2_900, 1_000));
    disk.forget(sample.partition, None);
    disk.start(sample.fetch(2_900, 1_000));
    while disk.complete_one() {}
    let results: Vec<_> = core::iter::from_fn(|| disk.reading.poll_done().map(|done| done.result)).collect();
    assert!(matches!(results[..], [Err(ReadError::Forgotten), Ok(_)]), "{results:?}");
    assert!(disk.open.is_empty() || disk.reading.poll_unindexed().is_some());
}

#[test]
fn a_scan_is_made_once_and_not_at_all_where_a_settle_job_left_its_index() {
    let sample = Sample::uniform(3_000, 1_000);
    let mut index = IndexBuilder::new();
    (0..3_000).for_each(|place| index.append(&sample.header(place), sample.position(place) as u64));
    for is_learned in [false, true] {
        let mut disk = disk(&[&sample], |_| {});
        if is_learned {
            disk.reading.learn(sample.partition, sample.extent.base, index.index().clone());
        }
        for is_first in [true, false] {
            let before = disk.read_bytes;
            for purpose in [
                Purpose::FindBatch { offset: Offset(2_900) },
                Purpose::FindTime {
                    timestamp: TimestampMs(2_900),
                    log_start: Offset(0),
                    decompressed_bytes_max: 0,
                },
                Purpose::Fetch { offset: Offset(2_900), bytes_max: 1_000 },
            ] {
                disk.start(sample.request(purpose));
                disk.result().unwrap();
            }
            let read_bytes = disk.read_bytes - before;
            let is_scanned = read_bytes > 2_800 * 1_000;
            assert_eq!(is_scanned, is_first && !is_learned, "{read_bytes}");
        }
    }
}

#[test]
fn a_forgotten_segment_ends_its_reads_and_is_closed_when_the_last_has_ended() {
    let (sample, other) = (Sample::uniform(100, 1_000), Sample::new(0, 500, &[(1, 10, 0)]));
    let mut disk = disk(&[&sample, &other], |config| config.reads_in_flight_max = 3);
    // Two are being read, one is queued behind a read of another segment.
    disk.start(sample.fetch(0, 1));
    disk.start(sample.fetch(20, 1));
    disk.complete(0);
    disk.start(other.fetch(500, 1));
    disk.start(sample.fetch(50, 1));
    disk.forget(sample.partition, Some(sample.extent.base));
    for _ in 0..3 {
        assert_eq!(disk.reading.poll_done().unwrap().result, Err(ReadError::Forgotten));
    }
    assert!(disk.reading.poll_done().is_none());
    disk.complete(0);
    assert_eq!(disk.open.len(), 1, "a read uses it");
    disk.complete(0);
    assert_eq!(disk.open.len(), 0);

    assert_eq!(disk.result(), Ok(ReadResult::Batches(other.batches[0].clone())));
    assert_eq!(disk.opens, 2, "not opened again for what was queued");
    let replaced = Sample::new(0, 0, &[(3, 5, 0)]);
    disk.files.insert(replaced.path(), replaced.file());
    disk.start(replaced.fetch(1, 1));
    assert_eq!(batches(disk.result()), replaced.batches[0]);
    assert_eq!(disk.opens, 3);
}

#[test]
fn a_segment_forgotten_while_it_is_opened_or_read_ahead_leaves_nothing_behind() {
    let sample = Sample::uniform(500, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    disk.start(sample.fetch(0, 1));
    disk.forget(sample.partition, None);
    assert_eq!(disk.result(), Err(ReadError::Forgotten));
    assert_eq!((disk.read_bytes, disk.open.len(), disk.reading.held_bytes()), (0, 0, 0));

    let offset = read_twice(&mut disk, &sample, READ_BYTES);
    disk.start(sample.fetch(offset, READ_BYTES));
    disk.forget(sample.partition, None);
    assert_eq!(disk.result(), Err(ReadError::Forgotten));
    assert_eq!((disk.open.len(), disk.reading.held_bytes()), (0, 0));
}

#[test]
fn an_open_that_fails_is_told_to_all_who_waited_and_tried_again_by_the_next() {
    let sample = Sample::uniform(10, 1_000);
    let mut disk = disk(&[], |_| {});
    for offset in 0..3 {
        disk.start(sample.fetch(offset, 1));
    }
    assert_eq!(disk.pending.len(), 1);
    disk.complete(0);
    let failed = ReadError::Failed { path: sample.path(), error: MISSING };
    for _ in 0..3 {
        assert_eq!(disk.reading.poll_done().unwrap().result, Err(failed.clone()));
    }
    disk.files.insert(sample.path(), sample.file());
    disk.start(sample.fetch(3, 1));
    assert_eq!(batches(disk.result()), sample.batches[3]);
}

#[test]
fn a_read_that_fails_is_told_to_who_waits_for_it_only() {
    let sample = Sample::uniform(500, 1_000);
    let error = FileError::Failed(5);
    let mut disk = disk(&[&sample], |_| {});
    disk.start(sample.fetch(0, 1));
    disk.complete(0);
    disk.fail(0, error);
    let failed = Err(ReadError::Failed { path: sample.path(), error });
    assert_eq!(disk.result(), failed);

    let offset = read_twice(&mut disk, &sample, READ_BYTES);
    disk.start(sample.fetch(offset, READ_BYTES));
    disk.fail(0, error);
    assert_eq!(disk.result(), failed);

    let offset = read_twice(&mut disk, &sample, READ_BYTES);
    disk.fail(0, error);
    assert!(disk.reading.poll_done().is_none(), "nobody had asked for it");
    disk.start(sample.fetch(offset, READ_BYTES));
    assert!(sample.is_fetched(Offset(offset), READ_BYTES, &batches(disk.result())));
}

#[test]
fn files_used_longest_ago_are_closed_when_others_are_wanted() {
    let samples: Vec<_> = (0..6).map(|index| Sample::new(index, 0, &[(1, 10, 0)])).collect();
    let mut disk = disk(&samples.iter().collect::<Vec<_>>(), |config| {
        config.open_files_max = 3;
        config.reads_in_flight_max = 2;
    });
    for index in [0, 1, 2, 0, 3, 0, 4, 0, 5, 0] {
        disk.start(samples[index].fetch(0, 1));
        assert_eq!(batches(disk.result()), samples[index].batches[0]);
    }
    assert_eq!(disk.opens, 6, "the first stays open");
    disk.start(samples[1].fetch(0, 1));
    disk.result().unwrap();
    assert_eq!(disk.opens, 7);
}

#[test]
fn a_small_answer_does_not_keep_the_piece_alive_that_it_was_read_with() {
    let sample = Sample::uniform(500, 1_000);
    let mut disk = disk(&[&sample], |_| {});
    disk.start(sample.fetch(0, 5_000));
    assert!(batches(disk.result()).is_unique());
}

#[test]
fn memory_of_many_readers_stays_within_its_bound_and_streams_used_last_are_kept() {
    let sample = Sample::uniform(2_000, 1_000);
    let bytes_max = 4 * READ_BYTES;
    let mut disk = disk(&[&sample], |config| config.read_ahead_bytes_max = bytes_max);
    for reader in 0..20 {
        let mut offset = reader * 90;
        for _ in 0..2 {
            disk.start(sample.fetch(offset, 5_000));
            offset = next_offset(&batches(disk.result())).0;
        }
        assert!(disk.reading.held_bytes() <= bytes_max);
        disk.start(sample.fetch(offset, 5_000));
        let done = disk.reading.poll_done().expect("the newest is read ahead");
        assert!(sample.is_fetched(Offset(offset), 5_000, &batches(done.result)));
    }
    assert!(disk.reading.held_bytes() > bytes_max / 2);
}
