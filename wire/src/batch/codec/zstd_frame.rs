//! Zstandard frames, RFC 8878.

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;
use zstd::zstd_safe::{self, CLEVEL_DEFAULT, DCtx, compress_bound, get_frame_content_size, is_error_kind};

use super::{BoundedOutput, Fault};

/// Output space for a frame that does not say its size, as a multiple of its own.
const EXPANSION_GUESS: usize = 4;
/// Smallest and largest first output space. A frame's claim is believed up to the largest: a longer output has to
/// grow by being there.
const FIRST_SPACE_BYTES: core::ops::RangeInclusive<usize> = 4 * 1024..=1024 * 1024;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + compress_bound(input.len()), 0);
    let compressed_bytes = zstd_safe::compress(&mut out[start..], input, CLEVEL_DEFAULT)
        .expect("the space fits any input of this length");
    out.truncate(start + compressed_bytes);
}

/// Decompresses in one shot: then the output is its own window, so that a frame that declares a window of gigabytes
/// costs nothing, and one of the highest levels is read within the same bound as any other. A frame that does not say
/// its size is tried with space that doubles, which costs at most three times its decoding.
pub(super) fn decompress(input: &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    let claimed_bytes = get_frame_content_size(input).map_err(|_| Fault::Malformed)?;
    let wanted_bytes = match claimed_bytes {
        Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        None => input.len().saturating_mul(EXPANSION_GUESS),
    };
    let mut space_bytes =
        wanted_bytes.clamp(*FIRST_SPACE_BYTES.start(), *FIRST_SPACE_BYTES.end()).min(output.room());
    let mut decoder = DCtx::create();
    loop {
        let decoded = output.append_with(space_bytes, |_, space| decoder.decompress(space, input));
        match decoded {
            Ok(()) => return Ok(()),
            Err(code) if !is_error_kind(code, ZSTD_error_dstSize_tooSmall) => return Err(Fault::Malformed),
            Err(_) if space_bytes == output.room() => return Err(Fault::TooLarge),
            Err(_) => space_bytes = space_bytes.saturating_mul(2).min(output.room()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zstd::stream::write::Encoder;
    use zstd::zstd_safe::CParameter;

    use super::super::Codec;
    use crate::batch::BatchError;

    /// As Java clients write: streamed, so that the frame does not say its size.
    fn streamed(input: &[u8], parameter: CParameter) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), 3).expect("a context");
        encoder.set_parameter(parameter).expect("a valid parameter");
        encoder.write_all(input).expect("a Vec takes every write");
        encoder.finish().expect("a Vec takes every write")
    }

    #[test]
    fn frames_that_do_not_say_their_size_are_read() {
        for length in [0, 1, 5_000, 3_000_000] {
            let input = b"some words, some words".repeat(length / 22 + 1);
            let frame = streamed(&input, CParameter::ChecksumFlag(true));
            assert_eq!(super::get_frame_content_size(&frame).ok(), Some(None));
            let mut out = Vec::new();
            assert_eq!(Codec::Zstd.decompress(&frame, input.len(), &mut out), Ok(()));
            assert!(out == input);
        }
    }

    #[test]
    fn a_claim_is_not_believed_before_there_are_bytes() {
        // A frame of one segment that claims 256 MiB, and one raw block that holds one byte.
        let mut frame = b"\x28\xb5\x2f\xfd\xe0".to_vec();
        frame.extend_from_slice(&(256_u64 << 20).to_le_bytes());
        frame.extend_from_slice(b"\x09\0\0x");
        assert_eq!(super::get_frame_content_size(&frame).ok(), Some(Some(256 << 20)));
        let mut out = Vec::new();
        assert_eq!(
            Codec::Zstd.decompress(&frame, 512 << 20, &mut out),
            Err(BatchError::Compressed { codec: Codec::Zstd }),
        );
        assert!(out.capacity() <= *super::FIRST_SPACE_BYTES.end());
    }

    #[test]
    fn a_window_larger_than_the_limit_is_read_within_the_limit() {
        let frame = streamed(b"short", CParameter::WindowLog(27));
        let mut out = Vec::new();
        assert_eq!(Codec::Zstd.decompress(&frame, 5, &mut out), Ok(()));
        assert_eq!(out, b"short");
        assert!(out.capacity() < 100);
    }
}
