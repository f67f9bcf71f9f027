//! The disk alone: synced direct writes one by one and in a stream, and direct reads.

use std::time::Duration;

use rustix::io::ReadWriteFlags;
use serde::{Deserialize, Serialize};

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use super::error::LimitError;
use super::probe_file::{ProbeFile, write_at};
use super::ring::{Completion, ProbeRing};
use crate::clock::Stopwatch;
use crate::figures::rounded;
use crate::latency::{Latencies, LatencySummary};

/// The streams that are measured: direction, block size, depth.
pub(super) const STREAMS: [(Direction, usize, usize); 4] = [
    (Direction::SyncedWrite, 64 * 1024, 1),
    (Direction::SyncedWrite, 64 * 1024, 4),
    (Direction::SyncedWrite, 1024 * 1024, 1),
    (Direction::Read, 256 * 1024, 4),
];

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// `O_DIRECT` and `RWF_DSYNC`.
    SyncedWrite,
    /// `O_DIRECT`.
    Read,
}

/// The disk without network or requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskReport {
    /// A synced write of 4 KiB through the ring, one at a time.
    pub ring_write_4k: LatencySummary,
    /// The same through a blocking `pwritev2`.
    pub blocking_write_4k: LatencySummary,
    /// Sequential streams.
    pub streams: Vec<StreamReport>,
}

/// A sequential stream, wrapping at the end of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Which way.
    pub direction: Direction,
    /// Bytes of each operation.
    pub block_bytes: usize,
    /// Operations in flight.
    pub depth: usize,
    /// Millions of bytes a second.
    pub megabytes_per_second: f64,
    /// Of each operation.
    pub latency: LatencySummary,
}

pub(super) fn ring_write_latency(file: &ProbeFile, duration: Duration) -> Result<LatencySummary, LimitError> {
    stream(file, Direction::SyncedWrite, BLOCK_BYTES, 1, duration).map(|report| report.latency)
}

pub(super) fn blocking_write_latency(
    file: &ProbeFile,
    duration: Duration,
) -> Result<LatencySummary, LimitError> {
    let block = AlignedBuffer::zeroed(BLOCK_BYTES);
    let mut latencies = Latencies::new();
    let mut position = 0;
    let began = Stopwatch::start();
    while began.elapsed() < duration {
        position = file.place(position, BLOCK_BYTES);
        let submitted = Stopwatch::start();
        write_at(file.descriptor(), &block, position, ReadWriteFlags::DSYNC)
            .map_err(file.error("writing a block"))?;
        latencies.record(submitted.nanoseconds());
        position += BLOCK_BYTES as u64;
    }
    Ok(latencies.summary())
}

pub(super) fn stream(
    file: &ProbeFile,
    direction: Direction,
    block_bytes: usize,
    depth: usize,
    duration: Duration,
) -> Result<StreamReport, LimitError> {
    let operations = u32::try_from(depth).expect("depths are small");
    let mut ring = ProbeRing::new(operations, None).map_err(LimitError::NoRing)?;
    let mut latencies = Latencies::new();
    let mut position = 0;
    let mut transferred_bytes = 0;
    let mut in_flight = 0;
    let mut submitted = vec![Stopwatch::start(); depth];
    let mut idle: Vec<(u32, AlignedBuffer)> =
        (0..operations).map(|token| (token, AlignedBuffer::zeroed(block_bytes))).collect();
    let mut completions = Vec::with_capacity(depth);
    let began = Stopwatch::start();
    loop {
        if began.elapsed() < duration {
            for (token, buffer) in idle.drain(..) {
                let place = file.place(position, block_bytes);
                submitted[token as usize] = Stopwatch::start();
                match direction {
                    Direction::SyncedWrite => {
                        ring.write_synced(file.descriptor(), buffer, block_bytes, place, token)
                    }
                    Direction::Read => ring.read(file.descriptor(), buffer, place, token),
                }
                .map_err(file.error("submitting a block"))?;
                position = place + block_bytes as u64;
                in_flight += 1;
            }
        }
        if in_flight == 0 {
            break;
        }
        ring.turn(&mut completions).map_err(LimitError::io("waiting for the ring"))?;
        for completion in completions.drain(..) {
            let Completion::Block { token, buffer, transferred } = completion else {
                unreachable!("only blocks were submitted")
            };
            latencies.record(submitted[token as usize].nanoseconds());
            let transferred = transferred.map_err(file.error("transferring a block"))?;
            if transferred != block_bytes {
                return Err(file.error("transferring a block")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            transferred_bytes += transferred;
            idle.push((token, buffer));
            in_flight -= 1;
        }
    }
    let megabytes_per_second = rounded(transferred_bytes as f64 / began.seconds() / 1e6);
    Ok(StreamReport { direction, block_bytes, depth, megabytes_per_second, latency: latencies.summary() })
}
