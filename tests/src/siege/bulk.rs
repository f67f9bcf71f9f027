//! Far more data than memory: written over many partitions, then all of it read back, byte for byte, beside a client that
//! goes on producing and consuming.

use core::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringmain_wire::batch::{BatchBuilder, Batches, Codec, check};
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::FetchRequest;

use super::client::{create_topic, fetch, fetch_part, produce_request, receive_produced};
use super::error::SiegeError;
use super::healthy::{Healthy, Seen};
use super::owners::Owners;
use super::process::Process;
use super::run::{Place, pause};
use crate::crash::clock::Stopwatch;
use crate::crash::session::{Session, SessionError};
use crate::fuzz::dice::Dice;

const PARTITIONS: u32 = 100;
/// Records of a batch, and bytes of a record.
const BATCH_RECORDS: usize = 64;
const RECORD_BYTES: usize = 1024;
/// Batches sent and not yet answered; each of another partition.
const BATCHES_IN_FLIGHT: usize = 16;
/// Before a batch is sent again that found the broker busy settling.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const FETCH_BYTES: u32 = 1 << 20;
/// What the broker may have beside its memory for records.
const OTHER_BYTES_MAX: u64 = 64 << 20;
/// What a shard's log may have beside its configured size: a file that is being made.
const LOG_EXCESS_BYTES: u64 = 8 << 20;
/// Between two looks at the broker's memory and at its log.
const EVERY: Duration = Duration::from_millis(20);
/// Bytes of a batch in front of those that are as they were produced: base offset, length and leader epoch.
const STAMPED_BYTES: usize = 16;

