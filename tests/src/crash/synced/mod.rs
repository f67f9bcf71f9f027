//! Really synced: a thousand records, one in flight, and the disk's own counters say that each was written and flushed.

mod descriptors;
mod disk;

use core::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use ringmain_wire::ids::{PartitionIndex, ProducerId, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    CreateTopicRequest, InitProducerRequest, InitProducerResponse, ProducePart, ProduceRequest,
    ProduceResponse, TopicDescription,
};

use super::broker::{Broker, BrokerOptions};
use super::clock::Stopwatch;
use super::error::CrashError;
use super::place;
use super::session::{Session, SessionError};
use super::workload::{TOPIC, batch};
use crate::skip::skip;
use descriptors::check_log_descriptors;
use disk::{Counters, Disk, Evidence};

const PARTITION: PartitionIndex = PartitionIndex(0);
/// When every in-sync replica has it.
const ACKS_ALL: i8 = -1;
const TIMEOUT_MS: u32 = 30_000;
/// So long the disk must be quiet before anything is counted.
const QUIET: Duration = Duration::from_millis(100);
/// A disk that others keep busy is counted all the same: they can only hide a missing sync, never make one up.
const QUIET_AT_MOST: Duration = Duration::from_secs(5);

/// What a run does.
#[derive(Clone, Debug)]
pub struct SyncedOptions {
    /// Records acknowledged, one in flight.
    pub records: u64,
    /// Where the run keeps its data; it stays there then. Otherwise in `target/`, and it is removed if all was well.
    pub directory: Option<PathBuf>,
}

/// What a run found.
#[derive(Debug)]
pub struct SyncedReport {
    records: u64,
    disk: Disk,
    rise: Counters,
    /// What the disk did on its own in as long a time, before.
    background: Counters,
    descriptors: usize,
    elapsed: Duration,
}

/// Does a run. `None` when the directory is on no disk that counts; that was told as a skip.
///
/// # Errors
/// When a log file is open without `O_DIRECT`, or when the run could not go on.
pub fn run(options: &SyncedOptions) -> Result<Option<SyncedReport>, CrashError> {
    let directory =
        place::make_directory(options.directory.as_deref(), &format!("synced-{}", std::process::id()))?;
    let disk = match Disk::of(&directory).map_err(CrashError::io("looking for the data disk"))? {
        Ok(disk) => disk,
        Err(why) => {
            skip("synced", why);
            return Ok(None);
        }
    };
    let report = measure(options.records, &directory, disk)?;
    if options.directory.is_none() {
        fs::remove_dir_all(&directory).map_err(CrashError::io("removing the run's directory"))?;
    }
    Ok(Some(report))
}

fn measure(records: u64, directory: &Path, disk: Disk) -> Result<SyncedReport, CrashError> {
    let counters = || disk.counters().map_err(CrashError::io("reading the disk's counters"));
    let native = place::free_address()?;
    let options = BrokerOptions { data_dir: directory.join("data"), native, shards: 1 };
    let broker = Broker::start(&options, &directory.join("broker.log"))?;
    let mut writer = Writer::begin(native)?;
    // The first group makes the log prepare its next file, which is a lot of writing.
    writer.write()?;
    wait_until_quiet(&disk)?;

    let before = counters()?;
    let started = Stopwatch::start();
    for _ in 0..records {
        writer.write()?;
    }
    let elapsed = started.elapsed();
    let rise = counters()?.since(before);

    let descriptors = check_log_descriptors(broker.process_id())?;
    broker.stop()?;
    let idle = counters()?;
    pause(elapsed);
    let background = counters()?.since(idle);
    Ok(SyncedReport { records, disk, rise, background, descriptors, elapsed })
}

/// A client with one record in flight.
struct Writer {
    session: Session,
    topic: TopicId,
    producer: ProducerId,
    next: u64,
}

impl Writer {
    fn begin(broker: SocketAddr) -> Result<Self, SessionError> {
        let (mut session, _) = Session::connect(broker)?;
        let request = CreateTopicRequest {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: 1,
            configs: Vec::new(),
            validate_only: false,
        };
        let (created, _): (TopicDescription, _) = session.request(Api::CreateTopic, &request)?;
        let request = InitProducerRequest { transactional_id: None };
        let (given, _): (InitProducerResponse, _) = session.request(Api::InitProducer, &request)?;
        Ok(Self { session, topic: created.id, producer: given.producer, next: 0 })
    }

    /// One record, acknowledged.
    fn write(&mut self) -> Result<(), SessionError> {
        let bytes = batch(self.producer, PARTITION, self.next, 1);
        let length = u32::try_from(bytes.len()).expect("batches are small");
        let part = ProducePart { topic: self.topic, partition: PARTITION, length };
        let request = ProduceRequest { acks: ACKS_ALL, timeout_ms: TIMEOUT_MS, parts: vec![part] };
        let number = self.session.send(Api::Produce, &request, &bytes)?;
        let (answer, _): (ProduceResponse, _) = self.session.receive(Api::Produce, number)?;
        let part = answer.parts.into_iter().next().ok_or(SessionError::WrongAnswer)?;
        if part.error != 0 {
            return Err(SessionError::refused(part.error, part.message));
        }
        self.next += 1;
        Ok(())
    }
}

fn wait_until_quiet(disk: &Disk) -> Result<(), CrashError> {
    let counters = || disk.counters().map_err(CrashError::io("reading the disk's counters"));
    let started = Stopwatch::start();
    let mut before = counters()?;
    while started.left_of(QUIET_AT_MOST).is_some() {
        pause(QUIET);
        let now = counters()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Lets time pass, as nothing tells when others leave a disk alone.
fn pause(time: Duration) {
    let (_nobody_sends, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

impl SyncedReport {
    /// The report as one document.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "records": self.records,
            "disk": self.disk.name(),
            "evidence": self.disk.evidence().name(),
            "writes": self.rise.writes,
            "flushes": self.rise.flushes,
            "background_writes": self.background.writes,
            "background_flushes": self.background.flushes,
            "log_descriptors": self.descriptors,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Whether every record was written and synced.
    ///
    /// # Errors
    /// [`CrashError::NotSynced`] when the counters rose by less than what was acknowledged.
    pub fn check(&self) -> Result<(), CrashError> {
        let not_synced = |what, found| CrashError::NotSynced { what, found, needed: self.records };
        if self.rise.writes < self.records {
            return Err(not_synced("writes", self.rise.writes));
        }
        match (self.disk.evidence(), self.rise.flushes) {
            (Evidence::Flushes, Some(flushes)) if flushes < self.records => {
                Err(not_synced("flushes", flushes))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SyncedReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flushes =
            |counters: Counters| counters.flushes.map_or("no".to_owned(), |count| count.to_string());
        writeln!(
            out,
            "{} records acknowledged one by one in {:.3} s",
            self.records,
            self.elapsed.as_secs_f64()
        )?;
        writeln!(
            out,
            "{}: {} writes and {} flushes completed; {} and {} in as long a time without us",
            self.disk.name(),
            self.rise.writes,
            flushes(self.rise),
            self.background.writes,
            flushes(self.background)
        )?;
        writeln!(out, "{}", self.disk.evidence())?;
        write!(out, "{} log files open for writing, all with O_DIRECT", self.descriptors)
    }
}
