//! The run: traffic, kill, tear, start with another number of shards, read everything back; again and again.

use core::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ringmain_wire::ids::TopicId;
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{ConfigEntry, CreateTopicRequest, TopicDescription};

use super::broker::{Broker, BrokerOptions};
use super::churn::{self, Churn, ChurnCounts};
use super::clock::Stopwatch;
use super::dice::Dice;
use super::error::{CrashError, Violation};
use super::ledger::{Counts, Ledger};
use super::log_scan::KilledLogs;
use super::place;
use super::producer::{Producer, ProducerOptions};
use super::proxy::Proxy;
use super::read_back::read_back;
use super::session::Session;
use super::tear::{SECTOR_BYTES, Tearing};
use super::upkeep::Upkeep;
use super::workload::{CONNECTIONS, PARTITIONS, TOPIC, partitions_of};

/// Of so many kills, one at least must land with a write in flight.
const KILLS_PER_WRITE_IN_FLIGHT: u64 = 2;
/// Of so many kills, one at least must lead to a retry that is answered as a duplicate.
const KILLS_PER_DUPLICATE: u64 = 10;
/// Of so many read-backs, one goes beside full traffic.
const READ_BACKS_PER_BUSY_ONE: u64 = 4;
/// Shards that the broker is started with.
const SHARDS_MAX: u64 = 3;

/// As many times more kills than asked for there are at most.
const KILLS_TIMES_MAX: u64 = 4;

/// What a run does.
#[derive(Clone, Debug)]
pub struct KillOptions {
    /// Times that the broker is killed under traffic.
    pub kills: u64,
    /// Decides when, what is torn, and how many shards there are next.
    pub seed: u64,
    /// The producer goes through a proxy that cuts its connections.
    pub proxy: bool,
    /// Groups in flight are torn after the kill.
    pub torn: bool,
    /// Beside the orders, old records go, topics come and are deleted, and index files are damaged.
    pub churn: bool,
    /// Where the run keeps its data; it stays there then. Otherwise in `target/`, and it is removed if all was well.
    pub directory: Option<PathBuf>,
}

/// What a run found.
#[derive(Debug)]
pub struct KillReport {
    options: KillOptions,
    counts: Counts,
    tearing: Tearing,
    kills_with_write_in_flight: u64,
    kills_while_starting: u64,
    /// Starts by number of shards, from 1.
    starts: [u64; SHARDS_MAX as usize],
    read_backs: u64,
    records_verified: u64,
    cuts: (u64, u64),
    churn: ChurnCounts,
    upkeep: Upkeep,
    elapsed: Duration,
}

/// Does a run.
///
/// # Errors
/// When the broker broke a promise, when the run proved too little, or when it could not go on. The data stays then.
pub fn run(options: &KillOptions) -> Result<KillReport, CrashError> {
    let name = format!("kill-9-{}-{}", options.seed, std::process::id());
    let directory = place::make_directory(options.directory.as_deref(), &name)?;
    eprintln!("seed {}, data in {}", options.seed, directory.display());
    let report = Run::begin(options, directory.clone())?.run_all()?;
    report.check_proof()?;
    if options.directory.is_none() {
        fs::remove_dir_all(&directory).map_err(CrashError::io("removing the run's directory"))?;
    }
    Ok(report)
}

struct Run {
    dice: Dice,
    started: Stopwatch,
    broker_options: BrokerOptions,
    broker_log: PathBuf,
    topic: TopicId,
    proxy: Option<Proxy>,
    churn: Option<Churn>,
    ledger: Ledger,
    report: KillReport,
}

