//! What the machine does without a disk: loopback round trips, copies, checksums.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::LimitError;
use crate::clock::Stopwatch;
use crate::figures::rounded;
use crate::latency::{Latencies, LatencySummary};

const ROUND_TRIP_BYTES: usize = 512;
/// Larger than the caches that one core has to itself, so that copies come from memory.
const COPY_BYTES: usize = 16 * 1024 * 1024;
/// About a large produce batch; it stays in cache, as a batch that was just received does.
const CHECKSUM_BYTES: usize = 256 * 1024;

/// Network stack, memory and processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineReport {
    /// 512 bytes over loopback TCP and back, both sides blocking.
    pub loopback_round_trip_512: LatencySummary,
    /// Copying 16 MiB, in thousands of millions of bytes copied a second.
    pub copy_gigabytes_per_second: f64,
    /// CRC-32C of 256 KiB, in thousands of millions of bytes a second.
    pub crc32c_gigabytes_per_second: f64,
}

pub(super) fn loopback_round_trip(duration: Duration) -> Result<LatencySummary, LimitError> {
    let during = "measuring loopback round trips";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(LimitError::io(during))?;
    let address = listener.local_addr().map_err(LimitError::io(during))?;
    let mut client = TcpStream::connect(address).map_err(LimitError::io(during))?;
    let (server, _) = listener.accept().map_err(LimitError::io(during))?;
    client.set_nodelay(true).map_err(LimitError::io(during))?;
    server.set_nodelay(true).map_err(LimitError::io(during))?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || echo_until_closed(server));
        let latencies = round_trips(&mut client, duration).map_err(LimitError::io(during));
        drop(client);
        let echoed = echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        echoed.map_err(LimitError::io(during))?;
        Ok(latencies?.summary())
    })
}

pub(super) fn copy_gigabytes_per_second(duration: Duration) -> f64 {
    let source = vec![1_u8; COPY_BYTES];
    let mut target = vec![0_u8; COPY_BYTES];
    gigabytes_per_second(COPY_BYTES, duration, || {
        target.copy_from_slice(black_box(&source));
        black_box(&target);
    })
}

pub(super) fn crc32c_gigabytes_per_second(duration: Duration) -> f64 {
    let source = vec![1_u8; CHECKSUM_BYTES];
    gigabytes_per_second(CHECKSUM_BYTES, duration, || {
        black_box(crc32c::crc32c(black_box(&source)));
    })
}

fn round_trips(client: &mut TcpStream, duration: Duration) -> io::Result<Latencies> {
    let mut latencies = Latencies::new();
    let mut bytes = [7; ROUND_TRIP_BYTES];
    let began = Stopwatch::start();
    while began.elapsed() < duration {
        let sent = Stopwatch::start();
        client.write_all(&bytes)?;
        client.read_exact(&mut bytes)?;
        latencies.record(sent.nanoseconds());
    }
    Ok(latencies)
}

fn echo_until_closed(mut server: TcpStream) -> io::Result<()> {
    let mut bytes = [0; ROUND_TRIP_BYTES];
    loop {
        match server.read(&mut bytes)? {
            0 => return Ok(()),
            read => server.write_all(&bytes[..read])?,
        }
    }
}

fn gigabytes_per_second(bytes: usize, duration: Duration, mut work: impl FnMut()) -> f64 {
    // The first turn pays for page faults and cold caches.
    work();
    let began = Stopwatch::start();
    let mut turns = 0;
    while turns == 0 || began.elapsed() < duration {
        work();
        turns += 1;
    }
    rounded((bytes * turns) as f64 / began.seconds() / 1e9)
}
