//! The physical limit of this host: what a durable broker could reach here if it did nothing but its job.
//!
//! A bare durable echo (receive, synced group write, answer), the disk, the loopback and the memory behind it. The
//! broker's figures are read as ratios to these, taken in the same run on the same machine.

mod aligned;
mod disk;
mod echo;
mod echo_client;
mod error;
mod machine;
mod probe_file;
mod report;
mod ring;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::thread::CpuSet;

use crate::client_loop::{self, Ledger, Load, Pace, Stop};
use crate::clock::Stopwatch;
use crate::figures::rounded;
use crate::host::{Host, ProcessorTime};
use crate::latency::LatencySummary;

pub use disk::{Direction, DiskReport, StreamReport};
use echo::{ANSWER_BYTES, EchoServed, EchoServer, EchoSettings, GROUP_BYTES_MAX};
pub use echo_client::EchoAnswerError;
use echo_client::EchoExchange;
pub use error::LimitError;
pub use machine::MachineReport;
use probe_file::ProbeFile;
pub use report::{ClosedLoopReport, EchoReport, LightLoadReport, LimitReport};

/// How long answers may take after the last request.
const DRAIN: Duration = Duration::from_secs(1);
const CONNECTIONS_MAX: u32 = 256;
const GROUPS_IN_FLIGHT_MAX: usize = 16;
const BUDGET_MAX: Duration = Duration::from_secs(27);
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What to measure. The whole run ends within 30 s.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitOptions {
    /// Where the probe file is written; the directory that the broker would use.
    pub directory: PathBuf,
    /// Time for all measurements together, without preparing the file; at most 27 s.
    pub budget: Duration,
    /// Also measure an echo whose server looks for work that long before it sleeps.
    pub spin: Option<Duration>,
    /// Concurrent connections of the closed loops, 1 to 256 each.
    pub connections: Vec<u32>,
    /// Length of a request, 64 bytes to 256 KiB.
    pub payload_bytes: usize,
    /// Pace of the light load: an open loop over one connection.
    pub light_requests_per_second: f64,
    /// Group writes that the echo keeps in flight, 1 to 16.
    pub groups_in_flight: usize,
    /// Length of the probe file, in whole MiB, 8 MiB to 1 GiB.
    pub file_bytes: u64,
    /// Processor that the echo's server is pinned to, as a shard of the broker is; `None`: wherever the kernel likes.
    pub cpu: Option<usize>,
}

impl LimitOptions {
    /// The measure that DESIGN.md section 8 speaks of, in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            budget: Duration::from_secs(24),
            spin: Some(Duration::from_millis(10)),
            connections: vec![1, 8, 32],
            payload_bytes: 1024,
            light_requests_per_second: 500.0,
            groups_in_flight: 4,
            file_bytes: 64 * 1024 * 1024,
            cpu: first_allowed_cpu(),
        }
    }

    fn check(&self) -> Result<(), LimitError> {
        let checks = [
            (!self.budget.is_zero() && self.budget <= BUDGET_MAX, "budget", "more than 0 and at most 27 s"),
            (
                !self.connections.is_empty()
                    && self.connections.iter().all(|count| (1..=CONNECTIONS_MAX).contains(count)),
                "connections",
                "one or more numbers from 1 to 256",
            ),
            (
                (ANSWER_BYTES..=GROUP_BYTES_MAX).contains(&self.payload_bytes),
                "payload bytes",
                "from 64 to 262,144",
            ),
            (
                (1.0..=1e6).contains(&self.light_requests_per_second),
                "requests per second of the light load",
                "from 1 to 1,000,000",
            ),
            ((1..=GROUPS_IN_FLIGHT_MAX).contains(&self.groups_in_flight), "groups in flight", "from 1 to 16"),
            (
                self.file_bytes.is_multiple_of(1 << 20)
                    && (8 << 20..=FILE_BYTES_MAX).contains(&self.file_bytes),
                "file bytes",
                "whole MiB, from 8 MiB to 1 GiB",
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, wanted)) => Err(LimitError::Option { name, wanted }),
            None => Ok(()),
        }
    }
}