impl Run {
    fn begin(options: &KillOptions, directory: PathBuf) -> Result<Self, CrashError> {
        let broker_options =
            BrokerOptions { data_dir: directory.join("data"), native: place::free_address()?, shards: 1 };
        let proxy = match options.proxy {
            true => Some(Proxy::start(broker_options.native, Dice::new(options.seed, u64::MAX))?),
            false => None,
        };
        Ok(Self {
            dice: Dice::new(options.seed, 0),
            started: Stopwatch::start(),
            broker_options,
            broker_log: directory.join("broker.log"),
            topic: TopicId::default(),
            proxy,
            churn: None,
            ledger: Ledger::default(),
            report: KillReport {
                options: options.clone(),
                counts: Counts::default(),
                tearing: Tearing::default(),
                kills_with_write_in_flight: 0,
                kills_while_starting: 0,
                starts: [0; SHARDS_MAX as usize],
                read_backs: 0,
                records_verified: 0,
                cuts: (0, 0),
                churn: ChurnCounts::default(),
                upkeep: Upkeep::default(),
                elapsed: Duration::ZERO,
            },
        })
    }

    fn run_all(mut self) -> Result<KillReport, CrashError> {
        let mut broker = self.start()?;
        self.create_topic()?;
        let dialled = self.proxy.as_ref().map_or(self.broker_options.native, |proxy| proxy.address);
        let mut producer =
            Producer::start(&ProducerOptions { broker: dialled, seed: self.report.options.seed })?;
        self.churn = self.report.options.churn.then(|| Churn::start(self.broker_options.native));
        let mut kills = 0;
        while kills < self.report.options.kills || self.goes_on(kills) {
            kills += 1;
            let traffic = self.dice.milliseconds(20, 400);
            producer.run_for(traffic, &mut self.ledger)?;
            self.report.upkeep.note(self.broker_options.native)?;
            self.kill(broker, &mut producer)?;
            if self.dice.once_in(5) {
                self.kill_while_starting(&mut producer)?;
            }
            broker = self.start()?;
            self.read_back_beside(&mut producer)?;
        }
        self.report.options.kills = kills;
        producer.finish(&mut self.ledger)?;
        self.read_back()?;
        self.check_nothing_else_is_stored()?;
        self.finish_churn(broker)?;
        let Self { mut report, proxy, ledger, started, .. } = self;
        report.counts = ledger.counts;
        report.cuts = proxy.map_or((0, 0), |proxy| proxy.cuts());
        report.elapsed = started.elapsed();
        Ok(report)
    }

    /// Whether there have to be more kills than were asked for: on a machine that does much else the segments wait for idle
    /// time before they are inspected, and kills are to land in that too.
    fn goes_on(&self, kills: u64) -> bool {
        let Upkeep { inspected, indexes_removed, indexes_damaged, .. } = self.report.upkeep;
        let lacks = self.report.options.churn && inspected.min(indexes_removed).min(indexes_damaged) == 0;
        lacks && kills < self.report.options.kills * KILLS_TIMES_MAX
    }

    /// Ends what goes on beside the orders, and the broker; what a stop had no time to remove, the next start removes.
    fn finish_churn(&mut self, broker: Broker) -> Result<(), CrashError> {
        if let Some(churn) = self.churn.take() {
            self.report.churn = churn.finish(self.broker_options.native)?;
        }
        let living = churn::living(self.broker_options.native)?;
        broker.stop()?;
        Broker::start(&self.broker_options, &self.broker_log)?.stop()?;
        churn::check_files(&self.broker_options.data_dir, &living)
    }

    /// Starts the broker with any number of shards.
    fn start(&mut self) -> Result<Broker, CrashError> {
        self.draw_shards();
        self.report.starts[usize::from(self.broker_options.shards) - 1] += 1;
        Broker::start(&self.broker_options, &self.broker_log)
    }

    fn create_topic(&mut self) -> Result<(), CrashError> {
        let (mut session, _) = Session::connect(self.broker_options.native)?;
        // Records say that they are of 1970, and stay all the same.
        let settings = [("retention.ms", "-1".to_owned()), ("segment.bytes", (1 << 20).to_string())];
        let request = CreateTopicRequest {
            name: TOPIC.to_owned(),
            partitions: PARTITIONS,
            replication_factor: 1,
            configs: settings.map(|(key, value)| ConfigEntry { key: key.to_owned(), value }).into(),
            validate_only: false,
        };
        let (created, _): (TopicDescription, _) = session.request(Api::CreateTopic, &request)?;
        self.topic = created.id;
        Ok(())
    }

