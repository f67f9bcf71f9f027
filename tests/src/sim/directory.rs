//! The data directory as booting sees it, over the simulated disk: it may fail, and the process may end at any step.

use ringmain::boot::directory::{Directory, DirectoryError, ReadDirectory};
use ringmain_shard::event::FileError;

use super::disk::{Disk, EIO, ENOENT, ENOTEMPTY, Inode};
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
        match &mut self.steps_left {
            Some(0) => return Err(self.trouble(path, operation, Trouble::Ended)),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.random.chance(self.errors) {
            return Err(self.trouble(path, operation, Trouble::Failed));
        }
        Ok(())
    }

    fn trouble(&mut self, path: &str, operation: &'static str, trouble: Trouble) -> DirectoryError {
        self.trouble = Some(trouble);
        let errno = if trouble == Trouble::Full { ENOSPC } else { EIO };
        DirectoryError { path: path.to_owned(), operation, reason: format!("{trouble:?}"), errno }
    }

    /// The disk has refused something, which is the world's fault only if it has no room.
    fn refused(&mut self, path: &str, operation: &'static str, error: FileError) -> DirectoryError {
        let errno = match error {
            FileError::Full => return self.trouble(path, operation, Trouble::Full),
            FileError::NotEmpty => ENOTEMPTY,
            FileError::Failed(errno) => errno,
            FileError::Short | FileError::Exhausted => EIO,
        };
        DirectoryError { path: path.to_owned(), operation, reason: error.to_string(), errno }
    }

    fn file(&mut self, path: &str, operation: &'static str) -> Result<Inode, DirectoryError> {
        let found = self.disk.find(path);
        found.ok_or_else(|| self.refused(path, operation, FileError::Failed(ENOENT)))
    }

    /// The file to be written, which is made if it does not exist, if there is room for it up to `end`.
    fn file_with_room(&mut self, path: &str, end: u64) -> Result<Inode, DirectoryError> {
        let inode = match self.disk.find(path) {
            Some(inode) if self.disk.full && self.disk.file_bytes(inode) < end => Err(FileError::Full),
            Some(inode) => Ok(inode),
            None => self.disk.create(path),
        };
        inode.map_err(|error| self.refused(path, "write", error))
    }

    fn sync_names(&mut self, directory: &str, operation: &'static str) -> Result<(), DirectoryError> {
        let synced = self.disk.sync_directory(directory);
        synced.map_err(|error| self.refused(directory, operation, error))
    }

    /// Does what changes names at `path`, and makes it durable; where the process or the disk fails, it may be done all
    /// the same.
    fn change_names(
        &mut self,
        path: &str,
        operation: &'static str,
        change: impl FnOnce(&mut Disk) -> Result<(), FileError>,
    ) -> Result<(), DirectoryError> {
        let stepped = self.step(path, operation);
        if stepped.is_ok() || self.random.chance(500) {
            change(self.disk).map_err(|error| self.refused(path, operation, error))?;
        }
        stepped?;
        match self.disk.sync_directory(parent(path)) {
            // What is gone with the directory that it was in is gone.
            Err(FileError::Failed(ENOENT)) => Ok(()),
            synced => synced.map_err(|error| self.refused(path, operation, error)),
        }
    }
}

impl ReadDirectory for SimDirectory<'_> {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        Ok(self.disk.list(path))
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        Ok(self.disk.find(path).map(|inode| self.disk.file_bytes(inode)))
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let inode = self.file(path, "open")?;
        // A start reads so much that it would never come to its end.
        if self.random.chance(self.disk.read_errors / 20) {
            return Err(self.trouble(path, "read", Trouble::Failed));
        }
        Ok(self.disk.read(inode, position, buffer))
    }
}

