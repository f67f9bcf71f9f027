//! Makes durable what replaying the logs of former starts gave, and writes down where each of them ends.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use ringmain_shard::store::LOG_DIRECTORY;
use ringmain_wal::block::{aligned_zeroes, round_up};
use ringmain_wal::checkpoint::{self, Checkpoint, LogExtent};
use ringmain_wal::group::{Generation, LogId, Sequence};
use ringmain_wal::names::log_file_name;

use super::BootError;
use super::directory::{Directory, DirectoryError, ReadDirectory};
use super::replay::{ReplayedLog, UnvouchedGroup};
use crate::host::FormerLogs;

/// The file in the data directory.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Bytes of a slot of the checkpoint: room for some ten thousand logs.
pub(super) const CHECKPOINT_SLOT_BYTES: usize = 256 * 1024;

/// Both slots as they stand in the file; zeroes where it ends or does not exist.
pub(super) fn read_checkpoint_slots(
    directory: &mut dyn ReadDirectory,
) -> Result<[Vec<u8>; 2], DirectoryError> {
    let mut slots = [vec![0; CHECKPOINT_SLOT_BYTES], vec![0; CHECKPOINT_SLOT_BYTES]];
    if directory.file_bytes(CHECKPOINT)?.is_some() {
        for (place, slot) in slots.iter_mut().enumerate() {
            directory.read(CHECKPOINT, (place * CHECKPOINT_SLOT_BYTES) as u64, slot)?;
        }
    }
    Ok(slots)
}

/// The checkpoint as the last start left it, made durable again.
pub(super) fn load_checkpoint(directory: &mut dyn Directory) -> Result<Checkpoint, BootError> {
    let slots = read_checkpoint_slots(directory)?;
    match checkpoint::choose(&slots[0], &slots[1]) {
        Ok(checkpoint) => {
            // Files are removed on the strength of it: what a write that never completed left must not be taken back.
            save_checkpoint(directory, &checkpoint)?;
            Ok(checkpoint)
        }
        Err(error) => Err(BootError::Checkpoint(error)),
    }
}

/// Makes durable what no mark vouches for, of logs that this start is the first to meet.
pub(super) fn write_unvouched(directory: &mut dyn Directory, logs: &[ReplayedLog]) -> Result<(), BootError> {
    for ReplayedLog { generation, log, unvouched, .. } in logs {
        for UnvouchedGroup { file, range } in unvouched {
            write_again(directory, &log_file_name(*generation, *log, *file), range.clone())?;
        }
    }
    Ok(())
}

/// Notes in the checkpoint where each log ends: what is served from now on must never again be taken for a torn tail.
/// Then gives back the space that none of them needs. Says what is to be removed once nothing rests on them.
pub(super) fn note_ends(
    directory: &mut dyn Directory,
    known: Checkpoint,
    logs: &[ReplayedLog],
    missing: &[(Generation, LogId)],
    serving: Generation,
) -> Result<FormerLogs, BootError> {
    let is_noted = |&(generation, log): &(Generation, LogId)| {
        known.logs.iter().any(|extent| (extent.generation, extent.log) == (generation, log))
    };
    // A start that comes before the damage has been logged must meet it again.
    let newly_missing = missing.iter().copied().filter(|missing| !is_noted(missing));
    let mut extents: Vec<LogExtent> =
        newly_missing.map(|(generation, log)| LogExtent { generation, log, last: Sequence::ZERO }).collect();
    for ReplayedLog { generation, log, report, .. } in logs {
        let former = known.logs.iter().find(|extent| (extent.generation, extent.log) == (*generation, *log));
        let last = report.last_sequence.max(former.map_or(Sequence::ZERO, |extent| extent.last));
        extents.push(LogExtent { generation: *generation, log: *log, last });
    }
    // What was not replayed stays noted: logs that vanished, and rotten ones kept for whoever repairs them.
    let is_other = |extent: &&LogExtent| {
        !logs.iter().any(|log| (log.generation, log.log) == (extent.generation, extent.log))
    };
    extents.extend(known.logs.iter().filter(is_other));
    extents.sort_by_key(|extent| (extent.generation, extent.log));
    let mut noted = known;
    if noted.logs != extents {
        // What is noted has to be there from now on: a log that never got as far as its first group may not have its name
        // for good yet.
        directory.sync_directory(LOG_DIRECTORY)?;
        noted = Checkpoint { write_number: noted.write_number + 1, logs: extents, ..noted };
        save_checkpoint(directory, &noted)?;
    }
    for log in logs {
        trim(directory, log)?;
    }
    former_logs(noted, logs, serving)
}

