//! Why a siege did not end well: a promise was broken, or the run itself could not go on.

use core::fmt;
use std::io;
use std::path::PathBuf;

use crate::crash::error::CrashError;
use crate::crash::session::SessionError;

/// Why a siege failed.
#[derive(Debug)]
pub enum SiegeError {
    /// A promise was broken.
    Broken {
        /// Which, and how.
        promise: String,
    },
    /// The broker did not come up, ended by itself, or did not stop.
    Broker {
        /// What it did.
        problem: &'static str,
        /// Its log.
        log: PathBuf,
    },
    /// The client that means well met an error.
    Healthy {
        /// What it was doing.
        during: &'static str,
        /// What it met.
        error: SessionError,
    },
    /// A request of the run's own failed.
    Session(SessionError),
    /// The run's directory or ports cannot be had.
    Place(CrashError),
    /// Files, processes or sockets cannot be had.
    Io {
        /// While doing what.
        during: &'static str,
        /// What the operating system said.
        error: io::Error,
    },
}

impl SiegeError {
    pub(crate) fn io(during: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { during, error }
    }

    pub(crate) fn broken(promise: impl Into<String>) -> Self {
        Self::Broken { promise: promise.into() }
    }
}

impl From<SessionError> for SiegeError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<CrashError> for SiegeError {
    fn from(error: CrashError) -> Self {
        Self::Place(error)
    }
}

impl fmt::Display for SiegeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { promise } => write!(out, "BROKEN: {promise}"),
            Self::Broker { problem, log } => {
                write!(out, "BROKEN: the broker {problem}; its log is {}", log.display())
            }
            Self::Healthy { during, error } => {
                write!(out, "BROKEN: the client that means well, {during}: {error}")
            }
            Self::Session(error) => write!(out, "{error}"),
            Self::Place(error) => write!(out, "{error}"),
            Self::Io { during, error } => write!(out, "{during}: {error}"),
        }
    }
}

impl core::error::Error for SiegeError {}
