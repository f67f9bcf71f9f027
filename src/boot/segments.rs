//! Segments at a start: reads them, looks whether they are there, removes what nobody names, and settles into them when
//! replay needs memory.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_shard::effect::{FileId, FileOperation, OpenMode};
use ringmain_shard::event::{FileError, FileOutcome};
use ringmain_shard::partition::Partition;
use ringmain_shard::partition::tail::TailBatch;
use ringmain_shard::recovery::Recovered;
use ringmain_shard::store::settle::job::{SettleJob, Settled};
use ringmain_wal::names::{
    PARTITIONS_DIRECTORY, SegmentPart, parse_partition_directory, parse_segment_name, partition_directory,
    segment_file_name, stray_file_name,
};
use ringmain_wal::segment::{Scan, ScanEnd};
use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};

use super::BootError;
use super::directory::{Directory, DirectoryError, ReadDirectory};

/// The operating system's numbers for a full disk and for a quota that is used up (`ENOSPC`, `EDQUOT`).
const NO_ROOM: [i32; 2] = [28, 122];
/// Batches settled at a time.
const RUN_BATCHES_MAX: usize = 65_536;

/// Every batch of a partition, from its segments and its tail, with their base offsets.
pub(super) fn read_all(
    directory: &mut dyn ReadDirectory,
    partition: &Partition,
) -> Result<Vec<(Offset, Bytes)>, BootError> {
    let mut batches = Vec::new();
    for extent in partition.segments().extents() {
        let path = segment_file_name(partition.id(), extent.base);
        let mut bytes = vec![0; usize::try_from(extent.bytes).unwrap_or(usize::MAX)];
        let read = directory.read(&path, 0, &mut bytes)?;
        bytes.truncate(read);
        let bytes = Bytes::from(bytes);
        let mut scan = Scan::new(&bytes, 0, Some(extent.base));
        let mut end = extent.base;
        for batch in scan.by_ref().take_while(|batch| batch.header.base_offset < extent.end) {
            end = batch.header.next_offset();
            batches.push((batch.header.base_offset, bytes.slice(batch.range)));
        }
        if end < extent.end {
            let problem = match scan.end() {
                Some(ScanEnd::Damaged { position, reason }) => format!("{path}, byte {position}: {reason}"),
                _ => format!("{path} ends too early"),
            };
            return Err(BootError::MetadataSegment(problem));
        }
    }
    let settled_end = partition.settled_end();
    let in_tail = partition.tail().from(settled_end);
    batches.extend(in_tail.map(|batch| (batch.base_offset, batch.bytes.clone())));
    Ok(batches)
}

/// Marks partitions as damaged whose segments are not all there, and names those.
pub(super) fn check<'a>(
    directory: &mut dyn ReadDirectory,
    partitions: impl Iterator<Item = &'a mut Partition>,
) -> Result<Vec<String>, BootError> {
    let mut missing = Vec::new();
    for partition in partitions.filter(|partition| !partition.segments().extents().is_empty()) {
        let there: BTreeSet<String> =
            directory.list(&partition_directory(partition.id()))?.into_iter().collect();
        let before = missing.len();
        for extent in partition.segments().extents() {
            let path = segment_file_name(partition.id(), extent.base);
            let name = path.rsplit('/').next().unwrap_or_default();
            if !there.contains(name) {
                missing.push(path);
            }
        }
        if missing.len() > before {
            partition.mark_incomplete();
        }
    }
    Ok(missing)
}

/// Removes partitions that are no longer there, and files of the others that none of their segments names: a crash came
/// before they were, or before they were removed. A damaged partition keeps what batches such files hold for whoever repairs
/// it, out of the way of the segments to come, and notes them.
pub(super) fn sweep<'a>(
    directory: &mut dyn Directory,
    partitions: impl Iterator<Item = &'a mut Partition>,
) -> Result<(), BootError> {
    let mut living: BTreeMap<PartitionId, &mut Partition> =
        partitions.map(|partition| (partition.id(), partition)).collect();
    let is_named = |id: PartitionId, base: Offset| {
        living.get(&id).is_some_and(|partition| partition.segments().based(base).is_some())
    };
    for Unnamed { partition: id, path, files } in find_unnamed(directory, &is_named)? {
        match living.get_mut(&id) {
            Some(partition) if partition.is_damaged() => {
                let strays = put_aside(directory, id, &files)?;
                partition.note_strays(strays.into_iter().collect());
            }
            Some(_) => files.iter().try_for_each(|file| directory.remove(&file.path))?,
            None => {
                files.iter().try_for_each(|file| directory.remove(&file.path))?;
                directory.remove_directory(&path)?;
            }
        }
    }
    Ok(())
}

