//! A disk that keeps what was synced and any part of what was in flight, and a log that is written to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::commit::{
    AppendOptions, FlushBound, GroupCommit, GroupCommitConfig, GroupWrite, PartitionChange, SyncLog,
};
use ringmain_wal::group::{self, EntryKind, Generation, GroupHeader, LogId, LogSalt, Sequence};
use ringmain_wal::replay::{
    LogSource, ReadFailed, Replay, ReplayConfig, ReplayError, ReplayReport, ReplayedGroup,
};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};

pub(crate) const SALT: LogSalt = LogSalt(0xfeed);
pub(crate) const GENERATION: Generation = Generation(5);
pub(crate) const LOG: LogId = LogId(2);
pub(crate) const SECTOR_BYTES: usize = 512;

/// Small groups and files, so that short runs roll.
pub(crate) fn config() -> GroupCommitConfig {
    GroupCommitConfig {
        group_bytes_max: 16_384,
        entry_bytes_max: 40_000,
        groups_in_flight_max: 4,
        chunk_bytes: 32_768,
        first_file_bytes: 65_536,
        file_bytes: 131_072,
        ..GroupCommitConfig::new(GENERATION, LOG, SALT)
    }
}

/// The files of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<u32, Vec<u8>>,
    /// Bytes that a read gives at most, if any limit.
    pub(crate) read_bytes_max: Option<usize>,
    /// The file that cannot be read, if any.
    pub(crate) broken_file: Option<u32>,
    /// Bytes read so far.
    pub(crate) read_bytes: usize,
}

impl Disk {
    pub(crate) fn write(&mut self, write: &GroupWrite) {
        for sector in 0..write.bytes.len() / SECTOR_BYTES {
            self.write_sector(write, sector);
        }
    }

    pub(crate) fn write_sector(&mut self, write: &GroupWrite, sector: usize) {
        let from = sector * SECTOR_BYTES;
        let position = usize::try_from(write.position).unwrap() + from;
        let file = self.files.get_mut(&write.file).unwrap();
        file[position..position + SECTOR_BYTES].copy_from_slice(&write.bytes[from..from + SECTOR_BYTES]);
    }

    /// The bytes where `write` went.
    pub(crate) fn group_mut(&mut self, write: &GroupWrite) -> &mut [u8] {
        let position = usize::try_from(write.position).unwrap();
        &mut self.files.get_mut(&write.file).unwrap()[position..position + write.bytes.len()]
    }

    /// Whether all of `write` but its padding is there.
    pub(crate) fn holds(&mut self, write: &GroupWrite) -> bool {
        let meaningful = meaningful_bytes(write);
        self.group_mut(write)[..meaningful] == write.bytes[..meaningful]
    }
}

impl LogSource for Disk {
    fn read_at(&mut self, file: u32, position: u64, buffer: &mut [u8]) -> Result<usize, ReadFailed> {
        if self.broken_file == Some(file) {
            return Err(ReadFailed { errno: 5 });
        }
        let from = &self.files[&file][usize::try_from(position).unwrap()..];
        let length = buffer.len().min(from.len()).min(self.read_bytes_max.unwrap_or(usize::MAX));
        buffer[..length].copy_from_slice(&from[..length]);
        self.read_bytes += length;
        Ok(length)
    }

    fn file_bytes(&mut self, file: u32) -> Option<u64> {
        self.files.get(&file).map(|bytes| bytes.len() as u64)
    }
}

/// Bytes of a group without its padding.
pub(crate) fn meaningful_bytes(write: &GroupWrite) -> usize {
    let header = header(write);
    header.directory_position as usize + header.entries as usize * group::ENTRY_HEAD_BYTES
}

pub(crate) fn header(write: &GroupWrite) -> GroupHeader {
    GroupHeader::decode(&write.bytes, SALT).unwrap()
}

/// A log, its disk, and every group that it ever handed out.
pub(crate) struct Log {
    pub(crate) commit: GroupCommit,
    pub(crate) disk: Disk,
    pub(crate) writes: Vec<GroupWrite>,
    pub(crate) in_flight: Vec<GroupWrite>,
    /// Written without a sync, and what stood there before: a loss of power may bring it back.
    unsynced: Vec<(GroupWrite, Vec<u8>)>,
    syncing: Option<SyncLog>,
    /// Up to here everything counts as stored.
    pub(crate) stored: Sequence,
    pub(crate) now_ns: u64,
    groups_in_flight_max: usize,
    random: ChaCha8Rng,
    offset: i64,
    /// The group that each batch was promised, by its offset.
    promised: BTreeMap<Offset, Sequence>,
    /// Floors appended and not yet durable: the group and the file that each names.
    floors: Vec<(Sequence, u32)>,
    /// What fresh files hold: bytes of a former generation, repeated; zeroes if empty.
    recycled: Vec<u8>,
}

impl Log {
    pub(crate) fn new(config: GroupCommitConfig, seed: u64) -> Self {
        Self::on_recycled_files(config, seed, Vec::new())
    }