/// What a run does.
#[derive(Clone, Debug)]
pub struct BulkOptions {
    /// Bytes of records to be written.
    pub bytes: u64,
    /// Memory of each shard for records.
    pub memory_bytes: usize,
    /// Bytes of each shard's log.
    pub log_bytes: u64,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
struct BulkReport {
    bytes: u64,
    batches: u64,
    /// Batches that were sent again because the broker had no room before it had settled.
    pushed_back: u64,
    writing: Duration,
    reading: Duration,
    settled_bytes: u64,
    highs: Highs,
    memory_bytes_max: u64,
    log_bytes_max: u64,
    healthy: Seen,
}

/// The most that was seen of the broker.
#[derive(Clone, Copy, Debug, Default)]
struct Highs {
    resident_bytes: u64,
    log_bytes: u64,
}

/// Does a run.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken, or when the run could not go on.
pub fn run(options: &BulkOptions) -> Result<(), SiegeError> {
    let mut place = Place::make(options.directory.as_deref(), "bulk")?;
    place.options.memory_bytes = options.memory_bytes;
    place.options.log_bytes = options.log_bytes;
    let shards = u64::from(place.options.shards);
    let broker = place.start()?;
    let native = place.options.native;
    let (mut session, _) = Session::connect(native)?;
    let topic = create_topic(&mut session, "bulk", PARTITIONS)?;
    let watch = Watch::start(broker.process(), place.options.data_dir.join("logs"));

    let maker = BatchMaker::new();
    let batches = options.bytes.div_ceil((BATCH_RECORDS * RECORD_BYTES) as u64);
    let started = Stopwatch::start();
    let pushed_back = write(&mut session, topic, &maker, batches)?;
    let writing = started.elapsed();

    let healthy = Healthy::start(native, 1)?;
    let started = Stopwatch::start();
    let bytes = read_back(native, topic, &maker, batches)?;
    let reading = started.elapsed();
    let healthy = healthy.finish()?;

    let settled_bytes = Owners::ask(&mut session)?.count("settled_bytes_total");
    let report = BulkReport {
        bytes,
        batches,
        pushed_back,
        writing,
        reading,
        settled_bytes,
        highs: watch.finish()?,
        memory_bytes_max: shards * options.memory_bytes as u64 + OTHER_BYTES_MAX,
        log_bytes_max: shards * (options.log_bytes + LOG_EXCESS_BYTES),
        healthy,
    };
    println!("{report}");
    report.check()?;
    broker.stop()?;
    place.remove()
}

/// Writes the batches, in turn to all partitions. Gives how many had to be sent again.
fn write(session: &mut Session, topic: TopicId, maker: &BatchMaker, batches: u64) -> Result<u64, SiegeError> {
    let (mut pushed_back, mut next) = (0, 0);
    // Each of another partition; those that found no room go first, alone, so that every partition keeps its order.
    let mut round: Vec<u64> = Vec::new();
    while next < batches || !round.is_empty() {
        if round.is_empty() {
            round = (next..batches).take(BATCHES_IN_FLIGHT).collect();
            next += round.len() as u64;
        } else {
            pushed_back += round.len() as u64;
            pause(RETRY_PAUSE);
        }
        let mut sent = Vec::with_capacity(round.len());
        for &number in &round {
            let (partition, _) = place_of(number);
            let batch = maker.make(number);
            sent.push(session.send(Api::Produce, &produce_request(topic, partition, &batch), &batch)?);
        }
        let mut refused = Vec::new();
        for (number, request) in round.into_iter().zip(sent) {
            match receive_produced(session, request) {
                Ok(_) => {}
                Err(error @ SessionError::Refused { .. }) if error.is_passing() => refused.push(number),
                Err(error) => return Err(error.into()),
            }
        }
        round = refused;
    }
    Ok(pushed_back)
}

/// Reads every partition from its start, and compares each batch with what was produced. Gives how many bytes that were.
fn read_back(
    broker: SocketAddr,
    topic: TopicId,
    maker: &BatchMaker,
    batches: u64,
) -> Result<u64, SiegeError> {
    let (mut session, _) = Session::connect(broker)?;
    let mut bytes = 0;
    for partition in (0..PARTITIONS).map(PartitionIndex) {
        let due = (0..batches).filter(|&number| place_of(number).0 == partition).count() as u64;
        let mut place = 0;
        while place < due {
            let offset =
                Offset(i64::try_from(place * BATCH_RECORDS as u64).expect("a run has fewer records"));
            let parts = vec![fetch_part(topic, partition, offset, FETCH_BYTES)];
            let request = FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
            let found = fetch(&mut session, &request)?.pop().unwrap_or_default();
            if found.is_empty() {
                return Err(SiegeError::broken(format!(
                    "partition {partition} ends at {offset}, {due} batches are due"
                )));
            }
            bytes += found.len() as u64;
            place += check_batches(partition, place, &found, maker)?;
        }
    }
    Ok(bytes)
}

/// Checks that the batches from the one in that place on are those that were produced; gives how many there are.
fn check_batches(
    partition: PartitionIndex,
    first: u64,
    found: &[u8],
    maker: &BatchMaker,
) -> Result<u64, SiegeError> {
    let mut place = first;
    for batch in Batches::new(found) {
        let number = place * u64::from(PARTITIONS) + u64::from(partition.get());
        let is_right = batch.is_ok_and(|(header, bytes)| {
            let is_there = u64::try_from(header.base_offset.get()) == Ok(place * BATCH_RECORDS as u64);
            is_there && check(bytes).is_ok() && bytes[STAMPED_BYTES..] == maker.make(number)[STAMPED_BYTES..]
        });
        if !is_right {
            return Err(SiegeError::broken(format!(
                "partition {partition}: batch {place} is not what was produced"
            )));
        }
        place += 1;
    }
    Ok(place - first)
}

/// The partition of a batch, and its place there.
fn place_of(number: u64) -> (PartitionIndex, u64) {
    let partitions = u64::from(PARTITIONS);
    (PartitionIndex((number % partitions) as u32), number / partitions)
}

/// Makes batches that are told apart, of values that no filesystem could shrink.
struct BatchMaker {
    noise: Vec<u8>,
}

impl BatchMaker {
    fn new() -> Self {
        let mut dice = Dice::new(1, 0);
        let words = 2 * RECORD_BYTES / 8;
        Self { noise: (0..words).flat_map(|_| dice.number().to_le_bytes()).collect() }
    }

