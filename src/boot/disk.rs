//! The real data directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::directory::{Directory, DirectoryError};
use super::identity::SUPERBLOCK;

/// Held by a running broker.
const LOCK: &str = "lock";

/// A data directory that this process has to itself.
#[derive(Debug)]
pub struct DataDirectory {
    root: PathBuf,
    /// The file that was read last, kept open: replay reads a file a piece at a time.
    open: Option<(String, File)>,
    /// Released when the process ends, however it ends.
    _lock: File,
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
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let holder = io::read_to_string(&lock).unwrap_or_default().trim().to_owned();
                return Err(LockError::Held { holder });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock the data directory")(error)),
        }
        // Only for people; on a full disk it is left out.
        let holder = format!("process {}\n", std::process::id());
        let _ = lock.set_len(0).and_then(|()| lock.write_all_at(holder.as_bytes(), 0));
        Ok(Self { root: root.to_owned(), open: None, _lock: lock })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file(&mut self, path: &str) -> Result<&File, DirectoryError> {
        let file = match self.open.take() {
            Some((open, file)) if open == path => file,
            _ => File::open(self.root.join(path)).map_err(|error| self.failed(path, "open", &error))?,
        };
        Ok(&self.open.insert((path.to_owned(), file)).1)
    }

    fn sync_parent(&self, path: &str) -> io::Result<()> {
        let absolute = self.root.join(path);
        File::open(absolute.parent().unwrap_or(&self.root))?.sync_all()
    }

    fn failed(&self, path: &str, operation: &'static str, error: &io::Error) -> DirectoryError {
        described(&self.root.join(path).display().to_string(), operation, error)
    }
}

/// Something in a directory that no broker has ever used, and that is not a broker's.
fn find_stranger(root: &Path) -> io::Result<Option<String>> {
    /// What a start makes before the superblock, and what a new filesystem has.
    const EXPECTED: &[&str] = &[LOCK, "logs", "checkpoint", ".direct-io-probe", "lost+found"];
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

fn described(path: &str, operation: &'static str, error: &io::Error) -> DirectoryError {
    DirectoryError {
        path: path.to_owned(),
        operation,
        reason: error.to_string(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

impl Directory for DataDirectory {
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
        let file = self.file(path)?;
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

    fn create_directory(&mut self, path: &str) -> Result<(), DirectoryError> {
        let made = fs::create_dir_all(self.root.join(path)).and_then(|()| self.sync_parent(path));
        made.map_err(|error| self.failed(path, "create", &error))
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let write = || {
            let absolute = self.root.join(path);
            let is_new = !absolute.exists();
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(absolute)?;
            file.write_all_at(bytes, position)?;
            file.sync_data()?;
            if is_new { self.sync_parent(path) } else { Ok(()) }
        };
        write().map_err(|error| self.failed(path, "write", &error))
    }

    fn sync(&mut self, path: &str) -> Result<(), DirectoryError> {
        let synced = self.file(path)?.sync_data();
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

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.open = None;
        let removed = fs::remove_file(self.root.join(path)).and_then(|()| self.sync_parent(path));
        removed.map_err(|error| self.failed(path, "remove", &error))
    }
}
