//! Beside the loop: inspects segments on a thread of idle priority on the same core, so that the kernel, not politeness,
//! keeps it from delaying a produce.
//!
//! Must never be waited for. The shard's loop hands requests over and is told of results by its doorbell; the thread
//! sleeps, and has no ring, until the first request. Only this folder names glommio.

mod executor;
mod files;
mod priority;

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::inspection::{Inspected, InspectionKind, InspectionRequest, Unsound};
use crate::ring::Doorbell;

/// Requests and results under way: one of each kind.
const QUEUE_ROOM: usize = 2;

/// How the thread works.
#[derive(Clone, Debug)]
pub struct BackgroundConfig {
    /// The data directory, from the root of the filesystem.
    pub data_directory: PathBuf,
    /// The core that the shard's thread is bound to; `None` leaves both to the scheduler.
    pub core: Option<usize>,
    /// Its name, for people who look at threads.
    pub name: String,
}

/// The thread, as the shard's loop sees it. Dropped, it ends the thread and waits for that: as long as one piece of a
/// segment takes.
#[derive(Debug)]
pub struct Background {
    requests: Producer<InspectionRequest>,
    results: Consumer<Inspected>,
    /// Handed over and not yet ended.
    under_way: Vec<InspectionRequest>,
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What the loop wants of the thread besides its requests.
#[derive(Debug, Default)]
struct Orders {
    cancelled: [AtomicBool; 2],
    stop: AtomicBool,
}

impl Orders {
    fn is_cancelled(&self, kind: InspectionKind) -> bool {
        self.cancelled[place(kind)].load(Ordering::Acquire) || self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Background {
    /// Starts the thread; results ring `doorbell`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn spawn(config: BackgroundConfig, doorbell: Doorbell) -> io::Result<Self> {
        let (requests, requested) = RingBuffer::new(QUEUE_ROOM);
        let (results, ended) = RingBuffer::new(QUEUE_ROOM);
        let orders = Arc::new(Orders::default());
        let worker = executor::Worker { requested, results, doorbell, orders: orders.clone() };
        let thread = Builder::new().name(config.name.clone()).spawn(move || worker.run(&config))?;
        Ok(Self { requests, results: ended, under_way: Vec::new(), orders, thread: Some(thread) })
    }

    /// Hands a request over.
    ///
    /// # Panics
    /// When one of its kind is under way.
    pub fn inspect(&mut self, request: InspectionRequest) {
        let is_first = self.under_way.iter().all(|under_way| under_way.kind != request.kind);
        assert!(is_first, "one inspection of a kind at a time");
        self.orders.cancelled[place(request.kind)].store(false, Ordering::Release);
        self.requests.push(request).expect("there is room for one of each kind");
        self.under_way.push(request);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Ends the inspection of a kind early.
    pub fn cancel(&mut self, kind: InspectionKind) {
        self.orders.cancelled[place(kind)].store(true, Ordering::Release);
    }

    /// The next inspection that has ended.
    pub fn poll(&mut self) -> Option<Inspected> {
        let ended = self.results.pop().ok().or_else(|| {
            // The thread has ended unasked: what it had under way never ends otherwise.
            let request = *self.under_way.first().filter(|_| self.results.is_abandoned())?;
            Some(Inspected { request, result: Err(Unsound::Unavailable) })
        })?;
        self.under_way.retain(|request| *request != ended.request);
        Some(ended)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that inspects segments has met a bug");
            }
        }
    }
}

const fn place(kind: InspectionKind) -> usize {
    match kind {
        InspectionKind::Seal => 0,
        InspectionKind::Scrub => 1,
    }
}
