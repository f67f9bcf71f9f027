//! The unit in which everything is written: no two writes ever touch the same block.

use bytes::BytesMut;

/// Bytes of a block: the largest sector and page size in use, so that O_DIRECT is always satisfied.
pub const BLOCK_BYTES: usize = 4096;

/// The smallest multiple of [`BLOCK_BYTES`] that holds `bytes`.
#[inline]
#[must_use]
pub const fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Whether `bytes` is a whole number of blocks.
#[inline]
#[must_use]
pub const fn is_whole_blocks(bytes: u64) -> bool {
    bytes.is_multiple_of(BLOCK_BYTES as u64)
}

/// `bytes` zeroes that start on a block boundary.
#[must_use]
pub fn aligned_zeroes(bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::zeroed(bytes + BLOCK_BYTES);
    let ahead = buffer.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
    let mut aligned = buffer.split_off(ahead);
    aligned.truncate(bytes);
    aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_up_to_the_next_block_and_leaves_whole_blocks_alone() {
        assert_eq!(round_up(0), 0);
        assert_eq!(round_up(1), 4096);
        assert_eq!(round_up(4096), 4096);
        assert_eq!(round_up(4097), 8192);
        assert!(is_whole_blocks(8192));
        assert!(!is_whole_blocks(8191));
    }
}
