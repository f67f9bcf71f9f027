//! Many partitions on one node: how long it takes to create them, to start and to stop with them, and what they cost a
//! broker that has little to do.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::FetchRequest;

use super::broker::Broker;
use super::client::{create_topic, fetch, fetch_part, produce, produce_request, receive_produced};
use super::error::SiegeError;
use super::goals::{Figures, Goal, Judgement};
use super::latencies::{Latencies, ratio};
use super::run::{Place, pause};
use crate::crash::clock::Stopwatch;
use crate::crash::session::{Session, SessionError};
use crate::fuzz::dice::Dice;

/// What the broker with many is compared with.
const FEW: u32 = 10;
/// Memory of each shard for records.
const MEMORY_BYTES: usize = 64 << 20;
/// Records of a batch, and bytes of a record.
const BATCH_RECORDS: usize = 4;
const RECORD_BYTES: usize = 64;
/// Batches sent and not yet answered while every partition gets its first.
const BATCHES_IN_FLIGHT: usize = 64;
/// Before a batch is sent again that found the broker busy.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Partitions read with one request.
const PARTS_IN_FETCH: usize = 100;
const PART_BYTES: u32 = 32 << 10;
const FETCH_BYTES: u32 = 4 << 20;
/// How long a fetch may find nothing at all before its partitions are taken for empty.
const FETCH_WAIT_MS: u32 = 5_000;
/// Rounds of light load, in turn on both brokers, and how long each is.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
/// From the beginning of one request to that of the next.
const EVERY: Duration = Duration::from_millis(4);
/// How long nothing is asked of the broker.
const IDLE: Duration = Duration::from_secs(10);

