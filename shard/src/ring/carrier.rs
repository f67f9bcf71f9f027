//! One turn after another, and when to sleep in between.

use core::time::Duration;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::connections::Connections;
use super::doorbell::Doorbell;
use super::error::RingError;
use super::files::Files;
use super::in_flight::InFlight;
use super::operations::Operation;
use super::sockets::Listeners;
use super::{Ended, RingConfig, clock};
use crate::background::Background;
use crate::effect::{Effects, StopReason};
use crate::event::Event;
use crate::host::Host;
use crate::mailbox::Mailbox;
use crate::time::{Mono, Now};

/// Completions handled before the host may finish a turn.
const COMPLETIONS_PER_TURN_MAX: usize = 256;
/// Messages from other shards handled before the host may finish a turn.
const MAIL_PER_TURN_MAX: usize = 256;

/// Carries one host's effects out. Owned by the shard's thread.
pub(super) struct Carrier<H: Host> {
    pub(super) host: H,
    /// Asked for and not yet started.
    pub(super) effects: Effects<H::Mail>,
    pub(super) in_flight: InFlight,
    pub(super) listeners: Listeners,
    pub(super) connections: Connections,
    pub(super) files: Files,
    pub(super) mailbox: Mailbox<H::Mail>,
    /// By shard.
    pub(super) rings: Vec<Arc<OwnedFd>>,
    pub(super) doorbell: Doorbell,
    pub(super) background: Option<Background>,
    /// The host knows that it is to shut down.
    pub(super) shutdown_told: bool,
    pub(super) linger: Duration,
    spin: Duration,
    pub(super) now: Now,
    /// When something last happened, for spinning.
    active: Mono,
    pub(super) stopping: Option<StopReason>,
}

impl<H: Host> Carrier<H> {
    pub(super) fn carry(
        host: H,
        config: RingConfig,
        in_flight: InFlight,
        listeners: Listeners,
        mailbox: Mailbox<H::Mail>,
        doorbell: Doorbell,
        rings: Vec<Arc<OwnedFd>>,
    ) -> Self {
        let now = clock::now();
        Self {
            host,
            effects: Effects::new(),
            in_flight,
            listeners,
            connections: Connections::at_most(config.connections_max, config.linger),
            files: Files::below(config.data_directory, config.direct_io),
            mailbox,
            rings,
            doorbell,
            background: config.background,
            shutdown_told: false,
            linger: config.linger,
            spin: config.spin,
            now,
            active: now.mono,
            stopping: None,
        }
    }

    /// Until the host stops it.
    pub(super) fn run(mut self) -> Result<Ended, RingError> {
        self.hear_doorbell();
        loop {
            self.turn();
            if let Some(reason) = self.stopping.take() {
                self.drain()?;
                return Ok(Ended { reason, counters: self.in_flight.counters });
            }
            self.wait()?;
        }
    }

    fn turn(&mut self) {
        self.now = clock::now();
        let happened = self.deliver_closed() + self.deliver_completions() + self.deliver_mail();
        if happened > 0 {
            self.active = self.now.mono;
        }
        self.host.finish_turn(self.now, &mut self.effects);
        self.start_effects();
        self.start_starved();
        self.start_accepts();
        self.connections.cut_lingering(self.now.mono);
        self.send_wakes();
    }

    /// First of all, so that the host asks nothing of a connection that it was told is gone, and whatever it asked
    /// before has been taken in.
    fn deliver_closed(&mut self) -> usize {
        let mut count = 0;
        while let Some((connection, unsent)) = self.connections.poll_closed() {
            self.host.handle(self.now, Event::Closed { connection, unsent }, &mut self.effects);
            count += 1;
        }
        count
    }

    fn deliver_completions(&mut self) -> usize {
        for handled in 0..COMPLETIONS_PER_TURN_MAX {
            let Some(completion) = self.in_flight.completion() else { return handled };
            self.complete(&completion);
        }
        COMPLETIONS_PER_TURN_MAX
    }

    fn deliver_mail(&mut self) -> usize {
        for handled in 0..MAIL_PER_TURN_MAX {
            let Some((from, mail)) = self.mailbox.receive() else { return handled };
            self.host.handle(self.now, Event::Mail { from, mail }, &mut self.effects);
        }
        MAIL_PER_TURN_MAX
    }

    fn send_wakes(&mut self) {
        while let Some(shard) = self.mailbox.next_wake() {
            self.in_flight.wake(shard, self.rings[usize::from(shard.get())].as_raw_fd());
        }
    }

    /// Keeps a read armed on the doorbell.
    pub(super) fn hear_doorbell(&mut self) {
        self.in_flight.start(Operation::Hear { doorbell: self.doorbell.as_raw_fd(), count: Box::new(0) });
    }

    /// Submits what was started, and returns when there is something to do.
    fn wait(&mut self) -> Result<(), RingError> {
        if self.connections.any_closed() || self.mailbox.has_mail() || self.in_flight.has_completions() {
            return self.in_flight.submit();
        }
        let deadline = self.deadline();
        if self.spin > Duration::ZERO && self.spin_until(deadline)? {
            return Ok(());
        }
        self.mailbox.prepare_sleep();
        let outcome = if self.mailbox.has_mail() {
            self.in_flight.submit()
        } else {
            let timeout = deadline.map(|deadline| deadline.since(clock::monotonic()));
            self.in_flight.submit_and_wait(timeout)
        };
        self.mailbox.stay_awake();
        outcome
    }

    /// When a turn is due even if nothing happens.
    fn deadline(&mut self) -> Option<Mono> {
        let deadlines = [self.host.deadline(), self.listeners.deadline(), self.connections.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Polls without sleeping for as long as the last event is recent. Whether a turn is due.
    fn spin_until(&mut self, deadline: Option<Mono>) -> Result<bool, RingError> {
        let end = self.active + self.spin;
        loop {
            // Enters only if something was started or the kernel says that completions wait to be run.
            self.in_flight.submit()?;
            if self.in_flight.has_completions() || self.mailbox.has_mail() {
                return Ok(true);
            }
            let now = clock::monotonic();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(true);
            }
            if end <= now {
                return Ok(false);
            }
            core::hint::spin_loop();
        }
    }
}
