//! Starts a node: locks and boots its data directory, binds its ports, runs a thread a shard, and stops them in order.

mod beside;
mod descriptors;
mod error;
mod host_memory;
mod ports;
mod shards;
mod stop;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use std::time::{Duration, Instant, SystemTime};

use ringmain_shard::mailbox::mesh;
use ringmain_shard::ring::{Doorbell, Rendezvous, probe_direct_io};
use ringmain_shard::store::settle::SettleConfig;
use ringmain_shard::store::{StoreConfig, UpkeepConfig};
use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::commit::GroupCommitConfig;
use ringmain_wal::group::{LogId, LogSalt};
use ringmain_wire::ids::{NodeId, ShardId, TimestampMs};
use ringmain_wire::native::frame::FRAME_BYTES_MAX_DEFAULT;
use rustix::fs::{Mode, OFlags};
use tracing::{info, warn};

use crate::boot::disk::DataDirectory;
use crate::boot::{BootOptions, BootReport, Booted, Entropy, boot};
use crate::host::mail::QUEUE_ROOM;
use crate::host::{HostConfig, Identity, LENT_BYTES_MAX_DEFAULT};

pub use beside::Beside;
pub use error::ServeError;
use shards::{Shard, ShardEvent, Shards};
use stop::{StopWish, StopWishes};

/// Memory for appends that no write has begun for, a shard.
const GATHERED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A stop that takes longer than this is a bug; the process ends all the same.
const STOP_AT_MOST: Duration = Duration::from_secs(9);

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where its data lives; made if it does not exist.
    pub data_dir: PathBuf,
    /// Which node of the cluster it is.
    pub node: NodeId,
    /// Shards, one thread each.
    pub shards: u16,
    /// Where native clients connect.
    pub native: SocketAddr,
    /// Shard *i* also listens on this port plus *i*; `None` takes any free ports.
    pub native_shards: Option<u16>,
    /// How long a shard polls before it sleeps.
    pub spin: Duration,
    /// Whether each shard is bound to a core.
    pub pin_cores: bool,
    /// Memory of each shard for records that lie in no segment yet and for those that readers are likely to want, in
    /// bytes; `None`: what the host has to spare.
    pub memory_bytes: Option<usize>,
    /// Bytes of each shard's log.
    pub log_bytes_max: u64,
    /// How fast and how often segments are inspected and let go.
    pub upkeep: UpkeepConfig,
    /// Print the ready line as JSON.
    pub json: bool,
    /// What else to say at the start.
    pub warnings: Vec<String>,
}

/// Runs a broker until a signal tells it to stop.
///
/// # Errors
/// When it cannot start or go on; each says what to do about it.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let started = now();
    run(options, StopWishes::signals, |native| announce(options, native, started))
}

/// Runs a broker until it is wished to stop; says where native clients connect as soon as they can.
fn run(
    options: &ServeOptions,
    stop: impl FnOnce() -> std::io::Result<StopWishes>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    for warning in &options.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        // Before anything else, so that no signal is missed and none kills the process half-way.
        let mut stop = stop().map_err(ServeError::Runtime)?;
        let mut node = start(options)?;
        match node.wait_until_listening(&mut stop).await? {
            Start::Listening => listening(node.native),
            // Nothing was accepted yet, so there is nothing to finish.
            Start::Stopped => return Ok(()),
        }
        node.run(&mut stop).await
    })
}

/// How a start ended.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// It serves.
    Listening,
    /// It was told to stop before it served.
    Stopped,
}

/// A node whose shards run.
struct Node {
    native: SocketAddr,
    shards: Shards,
    /// Released when the node is gone.
    _directory: DataDirectory,
}