    pub(crate) fn on_recycled_files(config: GroupCommitConfig, seed: u64, recycled: Vec<u8>) -> Self {
        let mut log = Self {
            groups_in_flight_max: config.groups_in_flight_max,
            commit: GroupCommit::new(config),
            disk: Disk::default(),
            writes: Vec::new(),
            in_flight: Vec::new(),
            unsynced: Vec::new(),
            syncing: None,
            stored: Sequence::ZERO,
            now_ns: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            offset: 0,
            promised: BTreeMap::new(),
            floors: Vec::new(),
            recycled,
        };
        log.pump();
        log
    }

    pub(crate) fn append(&mut self, partition: u32, length: usize) -> Sequence {
        let mut batch = vec![0; length];
        self.random.fill_bytes(&mut batch);
        self.append_bytes(partition, &batch)
    }

    pub(crate) fn append_bytes(&mut self, partition: u32, batch: &[u8]) -> Sequence {
        self.offset += 1;
        let offset = Offset(self.offset);
        let promised =
            self.commit.append_batch(partition_id(partition), LeaderEpoch(1), offset, 1, batch).unwrap();
        self.promised.insert(offset, promised);
        promised
    }

    /// A batch that counts once it is written.
    pub(crate) fn append_relaxed(&mut self, partition: u32, length: usize, bound: FlushBound) {
        self.offset += 1;
        let (id, offset) = (partition_id(partition), Offset(self.offset));
        let mut batch = vec![0; length];
        self.random.fill_bytes(&mut batch);
        let options = AppendOptions { flush: Some(bound), ..AppendOptions::default() };
        let promised = self.commit.append_batch_with(id, LeaderEpoch(1), offset, 1, &batch, options);
        self.promised.insert(offset, promised.unwrap());
    }

    pub(crate) fn truncate(&mut self, partition: u32) -> Sequence {
        let change = PartitionChange::Truncate { offset: Offset(self.offset), leader_epoch: LeaderEpoch(1) };
        self.commit.append_entry(partition_id(partition), change).unwrap()
    }

    /// Logs a state and a batch carried: two entries with bytes that are no appends.
    pub(crate) fn carry(&mut self, partition: u32, length: usize) {
        let (id, end) = (partition_id(partition), Offset(self.offset));
        self.commit.append_state(id, end, &vec![0xee; length]).unwrap();
        self.commit.append_carried(id, LeaderEpoch(1), end, 1, &vec![0xcc; length]).unwrap();
    }

    /// Logs that no group so and so far behind the mark is needed; files before go once that is durable.
    pub(crate) fn recycle(&mut self, groups_behind: u64) {
        let needed = Sequence(self.commit.mark().next().0.saturating_sub(groups_behind));
        let first_file = self.commit.first_file_from(needed);
        let is_taken = |write: &GroupWrite| write.sequence >= needed && write.file < first_file;
        let was_taken = self.writes.iter().any(|write| is_taken(write) && write.file >= self.first_file());
        assert!(!was_taken, "a file that is needed would be recycled");
        self.floors.push((self.commit.append_floor(first_file).unwrap(), first_file));
    }

    /// The first file that has not been recycled.
    pub(crate) fn first_file(&self) -> u32 {
        *self.disk.files.keys().next().unwrap()
    }

    /// Prepares the files asked for and begins the writes that may begin.
    pub(crate) fn pump(&mut self) {
        while let Some(file) = self.commit.poll_prepare() {
            let bytes = usize::try_from(file.bytes).unwrap();
            let content = if self.recycled.is_empty() {
                vec![0; bytes]
            } else {
                self.recycled.iter().copied().cycle().take(bytes).collect()
            };
            self.disk.files.insert(file.number, content);
            self.commit.file_ready(file.number, file.bytes);
        }
        while let Some(write) = self.commit.poll_group(self.now_ns) {
            assert!(write.bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
            assert_eq!(write.sequence.0, self.writes.len() as u64 + 1);
            for entry in write.entries.iter().filter(|entry| entry.head.kind == EntryKind::Append) {
                assert_eq!(self.promised.remove(&entry.head.offset), Some(write.sequence));
            }
            self.writes.push(write.clone());
            self.in_flight.push(write);
            assert!(self.in_flight.len() <= self.groups_in_flight_max);
        }
        if let Some(sync) = self.commit.poll_sync(self.now_ns) {
            assert!(self.syncing.replace(sync).is_none(), "one sync at a time");
            let is_written = |write: &GroupWrite| {
                write.sequence > sync.upto
                    || self.in_flight.iter().all(|other| other.sequence > write.sequence)
            };
            assert!(self.writes.iter().all(is_written), "a sync covers what is written");
        }
    }

    /// Completes one of the writes in flight or the sync, if there is any.
    pub(crate) fn complete(&mut self, which: usize) {
        let choices = self.in_flight.len() + usize::from(self.syncing.is_some());
        if choices == 0 {
            return;
        }
        let which = which % choices;
        if which < self.in_flight.len() {
            let write = self.in_flight.remove(which);
            let before = self.disk.group_mut(&write).to_vec();
            self.disk.write(&write);
            self.commit.handle_written(write.sequence);
            if !write.durable {
                self.unsynced.push((write, before));
            }
        } else if let Some(SyncLog { file, upto }) = self.syncing.take() {
            self.unsynced.retain(|(write, _)| write.file != file || write.sequence > upto);
            self.commit.handle_synced();
        }
        self.stored = self.commit.poll_stored().unwrap_or(self.stored).max(self.commit.mark());
        let mark = self.commit.mark();
        assert!(
            self.unsynced.iter().all(|(write, _)| write.sequence > mark),
            "the mark says that it is durable"
        );
        self.delete_recycled();
    }

    /// Whether nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.in_flight.is_empty() && self.syncing.is_none()
    }

