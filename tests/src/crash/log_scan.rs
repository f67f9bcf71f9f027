//! The log as a kill left it: every group that can be recognised in the files of the newest generation.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::group::{self, EntryHead, EntryKind, Generation, GroupHeader, LogId, LogSalt, Sequence};
use ringmain_wal::names::{log_file_name, parse_log_file_name};
use ringmain_wal::superblock::{self, SLOT_BYTES, Superblock};
use ringmain_wire::ids::{PartitionIndex, TopicId};

use super::error::CrashError;
use super::ledger::Ledger;

/// Groups lie back to back and a few are in flight at a time: behind this much of nothing there is nothing.
const NOTHING_BYTES_MAX: u64 = 8 << 20;

/// The logs of the generation that was killed, by shard.
pub(super) struct KilledLogs {
    pub(super) generation: Generation,
    pub(super) logs: Vec<Vec<GroupOnDisk>>,
}

/// A group whose header is intact.
pub(super) struct GroupOnDisk {
    pub(super) file: PathBuf,
    /// Where it starts in the file, in bytes.
    pub(super) position: u64,
    pub(super) header: GroupHeader,
    /// Its entries; none if the rest of it is not as it was meant to be.
    entries: Option<Vec<EntryHead>>,
}

impl KilledLogs {
    /// Reads the logs of the data directory's current generation.
    pub(super) fn scan(data_dir: &Path) -> Result<Self, CrashError> {
        let superblock = read_superblock(data_dir)?;
        let failed = CrashError::io("reading the log after a kill");
        let logs = scan_generation(data_dir, superblock.generation, superblock.log_salt).map_err(failed)?;
        Ok(Self { generation: superblock.generation, logs })
    }

    /// Whether the kill landed while a batch was on its way to the disk or from there to the producer: it stands in
    /// the log, whole or in part, and the producer, who has heard all that it will ever hear of this start, was not told.
    pub(super) fn has_unacknowledged(&self, topic: TopicId, ledger: &Ledger) -> bool {
        self.logs.iter().flatten().any(|group| group.has_unacknowledged(topic, ledger))
    }
}

impl GroupOnDisk {
    /// Whether nothing in it was acknowledged or read, so that nobody may miss it.
    pub(super) fn is_unknown_to_all(&self, topic: TopicId, ledger: &Ledger) -> bool {
        let is_unknown = |entry: &EntryHead| {
            entry.kind == EntryKind::Append
                && entry.partition.topic == topic
                && number(entry) >= ledger.end(entry.partition.index)
        };
        self.entries.as_ref().is_some_and(|entries| entries.iter().all(is_unknown))
    }

    fn has_unacknowledged(&self, topic: TopicId, ledger: &Ledger) -> bool {
        let acknowledged = |partition: PartitionIndex| ledger.acknowledged(partition);
        let is_unacknowledged = |entry: &EntryHead| {
            entry.partition.topic == topic && number(entry) >= acknowledged(entry.partition.index)
        };
        self.entries.as_ref().is_none_or(|entries| entries.iter().any(is_unacknowledged))
    }
}

/// The salt and the generation of the data directory.
fn read_superblock(data_dir: &Path) -> Result<Superblock, CrashError> {
    let bytes = fs::read(data_dir.join("superblock"))
        .map_err(CrashError::io("reading the superblock after a kill"))?;
    let (slot_a, slot_b) = bytes.split_at(SLOT_BYTES.min(bytes.len()));
    superblock::choose(slot_a, slot_b).map_err(CrashError::Superblock)
}

fn scan_generation(
    data_dir: &Path,
    generation: Generation,
    salt: LogSalt,
) -> io::Result<Vec<Vec<GroupOnDisk>>> {
    let mut files: BTreeMap<LogId, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir(data_dir.join("logs"))? {
        let name = format!("logs/{}", entry?.file_name().to_string_lossy());
        if let Some((of, log, number)) = parse_log_file_name(&name)
            && of == generation
        {
            files.entry(log).or_default().push(number);
        }
    }
    let mut logs = Vec::new();
    for (log, mut numbers) in files {
        numbers.sort_unstable();
        let mut groups = Vec::new();
        for number in numbers {
            let path = data_dir.join(log_file_name(generation, log, number));
            let is_of_log = |header: &GroupHeader| header.generation == generation && header.log == log;
            scan_file(&path, salt, is_of_log, &mut groups)?;
        }
        logs.push(groups);
    }
    Ok(logs)
}

