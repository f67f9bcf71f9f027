//! LZ4 frames, <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, as Kafka uses them (KIP-57).
//!
//! Frames are read here rather than by `lz4_flex`, which allocates the block size that a frame declares, three times
//! over for linked blocks, before it has seen a block: here a block decompresses straight into the output.
//! The frame's own XXH32 checksums are skipped: the CRC-32C of the batch covers the same bytes.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::{BoundedOutput, Fault};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const BLOCKS_INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const DICTIONARY: u8 = 0b0000_0001;

const CHECKSUM_BYTES: usize = 4;
const CONTENT_SIZE_BYTES: usize = 8;
const HEADER_CHECKSUM_BYTES: usize = 1;

/// Set in a block's length when its bytes are stored as they are.
const BLOCK_STORED: u32 = 1 << 31;
/// How far back a linked block refers.
const WINDOW_BYTES: usize = 64 * 1024;
/// A byte of input adds at most 255 to the length of a match.
const EXPANSION_MAX: usize = 255;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    // What Kafka's own producer writes; its consumer reads no linked blocks.
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(input).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write");
}

pub(super) fn decompress(mut input: &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    loop {
        decompress_frame(&mut input, output)?;
        if input.is_empty() {
            return Ok(());
        }
    }
}

/// What a frame's descriptor says about its blocks.
struct Descriptor {
    block_bytes_max: usize,
    blocks_independent: bool,
    block_checksums: bool,
    content_checksum: bool,
}

fn decompress_frame(input: &mut &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    let descriptor = Descriptor::take(input)?;
    let frame_start = output.bytes.len();
    loop {
        let length = u32::from_le_bytes(take_chunk(input)?);
        if length == 0 {
            break;
        }
        let block = take(input, (length & !BLOCK_STORED) as usize)?;
        if block.len() > descriptor.block_bytes_max {
            return Err(Fault::Malformed);
        }
        if length & BLOCK_STORED != 0 {
            output.append(block)?;
        } else {
            let window_start = if descriptor.blocks_independent {
                output.bytes.len()
            } else {
                frame_start.max(output.bytes.len().saturating_sub(WINDOW_BYTES))
            };
            decompress_block(block, descriptor.block_bytes_max, window_start, output)?;
        }
        if descriptor.block_checksums {
            take(input, CHECKSUM_BYTES)?;
        }
    }
    if descriptor.content_checksum {
        take(input, CHECKSUM_BYTES)?;
    }
    Ok(())
}

impl Descriptor {
    fn take(input: &mut &[u8]) -> Result<Self, Fault> {
        if take_chunk(input)? != MAGIC {
            return Err(Fault::Malformed);
        }
        let [flags, block_size] = take_chunk(input)?;
        if flags & VERSION_MASK != VERSION || flags & DICTIONARY != 0 {
            return Err(Fault::Malformed);
        }
        let block_bytes_max = match block_size >> 4 & 0b111 {
            4 => 64 * 1024,
            5 => 256 * 1024,
            6 => 1024 * 1024,
            7 => 4 * 1024 * 1024,
            _ => return Err(Fault::Malformed),
        };
        if flags & CONTENT_SIZE != 0 {
            take(input, CONTENT_SIZE_BYTES)?;
        }
        take(input, HEADER_CHECKSUM_BYTES)?;
        Ok(Self {
            block_bytes_max,
            blocks_independent: flags & BLOCKS_INDEPENDENT != 0,
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
        })
    }
}

fn decompress_block(
    block: &[u8],
    block_bytes_max: usize,
    window_start: usize,
    output: &mut BoundedOutput<'_>,
) -> Result<(), Fault> {
    let holds_bytes_max = block_bytes_max.min(block.len() * EXPANSION_MAX);
    let space_bytes = holds_bytes_max.min(output.room());
    let filled = output.append_with(space_bytes, |before, space| {
        decompress_into_with_dict(block, space, &before[window_start..])
    });
    filled.map_err(|error| match error {
        DecompressError::OutputTooSmall { .. } if space_bytes < holds_bytes_max => Fault::TooLarge,
        _ => Fault::Malformed,
    })
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], Fault> {
    let (taken, rest) = input.split_at_checked(length).ok_or(Fault::Malformed)?;
    *input = rest;
    Ok(taken)
}

