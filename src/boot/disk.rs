//! The real data directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::directory::{Directory, DirectoryError, ReadDirectory};
use super::identity::SUPERBLOCK;

/// Held by a running broker.
const LOCK: &str = "lock";

/// A data directory that this process has to itself.
#[derive(Debug)]
pub struct DataDirectory {
    root: PathBuf,
    /// The file that was used last, kept open: files are read and written a piece at a time. What was written through it
    /// is synced through it, so that no error is lost in between.
    open: Option<OpenFile>,
    /// Released when the process ends, however it ends. None where no broker ever was and nothing may be made.
    _lock: Option<File>,
}

/// A data directory that no broker has meanwhile, and in which nothing is ever written.
#[derive(Debug)]
pub struct StoppedDirectory(DataDirectory);

#[derive(Debug)]
struct OpenFile {
    path: String,
    file: File,
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It exists and is only read.
    Read,
    /// Read and written, and made if it does not exist.
    Write,
}

/// Why a data directory cannot be had.
#[derive(Debug)]
pub enum LockError {
    /// Another broker has it.
    Held {
        /// What that broker said of itself.
        holder: String,
    },
    /// It holds something else than a broker's data.
    Foreign {
        /// One of the names in it.
        stranger: String,
    },
    /// It cannot be made or opened.
    Failed(DirectoryError),
}

impl DataDirectory {
    /// Makes the directory if it does not exist, and locks it.
    ///
    /// # Errors
    /// When another broker has it, or it cannot be made or written.
    pub fn lock(root: &Path) -> Result<Self, LockError> {
        let failed = |operation| {
            move |error: io::Error| {
                LockError::Failed(described(&root.display().to_string(), operation, &error))
            }
        };
        fs::create_dir_all(root).map_err(failed("create the data directory"))?;
        // The name of a new directory has to last too.
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(failed("sync the parent of the data directory"))?;
        if let Some(stranger) = find_stranger(root).map_err(failed("list the data directory"))? {
            return Err(LockError::Foreign { stranger });
        }
        let path = root.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed("lock the data directory"))?;
        check_locked(root, &lock, lock.try_lock())?;
        // Only for people; on a full disk it is left out.
        let holder = format!("process {}\n", std::process::id());
        let _ = lock.set_len(0).and_then(|()| lock.write_all_at(holder.as_bytes(), 0));
        Ok(Self { root: root.to_owned(), open: None, _lock: Some(lock) })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file(&mut self, path: &str, access: Access) -> Result<&File, DirectoryError> {
        let serves = |open: &OpenFile| open.path == path && (open.access == access || access == Access::Read);
        let open = match self.open.take().filter(serves) {
            Some(open) => open,
            None => {
                let is_written = access == Access::Write;
                let file = OpenOptions::new()
                    .read(true)
                    .write(is_written)
                    .create(is_written)
                    .truncate(false)
                    .open(self.root.join(path))
                    .map_err(|error| self.failed(path, "open", &error))?;
                OpenFile { path: path.to_owned(), file, access }
            }
        };
        Ok(&self.open.insert(open).file)
    }

    /// Makes durable what was made or removed at `path`, where the directory that it was in may be gone as well.
    fn sync_parent(&self, path: &str) -> io::Result<()> {
        for parent in Path::new(path).ancestors().skip(1) {
            match File::open(self.root.join(parent)) {
                Ok(parent) => return parent.sync_all(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn failed(&self, path: &str, operation: &'static str, error: &io::Error) -> DirectoryError {
        described(&self.root.join(path).display().to_string(), operation, error)
    }
}

impl StoppedDirectory {
    /// Locks the directory as it is. Others may read it at the same time; no broker can be started on it.
    ///
    /// # Errors
    /// When a broker has it, or it cannot be read.
    pub fn lock(root: &Path) -> Result<Self, LockError> {
        let failed = |error| {
            LockError::Failed(described(&root.display().to_string(), "read the data directory", &error))
        };
        fs::read_dir(root).map_err(failed)?;
        let lock = match File::open(root.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(lock) = &lock {
            check_locked(root, lock, lock.try_lock_shared())?;
        }
        Ok(Self(DataDirectory { root: root.to_owned(), open: None, _lock: lock }))
    }
}

/// What came of trying to lock.
fn check_locked(root: &Path, lock: &File, tried: Result<(), fs::TryLockError>) -> Result<(), LockError> {
    match tried {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => {
            let holder = io::read_to_string(lock).unwrap_or_default().trim().to_owned();
            Err(LockError::Held { holder })
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(LockError::Failed(described(&root.display().to_string(), "lock the data directory", &error)))
        }
    }
}

/// Something in a directory that no broker has ever used, and that is not a broker's.
fn find_stranger(root: &Path) -> io::Result<Option<String>> {
    /// What a start makes before the superblock, and what a new filesystem has.
    const EXPECTED: &[&str] = &[LOCK, "logs", "partitions", "checkpoint", ".direct-io-probe", "lost+found"];
    if root.join(SUPERBLOCK).exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !EXPECTED.contains(&name.as_str()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// What is missing was removed before.
fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn described(path: &str, operation: &'static str, error: &io::Error) -> DirectoryError {
    DirectoryError {
        path: path.to_owned(),
        operation,
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

impl ReadDirectory for DataDirectory {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        let failed = |error: io::Error| self.failed(path, "list", &error);
        let entries = match fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        match fs::metadata(self.root.join(path)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(path, "look at", &error)),
        }
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let file = self.file(path, Access::Read)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(path, "read", &error)),
            }
        }
        Ok(filled)
    }
}

impl Directory for DataDirectory {
    fn create_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        let sync = |parent: &Path| File::open(self.root.join(parent))?.sync_all();
        let made = fs::create_dir_all(self.root.join(path))
            .and_then(|()| Path::new(path).ancestors().skip(1).try_for_each(sync));
        made.map_err(|error| self.failed(path, "create", &error))
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        self.write_deferred(path, position, bytes)?;
        self.sync(path)?;
        // A file that was there may be one whose making was cut off before this.
        self.sync_parent(path).map_err(|error| self.failed(path, "write", &error))
    }

    fn write_deferred(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let written = self.file(path, Access::Write)?.write_all_at(bytes, position);
        written.map_err(|error| self.failed(path, "write", &error))
    }

    fn sync(&mut self, path: &str) -> Result<(), DirectoryError> {
        let synced = self.file(path, Access::Read)?.sync_data();
        synced.map_err(|error| self.failed(path, "sync", &error))
    }

    fn sync_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        let synced = File::open(self.root.join(path)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.failed(path, "sync", &error))
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError> {
        let cut = || {
            let file = OpenOptions::new().write(true).open(self.root.join(path))?;
            file.set_len(bytes)?;
            file.sync_all()
        };
        cut().map_err(|error| self.failed(path, "cut", &error))
    }

    fn link(&mut self, path: &str, second: &str) -> Result<(), DirectoryError> {
        let linked = match fs::hard_link(self.root.join(path), self.root.join(second)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        };
        linked.and_then(|()| self.sync_parent(second)).map_err(|error| self.failed(path, "link", &error))
    }

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.open = None;
        let removed =
            unless_missing(fs::remove_file(self.root.join(path))).and_then(|()| self.sync_parent(path));
        removed.map_err(|error| self.failed(path, "remove", &error))
    }

    fn remove_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.open = None;
        let removed =
            unless_missing(fs::remove_dir(self.root.join(path))).and_then(|()| self.sync_parent(path));
        removed.map_err(|error| self.failed(path, "remove", &error))
    }
}

impl ReadDirectory for StoppedDirectory {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        self.0.list(path)
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        self.0.file_bytes(path)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        self.0.read(path, position, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, DataDirectory) {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::lock(root.path()).unwrap();
        (root, directory)
    }

