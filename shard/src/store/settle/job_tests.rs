//! Runs of batches on their way into a file in memory.

use ringmain_wal::block::{is_whole_blocks, round_up};
use ringmain_wal::group::{Generation, Sequence};
use ringmain_wire::batch::{BatchBuilder, Codec, stamp};
use ringmain_wire::ids::{LeaderEpoch, PartitionIndex, TopicId};

use super::*;
use crate::partition::tail::LogPlace;

const PARTITION: PartitionId = PartitionId::new(TopicId([1; 16]), PartitionIndex(0));
const NOW: TimestampMs = TimestampMs(5);

/// A batch of one record at `offset`, about `bytes` long.
fn batch(offset: i64, bytes: usize) -> TailBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    let value: Vec<u8> = (0..bytes.max(80) - 70).map(|place| (place as i64 ^ offset) as u8).collect();
    builder.append(TimestampMs(1_000 + offset), None, Some(&value), &[]);
    let mut batch = builder.finish().unwrap().to_vec();
    stamp(&mut batch, Offset(offset), LeaderEpoch(1));
    TailBatch {
        base_offset: Offset(offset),
        next_offset: Offset(offset + 1),
        max_timestamp: TimestampMs(1_000 + offset),
        charge: batch.len(),
        bytes: batch.into(),
        place: LogPlace { generation: Generation(1), sequence: Sequence(1) },
    }
}

fn batches(sizes: &[usize], base: i64) -> Vec<TailBatch> {
    sizes.iter().zip(base..).map(|(&bytes, offset)| batch(offset, bytes)).collect()
}

fn concat(batches: &[TailBatch]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect()
}

/// Carries out all steps on `file`; gives their names in order, writes that follow each other as one.
fn run(job: &mut SettleJob, file: &mut Vec<u8>) -> Vec<&'static str> {
    let mut steps = Vec::new();
    loop {
        let announced = job.next_bytes();
        let operation = job.poll().expect("not done yet");
        let (step, outcome) = match operation {
            FileOperation::CreateDirectory { path } => {
                assert_eq!(path, partition_directory(PARTITION));
                ("create directory", FileOutcome::Done)
            }
            FileOperation::SyncDirectory { path } if path == PARTITIONS_DIRECTORY => {
                ("sync parent", FileOutcome::Done)
            }
            FileOperation::SyncDirectory { path } => {
                assert_eq!(path, partition_directory(PARTITION));
                ("sync directory", FileOutcome::Done)
            }
            FileOperation::Open { mode: OpenMode::Replace, .. } => ("replace", FileOutcome::Done),
            FileOperation::Open { mode: OpenMode::Write, .. } => ("open", FileOutcome::Done),
            FileOperation::Read { position, length, .. } => {
                let end = position as usize + length as usize;
                ("read", FileOutcome::Read(Bytes::copy_from_slice(&file[position as usize..end])))
            }
            FileOperation::Write { position, bytes, .. } => {
                assert!(is_whole_blocks(position) && is_whole_blocks(bytes.len() as u64));
                assert!(bytes.len() <= CHUNK_BYTES && announced <= CHUNK_BYTES && announced > 0);
                let (start, end) = (position as usize, position as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[start..end].copy_from_slice(&bytes);
                ("write", FileOutcome::Done)
            }
            FileOperation::Sync { .. } => ("sync", FileOutcome::Done),
            FileOperation::Close { .. } => ("close", FileOutcome::Done),
            other => panic!("{other:?}"),
        };
        if steps.last() != Some(&step) {
            steps.push(step);
        }
        if job.handle(Ok(outcome)).unwrap() {
            assert!(job.poll().is_none());
            return steps;
        }
    }
}

