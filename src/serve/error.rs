//! Why a broker cannot start or go on, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringmain_shard::ring::RingError;
use rustix::io::Errno;

use crate::boot::BootError;
use crate::boot::directory::DirectoryError;
use crate::boot::disk::LockError;

/// Why a broker cannot start or go on.
#[derive(Debug)]
pub enum ServeError {
    /// Another broker has the data directory.
    Locked {
        /// The directory.
        path: PathBuf,
        /// What that broker said of itself.
        holder: String,
    },
    /// The data directory holds something else.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        stranger: String,
    },
    /// The data directory cannot be made or locked.
    Lock(DirectoryError),
    /// The data directory cannot be written.
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// What it holds cannot be served.
    Boot(BootError),
    /// A port cannot be had.
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The ring cannot be had.
    Ring(RingError),
    /// Threads, signals or descriptors cannot be had.
    Runtime(io::Error),
    /// Storage failed while serving.
    Storage(String),
    /// A shard met a bug.
    ShardPanicked(usize),
    /// It was interrupted twice.
    Interrupted,
    /// It did not stop in time.
    StopTookTooLong,
}

impl ServeError {
    pub(crate) fn locking(path: &Path, error: LockError) -> Self {
        match error {
            LockError::Held { holder } => Self::Locked { path: path.to_owned(), holder },
            LockError::Foreign { stranger } => Self::Foreign { path: path.to_owned(), stranger },
            LockError::Failed(error) => Self::Lock(error),
        }
    }

    pub(super) fn bind(address: SocketAddr, error: io::Error) -> Self {
        Self::Bind { address, error }
    }

    /// Whether a shard only ended because another one did.
    pub(super) fn is_because_of_another_shard(&self) -> bool {
        matches!(self, Self::Ring(RingError::PeerFailed))
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Interrupted) { 130 } else { 1 }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            _ if self.is_out_of_descriptors() => Some("raise the limit of open files: ulimit -n 65536"),
            Self::Locked { .. } => Some("stop that broker, or use another --data-dir"),
            Self::Foreign { .. } => Some("use --data-dir with an empty or a new directory"),
            Self::Lock(_) | Self::DataDirectory { .. } => {
                Some("check the path and its permissions, or use another --data-dir")
            }
            Self::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
                Some("stop the program that has the port, or use --native with another one")
            }
            Self::Bind { .. } => Some("use --native with an address of this host"),
            Self::Storage(_) => Some("look at the disk; a restart recovers everything that was acknowledged"),
            Self::ShardPanicked(_) => {
                Some("this is a bug; a restart recovers everything that was acknowledged")
            }
            Self::Boot(_) | Self::Ring(_) | Self::Runtime(_) | Self::Interrupted | Self::StopTookTooLong => {
                None
            }
        }
    }
}

impl ServeError {
    fn is_out_of_descriptors(&self) -> bool {
        match self {
            // The ring's own words, from which the number is all that is left.
            Self::Storage(message) => message.ends_with("operating system error 24"),
            _ => self.errno() == Some(Errno::MFILE.raw_os_error()),
        }
    }

    /// The operating system's number for it, where it said one.
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Lock(error) | Self::Boot(BootError::Directory(error)) => Some(error.errno),
            Self::DataDirectory { error, .. } | Self::Bind { error, .. } | Self::Runtime(error) => {
                error.raw_os_error()
            }
            Self::Ring(
                RingError::Call { errno, .. }
                | RingError::Pin { errno, .. }
                | RingError::Listen { errno, .. },
            ) => Some(*errno),
            _ => None,
        }
    }
}

impl core::fmt::Display for ServeError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Locked { path, holder } => {
                write!(out, "the data directory {} is in use by another broker ({holder})", path.display())
            }
            Self::Foreign { path, stranger } => {
                write!(out, "{} holds {stranger:?}, which is not a broker's data", path.display())
            }
            Self::Lock(error) => write!(out, "{error}"),
            Self::DataDirectory { path, error } => {
                write!(out, "the data directory {} cannot be used: {error}", path.display())
            }
            Self::Boot(error) => write!(out, "{error}"),
            Self::Bind { address, error } => write!(out, "cannot listen on {address}: {error}"),
            Self::Ring(error) => write!(out, "{error}"),
            Self::Runtime(error) => {
                write!(out, "the operating system refused a thread, signal or descriptor: {error}")
            }
            Self::Storage(message) => write!(out, "storage failed, the node stopped: {message}"),
            Self::ShardPanicked(shard) => write!(out, "shard {shard} met a bug and stopped"),
            Self::Interrupted => out.write_str("interrupted"),
            Self::StopTookTooLong => out.write_str("stopping took too long; what was acknowledged is safe"),
        }
    }
}

impl core::error::Error for ServeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_told_from_every_call_that_needs_one() {
        let errno = Errno::MFILE.raw_os_error();
        let refused = || io::Error::from_raw_os_error(errno);
        let directory =
            DirectoryError { path: "d".to_owned(), operation: "open", reason: String::new(), errno };
        for error in [
            ServeError::bind(SocketAddr::from(([127, 0, 0, 1], 7092)), refused()),
            ServeError::DataDirectory { path: PathBuf::from("d"), error: refused() },
            ServeError::Runtime(refused()),
            ServeError::Lock(directory.clone()),
            ServeError::Boot(BootError::Directory(directory)),
            ServeError::Ring(RingError::Call { name: "io_uring_setup", errno }),
            ServeError::Storage(format!("preparing a log failed: operating system error {errno}")),
        ] {
            assert!(error.hint().is_some_and(|hint| hint.contains("ulimit -n")), "{error}");
        }
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let taken = ServeError::bind(SocketAddr::from(([127, 0, 0, 1], 7092)), taken);
        assert!(taken.hint().is_some_and(|hint| hint.contains("--native")));
    }
}
