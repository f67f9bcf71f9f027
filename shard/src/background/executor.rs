//! The thread: waits for requests, runs them on a glommio executor, each kind in a task queue of its own.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::io;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use rtrb::{Consumer, Producer};

use super::files::{OneFile, described};
use super::{BackgroundConfig, Orders, place, priority};
use crate::effect::FileId;
use crate::inspection::{Inspected, Inspection, InspectionRequest, Unsound};
use crate::ring::{Doorbell, check_beside};

/// Memory registered with the kernel, within what an ordinary user may lock: pieces of two inspections.
const IO_MEMORY_BYTES: usize = 4 << 20;
/// Operations on a ring: an inspection has one under way.
const RING_DEPTH: usize = 8;
/// How often it is looked for further requests and orders while one is being served.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Of the time that is left beside the loop, an index that somebody may be waiting for gets four parts of five.
const SEAL_SHARES: usize = 400;
const SCRUB_SHARES: usize = 100;

/// What the thread is given.
pub(super) struct Worker {
    pub(super) requested: Consumer<InspectionRequest>,
    pub(super) results: Producer<Inspected>,
    pub(super) doorbell: Doorbell,
    pub(super) orders: Arc<Orders>,
    /// Dropped when the thread has ended.
    pub(super) alive: mpsc::Sender<Infallible>,
}

impl Worker {
    /// Until it is told to stop, or meets a bug.
    pub(super) fn run(self, config: &BackgroundConfig) {
        let alive = self.alive.clone();
        let _end = TellEnd { orders: self.orders.clone(), doorbell: self.doorbell.clone(), _alive: alive };
        // What a panic leaves behind is thrown away.
        if catch_unwind(AssertUnwindSafe(|| self.work(config))).is_err() {
            tracing::error!(name = config.name, "the thread that inspects segments has met a bug, and ends");
        }
    }

    fn work(mut self, config: &BackgroundConfig) {
        let executor = loop {
            if !wait_for(&self.requested, &self.orders) {
                return;
            }
            match make_executor(config) {
                Ok(executor) => break executor,
                Err(error) => {
                    let name = &config.name;
                    tracing::warn!(name, %error, "segments are neither indexed nor scrubbed for now");
                    self.refuse();
                }
            }
        };
        let results = Rc::new(RefCell::new(Outbox { results: self.results, doorbell: self.doorbell }));
        let config = Rc::new(config.clone());
        let queues =
            executor.run(async { [make_queue(SEAL_SHARES, "seal"), make_queue(SCRUB_SHARES, "scrub")] });
        loop {
            executor.run(serve(&mut self.requested, &self.orders, &results, &config, queues));
            if !wait_for(&self.requested, &self.orders) {
                return;
            }
        }
    }

    fn refuse(&mut self) {
        while let Ok(request) = self.requested.pop() {
            let refused = Inspected { request, result: Err(Unsound::Unavailable) };
            self.results.push(refused).expect("there is room for one of each kind");
            self.doorbell.ring();
        }
    }
}

/// Says that the thread has ended, however it did.
struct TellEnd {
    orders: Arc<Orders>,
    doorbell: Doorbell,
    /// The last to be dropped.
    _alive: mpsc::Sender<Infallible>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.orders.is_over.store(true, Ordering::Release);
        self.doorbell.ring();
    }
}

/// Sleeps until there is a request. False when the thread is to stop.
fn wait_for(requested: &Consumer<InspectionRequest>, orders: &Orders) -> bool {
    while requested.is_empty() && !orders.is_stopping() {
        thread::park();
    }
    !orders.is_stopping()
}

/// What has ended, on its way to the loop.
struct Outbox {
    results: Producer<Inspected>,
    doorbell: Doorbell,
}

impl Outbox {
    fn tell(&mut self, inspected: Inspected) {
        self.results.push(inspected).expect("there is room for one of each kind");
        self.doorbell.ring();
    }
}

fn make_executor(config: &BackgroundConfig) -> io::Result<LocalExecutor> {
    check_beside().map_err(io::Error::other)?;
    // First, so that every thread that the executor starts inherits it.
    priority::become_idle()?;
    let placement = config.core.map_or(Placement::Unbound, Placement::Fixed);
    let builder = LocalExecutorBuilder::new(placement).name(&config.name);
    builder.io_memory(IO_MEMORY_BYTES).ring_depth(RING_DEPTH).make().map_err(described)
}

/// Serves requests until none is left.
async fn serve(
    requested: &mut Consumer<InspectionRequest>,
    orders: &Arc<Orders>,
    results: &Rc<RefCell<Outbox>>,
    config: &Rc<BackgroundConfig>,
    queues: [TaskQueueHandle; 2],
) {
    let under_way = Rc::new(Cell::new(0_usize));
    loop {
        while let Ok(request) = requested.pop() {
            under_way.set(under_way.get() + 1);
            let (under_way, orders) = (under_way.clone(), orders.clone());
            let (results, config) = (results.clone(), config.clone());
            let kind = request.kind;
            let task = async move {
                let inspected = inspect(request, &orders, &config).await;
                under_way.set(under_way.get() - 1);
                results.borrow_mut().tell(inspected);
            };
            glommio::spawn_local_into(task, queues[place(kind)]).expect("the queue was just made").detach();
        }
        if under_way.get() == 0 {
            break;
        }
        glommio::timer::sleep(LOOK_EVERY).await;
    }
}

fn make_queue(shares: usize, name: &'static str) -> TaskQueueHandle {
    glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name)
}

/// One inspection, from its first operation to its last, no faster than it was asked for.
async fn inspect(request: InspectionRequest, orders: &Orders, config: &BackgroundConfig) -> Inspected {
    let (kind, bytes_per_second) = (request.kind, request.bytes_per_second.max(1));
    let mut inspection = Inspection::new(request, FileId(0));
    let mut file = OneFile::new(config.direct_io);
    loop {
        if orders.is_cancelled(kind) {
            inspection.cancel();
        }
        let bytes = inspection.next_bytes();
        let Some(operation) = inspection.poll() else { break };
        let outcome = file.perform(&config.data_directory, operation).await;
        inspection.handle(outcome);
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / bytes_per_second;
        let mut pause = Duration::from_nanos(nanoseconds);
        while pause > Duration::ZERO && !orders.is_cancelled(kind) {
            let slice = pause.min(LOOK_EVERY);
            glommio::timer::sleep(slice).await;
            pause -= slice;
        }
        glommio::executor().yield_if_needed().await;
    }
    inspection.finish()
}
