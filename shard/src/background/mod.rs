//! Beside the loop: inspects segments on a thread of idle priority on the same core, so that the kernel, not politeness,
//! keeps it from delaying a produce.
//!
//! Must never be waited for. The shard's loop hands requests over and is told of results by its doorbell, also when the
//! thread dies: then what it had under way ends as unavailable. Only this folder names glommio.

mod executor;
mod files;
mod priority;

use core::convert::Infallible;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
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
    /// Whether its files bypass the page cache, as [`probe_direct_io`](crate::ring::probe_direct_io) found out.
    pub direct_io: bool,
    /// The core that the shard's thread is bound to; `None` leaves both to the scheduler.
    pub core: Option<usize>,
    /// Its name, for people who look at threads.
    pub name: String,
}

/// The thread, as the shard's loop sees it: there is none before the first request, and after it has died none before the
/// next one. Dropped, it ends the thread and waits for that, but not for long: where others want every core, idle priority
/// may mean never, and nothing rests on what the thread does.
#[derive(Debug)]
pub struct Background {
    config: BackgroundConfig,
    doorbell: Doorbell,
    thread: Option<Thread>,
    /// Handed over and not yet told.
    under_way: Vec<InspectionRequest>,
    /// To be told, of a thread that is gone or never came to be.
    ended: VecDeque<Inspected>,
}

/// A thread that runs, or has died unheard.
#[derive(Debug)]
struct Thread {
    requests: Producer<InspectionRequest>,
    results: Consumer<Inspected>,
    orders: Arc<Orders>,
    /// Ends with the thread; nothing is ever sent.
    end: mpsc::Receiver<Infallible>,
    handle: JoinHandle<()>,
}

/// How long the end of the thread is waited for.
const END_AT_MOST: Duration = Duration::from_secs(1);

/// What the loop wants of the thread besides its requests.
#[derive(Debug, Default)]
struct Orders {
    cancelled: [AtomicBool; 2],
    stop: AtomicBool,
    /// The other way round: the thread has ended.
    is_over: AtomicBool,
}