/// Gives files of batches names that no segment has; gives the bases of all that lie aside. What was put aside first stays:
/// a file that has come in its old place since was settled from what the log still holds.
fn put_aside(
    directory: &mut dyn Directory,
    id: PartitionId,
    files: &[UnnamedFile],
) -> Result<BTreeSet<Offset>, BootError> {
    for UnnamedFile { base, part, path } in files {
        match part {
            SegmentPart::Data => directory.link(path, &stray_file_name(id, *base))?,
            SegmentPart::Index => {}
            SegmentPart::Stray => continue,
        }
        directory.remove(path)?;
    }
    let batches = files.iter().filter(|file| file.part != SegmentPart::Index);
    Ok(batches.map(|file| file.base).collect())
}

/// What lies in a partition's directory and is no segment of the partition.
pub(super) struct Unnamed {
    pub(super) partition: PartitionId,
    /// The directory.
    pub(super) path: String,
    pub(super) files: Vec<UnnamedFile>,
}

/// A file that nobody names.
pub(super) struct UnnamedFile {
    pub(super) base: Offset,
    pub(super) part: SegmentPart,
    pub(super) path: String,
}

/// All directories of partitions, each with the files in it that nobody names; `is_named` says whether somebody does.
pub(super) fn find_unnamed(
    directory: &mut dyn ReadDirectory,
    is_named: &dyn Fn(PartitionId, Offset) -> bool,
) -> Result<Vec<Unnamed>, BootError> {
    let mut found = Vec::new();
    for name in directory.list(PARTITIONS_DIRECTORY)? {
        let path = format!("{PARTITIONS_DIRECTORY}/{name}");
        let Some(partition) = parse_partition_directory(&name) else {
            return Err(BootError::Stranger { path, expected: "a partition's directory" });
        };
        let mut files = Vec::new();
        for file in directory.list(&path)? {
            let file_path = format!("{path}/{file}");
            let Some((base, part)) = parse_segment_name(&file) else {
                return Err(BootError::Stranger { path: file_path, expected: "a segment" });
            };
            if part == SegmentPart::Stray || !is_named(partition, base) {
                files.push(UnnamedFile { base, part, path: file_path });
            }
        }
        found.push(Unnamed { partition, path, files });
    }
    Ok(found)
}

/// Settles the largest tails if what replay found takes more memory than there is for it. Says whether it did. Only once
/// all is replayed: before, a state may still come that names files of its own. A disk without room leaves it in memory.
pub(super) fn relieve(
    directory: &mut dyn Directory,
    recovered: &mut Recovered,
    tail_bytes_max: usize,
    now: TimestampMs,
) -> Result<bool, BootError> {
    let mut held: usize =
        recovered.partitions.values().map(|partition| partition.tail().charged_bytes()).sum();
    if held <= tail_bytes_max {
        return Ok(false);
    }
    let mut by_size: Vec<&mut Partition> =
        recovered.partitions.values_mut().filter(|partition| !partition.is_damaged()).collect();
    by_size.sort_by_key(|partition| core::cmp::Reverse(partition.tail().charged_bytes()));
    for partition in by_size {
        loop {
            let batches: Vec<TailBatch> = partition.unsettled().take(RUN_BATCHES_MAX).cloned().collect();
            if held <= tail_bytes_max / 2 || batches.is_empty() {
                break;
            }
            let job = SettleJob::new(FileId(0), partition.id(), None, false, &batches, now);
            let before = partition.tail().charged_bytes();
            match perform(directory, job) {
                Ok(Settled { extent, .. }) => partition.settled_by_replay(extent),
                Err(error) if NO_ROOM.contains(&error.errno) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
            held -= before - partition.tail().charged_bytes();
        }
    }
    Ok(true)
}

/// Carries a job's operations out, one after the other.
fn perform(directory: &mut dyn Directory, mut job: SettleJob) -> Result<Settled, DirectoryError> {
    let path = job.path();
    while let Some(operation) = job.poll() {
        let mut outcome = FileOutcome::Done;
        match operation {
            FileOperation::CreateDirectory { path } => directory.create_directory(&path)?,
            FileOperation::SyncDirectory { path } => directory.sync_directory(&path)?,
            FileOperation::Open { mode: OpenMode::Replace, .. } => directory.remove(&path)?,
            FileOperation::Write { position, bytes, .. } => {
                directory.write_deferred(&path, position, &bytes)?;
            }
            FileOperation::Sync { .. } => directory.sync(&path)?,
            FileOperation::Read { position, length, .. } => {
                let mut bytes = vec![0; length as usize];
                let read = directory.read(&path, position, &mut bytes)?;
                bytes.truncate(read);
                outcome = FileOutcome::Read(bytes.into());
            }
            FileOperation::Open { .. }
            | FileOperation::Close { .. }
            | FileOperation::Remove { .. }
            | FileOperation::RemoveDirectory { .. } => {}
        }
        let done: Result<bool, FileError> = job.handle(Ok(outcome));
        assert!(done.is_ok(), "a step that succeeded does not fail a job that reads nothing");
    }
    Ok(job.finish())
}
