//! Replays what former starts have logged, and writes down where each of their logs ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Range, RangeInclusive};

use bytes::Bytes;
use ringmain_shard::partition::tail::LogPlace;
use ringmain_shard::recovery::{Recovered, Recovery, RottenLog};
use ringmain_shard::store::LOG_DIRECTORY;
use ringmain_wal::block::{aligned_zeroes, round_up};
use ringmain_wal::checkpoint::{self, Checkpoint, CheckpointError, LogExtent};
use ringmain_wal::group::{EntryKind, Generation, LogId, Sequence, group_bytes};
use ringmain_wal::names::{log_file_name, parse_log_file_name};
use ringmain_wal::replay::{
    LogSource, Lost, ReadFailed, Replay, ReplayConfig, ReplayReport, ReplayedGroup, Rot,
};
use ringmain_wal::superblock::Superblock;

use super::directory::Directory;
use super::segments::relieve;
use super::{BootError, BootOptions, BootReport, LogName};
use crate::host::FormerLogs;

const CHECKPOINT: &str = "checkpoint";
/// Bytes of a slot of the checkpoint: room for some ten thousand logs.
const CHECKPOINT_SLOT_BYTES: usize = 256 * 1024;

/// What all logs gave.
pub(super) struct Replayed {
    pub(super) recovered: Recovered,
    pub(super) report: BootReport,
    /// The checkpoint as it was found.
    pub(super) known: Checkpoint,
    pub(super) logs: Vec<ReplayedLog>,
}

/// What one log gave.
pub(super) struct ReplayedLog {
    generation: Generation,
    log: LogId,
    files: RangeInclusive<u32>,
    report: ReplayReport,
}

/// A replayed group that no mark says to have been durable.
struct UnvouchedGroup {
    file: u32,
    /// Where it lies in the file, in bytes.
    range: Range<u64>,
}

/// Replays every log in the order of generations, and makes durable what no mark vouches for.
pub(super) fn replay_logs(
    directory: &mut dyn Directory,
    before: &Superblock,
    options: BootOptions,
) -> Result<Replayed, BootError> {
    let known = load_checkpoint(directory)?;
    let found = find_needed_logs(directory, before.generation, &known)?;
    let mut recovery = Recovery::default();
    let mut report = BootReport::default();
    let mut logs = Vec::new();
    let noted = known.logs.iter().filter(|extent| extent.generation >= known.oldest_generation);
    let names: BTreeSet<(Generation, LogId)> =
        found.keys().copied().chain(noted.map(|extent| (extent.generation, extent.log))).collect();
    for (generation, log) in names {
        let extent = known.logs.iter().find(|extent| (extent.generation, extent.log) == (generation, log));
        let served_upto = extent.map(|extent| extent.last).filter(|last| *last > Sequence::ZERO);
        let name = LogName { generation: generation.0, log: log.0 };
        let Some(files) = found.get(&(generation, log)) else {
            // Served by a former start, and gone since.
            let rot = Rot {
                file: 0,
                position: 0,
                first: Sequence(1),
                last: served_upto.unwrap_or(Sequence(1)),
                lost: Lost::Groups,
            };
            recovery.handle_rot(&rot, RottenLog { generation, log });
            report.rot.push((name, rot));
            continue;
        };
        let place = (generation, log);
        let (replayed, unvouched) = replay_log(directory, before, place, files, served_upto, &mut recovery)?;
        report.groups += replayed.report.groups;
        report.cuts.extend(replayed.report.cut.map(|cut| (name, cut)));
        report.rot.extend(replayed.report.rot.iter().map(|rot| (name, rot.clone())));
        if extent.is_none() {
            // First met by this start: a write that never completed may stand in the disk's cache only.
            for UnvouchedGroup { file, range } in unvouched {
                write_again(directory, &log_file_name(generation, log, file), range)?;
            }
        }
        logs.push(replayed);
    }
    let mut recovered = recovery.finish();
    report.settled = relieve(directory, &mut recovered, options.tail_bytes_max, options.now)?;
    Ok(Replayed { recovered, report, known, logs })
}