    /// Kills the broker under traffic, looks at what it left, and tears what may be torn.
    fn kill(&mut self, broker: Broker, producer: &mut Producer) -> Result<(), CrashError> {
        broker.kill()?;
        producer.settle(&mut self.ledger)?;
        let killed = KilledLogs::scan(&self.broker_options.data_dir)?;
        if killed.has_unacknowledged(self.topic, &self.ledger) {
            self.report.kills_with_write_in_flight += 1;
        }
        if self.report.options.torn {
            let data_dir = &self.broker_options.data_dir;
            self.report.tearing.tear(data_dir, &killed, self.topic, &self.ledger, &mut self.dice)?;
        }
        if self.report.options.churn {
            self.report.upkeep.damage_indexes(&self.broker_options.data_dir, &mut self.dice)?;
        }
        Ok(())
    }

    /// A start that is killed as well, as a rule before it is ready: recovery must bear it.
    fn kill_while_starting(&mut self, producer: &mut Producer) -> Result<(), CrashError> {
        self.draw_shards();
        let after = self.dice.milliseconds(1, 60);
        Broker::start_and_kill(&self.broker_options, &self.broker_log, after)?;
        producer.settle(&mut self.ledger)?;
        self.report.kills_while_starting += 1;
        Ok(())
    }

    /// Reads everything back, as a rule with the producer held: what it adds meanwhile would have to be read ever after.
    fn read_back_beside(&mut self, producer: &mut Producer) -> Result<(), CrashError> {
        let is_quiet = !self.dice.once_in(READ_BACKS_PER_BUSY_ONE);
        if is_quiet {
            producer.hold(&mut self.ledger)?;
        }
        producer.mark(&mut self.ledger)?;
        self.read_back()?;
        if is_quiet { producer.resume(&mut self.ledger) } else { Ok(()) }
    }

    fn read_back(&mut self) -> Result<(), CrashError> {
        self.report.records_verified += read_back(self.broker_options.native, &mut self.ledger)?;
        if let Some(churn) = &self.churn {
            churn.check(self.broker_options.native)?;
        }
        self.report.read_backs += 1;
        Ok(())
    }

    /// Nothing is in flight and all was acknowledged: what is stored is that and no more.
    fn check_nothing_else_is_stored(&self) -> Result<(), Violation> {
        for partition in (0..CONNECTIONS).flat_map(partitions_of) {
            let (end, produced) = (self.ledger.end(partition), self.ledger.acknowledged(partition));
            if end > produced {
                return Err(Violation::TooMuchStored { partition, end, produced });
            }
        }
        Ok(())
    }

    fn draw_shards(&mut self) {
        self.broker_options.shards = u16::try_from(self.dice.between(1, SHARDS_MAX)).expect("few");
    }
}

