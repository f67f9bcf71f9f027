//! Where the shards of a node wait for each other at the start: first for all rings, then for all hosts.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::RingError;

/// Shared by the shards of one node until each of them serves.
#[derive(Debug)]
pub struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// By shard, once it has one.
    rings: Vec<Option<Arc<OwnedFd>>>,
    /// How many shards have made their host.
    hosts: usize,
    /// One of them never will: nobody waits for it.
    failed: bool,
}

impl Rendezvous {
    /// For a node of `shards` shards.
    pub fn of(shards: usize) -> Arc<Self> {
        let state = State { rings: vec![None; shards], hosts: 0, failed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `complete`, unless a shard fails.
    fn wait(&self, complete: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, RingError> {
        let mut state = self.lock();
        self.changed.notify_all();
        loop {
            if state.failed {
                return Err(RingError::PeerFailed);
            }
            if complete(&state) {
                return Ok(state);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One shard's part in a rendezvous. Dropped before it serves, it tells the others not to wait.
#[derive(Debug)]
pub(super) struct Attendance {
    rendezvous: Arc<Rendezvous>,
    serving: bool,
}

impl Attendance {
    pub(super) const fn at(rendezvous: Arc<Rendezvous>) -> Self {
        Self { rendezvous, serving: false }
    }

    /// Hands in the ring of `shard` and waits for those of all others. The descriptors given back are the meeting's
    /// own, so that a ring that was closed is never mistaken for a file that took its number.
    pub(super) fn exchange_rings(&self, shard: usize, ring: OwnedFd) -> Result<Vec<Arc<OwnedFd>>, RingError> {
        let before = self.rendezvous.lock().rings[shard].replace(Arc::new(ring));
        assert!(before.is_none(), "shard {shard} runs twice");
        let state = self.rendezvous.wait(|state| state.rings.iter().all(Option::is_some))?;
        Ok(state.rings.iter().flatten().cloned().collect())
    }

    /// Waits until the hosts of all shards are made.
    pub(super) fn host_made(&mut self) -> Result<(), RingError> {
        self.rendezvous.lock().hosts += 1;
        let state = self.rendezvous.wait(|state| state.hosts == state.rings.len())?;
        drop(state);
        self.serving = true;
        Ok(())
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if !self.serving {
            self.rendezvous.lock().failed = true;
            self.rendezvous.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn any_descriptor() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC).expect("descriptors are left")
    }

    #[test]
    fn everybody_leaves_with_all_rings_and_after_all_hosts() {
        let rendezvous = Rendezvous::of(3);
        let threads: Vec<_> = (0..3)
            .map(|shard| {
                let mut attendance = Attendance::at(Arc::clone(&rendezvous));
                thread::spawn(move || {
                    let rings = attendance.exchange_rings(shard, any_descriptor())?;
                    attendance.host_made()?;
                    Ok::<_, RingError>(rings.len())
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), Ok(3));
        }
    }

    #[test]
    fn nobody_waits_for_a_shard_that_failed() {
        let rendezvous = Rendezvous::of(2);
        let waiting = Attendance::at(Arc::clone(&rendezvous));
        let failing = Attendance::at(rendezvous);
        let thread = thread::spawn(move || waiting.exchange_rings(0, any_descriptor()).map(|_| ()));
        drop(failing);
        assert_eq!(thread.join().expect("no panic"), Err(RingError::PeerFailed));
    }
}
