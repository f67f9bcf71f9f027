//! How a command ends when it does not end well: what is said, in which form, and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use ringmain_client::ClientError;
use ringmain_client::driver::PORT_DEFAULT;
use serde::Serialize;

use super::arguments::Format;

/// Exit code of a command that failed.
pub(super) const EXIT_FAILED: u8 = 1;
/// Exit code of a command that was not understood.
pub(super) const EXIT_USAGE: u8 = 2;

/// Why a command ends early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody reads its results any more: no reason to say anything, or to call it failed.
    StdoutClosed,
    /// It failed.
    Told(Told),
}

/// What a user is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    exit: u8,
    code: String,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A command that was understood and failed; `code` is a stable name in snake_case.
    pub(super) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::with_exit(EXIT_FAILED, code, message)
    }

    /// A command that was not understood.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::with_exit(EXIT_USAGE, "usage", message)
    }

    /// A command that a later version understands.
    pub(super) fn not_in_this_version(what: &str) -> Self {
        Self::with_exit(EXIT_USAGE, "not_in_this_version", format!("{what} is not in this version"))
    }

    /// A failure that ends with another exit code than the usual.
    pub(super) fn with_exit(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self::Told(Told { exit, code: code.to_owned(), message: message.into(), hint: None })
    }

    /// The same with what to do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.hint = Some(hint.into());
        }
        self
    }

    /// The same with words behind its message.
    #[must_use]
    pub(super) fn followed_by(mut self, words: &str) -> Self {
        if let Self::Told(told) = &mut self {
            told.message.push_str(words);
        }
        self
    }

    /// Says it on stderr and gives the exit code.
    pub(super) fn report(&self, format: Format) -> ExitCode {
        let Self::Told(told) = self else { return ExitCode::SUCCESS };
        let line = told.render(format);
        // Without a stderr there is still the exit code.
        let _ = io::stderr().lock().write_all(line.as_bytes());
        ExitCode::from(told.exit)
    }
}

impl Told {
    fn render(&self, format: Format) -> String {
        /// Fields may only be added: programs read them.
        #[derive(Serialize)]
        struct Document<'a> {
            code: &'a str,
            message: &'a str,
            hint: Option<&'a str>,
        }

        let Self { code, message, hint, .. } = self;
        match format {
            Format::Json => {
                let document = Document { code, message, hint: hint.as_deref() };
                let line = serde_json::to_string(&document).expect("strings can be written as JSON");
                line + "\n"
            }
            Format::Text => match hint {
                Some(hint) => format!("error: {message}; {hint}\n"),
                None => format!("error: {message}\n"),
            },
        }
    }
}

/// Writing results failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::StdoutClosed
        } else {
            Self::failed("output", format!("cannot write the output: {error}"))
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Connect { endpoint, reason } => {
                let start = if endpoint.port == PORT_DEFAULT {
                    "start one with: ringmain serve".to_owned()
                } else {
                    format!("start one with: ringmain serve --native {endpoint}")
                };
                Self::failed("cannot_connect", format!("no broker at {endpoint}: {reason}")).hint(start)
            }
            ClientError::ConnectionLost { .. } => Self::failed("connection_lost", error.to_string()),
            ClientError::OrderBroken => Self::failed("order_broken", error.to_string()),
            ClientError::Environment { .. } => Self::failed("environment", error.to_string()),
            _ => Self::failed(error.code().name(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmain_client::Endpoint;

    use super::*;

    fn rendered(failure: &Failure, format: Format) -> String {
        match failure {
            Failure::Told(told) => told.render(format),
            Failure::StdoutClosed => String::new(),
        }
    }

    #[test]
    fn a_dead_broker_is_named_with_the_way_to_start_one() {
        let at = |port| {
            let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
            Failure::from(ClientError::Connect { endpoint, reason: "connection refused".to_owned() })
        };
        assert_eq!(
            rendered(&at(7092), Format::Text),
            "error: no broker at 127.0.0.1:7092: connection refused; start one with: ringmain serve\n"
        );
        assert_eq!(
            rendered(&at(9), Format::Json),
            "{\"code\":\"cannot_connect\",\"message\":\"no broker at 127.0.0.1:9: connection refused\",\
             \"hint\":\"start one with: ringmain serve --native 127.0.0.1:9\"}\n"
        );
    }

    #[test]
    fn a_closed_stdout_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)), Failure::StdoutClosed);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(rendered(&full, Format::Text).starts_with("error: cannot write the output"));
    }

    #[test]
    fn a_hint_that_is_missing_is_null() {
        let failure = Failure::not_in_this_version("`group`");
        assert_eq!(
            rendered(&failure, Format::Json),
            "{\"code\":\"not_in_this_version\",\"message\":\"`group` is not in this version\",\"hint\":null}\n"
        );
    }
}
