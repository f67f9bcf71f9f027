//! The file that the probes write: preallocated, zero-written, O_DIRECT, and without a name from its first moment.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::aligned::AlignedBuffer;
use super::error::LimitError;
use crate::host::Mount;

const ZERO_BYTES: usize = 1024 * 1024;
/// How the file is called for the moment in which it has a name.
pub(super) const NAME_PREFIX: &str = ".ringmain-limit-";
/// Tells the files of one process apart.
static FILES: AtomicU32 = AtomicU32::new(0);
/// Filesystems in memory: they take the write and the sync, and keep nothing.
const VOLATILE_FILESYSTEMS: [&str; 2] = ["tmpfs", "ramfs"];

/// Zeroes on disk, to be overwritten as the broker's log is. Nothing of it is left when the process is gone.
#[derive(Debug)]
pub(super) struct ProbeFile {
    file: OwnedFd,
    directory: PathBuf,
    length: u64,
}

impl ProbeFile {
    /// Writes `length` bytes of zeroes, synced, to a file in `directory` that has no name any more.
    pub(super) fn create(directory: &Path, length: u64) -> Result<Self, LimitError> {
        let filesystem = Mount::of(directory).map_or_else(|_| "unknown".to_owned(), |mount| mount.filesystem);
        if VOLATILE_FILESYSTEMS.contains(&filesystem.as_str()) {
            return Err(LimitError::NotDurable { directory: directory.to_owned(), filesystem });
        }
        let file = open_unlinked(directory).map_err(|errno| match errno {
            Errno::INVAL => LimitError::NoDirectIo { directory: directory.to_owned(), filesystem },
            errno => file_error("creating the probe file", directory)(errno.into()),
        })?;
        zero_write(&file, length).map_err(file_error("preparing the probe file", directory))?;
        Ok(Self { file, directory: directory.to_owned(), length })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where the next sequential transfer of `length` bytes goes when the last one ended at `position`: there, or at
    /// the start when the file ends before it would.
    pub(super) fn place(&self, position: u64, length: usize) -> u64 {
        if position + length as u64 > self.length { 0 } else { position }
    }

    /// Names the file in an error.
    pub(super) fn error(&self, during: &'static str) -> impl FnOnce(io::Error) -> LimitError {
        file_error(during, &self.directory)
    }

    /// Another handle to the same file, for another thread.
    pub(super) fn try_clone(&self) -> Result<Self, LimitError> {
        let file = self.file.try_clone().map_err(self.error("sharing the probe file"))?;
        Ok(Self { file, directory: self.directory.clone(), length: self.length })
    }
}

fn open_unlinked(directory: &Path) -> Result<OwnedFd, Errno> {
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!("{NAME_PREFIX}{}-{number}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    // Also after a failure: some filesystems create the file before they refuse O_DIRECT.
    if !matches!(opened, Err(Errno::EXIST)) {
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    opened
}

fn zero_write(file: &OwnedFd, length: u64) -> io::Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?;
    let zeroes = AlignedBuffer::zeroed(ZERO_BYTES);
    let mut position = 0;
    while position < length {
        let rest = usize::try_from(length - position).unwrap_or(usize::MAX).min(ZERO_BYTES);
        write_at(file.as_fd(), &zeroes[..rest], position, ReadWriteFlags::empty())?;
        position += rest as u64;
    }
    File::from(file.try_clone()?).sync_all()
}

/// A blocking write of all of `bytes`; a short one is an error.
pub(super) fn write_at(
    file: BorrowedFd<'_>,
    bytes: &[u8],
    position: u64,
    flags: ReadWriteFlags,
) -> io::Result<()> {
    let written = rustix::io::pwritev2(file, &[IoSlice::new(bytes)], position, flags)?;
    if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn file_error(during: &'static str, directory: &Path) -> impl FnOnce(io::Error) -> LimitError {
    let directory = directory.to_owned();
    move |error| LimitError::File { during, directory, error }
}
