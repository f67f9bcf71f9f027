//! From a data directory to shards that can serve: identity, generation, replay of all logs, topics.
//!
//! Logic over a [`Directory`]; the real one is in `disk`, the simulator has its own. Order matters, and each step is
//! durable before the next: what was replayed is synced, the checkpoint says where each old log ends, the superblock
//! takes a new generation. A crash at any point is met by the next start, which does the same again.

pub mod directory;
pub mod disk;
pub mod verify;

mod identity;
mod logs;
mod replay;
mod segments;

use std::collections::{BTreeMap, BTreeSet};

use ringmain_shard::partition::Partition;
use ringmain_shard::recovery::Recovered;
use ringmain_wal::checkpoint::CheckpointError;
use ringmain_wal::group::{Generation, LogId, LogSalt};
use ringmain_wal::names::log_file_name;
use ringmain_wal::replay::{Cut, ReplayError, Rot};
use ringmain_wal::superblock::Superblock;
use ringmain_wire::batch::{BatchError, RecordReader};
use ringmain_wire::ids::{LeaderEpoch, NodeId, PartitionId, TimestampMs};

pub(crate) use identity::SUPERBLOCK;

use crate::host::catalog::{Catalog, Change, UnreadableChange};
use crate::host::{FormerLogs, placement};
use directory::{Directory, DirectoryError, ReadDirectory};
use logs::{load_checkpoint, note_ends, write_unvouched};
use replay::{Replayed, find_logs, replay_logs};

/// What a node is started as.
#[derive(Clone, Copy, Debug)]
pub struct BootOptions {
    /// The node.
    pub node: NodeId,
    /// Shards it will have.
    pub shards: u16,
    /// Memory for batches that lie in no segment yet; above it, a start settles as it replays.
    pub tail_bytes_max: usize,
    /// When it is, for the age of segments.
    pub now: TimestampMs,
    /// Used where the directory is new.
    pub entropy: Entropy,
}

/// Random bytes for the names of a new data directory.
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    /// Names the cluster.
    pub cluster_id: [u8; 16],
    /// Names the disk.
    pub disk_id: [u8; 16],
    /// The directory's secret.
    pub salt: LogSalt,
}

/// A node ready to be spread over its shards.
#[derive(Debug)]
pub struct Booted {
    /// Whose directory it is, under its new generation.
    pub superblock: Superblock,
    /// The topics.
    pub catalog: Catalog,
    /// Partitions by shard; the metadata log is among shard 0's.
    pub partitions: Vec<Vec<Partition>>,
    /// Those that were found damaged.
    pub damaged: BTreeSet<PartitionId>,
    /// What there is to tell.
    pub report: BootReport,
    /// What can be removed once no partition rests on it.
    pub former_logs: FormerLogs,
}

impl Booted {
    /// The epoch under which this start leads its partitions: generations rise with every start, durably.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::try_from(self.superblock.generation.0).unwrap_or(i32::MAX))
    }
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootReport {
    /// The directory was new.
    pub is_new: bool,
    /// Log groups replayed.
    pub groups: u64,
    /// Batches in them, again or not.
    pub batches: u64,
    /// Bytes of them, padding included.
    pub log_bytes: u64,
    /// Torn tails that were cut, by log.
    pub cuts: Vec<(LogName, Cut)>,
    /// Damage to what was durable, by log.
    pub rot: Vec<(LogName, Rot)>,
    /// Memory was short: it settled while it replayed.
    pub settled: bool,
    /// Segments that should be there and are not, by path.
    pub segments_missing: Vec<String>,
}

/// A log: generation and shard that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// The generation.
    pub generation: u32,
    /// The shard.
    pub log: u16,
}

/// Why a node cannot start.
#[derive(Debug)]
pub enum BootError {
    /// The directory cannot be read or written.
    Directory(DirectoryError),
    /// Its identity is not what was asked for, or cannot be read.
    Identity(String),
    /// A log of it cannot be read to its end.
    Replay {
        /// The log's generation.
        generation: Generation,
        /// The shard that wrote it.
        log: LogId,
        /// The first of its files.
        first_file: u32,
        /// Why.
        error: ReplayError,
    },
    /// Its logs cannot be read.
    Log(String),
    /// A log is of a start that the superblock does not know.
    NewerLog {
        /// One of its files.
        path: String,
        /// The newest start that the superblock knows.
        newest: Generation,
    },
    /// The checkpoint cannot be read.
    Checkpoint(CheckpointError),
    /// There is a file or a directory that the broker has not made.
    Stranger {
        /// Where.
        path: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The metadata log was damaged: no topic can be trusted.
    MetadataDamaged,
    /// A record of the metadata log cannot be read.
    Metadata(UnreadableChange),
    /// A batch of the metadata log cannot be read.
    MetadataBatch(BatchError),
    /// A segment of the metadata log cannot be read: which, and why.
    MetadataSegment(String),
}

impl core::fmt::Display for BootError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Directory(error) => write!(out, "{error}"),
            Self::Identity(problem) | Self::Log(problem) => out.write_str(problem),
            Self::Replay { generation, log, first_file, error } => {
                let name = log_file_name(*generation, *log, *first_file);
                write!(out, "replaying the log that begins with {name}: {error}")
            }
            Self::NewerLog { path, newest } => write!(
                out,
                "{path} is newer than the superblock (generation {newest}): an old copy of the superblock was \
                 restored, or its newer slot rotted; restore the whole data directory from one copy"
            ),
            Self::Checkpoint(error) => write!(out, "the data directory cannot be used: {error}"),
            Self::Stranger { path, expected } => {
                write!(out, "{path} is not {expected}; move it out of the data directory")
            }
            Self::MetadataDamaged => out.write_str(
                "the metadata log is damaged, so no topic can be trusted; restore the data directory from a copy",
            ),
            Self::Metadata(error) => write!(out, "the metadata log holds {error}"),
            Self::MetadataSegment(problem) => write!(
                out,
                "a segment of the metadata log is damaged ({problem}); restore the data directory from a copy"
            ),
            Self::MetadataBatch(error) => write!(out, "the metadata log holds a batch that cannot be read: {error}"),
        }
    }
}