#[test]
fn a_segment_holds_its_runs_byte_for_byte() {
    let runs: [&[usize]; 5] = [
        &[100, 200],
        &[5_000, 90],
        &[CHUNK_BYTES + 10_000, 80, 2 * CHUNK_BYTES],
        &[80; 300],
        &[CHUNK_BYTES - 1, 4_096, 8_192],
    ];
    let (mut file, mut written, mut open) = (Vec::new(), Vec::new(), None);
    let mut base = 0;
    for sizes in runs {
        let run_batches = batches(sizes, base);
        base += sizes.len() as i64;
        let mut job = SettleJob::new(FileId(1), PARTITION, open.take(), true, &run_batches, NOW);
        run(&mut job, &mut file);
        written.extend(concat(&run_batches));
        let Settled { extent, index } = job.finish();
        assert_eq!((extent.base, extent.end, extent.bytes), (Offset(0), Offset(base), written.len() as u64));
        assert_eq!((extent.created, extent.max_timestamp), (NOW, TimestampMs(999 + base)));
        assert_eq!(&file[..written.len()], &written[..], "after the run to {base}");
        assert!(file[written.len()..].iter().all(|&byte| byte == 0) && file.len() == round_up(written.len()));
        open = Some((extent, index));
    }
}

#[test]
fn what_ends_with_a_block_is_gone_on_with_behind_it() {
    let mut first = batch(0, 4_096);
    let excess = first.bytes.len() as i64 - 4_096;
    first = batch(0, (4_096 - excess) as usize);
    assert_eq!(first.bytes.len(), 4_096);
    let mut file = Vec::new();
    let mut job = SettleJob::new(FileId(1), PARTITION, None, true, std::slice::from_ref(&first), NOW);
    run(&mut job, &mut file);
    assert_eq!(file.len(), 4_096, "no block is written in vain");
    let Settled { extent, index } = job.finish();
    let second = batch(1, 500);
    let mut job =
        SettleJob::new(FileId(1), PARTITION, Some((extent, index)), true, std::slice::from_ref(&second), NOW);
    assert_eq!(run(&mut job, &mut file), ["open", "write", "sync", "close"]);
    assert_eq!(file[..4_096 + second.bytes.len()], concat(&[first, second]));
}

#[test]
fn what_is_done_is_synced_with_every_name_that_leads_to_it() {
    let run_batches = batches(&[300], 0);
    let mut file = Vec::new();
    let mut job = SettleJob::new(FileId(1), PARTITION, None, false, &run_batches, NOW);
    let steps = ["create directory", "sync parent", "replace", "write", "sync", "sync directory", "close"];
    assert_eq!(run(&mut job, &mut file), steps);
    let mut job = SettleJob::new(FileId(1), PARTITION, None, true, &run_batches, NOW);
    assert_eq!(run(&mut job, &mut file), steps[2..]);
    let Settled { extent, index } = job.finish();
    let mut job = SettleJob::new(FileId(1), PARTITION, Some((extent, index)), true, &batches(&[300], 1), NOW);
    assert_eq!(run(&mut job, &mut file), ["open", "read", "write", "sync", "close"]);
}

#[test]
fn a_failed_step_says_whether_the_file_is_open() {
    let run_batches = batches(&[300], 0);
    for failing in 0..7 {
        let mut job = SettleJob::new(FileId(1), PARTITION, None, false, &run_batches, NOW);
        for _ in 0..failing {
            job.poll().unwrap();
            assert_eq!(job.handle(Ok(FileOutcome::Done)), Ok(false));
        }
        job.poll().unwrap();
        assert_eq!(job.handle(Err(FileError::Full)), Err(FileError::Full));
        assert_eq!(job.is_open(), (3..7).contains(&failing), "step {failing}");
    }
}

#[test]
fn a_block_that_comes_back_short_is_never_written_again() {
    let mut file = Vec::new();
    let mut job = SettleJob::new(FileId(1), PARTITION, None, true, &batches(&[300], 0), NOW);
    run(&mut job, &mut file);
    let Settled { extent, index } = job.finish();
    let mut job = SettleJob::new(FileId(1), PARTITION, Some((extent, index)), true, &batches(&[300], 1), NOW);
    job.poll().unwrap();
    assert_eq!(job.handle(Ok(FileOutcome::Done)), Ok(false));
    assert!(matches!(job.poll(), Some(FileOperation::Read { .. })));
    let short = Bytes::copy_from_slice(&file[..100]);
    assert_eq!(job.handle(Ok(FileOutcome::Read(short))), Err(FileError::Short));
}
