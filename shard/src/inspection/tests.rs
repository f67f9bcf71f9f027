//! Inspections over files in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringmain_wal::block::{BLOCK_BYTES, round_up};
use ringmain_wal::segment::Index;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Codec, stamp};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};

use super::*;
use crate::effect::{FileId, FileOperation, OpenMode};
use crate::event::FileOutcome;
use crate::partition::epochs::EpochTable;

/// What the operating system says of a missing file, and of a failing device.
const MISSING: FileError = FileError::Failed(2);
const BROKEN: FileError = FileError::Failed(5);

/// A segment of `batches` batches of about 1 KiB, and its file.
fn segment(batches: usize) -> (InspectionRequest, Vec<u8>) {
    let mut file = Vec::new();
    let mut end = Offset(100);
    let mut max_timestamp = TimestampMs(i64::MIN);
    for place in 0..batches {
        let mut builder = BatchBuilder::new(Codec::None);
        for record in 0..3 {
            let timestamp = TimestampMs((place * 10 + record) as i64);
            builder.append(timestamp, None, Some(&[place as u8; 330]), &[]);
        }
        let mut batch = builder.finish().unwrap().to_vec();
        stamp(&mut batch, end, LeaderEpoch(1));
        end = end.plus(3);
        max_timestamp = max_timestamp.max(BatchHeader::parse(&batch).unwrap().max_timestamp);
        file.extend_from_slice(&batch);
    }
    let bytes = file.len() as u64;
    file.resize(round_up(file.len()), 0);
    let extent = SegmentExtent { base: Offset(100), end, bytes, created: TimestampMs(0), max_timestamp };
    let partition = PartitionId::default();
    let mut epochs = EpochTable::default();
    epochs.record(LeaderEpoch(1), Offset(0));
    let request =
        InspectionRequest { kind: InspectionKind::Seal, partition, extent, epochs, bytes_per_second: 1 };
    (request, file)
}

#[derive(Debug, Default)]
struct Files {
    contents: BTreeMap<String, Vec<u8>>,
    open: Option<String>,
    /// The operation in this place fails.
    fails_at: Option<usize>,
    /// Before the operation in this place it is cancelled.
    cancelled_at: Option<usize>,
    operations: usize,
}

impl Files {
    fn of(request: &InspectionRequest, file: Vec<u8>) -> Self {
        Self { contents: BTreeMap::from([(request.path(), file)]), ..Self::default() }
    }

    fn inspect(&mut self, request: &InspectionRequest) -> Result<Sound, Unsound> {
        let mut inspection = Inspection::new(request.clone(), FileId(9));
        self.operations = 0;
        loop {
            if self.cancelled_at == Some(self.operations) {
                inspection.cancel();
            }
            let Some(operation) = inspection.poll() else { break };
            let outcome = self.perform(operation);
            self.operations += 1;
            inspection.handle(outcome);
        }
        assert_eq!(self.open, None, "what was opened is closed");
        let inspected = inspection.finish();
        assert_eq!(inspected.request, *request);
        inspected.result
    }

