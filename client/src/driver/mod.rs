//! The client under tokio: carries out the core's effects, and gives its outcomes to futures.
//!
//! Every future here is cancel-safe: a dropped one has either done its step or not begun it. Handles are
//! `Clone + Send`.

mod admin;
mod carrier;
mod consumer;
mod producer;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::core::{Answer, ClientConfig, ClientCore, Endpoint, Event, ProducerKey, Request, RequestId};
use crate::error::ClientError;

pub use self::consumer::{Consumer, Start};
pub use self::producer::{Delivered, PendingDelivery, Producer};

use self::producer::Waiters;

/// The port that `ringmain serve` listens on for clients unless told otherwise.
pub const PORT_DEFAULT: u16 = 7092;

/// A client of one cluster. Cheap to clone; the last clone, with its producers and consumers, ends the connections.
#[derive(Clone, Debug)]
pub struct Client {
    lifetime: Arc<Lifetime>,
}

impl Client {
    /// Connects to the first of `brokers` (`HOST[:PORT]`, separated by commas) that answers.
    ///
    /// Must be called within a tokio runtime, which carries the connections from then on.
    ///
    /// # Errors
    /// [`ClientError::Connect`] as soon as none of the addresses can be reached; later losses of the connection are
    /// retried instead, for as long as each call allows.
    pub async fn connect(brokers: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let bootstrap = brokers.split(',').map(|broker| Endpoint::parse(broker.trim(), PORT_DEFAULT));
        let bootstrap = bootstrap.collect::<Result<Vec<_>, _>>()?;
        let request_timeout = config.request_timeout;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                core: ClientCore::new(config, bootstrap, seed()),
                phase: Phase::Connecting,
                answers: BTreeMap::new(),
                deliveries: BTreeMap::new(),
            }),
            work: Notify::new(),
            changed: Notify::new(),
            epoch: Instant::now(),
            request_timeout,
        });
        tokio::spawn(carrier::carry(Arc::clone(&shared)));
        let client = Self { lifetime: Arc::new(Lifetime { shared }) };
        client
            .shared()
            .wait_for(|state| match &state.phase {
                Phase::Connecting => None,
                Phase::Ready => Some(Ok(())),
                Phase::Failed(error) => Some(Err(error.clone())),
                Phase::Closed => Some(Err(ClientError::Closed)),
            })
            .await?;
        Ok(client)
    }

    /// Asks a question and waits for its answer for at most `timeout`.
    ///
    /// # Errors
    /// What the broker answered, or [`ClientError::TimedOut`]. Dropping the future does not take back what was sent.
    pub async fn ask(&self, request: Request, timeout: Duration) -> Result<Answer, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let id = self.shared().command(|state, now| {
            let id = state.core.ask(now, request, timeout);
            state.answers.insert(id, sender);
            id
        });
        let _forget = Forget { shared: self.shared(), id };
        receiver.await.unwrap_or(Err(ClientError::Closed))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.lifetime.shared
    }
}

/// Takes a question back when nobody waits for it any more.
struct Forget<'a> {
    shared: &'a Shared,
    id: RequestId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.answers.remove(&self.id).is_some() {
            state.core.forget(self.id);
        }
    }
}

/// What all handles of a client have in common with the task that carries its effects.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the carrier: a command was given or something arrived.
    work: Notify,
    /// Wakes whoever waits for an outcome.
    changed: Notify,
    epoch: Instant,
    request_timeout: Duration,
}

#[derive(Debug)]
struct State {
    core: ClientCore,
    phase: Phase,
    answers: BTreeMap<RequestId, oneshot::Sender<Result<Answer, ClientError>>>,
    deliveries: BTreeMap<ProducerKey, Waiters>,
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Ready,
    Failed(ClientError),
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock, unless a bug already has")
    }

    /// Time as the core counts it; the driver's only clock.
    fn now(&self) -> Duration {
        Instant::now() - self.epoch
    }

    /// Gives the core a command or an event, and lets the carrier do what follows.
    fn command<T>(&self, command: impl FnOnce(&mut State, Duration) -> T) -> T {
        let now = self.now();
        let outcome = command(&mut self.lock(), now);
        self.work.notify_one();
        outcome
    }

    /// Waits until `look` finds what it looks for; it is asked again after every change.
    async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(found) = look(&mut state) {
                    return found;
                }
                if state.core.take_newly_wanted() {
                    self.work.notify_one();
                }
            }
            changed.await;
        }
    }
}

impl State {
    /// Gives outcomes to those who wait for them.
    fn hand_out(&mut self) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Ready => self.phase = Phase::Ready,
                Event::ConnectFailed(error) => {
                    if matches!(self.phase, Phase::Connecting) {
                        self.phase = Phase::Failed(error);
                    }
                }
                Event::Answered { request, outcome } => {
                    if let Some(waiting) = self.answers.remove(&request) {
                        // Gone meanwhile: then nobody wants to know.
                        drop(waiting.send(outcome));
                    }
                }
            }
        }
        for (&producer, waiters) in &mut self.deliveries {
            while let Some(delivery) = self.core.poll_delivery(producer) {
                waiters.deliver(&delivery);
            }
        }
    }
}

/// Ends the carrier when the last handle is gone.
#[derive(Debug)]
struct Lifetime {
    shared: Arc<Shared>,
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.shared.command(|state, _| state.phase = Phase::Closed);
    }
}

/// A seed that differs between clients: the hash keys that the standard library draws from the operating system.
fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
