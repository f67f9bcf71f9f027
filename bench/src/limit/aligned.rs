//! Memory that O_DIRECT accepts.

use std::ops::{Deref, DerefMut};

/// The block of the log: writes and buffers of direct IO are whole multiples of it, at addresses that are, too.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Zeroed bytes at an address that is a multiple of [`BLOCK_BYTES`]. They stay where they are when this moves.
#[derive(Debug)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(super) fn zeroed(length: usize) -> Self {
        let mut bytes = vec![0; length + BLOCK_BYTES];
        // Touched once, so that no page fault falls into what is measured.
        bytes.fill(0);
        let start = bytes.as_ptr().addr().next_multiple_of(BLOCK_BYTES) - bytes.as_ptr().addr();
        Self { bytes, start, length }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_stay_put() {
        for length in [1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
            let buffer = AlignedBuffer::zeroed(length);
            let address = buffer.as_ptr();
            assert!(address.addr().is_multiple_of(BLOCK_BYTES));
            let moved = Box::new(buffer);
            assert_eq!(moved.as_ptr(), address);
            assert_eq!(**moved, vec![0; length]);
        }
    }
}
