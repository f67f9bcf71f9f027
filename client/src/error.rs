//! What can go wrong for a user of the client, and who has to act.

use core::fmt;

use ringmain_wire::batch::BatchError;
use ringmain_wire::native::errors::{Blame, ErrorCode};
use ringmain_wire::native::frame::FrameError;

use crate::core::Endpoint;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The same call may succeed later. The client had already retried for as long as it was allowed to.
    Retriable,
    /// Broker or network cannot go on without an operator.
    Fatal,
    /// The call itself is wrong: unchanged, it fails again.
    Caller,
}

/// Why a call, a delivery or a fetch failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// No broker could be reached at the start.
    Connect {
        /// The last address that was tried.
        endpoint: Endpoint,
        /// What the operating system or the other side said.
        reason: String,
    },
    /// The connection broke after the request was sent: it may or may not have been carried out.
    ConnectionLost {
        /// What was asked for.
        request: &'static str,
    },
    /// No answer within the allowed time; what was asked for may or may not have been carried out.
    TimedOut {
        /// What was waited for, with the last error on the way if there was one.
        waited_for: String,
    },
    /// The broker answered with an error.
    Refused {
        /// Its code.
        code: ErrorCode,
        /// What was wrong, which input, and what to do about it.
        message: String,
    },
    /// The other side sent bytes that are not the native protocol.
    Frame(FrameError),
    /// The broker sent an answer that does not fit its request.
    Protocol {
        /// What does not fit.
        violation: &'static str,
    },
    /// A batch cannot be built or read.
    Batch {
        /// Where, if it was read.
        partition: Option<String>,
        /// What is wrong with it.
        error: BatchError,
    },
    /// An earlier batch of the same partition failed and took this one's place in the order with it; this record may or
    /// may not have been stored.
    OrderBroken,
    /// The operating system refused what the client needs to run.
    Environment {
        /// What it said.
        reason: String,
    },
    /// The client was closed first.
    Closed,
}

impl ClientError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect { .. }
            | Self::ConnectionLost { .. }
            | Self::TimedOut { .. }
            | Self::OrderBroken => Fault::Retriable,
            Self::Refused { code, .. } => match code.blame() {
                Blame::Caller => Fault::Caller,
                Blame::Retry => Fault::Retriable,
                Blame::Broker => Fault::Fatal,
            },
            Self::Frame(_) | Self::Protocol { .. } | Self::Environment { .. } => Fault::Fatal,
            Self::Batch { partition: Some(_), .. } => Fault::Fatal,
            Self::Batch { partition: None, .. } | Self::Closed => Fault::Caller,
        }
    }

    /// The code of the native protocol that fits best, for programs that print or compare codes.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => *code,
            Self::TimedOut { .. } | Self::ConnectionLost { .. } | Self::OrderBroken => ErrorCode::TimedOut,
            Self::Connect { .. } | Self::Closed => ErrorCode::ShuttingDown,
            Self::Environment { .. } => ErrorCode::Internal,
            Self::Frame(error) => error.code(),
            Self::Protocol { .. } => ErrorCode::MalformedRequest,
            Self::Batch { partition: Some(_), .. } => ErrorCode::CorruptBatch,
            Self::Batch { partition: None, .. } => ErrorCode::InvalidBatch,
        }
    }

    /// An answer's error number and message; a number from a newer broker becomes [`ErrorCode::Internal`].
    pub(crate) fn refused(number: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        match ErrorCode::from_number(number) {
            Some(code) => {
                let message = if message.is_empty() { code.name().replace('_', " ") } else { message };
                Self::Refused { code, message }
            }
            None => Self::Refused {
                code: ErrorCode::Internal,
                message: format!("error {number}, unknown to this client: {message}"),
            },
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { endpoint, reason } => write!(
                out,
                "cannot connect to {endpoint}: {reason}; is a broker running there? start one with: ringmain serve"
            ),
            Self::ConnectionLost { request } => {
                write!(out, "connection lost during {request}: it may or may not have been carried out")
            }
            Self::TimedOut { waited_for } => write!(out, "timed out waiting for {waited_for}"),
            Self::Refused { message, .. } => out.write_str(message),
            Self::Frame(error) => write!(out, "answer is not of the native protocol: {error}"),
            Self::Protocol { violation } => write!(out, "broker broke the protocol: {violation}"),
            Self::Batch { partition: Some(partition), error } => write!(out, "batch of {partition}: {error}"),
            Self::Batch { partition: None, error } => write!(out, "batch: {error}"),
            Self::OrderBroken => {
                out.write_str("an earlier batch of this partition failed; may or may not have been stored")
            }
            Self::Environment { reason } => write!(out, "the client cannot run: {reason}"),
            Self::Closed => out.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}
