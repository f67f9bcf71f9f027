//! The besieged broker: a process of its own, started in a hidden mode of the binary.

use std::fs::OpenOptions;
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

use super::error::SiegeError;
use super::process::Process;
use crate::crash::clock::Stopwatch;

/// The hidden mode of the binary that runs [`run`].
pub const MODE: &str = "broker";

/// A broker that does not say that it is ready within this time is taken for hung.
const READY_AT_MOST: Duration = Duration::from_secs(60);
/// What a stop may take, and a little.
const STOP_AT_MOST: Duration = Duration::from_secs(12);

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Where its data lives.
    pub data_dir: PathBuf,
    /// Where it listens; each shard has any free port of its own besides.
    pub native: SocketAddr,
    /// How many shards it has.
    pub shards: u16,
    /// Memory of each shard for records.
    pub memory_bytes: usize,
    /// Bytes of each shard's log.
    pub log_bytes: u64,
}

/// Is the broker, in this process, until it is stopped.
pub fn run(options: BrokerOptions) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("cannot be bound to the run's life: {error}");
        return ExitCode::FAILURE;
    }
    let BrokerOptions { data_dir, native, shards, memory_bytes, log_bytes } = options;
    let served = serve(&ServeOptions {
        data_dir,
        node: NodeId(0),
        shards,
        native,
        native_shards: None,
        spin: Duration::ZERO,
        pin_cores: false,
        memory_bytes: Some(memory_bytes),
        log_bytes_max: log_bytes,
        upkeep: UpkeepConfig::default(),
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
pub(super) struct Broker {
    process: Child,
    /// Closes when it ends.
    lines: Receiver<String>,
    log: PathBuf,
}

impl Broker {
    /// Starts a broker and waits until it is ready. What it logs is added to `log`.
    pub(super) fn start(options: &BrokerOptions, log: &Path) -> Result<Self, SiegeError> {
        let log_file = OpenOptions::new().create(true).append(true).open(log);
        let log_file = log_file.map_err(SiegeError::io("opening the broker's log"))?;
        let program = std::env::current_exe().map_err(SiegeError::io("looking for this program"))?;
        let mut process = Command::new(program)
            .arg(MODE)
            .arg("--data-dir")
            .arg(&options.data_dir)
            .args(["--native", &options.native.to_string(), "--shards", &options.shards.to_string()])
            .args(["--memory", &options.memory_bytes.to_string()])
            .args(["--log-size", &options.log_bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(SiegeError::io("starting the broker"))?;
        let stdout = process.stdout.take().expect("it was asked for");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let broker = Self { process, lines, log: log.to_owned() };
        match broker.lines.recv_timeout(READY_AT_MOST) {
            Ok(line) if line.starts_with("ready ") => {}
            Ok(_) => return Err(broker.problem("said something else than that it is ready")),
            Err(RecvTimeoutError::Timeout) => return Err(broker.problem("did not become ready")),
            Err(RecvTimeoutError::Disconnected) => return Err(broker.problem("ended while starting")),
        }
        Ok(broker)
    }

    /// What the kernel knows of it.
    pub(super) fn process(&self) -> Process {
        Process::of(Pid::from_child(&self.process))
    }

    /// It must run.
    pub(super) fn check_alive(&mut self) -> Result<(), SiegeError> {
        match self.process.try_wait().map_err(SiegeError::io("looking for the broker"))? {
            None => Ok(()),
            Some(_) => Err(self.problem("ended by itself")),
        }
    }

    /// Stops it with SIGTERM; it must end well, and in time. Gives the time it took.
    pub(super) fn stop(mut self) -> Result<Duration, SiegeError> {
        self.check_alive()?;
        let started = Stopwatch::start();
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .map_err(|error| SiegeError::Io { during: "stopping the broker", error: error.into() })?;
        match self.lines.recv_timeout(STOP_AT_MOST) {
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) | Ok(_) => return Err(self.problem("did not stop in time")),
        }
        let status = self.process.wait().map_err(SiegeError::io("waiting for the broker"))?;
        if status.success() { Ok(started.elapsed()) } else { Err(self.problem("did not stop well")) }
    }

    fn problem(&self, problem: &'static str) -> SiegeError {
        SiegeError::Broker { problem, log: self.log.clone() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already, unless a run ends early; then there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