/// Shard 0 of a broker runs there, too.
fn first_allowed_cpu() -> Option<usize> {
    let allowed = rustix::thread::sched_getaffinity(None).ok()?;
    (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu))
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What begins now.
    pub step: String,
    /// Which step that is, from 1.
    pub number: usize,
    /// How many there are.
    pub steps: usize,
}

/// How long a synced write of 4 KiB to a disk takes through the ring, one at a time: the floor of every acknowledgement
/// there. Takes `duration` and a little.
///
/// # Errors
/// A filesystem without direct IO or durability, a kernel without the ring, a failing system call.
pub fn synced_write_latency(directory: &Path, duration: Duration) -> Result<LatencySummary, LimitError> {
    /// As small as probe files may be, so that making one takes little time.
    const FILE_BYTES: u64 = 8 << 20;
    disk::ring_write_latency(&ProbeFile::create(directory, FILE_BYTES)?, duration)
}

/// Measures this host. Prints nothing; `progress` hears of every step as it begins.
///
/// # Errors
/// Options that make no sense, a filesystem without direct IO or durability, a kernel without the ring, a failing
/// system call, an echo that lost requests.
pub fn run(options: &LimitOptions, progress: &mut dyn FnMut(Progress)) -> Result<LimitReport, LimitError> {
    options.check()?;
    let host = Host::describe(&options.directory);
    let mut notes = Vec::new();
    let waits = waits(options, &host, &mut notes);
    let mut steps = Steps {
        progress,
        number: 0,
        steps: 4 + disk::STREAMS.len() + waits.len() * (1 + options.connections.len()),
    };
    let began = Stopwatch::start();
    let time_before = ProcessorTime::now();

    steps.begin("preparing the probe file".to_owned());
    let file = ProbeFile::create(&options.directory, options.file_bytes)?;
    let machine = measure_machine(options.budget.mul_f64(0.06), &mut steps)?;
    let disk = measure_disk(&file, options.budget.mul_f64(0.24), &mut steps)?;
    let echo_budget = options.budget.mul_f64(0.7 / waits.len() as f64);
    let mut echoes = Vec::with_capacity(waits.len());
    for spin in waits {
        echoes.push(measure_echo(options, spin, &file, echo_budget, &mut steps)?);
    }
    Ok(LimitReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        durability: "answered when written with O_DIRECT and RWF_DSYNC into a zero-written file".to_owned(),
        directory: options.directory.display().to_string(),
        payload_bytes: options.payload_bytes,
        groups_in_flight: options.groups_in_flight,
        file_bytes: options.file_bytes,
        server_cpu: options.cpu,
        stolen_cores: rounded(ProcessorTime::now().stolen_cores_since(time_before, host.cpus)),
        elapsed_seconds: rounded(began.seconds()),
        host,
        echoes,
        disk,
        machine,
        notes,
    })
}

/// The ways of waiting that are measured.
fn waits(options: &LimitOptions, host: &Host, notes: &mut Vec<String>) -> Vec<Option<Duration>> {
    let mut waits = vec![None];
    if options.spin.is_some() {
        if host.cpus > 1 {
            waits.push(options.spin);
        } else {
            notes.push("spinning was not measured: the client needs the only processor".to_owned());
        }
    }
    waits
}

struct Steps<'a> {
    progress: &'a mut dyn FnMut(Progress),
    number: usize,
    steps: usize,
}

impl Steps<'_> {
    fn begin(&mut self, step: String) {
        self.number += 1;
        (self.progress)(Progress { step, number: self.number, steps: self.steps });
    }
}

fn measure_machine(budget: Duration, steps: &mut Steps<'_>) -> Result<MachineReport, LimitError> {
    steps.begin("memory and loopback".to_owned());
    Ok(MachineReport {
        copy_gigabytes_per_second: machine::copy_gigabytes_per_second(budget / 4),
        crc32c_gigabytes_per_second: machine::crc32c_gigabytes_per_second(budget / 4),
        loopback_round_trip_512: machine::loopback_round_trip(budget / 2)?,
    })
}