fn take_chunk<const LENGTH: usize>(input: &mut &[u8]) -> Result<[u8; LENGTH], Fault> {
    let (taken, rest) = input.split_first_chunk().ok_or(Fault::Malformed)?;
    *input = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

    use super::super::Codec;
    use crate::batch::BatchError;

    fn words(length: usize) -> Vec<u8> {
        (0..length).map(|place| (place * place / 97 % 64) as u8).collect()
    }

    #[test]
    fn every_kind_of_frame_is_read() {
        let input = words(300_000);
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
                for checksums in [false, true] {
                    for content_size in [None, Some(input.len() as u64)] {
                        let info = FrameInfo::new()
                            .block_mode(mode)
                            .block_size(size)
                            .block_checksums(checksums)
                            .content_checksum(checksums)
                            .content_size(content_size);
                        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                        encoder.write_all(&input).expect("a Vec takes every write");
                        let frame = encoder.finish().expect("a Vec takes every write");
                        let mut out = b"there".to_vec();
                        assert_eq!(Codec::Lz4.decompress(&frame, input.len(), &mut out), Ok(()));
                        assert!(out[5..] == input, "{mode:?} {size:?} {checksums} {content_size:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn another_reader_agrees_with_what_is_written() {
        let input = words(200_000);
        let mut frame = Vec::new();
        Codec::Lz4.compress(&input, &mut frame);
        assert_eq!(frame[4..6], [0x60, 0x40], "version 1, independent blocks of 64 KiB, nothing else");
        let mut out = Vec::new();
        FrameDecoder::new(frame.as_slice()).read_to_end(&mut out).expect("a valid frame");
        assert!(out == input);
    }

    #[test]
    fn frames_may_follow_one_another_and_must_end() {
        let mut frames = Vec::new();
        Codec::Lz4.compress(b"one", &mut frames);
        let first_end = frames.len();
        Codec::Lz4.compress(b"two", &mut frames);
        let mut out = Vec::new();
        assert_eq!(Codec::Lz4.decompress(&frames, 6, &mut out), Ok(()));
        assert_eq!(out, b"onetwo");
        let malformed = Err(BatchError::Compressed { codec: Codec::Lz4 });
        for end in (0..frames.len()).filter(|&end| end != first_end) {
            assert_eq!(Codec::Lz4.decompress(&frames[..end], 6, &mut out), malformed, "{end}");
        }
    }

    #[test]
    fn a_block_is_no_larger_than_its_frame_declares() {
        let stored = |block_bytes: u32| {
            let mut frame = b"\x04\x22\x4d\x18\x60\x40\x82".to_vec();
            frame.extend_from_slice(&(super::BLOCK_STORED | block_bytes).to_le_bytes());
            frame.resize(frame.len() + block_bytes as usize, 7);
            frame.extend_from_slice(&[0; 4]);
            frame
        };
        let mut out = Vec::new();
        assert_eq!(Codec::Lz4.decompress(&stored(65_536), usize::MAX, &mut out), Ok(()));
        assert_eq!(out, [7; 65_536]);
        assert_eq!(
            Codec::Lz4.decompress(&stored(65_537), usize::MAX, &mut out),
            Err(BatchError::Compressed { codec: Codec::Lz4 }),
        );
    }

    #[test]
    fn a_linked_block_cannot_reach_before_its_frame() {
        // No literals, then a match of 4 bytes at distance 1, where the frame has nothing yet.
        let mut frame = b"\x04\x22\x4d\x18\x40\x40\xc0".to_vec();
        frame.extend_from_slice(b"\x05\0\0\0\x00\x01\x00\x10z\0\0\0\0");
        let mut out = b"secret".to_vec();
        assert_eq!(
            Codec::Lz4.decompress(&frame, 100, &mut out),
            Err(BatchError::Compressed { codec: Codec::Lz4 }),
        );
    }
}