fn scan_file(
    path: &Path,
    salt: LogSalt,
    is_of_log: impl Fn(&GroupHeader) -> bool,
    groups: &mut Vec<GroupOnDisk>,
) -> io::Result<()> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let (mut position, mut nothing_bytes) = (0, 0);
    let mut block = vec![0; BLOCK_BYTES];
    while position + BLOCK_BYTES as u64 <= file_bytes && nothing_bytes < NOTHING_BYTES_MAX {
        file.read_exact_at(&mut block, position)?;
        let Some(header) = GroupHeader::decode(&block, salt).ok().filter(&is_of_log) else {
            position += BLOCK_BYTES as u64;
            nothing_bytes += BLOCK_BYTES as u64;
            continue;
        };
        let length = u64::from(header.length).min(file_bytes - position);
        let mut bytes = vec![0; usize::try_from(length).expect("groups fit memory")];
        file.read_exact_at(&mut bytes, position)?;
        let entries = group::parse(&bytes, salt).ok().map(|view| view.heads);
        let is_intact = entries.is_some();
        groups.push(GroupOnDisk { file: path.to_owned(), position, header, entries });
        // What a damaged group says of its length may still be so, but what lies within it must not be missed.
        position += if is_intact { length } else { BLOCK_BYTES as u64 };
        nothing_bytes = 0;
    }
    Ok(())
}

/// The number of an entry's first record.
fn number(entry: &EntryHead) -> u64 {
    u64::try_from(entry.offset.get()).unwrap_or(0)
}

/// Everything up to here was durable, as the groups on disk say themselves.
pub(super) fn durable_upto(groups: &[GroupOnDisk]) -> Sequence {
    groups.iter().map(|group| group.header.durable_upto).max().unwrap_or(Sequence::ZERO)
}

#[cfg(test)]
pub(super) mod testing {
    use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex};

    use super::*;

    /// A group of one block that stands where its sequence says, with an append of one record to partition 0 of `topic`
    /// at each of `offsets`.
    pub(in crate::crash) fn group(
        sequence: u64,
        durable_upto: u64,
        topic: TopicId,
        offsets: &[i64],
    ) -> GroupOnDisk {
        let entry = |&offset: &i64| EntryHead {
            kind: EntryKind::Append,
            flags: 0,
            partition: PartitionId::new(topic, PartitionIndex(0)),
            leader_epoch: LeaderEpoch(1),
            offset: Offset(offset),
            records: 1,
            position: 64,
            length: 100,
            crc: 0,
        };
        let header = GroupHeader {
            closed: false,
            generation: Generation(1),
            log: LogId(0),
            sequence: Sequence(sequence),
            durable_upto: Sequence(durable_upto),
            previous_crc: 0,
            length: 4096,
            directory_position: 64,
            directory_crc: 0,
            entries: 0,
        };
        let entries = Some(offsets.iter().map(entry).collect());
        GroupOnDisk { file: PathBuf::new(), position: (sequence - 1) * 4096, header, entries }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::testing::group;
    use super::*;

    const TOPIC: TopicId = TopicId([7; 16]);

    fn ledger_with(acknowledged: u64, read: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.handle_read(PartitionIndex(0), read).unwrap();
        ledger.acknowledge(PartitionIndex(0), acknowledged);
        ledger
    }

    #[test]
    fn a_write_was_in_flight_if_the_log_holds_what_was_not_acknowledged() {
        let logs = |offsets: &[i64]| KilledLogs {
            generation: Generation(1),
            logs: vec![vec![group(1, 0, TOPIC, &[0, 1]), group(2, 1, TOPIC, offsets)]],
        };
        assert!(!logs(&[2, 3]).has_unacknowledged(TOPIC, &ledger_with(4, 0)));
        assert!(logs(&[2, 4]).has_unacknowledged(TOPIC, &ledger_with(4, 0)));
        assert!(logs(&[2, 4]).has_unacknowledged(TOPIC, &ledger_with(4, 5)), "reading is not acknowledging");
        assert!(!logs(&[2, 4]).has_unacknowledged(TopicId::METADATA, &ledger_with(4, 0)));
    }

    #[test]
    fn only_what_nobody_was_told_of_may_be_missed() {
        let group = group(2, 0, TOPIC, &[4, 5]);
        assert!(group.is_unknown_to_all(TOPIC, &ledger_with(4, 3)));
        assert!(!group.is_unknown_to_all(TOPIC, &ledger_with(5, 3)), "acknowledged");
        assert!(!group.is_unknown_to_all(TOPIC, &ledger_with(4, 5)), "read");
        assert!(!group.is_unknown_to_all(TopicId::METADATA, &ledger_with(4, 3)), "not ours");
    }

    #[test]
    fn groups_are_found_by_their_headers_behind_gaps_and_up_to_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let salt = LogSalt(5);
        let mut block = vec![0; BLOCK_BYTES];
        for place in [0, 1, 3] {
            // No entries: what a mark looks like, whose directory has the CRC of nothing.
            group(place + 1, place, TOPIC, &[]).header.encode(salt, &mut block);
            file.as_file().write_all_at(&block, place * BLOCK_BYTES as u64).unwrap();
        }
        let mut groups = Vec::new();
        scan_file(file.path(), salt, |header| header.log == LogId(0), &mut groups).unwrap();
        let found: Vec<_> = groups.iter().map(|group| group.header.sequence.0).collect();
        assert_eq!(found, [1, 2, 4]);
        assert_eq!(durable_upto(&groups), Sequence(3));
        groups.clear();
        scan_file(file.path(), LogSalt(6), |_| true, &mut groups).unwrap();
        assert!(groups.is_empty(), "of another data directory");
    }
}
