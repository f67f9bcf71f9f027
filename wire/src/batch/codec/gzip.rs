//! Gzip members, RFC 1952.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{BoundedOutput, Fault};

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(input).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write");
}

pub(super) fn decompress(input: &[u8], output: &mut BoundedOutput<'_>) -> Result<(), Fault> {
    // One byte more than allowed tells a stream that is too long from one that just fits.
    let read_max = (output.room() as u64).saturating_add(1);
    let decoded = MultiGzDecoder::new(input).take(read_max).read_to_end(output.bytes);
    if output.bytes.len() > output.end_max {
        return Err(Fault::TooLarge);
    }
    decoded.map(|_| ()).map_err(|_| Fault::Malformed)
}
