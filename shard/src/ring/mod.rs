//! The ring loop: carries the effects of one shard's logic out, on one io_uring, on one thread bound to its core.
//!
//! A turn: take what completed, hand it to the [`Host`] event by event, hand it the mail, let it finish the turn, start
//! its effects, and enter the kernel once to submit them and to wait for what comes next. Everything per turn is
//! bounded. Read on in `carrier` (the turn), `completions` (completion to event), `starting` (effect to operation),
//! `in_flight` (the ring and the memory it holds).
//!
//! Times of no work cost nothing: a connection that waits for bytes holds no buffer, and a shard that waits for
//! anything sleeps in the kernel until a completion, its host's deadline, or a wake-up from another shard.

mod buffers;
mod carrier;
mod clock;
mod completions;
mod connections;
mod direct_io;
mod doorbell;
mod draining;
mod error;
mod files;
mod in_flight;
mod operations;
mod outgoing;
mod pin;
mod rendezvous;
mod setup;
mod sockets;
mod starting;
mod tokens;

use core::time::Duration;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub use direct_io::probe_direct_io;
pub use doorbell::Doorbell;
pub use error::{RingError, RunError};
pub(crate) use files::{file_error, opening_error, read_goes_on};
pub use rendezvous::Rendezvous;
pub(crate) use setup::check_beside;
pub use sockets::{BoundSocket, Sockets};

use self::buffers::ReceiveBuffers;
use self::carrier::Carrier;
use self::in_flight::InFlight;
use self::rendezvous::Attendance;
use self::sockets::Listeners;
use crate::background::Background;
use crate::effect::StopReason;
use crate::host::Host;
use crate::mailbox::Mailbox;

/// Connections of a shard where nothing says that there may be only fewer.
pub const CONNECTIONS_MAX: usize = 10_000;

/// How one shard's loop works.
#[derive(Debug)]
pub struct RingConfig {
    /// The data directory, opened; paths of file operations are relative to it.
    pub data_directory: OwnedFd,
    /// Whether its files bypass the page cache, as [`probe_direct_io`] found out.
    pub direct_io: bool,
    /// The core that the thread is bound to; `None` leaves that to the scheduler.
    pub core: Option<usize>,
    /// How long to poll after the last event before sleeping; zero sleeps at once.
    pub spin: Duration,
    /// How long a closing connection may take to send what it was given before; then it is cut.
    pub linger: Duration,
    /// Buffers for receives; a power of two.
    pub receive_buffers: u16,
    /// Bytes of each.
    pub receive_buffer_bytes: u32,
    /// Connections beyond this are accepted and closed at once. Beside them, descriptors must be left for files.
    pub connections_max: usize,
    /// What inspects segments beside the loop; its results ring the shard's doorbell. `None`: nothing is inspected.
    pub background: Option<Background>,
}

impl RingConfig {
    /// The defaults for a data directory: no core, no spinning, 3 s to linger, 64 buffers of 16 KiB, 10,000 connections.
    pub const fn of(data_directory: OwnedFd, direct_io: bool) -> Self {
        Self {
            data_directory,
            direct_io,
            core: None,
            spin: Duration::ZERO,
            linger: Duration::from_secs(3),
            receive_buffers: 64,
            receive_buffer_bytes: 16 * 1024,
            connections_max: CONNECTIONS_MAX,
            background: None,
        }
    }
}

/// What a shard's thread is given. `M` is what travels between shards.
#[derive(Debug)]
pub struct ShardParts<M> {
    /// How its loop works.
    pub config: RingConfig,
    /// What it listens on.
    pub sockets: Sockets,
    /// How it talks to the other shards; says which shard it is.
    pub mailbox: Mailbox<M>,
    /// How threads without a ring reach it.
    pub doorbell: Doorbell,
    /// Where it meets the other shards at the start; made for as many shards as the mailbox.
    pub rendezvous: Arc<Rendezvous>,
}

/// What a loop counted, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Completions taken.
    pub completions: u64,
    /// Wake-ups sent to other shards.
    pub wakes_sent: u64,
    /// Receives that found all buffers filled and were started again.
    pub receives_without_buffer: u64,
    /// Connections closed at once because there were as many as there may be.
    pub connections_refused: u64,
    /// Times that accepting paused because descriptors or memory ran out.
    pub accept_pauses: u64,
}

/// How a loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// As its host gave it.
    pub reason: StopReason,
    /// What it counted.
    pub counters: RingCounters,
}

/// Runs one shard on the calling thread until its host stops it.
///
/// Binds the thread to its core, makes the ring, waits for the rings of all shards, makes the host, waits for the hosts
/// of all shards, starts to listen, calls `listening`, and loops. Clients are refused until then. A host may take as
/// long as recovery takes to be made, and may block meanwhile.
///
/// # Errors
/// When the ring cannot be made or entered, a socket cannot listen, the host cannot be made, or another shard failed
/// with any of that.
///
/// # Panics
/// On bugs of the host: effects that break the rules stated at [`Effect`](crate::effect::Effect).
pub fn run<H: Host, E>(
    parts: ShardParts<H::Mail>,
    make_host: impl FnOnce() -> Result<H, E>,
    listening: impl FnOnce(),
) -> Result<Ended, RunError<E>> {
    let ShardParts { config, sockets, mailbox, doorbell, rendezvous } = parts;
    let mut attendance = Attendance::at(rendezvous);
    if let Some(core) = config.core {
        pin::pin(core)?;
    }
    let ring = setup::create()?;
    let buffers = ReceiveBuffers::register(&ring, config.receive_buffers, config.receive_buffer_bytes)?;
    let in_flight = InFlight::on(ring, buffers);
    let descriptor =
        in_flight.ring_descriptor().map_err(|error| RingError::call("fcntl(F_DUPFD)", &error))?;
    let rings = attendance.exchange_rings(usize::from(mailbox.shard().get()), descriptor)?;
    assert_eq!(rings.len(), mailbox.shards(), "the rendezvous and the mesh are made for the same shards");

    let host = make_host().map_err(RunError::Host)?;
    attendance.host_made()?;
    let listeners = Listeners::listen(sockets)?;
    listening();
    let carrier = Carrier::carry(host, config, in_flight, listeners, mailbox, doorbell, rings);
    Ok(carrier.run()?)
}
