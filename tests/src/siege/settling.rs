//! What settling costs those who produce meanwhile: latencies of a steady load while records move out of the log into
//! segments, beside those of a broker that has so much memory and log that none has to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ringmain_wire::ids::{PartitionIndex, TopicId};

use super::client::{create_topic, filler, produce};
use super::error::SiegeError;
use super::goals::{Figures, Goal, Judgement};
use super::latencies::{Latencies, milliseconds};
use super::owners::Owners;
use super::run::{Place, pause};
use crate::crash::clock::Stopwatch;
use crate::crash::session::{Session, SessionError};

const PARTITIONS: u32 = 10;
/// Clients, each with one request under way.
const PRODUCERS: u32 = 4;
/// Records of a batch, and bytes of a record.
const BATCH_RECORDS: usize = 16;
const RECORD_BYTES: usize = 1024;
/// Memory and log of a shard that settles all the while, and of one that never has to.
const LITTLE: (usize, u64) = (64 << 20, 256 << 20);
const MUCH: (usize, u64) = (8 << 30, 16 << 30);

/// What a run does.
#[derive(Clone, Debug)]
pub struct SettlingOptions {
    /// MiB produced in a second.
    pub rate_mebibytes: u32,
    /// How long each broker is loaded.
    pub time: Duration,
    /// What becomes of the figures.
    pub judgement: Judgement,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// Does a run.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken, or when the run could not go on.
pub fn run(options: &SettlingOptions) -> Result<(), SiegeError> {
    let SettlingOptions { rate_mebibytes, time, .. } = *options;
    let mut figures =
        Figures::of(format!("{rate_mebibytes} MiB/s in batches of 16 KiB for {} s each", time.as_secs()));
    for (name, names, (memory_bytes, log_bytes)) in [
        ("on", ["p50, settling", "p99, settling", "p99.9, settling", "settled meanwhile"], LITTLE),
        ("off", ["p50, not settling", "p99, not settling", "p99.9, not settling", "settled then"], MUCH),
    ] {
        let directory = options.directory.as_ref().map(|directory| directory.join(name));
        let mut place = Place::make(directory.as_deref(), &format!("settling-{name}"))?;
        place.options.memory_bytes = memory_bytes;
        place.options.log_bytes = log_bytes;
        let broker = place.start()?;
        let (mut session, _) = Session::connect(place.options.native)?;
        let topic = create_topic(&mut session, "steady", PARTITIONS)?;
        let latencies = load(place.options.native, topic, options)?;
        let settled = Owners::ask(&mut session)?.count("settled_bytes_total");
        for (name, permille) in names.into_iter().zip([500, 990, 999]) {
            figures.add(name, milliseconds(latencies.permille(permille)), "ms", Goal::Told);
        }
        figures.add(names[3], (settled >> 20) as f64, "MiB", Goal::Told);
        if (settled > 0) != (name == "on") {
            return Err(SiegeError::broken(format!("settling is {name}: {settled} bytes were settled")));
        }
        broker.stop()?;
        place.remove()?;
    }
    figures.finish(options.judgement)
}

/// Produces at the rate asked for, over all producers.
fn load(broker: SocketAddr, topic: TopicId, options: &SettlingOptions) -> Result<Latencies, SiegeError> {
    let batch = filler(BATCH_RECORDS, RECORD_BYTES);
    let per_second = f64::from(options.rate_mebibytes) * f64::from(1 << 20) / batch.len() as f64;
    let every = Duration::from_secs_f64(f64::from(PRODUCERS) / per_second);
    let all = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let batch = &batch;
                scope.spawn(move || produce_steadily(broker, topic, number, batch, every, options.time))
            })
            .collect();
        let mut all = Latencies::default();
        for producer in producers {
            all.append(producer.join().expect("producers do not panic")?);
        }
        Ok::<_, SessionError>(all)
    });
    Ok(all?)
}

/// An open loop: each latency counts from when its request was due.
fn produce_steadily(
    broker: SocketAddr,
    topic: TopicId,
    number: u32,
    batch: &[u8],
    every: Duration,
    time: Duration,
) -> Result<Latencies, SessionError> {
    let (mut session, _) = Session::connect(broker)?;
    let mut latencies = Latencies::default();
    let started = Stopwatch::start();
    // Not all at once.
    let mut due = every * number / PRODUCERS;
    let mut turn = number;
    while due < time {
        if let Some(left) = started.left_of(due) {
            pause(left);
        }
        produce(&mut session, topic, PartitionIndex(turn % PARTITIONS), batch)?;
        latencies.add(started.elapsed().saturating_sub(due));
        due += every;
        turn += 1;
    }
    Ok(latencies)
}