fn start(options: &ServeOptions) -> Result<Node, ServeError> {
    let descriptors = descriptors::raise_limit();
    let connections_max = descriptors::connections_max(descriptors, options.shards);
    descriptors::tell_if_low(descriptors, connections_max);
    let mut directory = DataDirectory::lock(&options.data_dir)
        .map_err(|error| ServeError::locking(&options.data_dir, error))?;
    let direct_io = probe_direct_io(directory.root())
        .map_err(|error| ServeError::DataDirectory { path: options.data_dir.clone(), error })?;
    warn_of_filesystem(options, direct_io);
    let ports = ports::bind(options)?;
    // Before replay fills memory with what it finds.
    let tail_bytes_max =
        options.memory_bytes.unwrap_or_else(|| host_memory::budget_bytes() / usize::from(options.shards));
    let (entropy, seed) = draw_entropy();
    let boot_options = BootOptions {
        node: options.node,
        shards: options.shards,
        tail_bytes_max: tail_bytes_max * usize::from(options.shards) / 2,
        now: wall_clock(),
        entropy,
    };
    let booted = boot(&mut directory, boot_options, &mut |report| tell(report)).map_err(ServeError::Boot)?;

    let native = ports.native;
    let endpoints = ports.endpoints.clone();
    let leader_epoch = booted.leader_epoch();
    let Booted { superblock, catalog, partitions, damaged, former_logs, .. } = booted;
    let mut former_logs = Some(former_logs);
    let rendezvous = Rendezvous::of(usize::from(options.shards));
    let mailboxes = mesh(usize::from(options.shards), QUEUE_ROOM);
    let data_path = std::path::absolute(directory.root())
        .map_err(|error| ServeError::DataDirectory { path: options.data_dir.clone(), error })?;
    let mut shards = Vec::new();
    for (((number, partitions), mailbox), sockets) in
        (0..options.shards).zip(partitions).zip(mailboxes).zip(ports.sockets)
    {
        let commit = GroupCommitConfig {
            groups_in_flight_max: if direct_io { 4 } else { 1 },
            log_bytes_max: options.log_bytes_max,
            file_bytes: log_file_bytes(options.log_bytes_max),
            ..GroupCommitConfig::new(superblock.generation, LogId(number), superblock.log_salt)
        };
        let host = HostConfig {
            identity: Identity {
                cluster_id: superblock.cluster_id,
                node: options.node,
                shard: ShardId(number),
                shards: options.shards,
                endpoints: endpoints.clone(),
                frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
                seed,
            },
            store: StoreConfig {
                commit,
                leader_epoch,
                tail_bytes_max,
                gathered_bytes_max: GATHERED_BYTES_MAX.min(tail_bytes_max / 4),
                settle: SettleConfig::within(tail_bytes_max, options.log_bytes_max),
                upkeep: options.upkeep.clone(),
            },
            lent_bytes_max: LENT_BYTES_MAX_DEFAULT,
            catalog: catalog.clone(),
            partitions,
            damaged: damaged.clone(),
            former_logs: former_logs.take(),
        };
        let data_directory = rustix::fs::open(
            directory.root(),
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| ServeError::DataDirectory { path: options.data_dir.clone(), error: error.into() })?;
        shards.push(Shard {
            host,
            data_directory,
            data_path: data_path.clone(),
            direct_io,
            connections_max,
            core: options.pin_cores.then_some(usize::from(number)),
            spin: options.spin,
            sockets,
            mailbox,
            doorbell: Doorbell::create().map_err(ServeError::Runtime)?,
            rendezvous: rendezvous.clone(),
        });
    }
    Ok(Node { native, shards: Shards::spawn(shards)?, _directory: directory })
}

impl Node {
    async fn wait_until_listening(&mut self, stop: &mut StopWishes) -> Result<Start, ServeError> {
        let mut silent = self.shards.count();
        while silent > 0 {
            tokio::select! {
                event = self.shards.next_event() => match event {
                    ShardEvent::Listening => silent -= 1,
                    ShardEvent::Ended(shard) => return Err(self.shards.why_ended(shard)),
                },
                _ = stop.next() => return Ok(Start::Stopped),
            }
        }
        Ok(Start::Listening)
    }

