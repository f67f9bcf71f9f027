//! The one client that everything is measured with: one thread, N non-blocking connections, open or closed loop.
//!
//! What travels is an [`Exchange`]'s business; when it travels and how long it took is decided here, so that the bare
//! echo and the broker are driven, and charged, by the same code.

mod connection;
mod ledger;
mod schedule;
mod stop;

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde::{Deserialize, Serialize};

use crate::clock::{Stopwatch, nanoseconds};
use connection::Connection;
pub use ledger::Ledger;
pub use schedule::Schedule;
pub use stop::Stop;

/// More requests than that are not put onto one connection; the schedule waits, and the wait is charged.
const UNANSWERED_PER_CONNECTION_MAX: usize = 4096;
/// Events taken from the kernel at once.
const EVENTS_PER_WAIT: usize = 256;
/// How soon a run that waits for the kernel hears that it shall stop.
const STOP_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
/// How long a stopped run waits for the last answers, at most.
const STOPPED_DRAIN_MAX: Duration = Duration::from_secs(1);

/// A protocol with requests and answers, in order on each connection.
pub trait Exchange {
    /// What is wrong with an answer that cannot be understood.
    type Error: std::error::Error;

    /// Appends the next request of `connection` (counted from 0) to `out`.
    fn encode_request(&mut self, connection: usize, out: &mut Vec<u8>);

    /// Looks for one whole answer at the front of `bytes`.
    ///
    /// # Errors
    /// The bytes are no answer to the oldest unanswered request of this connection; the run ends.
    fn parse_answer(&mut self, connection: usize, bytes: &[u8]) -> Result<Parsed, Self::Error>;
}

/// What [`Exchange::parse_answer`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No whole answer yet.
    Incomplete,
    /// An answer.
    Answer {
        /// Bytes of it.
        length: usize,
        /// Whether it grants what was asked for.
        accepted: bool,
    },
}

/// When requests leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// On a fixed schedule, taken by the connections in turn; latency counts from when a request was due.
    OpenLoop {
        /// Over all connections.
        requests_per_second: f64,
    },
    /// As soon as an answer makes room; latency counts from when a request was sent. Says what a server can take, not
    /// what users of a busy one see.
    ClosedLoop {
        /// Requests that each connection keeps unanswered.
        unanswered_per_connection: u32,
    },
}

/// How long and at what pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// When requests leave.
    pub pace: Pace,
    /// Left out of every figure but the totals.
    pub warm_up: Duration,
    /// What the figures are of.
    pub measured: Duration,
    /// How long to wait for the last answers.
    pub drain: Duration,
}

/// Why a run ended early.
#[derive(Debug)]
pub enum LoopError<E> {
    /// A system call failed.
    Io {
        /// What was being done.
        during: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The server closed a connection with requests unanswered or to come.
    Closed {
        /// Which, from 0.
        connection: usize,
        /// Requests on it without an answer.
        unanswered: usize,
    },
    /// An answer that nothing was asked for.
    Unasked {
        /// The connection it came on, from 0.
        connection: usize,
    },
    /// An answer that cannot be understood.
    Answer(E),
}

impl<E: fmt::Display> fmt::Display for LoopError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { during, error } => write!(out, "{during}: {error}"),
            Self::Closed { connection, unanswered } => {
                write!(out, "the server closed connection {connection} with {unanswered} requests unanswered")
            }
            Self::Unasked { connection } => {
                write!(out, "the server answered on connection {connection} without a request")
            }
            Self::Answer(error) => error.fmt(out),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoopError<E> {}

/// Drives `sockets` at the pace of `load` and books every request. Requests that are still without an answer when
/// the drain time is over are in [`Ledger::unanswered`], those that could not even be sent in [`Ledger::unsent`].
/// A run that is told to stop ends its window there.
///
/// # Errors
/// A failing system call, a connection that the server closes, an answer that cannot be understood.
///
/// # Panics
/// Without sockets, with an empty measured window, or with a pace of 0.
pub fn run<E: Exchange>(
    sockets: Vec<TcpStream>,
    load: &Load,
    exchange: &mut E,
    stop: &Stop,
) -> Result<Ledger, LoopError<E::Error>> {
    assert!(!sockets.is_empty(), "a load needs a connection");
    assert!(!load.measured.is_zero(), "a load needs a measured window");
    let mut client = Client::new(sockets, load, exchange, stop)
        .map_err(|error| LoopError::Io { during: "preparing the connections", error })?;
    client.run()?;
    client.ledger.unsent = client.schedule.map_or(0, |schedule| schedule.remaining(client.ends));
    Ok(client.ledger)
}

struct Client<'a, E> {
    exchange: &'a mut E,
    stop: &'a Stop,
    connections: Vec<Connection>,
    poller: OwnedFd,
    schedule: Option<Schedule>,
    unanswered_per_connection: usize,
    ledger: Ledger,
    began: Stopwatch,
    /// No request is due at or after this, in nanoseconds since `began`.
    ends: u64,
    /// No answer is waited for after this.
    drained: u64,
}