fn measure_disk(file: &ProbeFile, budget: Duration, steps: &mut Steps<'_>) -> Result<DiskReport, LimitError> {
    let part = budget / (2 + disk::STREAMS.len() as u32);
    steps.begin("synced 4 KiB writes through the ring".to_owned());
    let ring_write_4k = disk::ring_write_latency(file, part)?;
    steps.begin("synced 4 KiB writes, blocking".to_owned());
    let blocking_write_4k = disk::blocking_write_latency(file, part)?;
    let mut streams = Vec::with_capacity(disk::STREAMS.len());
    for (direction, block_bytes, depth) in disk::STREAMS {
        steps.begin(format!("stream of {} KiB, {depth} in flight", block_bytes / 1024));
        streams.push(disk::stream(file, direction, block_bytes, depth, part)?);
    }
    Ok(DiskReport { ring_write_4k, blocking_write_4k, streams })
}

/// Half of the time for the light load, whose tail needs samples; the rest shared by the closed loops.
fn measure_echo(
    options: &LimitOptions,
    spin: Option<Duration>,
    file: &ProbeFile,
    budget: Duration,
    steps: &mut Steps<'_>,
) -> Result<EchoReport, LimitError> {
    let waiting = if spin.is_some() { "spinning" } else { "parked" };
    steps.begin(format!("durable echo, {waiting}, light load"));
    let pace = Pace::OpenLoop { requests_per_second: options.light_requests_per_second };
    let (ledger, _) = run_echo(options, spin, file, 1, pace, budget / 2)?;
    let light_load = LightLoadReport::new(options.light_requests_per_second, &ledger);

    let part = budget / 2 / u32::try_from(options.connections.len()).expect("few");
    let mut closed_loops = Vec::with_capacity(options.connections.len());
    for &connections in &options.connections {
        steps.begin(format!("durable echo, {waiting}, {connections} connections"));
        let pace = Pace::ClosedLoop { unanswered_per_connection: 1 };
        let (ledger, served) = run_echo(options, spin, file, connections, pace, part)?;
        closed_loops.push(ClosedLoopReport {
            connections,
            requests_per_second: rounded(ledger.accepted_per_second()),
            requests_per_write: rounded(served.requests as f64 / served.groups.max(1) as f64),
            latency: ledger.latency.summary(),
        });
    }
    Ok(EchoReport {
        waiting: waiting.to_owned(),
        spin_us: spin.map(|spin| rounded(spin.as_secs_f64() * 1e6)),
        light_load,
        closed_loops,
    })
}

fn run_echo(
    options: &LimitOptions,
    spin: Option<Duration>,
    file: &ProbeFile,
    connections: u32,
    pace: Pace,
    duration: Duration,
) -> Result<(Ledger, EchoServed), LimitError> {
    let warm_up = duration / 10;
    let load = Load { pace, warm_up, measured: duration - warm_up, drain: DRAIN };
    echo_under_load(options, spin, file, connections, &load)
}

fn echo_under_load(
    options: &LimitOptions,
    spin: Option<Duration>,
    file: &ProbeFile,
    connections: u32,
    load: &Load,
) -> Result<(Ledger, EchoServed), LimitError> {
    let settings = EchoSettings {
        connections: connections as usize,
        payload_bytes: options.payload_bytes,
        groups_in_flight: options.groups_in_flight,
        spin,
        cpu: options.cpu,
    };
    let (server, sockets) = EchoServer::start(settings, file.try_clone()?)?;
    let mut exchange = EchoExchange::new(settings.connections, settings.payload_bytes);
    let ledger = client_loop::run(sockets, load, &mut exchange, &Stop::default());
    // The server's error comes first: to the client it is only a closed connection.
    let served = server.join()?;
    let ledger = ledger.map_err(LimitError::Client)?;
    match ledger.unanswered() + ledger.unsent {
        0 => Ok((ledger, served)),
        unanswered => Err(LimitError::Unanswered(unanswered)),
    }
}

/// One load on the bare durable echo, for a run that compares something with it.
///
/// # Errors
/// As [`run`].
pub fn run_echo_alone(options: &LimitOptions, connections: u32, load: &Load) -> Result<Ledger, LimitError> {
    options.check()?;
    if !(1..=CONNECTIONS_MAX).contains(&connections) {
        return Err(LimitError::Option { name: "connections", wanted: "from 1 to 256" });
    }
    let file = ProbeFile::create(&options.directory, options.file_bytes)?;
    echo_under_load(options, options.spin, &file, connections, load).map(|(ledger, _)| ledger)
}

#[cfg(test)]
mod tests;