    /// Until a shard fails or all have stopped as asked.
    async fn run(mut self, stop: &mut StopWishes) -> Result<(), ServeError> {
        let mut running = self.shards.count();
        let mut deadline = None;
        while running > 0 {
            let too_late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.shards.next_event() => match event {
                    ShardEvent::Listening => {}
                    ShardEvent::Ended(shard) => {
                        self.shards.check_ended(shard)?;
                        running -= 1;
                    }
                },
                signal = stop.next() => {
                    if deadline.is_some() {
                        // A second Ctrl-C is somebody who does not want to wait; a second SIGTERM is the same wish again.
                        match signal {
                            StopWish::Interrupt => return Err(ServeError::Interrupted),
                            StopWish::Terminate => continue,
                        }
                    }
                    info!("stopping: finishing what was accepted");
                    self.shards.request_shutdown();
                    deadline = Some(tokio::time::Instant::now() + STOP_AT_MOST);
                }
                () = too_late => return Err(ServeError::StopTookTooLong),
            }
        }
        info!("stopped");
        Ok(())
    }
}

fn announce(options: &ServeOptions, native: SocketAddr, started: Instant) {
    let ServeOptions { node: id, shards, .. } = options;
    let elapsed_ms = now().duration_since(started).as_millis();
    let line = if options.json {
        serde_json::json!({
            "event": "ready",
            "node": id.get(),
            "shards": shards,
            "native": native.to_string(),
            "elapsed_ms": u64::try_from(elapsed_ms).unwrap_or(u64::MAX),
        })
        .to_string()
    } else {
        format!("ready node={id} shards={shards} native={native} in {elapsed_ms} ms")
    };
    // Nobody may be listening, and the broker serves all the same.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Files of a fifth of the log, so that there is always one to give back; the largest group fits, and none is so large
/// that making it takes long.
fn log_file_bytes(log_bytes_max: u64) -> u64 {
    let fifth = log_bytes_max / 5;
    (fifth - fifth % BLOCK_BYTES as u64).clamp(17 << 20, 64 << 20)
}

fn tell(report: &BootReport) {
    if report.is_new {
        info!("the data directory is new");
    }
    for (log, cut) in &report.cuts {
        warn!(
            generation = log.generation,
            shard = log.log,
            file = cut.file,
            position = cut.position,
            "{} log groups cut, may have been acknowledged; {} damaged, {} blocks not recognised",
            cut.groups_complete + cut.groups_damaged,
            cut.groups_damaged,
            cut.blocks_unknown
        );
    }
    for (log, rot) in &report.rot {
        tracing::error!(
            generation = log.generation,
            shard = log.log,
            file = rot.file,
            position = rot.position,
            "log groups {} to {} were durable and are damaged: {:?}",
            rot.first,
            rot.last,
            rot.lost
        );
    }
    for path in &report.segments_missing {
        tracing::error!(path, "a segment is gone: its partition opens read-only");
    }
    info!(groups = report.groups, "replayed");
}

fn warn_of_filesystem(options: &ServeOptions, direct_io: bool) {
    if rustix::fs::statfs(&options.data_dir).is_ok_and(|found| found.f_type == host_memory::TMPFS) {
        warn!(
            "{} is on tmpfs: nothing in it survives a reboot; use --data-dir on a disk",
            options.data_dir.display()
        );
    } else if !direct_io {
        warn!(
            "the filesystem of {} has no O_DIRECT: writes go through the page cache and fdatasync, one at a time",
            options.data_dir.display()
        );
    }
}

/// Random bytes for a new directory, and for this start alone.
fn draw_entropy() -> (Entropy, u64) {
    let draw = || uuid::Uuid::new_v4().into_bytes();
    let number = || u64::from_le_bytes(core::array::from_fn(|place| draw()[place]));
    let entropy = Entropy { cluster_id: draw(), disk_id: draw(), salt: LogSalt(number()) };
    (entropy, number())
}

#[expect(clippy::disallowed_methods, reason = "how long a start takes is measured here and nowhere else")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the age of segments made by replay")]
fn wall_clock() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
