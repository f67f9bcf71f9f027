//! The threads of a node's shards, as the main thread sees them.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use ringmain_shard::background::{Background, BackgroundConfig};
use ringmain_shard::effect::StopReason;
use ringmain_shard::mailbox::Mailbox;
use ringmain_shard::ring::{Doorbell, Ended, Rendezvous, RingConfig, RunError, ShardParts, Sockets, run};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ServeError;
use crate::host::mail::Mail;
use crate::host::{HostConfig, ShardHost};

/// Everything that one shard's thread is given.
pub(super) struct Shard {
    pub(super) host: HostConfig,
    pub(super) data_directory: OwnedFd,
    /// The same, from the root of the filesystem.
    pub(super) data_path: PathBuf,
    pub(super) direct_io: bool,
    pub(super) connections_max: usize,
    pub(super) core: Option<usize>,
    pub(super) spin: Duration,
    pub(super) sockets: Sockets,
    pub(super) mailbox: Mailbox<Mail>,
    pub(super) doorbell: Doorbell,
    pub(super) rendezvous: Arc<Rendezvous>,
}

/// What becomes of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) enum ShardEvent {
    /// It serves.
    Listening,
    /// Its thread has ended.
    Ended(usize),
}

type Outcome = Result<Ended, RunError<std::convert::Infallible>>;

/// The threads.
pub(super) struct Shards {
    threads: Vec<Option<JoinHandle<Outcome>>>,
    doorbells: Vec<Doorbell>,
    events: UnboundedReceiver<ShardEvent>,
}

impl Shards {
    pub(super) fn spawn(shards: Vec<Shard>) -> Result<Self, ServeError> {
        let (sender, events) = unbounded_channel();
        let doorbells = shards.iter().map(|shard| shard.doorbell.clone()).collect();
        let spawn = |(number, shard): (usize, Shard)| {
            let events = sender.clone();
            let thread = Builder::new().name(format!("shard-{number}")).spawn(move || {
                // Dropped last, also by a panic: the main thread hears of every end.
                let end = TellEnd { number, events };
                run_shard(shard, &end.events)
            });
            Ok(Some(thread.map_err(ServeError::Runtime)?))
        };
        let threads = shards.into_iter().enumerate().map(spawn).collect::<Result<_, ServeError>>()?;
        Ok(Self { threads, doorbells, events })
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    pub(super) async fn next_event(&mut self) -> ShardEvent {
        // The channel closes only after every thread has told its end, and nobody asks after that.
        self.events.recv().await.expect("a shard ends only once")
    }

    pub(super) fn request_shutdown(&self) {
        self.doorbells.iter().for_each(Doorbell::request_shutdown);
    }

    /// Whether a shard that ended did so as asked.
    pub(super) fn check_ended(&mut self, shard: usize) -> Result<(), ServeError> {
        match self.join(shard) {
            Some(Ok(Ended { reason: StopReason::Shutdown, counters })) => {
                tracing::debug!(shard, ?counters, "shard stopped");
                Ok(())
            }
            Some(Ok(Ended { reason: StopReason::StorageFailed { message }, .. })) => {
                Err(ServeError::Storage(message))
            }
            Some(Err(RunError::Ring(error))) => Err(ServeError::Ring(error)),
            Some(Err(RunError::Host(never))) => match never {},
            None => Err(ServeError::ShardPanicked(shard)),
        }
    }

    /// Why a shard ended before it served. The first that failed knows more than those that ended because of it.
    pub(super) fn why_ended(&mut self, shard: usize) -> ServeError {
        let mut reason = self.check_ended(shard).err().unwrap_or(ServeError::ShardPanicked(shard));
        for other in 0..self.threads.len() {
            if reason.is_because_of_another_shard()
                && let Err(error) = self.check_ended(other)
            {
                reason = error;
            }
        }
        reason
    }

    fn join(&mut self, shard: usize) -> Option<Outcome> {
        self.threads[shard].take()?.join().ok()
    }
}

struct TellEnd {
    number: usize,
    events: UnboundedSender<ShardEvent>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody listens any more when the process is ending anyway.
        let _ = self.events.send(ShardEvent::Ended(self.number));
    }
}

fn run_shard(shard: Shard, events: &UnboundedSender<ShardEvent>) -> Outcome {
    let Shard {
        host,
        data_directory,
        data_path,
        direct_io,
        connections_max,
        core,
        spin,
        sockets,
        mailbox,
        doorbell,
        rendezvous,
    } = shard;
    let name = format!("upkeep-{}", host.identity.shard);
    let background = BackgroundConfig { data_directory: data_path, direct_io, core, name };
    let background = Some(Background::new(background, doorbell.clone()));
    let config =
        RingConfig { core, spin, background, connections_max, ..RingConfig::of(data_directory, direct_io) };
    let parts = ShardParts { config, sockets, mailbox, doorbell, rendezvous };
    let listening = || {
        let _ = events.send(ShardEvent::Listening);
    };
    run(parts, || Ok(ShardHost::new(host)), listening)
}
