//! Why a load could not be put on a broker.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ringmain_wire::batch::BatchError;
use ringmain_wire::ids::ShardId;
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{Api, FrameError};

use crate::client_loop::LoopError;
use crate::limit::LimitError;

/// Why a load could not be put on a broker.
#[derive(Debug)]
pub enum LoadError {
    /// An option that makes no sense.
    Option {
        /// The option.
        name: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// Nobody answers at that address.
    Connect {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A system call failed.
    Io {
        /// What was being done.
        during: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The peer does not speak the native protocol.
    Frame(FrameError),
    /// The broker stores something that is no batch.
    Batch(BatchError),
    /// The broker refused a request outside the measured load.
    Refused {
        /// What was asked.
        api: Api,
        /// Number of the error.
        code: u16,
        /// What the broker says about it.
        message: String,
    },
    /// An answer that does not fit its request.
    WrongAnswer {
        /// What was asked.
        api: Api,
    },
    /// No such topic.
    UnknownTopic {
        /// Its name.
        name: String,
    },
    /// A partition is owned by a shard that has no port.
    UnknownShard {
        /// The shard.
        shard: ShardId,
    },
    /// The measured load itself ended early.
    Client(LoopError<ProduceAnswerError>),
    /// The echo that the broker is compared with failed.
    Limit(LimitError),
}

impl LoadError {
    pub(super) fn refused(api: Api, code: u16, message: String) -> Self {
        Self::Refused { api, code, message }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { name, wanted } => write!(out, "{name} must be {wanted}"),
            Self::Connect { address, error } => {
                write!(out, "no broker at {address}: {error}; start one with `ringmain serve`")
            }
            Self::Io { during, error } => write!(out, "{during}: {error}"),
            Self::Frame(error) => write!(out, "the broker's answer is {error}"),
            Self::Batch(error) => write!(out, "the broker returned a damaged batch: {error}"),
            Self::Refused { api, code, message } => {
                write!(out, "{api} was refused with {}", error_name(*code))?;
                if message.is_empty() { Ok(()) } else { write!(out, ": {message}") }
            }
            Self::WrongAnswer { api } => write!(out, "the broker's answer to {api} does not fit the request"),
            Self::UnknownTopic { name } => {
                write!(out, "no topic {name}; create it with `ringmain topic create {name} --partitions N`")
            }
            Self::UnknownShard { shard } => write!(out, "shard {shard} is not in the broker's shard map"),
            Self::Client(error) => error.fmt(out),
            Self::Limit(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } | Self::Io { error, .. } => Some(error),
            Self::Frame(error) => Some(error),
            Self::Batch(error) => Some(error),
            Self::Client(error) => Some(error),
            Self::Limit(error) => Some(error),
            Self::Option { .. }
            | Self::Refused { .. }
            | Self::WrongAnswer { .. }
            | Self::UnknownTopic { .. }
            | Self::UnknownShard { .. } => None,
        }
    }
}

/// An answer to a produce request that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceAnswerError {
    /// Its bytes are no frame, or its body no produce answer.
    Frame(FrameError),
    /// It answers something else.
    Mismatch {
        /// The connection, from 0.
        connection: usize,
    },
}

impl fmt::Display for ProduceAnswerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(out, "the broker's answer is {error}"),
            Self::Mismatch { connection } => {
                write!(out, "an answer on connection {connection} is not that of its oldest produce request")
            }
        }
    }
}

impl std::error::Error for ProduceAnswerError {}

/// The name of an error, or its number when it is of a newer broker.
pub(super) fn error_name(code: u16) -> String {
    ErrorCode::from_number(code).map_or_else(|| format!("error {code}"), |code| code.name().to_owned())
}