impl<'a, E: Exchange> Client<'a, E> {
    fn new(sockets: Vec<TcpStream>, load: &Load, exchange: &'a mut E, stop: &'a Stop) -> io::Result<Self> {
        // The default slack of 50 µs would be added to every due time.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(sockets.len());
        for (index, socket) in sockets.into_iter().enumerate() {
            epoll::add(&poller, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            connections.push(Connection::new(socket)?);
        }
        let (schedule, unanswered_per_connection) = match load.pace {
            Pace::OpenLoop { requests_per_second } => {
                (Some(Schedule::new(requests_per_second)), UNANSWERED_PER_CONNECTION_MAX)
            }
            Pace::ClosedLoop { unanswered_per_connection } => {
                assert!(unanswered_per_connection > 0, "a closed loop needs a request in flight");
                (None, unanswered_per_connection as usize)
            }
        };
        let measured_from = nanoseconds(load.warm_up);
        let ends = measured_from + nanoseconds(load.measured);
        Ok(Self {
            exchange,
            stop,
            connections,
            poller,
            schedule,
            unanswered_per_connection,
            ledger: Ledger::new(measured_from, ends),
            began: Stopwatch::start(),
            ends,
            drained: ends + nanoseconds(load.drain),
        })
    }

    fn run(&mut self) -> Result<(), LoopError<E::Error>> {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        if self.schedule.is_none() {
            for index in 0..self.connections.len() {
                self.send_in_room(index)?;
            }
        }
        loop {
            let now = self.now();
            if self.stop.is_requested() && now < self.ends {
                self.end_at(now);
            }
            let wake = self.send_due()?;
            let now = self.now();
            if now >= self.ends && (self.ledger.unanswered() == 0 || now >= self.drained) {
                return Ok(());
            }
            self.wait(wake.saturating_sub(now), &mut events)?;
            for event in events.drain(..) {
                let (index, flags) = (event.data.u64() as usize, event.flags);
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(index)?;
                }
                if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    self.receive(index)?;
                }
            }
        }
    }

    fn end_at(&mut self, now: u64) {
        self.ends = now;
        self.drained = self.drained.min(now + nanoseconds(STOPPED_DRAIN_MAX));
        self.ledger.cut_window(now);
    }

    /// Sends every request of the schedule that is due; when to look again.
    fn send_due(&mut self) -> Result<u64, LoopError<E::Error>> {
        let now = self.now();
        if let Some(schedule) = &mut self.schedule {
            loop {
                let index = (schedule.taken() % self.connections.len() as u64) as usize;
                if self.connections[index].waiting.len() >= self.unanswered_per_connection {
                    break;
                }
                let now = self.began.nanoseconds();
                let Some(due) = schedule.take_due(now, self.ends) else { break };
                let connection = &mut self.connections[index];
                self.exchange.encode_request(index, connection.outgoing());
                connection.waiting.push_back(due);
                self.ledger.sent_on_schedule(due, now);
                flush(connection, index, &self.poller)?;
            }
            let due = schedule.next_due();
            if due > now && due < self.ends {
                return Ok(due);
            }
        }
        Ok(if now < self.ends { self.ends } else { self.drained })
    }

    /// Fills the room that a connection has in a closed loop.
    fn send_in_room(&mut self, index: usize) -> Result<(), LoopError<E::Error>> {
        let now = self.now();
        let connection = &mut self.connections[index];
        while now < self.ends && connection.waiting.len() < self.unanswered_per_connection {
            self.exchange.encode_request(index, connection.outgoing());
            connection.waiting.push_back(now);
            self.ledger.sent_on_answer();
        }
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> Result<(), LoopError<E::Error>> {
        flush(&mut self.connections[index], index, &self.poller)
    }

    fn receive(&mut self, index: usize) -> Result<(), LoopError<E::Error>> {
        let connection = &mut self.connections[index];
        match connection.fill().map_err(|error| LoopError::Io { during: "receiving answers", error })? {
            None => return Ok(()),
            Some(0) => {
                return Err(LoopError::Closed { connection: index, unanswered: connection.waiting.len() });
            }
            Some(_) => {}
        }
        let now = self.began.nanoseconds();
        let mut consumed = 0;
        loop {
            let rest = &connection.received()[consumed..];
            match self.exchange.parse_answer(index, rest).map_err(LoopError::Answer)? {
                Parsed::Incomplete => break,
                Parsed::Answer { length, accepted } => {
                    consumed += length;
                    let due =
                        connection.waiting.pop_front().ok_or(LoopError::Unasked { connection: index })?;
                    self.ledger.answered(due, now, accepted);
                }
            }
        }
        connection.consume(consumed);
        if self.schedule.is_none() {
            self.send_in_room(index)?;
        }
        Ok(())
    }

    fn wait(&self, nanoseconds: u64, events: &mut Vec<epoll::Event>) -> Result<(), LoopError<E::Error>> {
        let wait = Duration::from_nanos(nanoseconds).min(STOP_LOOKED_AT_EVERY);
        let timeout = Timespec::try_from(wait).expect("a fraction of a second fits");
        match epoll::wait(&self.poller, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(LoopError::Io { during: "waiting for answers", error: error.into() }),
        }
    }

    fn now(&self) -> u64 {
        self.began.nanoseconds()
    }
}

/// Sends what the socket takes, and has the poller report room for the rest.
fn flush<E>(connection: &mut Connection, index: usize, poller: &OwnedFd) -> Result<(), LoopError<E>> {
    let watch = !connection.flush().map_err(|error| LoopError::Io { during: "sending requests", error })?;
    if watch != connection.watches_room {
        connection.watches_room = watch;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, watch);
        epoll::modify(poller, &connection.socket, epoll::EventData::new_u64(index as u64), flags)
            .map_err(|error| LoopError::Io { during: "watching a connection", error: error.into() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
