//! Reads what former starts have logged: which logs there are, and what replaying them gives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Range, RangeInclusive};

use ringmain_shard::partition::tail::LogPlace;
use ringmain_shard::recovery::{Recovered, Recovery, RottenLog};
use ringmain_shard::store::LOG_DIRECTORY;
use ringmain_wal::checkpoint::Checkpoint;
use ringmain_wal::group::{EntryKind, Generation, LogId, Sequence, group_bytes};
use ringmain_wal::names::{log_file_name, parse_log_file_name};
use ringmain_wal::replay::{
    LogSource, Lost, ReadFailed, Replay, ReplayConfig, ReplayReport, ReplayedGroup, Rot,
};
use ringmain_wal::superblock::Superblock;

use super::directory::ReadDirectory;
use super::{BootError, BootReport, LogName};

/// The files of every log, by whether a start needs them.
pub(super) struct FoundLogs {
    /// Their numbers, by generation and shard.
    pub(super) needed: BTreeMap<(Generation, LogId), RangeInclusive<u32>>,
    /// Paths of those that the checkpoint says nobody needs.
    pub(super) unneeded: Vec<String>,
}

/// What all logs gave.
pub(super) struct Replayed {
    pub(super) recovered: Recovered,
    pub(super) report: BootReport,
    pub(super) logs: Vec<ReplayedLog>,
    /// Logs that should be there and of which there is no file.
    pub(super) missing: Vec<(Generation, LogId)>,
}

/// What one log gave.
pub(super) struct ReplayedLog {
    pub(super) generation: Generation,
    pub(super) log: LogId,
    pub(super) files: RangeInclusive<u32>,
    pub(super) report: ReplayReport,
    /// Batches in its groups, again or not.
    pub(super) batches: u64,
    /// Bytes of its groups.
    pub(super) bytes: u64,
    /// Its newest groups, if no start has noted it yet: a write that never completed may stand in the disk's cache only.
    pub(super) unvouched: Vec<UnvouchedGroup>,
}

/// A replayed group that no mark says to have been durable.
pub(super) struct UnvouchedGroup {
    pub(super) file: u32,
    /// Where it lies in the file, in bytes.
    pub(super) range: Range<u64>,
}

/// The files of all logs. Rotten ones that nobody needs are kept for whoever repairs them: they are neither.
pub(super) fn find_logs(
    directory: &mut dyn ReadDirectory,
    newest: Generation,
    known: &Checkpoint,
) -> Result<FoundLogs, BootError> {
    let mut found = FoundLogs { needed: BTreeMap::new(), unneeded: Vec::new() };
    for name in directory.list(LOG_DIRECTORY)? {
        let path = format!("{LOG_DIRECTORY}/{name}");
        let Some((generation, log, number)) = parse_log_file_name(&path) else {
            return Err(BootError::Stranger { path, expected: "a log file" });
        };
        if generation > newest {
            return Err(BootError::NewerLog { path, newest });
        }
        if generation < known.oldest_generation {
            if !known.logs.iter().any(|extent| (extent.generation, extent.log) == (generation, log)) {
                found.unneeded.push(path);
            }
            continue;
        }
        let files = found.needed.entry((generation, log)).or_insert(number..=number);
        *files = *files.start().min(&number)..=*files.end().max(&number);
    }
    Ok(found)
}

/// Replays every log in the order of generations.
pub(super) fn replay_logs(
    directory: &mut dyn ReadDirectory,
    before: &Superblock,
    known: &Checkpoint,
    found: &BTreeMap<(Generation, LogId), RangeInclusive<u32>>,
) -> Result<Replayed, BootError> {
    let mut recovery = Recovery::default();
    let mut report = BootReport::default();
    let (mut logs, mut missing) = (Vec::new(), Vec::new());
    let noted = known.logs.iter().filter(|extent| extent.generation >= known.oldest_generation);
    let names: BTreeSet<(Generation, LogId)> = found
        .keys()
        .copied()
        .chain(noted.map(|extent| (extent.generation, extent.log)))
        .chain(sole_logs(before, known))
        .collect();
    for (generation, log) in names {
        let extent = known.logs.iter().find(|extent| (extent.generation, extent.log) == (generation, log));
        let served_upto = extent.map(|extent| extent.last).filter(|last| *last > Sequence::ZERO);
        let name = LogName { generation: generation.0, log: log.0 };
        let Some(files) = found.get(&(generation, log)) else {
            // Written by a former start, and gone since.
            missing.push((generation, log));
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
        let mut replayed = replay_log(directory, before, place, files, served_upto, &mut recovery)?;
        if extent.is_some() {
            // The start that noted it has made them durable.
            replayed.unvouched.clear();
        }
        report.groups += replayed.report.groups;
        report.batches += replayed.batches;
        report.log_bytes += replayed.bytes;
        report.cuts.extend(replayed.report.cut.map(|cut| (name, cut)));
        report.rot.extend(replayed.report.rot.iter().map(|rot| (name, rot.clone())));
        logs.push(replayed);
    }
    Ok(Replayed { recovered: recovery.finish(), report, logs, missing })
}

/// The logs of the last start once everything rests on them alone: each of its shards has one, however little it says.
fn sole_logs(before: &Superblock, known: &Checkpoint) -> impl Iterator<Item = (Generation, LogId)> {
    let is_alone = before.generation > Generation(0) && known.oldest_generation == before.generation;
    let shards = if is_alone { before.shards } else { 0 };
    let generation = before.generation;
    (0..shards).map(move |shard| (generation, LogId(shard)))
}

fn replay_log(
    directory: &mut dyn ReadDirectory,
    superblock: &Superblock,
    (generation, log): (Generation, LogId),
    files: &RangeInclusive<u32>,
    served_upto: Option<Sequence>,
    recovery: &mut Recovery,
) -> Result<ReplayedLog, BootError> {
    let mut replay = Replay::new(ReplayConfig {
        generation,
        log,
        salt: superblock.log_salt,
        first_file: *files.start(),
        last_file: *files.end(),
        served_upto,
    });
    let failed = |error| BootError::Replay { generation, log, first_file: *files.start(), error };
    recovery.begin_log(*files.start() > 0);
    let (mut floor, mut batches, mut bytes) = (0, 0, 0);
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
        bytes += group.range.end - group.range.start;
        let charge = charge_of(group);
        let place = LogPlace { generation, sequence: group.sequence };
        for (head, entry) in &group.entries {
            recovery.apply(place, head, entry.clone(), charge);
            batches += u64::from(head.kind.is_batch());
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
    Ok(ReplayedLog { generation, log, files: files.clone(), report, batches, bytes, unvouched })
}

/// Memory that each batch of a group holds: its share of the group, as when it was written.
fn charge_of(group: &ReplayedGroup) -> usize {
    let batches = group.entries.iter().filter(|(head, _)| head.kind.is_batch()).count();
    let bytes: usize = group.entries.iter().map(|(_, bytes)| bytes.len()).sum();
    group_bytes(group.entries.len(), bytes).checked_div(batches).unwrap_or(0)
}

/// The files of one log, as replay reads them.
struct LogFiles<'a> {
    directory: &'a mut dyn ReadDirectory,
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
