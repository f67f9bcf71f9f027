//! A disk with a cache: what was written, what of it is durable, and what a crash leaves.
//!
//! Contents are kept twice: as the next read sees them, and as they are on stable storage. Where a sector differs it is
//! dirty. Names are kept twice in the same way. A file that was emptied may be full again after a crash, until it is
//! synced or written durably.

mod contents;
mod names;
mod rot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use ringmain_shard::effect::{OpenMode, WriteSync};
use ringmain_shard::event::FileError;
use ringmain_wal::names::parse_log_file_name;

use self::contents::Contents;
pub(super) use self::contents::Unsynced;
use self::names::Names;
pub(super) use self::names::UnsyncedNames;
use super::random::Random;

/// The unit that a crash keeps or loses.
const SECTOR_BYTES: usize = 512;
/// The unit that two writes may not share.
const BLOCK_BYTES: u64 = 4096;
/// `ENOENT`.
pub(super) const ENOENT: i32 = 2;
/// `EIO`.
pub(super) const EIO: i32 = 5;
const EEXIST: i32 = 17;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
pub(super) const ENOTEMPTY: i32 = 39;

/// A file on the disk, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(usize);

/// A write that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteId(u64);

#[derive(Debug)]
struct Write {
    inode: Inode,
    position: u64,
    bytes: Bytes,
    checksum: u64,
    sync: WriteSync,
}

/// A read that was started.
#[derive(Debug)]
pub(super) struct Read {
    inode: Inode,
    position: u64,
    length: usize,
    /// What was there then.
    before: Vec<u8>,
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
    names: Names,
    writes: BTreeMap<WriteId, Write>,
    writes_started: u64,
    /// Whether there is no room.
    pub(super) full: bool,
    /// Per thousand reads that fail.
    pub(super) read_errors: u64,
}

impl Disk {
    /// Names in a directory; none if it does not exist.
    pub(super) fn list(&self, directory: &str) -> Vec<String> {
        self.names.list(directory)
    }