    fn contents(directory: &mut DataDirectory, path: &str) -> Vec<u8> {
        let mut buffer = [0; 64];
        let read = directory.read(path, 0, &mut buffer).unwrap();
        buffer[..read].to_vec()
    }

    #[test]
    fn a_segment_is_written_in_pieces_between_reads() {
        let (_root, mut directory) = directory();
        directory.create_directory("partitions/a").unwrap();
        let path = "partitions/a/0.log";
        directory.write_deferred(path, 0, b"first ").unwrap();
        directory.write_deferred(path, 6, b"second").unwrap();
        assert_eq!(contents(&mut directory, path), b"first second");
        directory.write_deferred("partitions/a/6.log", 0, b"other").unwrap();
        assert_eq!(contents(&mut directory, path), b"first second");
        directory.write_deferred(path, 6, b"third ").unwrap();
        directory.sync(path).unwrap();
        directory.sync_directory("partitions/a").unwrap();
        assert_eq!(contents(&mut directory, path), b"first third ");
        assert_eq!(directory.file_bytes(path), Ok(Some(12)));
        let mut names = directory.list("partitions/a").unwrap();
        names.sort();
        assert_eq!(names, ["0.log", "6.log"]);
    }

    #[test]
    fn removing_twice_is_as_removing_once() {
        let (_root, mut directory) = directory();
        directory.create_directory("partitions/a").unwrap();
        directory.write("partitions/a/0.log", 0, b"bytes").unwrap();
        let error = directory.remove_directory("partitions/a").unwrap_err();
        assert_eq!(error.errno, 39, "something is in it: {error}");
        for _ in 0..2 {
            directory.remove("partitions/a/0.log").unwrap();
        }
        for _ in 0..2 {
            directory.remove_directory("partitions/a").unwrap();
        }
        directory.remove("partitions/a/0.log").unwrap();
        assert_eq!(directory.list("partitions"), Ok(Vec::new()));
        assert_eq!(directory.sync_directory("partitions/a").unwrap_err().errno, 2);
        directory.sync_directory("").unwrap();
    }

    #[test]
    fn a_stopped_directory_is_refused_to_brokers_and_a_running_one_to_readers() {
        let (root, running) = directory();
        let held = |error| matches!(error, LockError::Held { holder } if holder.starts_with("process "));
        assert!(held(StoppedDirectory::lock(root.path()).unwrap_err()));
        drop(running);
        let stopped = StoppedDirectory::lock(root.path()).unwrap();
        let _another = StoppedDirectory::lock(root.path()).unwrap();
        assert!(held(DataDirectory::lock(root.path()).unwrap_err()));
        drop(stopped);
    }

    #[test]
    fn locking_a_stopped_directory_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(StoppedDirectory::lock(root.path()).unwrap().list(""), Ok(Vec::new()));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let missing = root.path().join("missing");
        assert!(matches!(StoppedDirectory::lock(&missing), Err(LockError::Failed(_))));
        assert!(!missing.exists());
    }

    #[test]
    fn a_file_made_again_is_not_read_through_the_one_removed() {
        let (_root, mut directory) = directory();
        let path = "segment";
        directory.write_deferred(path, 0, b"old").unwrap();
        assert_eq!(contents(&mut directory, path), b"old");
        directory.remove(path).unwrap();
        assert!(directory.read(path, 0, &mut [0; 8]).is_err());
        assert!(directory.sync(path).is_err(), "nor made by syncing it");
        directory.write(path, 0, b"made again").unwrap();
        assert_eq!(contents(&mut directory, path), b"made again");
    }
}
