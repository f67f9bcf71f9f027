//! A disk with a cache: what was written, what of it is durable, and what a crash leaves.
//!
//! Contents are kept twice: as the next read sees them, and as they are on stable storage. Where a sector differs it is
//! dirty. Names are kept twice in the same way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_shard::effect::{OpenMode, WriteSync};
use ringmain_shard::event::FileError;
use ringmain_wal::names::parse_log_file_name;

use super::random::Random;

/// The unit that a crash keeps or loses.
pub(super) const SECTOR_BYTES: usize = 512;
/// The unit that two writes may not share.
const BLOCK_BYTES: u64 = 4096;
/// `EIO`.
pub(super) const EIO: i32 = 5;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

/// A file on the disk, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(usize);

/// A write that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteId(u64);

#[derive(Debug, Default)]
struct Contents {
    /// The name it was made under.
    name: String,
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// By sector: whether the durable contents are older than the cached ones and the disk still knows it.
    dirty: Vec<bool>,
}

#[derive(Debug)]
struct Write {
    inode: Inode,
    position: u64,
    bytes: Bytes,
    checksum: u64,
    sync: WriteSync,
}

/// What a loss of power did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    /// Durable writes under way of which some sectors were kept and some not.
    pub(super) torn: u64,
    /// Durable writes under way.
    pub(super) in_flight: u64,
    /// Files that show what others held.
    pub(super) stale: u64,
}

/// The disk of one node.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Vec<Contents>,
    names: BTreeMap<String, Inode>,
    names_durable: BTreeMap<String, Inode>,
    writes: BTreeMap<WriteId, Write>,
    writes_started: u64,
    /// Whether there is no room.
    pub(super) full: bool,
}

impl Disk {
    /// Names in a directory.
    pub(super) fn list(&self, directory: &str) -> Vec<String> {
        let below = |name: &String| Some(name.strip_prefix(directory)?.strip_prefix('/')?.to_owned());
        self.names.keys().filter_map(below).collect()
    }

