//! Why the limit could not be measured.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::echo_client::EchoAnswerError;
use crate::client_loop::LoopError;

/// Why the limit could not be measured.
#[derive(Debug)]
pub enum LimitError {
    /// An option that makes no sense; says which and what it may be.
    Option {
        /// The option.
        name: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// The directory's filesystem keeps nothing after power loss, so there is no durable write to measure.
    NotDurable {
        /// The directory.
        directory: PathBuf,
        /// Its filesystem.
        filesystem: String,
    },
    /// The directory's filesystem does not do direct IO.
    NoDirectIo {
        /// The directory.
        directory: PathBuf,
        /// Its filesystem.
        filesystem: String,
    },
    /// The kernel does not offer the ring that the broker needs.
    NoRing(io::Error),
    /// Reading or writing the probe file failed.
    File {
        /// What was being done.
        during: &'static str,
        /// Where the file was.
        directory: PathBuf,
        /// The kernel's answer.
        error: io::Error,
    },
    /// Another system call failed.
    Io {
        /// What was being done.
        during: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The client of the echo failed.
    Client(LoopError<EchoAnswerError>),
    /// Requests that the echo never answered.
    Unanswered(u64),
}

impl LimitError {
    pub(super) fn io(during: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { during, error }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { name, wanted } => write!(out, "{name} must be {wanted}"),
            Self::NotDurable { directory, filesystem } => write!(
                out,
                "{} is on {filesystem}, which keeps nothing after power loss; name a directory on a disk with --dir",
                directory.display()
            ),
            Self::NoDirectIo { directory, filesystem } => write!(
                out,
                "{} is on {filesystem}, which does not support O_DIRECT; name a directory on ext4 or xfs with --dir",
                directory.display()
            ),
            Self::NoRing(error) => write!(
                out,
                "io_uring is not available ({error}); Linux 6.1 or newer is needed, with kernel.io_uring_disabled = 0"
            ),
            Self::File { during, directory, error } => {
                write!(out, "{during} in {}: {error}", directory.display())
            }
            Self::Io { during, error } => write!(out, "{during}: {error}"),
            Self::Client(error) => write!(out, "the durable echo: {error}"),
            Self::Unanswered(requests) => {
                write!(out, "the durable echo left {requests} requests unanswered; the disk may be stalled")
            }
        }
    }
}

impl std::error::Error for LimitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoRing(error) | Self::File { error, .. } | Self::Io { error, .. } => Some(error),
            Self::Client(error) => Some(error),
            Self::Option { .. } | Self::NotDurable { .. } | Self::NoDirectIo { .. } | Self::Unanswered(_) => {
                None
            }
        }
    }
}
