//! The io_uring of the probe, set up and waited on as the broker's is, behind an interface that cannot be misused.
//!
//! Memory is handed to the ring with each operation and comes back with its completion, so nothing that the kernel
//! still uses can be freed, moved or written to.

#![expect(unsafe_code, reason = "the kernel reads and writes memory that it is given by address")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::ReadWriteFlags;

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use crate::clock::Stopwatch;

/// `MSG_NOSIGNAL` of Linux: a peer that is gone is an error, not a signal.
const MSG_NOSIGNAL: i32 = 0x4000;
const RECEIVE_GROUP: u16 = 0;
/// How long operations have to end after their cancellation.
const CANCEL_SECONDS: u64 = 5;

/// One thread's ring. Must be used on the thread that made it.
pub(super) struct ProbeRing {
    ring: IoUring,
    operations: Vec<Option<Operation>>,
    vacant: Vec<u32>,
    receive_buffers: Option<ReceiveBuffers>,
    spin: Option<Duration>,
}

/// What the kernel is working on, with the memory it works on.
enum Operation {
    Block { buffer: AlignedBuffer, token: u32 },
    Send { bytes: Vec<u8>, token: u32 },
    Receive { token: u32 },
}

/// An operation has ended; its memory is the caller's again. `token` is what the caller named it.
#[derive(Debug)]
pub(super) enum Completion {
    /// A read or write of blocks.
    Block { token: u32, buffer: AlignedBuffer, transferred: io::Result<usize> },
    /// A send.
    Sent { token: u32, bytes: Vec<u8>, transferred: io::Result<usize> },
    /// A receive; `None` when the peer has closed.
    Received { token: u32, bytes: io::Result<Option<ReceivedBytes>> },
}

/// Received bytes, still in one of the ring's buffers; to be given back.
#[derive(Debug)]
pub(super) struct ReceivedBytes {
    buffer: u16,
    length: usize,
}

impl ProbeRing {
    /// A ring for at most `operations` at once. `spin`: how long to look for completions before sleeping.
    pub(super) fn new(operations: u32, spin: Option<Duration>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(operations.next_power_of_two())?;
        Ok(Self { ring, operations: Vec::new(), vacant: Vec::new(), receive_buffers: None, spin })
    }