    /// The file of that name.
    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        self.names.get(path).copied()
    }

    /// Bytes of a file.
    pub(super) fn file_bytes(&self, inode: Inode) -> u64 {
        self.files[inode.0].cached.len() as u64
    }

    /// Durable writes under way.
    pub(super) fn durable_writes_in_flight(&self) -> usize {
        self.writes.values().filter(|write| write.sync == WriteSync::Durable).count()
    }

    /// Opens a file, or makes it.
    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> Result<Inode, FileError> {
        match (self.find(path), mode) {
            (Some(_), OpenMode::Create) => Err(FileError::Failed(EEXIST)),
            (None, OpenMode::Create) if self.full => Err(FileError::Full),
            (None, OpenMode::Create) => Ok(self.create(path)),
            (Some(inode), _) => Ok(inode),
            (None, _) => Err(FileError::Failed(ENOENT)),
        }
    }

    /// Makes a file; its name is durable once its directory is synced.
    pub(super) fn create(&mut self, path: &str) -> Inode {
        let inode = Inode(self.files.len());
        self.files.push(Contents { name: path.to_owned(), ..Contents::default() });
        self.names.insert(path.to_owned(), inode);
        inode
    }

    /// Takes a name away; durably once its directory is synced.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), FileError> {
        self.names.remove(path).map(|_| ()).ok_or(FileError::Failed(ENOENT))
    }

    /// Reads as far as the file goes.
    pub(super) fn read(&self, inode: Inode, position: u64, buffer: &mut [u8]) -> usize {
        let cached = &self.files[inode.0].cached;
        let from = cached.len().min(position as usize);
        let length = buffer.len().min(cached.len() - from);
        buffer[..length].copy_from_slice(&cached[from..from + length]);
        length
    }

    /// Takes a write up.
    ///
    /// # Errors
    /// What is wrong with it: it shares a block with another one, or is not of whole blocks.
    pub(super) fn start_write(
        &mut self,
        inode: Inode,
        position: u64,
        bytes: Bytes,
        sync: WriteSync,
    ) -> Result<WriteId, String> {
        let end = position + bytes.len() as u64;
        if !position.is_multiple_of(BLOCK_BYTES) || !end.is_multiple_of(BLOCK_BYTES) || bytes.is_empty() {
            return Err(format!("a write of {} bytes at {position} is not of whole blocks", bytes.len()));
        }
        if !bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES as usize) {
            return Err(format!("the buffer of a write at {position} is not aligned"));
        }
        for other in self.writes.values().filter(|other| other.inode == inode) {
            if position < other.position + other.bytes.len() as u64 && other.position < end {
                return Err(format!(
                    "writes at {position} and {} share a block while in flight",
                    other.position
                ));
            }
        }
        self.writes_started += 1;
        let id = WriteId(self.writes_started);
        let checksum = checksum(&bytes);
        self.writes.insert(id, Write { inode, position, bytes, checksum, sync });
        Ok(id)
    }

    /// A write completes.
    ///
    /// # Errors
    /// The outer error is a bug of the broker's: the buffer has changed meanwhile.
    pub(super) fn finish_write(&mut self, id: WriteId) -> Result<Result<(), FileError>, String> {
        let Some(write) = self.writes.remove(&id) else { return Err("a write completes twice".to_owned()) };
        if checksum(&write.bytes) != write.checksum {
            return Err(format!("the buffer of the write at {} changed while in flight", write.position));
        }
        let file = &mut self.files[write.inode.0];
        let end = write.position + write.bytes.len() as u64;
        if self.full && end > file.cached.len() as u64 {
            return Ok(Err(FileError::Full));
        }
        file.put(write.position as usize, &write.bytes);
        if write.sync == WriteSync::Durable {
            for sector in sectors(write.position, write.bytes.len()) {
                file.harden(sector);
            }
        }
        Ok(Ok(()))
    }

    /// A write fails: a part of it is there, in the cache or beyond.
    pub(super) fn fail_write(&mut self, id: WriteId, random: &mut Random) {
        if let Some(write) = self.writes.remove(&id) {
            self.files[write.inode.0].put_some(&write, 500, random);
        }
    }

    /// The sectors that a sync started now makes durable.
    pub(super) fn dirty(&self, inode: Inode) -> Vec<usize> {
        let dirty = self.files[inode.0].dirty.iter().enumerate();
        dirty.filter(|(_, dirty)| **dirty).map(|(sector, _)| sector).collect()
    }

    /// A sync completes for those sectors.
    pub(super) fn finish_sync(&mut self, inode: Inode, dirty: &[usize]) {
        let file = &mut self.files[inode.0];
        for &sector in dirty {
            if file.dirty.get(sector) == Some(&true) {
                file.harden(sector);
            }
        }
        let bytes = file.cached.len().max(file.durable.len());
        file.durable.resize(bytes, 0);
    }

    /// A sync fails: some sectors are taken for clean although they are not durable, and no later sync writes them.
    pub(super) fn fail_sync(&mut self, inode: Inode, random: &mut Random) {
        for dirty in &mut self.files[inode.0].dirty {
            *dirty &= random.chance(500);
        }
    }

    /// What was made and removed in a directory is durable.
    pub(super) fn sync_directory(&mut self, directory: &str) {
        let is_in = |name: &str| name.rsplit_once('/').map_or("", |(parent, _)| parent) == directory;
        self.names_durable.retain(|name, _| !is_in(name));
        let cached = self.names.iter().filter(|(name, _)| is_in(name));
        self.names_durable.extend(cached.map(|(name, &inode)| (name.clone(), inode)));
    }

    /// Writes, durable on return. `keep` in a thousand of its sectors: less than all is a write cut short.
    pub(super) fn write_now(
        &mut self,
        inode: Inode,
        position: u64,
        bytes: &[u8],
        keep: u64,
        random: &mut Random,
    ) {
        let file = &mut self.files[inode.0];
        if keep >= 1000 {
            file.put(position as usize, bytes);
            for sector in sectors(position, bytes.len()) {
                file.harden(sector);
            }
            return;
        }
        for (sector, piece) in sectors(position, bytes.len()).zip(bytes.chunks(SECTOR_BYTES)) {
            if random.chance(keep) {
                file.put(sector * SECTOR_BYTES, piece);
                file.harden(sector);
            }
        }
    }

    /// Cuts a file, durably.
    pub(super) fn truncate(&mut self, inode: Inode, bytes: u64) {
        let file = &mut self.files[inode.0];
        file.cached.truncate(bytes as usize);
        file.durable.truncate(bytes as usize);
        file.dirty.truncate((bytes as usize).div_ceil(SECTOR_BYTES));
    }

    /// The process is gone: what it had begun to write completes in the cache.
    pub(super) fn handle_kill(&mut self) -> Loss {
        let mut loss = Loss::default();
        for write in core::mem::take(&mut self.writes).into_values() {
            loss.in_flight += u64::from(write.sync == WriteSync::Durable);
            self.files[write.inode.0].put(write.position as usize, &write.bytes);
        }
        loss
    }

    /// Power is gone: of all that was not durable a random part of the sectors and names is left.
    pub(super) fn handle_power_loss(&mut self, random: &mut Random) -> Loss {
        let mut loss = Loss::default();
        for write in core::mem::take(&mut self.writes).into_values() {
            let keep = *random.pick(&[0, 200, 500, 800, 1000]);
            let kept = self.files[write.inode.0].put_some(&write, keep, random);
            if write.sync == WriteSync::Durable {
                loss.in_flight += 1;
                loss.torn += u64::from(kept > 0 && kept < write.bytes.len() / SECTOR_BYTES);
            }
        }
        for place in 0..self.files.len() {
            loss.stale += u64::from(self.settle_file(place, random));
        }
        let before = core::mem::take(&mut self.names);
        let all: BTreeSet<String> = before.keys().chain(self.names_durable.keys()).cloned().collect();
        for name in all {
            let (cached, durable) = (before.get(&name), self.names_durable.get(&name));
            let kept = if cached == durable || random.chance(500) { durable } else { cached };
            if let Some(&inode) = kept {
                self.names.insert(name, inode);
            }
        }
        self.names_durable.clone_from(&self.names);
        loss
    }

    /// What is left of a file. Where a sector was lost that was never durable, the disk may show what another file of an
    /// older generation once held there; says whether it does.
    fn settle_file(&mut self, place: usize, random: &mut Random) -> bool {
        if !self.files[place].dirty.contains(&true) {
            return false;
        }
        let others: Vec<usize> = (0..place)
            .filter(|&other| is_older_log(&self.files[other].name, &self.files[place].name))
            .collect();
        let stale = (random.chance(400) && !others.is_empty()).then(|| *random.pick(&others));
        let stale = stale.map(|other| self.files[other].durable.clone());
        let keep = *random.pick(&[0, 0, 300, 700, 1000]);
        let file = &mut self.files[place];
        for sector in 0..file.dirty.len() {
            let from = sector * SECTOR_BYTES;
            if !file.dirty[sector] {
                continue;
            }
            if random.chance(keep) {
                file.harden(sector);
            } else if let Some(piece) = stale.as_ref().and_then(|stale| stale.get(from..from + SECTOR_BYTES))
                && file.durable.len() <= from
            {
                file.put(from, piece);
                file.harden(sector);
            }
        }
        file.cached.clone_from(&file.durable);
        file.dirty.clear();
        file.dirty.resize(file.cached.len().div_ceil(SECTOR_BYTES), false);
        stale.is_some()
    }

    /// Flips one bit of a log file where something was written. Says in which file, and where.
    pub(super) fn flip(&mut self, random: &mut Random) -> Option<(String, u64)> {
        let logs = self.list("logs");
        if logs.is_empty() {
            return None;
        }
        for _ in 0..16 {
            let path = format!("logs/{}", random.pick(&logs));
            let file = &mut self.files[self.names[&path].0];
            if file.cached.is_empty() {
                continue;
            }
            let place = random.below(file.cached.len() as u64) as usize;
            let sector = place / SECTOR_BYTES * SECTOR_BYTES;
            let end = file.cached.len().min(sector + SECTOR_BYTES);
            if file.cached[sector..end].iter().all(|&byte| byte == 0) {
                continue;
            }
            let bit = 1 << random.below(8);
            file.cached[place] ^= bit;
            if let Some(byte) = file.durable.get_mut(place) {
                *byte ^= bit;
            }
            return Some((path, place as u64));
        }
        None
    }
}