impl Orders {
    fn is_cancelled(&self, kind: InspectionKind) -> bool {
        self.cancelled[place(kind)].load(Ordering::Acquire) || self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Background {
    /// Nothing is inspected yet; results will ring `doorbell`.
    pub const fn new(config: BackgroundConfig, doorbell: Doorbell) -> Self {
        Self { config, doorbell, thread: None, under_way: Vec::new(), ended: VecDeque::new() }
    }

    /// Hands a request over.
    ///
    /// # Panics
    /// When one of its kind is under way.
    pub fn inspect(&mut self, request: InspectionRequest) {
        let is_first = self.under_way.iter().all(|under_way| under_way.kind != request.kind);
        assert!(is_first, "one inspection of a kind at a time");
        self.bury();
        self.under_way.push(request.clone());
        if let Err(error) = self.hand_over(request.clone()) {
            tracing::warn!(name = self.config.name, %error, "segments are neither indexed nor scrubbed for now");
            self.ended.push_back(Inspected { request, result: Err(Unsound::Unavailable) });
            self.doorbell.ring();
        }
    }

    /// Ends the inspection of a kind early.
    pub fn cancel(&mut self, kind: InspectionKind) {
        if let Some(thread) = &self.thread {
            thread.orders.cancelled[place(kind)].store(true, Ordering::Release);
        }
    }

    /// The next inspection that has ended.
    pub fn poll(&mut self) -> Option<Inspected> {
        self.bury();
        let ended = self.ended.pop_front().or_else(|| self.thread.as_mut()?.results.pop().ok())?;
        self.under_way.retain(|request| *request != ended.request);
        Some(ended)
    }

    fn hand_over(&mut self, request: InspectionRequest) -> io::Result<()> {
        let mut thread = match self.thread.take() {
            Some(thread) => thread,
            None => self.start(QUEUE_ROOM)?,
        };
        thread.orders.cancelled[place(request.kind)].store(false, Ordering::Release);
        thread.requests.push(request).expect("there is room for one of each kind");
        thread.handle.thread().unpark();
        self.thread = Some(thread);
        Ok(())
    }

    fn start(&self, results_room: usize) -> io::Result<Thread> {
        let (requests, requested) = RingBuffer::new(QUEUE_ROOM);
        let (results, ended) = RingBuffer::new(results_room);
        let orders = Arc::new(Orders::default());
        let (alive, end) = mpsc::channel();
        let doorbell = self.doorbell.clone();
        let worker = executor::Worker { requested, results, doorbell, orders: orders.clone(), alive };
        let config = self.config.clone();
        let handle = Builder::new().name(config.name.clone()).spawn(move || worker.run(&config))?;
        Ok(Thread { requests, results: ended, orders, end, handle })
    }

    /// Takes over what a thread leaves that has ended unasked: what it had under way would never end otherwise.
    fn bury(&mut self) {
        let Some(mut thread) = self.thread.take_if(|thread| thread.orders.is_over()) else { return };
        while let Ok(inspected) = thread.results.pop() {
            self.ended.push_back(inspected);
        }
        for request in &self.under_way {
            if self.ended.iter().all(|ended| ended.request != *request) {
                let result = Err(Unsound::Unavailable);
                self.ended.push_back(Inspected { request: request.clone(), result });
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(Thread { orders, end, handle, .. }) = self.thread.take() else { return };
        orders.stop.store(true, Ordering::Release);
        handle.thread().unpark();
        match end.recv_timeout(END_AT_MOST) {
            Err(RecvTimeoutError::Disconnected) => {
                // What it met, it has told of itself.
                let _ = handle.join();
            }
            Err(RecvTimeoutError::Timeout) => {
                let name = &self.config.name;
                tracing::info!(
                    name,
                    "other programs leave the thread no time to end: it ends with the process"
                );
            }
            Ok(never) => match never {},
        }
    }
}

const fn place(kind: InspectionKind) -> usize {
    match kind {
        InspectionKind::Seal => 0,
        InspectionKind::Scrub => 1,
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wal::state::SegmentExtent;
    use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::partition::epochs::EpochTable;

    /// Nothing here takes longer unless it is broken.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Of a segment that is not there.
    fn request() -> InspectionRequest {
        let (created, max_timestamp) = (TimestampMs(0), TimestampMs(0));
        let extent = SegmentExtent { base: Offset(0), end: Offset(9), bytes: 999, created, max_timestamp };
        let partition = PartitionId::default();
        let epochs = EpochTable::default();
        InspectionRequest { kind: InspectionKind::Seal, partition, extent, epochs, bytes_per_second: 1 << 20 }
    }

    /// Waits until the doorbell rings, and takes note of it.
    fn hear(doorbell: &Doorbell) {
        let patience = Timespec::try_from(PATIENCE).expect("short");
        let ready = poll(&mut [PollFd::new(doorbell, PollFlags::IN)], Some(&patience));
        assert_eq!(ready, Ok(1), "it rings");
        rustix::io::read(doorbell, &mut [0; 8]).expect("it has rung");
    }

    #[test]
    fn a_thread_that_dies_is_heard_of_and_the_next_request_starts_another_one() {
        let doorbell = Doorbell::create().expect("descriptors are left");
        let data_directory = PathBuf::from("/nowhere");
        let config =
            BackgroundConfig { data_directory, direct_io: true, core: None, name: "upkeep-dies".to_owned() };
        let mut background = Background::new(config, doorbell.clone());
        // Without room for its result it panics in the midst of its executor.
        background.thread = Some(background.start(0).expect("a thread"));
        background.inspect(request());
        hear(&doorbell);
        let unavailable = Inspected { request: request(), result: Err(Unsound::Unavailable) };
        assert_eq!(background.poll(), Some(unavailable));
        assert_eq!(background.poll(), None);
        assert!(background.thread.is_none());
        background.inspect(request());
        hear(&doorbell);
        let result = background.poll().map(|inspected| inspected.result);
        assert!(matches!(result, Some(Err(Unsound::Failed { .. }))), "{result:?}");
    }
}
