//! Why a run did not end well.

use core::fmt;
use std::io;

use super::files::Flip;
use crate::crash::error::CrashError;
use crate::crash::session::SessionError;

/// Why a run failed.
#[derive(Debug)]
pub enum RotError {
    /// A bit rotted, and what it did was not told, or was worse than told.
    Violation {
        /// The bit.
        flip: String,
        /// What went wrong.
        what: String,
    },
    /// What was made is not what was acknowledged, before anything rotted.
    Unsound(String),
    /// A proof that is too weak to count.
    ProvesTooLittle(String),
    /// The broker, a connection, or files cannot be had.
    Run(CrashError),
}

impl RotError {
    pub(crate) fn io(during: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Run(CrashError::Io { during, error })
    }

    /// The same, if it says that something was wrong, with the bit that had been flipped.
    pub(super) fn after(self, flip: &Flip) -> Self {
        match self {
            Self::Unsound(what) => Self::Violation { flip: flip.to_string(), what },
            other => other,
        }
    }
}

impl From<CrashError> for RotError {
    fn from(error: CrashError) -> Self {
        Self::Run(error)
    }
}

impl From<SessionError> for RotError {
    fn from(error: SessionError) -> Self {
        Self::Run(error.into())
    }
}

impl fmt::Display for RotError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation { flip, what } => write!(out, "VIOLATION: {flip}: {what}"),
            Self::Unsound(what) => write!(out, "the directory that was made is not sound: {what}"),
            Self::ProvesTooLittle(what) => write!(out, "the run proves too little: {what}"),
            Self::Run(error) => write!(out, "{error}"),
        }
    }
}

impl core::error::Error for RotError {}