    /// Gives the kernel `count` buffers (a power of two) of `length` bytes to receive into.
    pub(super) fn provide_receive_buffers(&mut self, count: u16, length: usize) -> io::Result<()> {
        assert!(self.receive_buffers.is_none(), "receive buffers are provided once");
        let mut buffers = ReceiveBuffers::new(count, length);
        let address = buffers.entries.as_mut_ptr().addr() as u64;
        // SAFETY: the entries are page-aligned, hold `count` entries, and live in `self` until the ring is gone: the
        // ring is the field declared, and so dropped, before them.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(address, count, RECEIVE_GROUP, 0)?;
        }
        for buffer in 0..count {
            buffers.give(buffer);
        }
        self.receive_buffers = Some(buffers);
        Ok(())
    }

    /// Writes the first `length` bytes of `buffer`, durable when it completes.
    pub(super) fn write_synced(
        &mut self,
        file: BorrowedFd<'_>,
        mut buffer: AlignedBuffer,
        length: usize,
        offset: u64,
        token: u32,
    ) -> io::Result<()> {
        let entry = opcode::Write::new(
            types::Fd(file.as_raw_fd()),
            buffer[..length].as_mut_ptr(),
            bytes_count(length),
        )
        .offset(offset)
        .rw_flags(ReadWriteFlags::DSYNC.bits().cast_signed())
        .build();
        self.push(entry, Operation::Block { buffer, token })
    }

    /// Reads the whole of `buffer`.
    pub(super) fn read(
        &mut self,
        file: BorrowedFd<'_>,
        mut buffer: AlignedBuffer,
        offset: u64,
        token: u32,
    ) -> io::Result<()> {
        let length = bytes_count(buffer.len());
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), buffer.as_mut_ptr(), length)
            .offset(offset)
            .build();
        self.push(entry, Operation::Block { buffer, token })
    }

    /// Sends `bytes`.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, bytes: Vec<u8>, token: u32) -> io::Result<()> {
        let entry =
            opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), bytes_count(bytes.len()))
                .flags(MSG_NOSIGNAL)
                .build();
        self.push(entry, Operation::Send { bytes, token })
    }

    /// Receives once, into one of the provided buffers.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        let length = self.receive_buffers.as_ref().expect("buffers are provided before receives").length;
        let entry =
            opcode::Recv::new(types::Fd(socket.as_raw_fd()), std::ptr::null_mut(), bytes_count(length))
                .buf_group(RECEIVE_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Operation::Receive { token })
    }

    /// The bytes of a completed receive.
    pub(super) fn received(&self, bytes: &ReceivedBytes) -> &[u8] {
        let buffers = self.receive_buffers.as_ref().expect("received bytes lie in provided buffers");
        &buffers.memory[usize::from(bytes.buffer) * buffers.length..][..bytes.length]
    }

    /// Lets the kernel receive into that buffer again.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever gives a buffer back must not read it any more"
    )]
    pub(super) fn give_back(&mut self, bytes: ReceivedBytes) {
        let buffers = self.receive_buffers.as_mut().expect("received bytes lie in provided buffers");
        buffers.give(bytes.buffer);
    }

    /// Submits what was started, waits until at least one operation has ended, and adds all that have to `completions`.
    pub(super) fn turn(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        if !self.spin_for_completion()? {
            self.enter(1)?;
        }
        self.reap(completions);
        Ok(())
    }

    /// Whether a completion came while spinning.
    fn spin_for_completion(&mut self) -> io::Result<bool> {
        let Some(spin) = self.spin else { return Ok(false) };
        self.enter(0)?;
        let began = Stopwatch::start();
        loop {
            // Deferred task work runs only when asked for; the flag says when there is some.
            if self.ring.submission().taskrun() {
                self.enter(0)?;
            }
            if !self.ring.completion().is_empty() {
                return Ok(true);
            }
            if began.elapsed() >= spin {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn enter(&self, want: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(want) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.enter(0)?;
        }
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.operations.push(None);
            u32::try_from(self.operations.len() - 1).expect("operations are few")
        });
        self.operations[slot as usize] = Some(operation);
        let entry = entry.user_data(u64::from(slot));
        // SAFETY: the memory that the entry names belongs to the operation in `slot` (or to the provided buffers),
        // whose heap block stays put and is kept until the completion, also by `drop`.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.expect("an enter makes room in the submission queue");
        Ok(())
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            let slot = u32::try_from(entry.user_data()).expect("user data is a slot");
            let operation = self.operations[slot as usize].take().expect("an operation completes once");
            self.vacant.push(slot);
            completions.push(operation.complete(&entry));
        }
    }

    fn has_operations(&self) -> bool {
        self.operations.iter().any(Option::is_some)
    }
}

impl Drop for ProbeRing {
    /// Cancels what can be cancelled and waits for the rest. Should that fail, memory is leaked rather than freed
    /// under the kernel's hands.
    fn drop(&mut self) {
        if !self.has_operations() {
            return;
        }
        let mut usable = self.enter(0).is_ok();
        let timeout = types::Timespec::new().sec(CANCEL_SECONDS);
        // "Nothing found" is as good as "all cancelled"; what could not be cancelled is waited for.
        let _ = self.ring.submitter().register_sync_cancel(Some(timeout), types::CancelBuilder::any());
        let mut completions = Vec::new();
        while usable && self.has_operations() {
            usable = self.enter(1).is_ok();
            self.reap(&mut completions);
        }
        if !usable {
            mem::forget(mem::take(&mut self.operations));
            mem::forget(self.receive_buffers.take());
        }
    }
}