impl KillReport {
    /// The report as one document.
    pub fn to_json(&self) -> serde_json::Value {
        let Self { options, counts, tearing, .. } = self;
        serde_json::json!({
            "seed": options.seed,
            "kills": options.kills,
            "kills_with_write_in_flight": self.kills_with_write_in_flight,
            "kills_while_starting": self.kills_while_starting,
            "starts_by_shards": self.starts,
            "records_acknowledged": counts.records,
            "duplicates_after_restart": counts.duplicates_after_restart,
            "duplicates_after_cut": counts.duplicates_after_cut,
            "disconnects": counts.disconnects,
            "kills_with_torn_groups": tearing.kills,
            "groups_torn": tearing.groups,
            "groups_torn_by_sectors_written": tearing.boundaries,
            "connections_cut_in_requests": self.cuts.0,
            "connections_cut_in_answers": self.cuts.1,
            "history_records_acknowledged": self.churn.records,
            "history_records_gone": self.churn.records_gone,
            "topics_deleted": self.churn.topics_deleted,
            "settled_bytes": self.upkeep.settled_bytes,
            "log_files_recycled": self.upkeep.log_files,
            "segments_inspected": self.upkeep.inspected,
            "index_files_written": self.upkeep.indexes_written,
            "index_files_removed": self.upkeep.indexes_removed,
            "index_files_damaged": self.upkeep.indexes_damaged,
            "read_backs": self.read_backs,
            "records_verified": self.records_verified,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Whether what happened by chance happened often enough for the run to mean something.
    fn check_proof(&self) -> Result<(), CrashError> {
        let (kills, options) = (self.options.kills, &self.options);
        let both = |asked: bool| u64::from(asked && kills > 0);
        let (churn, upkeep) = (&self.churn, &self.upkeep);
        let needs = [
            ("records that went", churn.records_gone, both(options.churn)),
            ("topics deleted", churn.topics_deleted, both(options.churn)),
            ("bytes settled", upkeep.settled_bytes, both(options.churn)),
            ("segments inspected", upkeep.inspected, both(options.churn)),
            ("index files written", upkeep.indexes_written, both(options.churn)),
            (
                "index files removed and damaged",
                upkeep.indexes_removed.min(upkeep.indexes_damaged),
                both(options.churn),
            ),
            (
                "kills with a write in flight",
                self.kills_with_write_in_flight,
                kills / KILLS_PER_WRITE_IN_FLIGHT,
            ),
            (
                "retries answered as duplicates from recovered state",
                self.counts.duplicates_after_restart,
                kills / KILLS_PER_DUPLICATE,
            ),
            ("torn groups", self.tearing.groups, both(options.torn)),
            ("connections cut in requests", self.cuts.0, both(options.proxy)),
            ("connections cut in answers", self.cuts.1, both(options.proxy)),
            (
                "retries answered as duplicates after a cut between write and acknowledgement",
                self.counts.duplicates_after_cut,
                both(options.proxy),
            ),
        ];
        match needs.into_iter().find(|&(_, found, needed)| found < needed) {
            Some((what, found, needed)) => Err(CrashError::ProvesTooLittle { what, found, needed }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, counts, tearing, .. } = self;
        writeln!(
            out,
            "{} kills, {} with a write in flight (a batch in the log, not yet acknowledged), {} more while starting",
            options.kills, self.kills_with_write_in_flight, self.kills_while_starting
        )?;
        let [one, two, three] = self.starts;
        writeln!(out, "starts with 1, 2, 3 shards: {one}, {two}, {three}")?;
        writeln!(
            out,
            "{} records acknowledged; {} retries answered as duplicates from recovered state, {} by the same start",
            counts.records, counts.duplicates_after_restart, counts.duplicates_after_cut
        )?;
        if options.torn {
            writeln!(
                out,
                "{} groups torn after {} kills; by sectors of {SECTOR_BYTES} bytes written, 0 to 7 and more: {:?}",
                tearing.groups, tearing.kills, tearing.boundaries
            )?;
        }
        if options.proxy {
            let (requests, answers) = self.cuts;
            writeln!(out, "{requests} connections cut in requests, {answers} in answers")?;
        }
        if options.churn {
            let ChurnCounts { records, records_gone, topics_deleted } = self.churn;
            let Upkeep {
                settled_bytes,
                log_files,
                inspected,
                indexes_written,
                indexes_removed,
                indexes_damaged,
            } = self.upkeep;
            writeln!(
                out,
                "beside that {records} records, {records_gone} of them gone; {topics_deleted} topics deleted"
            )?;
            writeln!(
                out,
                "{} MiB settled, {log_files} log files recycled, {inspected} segments inspected",
                settled_bytes >> 20
            )?;
            writeln!(
                out,
                "{indexes_written} index files written, {indexes_removed} removed and {indexes_damaged} damaged by the run"
            )?;
        }
        writeln!(
            out,
            "{} records verified in {} read-backs: each once, in order, at its offset",
            self.records_verified, self.read_backs
        )?;
        write!(out, "seed {}, {:.1} s", options.seed, self.elapsed.as_secs_f64())
    }
}