    fn delete_recycled(&mut self) {
        let mark = self.commit.mark();
        for (_, first_file) in self.floors.extract_if(.., |(sequence, _)| *sequence <= mark) {
            self.disk.files.retain(|&number, _| number >= first_file);
            self.commit.forget_files_before(first_file);
        }
        let stored: usize = self.disk.files.values().map(Vec::len).sum();
        assert_eq!(self.commit.live_bytes(), stored as u64);
    }

    /// Appends one batch and completes all that is in flight: a group of its own, durable.
    pub(crate) fn append_durably(&mut self, length: usize) {
        self.append(0, length);
        self.complete_all();
    }

    /// Completes all that waits or is in flight.
    pub(crate) fn complete_all(&mut self) {
        self.pump();
        while !self.is_at_rest() {
            self.complete(0);
            self.pump();
        }
    }

    /// A loss of power that keeps each sector in flight or not synced with one chance in `out_of`, or all but one in so many
    /// if negative.
    pub(crate) fn crash(&mut self, out_of: i32) {
        for (write, before) in std::mem::take(&mut self.unsynced) {
            self.disk.group_mut(&write).copy_from_slice(&before);
            self.in_flight.push(write);
        }
        self.kill(out_of);
    }

    /// As a loss of power, but what is written stays.
    pub(crate) fn kill(&mut self, out_of: i32) {
        for write in std::mem::take(&mut self.in_flight) {
            let keep_group = self.random.next_u32().is_multiple_of(3);
            for sector in 0..write.bytes.len() / SECTOR_BYTES {
                let hit = self.random.next_u32().is_multiple_of(out_of.unsigned_abs());
                if keep_group || hit == (out_of > 0) {
                    self.disk.write_sector(&write, sector);
                }
            }
        }
    }

    /// Checks that `group` is what was written, but for the entries left out.
    pub(crate) fn assert_same(&self, group: &ReplayedGroup, missing: usize) {
        let write = &self.writes[usize::try_from(group.sequence.0).unwrap() - 1];
        let written: Vec<_> = write.entries.iter().map(|entry| (entry.head, entry.bytes.clone())).collect();
        if missing == 0 {
            assert_eq!(group.entries, written);
        }
        assert_eq!(group.entries.len() + missing, written.len());
        assert!(group.entries.iter().all(|entry| written.contains(entry)));
        assert_eq!(group.file, write.file);
    }
}

pub(crate) fn partition_id(index: u32) -> PartitionId {
    PartitionId::new(TopicId([8; 16]), PartitionIndex(index))
}

pub(crate) fn replay_config(disk: &Disk) -> ReplayConfig {
    ReplayConfig {
        generation: GENERATION,
        log: LOG,
        salt: SALT,
        first_file: *disk.files.keys().next().unwrap(),
        last_file: *disk.files.keys().last().unwrap(),
        served_upto: None,
    }
}

/// Replays a log to its end.
pub(crate) fn replay(disk: &mut Disk) -> Result<(Vec<ReplayedGroup>, ReplayReport), ReplayError> {
    replay_with(disk, replay_config(disk))
}

pub(crate) fn replay_with(
    disk: &mut Disk,
    config: ReplayConfig,
) -> Result<(Vec<ReplayedGroup>, ReplayReport), ReplayError> {
    let mut replay = Replay::new(config);
    let mut groups = Vec::new();
    while let Some(group) = replay.next_group(disk)? {
        groups.push(group);
    }
    assert!(replay.next_group(disk)?.is_none(), "the end is the end");
    let report = replay.finish();
    assert_eq!(report.groups, groups.len() as u64);
    assert_eq!(report.last_sequence, groups.last().map_or(Sequence::ZERO, |group| group.sequence));
    Ok((groups, report))
}

pub(crate) fn sequences(groups: &[ReplayedGroup]) -> Vec<u64> {
    groups.iter().map(|group| group.sequence.0).collect()
}

/// A batch whose bytes at every block boundary of its group are `planted`.
pub(crate) fn batch_with_planted_blocks(planted: &[u8], blocks: usize) -> Bytes {
    let mut batch = vec![0xcc; blocks * BLOCK_BYTES];
    for block in 1..blocks {
        let place = block * BLOCK_BYTES - group::GROUP_HEADER_BYTES;
        let length = planted.len().min(batch.len() - place);
        batch[place..place + length].copy_from_slice(&planted[..length]);
    }
    batch.into()
}
