//! Compressed streams, which a peer makes as it likes: nothing beyond the limit, whatever they claim.

use ringmain_wire::batch::{BatchError, Codec};

use crate::fuzz::Verdict;

/// What a stream may decompress to.
const LIMIT_BYTES: usize = 256 * 1024;
/// Longest output that is compressed again.
const AGAIN_BYTES_MAX: usize = 16 * 1024;

/// Decompresses behind what is there already; the limit is exact, and nothing is left behind by a failure.
pub(in crate::fuzz) fn run(codec: Codec, input: &[u8]) -> Verdict {
    const BEFORE: &[u8] = b"there";
    let mut out = BEFORE.to_vec();
    let decompressed = codec.decompress(input, LIMIT_BYTES, &mut out);
    assert!(out.capacity() <= 2 * (BEFORE.len() + LIMIT_BYTES), "{} bytes taken", out.capacity());
    let Some(output) = out.strip_prefix(BEFORE) else { panic!("what was there before is gone") };
    assert!(output.len() <= LIMIT_BYTES);
    match decompressed {
        Ok(()) => assert_exact(codec, input, output),
        Err(error) => {
            assert!(output.is_empty());
            let expected = [
                BatchError::Compressed { codec },
                BatchError::Decompressed { codec, bytes_max: LIMIT_BYTES },
            ];
            assert!(expected.contains(&error), "{error}");
        }
    }
    Verdict::of(&decompressed)
}

/// Nothing, words, and more than one block of every codec.
pub(in crate::fuzz) fn seeds(codec: Codec) -> Vec<Vec<u8>> {
    let noise = |length: u64| (0..length).map(|place| (place * place / 97 % 251) as u8).collect();
    let inputs: [Vec<u8>; 5] =
        [Vec::new(), b"some words, some words".to_vec(), noise(3_000), vec![7; 70_000], noise(300)];
    let mut streams: Vec<Vec<u8>> = inputs.iter().map(|input| compressed(codec, input)).collect();
    if matches!(codec, Codec::Gzip | Codec::Lz4) {
        streams.push([&streams[1][..], &streams[4]].concat());
    }
    streams
}

/// The stream decompresses to its own length, not to less, and to the same when it is compressed again.
fn assert_exact(codec: Codec, input: &[u8], output: &[u8]) {
    let mut out = Vec::new();
    assert_eq!(codec.decompress(input, output.len(), &mut out), Ok(()));
    assert!(out == output);
    if let Some(bytes_max) = output.len().checked_sub(1) {
        out.clear();
        let too_large = Err(BatchError::Decompressed { codec, bytes_max });
        assert_eq!(codec.decompress(input, bytes_max, &mut out), too_large);
    }
    if output.len() <= AGAIN_BYTES_MAX {
        out.clear();
        assert_eq!(codec.decompress(&compressed(codec, output), output.len(), &mut out), Ok(()));
        assert!(out == output);
    }
}

fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    codec.compress(input, &mut stream);
    stream
}
