//! The broker as a process of its own that can be killed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ringmain::serve::{ServeOptions, serve};
use ringmain_shard::store::UpkeepConfig;
use ringmain_wire::ids::NodeId;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::clock::Stopwatch;
use super::error::CrashError;

/// A broker that does not say that it is ready within this time is taken for hung.
const READY_AT_MOST: Duration = Duration::from_secs(30);
/// What DESIGN.md allows a stop, and a little.
const STOP_AT_MOST: Duration = Duration::from_secs(12);
/// With what Rust's runtime ends a process whose main thread has panicked.
const PANICKED: i32 = 101;
/// The hidden mode of the binaries that runs [`run`].
pub const MODE: &str = "broker";

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Where its data lives.
    pub data_dir: PathBuf,
    /// Where it listens.
    pub native: SocketAddr,
    /// How many shards it has.
    pub shards: u16,
}

/// So little that batches are settled into segments all the time.
const MEMORY_BYTES: usize = 8 << 20;
/// So little that log files are given back now and then.
const LOG_BYTES: u64 = 64 << 20;

/// Is the broker, in this process, until it is stopped.
pub fn run(options: &BrokerOptions) -> ExitCode {
    run_within(options, MEMORY_BYTES, hurried_upkeep())
}

/// Segments are sealed, scrubbed and let go all the time: a broker of these runs lives for less than a second.
fn hurried_upkeep() -> UpkeepConfig {
    UpkeepConfig {
        retention_every: Duration::from_millis(20),
        seal_bytes_per_second: 1 << 30,
        scrub_bytes_per_second: 1 << 30,
        scrub_after: Duration::from_millis(5),
        scrub_every: Some(Duration::from_millis(50)),
    }
}

/// The same, with as much memory for each shard, and that upkeep.
pub fn run_within(options: &BrokerOptions, memory_bytes: usize, upkeep: UpkeepConfig) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("cannot be bound to the run's life: {error}");
        return ExitCode::FAILURE;
    }
    let BrokerOptions { data_dir, native, shards } = options.clone();
    let served = serve(&ServeOptions {
        data_dir,
        node: NodeId(0),
        shards,
        native,
        native_shards: None,
        spin: Duration::ZERO,
        pin_cores: false,
        memory_bytes: Some(memory_bytes),
        log_bytes_max: LOG_BYTES,
        upkeep,
        json: false,
        warnings: Vec::new(),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// A running broker. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    /// The lines that it prints.
    lines: Receiver<String>,
    log: PathBuf,
}

impl Broker {
    /// Starts a broker and waits until it is ready. What it logs is added to `log`.
    pub(crate) fn start(options: &BrokerOptions, log: &Path) -> Result<Self, CrashError> {
        let mut broker = Self::spawn(options, log)?;
        if broker.is_ready_within(READY_AT_MOST)? {
            Ok(broker)
        } else {
            Err(broker.problem("did not become ready"))
        }
    }

    /// Starts a broker and kills it `after` that time, whether it is ready then or not.
    pub(crate) fn start_and_kill(
        options: &BrokerOptions,
        log: &Path,
        after: Duration,
    ) -> Result<(), CrashError> {
        let mut broker = Self::spawn(options, log)?;
        let started = Stopwatch::start();
        if broker.is_ready_within(after)?
            && let Some(left) = started.left_of(after)
        {
            // It prints nothing more: this only waits.
            let _ = broker.lines.recv_timeout(left);
        }
        broker.kill()
    }

    /// Waits for that long; it must not end meanwhile.
    pub(crate) fn run_for(&self, time: Duration) -> Result<(), CrashError> {
        match self.lines.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(self.problem("ended by itself")),
            Ok(_) => Err(self.problem("said something while it served")),
        }
    }

    /// Kills it with SIGKILL; it is gone afterwards.
    pub(crate) fn kill(mut self) -> Result<(), CrashError> {
        if self.process.try_wait().map_err(CrashError::io("looking for the broker"))?.is_some() {
            return Err(self.problem("ended by itself"));
        }
        self.process.kill().map_err(CrashError::io("killing the broker"))?;
        self.process.wait().map_err(CrashError::io("waiting for the broker"))?;
        Ok(())
    }

    /// Stops it with SIGTERM; it must end well, and in time.
    pub(crate) fn stop(mut self) -> Result<(), CrashError> {
        kill_process(self.process_id(), Signal::TERM)
            .map_err(|error| CrashError::Io { during: "stopping the broker", error: error.into() })?;
        // Its standard output closes when it ends.
        match self.lines.recv_timeout(STOP_AT_MOST) {
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) | Ok(_) => return Err(self.problem("did not stop in time")),
        }
        let status = self.process.wait().map_err(CrashError::io("waiting for the broker"))?;
        if status.success() { Ok(()) } else { Err(self.problem("did not stop well")) }
    }

    /// Waits until it ends by itself, which it must do with a failure.
    pub(crate) fn fail_within(mut self, limit: Duration) -> Result<(), CrashError> {
        match self.lines.recv_timeout(limit) {
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) | Ok(_) => return Err(self.problem("served on")),
        }
        let status = self.process.wait().map_err(CrashError::io("waiting for the broker"))?;
        // A signal is a crash, and no code.
        match status.code() {
            Some(code) if code != 0 && code != PANICKED => Ok(()),
            _ => Err(self.problem("did not end as one does whose storage failed")),
        }
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn spawn(options: &BrokerOptions, log: &Path) -> Result<Self, CrashError> {
        let log_file = open_log(log)?;
        let program = std::env::current_exe().map_err(CrashError::io("looking for this program"))?;
        let mut process = Command::new(program)
            .arg(MODE)
            .arg("--data-dir")
            .arg(&options.data_dir)
            .args(["--native", &options.native.to_string(), "--shards", &options.shards.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(CrashError::io("starting the broker"))?;
        let stdout = process.stdout.take().expect("it was asked for");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, lines, log: log.to_owned() })
    }

    fn is_ready_within(&mut self, limit: Duration) -> Result<bool, CrashError> {
        match self.lines.recv_timeout(limit) {
            Ok(line) if line.starts_with("ready ") => Ok(true),
            Ok(_) => Err(self.problem("said something else than that it is ready")),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(self.problem("ended while starting")),
        }
    }

    fn problem(&self, problem: &'static str) -> CrashError {
        CrashError::Broker { problem, log: self.log.clone() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already, unless a run ends early; then there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn open_log(path: &Path) -> Result<File, CrashError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(CrashError::io("opening the broker's log"))
}
