//! Stopping in order: what was accepted is finished, what waits is answered, the log is closed, then the loop ends.

use core::time::Duration;

use ringmain_shard::effect::{Effect, Effects, StopReason};
use ringmain_shard::time::Mono;
use ringmain_wire::ids::ShardId;

use super::ShardHost;
use super::mail::Mail;

/// How long clients may take to fetch their last answers.
const DRAIN_AT_MOST: Duration = Duration::from_secs(4);

/// How far the life of a shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Accepts connections.
    Serving,
    /// Finishes what was accepted; cuts connections off at this time, if it has not yet.
    Draining(Option<Mono>),
    /// Asks nothing more; serves what other shards still ask.
    Drained,
    /// The log is being closed.
    Closing,
    /// It is over.
    Stopped,
}

impl Life {
    pub(super) fn deadline(self) -> Option<Mono> {
        match self {
            Self::Draining(cut_off) => cut_off,
            _ => None,
        }
    }
}

impl ShardHost {
    pub(super) fn handle_shutdown(&mut self, now: Mono, effects: &mut Effects<Mail>) {
        if self.life != Life::Serving {
            return;
        }
        self.life = Life::Draining(Some(now + DRAIN_AT_MOST));
        effects.push(Effect::StopAccepting);
        for (&id, connection) in &mut self.connections {
            connection.close();
            self.touched.push(id);
        }
        for request in self.requests.fetches_here() {
            self.call_off_fetch_here(request, effects);
        }
    }

    /// Goes on to the next stage of stopping if this one is over.
    pub(super) fn poll_life(&mut self, now: Mono, effects: &mut Effects<Mail>) {
        if let Life::Draining(cut_off) = self.life {
            if cut_off.is_some_and(|cut_off| cut_off <= now) {
                self.life = Life::Draining(None);
                for connection in self.connections.values_mut() {
                    connection.abort(effects);
                }
                self.store.abandon();
            }
            if self.connections.is_empty() && self.requests.is_empty() && self.peers.is_idle() {
                self.life = Life::Drained;
                for other in
                    (0..self.identity.shards).map(ShardId).filter(|&shard| shard != self.identity.shard)
                {
                    effects.push(Effect::Mail { to: other, mail: Mail::Drained });
                }
            }
        }
        if self.life == Life::Drained
            && self.peers.are_drained(self.identity.shard)
            && self.requests.is_empty()
        {
            assert!(self.lending.is_settled(), "with every client gone, all that was lent is back");
            self.life = Life::Closing;
            self.store.close();
        }
        if self.life == Life::Closing {
            self.store.abandon_leftovers();
        }
        let is_tidying = self.former_logs.as_ref().is_some_and(|logs| logs.is_under_way());
        if self.life == Life::Closing && self.store.is_drained() && !is_tidying {
            self.life = Life::Stopped;
            effects.push(Effect::Stop { reason: StopReason::Shutdown });
        }
    }
}
