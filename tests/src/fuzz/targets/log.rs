//! The replay of a whole log, whose files the input is cut into.

use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::commit::{GroupCommit, GroupCommitConfig, GroupWrite, PartitionChange};
use ringmain_wal::group::{Generation, LogId, Sequence};
use ringmain_wal::replay::{
    LogSource, ReadFailed, Replay, ReplayConfig, ReplayError, ReplayReport, ReplayedGroup,
};
use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};

use super::batch::built;
use super::group::SALT;
use super::state;
use crate::fuzz::Verdict;

const GENERATION: Generation = Generation(3);
const LOG: LogId = LogId(1);
/// Bytes of each file but the last.
const FILE_BYTES: usize = 4 * BLOCK_BYTES;
/// Bytes that a read gives at most where it gives less than it is asked for.
const SHORT_READ_BYTES: usize = 1_000;

/// Replays the log as a start does that knows nothing of it, as one that has served it before, and without its beginning.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let whole = Files { bytes: input, read_bytes_max: usize::MAX };
    let replayed = replay(whole, 0, None);
    let again = replay(Files { read_bytes_max: SHORT_READ_BYTES, ..whole }, 0, None);
    assert_eq!(seen(&replayed), seen(&again), "short reads make a difference");
    check(&replayed, input);
    check(&replay(whole, 0, Some(Sequence(2))), input);
    if whole.last() > 0 {
        check(&replay(whole, 1, None), input);
    }
    match replayed {
        Ok((groups, _)) if !groups.is_empty() => Verdict::Accepted,
        _ => Verdict::Refused,
    }
}

/// A log over two files, closed in order; the same torn off; and its first group alone.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    for write in written() {
        let start = write.file as usize * FILE_BYTES + write.position as usize;
        log.resize(log.len().max(start + write.bytes.len()), 0);
        log[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    vec![log[..log.len() - 2 * BLOCK_BYTES].to_vec(), log[..BLOCK_BYTES].to_vec(), log]
}

/// The groups of a log with an entry of every kind.
pub(in crate::fuzz) fn written() -> Vec<GroupWrite> {
    let config = GroupCommitConfig {
        group_bytes_max: BLOCK_BYTES,
        entry_bytes_max: 2 * BLOCK_BYTES,
        groups_in_flight_max: 2,
        chunk_bytes: 2 * BLOCK_BYTES,
        first_file_bytes: FILE_BYTES as u64,
        file_bytes: FILE_BYTES as u64,
        ..GroupCommitConfig::new(GENERATION, LOG, SALT)
    };
    let mut commit = GroupCommit::new(config);
    let mut writes = Vec::new();
    let partition = PartitionId::new(TopicId([1; 16]), PartitionIndex(2));
    let other = PartitionId::new(TopicId([2; 16]), PartitionIndex(0));
    let epoch = LeaderEpoch(3);
    let taken = "an open log takes small entries";

    commit.append_batch(partition, epoch, Offset(0), 4, &built(Codec::None, 4)).expect(taken);
    commit.append_batch(other, epoch, Offset(0), 1, &built(Codec::Zstd, 1)).expect(taken);
    write_out(&mut commit, &mut writes);
    let truncation = PartitionChange::Truncate { offset: Offset(2), leader_epoch: epoch };
    commit.append_entry(partition, truncation).expect(taken);
    commit.append_batch(partition, epoch, Offset(2), 40, &built(Codec::None, 40)).expect(taken);
    write_out(&mut commit, &mut writes);
    commit.append_state(other, Offset(1), &state::seeds()[0]).expect(taken);
    commit.append_carried(other, LeaderEpoch(2), Offset(1), 3, &built(Codec::Lz4, 3)).expect(taken);
    commit.append_floor(0).expect(taken);
    write_out(&mut commit, &mut writes);
    commit.append_entry(partition, PartitionChange::LogStart { offset: Offset(2) }).expect(taken);
    commit.append_entry(other, PartitionChange::PartitionDrop).expect(taken);
    write_out(&mut commit, &mut writes);
    commit.close();
    write_out(&mut commit, &mut writes);
    writes
}

/// Takes every group that can leave, as if each were durable at once.
fn write_out(commit: &mut GroupCommit, writes: &mut Vec<GroupWrite>) {
    loop {
        while let Some(file) = commit.poll_prepare() {
            commit.file_ready(file.number, file.bytes);
        }
        let Some(write) = commit.poll_group(0) else { return };
        commit.handle_written(write.sequence);
        writes.push(write);
    }
}

/// Files of a log, back to back.
#[derive(Clone, Copy, Debug)]
struct Files<'a> {
    bytes: &'a [u8],
    read_bytes_max: usize,
}

impl Files<'_> {
    /// The last file's number.
    fn last(&self) -> u32 {
        (self.bytes.len().saturating_sub(1) / FILE_BYTES) as u32
    }

    fn file(&self, file: u32) -> &[u8] {
        let start = file as usize * FILE_BYTES;
        &self.bytes[start..self.bytes.len().min(start + FILE_BYTES)]
    }
}

impl LogSource for Files<'_> {
    fn read_at(&mut self, file: u32, position: u64, buffer: &mut [u8]) -> Result<usize, ReadFailed> {
        let from = usize::try_from(position).ok().and_then(|position| self.file(file).get(position..));
        let from = from.expect("nothing is read behind the end of a file");
        let length = buffer.len().min(from.len()).min(self.read_bytes_max);
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn file_bytes(&mut self, file: u32) -> Option<u64> {
        (file <= self.last()).then(|| self.file(file).len() as u64)
    }
}

type Replayed = Result<(Vec<ReplayedGroup>, ReplayReport), ReplayError>;

fn replay(mut files: Files<'_>, first_file: u32, served_upto: Option<Sequence>) -> Replayed {
    let last_file = files.last();
    let (generation, log, salt) = (GENERATION, LOG, SALT);
    let mut replay = Replay::new(ReplayConfig { generation, log, salt, first_file, last_file, served_upto });
    let mut groups = Vec::new();
    while let Some(group) = replay.next_group(&mut files)? {
        groups.push(group);
    }
    Ok((groups, replay.finish()))
}

/// What two replays of the same log have to agree on.
fn seen(replayed: &Replayed) -> Result<(Vec<Sequence>, &ReplayReport), ReplayError> {
    let (groups, report) = replayed.as_ref().map_err(|error| *error)?;
    Ok((groups.iter().map(|group| group.sequence).collect(), report))
}

fn check(replayed: &Replayed, input: &[u8]) {
    let (groups, report) = match replayed {
        Ok(replayed) => replayed,
        Err(error) => {
            assert!(matches!(error, ReplayError::Unsupported { .. }), "{error}");
            return;
        }
    };
    assert!(groups.is_sorted_by(|before, after| before.sequence < after.sequence));
    assert_eq!(report.groups, groups.len() as u64);
    assert_eq!(report.last_sequence, groups.last().map_or(Sequence::ZERO, |group| group.sequence));
    let entries = || groups.iter().flat_map(|group| &group.entries);
    assert!(entries().all(|(head, bytes)| bytes.len() == head.length as usize));
    assert!(entries().map(|(_, bytes)| bytes.len()).sum::<usize>() <= input.len(), "more than there is");
    assert!(report.end.1 <= FILE_BYTES as u64);
    assert!(report.rot.iter().all(|rot| rot.first <= rot.last));
    assert!(report.rot.is_sorted_by(|before, after| before.last < after.first), "rot is told twice");
    assert!(report.cut.is_none_or(|cut| cut.first > report.last_sequence));
}