impl Operation {
    fn complete(self, entry: &cqueue::Entry) -> Completion {
        let transferred = match entry.result() {
            negative if negative < 0 => Err(io::Error::from_raw_os_error(-negative)),
            count => Ok(count.unsigned_abs() as usize),
        };
        match self {
            Self::Block { buffer, token } => Completion::Block { token, buffer, transferred },
            Self::Send { bytes, token } => Completion::Sent { token, bytes, transferred },
            Self::Receive { token } => {
                let bytes = transferred.map(|length| {
                    cqueue::buffer_select(entry.flags()).map(|buffer| ReceivedBytes { buffer, length })
                });
                Completion::Received { token, bytes }
            }
        }
    }
}

/// Memory for receives, and the ring of entries through which the kernel learns which of it is free.
struct ReceiveBuffers {
    entries: AlignedBuffer,
    memory: AlignedBuffer,
    length: usize,
    mask: u16,
    tail: u16,
}

impl ReceiveBuffers {
    fn new(count: u16, length: usize) -> Self {
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel wants a power of two up to 32,768");
        let entries_bytes = usize::from(count) * size_of::<types::BufRingEntry>();
        Self {
            entries: AlignedBuffer::zeroed(entries_bytes.next_multiple_of(BLOCK_BYTES)),
            memory: AlignedBuffer::zeroed(usize::from(count) * length),
            length,
            mask: count - 1,
            tail: 0,
        }
    }

    fn give(&mut self, buffer: u16) {
        let address = self.memory[usize::from(buffer) * self.length..][..self.length].as_mut_ptr();
        let entries = self.entries.as_mut_ptr().cast::<types::BufRingEntry>();
        // SAFETY: the index is below the number of entries, for which `entries` has room.
        let entry = unsafe { entries.add(usize::from(self.tail & self.mask)) };
        // SAFETY: aligned, initialised (zeroed), and not read by the kernel before the tail moves past it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address.addr() as u64);
        entry.set_len(bytes_count(self.length));
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` points to the first entry of the ring.
        let tail = unsafe { types::BufRingEntry::tail(entries) };
        // SAFETY: an aligned u16 within `entries`, written by this thread only.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

fn bytes_count(length: usize) -> u32 {
    u32::try_from(length).expect("operations are shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn one(ring: &mut ProbeRing) -> Completion {
        let mut completions = Vec::new();
        ring.turn(&mut completions).unwrap();
        assert_eq!(completions.len(), 1);
        completions.remove(0)
    }

    #[test]
    fn receive_buffers_are_reused_for_ever_and_hold_what_was_sent() {
        for spin in [None, Some(Duration::from_millis(1))] {
            let mut ring = ProbeRing::new(8, spin).unwrap();
            ring.provide_receive_buffers(2, 64).unwrap();
            let (here, mut there) = UnixStream::pair().unwrap();
            for round in 0..200_u8 {
                ring.receive(here.as_fd(), 7).unwrap();
                there.write_all(&[round; 50]).unwrap();
                let Completion::Received { token: 7, bytes: Ok(Some(bytes)) } = one(&mut ring) else {
                    panic!()
                };
                assert_eq!(ring.received(&bytes), [round; 50]);
                ring.give_back(bytes);
            }
            drop(there);
            ring.receive(here.as_fd(), 8).unwrap();
            assert!(matches!(one(&mut ring), Completion::Received { token: 8, bytes: Ok(None) }));
        }
    }

    #[test]
    fn sends_arrive_and_give_their_memory_back() {
        let mut ring = ProbeRing::new(8, None).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        ring.send(here.as_fd(), b"hello".to_vec(), 3).unwrap();
        let Completion::Sent { token: 3, bytes, transferred: Ok(5) } = one(&mut ring) else { panic!() };
        assert_eq!(bytes, b"hello");
        let mut arrived = [0; 5];
        there.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, b"hello");
    }

    #[test]
    fn a_ring_with_operations_in_flight_can_be_dropped() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut ring = ProbeRing::new(8, None).unwrap();
        ring.provide_receive_buffers(2, 64).unwrap();
        ring.receive(here.as_fd(), 0).unwrap();
        ring.receive(here.as_fd(), 1).unwrap();
        ring.enter(0).unwrap();
        let began = Stopwatch::start();
        drop(ring);
        assert!(began.elapsed() < Duration::from_secs(CANCEL_SECONDS), "cancelling hung");
    }
}