    fn perform(&mut self, operation: FileOperation) -> Result<FileOutcome, FileError> {
        let fails = self.fails_at == Some(self.operations);
        match operation {
            FileOperation::Close { .. } => {
                assert!(self.open.take().is_some(), "closed twice");
            }
            _ if fails => return Err(BROKEN),
            FileOperation::Open { path, mode, .. } => {
                assert_eq!(self.open, None, "one file at a time");
                match mode {
                    OpenMode::Read if !self.contents.contains_key(&path) => return Err(MISSING),
                    OpenMode::Read => {}
                    OpenMode::Replace => drop(self.contents.insert(path.clone(), Vec::new())),
                    OpenMode::Write | OpenMode::Create => panic!("{mode:?}"),
                }
                self.open = Some(path);
            }
            FileOperation::Read { position, length, .. } => {
                assert!(
                    position.is_multiple_of(BLOCK_BYTES as u64)
                        && (length as usize).is_multiple_of(BLOCK_BYTES)
                );
                let file = &self.contents[self.open.as_ref().unwrap()];
                let from = file.len().min(position as usize);
                let upto = file.len().min(from + length as usize);
                return Ok(FileOutcome::Read(Bytes::copy_from_slice(&file[from..upto])));
            }
            FileOperation::Write { position, bytes, .. } => {
                assert!(position == 0 && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
                let file = self.contents.get_mut(self.open.as_ref().unwrap()).unwrap();
                *file = bytes.to_vec();
            }
            FileOperation::Sync { .. } => {}
            other => panic!("{other:?}"),
        }
        Ok(FileOutcome::Done)
    }
}

fn written(index_damage: Option<IndexDamage>) -> Result<Sound, Unsound> {
    Ok(Sound { index_was_written: true, index_damage })
}

const AGREES: Result<Sound, Unsound> = Ok(Sound { index_was_written: false, index_damage: None });

#[test]
fn the_first_inspection_writes_the_index_and_the_next_one_agrees() {
    for batches in [1, 100, 3_000] {
        let (request, file) = segment(batches);
        let mut files = Files::of(&request, file);
        assert_eq!(files.inspect(&request), written(None));
        let (index, footer) = Index::decode(&files.contents[&request.index_path()]).unwrap();
        assert_eq!((footer.segment_bytes, footer.end), (request.extent.bytes, request.extent.end));
        assert_eq!(footer.max_timestamp, request.extent.max_timestamp);
        let wanted_crc = crc32c::crc32c(&files.contents[&request.path()][..request.extent.bytes as usize]);
        assert_eq!(footer.segment_crc, wanted_crc);
        assert_eq!(index.entries().len() > 2, batches > 200);
        assert_eq!(files.inspect(&request), AGREES);
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_found_once_it_is_sealed() {
    let (request, file) = segment(40);
    let mut files = Files::of(&request, file);
    files.inspect(&request).unwrap();
    for place in (0..request.extent.bytes as usize).step_by(7) {
        let segment = |files: &mut Files| {
            files.contents.get_mut(&request.path()).unwrap()[place] ^= 1 << (place % 8);
        };
        segment(&mut files);
        let result = files.inspect(&request);
        let is_found = matches!(result, Err(Unsound::Damaged { .. } | Unsound::Changed { .. }));
        assert!(is_found, "byte {place}: {result:?}");
        segment(&mut files);
    }
    assert_eq!(files.inspect(&request), AGREES);
}

#[test]
fn a_batch_that_names_another_leader_than_led_is_damaged_though_nothing_was_sealed() {
    const LEADER_EPOCH: usize = 12;
    let (mut request, mut file) = segment(40);
    let (first, second) = (BatchHeader::parse(&file).unwrap(), Offset(103));
    file[first.length as usize + LEADER_EPOCH + 3] ^= 6;
    let result = Files::of(&request, file.clone()).inspect(&request);
    let reason = InspectionDamage::Epoch { offset: second, found: LeaderEpoch(7), led: LeaderEpoch(1) };
    assert_eq!(result, Err(Unsound::Damaged { position: u64::from(first.length), reason }));
    request.epochs = EpochTable::default();
    assert_eq!(Files::of(&request, file).inspect(&request), written(None), "nobody knows who led");
}

#[test]
fn what_no_checksum_of_a_batch_covers_has_changed_nobody_knows_where() {
    let (mut request, file) = segment(40);
    let mut files = Files::of(&request, file);
    files.inspect(&request).unwrap();
    files.contents.get_mut(&request.path()).unwrap()[15] ^= 1;
    request.epochs = EpochTable::default();
    let result = files.inspect(&request);
    assert!(matches!(result, Err(Unsound::Changed { found, sealed }) if found != sealed), "{result:?}");
}

#[test]
fn what_is_wrong_with_an_index_is_told_and_made_good() {
    let (request, file) = segment(400);
    let mut files = Files::of(&request, file);
    files.inspect(&request).unwrap();
    let index = files.contents[&request.index_path()].clone();
    for place in (0..192).step_by(3) {
        files.contents.get_mut(&request.index_path()).unwrap()[place] ^= 4;
        let result = files.inspect(&request);
        assert!(
            matches!(result, Ok(Sound { index_was_written: true, index_damage: Some(_) })),
            "byte {place}: {result:?}"
        );
        assert_eq!(files.contents[&request.index_path()], index);
    }
    files.contents.insert(request.index_path(), Vec::new());
    assert_eq!(files.inspect(&request), written(None), "made before a crash and never written");
}

#[test]
fn an_index_of_before_a_truncation_is_made_anew() {
    let (request, file) = segment(200);
    let mut files = Files::of(&request, file);
    files.inspect(&request).unwrap();
    let mut cut = request.clone();
    cut.extent.end = Offset(100 + 3 * 120);
    assert_eq!(files.inspect(&cut), written(None));
    let (_, footer) = Index::decode(&files.contents[&request.index_path()]).unwrap();
    assert_eq!(footer.end, cut.extent.end);
    assert!(footer.segment_bytes < request.extent.bytes);
    assert_eq!(files.inspect(&cut), AGREES);
}

#[test]
fn a_segment_that_is_shorter_than_it_should_be_is_damaged() {
    let (request, mut file) = segment(50);
    file.truncate(3 * BLOCK_BYTES);
    let result = Files::of(&request, file).inspect(&request);
    let Err(Unsound::Damaged { position, .. }) = result else { panic!("{result:?}") };
    assert!((2 * BLOCK_BYTES..3 * BLOCK_BYTES).contains(&(position as usize)), "{position}");
}

#[test]
fn failures_name_their_file_and_cancellation_ends_at_any_step() {
    let (request, file) = segment(3_000);
    let mut files = Files::of(&request, file.clone());
    files.inspect(&request).unwrap();
    let all = files.operations;
    assert!(all > 8);
    let mut named = [0, 0];
    for place in 0..all {
        let mut files = Files { fails_at: Some(place), ..Files::of(&request, file.clone()) };
        match files.inspect(&request) {
            Err(Unsound::Failed { path, error: BROKEN }) if path == request.path() => named[0] += 1,
            Err(Unsound::Failed { path, error: BROKEN }) if path == request.index_path() => named[1] += 1,
            // Of opening the index that is not there, and of closing, nothing is lost.
            result => assert_eq!(result, written(None)),
        }
        let mut files = Files { cancelled_at: Some(place), ..Files::of(&request, file.clone()) };
        let result = files.inspect(&request);
        let is_over = result == written(None) && place == all - 1;
        assert!(result == Err(Unsound::Cancelled) || is_over, "{place}: {result:?}");
    }
    assert!(named[0] >= 3 && named[1] == 3, "{named:?}");
}