/// Notes in the checkpoint where each log ends: what is served from now on must never again be taken for a torn tail.
/// Then gives back the space that none of them needs. Says what is to be removed once nothing rests on them.
pub(super) fn note_ends(
    directory: &mut dyn Directory,
    known: Checkpoint,
    logs: &[ReplayedLog],
    serving: Generation,
) -> Result<FormerLogs, BootError> {
    let mut extents: Vec<LogExtent> = Vec::new();
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

fn replay_log(
    directory: &mut dyn Directory,
    superblock: &Superblock,
    (generation, log): (Generation, LogId),
    files: &RangeInclusive<u32>,
    served_upto: Option<Sequence>,
    recovery: &mut Recovery,
) -> Result<(ReplayedLog, Vec<UnvouchedGroup>), BootError> {
    let mut replay = Replay::new(ReplayConfig {
        generation,
        log,
        salt: superblock.log_salt,
        first_file: *files.start(),
        last_file: *files.end(),
        served_upto,
    });
    let name = log_file_name(generation, log, *files.start());
    let failed = |error| BootError::Log(format!("replaying the log that begins with {name}: {error}"));
    recovery.begin_log(*files.start() > 0);
    let mut floor = 0;
    let mut rot_told = 0;
    let mut newest = VecDeque::new();
    loop {
        let mut source = LogFiles { directory, generation, log };
        let group = replay.next_group(&mut source).map_err(failed)?;
        let rot = &replay.rot()[rot_told..];
        rot_told = replay.rot().len();
        // Lost groups lie before this one; lost entries are this one's own.
        let (groups, entries): (Vec<_>, Vec<_>) = rot.iter().partition(|rot| rot.lost == Lost::Groups);
        groups.into_iter().for_each(|rot| recovery.handle_rot(rot, RottenLog { generation, log }));
        let Some(group) = &group else {
            break;
        };
        // A mark that vouches for it may still come, in one of the next few groups.
        newest.push_back((group.sequence, UnvouchedGroup { file: group.file, range: group.range.clone() }));
        while newest.front().is_some_and(|(sequence, _)| *sequence <= replay.durable_upto()) {
            newest.pop_front();
        }
        let charge = charge_of(group);
        let place = LogPlace { generation, sequence: group.sequence };
        for (head, bytes) in &group.entries {
            recovery.apply(place, head, bytes.clone(), charge);
            if head.kind == EntryKind::Floor {
                floor = head.offset.get();
            }
        }
        entries.into_iter().for_each(|rot| recovery.handle_rot(rot, RottenLog { generation, log }));
    }
    let mut report = replay.finish();
    newest.retain(|(sequence, _)| *sequence > report.durable_upto);
    let unvouched = newest.into_iter().map(|(_, group)| group).collect();
    if i64::from(*files.start()) > floor {
        // Files that the log says are needed are gone.
        let file = u32::try_from(floor).unwrap_or(0);
        let lost = Rot { file, position: 0, first: Sequence(1), last: Sequence(1), lost: Lost::Groups };
        recovery.handle_rot(&lost, RottenLog { generation, log });
        report.rot.push(lost);
    }
    Ok((ReplayedLog { generation, log, files: files.clone(), report }, unvouched))
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

/// Memory that each batch of a group holds: its share of the group, as when it was written.
fn charge_of(group: &ReplayedGroup) -> usize {
    let is_batch = |kind| matches!(kind, EntryKind::Append | EntryKind::Carried);
    let batches = group.entries.iter().filter(|(head, _)| is_batch(head.kind)).count();
    let bytes: usize = group.entries.iter().map(|(_, bytes)| bytes.len()).sum();
    group_bytes(group.entries.len(), bytes).checked_div(batches).unwrap_or(0)
}

/// Gives back the space that a log of a former generation does not need: files it never came to, and what was prepared
/// behind its last group.
fn trim(directory: &mut dyn Directory, replayed: &ReplayedLog) -> Result<(), BootError> {
    let ReplayedLog { generation, log, files, report } = replayed;
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

/// The files of every log that is needed, by generation and shard. Those that the checkpoint says nobody needs are
/// removed; but rotten ones are kept for whoever repairs them.
fn find_needed_logs(
    directory: &mut dyn Directory,
    newest: Generation,
    known: &Checkpoint,
) -> Result<BTreeMap<(Generation, LogId), RangeInclusive<u32>>, BootError> {
    let mut logs: BTreeMap<(Generation, LogId), RangeInclusive<u32>> = BTreeMap::new();
    for name in directory.list(LOG_DIRECTORY)? {
        let path = format!("{LOG_DIRECTORY}/{name}");
        let Some((generation, log, number)) = parse_log_file_name(&path) else {
            return Err(BootError::Log(format!(
                "{path} is not a log file; move it out of the data directory"
            )));
        };
        if generation > newest {
            return Err(BootError::Identity(format!(
                "{path} is newer than the superblock (generation {}): an old copy of the superblock was restored, or \
                 its newer slot rotted; restore the whole data directory from one copy",
                newest.0
            )));
        }
        if generation < known.oldest_generation {
            if !known.logs.iter().any(|extent| (extent.generation, extent.log) == (generation, log)) {
                directory.remove(&path)?;
            }
            continue;
        }
        let files = logs.entry((generation, log)).or_insert(number..=number);
        *files = *files.start().min(&number)..=*files.end().max(&number);
    }
    Ok(logs)
}

fn load_checkpoint(directory: &mut dyn Directory) -> Result<Checkpoint, BootError> {
    let mut slots = [vec![0; CHECKPOINT_SLOT_BYTES], vec![0; CHECKPOINT_SLOT_BYTES]];
    if directory.file_bytes(CHECKPOINT)?.is_some() {
        for (place, slot) in slots.iter_mut().enumerate() {
            directory.read(CHECKPOINT, (place * CHECKPOINT_SLOT_BYTES) as u64, slot)?;
        }
    }
    match checkpoint::choose(&slots[0], &slots[1]) {
        Ok(checkpoint) => {
            // Files are removed on the strength of it: what a write that never completed left must not be taken back.
            save_checkpoint(directory, &checkpoint)?;
            Ok(checkpoint)
        }
        Err(CheckpointError::Empty) => Ok(Checkpoint::default()),
        Err(error) => Err(BootError::Log(format!("the data directory cannot be used: {error}"))),
    }
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

/// The files of one log, as replay reads them.
struct LogFiles<'a> {
    directory: &'a mut dyn Directory,
    generation: Generation,
    log: LogId,
}

impl LogSource for LogFiles<'_> {
    fn read_at(&mut self, file: u32, position: u64, buffer: &mut [u8]) -> Result<usize, ReadFailed> {
        let path = log_file_name(self.generation, self.log, file);
        let read = self.directory.read(&path, position, buffer);
        read.map_err(|error| ReadFailed { errno: error.errno })
    }

    fn file_bytes(&mut self, file: u32) -> Option<u64> {
        self.directory.file_bytes(&log_file_name(self.generation, self.log, file)).ok().flatten()
    }
}