/// What is removed once every shard has settled what it has of former starts. Rotten logs stay, noted.
fn former_logs(
    noted: Checkpoint,
    logs: &[ReplayedLog],
    serving: Generation,
) -> Result<FormerLogs, BootError> {
    let (sound, rotten): (Vec<&ReplayedLog>, Vec<_>) = logs.iter().partition(|log| log.report.rot.is_empty());
    let is_kept = |extent: &LogExtent| {
        extent.generation < noted.oldest_generation
            || rotten.iter().any(|log| (log.generation, log.log) == (extent.generation, extent.log))
    };
    let kept = noted.logs.iter().copied().filter(is_kept).collect();
    let after = Checkpoint { write_number: noted.write_number + 1, oldest_generation: serving, logs: kept };
    let (checkpoint_position, bytes) = encode_checkpoint(&after)?;
    let mut checkpoint = aligned_zeroes(bytes.len());
    checkpoint.copy_from_slice(&bytes);
    let paths: VecDeque<String> = sound
        .iter()
        .flat_map(|log| {
            let (last_file, _) = log.report.end;
            let needed = log.files.clone().filter(move |number| *number <= last_file);
            needed.map(|number| log_file_name(log.generation, log.log, number))
        })
        .collect();
    Ok(FormerLogs {
        checkpoint_path: CHECKPOINT.to_owned(),
        checkpoint_position,
        checkpoint: checkpoint.freeze(),
        paths,
    })
}

/// Makes the checkpoint of a new directory, both slots at their full size, so that writing it never needs room.
pub(super) fn create_checkpoint(directory: &mut dyn Directory) -> Result<(), BootError> {
    directory.write(CHECKPOINT, CHECKPOINT_SLOT_BYTES as u64, &vec![0; CHECKPOINT_SLOT_BYTES])?;
    save_checkpoint(directory, &Checkpoint::default())
}

/// Makes durable what stands in whole blocks of a file, by writing it again. A sync would not do: after one that failed,
/// the kernel may take for written what is not, and the next one succeeds without writing it. The bytes are the same, so
/// that a write cut short hurts nothing.
fn write_again(directory: &mut dyn Directory, path: &str, range: Range<u64>) -> Result<(), BootError> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    let read = directory.read(path, range.start, &mut bytes)?;
    if read < bytes.len() {
        return Err(BootError::Log(format!("{path} became shorter while it was replayed")));
    }
    Ok(directory.write(path, range.start, &bytes)?)
}

/// Gives back the space that a log of a former generation does not need: files it never came to, and what was prepared
/// behind its last group.
fn trim(directory: &mut dyn Directory, replayed: &ReplayedLog) -> Result<(), BootError> {
    let ReplayedLog { generation, log, files, report, .. } = replayed;
    if !report.rot.is_empty() {
        // Whoever repairs it will want to see all there is.
        return Ok(());
    }
    let (last_file, end) = report.end;
    for number in files.clone().rev() {
        let path = log_file_name(*generation, *log, number);
        if number > last_file {
            directory.remove(&path)?;
        } else if number == last_file && directory.file_bytes(&path)?.is_some_and(|bytes| bytes > end) {
            directory.truncate(&path, end)?;
        }
    }
    Ok(())
}

fn save_checkpoint(directory: &mut dyn Directory, checkpoint: &Checkpoint) -> Result<(), BootError> {
    let (position, bytes) = encode_checkpoint(checkpoint)?;
    Ok(directory.write(CHECKPOINT, position, &bytes)?)
}

/// Where a checkpoint belongs, and its bytes.
fn encode_checkpoint(checkpoint: &Checkpoint) -> Result<(u64, Bytes), BootError> {
    let mut bytes = checkpoint
        .encode(CHECKPOINT_SLOT_BYTES)
        .map_err(|error| BootError::Log(format!("too many logs in the data directory: {error}")))?;
    // What stands behind the used part of a slot is never read: only whole blocks of it are written.
    bytes.truncate(round_up(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |place| place + 1)));
    Ok(((checkpoint.slot() * CHECKPOINT_SLOT_BYTES) as u64, bytes.into()))
}
