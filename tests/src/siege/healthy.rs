//! The client that means well: it produces and consumes at a light rate all the while, and must see no error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringmain_wire::batch::{BatchBuilder, Batches, Codec, RecordReader, check};
use ringmain_wire::ids::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, ProducerSequence, TimestampMs, TopicId,
};
use ringmain_wire::native::messages::FetchRequest;

use super::client::{create_topic, fetch, fetch_part, init_producer, produce};
use super::error::SiegeError;
use super::latencies::Latencies;
use super::run::pause;
use crate::crash::clock::Stopwatch;
use crate::crash::session::{Session, SessionError};

/// Both shards have one of them.
const PARTITIONS: u32 = 2;
/// From the beginning of one record to that of the next.
const EVERY: Duration = Duration::from_millis(4);
const RECORD_BYTES: usize = 256;
const FETCH_BYTES: u32 = 1 << 20;
const FETCH_WAIT_MS: u32 = 100;

/// The client, with a thread that produces and one that consumes.
#[derive(Debug)]
pub(super) struct Healthy {
    shared: Arc<Shared>,
    producer: JoinHandle<Result<Vec<Latencies>, SiegeError>>,
    consumer: JoinHandle<Result<u64, SiegeError>>,
}

/// What its threads are told and tell.
#[derive(Debug, Default)]
struct Shared {
    /// Which part of the run samples belong to.
    part: AtomicUsize,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

/// What the client saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// Latencies of produce requests, by part of the run.
    pub(super) parts: Vec<Latencies>,
    /// Records that were read back, each once and in order.
    pub(super) records: u64,
}

impl Healthy {
    /// Begins to produce and consume through the port that all shards share; the run has `parts` parts.
    pub(super) fn start(broker: SocketAddr, parts: usize) -> Result<Self, SiegeError> {
        let (mut session, _) = Session::connect(broker)?;
        let topic = create_topic(&mut session, "healthy", PARTITIONS)?;
        let producer = init_producer(&mut session)?;
        let (reading, _) = Session::connect(broker)?;
        let shared = Arc::new(Shared::default());
        let [for_producer, for_consumer] = [Arc::clone(&shared), Arc::clone(&shared)];
        Ok(Self {
            shared,
            producer: thread::spawn(move || {
                run_producer(session, topic, producer, parts, &for_producer)
                    .map_err(|error| SiegeError::Healthy { during: "producing", error })
            }),
            consumer: thread::spawn(move || run_consumer(reading, topic, &for_consumer)),
        })
    }

    /// Samples belong to this part of the run from now on.
    pub(super) fn enter(&self, part: usize) {
        self.shared.part.store(part, Ordering::Relaxed);
    }

    /// Stops, and waits until all that was acknowledged was read.
    pub(super) fn finish(self) -> Result<Seen, SiegeError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let parts = self.producer.join().expect("the producer does not panic");
        let records = self.consumer.join().expect("the consumer does not panic");
        Ok(Seen { parts: parts?, records: records? })
    }
}

fn run_producer(
    mut session: Session,
    topic: TopicId,
    producer: ProducerId,
    parts: usize,
    shared: &Shared,
) -> Result<Vec<Latencies>, SessionError> {
    let mut samples = vec![Latencies::default(); parts];
    let started = Stopwatch::start();
    let mut due = Duration::ZERO;
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(left) = started.left_of(due) {
            pause(left);
        }
        let (partition, sequence) = place_of(number);
        let begun = Stopwatch::start();
        produce(&mut session, topic, partition, &batch(producer, sequence, number))?;
        samples[shared.part.load(Ordering::Relaxed)].add(begun.elapsed());
        shared.acknowledged.store(number + 1, Ordering::Relaxed);
        // Behind schedule it goes on at its rate: a light client does not catch up in a burst.
        due = (due + EVERY).max(started.elapsed().saturating_sub(EVERY));
    }
    Ok(samples)
}

