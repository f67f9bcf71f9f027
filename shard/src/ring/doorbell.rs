//! How a thread without a ring reaches a shard: an eventfd that the shard's ring keeps a read armed on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Rung by any thread, heard by one shard. Clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    shutdown: AtomicBool,
}

impl Doorbell {
    /// For one shard.
    ///
    /// # Errors
    /// When the process or the system has no descriptor left.
    pub fn create() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { shared: Arc::new(Shared { eventfd, shutdown: AtomicBool::new(false) }) })
    }

    /// Asks the shard to shut down: its host hears of it once, however often this is called.
    pub fn request_shutdown(&self) {
        if !self.shared.shutdown.swap(true, Ordering::Release) {
            self.ring();
        }
    }

    /// Wakes the shard, so that it looks for what was left for it.
    pub fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        let written = rustix::io::write(&self.shared.eventfd, &one);
        assert_eq!(written, Ok(one.len()), "the counter is far from overflowing, so the write never blocks");
    }

    /// Whether [`request_shutdown`](Self::request_shutdown) was called.
    pub(super) fn shutdown_requested(&self) -> bool {
        self.shared.shutdown.load(Ordering::Acquire)
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }
}