/// Whether both are log files, and the first of an older generation.
fn is_older_log(older: &str, newer: &str) -> bool {
    let generation = |name: &str| Some(parse_log_file_name(name)?.0);
    generation(older).zip(generation(newer)).is_some_and(|(older, newer)| older < newer)
}

impl Contents {
    /// Puts bytes into the cache.
    fn put(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
            self.dirty.resize(end.div_ceil(SECTOR_BYTES), false);
        }
        self.cached[position..end].copy_from_slice(bytes);
        self.dirty[position / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)].fill(true);
    }

    /// Makes a sector durable as it is in the cache.
    fn harden(&mut self, sector: usize) {
        let from = sector * SECTOR_BYTES;
        let end = self.cached.len().min(from + SECTOR_BYTES);
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[from..end].copy_from_slice(&self.cached[from..end]);
        self.dirty[sector] = false;
    }

    /// Puts `keep` in a thousand of a write's sectors on stable storage, and says how many.
    fn put_some(&mut self, write: &Write, keep: u64, random: &mut Random) -> usize {
        let mut kept = 0;
        for (sector, piece) in
            sectors(write.position, write.bytes.len()).zip(write.bytes.chunks(SECTOR_BYTES))
        {
            if random.chance(keep) {
                kept += 1;
                self.put(sector * SECTOR_BYTES, piece);
                self.harden(sector);
            }
        }
        kept
    }
}

fn sectors(position: u64, bytes: usize) -> core::ops::Range<usize> {
    let first = position as usize / SECTOR_BYTES;
    first..first + bytes.div_ceil(SECTOR_BYTES)
}

fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, |sum, word| (u64::rotate_left(sum, 7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
