//! Snappy blocks in the framing of snappy-java (xerial), which Kafka clients write; raw Snappy is read too.
//!
//! Framing: 16 bytes of header, then blocks, each behind its length as a big-endian `i32`. Clients that write raw
//! Snappy exist, and snappy-java reads both, so both are read here.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{BoundedOutput, Fault};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Version and oldest compatible version, both 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// What snappy-java writes.
const BLOCK_BYTES: usize = 32 * 1024;
/// The densest element of Snappy is a copy of 64 bytes in 3.
const EXPANSION_MAX: usize = 22;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSIONS);
    let mut encoder = Encoder::new();
    for block in input.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + size_of::<u32>();
        out.resize(block_at + max_compress_len(block.len()), 0);
        let block_bytes = encoder.compress(block, &mut out[block_at..]).expect("the space fits any block");
        out.truncate(block_at + block_bytes);
        out[length_at..block_at].copy_from_slice(&(block_bytes as u32).to_be_bytes());
    }
}

pub(super) fn decompress(input: &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    let Some(framed) = input.strip_prefix(MAGIC) else {
        return decompress_block(input, output);
    };
    // The versions only ever were 1, and readers in the field do not look at them.
    let Some((_versions, mut rest)) = framed.split_at_checked(VERSIONS.len()) else {
        return Err(Fault::Malformed);
    };
    while !rest.is_empty() {
        let Some((length, blocks)) = rest.split_first_chunk() else {
            return Err(Fault::Malformed);
        };
        let Some((block, behind)) = blocks.split_at_checked(u32::from_be_bytes(*length) as usize) else {
            return Err(Fault::Malformed);
        };
        decompress_block(block, output)?;
        rest = behind;
    }
    Ok(())
}

fn decompress_block(block: &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    let claimed_bytes = decompress_len(block).map_err(|_| Fault::Malformed)?;
    // A block cannot hold what it claims: nothing is allocated for it.
    if claimed_bytes > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(Fault::Malformed);
    }
    if claimed_bytes > output.room() {
        return Err(Fault::TooLarge);
    }
    output.append_with(claimed_bytes, |_, space| {
        Decoder::new().decompress(block, space).map_err(|_| Fault::Malformed)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Codec;
    use crate::batch::BatchError;

    #[test]
    fn raw_snappy_is_read() {
        let input = b"raw raw raw raw raw raw raw raw".repeat(10);
        let raw = snap::raw::Encoder::new().compress_vec(&input).expect("a small input");
        let mut out = Vec::new();
        assert_eq!(Codec::Snappy.decompress(&raw, input.len(), &mut out), Ok(()));
        assert_eq!(out, input);
    }

    #[test]
    fn a_block_that_claims_more_than_it_can_hold_allocates_nothing() {
        // A length of 256 MiB in front of one literal.
        let bytes = [0x80, 0x80, 0x80, 0x80, 0x01, 0x00, b'x'];
        let mut out = Vec::new();
        assert_eq!(
            Codec::Snappy.decompress(&bytes, usize::MAX, &mut out),
            Err(BatchError::Compressed { codec: Codec::Snappy }),
        );
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn the_densest_block_is_within_the_expansion_allowed() {
        let input = vec![7; 1 << 20];
        let raw = snap::raw::Encoder::new().compress_vec(&input).expect("a small input");
        assert!(raw.len() * super::EXPANSION_MAX >= input.len());
        assert!(raw.len() * (super::EXPANSION_MAX - 2) < input.len(), "the bound is tight");
    }
}