/// What a run does.
#[derive(Clone, Debug)]
pub struct PartitionsOptions {
    /// How many there are, rounded up to as many in each topic.
    pub partitions: u32,
    /// Over how many topics.
    pub topics: u32,
    /// What becomes of the figures.
    pub judgement: Judgement,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// The partitions, spread evenly over topics.
struct Topics {
    ids: Vec<TopicId>,
    /// Partitions of each.
    partitions: u32,
}

/// Does a run.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken or a goal missed, or when the run could not go on.
pub fn run(options: &PartitionsOptions) -> Result<(), SiegeError> {
    let each = options.partitions.div_ceil(options.topics);
    let total = each * options.topics;
    let make = |name: &str| {
        let directory = options.directory.as_ref().map(|directory| directory.join(name));
        let mut place = Place::make(directory.as_deref(), name)?;
        place.options.memory_bytes = MEMORY_BYTES;
        Ok::<_, SiegeError>(place)
    };
    let few_place = make("few")?;
    let shards = few_place.options.shards;
    let mut figures =
        Figures::of(format!("{total} partitions in {} topics on {shards} shards", options.topics));

    let few_broker = few_place.start()?;
    let (mut few_session, _) = Session::connect(few_place.options.native)?;
    let few = Topics { ids: vec![create_topic(&mut few_session, "few", FEW)?], partitions: FEW };
    produce_everywhere(&mut few_session, &few)?;

    // Only now: until it listens, the port of the first broker is still free.
    let place = make("partitions")?;
    let broker = place.start()?;
    let (mut session, _) = Session::connect(place.options.native)?;
    let empty_bytes = broker.process().resident_bytes()?;
    let started = Stopwatch::start();
    let topics = create(&mut session, options.topics, each)?;
    figures.add("created in", started.elapsed().as_secs_f64(), "s", Goal::Below(30.0));
    let created_bytes = broker.process().resident_bytes()?;
    produce_everywhere(&mut session, &topics)?;
    let filled_bytes = broker.process().resident_bytes()?;
    let kib_each = |bytes: u64| bytes.saturating_sub(empty_bytes) as f64 / f64::from(total) / 1024.0;
    figures.add("memory of each, empty", kib_each(created_bytes), "KiB", Goal::Told);
    figures.add("memory of each, with a batch of 4 records", kib_each(filled_bytes), "KiB", Goal::Told);

    measure_latencies(&mut figures, (&mut few_session, &few), (&mut session, &topics))?;
    measure_idle(&mut figures, &broker)?;
    few_broker.stop()?;
    drop(session);
    restart(&mut figures, &place, broker, &topics)?;
    figures.finish(options.judgement)?;
    few_place.remove()?;
    place.remove()
}

/// Stops the broker and starts it, kills it and starts it; every partition has to have its records both times.
fn restart(figures: &mut Figures, place: &Place, broker: Broker, topics: &Topics) -> Result<(), SiegeError> {
    let goal = Goal::Below(3.0);
    figures.add("stopped in", broker.stop()?.as_secs_f64(), "s", goal);
    for name in ["ready after a stop in", "ready after kill -9 in"] {
        let started = Stopwatch::start();
        let broker = place.start()?;
        figures.add(name, started.elapsed().as_secs_f64(), "s", goal);
        let (mut session, _) = Session::connect(place.options.native)?;
        check_everywhere(&mut session, topics)?;
        // The next start follows a kill, and has this to replay.
        produce_everywhere(&mut session, topics)?;
        drop(broker);
    }
    let broker = place.start()?;
    figures.add("stopped after that in", broker.stop()?.as_secs_f64(), "s", goal);
    Ok(())
}

fn create(session: &mut Session, topics: u32, partitions: u32) -> Result<Topics, SessionError> {
    let ids = (0..topics).map(|number| create_topic(session, &format!("many-{number}"), partitions));
    Ok(Topics { ids: ids.collect::<Result<_, _>>()?, partitions })
}

/// Gives every partition a batch; where the broker is busy it is waited for.
fn produce_everywhere(session: &mut Session, topics: &Topics) -> Result<(), SessionError> {
    let batch = batch();
    let mut due: VecDeque<_> = topics.places().collect();
    let mut under_way = VecDeque::new();
    while !due.is_empty() || !under_way.is_empty() {
        while under_way.len() < BATCHES_IN_FLIGHT
            && let Some((topic, partition)) = due.pop_front()
        {
            let request = produce_request(topic, partition, &batch);
            let number = session.send(Api::Produce, &request, &batch)?;
            under_way.push_back((number, topic, partition));
        }
        let (number, topic, partition) = under_way.pop_front().expect("something is under way");
        match receive_produced(session, number) {
            Ok(_) => {}
            Err(error @ SessionError::Refused { .. }) if error.is_passing() => {
                due.push_back((topic, partition));
                pause(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the first batches of every partition: there have to be some.
fn check_everywhere(session: &mut Session, topics: &Topics) -> Result<(), SiegeError> {
    let places: Vec<_> = topics.places().collect();
    for places in places.chunks(PARTS_IN_FETCH) {
        let mut left = places.to_vec();
        // An answer need not have something of every partition: the others are asked for again, on their own.
        while !left.is_empty() {
            let parts = left.iter().map(|&(topic, index)| fetch_part(topic, index, Offset(0), PART_BYTES));
            let parts = parts.collect();
            let request =
                FetchRequest { wait_ms_max: FETCH_WAIT_MS, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
            let found = fetch(session, &request)?;
            let asked = left.len();
            left =
                left.into_iter().zip(found).filter(|(_, found)| found.is_empty()).map(|(it, _)| it).collect();
            if left.len() == asked {
                return Err(SiegeError::broken(format!(
                    "every partition keeps its records over a start: {asked} of {} have none",
                    places.len()
                )));
            }
        }
    }
    Ok(())
}

/// Light load on random partitions of both brokers in turn.
fn measure_latencies(
    figures: &mut Figures,
    (few_session, few): (&mut Session, &Topics),
    (session, topics): (&mut Session, &Topics),
) -> Result<(), SiegeError> {
    let mut dice = Dice::new(1, 0);
    let [mut with_few, mut with_many] = [Latencies::default(), Latencies::default()];
    for _ in 0..ROUNDS {
        with_few.append(load(few_session, few, &mut dice)?);
        with_many.append(load(session, topics, &mut dice)?);
    }
    let milliseconds = |latencies: &Latencies| latencies.percentile(99).as_secs_f64() * 1e3;
    figures.add("produce p99 of a broker with 10", milliseconds(&with_few), "ms", Goal::Told);
    figures.add("produce p99", milliseconds(&with_many), "ms", Goal::Told);
    figures.add(
        "produce p99, times that with 10",
        ratio(&with_few, &with_many),
        "x",
        Goal::BelowWhenQuiet(3.0),
    );
    Ok(())
}

fn load(session: &mut Session, topics: &Topics, dice: &mut Dice) -> Result<Latencies, SessionError> {
    let batch = batch();
    let mut latencies = Latencies::default();
    let started = Stopwatch::start();
    let mut due = Duration::ZERO;
    while due < ROUND {
        if let Some(left) = started.left_of(due) {
            pause(left);
        }
        let (topic, partition) = topics.place(dice.number());
        let begun = Stopwatch::start();
        produce(session, topic, partition, &batch)?;
        latencies.add(begun.elapsed());
        // Behind schedule it goes on at its rate: light load does not catch up in a burst.
        due = (due + EVERY).max(started.elapsed().saturating_sub(EVERY));
    }
    Ok(latencies)
}

fn measure_idle(figures: &mut Figures, broker: &Broker) -> Result<(), SiegeError> {
    let before = broker.process().cpu_time()?;
    pause(IDLE);
    let used = broker.process().cpu_time()?.saturating_sub(before);
    let percent = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    figures.add("CPU when idle, of one core", percent, "%", Goal::Below(1.0));
    Ok(())
}

impl Topics {
    /// Every partition.
    fn places(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let partitions = self.partitions;
        self.ids
            .iter()
            .flat_map(move |&topic| (0..partitions).map(move |index| (topic, PartitionIndex(index))))
    }

    /// The partition that a number stands for.
    fn place(&self, number: u64) -> (TopicId, PartitionIndex) {
        let place = number % (self.ids.len() as u64 * u64::from(self.partitions));
        let (topic, index) = (place / u64::from(self.partitions), place % u64::from(self.partitions));
        (self.ids[topic as usize], PartitionIndex(index as u32))
    }
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..BATCH_RECORDS {
        builder.append(TimestampMs(1_700_000_000_000), None, Some(&[b'.'; RECORD_BYTES]), &[]);
    }
    builder.finish().expect("a batch with records can be built").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_every_partition() {
        let topics = Topics { ids: vec![TopicId([1; 16]), TopicId([2; 16])], partitions: 3 };
        let places: Vec<_> = topics.places().collect();
        assert_eq!(places.len(), 6);
        assert_eq!((6..12).map(|number| topics.place(number)).collect::<Vec<_>>(), places);
    }
}