impl core::error::Error for BootError {}

impl From<DirectoryError> for BootError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

/// Makes a node of what `directory` holds, creating it if it is empty.
///
/// `tell` hears what was found before anything is written down on the strength of it: a start that is cut off may have
/// settled where a log ends, and the next one has no reason to speak of it again.
///
/// # Errors
/// When the directory is another node's, newer, damaged beyond serving, or fails.
pub fn boot(
    directory: &mut dyn Directory,
    options: BootOptions,
    tell: &mut dyn FnMut(&BootReport),
) -> Result<Booted, BootError> {
    let before = identity::load(directory, options)?;
    let known = load_checkpoint(directory)?;
    let found = find_logs(directory, before.generation, &known)?;
    for path in &found.unneeded {
        directory.remove(path)?;
    }
    let Replayed { mut recovered, mut report, logs, missing } =
        replay_logs(directory, &before, &known, &found.needed)?;
    write_unvouched(directory, &logs)?;
    report.settled = segments::relieve(directory, &mut recovered, options.tail_bytes_max, options.now)?;
    report.is_new = before.generation == Generation(0);
    let mut metadata = recovered.take(PartitionId::METADATA, LeaderEpoch(0));
    report.segments_missing = segments::check(directory, core::iter::once(&mut metadata))?;
    let (catalog, created) = match read_catalog(directory, &metadata) {
        Ok(read) => read,
        Err(error) => {
            tell(&report);
            return Err(error);
        }
    };
    let mut partitions = distribute(&catalog, &created, metadata, recovered, options.shards);
    let others = partitions.iter_mut().flatten().filter(|partition| partition.id() != PartitionId::METADATA);
    report.segments_missing.extend(segments::check(directory, others)?);
    tell(&report);
    segments::sweep(directory, partitions.iter_mut().flatten())?;
    let damaged = partitions.iter().flatten().filter(|partition| partition.is_damaged());
    let damaged = damaged.map(Partition::id).collect();
    let serving = Generation(before.generation.0.saturating_add(1));
    let former_logs = note_ends(directory, known, &logs, &missing, serving)?;
    let superblock = identity::begin_generation(directory, &before, options.shards)?;
    Ok(Booted { superblock, catalog, partitions, damaged, report, former_logs })
}

/// When each partition was created: the leader epoch, and so the generation, of the change that did.
type CreatedIn = BTreeMap<PartitionId, LeaderEpoch>;

fn read_catalog(
    directory: &mut dyn ReadDirectory,
    metadata: &Partition,
) -> Result<(Catalog, CreatedIn), BootError> {
    /// Changes are small and never compressed.
    const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
    if metadata.is_damaged() {
        return Err(BootError::MetadataDamaged);
    }
    let mut catalog = Catalog::default();
    let mut created = CreatedIn::new();
    let batches = segments::read_all(directory, metadata)?;
    for (base_offset, batch) in &batches {
        let epoch = metadata.epochs().at(*base_offset).unwrap_or_default();
        let mut records =
            RecordReader::new(batch, DECOMPRESSED_BYTES_MAX).map_err(BootError::MetadataBatch)?;
        while let Some(record) = records.next() {
            let record = record.map_err(BootError::MetadataBatch)?;
            let change = Change::decode(record.value.unwrap_or_default()).map_err(BootError::Metadata)?;
            let changes = catalog.apply(&change);
            created.extend(changes.created.into_iter().map(|id| (id, epoch)));
        }
    }
    Ok((catalog, created))
}

/// Gives every partition of the catalog to its shard. What the logs hold of others was deleted.
fn distribute(
    catalog: &Catalog,
    created: &CreatedIn,
    metadata: Partition,
    mut recovered: Recovered,
    shards: u16,
) -> Vec<Vec<Partition>> {
    let mut partitions: Vec<Vec<Partition>> = (0..shards).map(|_| Vec::new()).collect();
    for id in catalog.topics().flat_map(|topic| topic.partition_ids()) {
        let partition = recovered.take(id, created.get(&id).copied().unwrap_or_default());
        partitions[usize::from(placement::owner(id, shards).get())].push(partition);
    }
    partitions[0].push(metadata);
    partitions
}
