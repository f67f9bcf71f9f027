//! Proves what a stopped data directory holds: reads all of it as a start does, and every segment besides, and writes
//! nothing.

mod finding;
mod heads;
mod logs;
mod segments;

use std::collections::BTreeMap;

use ringmain_shard::partition::Partition;
use ringmain_wal::checkpoint::Checkpoint;
use ringmain_wal::names::partition_directory;
use ringmain_wal::superblock::Superblock;
use ringmain_wire::ids::{LeaderEpoch, PartitionId};

pub use finding::{Finding, FindingKind};

use super::directory::{DirectoryError, ReadDirectory};
use super::logs::CHECKPOINT;
use super::replay::{FoundLogs, Replayed, find_logs, replay_logs};
use super::segments::{check, find_unnamed};
use super::{BootError, SUPERBLOCK, distribute, read_catalog};
use crate::host::catalog::Catalog;
use segments::SegmentReader;

/// What lies at the top of a data directory, and what a new filesystem has there.
const EXPECTED: &[&str] =
    &[SUPERBLOCK, CHECKPOINT, "logs", "partitions", "lock", ".direct-io-probe", "lost+found"];

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Topics.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Segments that partitions name and that are there, those of the metadata log among them.
    pub segments: u64,
    /// Intact batches in them that count.
    pub segment_batches: u64,
    /// Records in those.
    pub segment_records: u64,
    /// Bytes of those.
    pub segment_bytes: u64,
    /// Logs that a start replays.
    pub logs: u64,
    /// Groups in them.
    pub log_groups: u64,
    /// Batches in those; what has been settled since, or stands there once more, is among them.
    pub log_batches: u64,
    /// Bytes of those groups.
    pub log_bytes: u64,
    /// Logs whose end a start would cut.
    pub torn_tails: u64,
    /// Segments that partitions name and that are not there.
    pub segments_missing: u64,
    /// Files and directories that nobody names.
    pub unnamed: u64,
    /// Findings that are damage.
    pub damages: u64,
}

impl Summary {
    /// Whether nothing is damaged.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damages == 0
    }
}

/// Whoever listens wants to hear no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Looks through a data directory that no broker has, and gives `tell` all that is to be said of it.
///
/// # Errors
/// When `tell` does.
pub fn verify(
    directory: &mut dyn ReadDirectory,
    tell: &mut dyn FnMut(Finding) -> Result<(), Stopped>,
) -> Result<Summary, Stopped> {
    let mut verifier = Verifier { directory, tell, catalog: Catalog::default(), summary: Summary::default() };
    verifier.run()?;
    Ok(verifier.summary)
}

struct Verifier<'a> {
    directory: &'a mut dyn ReadDirectory,
    tell: &'a mut dyn FnMut(Finding) -> Result<(), Stopped>,
    /// Empty until it is known.
    catalog: Catalog,
    summary: Summary,
}

/// The partitions that live, by id; the metadata log is among them.
type Living = BTreeMap<PartitionId, Partition>;

