//! A start after `kill -9` with much log to replay: how long it takes until the broker is ready again.

use std::path::PathBuf;

use ringmain_wire::ids::{Offset, PartitionIndex};
use ringmain_wire::native::messages::FetchRequest;

use super::client::{FILL_BATCH_RECORDS, create_topic, fetch, fetch_part, fill};
use super::error::SiegeError;
use super::goals::{Figures, Goal, Judgement};
use super::run::Place;
use crate::crash::clock::Stopwatch;
use crate::crash::session::Session;

const PARTITIONS: u32 = 100;
/// Memory of each shard for records, in multiples of what is written: so much that nothing is settled.
const MEMORY_TIMES: u64 = 8;
const FETCH_BYTES: u32 = 1 << 20;

/// What a run does.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Bytes of records in the log.
    pub bytes: u64,
    /// What becomes of the figures.
    pub judgement: Judgement,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// Does a run.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken or a goal missed, or when the run could not go on.
pub fn run(options: &ReplayOptions) -> Result<(), SiegeError> {
    let mut figures = Figures::of(format!("a start with {} MiB of log", options.bytes >> 20));
    for shards in [1, 2] {
        let directory =
            options.directory.as_ref().map(|directory| directory.join(format!("shards-{shards}")));
        let mut place = Place::make(directory.as_deref(), &format!("replay-{shards}"))?;
        place.options.shards = shards;
        place.options.memory_bytes = usize::try_from(options.bytes * MEMORY_TIMES).unwrap_or(usize::MAX);
        place.options.log_bytes = options.bytes * MEMORY_TIMES;
        replay(options, &place, &mut figures)?;
        place.remove()?;
    }
    figures.finish(options.judgement)
}

fn replay(options: &ReplayOptions, place: &Place, figures: &mut Figures) -> Result<(), SiegeError> {
    let broker = place.start()?;
    let (mut session, _) = Session::connect(place.options.native)?;
    let topic = create_topic(&mut session, "replayed", PARTITIONS)?;
    let batches = fill(&mut session, topic, PARTITIONS, options.bytes)?;
    // Dropped, a broker is killed.
    drop(broker);

    let started = Stopwatch::start();
    let broker = place.start()?;
    let names = match place.options.shards {
        1 => ["ready after kill -9, 1 shard", "resident memory then, 1 shard"],
        _ => ["ready after kill -9, 2 shards", "resident memory then, 2 shards"],
    };
    figures.add(names[0], started.elapsed().as_secs_f64(), "s", Goal::Below(3.0));
    figures.add(names[1], (broker.process().resident_bytes()? >> 20) as f64, "MiB", Goal::Told);

    let (mut session, _) = Session::connect(place.options.native)?;
    for partition in (0..PARTITIONS).map(PartitionIndex) {
        let its = (batches + u64::from(PARTITIONS - 1 - partition.get())) / u64::from(PARTITIONS);
        let Some(last) = (its * FILL_BATCH_RECORDS as u64).checked_sub(1) else { continue };
        let last = Offset(i64::try_from(last).expect("a run has fewer records"));
        let parts = vec![fetch_part(topic, partition, last, FETCH_BYTES)];
        let request = FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
        if fetch(&mut session, &request)?.iter().all(Vec::is_empty) {
            return Err(SiegeError::broken(format!("partition {partition} keeps its record at {last}")));
        }
    }
    broker.stop()?;
    Ok(())
}
