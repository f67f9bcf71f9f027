//! Old data read while new data arrives: how fast segments are read through the broker, beside the files themselves, and what
//! that does to a client that produces meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmain_wire::batch::{Batches, check};
use ringmain_wire::ids::{Offset, PartitionIndex, TopicId};
use ringmain_wire::native::frame::{self, Api, FRAME_BYTES_MAX_DEFAULT};
use ringmain_wire::native::messages::{DescribeTopicRequest, FetchRequest, FetchResponse, TopicDescription};
use rustix::fs::OFlags;

use super::client::{FILL_BATCH_RECORDS, create_topic, fetch_part, fill};
use super::error::SiegeError;
use super::goals::{Figures, Goal, Judgement};
use super::healthy::Healthy;
use super::latencies::{milliseconds, ratio};
use super::run::{Place, pause};
use crate::crash::clock::Stopwatch;
use crate::crash::session::{Session, SessionError};

const PARTITIONS: u32 = 4;
/// Memory of each shard for records: a small part of what is read.
const MEMORY_BYTES: usize = 64 << 20;
/// Bytes asked of each partition at a time, and of the files, as consumers are used to.
const READ_BYTES: u32 = 1 << 20;
/// Alignment of memory for reads that bypass the page cache.
const BLOCK_BYTES: usize = 4096;
/// All is read as often, in turn with the files; medians count.
const ROUNDS: usize = 3;
/// How long the producing client is alone first.
const CALM: Duration = Duration::from_secs(10);

/// What a run does.
#[derive(Clone, Debug)]
pub struct ColdOptions {
    /// Bytes of records to be read.
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
pub fn run(options: &ColdOptions) -> Result<(), SiegeError> {
    let mut place = Place::make(options.directory.as_deref(), "cold")?;
    place.options.memory_bytes = MEMORY_BYTES;
    let broker = place.start()?;
    let native = place.options.native;
    let (mut session, _) = Session::connect(native)?;
    let topic = create_topic(&mut session, "cold", PARTITIONS)?;
    let batches = fill(&mut session, topic, PARTITIONS, options.bytes)?;
    let partitions = place.options.data_dir.join("partitions");

    let healthy = Healthy::start(native, 2)?;
    pause(CALM);
    let (mut raw, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(read_files(&partitions)?);
        healthy.enter(1);
        cold.push(read_through(native, topic, batches)?);
        healthy.enter(0);
    }
    let seen = healthy.finish()?;
    let [raw, cold] = [raw, cold].map(median);
    let mut figures = Figures::of(format!(
        "{} MiB read {ROUNDS} times through the broker, in turn with the files",
        options.bytes >> 20
    ));
    figures.add("segment files, one read of 1 MiB in flight", raw, "MiB/s", Goal::Told);
    figures.add("through the broker, each checksum checked", cold, "MiB/s", Goal::Told);
    figures.add("time, times that of the files", raw / cold, "x", Goal::BelowWhenQuiet(2.0));
    figures.add("produce p99 without", milliseconds(seen.parts[0].percentile(99)), "ms", Goal::Told);
    figures.add("produce p99 beside", milliseconds(seen.parts[1].percentile(99)), "ms", Goal::Told);
    let times = ratio(&seen.parts[0], &seen.parts[1]);
    figures.add("produce p99, times that without", times, "x", Goal::BelowWhenQuiet(3.0));
    figures.finish(options.judgement)?;
    broker.stop()?;
    place.remove()
}

/// Reads every segment file past the page cache; gives MiB a second.
fn read_files(partitions: &Path) -> Result<f64, SiegeError> {
    let failed = || SiegeError::io("reading the segment files");
    let mut memory = vec![0; READ_BYTES as usize + BLOCK_BYTES];
    let skip = memory.as_ptr().align_offset(BLOCK_BYTES);
    let buffer = &mut memory[skip..skip + READ_BYTES as usize];
    let mut bytes = 0;
    let started = Stopwatch::start();
    for directory in fs::read_dir(partitions).map_err(failed())? {
        for entry in fs::read_dir(directory.map_err(failed())?.path()).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                bytes += read_file(&path, buffer).map_err(failed())?;
            }
        }
    }
    Ok(mebibytes_a_second(bytes, started.elapsed()))
}

fn read_file(path: &Path, buffer: &mut [u8]) -> std::io::Result<u64> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("flags are small");
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = 0;
    loop {
        let read = file.read(buffer)?;
        bytes += read as u64;
        // Short only at the end.
        if read < buffer.len() {
            return Ok(bytes);
        }
    }
}

/// Reads all partitions from their start through the ports of the shards that own them; gives MiB a second.
fn read_through(broker: SocketAddr, topic: TopicId, batches: u64) -> Result<f64, SiegeError> {
    let (mut session, greeting) = Session::connect(broker)?;
    let request = DescribeTopicRequest { name: "cold".to_owned() };
    let (described, _): (TopicDescription, _) = session.request(Api::DescribeTopic, &request)?;
    let mut readers = Vec::new();
    for endpoint in &greeting.shards {
        let owned = described.partitions.iter().filter(|partition| partition.shard == endpoint.shard);
        let due = owned.map(|partition| Due::all(partition.index, batches)).collect();
        readers.push(Reader::connect(SocketAddr::new(broker.ip(), endpoint.port), topic, due)?);
    }
    let started = Stopwatch::start();
    for reader in &mut readers {
        reader.ask()?;
    }
    while readers.iter().any(|reader| !reader.due.is_empty()) {
        for reader in readers.iter_mut().filter(|reader| !reader.due.is_empty()) {
            reader.take()?;
            reader.ask()?;
        }
    }
    let bytes = readers.iter().map(|reader| reader.bytes).sum();
    Ok(mebibytes_a_second(bytes, started.elapsed()))
}

