//! The ring and everything handed to it: memory goes in with an operation and comes out with its completion, never before.
#![expect(unsafe_code, reason = "submission to io_uring")]

use core::mem::{self, ManuallyDrop};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use core::time::Duration;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use ringmain_wire::ids::ShardId;

use super::RingCounters;
use super::buffers::ReceiveBuffers;
use super::error::RingError;
use super::operations::Operation;
use super::tokens::{GENERATION_MASK, OperationId, Token};

/// Owns the ring, the operations under way on it, and the buffers it picks from.
///
/// Dropped with operations under way, as a panic does, it leaks their memory: the kernel may still write to it.
pub(super) struct InFlight {
    ring: IoUring,
    buffers: ManuallyDrop<ReceiveBuffers>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    under_way: usize,
    /// Entries that found no room in the submission queue, oldest first.
    waiting: VecDeque<squeue::Entry>,
    pub(super) counters: RingCounters,
}

struct Slot {
    generation: u32,
    operation: Option<Operation>,
}

impl InFlight {
    pub(super) fn on(ring: IoUring, buffers: ReceiveBuffers) -> Self {
        Self {
            ring,
            buffers: ManuallyDrop::new(buffers),
            slots: Vec::new(),
            free: Vec::new(),
            under_way: 0,
            waiting: VecDeque::new(),
            counters: RingCounters::default(),
        }
    }

    /// A second descriptor of the ring, for others to send wake-ups to.
    pub(super) fn ring_descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring is open while `self` is borrowed.
        let ring = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        ring.try_clone_to_owned()
    }

    /// How many operations have not completed.
    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// All operations that have not completed.
    pub(super) fn operations(&self) -> impl Iterator<Item = (OperationId, &Operation)> {
        self.slots.iter().zip(0..).filter_map(|(slot, number)| {
            let id = OperationId { slot: number, generation: slot.generation };
            slot.operation.as_ref().map(|operation| (id, operation))
        })
    }

    /// Hands `operation` to the kernel with the next submission.
    pub(super) fn start(&mut self, operation: Operation) -> OperationId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, operation: None });
            u32::try_from(self.slots.len() - 1).expect("operations are bounded far below 2^32")
        });
        let place = &mut self.slots[slot as usize];
        place.generation = (place.generation + 1) & GENERATION_MASK;
        let id = OperationId { slot, generation: place.generation };
        let entry = place.operation.insert(operation).entry();
        self.under_way += 1;
        self.push(entry.user_data(Token::Operation(id).encode()));
        id
    }

    /// Takes back the operation that a completion was for.
    ///
    /// # Panics
    /// When it is not under way: it would have completed twice.
    pub(super) fn finish(&mut self, id: OperationId) -> Operation {
        let place = &mut self.slots[id.slot as usize];
        assert_eq!(place.generation, id.generation, "an operation completes once");
        let operation = place.operation.take().expect("an operation completes once");
        self.free.push(id.slot);
        self.under_way -= 1;
        operation
    }

    /// Asks the kernel to end an operation early. It completes in any case, cancelled or not.
    pub(super) fn cancel(&mut self, id: OperationId) {
        let target = types::CancelBuilder::user_data(Token::Operation(id).encode());
        self.push(quiet(opcode::AsyncCancel2::new(target).build(), Token::CancelFailed));
    }

    /// Wakes `shard`, which sleeps on `ring`.
    pub(super) fn wake(&mut self, shard: ShardId, ring: RawFd) {
        self.counters.wakes_sent += 1;
        let message = opcode::MsgRingData::new(types::Fd(ring), 0, Token::Woken.encode(), None).build();
        self.push(quiet(message, Token::WakeFailed(shard)));
    }

    /// The bytes of a receive into a provided buffer.
    pub(super) fn lent(&self, buffer: u16, length: usize) -> &[u8] {
        self.buffers.lent(buffer, length)
    }

    /// The bytes of [`lent`](Self::lent) are no longer looked at.
    pub(super) fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
    }

    /// The next completion that the kernel has posted.
    pub(super) fn completion(&mut self) -> Option<cqueue::Entry> {
        let entry = self.ring.completion().next();
        self.counters.completions += u64::from(entry.is_some());
        entry
    }

    /// Whether [`completion`](Self::completion) would give something.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Hands over what was started and runs what waits to complete, without waiting; without a system call if there is
    /// neither.
    pub(super) fn submit(&mut self) -> Result<(), RingError> {
        self.queue_waiting();
        let submission = self.ring.submission();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return Ok(());
        }
        drop(submission);
        self.counters.enters += 1;
        tolerate(self.ring.submit())
    }

    /// Hands over what was started, and waits until something completes or `timeout` has passed.
    pub(super) fn submit_and_wait(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        self.queue_waiting();
        self.counters.enters += 1;
        match timeout {
            None => tolerate(self.ring.submit_and_wait(1)),
            Some(timeout) => {
                let timeout = types::Timespec::from(timeout);
                let arguments = types::SubmitArgs::new().timespec(&timeout);
                tolerate(self.ring.submitter().submit_with_args(1, &arguments))
            }
        }
    }

    /// Queues `entry`, behind those that found no room before it.
    fn push(&mut self, entry: squeue::Entry) {
        if self.waiting.is_empty() && self.ring.submission().is_full() {
            self.counters.enters += 1;
            // What fails here fails again in the submission at the end of the turn, which reports it.
            let _ = self.ring.submit();
        }
        self.waiting.push_back(entry);
        self.queue_waiting();
    }

    fn queue_waiting(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the entry either touches no memory (cancellation, wake-up) or was made by `start` from an
            // operation in `slots`. That operation owns the memory and stays until `finish`, which only its completion
            // leads to, or for good.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.under_way > 0 {
            mem::forget(mem::take(&mut self.slots));
        } else {
            // SAFETY: dropped once, here; nothing under way can pick a buffer.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}

/// Completes visibly only on failure.
fn quiet(entry: squeue::Entry, failed: Token) -> squeue::Entry {
    entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(failed.encode())
}

/// What an enter may end with besides success: time ran out, a signal came, or completions must be taken first.
fn tolerate(entered: io::Result<usize>) -> Result<(), RingError> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(RingError::call("io_uring_enter", &error)),
        },
    }
}