impl Directory for SimDirectory<'_> {
    fn create_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            self.change_names(&path[..end], "create", |disk| disk.create_directory(&path[..end]))?;
        }
        Ok(())
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let stepped = self.step(path, "write");
        let inode = self.file_with_room(path, position + bytes.len() as u64)?;
        let keep = if stepped.is_ok() { 1000 } else { *self.random.pick(&[0, 300, 700, 999]) };
        self.disk.write_now(inode, position, bytes, keep, self.random);
        stepped?;
        self.sync_names(parent(path), "write")
    }

    fn write_deferred(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let stepped = self.step(path, "write");
        let inode = self.file_with_room(path, position + bytes.len() as u64)?;
        if stepped.is_ok() {
            self.disk.write_cached(inode, position, bytes);
        } else {
            let keep = *self.random.pick(&[0, 300, 700, 999]);
            self.disk.write_now(inode, position, bytes, keep, self.random);
        }
        stepped
    }

    fn sync(&mut self, path: &str) -> Result<(), DirectoryError> {
        let inode = self.file(path, "open")?;
        if let Err(error) = self.step(path, "sync") {
            if self.trouble == Some(Trouble::Failed) {
                self.disk.fail_sync(inode, self.random);
            }
            return Err(error);
        }
        let unsynced = self.disk.unsynced(inode);
        self.disk.finish_sync(inode, &unsynced);
        Ok(())
    }

    fn sync_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.step(path, "sync")?;
        self.sync_names(path, "sync")
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError> {
        self.step(path, "cut")?;
        let inode = self.file(path, "open")?;
        self.disk.truncate(inode, bytes);
        Ok(())
    }

    fn link(&mut self, path: &str, second: &str) -> Result<(), DirectoryError> {
        self.change_names(path, "link", |disk| disk.link(path, second))
    }

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.change_names(path, "remove", |disk| disk.remove(path))
    }

    fn remove_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.change_names(path, "remove", |disk| disk.remove_directory(path))
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4096;

    fn with<T>(disk: &mut Disk, seed: u64, work: impl FnOnce(&mut SimDirectory<'_>) -> T) -> T {
        work(&mut SimDirectory::new(disk, &mut Random::new(seed, 0), None, 0))
    }

    fn settle(directory: &mut SimDirectory<'_>) -> Result<(), DirectoryError> {
        directory.create_directory("partitions/a")?;
        directory.write_deferred("partitions/a/0.log", 0, &[1; BLOCK])?;
        directory.write_deferred("partitions/a/0.log", BLOCK as u64, &[2; BLOCK])
    }

    /// Whether a segment is whole after a loss of power, under many seeds.
    fn is_kept(more: impl Fn(&mut SimDirectory<'_>)) -> Vec<bool> {
        let whole = [[1; BLOCK], [2; BLOCK]].concat();
        let survives = |seed| {
            let mut disk = Disk::default();
            with(&mut disk, seed, |directory| {
                settle(directory).unwrap();
                more(directory);
            });
            disk.handle_power_loss(&mut Random::new(seed, 1));
            with(&mut disk, seed, |directory| {
                assert_eq!(directory.list("partitions"), Ok(vec!["a".to_owned()]), "made durably");
                let mut buffer = vec![0; 3 * BLOCK];
                directory.read("partitions/a/0.log", 0, &mut buffer).is_ok_and(|read| buffer[..read] == whole)
            })
        };
        (0..100).map(survives).collect()
    }

    #[test]
    fn a_deferred_write_needs_two_syncs_to_last() {
        let sync = |directory: &mut SimDirectory<'_>| directory.sync("partitions/a/0.log").unwrap();
        let sync_names = |directory: &mut SimDirectory<'_>| directory.sync_directory("partitions/a").unwrap();
        let both = |directory: &mut SimDirectory<'_>| {
            sync(directory);
            sync_names(directory);
        };
        for kept in [is_kept(|_| ()), is_kept(sync), is_kept(sync_names)] {
            assert!(kept.contains(&true) && kept.contains(&false), "{kept:?}");
        }
        assert!(is_kept(both).into_iter().all(|kept| kept));
    }

    #[test]
    fn a_start_that_ends_anywhere_can_be_done_again() {
        for (steps, seed) in (0..6).flat_map(|steps| (0..50).map(move |seed| (steps, seed))) {
            let mut disk = Disk::default();
            let mut random = Random::new(seed, 0);
            let mut directory = SimDirectory::new(&mut disk, &mut random, Some(steps), 0);
            let settled = settle(&mut directory).and_then(|()| directory.remove("partitions/a/0.log"));
            assert_eq!(settled.is_ok(), steps >= 5, "{steps} steps");
            assert_eq!(directory.trouble, settled.err().map(|_| Trouble::Ended));
            disk.handle_power_loss(&mut random);
            with(&mut disk, seed, |directory| {
                settle(directory).unwrap();
                for _ in 0..2 {
                    directory.remove("partitions/a/0.log").unwrap();
                    directory.remove_directory("partitions/a").unwrap();
                }
                assert_eq!(directory.list("partitions"), Ok(Vec::new()));
            });
            disk.handle_power_loss(&mut random);
            assert_eq!(disk.list("partitions"), Vec::<String>::new(), "removed durably");
        }
    }

    #[test]
    fn reads_fail_only_where_they_are_to() {
        let mut disk = Disk::default();
        with(&mut disk, 0, settle).unwrap();
        disk.read_errors = 500;
        with(&mut disk, 0, |directory| {
            let read =
                |directory: &mut SimDirectory<'_>| directory.read("partitions/a/0.log", 0, &mut [0; 8]);
            let errors: Vec<_> = (0..50).filter_map(|_| read(directory).err()).collect();
            assert!((1..50).contains(&errors.len()) && errors.iter().all(|error| error.errno == EIO));
            assert_eq!(directory.trouble, Some(Trouble::Failed));
            settle(directory).unwrap();
        });
    }

    #[test]
    fn what_is_missing_is_nobodys_fault_but_ours() {
        let mut disk = Disk::default();
        with(&mut disk, 0, |directory| {
            for missing in [
                directory.read("nowhere", 0, &mut [0; 8]).map(drop),
                directory.sync("nowhere"),
                directory.sync_directory("nowhere"),
                directory.write_deferred("nowhere/file", 0, &[0; 8]),
            ] {
                assert_eq!(missing.unwrap_err().errno, ENOENT);
            }
            assert_eq!(directory.trouble, None);
        });
        disk.full = true;
        with(&mut disk, 0, |directory| {
            assert_eq!(settle(directory).unwrap_err().errno, ENOSPC);
            assert_eq!(directory.trouble, Some(Trouble::Full));
        });
    }
}
