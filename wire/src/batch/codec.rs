//! How the records of a batch are compressed, and decompressed within a bound.

use core::error::Error;
use core::fmt;
use core::str::FromStr;

use super::BatchError;

mod gzip;
mod lz4_frame;
mod snappy_xerial;
mod zstd_frame;

/// A compression of records; the number is the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Records as they are.
    #[default]
    None = 0,
    /// RFC 1952, level 6.
    Gzip = 1,
    /// Snappy in the framing of snappy-java, which is what Kafka means by it; raw Snappy is read too.
    Snappy = 2,
    /// LZ4 frames of independent 64 KiB blocks; linked blocks are read too.
    Lz4 = 3,
    /// RFC 8878, level 3.
    Zstd = 4,
}

/// A name that no codec has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCodec;

/// What a decoder found; which codec and bound it was is known to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Malformed,
    TooLarge,
}

/// Decompressed bytes, appended to a buffer as far as a bound allows.
struct BoundedOutput<'a> {
    bytes: &'a mut Vec<u8>,
    end_max: usize,
}

impl Codec {
    /// Every codec, for tables and tests.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec behind the three codec bits of the attributes.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The codec bits of the attributes.
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The name that Kafka's `compression.type` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Appends `input`, compressed, to `out`.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(input),
            Self::Gzip => gzip::compress(input, out),
            Self::Snappy => snappy_xerial::compress(input, out),
            Self::Lz4 => lz4_frame::compress(input, out),
            Self::Zstd => zstd_frame::compress(input, out),
        }
    }

    /// Appends `input`, decompressed, to `out`; at most `limit` bytes. The bound holds while decompressing: memory is
    /// taken in proportion to `limit` at most, whatever a small input claims or expands to.
    ///
    /// # Errors
    /// [`BatchError::Compressed`] when `input` is not a stream of this codec, [`BatchError::Decompressed`] when it
    /// is longer than `limit`. `out` is then as it was.
    pub fn decompress(self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let start = out.len();
        let mut output = BoundedOutput { end_max: start.saturating_add(limit), bytes: out };
        let decompressed = match self {
            Self::None => output.append(input),
            Self::Gzip => gzip::decompress(input, &mut output),
            Self::Snappy => snappy_xerial::decompress(input, &mut output),
            Self::Lz4 => lz4_frame::decompress(input, &mut output),
            Self::Zstd => zstd_frame::decompress(input, &mut output),
        };
        decompressed.map_err(|fault| {
            out.truncate(start);
            match fault {
                Fault::Malformed => BatchError::Compressed { codec: self },
                Fault::TooLarge => BatchError::Decompressed { codec: self, bytes_max: limit },
            }
        })
    }
}

impl BoundedOutput<'_> {
    /// Bytes that may still be appended.
    fn room(&self) -> usize {
        self.end_max - self.bytes.len()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > self.room() {
            return Err(Fault::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends what `fill` writes into the first bytes of `space_bytes` zeroed ones; it is given what was there
    /// before, and the space.
    fn append_with<E>(
        &mut self,
        space_bytes: usize,
        fill: impl FnOnce(&[u8], &mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        assert!(space_bytes <= self.room(), "{space_bytes} bytes asked, {} allowed", self.room());
        let start = self.bytes.len();
        self.bytes.resize(start + space_bytes, 0);
        let (before, space) = self.bytes.split_at_mut(start);
        let filled = fill(before, space);
        self.bytes.truncate(start + filled.as_ref().map_or(0, |&bytes| bytes.min(space_bytes)));
        filled.map(|_| ())
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or(UnknownCodec)
    }
}

impl fmt::Display for UnknownCodec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("not one of none, gzip, snappy, lz4, zstd")
    }
}

impl Error for UnknownCodec {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::tests::generated::seeded;

    #[test]
    fn names_and_bits_lead_back_to_their_codec() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_bits(codec.bits()), Some(codec));
            assert_eq!(codec.name().parse(), Ok(codec));
        }
        assert_eq!((Codec::Snappy.bits(), Codec::Zstd.bits()), (2, 4));
        assert_eq!(Codec::from_bits(5), None);
        assert_eq!("Gzip".parse::<Codec>(), Err(UnknownCodec));
    }

    /// Bytes that compress a little, a lot and not at all, over several blocks of every codec.
    fn mixed_bytes(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        (0..length)
            .map(|place| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                match place / 50_000 % 3 {
                    0 => (place % 251) as u8 & (state >> 60) as u8,
                    1 => b'a',
                    _ => state as u8,
                }
            })
            .collect()
    }

    #[test]
    fn large_inputs_come_back_behind_what_was_there() {
        for length in [0, 1, 32 * 1024, 64 * 1024, 400_000] {
            let input = mixed_bytes(length);
            for codec in Codec::ALL {
                let mut compressed = b"before".to_vec();
                codec.compress(&input, &mut compressed);
                let mut out = b"there".to_vec();
                assert_eq!(codec.decompress(&compressed[6..], length, &mut out), Ok(()), "{codec} {length}");
                assert!(out[..5] == *b"there" && out[5..] == input, "{codec} {length}");
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_takes_no_more_memory_than_that() {
        let input = vec![0; 64 << 20];
        let limit = 1 << 20;
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut bomb = Vec::new();
            codec.compress(&input, &mut bomb);
            assert!(bomb.len() < input.len() / 20, "{codec}: {} bytes are no bomb", bomb.len());
            let mut out = b"there".to_vec();
            let error = BatchError::Decompressed { codec, bytes_max: limit };
            assert_eq!(codec.decompress(&bomb, limit, &mut out), Err(error));
            assert_eq!(out, b"there");
            assert!(out.capacity() <= 3 * limit, "{codec} took {} bytes", out.capacity());
        }
    }

    proptest! {
        #![proptest_config(seeded(64))]

        #[test]
        fn the_limit_is_exact(
            seed in proptest::collection::vec(any::<u8>(), 1..600),
            times in 1..200_usize,
            below in 1..5_000_usize,
        ) {
            let input = seed.repeat(times);
            for codec in Codec::ALL {
                let mut compressed = Vec::new();
                codec.compress(&input, &mut compressed);
                let mut out = Vec::new();
                prop_assert_eq!(codec.decompress(&compressed, input.len(), &mut out), Ok(()));
                prop_assert!(out == input);
                let bytes_max = input.len().saturating_sub(below);
                prop_assert_eq!(
                    codec.decompress(&compressed, bytes_max, &mut out),
                    Err(BatchError::Decompressed { codec, bytes_max })
                );
                prop_assert!(out == input);
            }
        }

        #[test]
        fn hostile_streams_give_an_error_or_a_bounded_answer(
            input in proptest::collection::vec(any::<u8>(), 1..2_000),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<proptest::sample::Index>(),
        ) {
            let limit = 4_096;
            for codec in Codec::ALL {
                let mut out = Vec::new();
                let _ = codec.decompress(&input, limit, &mut out);
                prop_assert!(out.len() <= limit);
                let mut compressed = Vec::new();
                codec.compress(&input, &mut compressed);
                for (place, byte) in &damage {
                    let place = place.index(compressed.len());
                    compressed[place] = *byte;
                }
                compressed.truncate(1 + cut.index(compressed.len()));
                out.clear();
                let _ = codec.decompress(&compressed, limit, &mut out);
                prop_assert!(out.len() <= limit);
            }
        }
    }
}
