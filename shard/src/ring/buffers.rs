//! Buffers that the kernel picks from when bytes arrive, so that a connection waiting for bytes holds none.
#![expect(unsafe_code, reason = "memory shared with the kernel: the ring of provided buffers")]

use core::slice;
use core::sync::atomic::{AtomicU16, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::error::RingError;

/// The only group of provided buffers on the ring.
pub(super) const BUFFER_GROUP: u16 = 0;

const PAGE_BYTES: usize = 4096;

/// A ring of buffer descriptors, which the kernel reads, and behind it the buffers themselves, which it fills.
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    /// `layout` bytes from the allocator, owned by this.
    memory: *mut u8,
    layout: Layout,
    count: u16,
    buffer_bytes: u32,
    /// How many descriptors were ever put into the ring, wrapping.
    tail: u16,
}

impl ReceiveBuffers {
    /// Registers `count` buffers with `ring`. They must live until the ring has nothing under way that could pick one.
    ///
    /// # Panics
    /// Unless `count` is a power of two up to 32,768 and `buffer_bytes` positive.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_bytes: u32) -> Result<Self, RingError> {
        assert!(count.is_power_of_two(), "the kernel wants a power of two of receive buffers, not {count}");
        assert!(buffer_bytes > 0, "a receive buffer holds at least a byte");
        let bytes = descriptors_bytes(count) + usize::from(count) * buffer_bytes as usize;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 32,768 buffers of 4 GiB");
        // SAFETY: the layout is not empty: `count` is at least one.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        let mut buffers = Self { memory, layout, count, buffer_bytes, tail: 0 };
        // SAFETY: the descriptors are `count` zeroed entries at a page boundary; they stay allocated while the ring can
        // read them, because their owner lets go of them only with nothing under way, or never.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(memory.addr() as u64, count, BUFFER_GROUP, 0)
        };
        registered.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => RingError::MemoryLimit,
            Some(libc::EINVAL) => {
                RingError::Unsupported { feature: "IORING_REGISTER_PBUF_RING", linux: "5.19" }
            }
            _ => RingError::call("io_uring_register(IORING_REGISTER_PBUF_RING)", &error),
        })?;
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        Ok(buffers)
    }

    /// The first `length` bytes of a buffer that a completion named.
    pub(super) fn lent(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(length <= self.buffer_bytes as usize, "the kernel fills at most a whole buffer");
        let start = self.buffer(buffer);
        // SAFETY: the bytes lie within the allocation, are initialised (zeroed, then written by the kernel), and the
        // kernel does not touch a buffer between its completion and `give_back`, which needs `&mut self`.
        unsafe { slice::from_raw_parts(start, length) }
    }

    /// Lets the kernel pick `buffer` again.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let start = self.buffer(buffer);
        let place = usize::from(self.tail & (self.count - 1));
        let descriptors = self.memory.cast::<BufRingEntry>();
        // SAFETY: `place` is below `count`, so that the entry lies within the allocation.
        let descriptor = unsafe { descriptors.add(place) };
        // SAFETY: an initialised entry that nobody else refers to; the kernel reads it only once the tail has passed it.
        let descriptor = unsafe { &mut *descriptor };
        descriptor.set_addr(start.addr() as u64);
        descriptor.set_len(self.buffer_bytes);
        descriptor.set_bid(buffer);

        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `descriptors` is the address of the first of `count` initialised entries.
        let tail = unsafe { BufRingEntry::tail(descriptors) };
        // SAFETY: the tail is an aligned u16 within the ring that only this thread writes, and that the kernel reads
        // with acquire semantics; its pointer comes from the allocation, which may be written.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Where `buffer` begins.
    fn buffer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "the kernel names a buffer that it was given");
        let offset = descriptors_bytes(self.count) + usize::from(buffer) * self.buffer_bytes as usize;
        // SAFETY: `offset` lies within the allocation because `buffer` is below `count`.
        unsafe { self.memory.add(offset) }
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        // SAFETY: allocated by `register` with this layout, and freed only here.
        unsafe { dealloc(self.memory, self.layout) };
    }
}

/// Bytes of the descriptors, in whole pages so that buffers begin at a page.
const fn descriptors_bytes(count: u16) -> usize {
    (count as usize * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES)
}
