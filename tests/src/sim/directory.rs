//! The data directory as booting sees it, over the simulated disk: it may fail, and the process may end at any step.

use ringmain::boot::directory::{Directory, DirectoryError};

use super::disk::{Disk, EIO};
use super::random::Random;

const ENOSPC: i32 = 28;

/// The data directory during one start.
#[derive(Debug)]
pub(super) struct SimDirectory<'a> {
    disk: &'a mut Disk,
    random: &'a mut Random,
    /// The process ends at that step.
    steps_left: Option<u64>,
    /// Per thousand steps that fail.
    errors: u64,
    /// What became of the start.
    pub(super) trouble: Option<Trouble>,
}

/// Why a start could not go on, as far as it is the world's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The process ended.
    Ended,
    /// The disk failed.
    Failed,
    /// The disk had no room.
    Full,
}

impl<'a> SimDirectory<'a> {
    pub(super) fn new(
        disk: &'a mut Disk,
        random: &'a mut Random,
        steps_left: Option<u64>,
        errors: u64,
    ) -> Self {
        Self { disk, random, steps_left, errors, trouble: None }
    }

    /// One step that changes the disk; fails where the process or the disk does.
    fn step(&mut self, path: &str, operation: &'static str) -> Result<(), DirectoryError> {
        if let Some(left) = &mut self.steps_left {
            if *left == 0 {
                self.trouble = Some(Trouble::Ended);
            } else {
                *left -= 1;
            }
        }
        if self.trouble.is_none() && self.random.chance(self.errors) {
            self.trouble = Some(Trouble::Failed);
        }
        match self.trouble {
            None => Ok(()),
            Some(trouble) => Err(error(path, operation, trouble)),
        }
    }
}

impl Directory for SimDirectory<'_> {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        Ok(self.disk.list(path))
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        Ok(self.disk.find(path).map(|inode| self.disk.file_bytes(inode)))
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let inode = self.disk.find(path).ok_or_else(|| error(path, "open", Trouble::Failed))?;
        Ok(self.disk.read(inode, position, buffer))
    }

    fn create_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.step(path, "create")
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let stepped = self.step(path, "write");
        let known = self.disk.find(path);
        if self.disk.full
            && known.is_none_or(|inode| self.disk.file_bytes(inode) < position + bytes.len() as u64)
        {
            self.trouble = Some(Trouble::Full);
            return Err(error(path, "write", Trouble::Full));
        }
        let inode = known.unwrap_or_else(|| self.disk.create(path));
        let keep = if stepped.is_ok() { 1000 } else { *self.random.pick(&[0, 300, 700, 999]) };
        self.disk.write_now(inode, position, bytes, keep, self.random);
        stepped?;
        self.disk.sync_directory(parent(path));
        Ok(())
    }

    fn sync(&mut self, path: &str) -> Result<(), DirectoryError> {
        let inode = self.disk.find(path).ok_or_else(|| error(path, "open", Trouble::Failed))?;
        if let Err(error) = self.step(path, "sync") {
            if self.trouble == Some(Trouble::Failed) {
                self.disk.fail_sync(inode, self.random);
            }
            return Err(error);
        }
        let dirty = self.disk.dirty(inode);
        self.disk.finish_sync(inode, &dirty);
        Ok(())
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError> {
        self.step(path, "cut")?;
        let inode = self.disk.find(path).ok_or_else(|| error(path, "open", Trouble::Failed))?;
        self.disk.truncate(inode, bytes);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        let stepped = self.step(path, "remove");
        if stepped.is_ok() || self.random.chance(500) {
            self.disk.remove(path).map_err(|_| error(path, "remove", Trouble::Failed))?;
        }
        stepped?;
        self.disk.sync_directory(parent(path));
        Ok(())
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn error(path: &str, operation: &'static str, trouble: Trouble) -> DirectoryError {
    let errno = if trouble == Trouble::Full { ENOSPC } else { EIO };
    DirectoryError { path: path.to_owned(), operation, reason: format!("{trouble:?}"), errno }
}
