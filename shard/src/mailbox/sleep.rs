//! Sleep and wake without a lost wake-up, and without a wake-up for one who is awake.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};

/// Tells senders whether a shard sleeps. Owned by the mesh, written by the sleeper and by whoever wakes it.
///
/// The sleeper: [`prepare_sleep`](Self::prepare_sleep), look at every queue once more, then either sleep or not, then
/// [`stay_awake`](Self::stay_awake). The sender: push, then [`should_wake`](Self::should_wake), then wake if told so.
/// Of the sleeper's store and the sender's push at least one is seen by the other side, because a sequentially
/// consistent fence stands between each side's store and its load. `tests/mailbox_loom.rs` checks every interleaving,
/// and that neither fence nor the second look can be left out.
///
/// On its own pair of cache lines: the flags of all shards lie side by side and are written by different cores.
#[derive(Debug)]
#[repr(align(128))]
pub struct SleepFlag {
    asleep: AtomicBool,
}

impl SleepFlag {
    /// Of a shard that is awake.
    pub fn awake() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// Announces sleep. The caller looks at its queues after this and sleeps only if they are empty.
    pub fn prepare_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back: after sleep, or instead of it. A wake-up that was decided on before may still come.
    pub fn stay_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Called after a push: whether the caller has to wake the sleeper. Of several senders only one is told so.
    pub fn should_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed)
            && self.asleep.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
