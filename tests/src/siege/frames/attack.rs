//! One connection of the attack: sends its script, takes the answers, and judges them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ringmain_wire::native::frame::{self, FRAME_BYTES_MAX_DEFAULT};

use super::expect::Expectation;
use super::script::Script;
use crate::siege::error::SiegeError;

/// A broker that neither answers nor closes within this time is taken for hung.
const HUNG_AFTER: Duration = Duration::from_secs(30);
/// So long a fetch that waits is waited for before the client says that it sends no more.
const PATIENCE: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 64 * 1024;

/// What came of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) frames: u64,
    /// Answers without an error.
    pub(super) accepted: u64,
    /// Answers that are an error.
    pub(super) refused: u64,
    /// Connections that the broker closed.
    pub(super) closed: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.frames += other.frames;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.closed += other.closed;
    }
}

/// How the broker's side of a connection ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It sends no more.
    Closed,
    /// It closed with bytes unread, which may have cost answers on their way.
    Reset,
    /// Nothing came for as long as was waited.
    Silent,
}

/// Sends a script to a broker; every frame of it must be answered, or the connection closed, as expected.
pub(super) fn run(address: SocketAddr, script: &Script) -> Result<Counts, SiegeError> {
    let socket = TcpStream::connect(address)
        .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
        .and_then(|socket| socket.set_write_timeout(Some(HUNG_AFTER)).map(|()| socket))
        // Closed at once when it is dropped: hundreds of thousands of them would leave no port for the next.
        .and_then(|socket| {
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            Ok(socket)
        });
    let socket = socket.map_err(SiegeError::io("connecting to attack"))?;
    let mut attack = Attack { socket, received: Vec::new(), answered: 0, counts: Counts::default() };
    let expected = &script.expected;
    let ended = attack.converse(script)?;
    attack.judge(expected, ended)?;
    let closed = u64::from(expected.closes);
    Ok(Counts { connections: 1, frames: script.frames, closed, ..attack.counts })
}

struct Attack {
    socket: TcpStream,
    received: Vec<u8>,
    /// Answers so far, all as expected.
    answered: usize,
    counts: Counts,
}

impl Attack {
    /// Until the broker has ended the connection, by itself or after the client has sent everything.
    fn converse(&mut self, script: &Script) -> Result<End, SiegeError> {
        let expected = &script.expected;
        match self.socket.write_all(&script.bytes) {
            Ok(()) => {}
            Err(error) if is_reset(&error) => return self.take_answers(expected, usize::MAX, HUNG_AFTER),
            Err(error) if is_silence(&error) => return Err(hung("takes no bytes")),
            Err(error) => return Err(SiegeError::Io { during: "attacking", error }),
        }
        if !expected.closes {
            let patience = if expected.may_wait { PATIENCE } else { HUNG_AFTER };
            let ended = self.take_answers(expected, expected.answers.len(), patience)?;
            if ended != End::Silent || self.answered < expected.answers.len() && !expected.may_wait {
                return Ok(ended);
            }
            match self.socket.shutdown(Shutdown::Write) {
                Ok(()) => {}
                Err(error) if is_reset(&error) => {}
                Err(error) => return Err(SiegeError::Io { during: "attacking", error }),
            }
        }
        self.take_answers(expected, usize::MAX, HUNG_AFTER)
    }

    /// Takes answers until `enough` have come in all, or nothing more does.
    fn take_answers(
        &mut self,
        expected: &Expectation,
        enough: usize,
        patience: Duration,
    ) -> Result<End, SiegeError> {
        self.socket.set_read_timeout(Some(patience)).map_err(SiegeError::io("attacking"))?;
        loop {
            self.check_answers(expected)?;
            if self.answered >= enough {
                return Ok(End::Silent);
            }
            let filled = self.received.len();
            self.received.resize(filled + READ_BYTES, 0);
            let read = self.socket.read(&mut self.received[filled..]);
            self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(End::Closed),
                Ok(_) => {}
                Err(error) if is_reset(&error) => return Ok(End::Reset),
                Err(error) if is_silence(&error) => return Ok(End::Silent),
                Err(error) => return Err(SiegeError::Io { during: "attacking", error }),
            }
        }
    }

    /// Holds what was received against what is due.
    fn check_answers(&mut self, expected: &Expectation) -> Result<(), SiegeError> {
        let mut consumed = 0;
        loop {
            let split = frame::split(&self.received[consumed..], FRAME_BYTES_MAX_DEFAULT);
            let Some((answer, length)) =
                split.map_err(|error| SiegeError::broken(format!("answers are frames: {error}")))?
            else {
                break;
            };
            let found = (answer.header.api, answer.header.correlation);
            let due = expected.answers.get(self.answered);
            if !answer.header.answer || due != Some(&found) {
                let promise = format!("requests are answered in order: {found:?} came where {due:?} was due");
                return Err(SiegeError::broken(promise));
            }
            self.answered += 1;
            *(if answer.header.error == 0 { &mut self.counts.accepted } else { &mut self.counts.refused }) +=
                1;
            consumed += length;
        }
        self.received.drain(..consumed);
        Ok(())
    }

    fn judge(&self, expected: &Expectation, ended: End) -> Result<(), SiegeError> {
        let (answered, due) = (self.answered, expected.answers.len());
        if ended == End::Silent {
            let promise = format!("answered {answered} of {due} requests and neither goes on nor closes");
            return Err(hung(&promise));
        }
        let may_be_short = expected.may_close || expected.may_wait || ended == End::Reset && expected.closes;
        if answered < due && !may_be_short {
            return Err(SiegeError::broken(format!(
                "what is not answered is closed for a reason: {answered} of {due} answered, {ended:?}"
            )));
        }
        if ended == End::Reset && !expected.closes && !expected.may_close {
            return Err(SiegeError::broken("a client that did nothing wrong is not cut off"));
        }
        Ok(())
    }
}

fn hung(problem: &str) -> SiegeError {
    SiegeError::broken(format!("the broker is never hung: it {problem}"))
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