/// What of a partition is still to be read.
#[derive(Clone, Copy, Debug)]
struct Due {
    partition: PartitionIndex,
    next: Offset,
    end: Offset,
}

impl Due {
    /// All of a partition's share of the `batches` of a fill.
    fn all(partition: PartitionIndex, batches: u64) -> Self {
        let its = (batches + u64::from(PARTITIONS - 1 - partition.get())) / u64::from(PARTITIONS);
        let end = i64::try_from(its * FILL_BATCH_RECORDS as u64).expect("a run has fewer records");
        Self { partition, next: Offset(0), end: Offset(end) }
    }
}

/// A consumer of the partitions of one shard, which copies nothing.
struct Reader {
    socket: TcpStream,
    topic: TopicId,
    due: Vec<Due>,
    fetches: u32,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Reader {
    fn connect(shard: SocketAddr, topic: TopicId, due: Vec<Due>) -> Result<Self, SessionError> {
        let (session, _) = Session::connect(shard)?;
        let buffer = vec![0; FRAME_BYTES_MAX_DEFAULT as usize];
        Ok(Self { socket: session.into_socket(), topic, due, fetches: 1 << 16, bytes: 0, buffer })
    }

    /// Asks for what comes next of each partition.
    fn ask(&mut self) -> Result<(), SessionError> {
        if self.due.is_empty() {
            return Ok(());
        }
        let parts = self.due.iter().map(|due| fetch_part(self.topic, due.partition, due.next, READ_BYTES));
        let parts: Vec<_> = parts.collect();
        let bytes_max = READ_BYTES * u32::try_from(parts.len()).expect("few partitions");
        let request = FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max, parts };
        self.fetches += 1;
        let bytes = frame::encode(Api::Fetch.number(), false, 0, self.fetches, &request, 0);
        std::io::Write::write_all(&mut self.socket, &bytes)?;
        Ok(())
    }

    /// Takes the answer, which must be what comes next.
    fn take(&mut self) -> Result<(), SiegeError> {
        let mut filled = 0;
        let answer = loop {
            let read = self.socket.read(&mut self.buffer[filled..]).map_err(SessionError::from)?;
            if read == 0 {
                return Err(SessionError::Lost(std::io::ErrorKind::UnexpectedEof.into()).into());
            }
            filled += read;
            let split = frame::split(&self.buffer[..filled], FRAME_BYTES_MAX_DEFAULT);
            if let Some((answer, _)) = split.map_err(SessionError::from)? {
                break answer;
            }
        };
        if answer.header.correlation != self.fetches || answer.header.error != 0 {
            return Err(SessionError::WrongAnswer.into());
        }
        let found: FetchResponse = frame::decode(answer.body).map_err(SessionError::from)?;
        let (mut rest, mut any) = (answer.payload, false);
        for (due, part) in self.due.iter_mut().zip(found.parts) {
            if part.error != 0 {
                return Err(SessionError::refused(part.error, None).into());
            }
            let (batches, others) =
                rest.split_at_checked(part.length as usize).ok_or(SessionError::WrongAnswer)?;
            due.next = check_batches(due, batches)?;
            self.bytes += batches.len() as u64;
            any |= !batches.is_empty();
            rest = others;
        }
        if !any {
            return Err(SiegeError::broken("every record that was acknowledged can be read"));
        }
        self.due.retain(|due| due.next < due.end);
        Ok(())
    }
}

/// Checks that batches follow without a hole and are whole; gives the offset behind them.
fn check_batches(due: &Due, batches: &[u8]) -> Result<Offset, SiegeError> {
    let mut next = due.next;
    for batch in Batches::new(batches) {
        let is_right = batch.is_ok_and(|(header, bytes)| {
            let is_next = header.base_offset == next;
            next = header.base_offset.plus(header.records);
            is_next && check(bytes).is_ok()
        });
        if !is_right {
            return Err(SiegeError::broken(format!(
                "partition {}: whole batches, without a hole",
                due.partition
            )));
        }
    }
    Ok(next)
}

fn mebibytes_a_second(bytes: u64, time: Duration) -> f64 {
    (bytes as f64 / f64::from(1 << 20)) / time.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::super::client::filler;
    use super::*;

    #[test]
    fn holes_and_changed_bytes_are_found() {
        let due = Due { partition: PartitionIndex(0), next: Offset(2), end: Offset(9) };
        let stamped = |offset: i64| {
            let mut batch = filler(2, 64);
            ringmain_wire::batch::stamp(&mut batch, Offset(offset), ringmain_wire::ids::LeaderEpoch(1));
            batch
        };
        let both = [stamped(2), stamped(4)].concat();
        assert_eq!(check_batches(&due, &both).unwrap(), Offset(6));
        assert!(check_batches(&due, &stamped(3)).is_err(), "a hole");
        let mut changed = stamped(2);
        *changed.last_mut().unwrap() ^= 1;
        assert!(check_batches(&due, &changed).is_err(), "another byte");
    }

    #[test]
    fn a_partition_has_its_share_of_a_fill() {
        let ends =
            |batches| (0..PARTITIONS).map(move |index| Due::all(PartitionIndex(index), batches).end.get());
        assert_eq!(ends(6).collect::<Vec<_>>(), [128, 128, 64, 64]);
        assert_eq!(ends(4).sum::<i64>(), 256);
    }
}
