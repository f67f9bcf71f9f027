//! What booting needs of a data directory. Blocking: nothing is served yet.

use core::fmt;

/// A data directory that is read. Paths are relative to it.
pub trait ReadDirectory {
    /// Names of files and directories in directory `path`, in any order; none if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError>;

    /// Bytes of a file; `None` if it does not exist.
    ///
    /// # Errors
    /// When that cannot be known.
    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError>;

    /// Fills `buffer` from `position` on as far as the file goes, and says how far.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError>;
}

/// A data directory that is written as well.
pub trait Directory: ReadDirectory {
    /// Makes sure that `path` is a directory, and those that it lies in, durably.
    ///
    /// # Errors
    /// When it cannot be made.
    fn create_directory(&mut self, path: &str) -> Result<(), DirectoryError>;

    /// Writes whole blocks at a block of a file, which is made, durably, if it does not exist; durable on return.
    ///
    /// # Errors
    /// When that failed; then nothing is known of these blocks.
    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError>;

    /// Writes whole blocks at a block of a file, which is made if it does not exist. A crash may undo all or some of it:
    /// what was written is durable after [`sync`](Self::sync), a name that was made after
    /// [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// When that failed; then nothing is known of these blocks.
    fn write_deferred(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError>;

    /// What was ever written to a file is durable on return.
    ///
    /// # Errors
    /// When that failed.
    fn sync(&mut self, path: &str) -> Result<(), DirectoryError>;

    /// Names made and removed in directory `path`, empty for the whole, are durable on return.
    ///
    /// # Errors
    /// When that failed.
    fn sync_directory(&mut self, path: &str) -> Result<(), DirectoryError>;

    /// Cuts a file to `bytes`, durably.
    ///
    /// # Errors
    /// When that failed.
    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError>;

    /// Gives the file `path` a second name in its directory, durably; done as well where that name is taken.
    ///
    /// # Errors
    /// When that failed.
    fn link(&mut self, path: &str, second: &str) -> Result<(), DirectoryError>;

    /// Makes sure that there is no file `path`, durably.
    ///
    /// # Errors
    /// When that failed.
    fn remove(&mut self, path: &str) -> Result<(), DirectoryError>;

    /// Makes sure that there is no directory `path`, durably; it is empty.
    ///
    /// # Errors
    /// When that failed, or something is in it.
    fn remove_directory(&mut self, path: &str) -> Result<(), DirectoryError>;
}

/// Work on a data directory failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryError {
    /// The file or directory.
    pub path: String,
    /// What was to be done.
    pub operation: &'static str,
    /// What the operating system said.
    pub reason: String,
    /// Its number for it, 0 if there is none.
    pub errno: i32,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot {} {}: {}", self.operation, self.path, self.reason)
    }
}

impl core::error::Error for DirectoryError {}