    fn make(&self, number: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None);
        let mut value = vec![0; RECORD_BYTES];
        for record in 0..BATCH_RECORDS as u64 {
            let from = (number.wrapping_mul(31) + record) as usize % RECORD_BYTES;
            value.copy_from_slice(&self.noise[from..from + RECORD_BYTES]);
            value[..8].copy_from_slice(&number.to_le_bytes());
            builder.append(TimestampMs(1_700_000_000_000), None, Some(&value), &[]);
        }
        builder.finish().expect("a batch with records can be built").to_vec()
    }
}

/// Looks at the broker's memory and its log again and again, on a thread of its own.
struct Watch {
    /// Dropped, it ends the watch.
    stop: Sender<()>,
    thread: JoinHandle<Result<Highs, SiegeError>>,
}

impl Watch {
    fn start(process: Process, logs: PathBuf) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut highs = Highs::default();
            loop {
                highs.resident_bytes = highs.resident_bytes.max(process.resident_bytes()?);
                highs.log_bytes = highs.log_bytes.max(bytes_in(&logs)?);
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return Ok(highs);
                }
            }
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<Highs, SiegeError> {
        drop(self.stop);
        self.thread.join().expect("the watch does not panic")
    }
}

/// What the files in a directory hold together. One that goes meanwhile holds nothing.
fn bytes_in(directory: &Path) -> Result<u64, SiegeError> {
    let entries = fs::read_dir(directory).map_err(SiegeError::io("listing the log"))?;
    let length = |entry: fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    Ok(entries.flatten().map(length).sum())
}

impl BulkReport {
    /// Memory and log must have stayed within their bounds.
    fn check(&self) -> Result<(), SiegeError> {
        let Highs { resident_bytes, log_bytes } = self.highs;
        if resident_bytes > self.memory_bytes_max {
            return Err(SiegeError::broken("the broker's memory stays within its budget and 64 MiB"));
        }
        if log_bytes > self.log_bytes_max {
            return Err(SiegeError::broken("the log stays within its configured size"));
        }
        if self.settled_bytes < self.bytes.saturating_sub(self.memory_bytes_max) {
            return Err(SiegeError::broken("what does not fit into memory lies in segments"));
        }
        Ok(())
    }
}

impl fmt::Display for BulkReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |time: Duration| (self.bytes >> 20) as f64 / time.as_secs_f64();
        let Highs { resident_bytes, log_bytes } = self.highs;
        writeln!(
            out,
            "{} MiB in {} batches over {PARTITIONS} partitions: written in {:.1} s ({:.0} MiB/s, synced), {} sent again for \
             want of room",
            self.bytes >> 20,
            self.batches,
            self.writing.as_secs_f64(),
            rate(self.writing),
            self.pushed_back
        )?;
        writeln!(
            out,
            "all of it read back, byte for byte, in {:.1} s ({:.0} MiB/s); {} records produced and consumed beside that",
            self.reading.as_secs_f64(),
            rate(self.reading),
            self.healthy.records
        )?;
        write!(
            out,
            "{} MiB settled; resident memory at most {} of {} MiB, log at most {} of {} MiB",
            self.settled_bytes >> 20,
            resident_bytes >> 20,
            self.memory_bytes_max >> 20,
            log_bytes >> 20,
            self.log_bytes_max >> 20
        )
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::batch::stamp;
    use ringmain_wire::ids::LeaderEpoch;

    use super::*;

    #[test]
    fn batches_are_told_apart_and_a_changed_byte_is_found() {
        let maker = BatchMaker::new();
        let stamped = |number: u64, place: i64| {
            let mut batch = maker.make(number);
            stamp(&mut batch, Offset(place * BATCH_RECORDS as i64), LeaderEpoch(3));
            batch
        };
        let (partition, place) = place_of(203);
        assert_eq!((partition, place), (PartitionIndex(3), 2));
        let both = [stamped(203, 2), stamped(303, 3)].concat();
        assert_eq!(check_batches(partition, 2, &both, &maker).unwrap(), 2);
        assert!(check_batches(partition, 2, &stamped(303, 2), &maker).is_err(), "another batch");
        assert!(check_batches(partition, 2, &stamped(203, 3), &maker).is_err(), "another place");
        let mut changed = stamped(203, 2);
        let last = changed.len() - 1;
        changed[last] ^= 1;
        assert!(check_batches(partition, 2, &changed, &maker).is_err());
    }
}
