//! How a command ends when it does not end well: what is said, in which form, and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use ringmain_client::ClientError;
use ringmain_client::driver::PORT_DEFAULT;
use ringmain_wire::native::errors::ErrorCode;
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

    /// A failure in the words of another part of the program or of the broker, which put the remedy behind a semicolon.
    pub(super) fn passed_on(exit: u8, code: &str, words: &str) -> Self {
        let (message, hint) = split_remedy(words);
        let failure = Self::with_exit(exit, code, message);
        let hint = if is_out_of_descriptors(words) { Some(RAISE_DESCRIPTORS) } else { hint };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// A host name that nobody knows.
    pub(super) fn unresolvable(host: &str, reason: &str) -> Self {
        let reason = reason.strip_prefix(LOOKUP_FAILED).unwrap_or(reason);
        Self::failed("cannot_resolve", format!("cannot find the host {host:?}: {reason}"))
            .hint("check the name given as --broker")
    }

    /// A failure that ends with another exit code than the usual.
    pub(super) fn with_exit(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self::Told(Told { exit, code: code.to_owned(), message: message.into(), hint: None })
    }

    /// The same with what to do about it, behind what there is to do already.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(Told { hint: told, .. }) = &mut self {
            let hint = hint.into();
            *told = Some(match told.take() {
                Some(first) => format!("{first}; {hint}"),
                None => hint,
            });
        }
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub(super) fn exiting_with(mut self, exit: u8) -> Self {
        if let Self::Told(told) = &mut self {
            told.exit = exit;
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

/// Something on stderr that is no failure, in the form of one.
pub(super) fn note(format: Format, code: &str, message: &str) {
    let line = match format {
        Format::Json => {
            let note = Told { exit: 0, code: code.to_owned(), message: message.to_owned(), hint: None };
            note.render(format)
        }
        Format::Text => format!("note: {message}\n"),
    };
    // Without a stderr nobody is there to be told.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// What the standard library says before the resolver's reason.
const LOOKUP_FAILED: &str = "failed to lookup address information: ";

/// What to do when a process may open no further file or socket.
const RAISE_DESCRIPTORS: &str = "raise the limit of open files: ulimit -n 65536";

/// Whether the operating system's words, in which its number for it stands, say that too many files are open.
fn is_out_of_descriptors(words: &str) -> bool {
    words.contains("(os error 24)")
}

/// A message, and the remedy behind its first semicolon that is not quoted.
fn split_remedy(words: &str) -> (&str, Option<&str>) {
    let mut quote = None;
    let mut escaped = false;
    for (place, byte) in words.bytes().enumerate() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(b'"') if byte == b'\\' => escaped = true,
            Some(opened) if byte == opened => quote = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'`') => quote = Some(byte),
            None if byte == b';' => {
                if let Some(remedy) = words[place..].strip_prefix("; ") {
                    return (&words[..place], Some(remedy));
                }
            }
            None => {}
        }
    }
    (words, None)
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
            ClientError::Connect { endpoint, reason } if reason.starts_with(LOOKUP_FAILED) => {
                Self::unresolvable(&endpoint.host, reason)
            }
            ClientError::Connect { reason, .. } if is_out_of_descriptors(reason) => {
                let words = format!("no connection can be opened: {reason}");
                Self::passed_on(EXIT_FAILED, "environment", &words)
            }
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
            ClientError::Environment { .. } => {
                Self::passed_on(EXIT_FAILED, "environment", &error.to_string())
            }
            ClientError::Refused { code: code @ ErrorCode::InvalidConfig, message } => {
                // A setting stands on the command line.
                Self::passed_on(EXIT_USAGE, code.name(), message)
            }
            _ => Self::passed_on(EXIT_FAILED, error.code().name(), &error.to_string()),
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
    fn the_remedy_of_others_stands_in_the_hint() {
        let refused =
            |code, message: &str| Failure::from(ClientError::Refused { code, message: message.to_owned() });
        let unknown = refused(
            ErrorCode::UnknownTopicOrPartition,
            "there is no topic \"a; \\\"b\"; create it with `topic create a; b --partitions N`",
        );
        assert_eq!(
            rendered(&unknown, Format::Json),
            "{\"code\":\"unknown_topic_or_partition\",\"message\":\"there is no topic \\\"a; \\\\\\\"b\\\"\",\
             \"hint\":\"create it with `topic create a; b --partitions N`\"}\n"
        );
        assert_eq!(
            rendered(&unknown.followed_by("; 0 of 1 records landed"), Format::Text),
            "error: there is no topic \"a; \\\"b\"; 0 of 1 records landed; \
             create it with `topic create a; b --partitions N`\n"
        );
        let config = refused(ErrorCode::InvalidConfig, "\"nope\" is not a topic setting; did you mean x?");
        let Failure::Told(told) = config else { panic!("a failure is told") };
        assert_eq!((told.exit, told.hint.as_deref()), (EXIT_USAGE, Some("did you mean x?")));
    }

    #[test]
    fn a_name_without_an_address_and_a_full_descriptor_table_are_told_apart_from_a_dead_broker() {
        let at = |reason: &str| {
            let endpoint = Endpoint { host: "nowhere".to_owned(), port: 7092 };
            let failure = Failure::from(ClientError::Connect { endpoint, reason: reason.to_owned() });
            rendered(&failure, Format::Text)
        };
        assert_eq!(
            at("failed to lookup address information: Name or service not known"),
            "error: cannot find the host \"nowhere\": Name or service not known; check the name given as --broker\n"
        );
        assert_eq!(
            at("Too many open files (os error 24)"),
            "error: no connection can be opened: Too many open files (os error 24); \
             raise the limit of open files: ulimit -n 65536\n"
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
