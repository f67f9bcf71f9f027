//! A disk in memory that carries out file operations one at a time, and forgets what was not synced when power is lost.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_wal::block::is_whole_blocks;
use ringmain_wal::names::PARTITIONS_DIRECTORY;

use crate::effect::{FileId, FileOperation, FileToken, OpenMode, WriteSync};
use crate::event::{FileError, FileOutcome};
use crate::store::LOG_DIRECTORY;

/// What the operating system says of a missing file, and of a name that is taken.
const MISSING: FileError = FileError::Failed(2);
const TAKEN: FileError = FileError::Failed(17);

/// Files, directories, and what is under way on them.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    names: Names,
    names_synced: Names,
    inodes: Vec<Inode>,
    open: BTreeMap<FileId, usize>,
    under_way: Vec<(FileToken, FileOperation)>,
    /// Bytes of files beyond which there is no room.
    pub(super) bytes_max: usize,
    /// A bit was ever flipped.
    pub(super) has_rotted: bool,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let directories = BTreeSet::from([LOG_DIRECTORY.to_owned(), PARTITIONS_DIRECTORY.to_owned()]);
        let names = Names { files: BTreeMap::new(), directories };
        Self {
            names_synced: names.clone(),
            names,
            inodes: Vec::new(),
            open: BTreeMap::new(),
            under_way: Vec::new(),
            bytes_max: usize::MAX,
            has_rotted: false,
        }
    }

    /// Takes an operation; it is carried out when it is [completed](Self::complete). A number is free again as soon as its
    /// file is being closed.
    pub(super) fn start(&mut self, token: FileToken, operation: FileOperation) {
        match &operation {
            FileOperation::Close { file } => {
                let is_on = |other: &FileOperation| match other {
                    FileOperation::Write { file: used, .. }
                    | FileOperation::Read { file: used, .. }
                    | FileOperation::Sync { file: used } => used == file,
                    _ => false,
                };
                assert!(
                    !self.under_way.iter().any(|(_, other)| is_on(other)),
                    "{file:?} is closed while in use"
                );
                assert!(self.open.remove(file).is_some(), "{file:?} is not open");
            }
            FileOperation::Open { file, .. } => {
                let is_opening = |other: &FileOperation| matches!(other, FileOperation::Open { file: opening, .. } if opening == file);
                let is_taken =
                    self.open.contains_key(file) || self.under_way.iter().any(|(_, other)| is_opening(other));
                assert!(!is_taken, "{file:?} is open already");
            }
            FileOperation::Write { file, position, bytes, .. } => {
                assert!(self.open.contains_key(file), "{file:?} is not open");
                let is_aligned = bytes.as_ptr().addr().is_multiple_of(4096);
                assert!(is_aligned && is_whole_blocks(*position) && is_whole_blocks(bytes.len() as u64));
            }
            FileOperation::Read { file, position, length } => {
                assert!(self.open.contains_key(file), "{file:?} is not open");
                assert!(is_whole_blocks(*position) && is_whole_blocks((*length).into()));
            }
            _ => {}
        }
        self.under_way.push((token, operation));
    }

    /// What is under way, in the order in which it was started.
    pub(super) fn under_way(&self) -> &[(FileToken, FileOperation)] {
        &self.under_way
    }

    /// Carries out the operation in this place.
    pub(super) fn complete(&mut self, place: usize) -> (FileToken, Result<FileOutcome, FileError>) {
        let (token, operation) = self.under_way.remove(place);
        (token, self.carry_out(operation))
    }

    /// Ends the operation in this place as a failing device does.
    pub(super) fn fail(
        &mut self,
        place: usize,
        error: FileError,
    ) -> (FileToken, Result<FileOutcome, FileError>) {
        (self.under_way.remove(place).0, Err(error))
    }

    /// The process is gone: nothing is open or under way any more.
    pub(super) fn kill(&mut self) {
        self.open.clear();
        self.under_way.clear();
    }

    /// Everything is forgotten that was not synced.
    pub(super) fn lose_power(&mut self) {
        self.kill();
        self.names = self.names_synced.clone();
        self.inodes.iter_mut().for_each(|inode| inode.bytes.clone_from(&inode.synced));
    }

    /// Paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.names.files.keys().map(String::as_str)
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.names.files.get(path).map(|&inode| self.inodes[inode].bytes.as_slice())
    }

    /// A person puts an empty file there.
    pub(super) fn put(&mut self, path: &str) {
        self.inodes.push(Inode::default());
        self.names.files.insert(path.to_owned(), self.inodes.len() - 1);
    }

    /// Flips the lowest bit of a byte of a file, which has lain there for long.
    pub(super) fn flip(&mut self, path: &str, position: usize) {
        let inode = &mut self.inodes[self.names.files[path]];
        inode.bytes[position] ^= 1;
        inode.synced = inode.bytes.clone();
        self.has_rotted = true;
    }

    /// A start makes durable what it found in logs.
    pub(super) fn sync_logs(&mut self) {
        for (_, &inode) in self.names.files.iter().filter(|(path, _)| path.starts_with(LOG_DIRECTORY)) {
            let inode = &mut self.inodes[inode];
            inode.synced.clone_from(&inode.bytes);
        }
    }

    /// Removes every file for which `is_kept` does not hold, for certain.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.names.files.retain(|path, _| is_kept(path));
        self.names_synced = self.names.clone();
    }

    fn carry_out(&mut self, operation: FileOperation) -> Result<FileOutcome, FileError> {
        match operation {
            FileOperation::Open { file, path, mode } => {
                let inode = self.open_inode(path, mode)?;
                self.open.insert(file, inode);
            }
            FileOperation::Write { file, position, bytes, sync } => {
                let inode = self.open[&file];
                let (start, end) = (position as usize, position as usize + bytes.len());
                let grown = end.saturating_sub(self.inodes[inode].bytes.len());
                if grown > 0 && self.used_bytes() + grown > self.bytes_max {
                    return Err(FileError::Full);
                }
                let Inode { bytes: current, synced } = &mut self.inodes[inode];
                let copies = if sync == WriteSync::Durable { vec![current, synced] } else { vec![current] };
                for copy in copies {
                    copy.resize(copy.len().max(end), 0);
                    copy[start..end].copy_from_slice(&bytes);
                }
            }
            FileOperation::Read { file, position, length } => {
                let bytes = &self.inodes[self.open[&file]].bytes;
                let start = bytes.len().min(position as usize);
                let end = bytes.len().min(start + length as usize);
                return Ok(FileOutcome::Read(Bytes::copy_from_slice(&bytes[start..end])));
            }
            FileOperation::Sync { file } => {
                let inode = &mut self.inodes[self.open[&file]];
                inode.synced.clone_from(&inode.bytes);
            }
            FileOperation::SyncDirectory { path } => {
                let synced = &mut self.names_synced;
                let is_here =
                    |name: &str| name.rsplit_once('/').map_or("", |(directory, _)| directory) == path;
                synced.files.retain(|name, _| !is_here(name));
                synced.directories.retain(|name| !is_here(name));
                let files = self.names.files.iter().filter(|(name, _)| is_here(name));
                synced.files.extend(files.map(|(name, &inode)| (name.clone(), inode)));
                let directories = self.names.directories.iter().filter(|name| is_here(name));
                synced.directories.extend(directories.cloned());
            }
            FileOperation::Close { .. } => {}
            FileOperation::Remove { path } => {
                self.names.files.remove(&path);
            }
            FileOperation::CreateDirectory { path } => {
                self.names.directories.insert(path);
            }
            FileOperation::RemoveDirectory { path } => {
                let within = format!("{path}/");
                if self.names.files.keys().any(|name| name.starts_with(&within)) {
                    return Err(FileError::NotEmpty);
                }
                self.names.directories.remove(&path);
            }
        }
        Ok(FileOutcome::Done)
    }

    fn open_inode(&mut self, path: String, mode: OpenMode) -> Result<usize, FileError> {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if !self.names.directories.contains(directory) {
            return Err(MISSING);
        }
        let found = self.names.files.get(&path).copied();
        match (mode, found) {
            (OpenMode::Read | OpenMode::Write, None) => Err(MISSING),
            (OpenMode::Create, Some(_)) => Err(TAKEN),
            (OpenMode::Read | OpenMode::Write, Some(inode)) => Ok(inode),
            (OpenMode::Replace, Some(inode)) => {
                self.inodes[inode].bytes.clear();
                Ok(inode)
            }
            (OpenMode::Create | OpenMode::Replace, None) => {
                self.inodes.push(Inode::default());
                self.names.files.insert(path, self.inodes.len() - 1);
                Ok(self.inodes.len() - 1)
            }
        }
    }

    fn used_bytes(&self) -> usize {
        self.names.files.values().map(|&inode| self.inodes[inode].bytes.len()).sum()
    }
}