    /// The file of that name.
    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        self.names.find(path)
    }

    /// Bytes of a file.
    pub(super) fn file_bytes(&self, inode: Inode) -> u64 {
        self.files[inode.0].cached().len() as u64
    }

    /// Durable writes under way.
    pub(super) fn durable_writes_in_flight(&self) -> usize {
        self.writes.values().filter(|write| write.sync == WriteSync::Durable).count()
    }

    /// Opens a file, or makes it.
    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> Result<Inode, FileError> {
        match (self.find(path), mode) {
            (Some(_), OpenMode::Create) => Err(FileError::Failed(EEXIST)),
            (None, OpenMode::Create | OpenMode::Replace) => self.create(path),
            (None, OpenMode::Read | OpenMode::Write) => Err(FileError::Failed(ENOENT)),
            (Some(inode), OpenMode::Read | OpenMode::Write) => Ok(inode),
            (Some(inode), OpenMode::Replace) => {
                self.files[inode.0].empty();
                Ok(inode)
            }
        }
    }

    /// Makes a file; its name is durable once its directory is synced.
    pub(super) fn create(&mut self, path: &str) -> Result<Inode, FileError> {
        if self.full {
            return Err(FileError::Full);
        }
        let inode = Inode(self.files.len());
        self.names.add_file(path, inode)?;
        self.files.push(Contents::named(path));
        Ok(inode)
    }

    /// Gives a file a second name, unless that is taken; durably once its directory is synced.
    pub(super) fn link(&mut self, path: &str, second: &str) -> Result<(), FileError> {
        let inode = self.find(path).ok_or(FileError::Failed(ENOENT))?;
        unless(EEXIST, self.names.add_file(second, inode))
    }

    /// Takes the name of a file away, if there is one; durably once its directory is synced.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), FileError> {
        unless(ENOENT, self.names.remove(path))
    }

    /// Makes a directory, if there is none; its name is durable once the directory that it is in is synced.
    pub(super) fn create_directory(&mut self, path: &str) -> Result<(), FileError> {
        if self.full && !self.names.has_directory(path) {
            return Err(FileError::Full);
        }
        unless(EEXIST, self.names.create_directory(path))
    }

    /// Takes an empty directory away, if there is one; durably once the directory that it was in is synced.
    pub(super) fn remove_directory(&mut self, path: &str) -> Result<(), FileError> {
        unless(ENOENT, self.names.remove_directory(path))
    }

    /// What a sync of a directory started now makes durable.
    pub(super) fn unsynced_names(&self, path: &str) -> Result<UnsyncedNames, FileError> {
        self.names.unsynced(path)
    }

    /// A sync of a directory completes.
    pub(super) fn finish_sync_directory(&mut self, unsynced: &UnsyncedNames) {
        self.names.finish_sync(unsynced);
    }

    /// What was made and removed in a directory is durable on return.
    pub(super) fn sync_directory(&mut self, path: &str) -> Result<(), FileError> {
        let unsynced = self.unsynced_names(path)?;
        self.finish_sync_directory(&unsynced);
        Ok(())
    }

    /// Reads as far as the file goes.
    pub(super) fn read(&self, inode: Inode, position: u64, buffer: &mut [u8]) -> usize {
        let bytes = self.files[inode.0].read(position as usize, buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    /// Takes a read up.
    ///
    /// # Errors
    /// What is wrong with it: it is not of whole blocks.
    pub(super) fn start_read(&self, inode: Inode, position: u64, length: usize) -> Result<Read, String> {
        if !position.is_multiple_of(BLOCK_BYTES)
            || !(length as u64).is_multiple_of(BLOCK_BYTES)
            || length == 0
        {
            return Err(format!("a read of {length} bytes at {position} is not of whole blocks"));
        }
        let before = self.files[inode.0].read(position as usize, length).to_vec();
        Ok(Read { inode, position, length, before })
    }

    /// The name that the file was made under of which a read was taken up.
    pub(super) fn name_of_read(&self, read: &Read) -> &str {
        self.files[read.inode.0].name()
    }

    /// A read completes. What was written since it was started, or is being written, it may have seen or not, sector by
    /// sector.
    pub(super) fn finish_read(&self, read: &Read, random: &mut Random) -> Vec<u8> {
        let from = read.position as usize;
        let mut bytes = self.files[read.inode.0].read(from, read.length).to_vec();
        if read.before.len() < bytes.len() && random.chance(500) {
            bytes.truncate(read.before.len());
        }
        overlay_some(&mut bytes, &read.before, random);
        for write in self.writes.values().filter(|write| write.inode == read.inode) {
            let start = write.position as usize;
            if let Some(skipped) = from.checked_sub(start) {
                overlay_some(&mut bytes, write.bytes.get(skipped..).unwrap_or_default(), random);
            } else if let Some(seen) = bytes.get_mut(start - from..) {
                overlay_some(seen, &write.bytes, random);
            }
        }
        bytes
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
        if self.full && end > file.cached().len() as u64 {
            return Ok(Err(FileError::Full));
        }
        match write.sync {
            WriteSync::Durable => file.put_durably(write.position as usize, &write.bytes),
            WriteSync::Deferred => file.put(write.position as usize, &write.bytes),
        }
        Ok(Ok(()))
    }

    /// A write fails: a part of it is there, in the cache or beyond.
    pub(super) fn fail_write(&mut self, id: WriteId, random: &mut Random) {
        if let Some(write) = self.writes.remove(&id) {
            self.files[write.inode.0].put_some(write.position as usize, &write.bytes, 500, random);
        }
    }

    /// What a sync started now makes durable.
    pub(super) fn unsynced(&self, inode: Inode) -> Unsynced {
        self.files[inode.0].unsynced()
    }

    /// A sync completes.
    pub(super) fn finish_sync(&mut self, inode: Inode, unsynced: &Unsynced) {
        self.files[inode.0].finish_sync(unsynced);
    }

    /// A sync fails: some sectors are taken for clean although they are not durable, and no later sync writes them.
    pub(super) fn fail_sync(&mut self, inode: Inode, random: &mut Random) {
        self.files[inode.0].fail_sync(random);
    }

    /// Writes into the cache.
    pub(super) fn write_cached(&mut self, inode: Inode, position: u64, bytes: &[u8]) {
        self.files[inode.0].put(position as usize, bytes);
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
            file.put_durably(position as usize, bytes);
        } else {
            file.put_some(position as usize, bytes, keep, random);
        }
    }

    /// Cuts a file, durably.
    pub(super) fn truncate(&mut self, inode: Inode, bytes: u64) {
        self.files[inode.0].truncate(bytes as usize);
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

    /// What the cache holds could not be written back: some of its sectors are taken for clean although they are not
    /// durable, and no later sync writes them.
    pub(super) fn fail_write_back(&mut self, random: &mut Random) {
        for file in &mut self.files {
            file.fail_sync(random);
        }
    }

    /// Power is gone: of all that was not durable a random part of the sectors, lengths and names is left.
    pub(super) fn handle_power_loss(&mut self, random: &mut Random) -> Loss {
        let mut loss = Loss::default();
        for file in &mut self.files {
            file.decide_emptied(random);
        }
        for write in core::mem::take(&mut self.writes).into_values() {
            let keep = *random.pick(&[0, 200, 500, 800, 1000]);
            let file = &mut self.files[write.inode.0];
            let kept = file.put_some(write.position as usize, &write.bytes, keep, random);
            if write.sync == WriteSync::Durable {
                loss.in_flight += 1;
                loss.torn += u64::from(kept > 0 && kept < write.bytes.len() / SECTOR_BYTES);
            }
        }
        for place in 0..self.files.len() {
            loss.stale += u64::from(self.settle_file(place, random));
        }
        self.names.handle_power_loss(random);
        loss
    }

    /// What is left of a file. Where a sector was lost that was never durable, the disk may show what another file once
    /// held there; says whether it does.
    fn settle_file(&mut self, place: usize, random: &mut Random) -> bool {
        if !self.files[place].has_unsynced() {
            return false;
        }
        let others: Vec<usize> = (0..place)
            .filter(|&other| may_show(self.files[place].name(), self.files[other].name()))
            .collect();
        let stale = (random.chance(400) && !others.is_empty()).then(|| *random.pick(&others));
        let stale = stale.map(|other| self.files[other].durable().to_vec());
        self.files[place].handle_power_loss(stale.as_deref(), random);
        stale.is_some()
    }

    /// Flips one bit of a log file where something was written. Says in which file, and where.
    pub(super) fn flip_in_log(&mut self, random: &mut Random) -> Option<(String, u64)> {
        let logs = self.list("logs");
        if logs.is_empty() {
            return None;
        }
        for _ in 0..16 {
            let path = format!("logs/{}", random.pick(&logs));
            if let Some(place) = self.flip(self.names.find(&path)?, random) {
                return Some((path, place));
            }
        }
        None
    }

    /// Flips one bit of a file if something was written there, and says where.
    pub(super) fn flip(&mut self, inode: Inode, random: &mut Random) -> Option<u64> {
        let file = &mut self.files[inode.0];
        if file.cached().is_empty() {
            return None;
        }
        let place = random.below(file.cached().len() as u64) as usize;
        let sector = place / SECTOR_BYTES * SECTOR_BYTES;
        if file.read(sector, SECTOR_BYTES).iter().all(|&byte| byte == 0) {
            return None;
        }
        file.flip(place, 1 << random.below(8));
        Some(place as u64)
    }

    /// The bytes of a file that read otherwise than they were written.
    pub(super) fn rotten(&self, inode: Inode) -> impl Iterator<Item = u64> {
        self.files[inode.0].rotten().map(|place| place as u64)
    }

    /// All of a file as it was written, whatever has rotted since.
    pub(super) fn written(&self, inode: Inode) -> Vec<u8> {
        self.files[inode.0].written()
    }
}

/// Done as well if it was done before: `already` is the error that says so.
fn unless(already: i32, result: Result<(), FileError>) -> Result<(), FileError> {
    match result {
        Err(FileError::Failed(errno)) if errno == already => Ok(()),
        result => result,
    }
}

/// Whether a file may show what an older one held: a log what one of an older generation held, a segment what any other
/// did.
fn may_show(file: &str, older: &str) -> bool {
    let generation = |name: &str| Some(parse_log_file_name(name)?.0);
    let is_segment = |name: &str| name.starts_with("partitions/");
    match (generation(older), generation(file)) {
        (Some(older), Some(newer)) => older < newer,
        _ => is_segment(older) && is_segment(file),
    }
}

/// Puts some sectors of `other` where they are in `bytes`, as far as that goes.
fn overlay_some(bytes: &mut [u8], other: &[u8], random: &mut Random) {
    for (sector, other) in bytes.chunks_mut(SECTOR_BYTES).zip(other.chunks(SECTOR_BYTES)) {
        let length = sector.len().min(other.len());
        if sector[..length] != other[..length] && random.chance(500) {
            sector[..length].copy_from_slice(&other[..length]);
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, |sum, word| (u64::rotate_left(sum, 7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