impl Verifier<'_> {
    fn run(&mut self) -> Result<(), Stopped> {
        self.check_top()?;
        let Some(superblock) = self.read_superblock()? else { return Ok(()) };
        let Some(known) = self.read_checkpoint()? else { return Ok(()) };
        let (found, replayed) = match self.replay(&superblock, &known) {
            Ok(replayed) => replayed,
            Err(error) => return self.tell_refusal(&error),
        };
        for path in found.unneeded {
            self.tell(unnamed(path, "a log that was settled: a start removes it"))?;
        }
        let (living, report) = match self.find_living(replayed) {
            Ok(found) => found,
            Err(error) => return self.tell_refusal(&error),
        };
        self.tell_logs(&report, &living)?;
        let mut reader = SegmentReader::default();
        for partition in living.values() {
            self.check_partition(partition, &mut reader)?;
        }
        self.check_unnamed(&living)
    }

    fn tell(&mut self, finding: Finding) -> Result<(), Stopped> {
        let named = finding.partition.and_then(|id| self.catalog.by_id(id.topic));
        let topic = named.map(|topic| topic.name.clone());
        let Summary { damages, torn_tails, segments_missing, unnamed, .. } = &mut self.summary;
        *damages += u64::from(finding.kind.is_damage());
        match finding.kind {
            FindingKind::TornTail => *torn_tails += 1,
            FindingKind::SegmentMissing => *segments_missing += 1,
            FindingKind::Unnamed => *unnamed += 1,
            _ => {}
        }
        (self.tell)(Finding { topic, ..finding })
    }

    fn tell_unreadable(&mut self, path: &str, error: &DirectoryError) -> Result<(), Stopped> {
        self.tell(Finding::new(FindingKind::Unreadable, path, error.to_string()))
    }

    /// What is not the broker's.
    fn check_top(&mut self) -> Result<(), Stopped> {
        match self.directory.list("") {
            Ok(names) => {
                let strangers = names.into_iter().filter(|name| !EXPECTED.contains(&name.as_str()));
                for name in strangers {
                    self.tell(unnamed(name, "not the broker's: it is left alone"))?;
                }
                Ok(())
            }
            Err(error) => self.tell_unreadable("", &error),
        }
    }

    fn replay(
        &mut self,
        superblock: &Superblock,
        known: &Checkpoint,
    ) -> Result<(FoundLogs, Replayed), BootError> {
        let found = find_logs(self.directory, superblock.generation, known)?;
        let replayed = replay_logs(self.directory, superblock, known, &found.needed)?;
        self.summary.logs = replayed.logs.len() as u64;
        self.summary.log_groups = replayed.report.groups;
        self.summary.log_batches = replayed.report.batches;
        self.summary.log_bytes = replayed.report.log_bytes;
        Ok((found, replayed))
    }

    /// The partitions that a start would serve, or, where no topic can be known, all that the logs name.
    fn find_living(&mut self, replayed: Replayed) -> Result<(Living, LogReport), BootError> {
        let Replayed { mut recovered, report, .. } = replayed;
        let mut metadata = recovered.take(PartitionId::METADATA, LeaderEpoch(0));
        check(self.directory, core::iter::once(&mut metadata))?;
        let (mut partitions, topics) = match read_catalog(self.directory, &metadata) {
            Ok((catalog, created)) => {
                self.catalog = catalog;
                let shards = distribute(&self.catalog, &created, metadata, recovered, 1);
                (shards.into_iter().flatten().collect::<Vec<_>>(), Ok(()))
            }
            Err(error) => {
                let mut partitions: Vec<_> = recovered.partitions.into_values().collect();
                partitions.push(metadata);
                (partitions, Err(error))
            }
        };
        check(self.directory, partitions.iter_mut())?;
        self.summary.topics = self.catalog.topics().count() as u64;
        self.summary.partitions = self.catalog.topics().map(|topic| u64::from(topic.partitions)).sum();
        let living = partitions.into_iter().map(|partition| (partition.id(), partition)).collect();
        Ok((living, LogReport { report, topics }))
    }

    /// Files and directories of partitions that none of them names.
    fn check_unnamed(&mut self, living: &Living) -> Result<(), Stopped> {
        let is_named = |id: PartitionId, base| {
            living.get(&id).is_some_and(|partition| partition.segments().based(base).is_some())
        };
        let found = match find_unnamed(self.directory, &is_named) {
            Ok(found) => found,
            Err(error) => return self.tell_refusal(&error),
        };
        for directory in found {
            let id = directory.partition;
            let meaning = match living.get(&id) {
                None => "of a partition that was deleted: a start removes it",
                Some(partition) if partition.is_damaged() => {
                    "no segment of its partition, which is damaged: it is kept for whoever repairs it"
                }
                Some(_) => "no segment of its partition: a start removes it",
            };
            if !living.contains_key(&id) && directory.files.is_empty() {
                self.tell(unnamed(directory.path, meaning).of(id))?;
            }
            for file in directory.files {
                self.tell(unnamed(file.path, meaning).of(id))?;
            }
        }
        Ok(())
    }
}

/// What is to be told of the logs once the partitions are known.
struct LogReport {
    report: super::BootReport,
    /// Why the topics are unknown, if they are.
    topics: Result<(), BootError>,
}

fn unnamed(path: impl Into<String>, meaning: &str) -> Finding {
    Finding::new(FindingKind::Unnamed, path, meaning)
}

/// How a partition is spoken of where it stands for itself.
fn describe_place(partition: &Partition) -> String {
    partition_directory(partition.id())
}

#[cfg(test)]
mod tests;