/// Reads until everything is there that was acknowledged before the stop.
fn run_consumer(mut session: Session, topic: TopicId, shared: &Shared) -> Result<u64, SiegeError> {
    let failed = |error| SiegeError::Healthy { during: "consuming", error };
    let mut next = [0; PARTITIONS as usize];
    loop {
        let is_last = shared.stop.load(Ordering::Relaxed);
        let due = shared.acknowledged.load(Ordering::Relaxed);
        let parts = (0..PARTITIONS).zip(&next).map(|(partition, &next)| {
            let offset = Offset(i64::try_from(next).expect("offsets are below 2^63"));
            fetch_part(topic, PartitionIndex(partition), offset, FETCH_BYTES)
        });
        let parts = parts.collect();
        let request =
            FetchRequest { wait_ms_max: FETCH_WAIT_MS, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
        let answer = fetch(&mut session, &request).map_err(failed)?;
        for ((partition, next), batches) in (0..PARTITIONS).zip(&mut next).zip(answer) {
            *next = check_batches(partition, *next, &batches)?;
        }
        let read: u64 = next.iter().sum();
        // The last record may have been acknowledged after the count was taken: then there is one more to come.
        if is_last && read >= due && read >= shared.acknowledged.load(Ordering::Relaxed) {
            return Ok(read);
        }
    }
}

/// Checks that the records from `first` on are the right ones; gives the offset behind them.
fn check_batches(partition: u32, first: u64, batches: &[u8]) -> Result<u64, SiegeError> {
    let mut next = first;
    let wrong =
        |what: String| SiegeError::broken(format!("partition {partition} behind offset {first}: {what}"));
    for batch in Batches::new(batches) {
        let (_, bytes) = batch.map_err(|problem| wrong(problem.to_string()))?;
        check(bytes).map_err(|problem| wrong(problem.to_string()))?;
        let reader = RecordReader::new(bytes, 0).map_err(|problem| wrong(problem.to_string()))?;
        for record in &reader {
            let record = record.map_err(|problem| wrong(problem.to_string()))?;
            let number = next * u64::from(PARTITIONS) + u64::from(partition);
            let is_right =
                u64::try_from(record.offset.get()) == Ok(next) && record.value == Some(&value(number)[..]);
            if !is_right {
                return Err(wrong(format!("offset {} holds another record", record.offset)));
            }
            next += 1;
        }
    }
    Ok(next)
}

/// The partition of a record, and its place there.
fn place_of(number: u64) -> (PartitionIndex, u64) {
    let partitions = u64::from(PARTITIONS);
    (PartitionIndex((number % partitions) as u32), number / partitions)
}

fn batch(producer: ProducerId, sequence: u64, number: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    let sequence = i32::try_from(sequence).expect("a run has fewer records");
    builder.set_producer(producer, ProducerEpoch(0), ProducerSequence(sequence));
    builder.append(TimestampMs(1_700_000_000_000), None, Some(&value(number)), &[]);
    builder.finish().expect("a small batch with a record can be built").to_vec()
}

fn value(number: u64) -> Vec<u8> {
    let mut value = format!("{number}-").into_bytes();
    value.resize(RECORD_BYTES, b'.');
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_and_what_is_wrong_is_found() {
        let stamped = |number: u64, offset: i64| {
            let mut bytes = batch(ProducerId(1), 0, number);
            ringmain_wire::batch::stamp(&mut bytes, Offset(offset), ringmain_wire::ids::LeaderEpoch(1));
            bytes
        };
        let both = [stamped(1, 0), stamped(3, 1)].concat();
        assert_eq!(check_batches(1, 0, &both).unwrap(), 2);
        assert!(check_batches(1, 0, &stamped(3, 0)).is_err(), "another record");
        assert!(check_batches(1, 0, &stamped(3, 1)).is_err(), "a hole");
        assert!(check_batches(0, 0, &stamped(1, 0)).is_err(), "another partition");
        assert_eq!(place_of(3), (PartitionIndex(1), 1));
    }
}
