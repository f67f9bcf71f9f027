//! One rotten bit: what is told of it, held against what a start makes of it. All in this process, and nothing is written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringmain::boot::disk::StoppedDirectory;
use ringmain::boot::verify::{Finding, verify};
use ringmain::boot::{BootOptions, Booted, Entropy, boot};
use ringmain::host::catalog::Catalog;
use ringmain_wal::group::LogSalt;
use ringmain_wal::names::{index_file_name, segment_file_name};
use ringmain_wal::state::PartitionState;
use ringmain_wire::batch::Batches;
use ringmain_wire::ids::{NodeId, Offset, PartitionId, PartitionIndex, TimestampMs};

use super::error::RotError;
use super::files::{FileKind, Flip};
use super::make::SHARDS;
use super::overlay::Overlay;
use super::stored::Stored;
use super::workload::{TOPICS, Written, WrittenPartition};

/// What became of a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Nothing is told, and a start finds what it found before.
    MeansNothing,
    /// It is told, and everything is served all the same.
    ToldAllServed,
    /// It is told, and what is hit is not served.
    ToldPartRefused,
    /// It is told, and no start serves anything.
    ToldStartRefused,
}

/// All of them.
pub(super) const OUTCOMES: [Outcome; 4] =
    [Outcome::MeansNothing, Outcome::ToldAllServed, Outcome::ToldPartRefused, Outcome::ToldStartRefused];

/// Knows what the directory held before anything rotted.
#[derive(Debug)]
pub(super) struct Judge {
    root: PathBuf,
    written: Written,
    before: Started,
    /// How many bytes count, by segment and by index.
    counted_bytes: BTreeMap<String, u64>,
}

/// What a start found.
#[derive(Debug, PartialEq)]
struct Started {
    catalog: Catalog,
    /// Of each partition all but its records: they are held against what was written.
    states: BTreeMap<PartitionId, PartitionState>,
    damaged: Vec<PartitionId>,
    /// Records served of what was acknowledged.
    records: u64,
}

impl Judge {
    /// Of the directory `root`, which nothing has happened to yet and which must be sound.
    pub(super) fn of(root: &Path, written: &Written) -> Result<Self, RotError> {
        let findings = look_through(root)?;
        if !findings.is_empty() {
            return Err(RotError::Unsound(format!("{findings:?}")));
        }
        let before = start(root, written).map_err(RotError::Unsound)?.map_err(RotError::Unsound)?;
        if before.records != written.records() {
            let what = format!("{} of {} records are served", before.records, written.records());
            return Err(RotError::Unsound(what));
        }
        let counted_bytes = count_bytes(root, &before).map_err(RotError::io("reading an index"))?;
        Ok(Self { root: root.to_owned(), written: written.clone(), before, counted_bytes })
    }

    /// All indexes, and how many bytes of each count.
    pub(super) fn indexes(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = self.counted_bytes.iter().map(|(path, bytes)| (path.as_str(), *bytes));
        all.filter(|(path, _)| path.ends_with(".index"))
    }

    /// What became of the bit that has been flipped.
    pub(super) fn judge(&self, flip: &Flip) -> Result<Outcome, RotError> {
        let violation = |what: String| RotError::Violation { flip: flip.to_string(), what };
        let findings = look_through(&self.root)?;
        let is_place = |finding: &&Finding| {
            finding.path == flip.path && finding.position.is_none_or(|position| position <= flip.position)
        };
        let place = findings.iter().find(is_place);
        let is_damage = findings.iter().any(|finding| finding.kind.is_damage());
        if place.is_none() && !findings.is_empty() {
            return Err(violation(format!("told at another place: {findings:?}")));
        }
        let after = match start(&self.root, &self.written).map_err(violation)? {
            Ok(after) => after,
            Err(_) if is_damage => return Ok(Outcome::ToldStartRefused),
            Err(error) => return Err(violation(format!("no start is made, which nobody tells: {error}"))),
        };
        self.judge_kind(flip, &findings, &after).map_err(violation)?;
        match (findings.is_empty(), after.records == self.before.records) {
            (true, _) if after == self.before => Ok(Outcome::MeansNothing),
            (true, _) => Err(violation(format!("nothing is told, but a start finds {after:?}"))),
            (false, true) => Ok(Outcome::ToldAllServed),
            (false, false) if is_damage => Ok(Outcome::ToldPartRefused),
            (false, false) => Err(violation(format!(
                "{} of {} records are left, and that is no damage: {findings:?}",
                after.records, self.before.records
            ))),
        }
    }

    /// What must hold of that kind of file beyond what must hold of all.
    fn judge_kind(&self, flip: &Flip, findings: &[Finding], after: &Started) -> Result<(), String> {
        match flip.kind {
            FileKind::Segment | FileKind::Index
                if (flip.position < self.counted_bytes(&flip.path)?) == findings.is_empty() =>
            {
                Err(format!("what is told is not whether the byte counts: {findings:?}"))
            }
            FileKind::Index if findings.iter().any(|finding| finding.kind.is_damage()) => {
                Err(format!("an index is called damage: {findings:?}"))
            }
            FileKind::Index if *after != self.before => {
                Err(format!("an index changes what a start finds: {after:?}"))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes of a segment or of an index count.
    fn counted_bytes(&self, path: &str) -> Result<u64, String> {
        self.counted_bytes.get(path).copied().ok_or_else(|| format!("no partition names {path}"))
    }

    /// All batches of topics that lie in segments.
    pub(super) fn segment_batches(&self) -> Result<Vec<SegmentBatch>, RotError> {
        let mut batches = Vec::new();
        for (id, state) in &self.before.states {
            let Some(topic) = self.before.catalog.topic_of(*id) else { continue };
            let partition =
                find_partition(&self.written, &topic.name, id.index).map_err(RotError::Unsound)?;
            for extent in &state.segments {
                let path = segment_file_name(*id, extent.base);
                let bytes = fs::read(self.root.join(&path)).map_err(RotError::io("reading a segment"))?;
                let mut position = 0;
                for batch in Batches::new(&bytes[..usize::try_from(extent.bytes).unwrap_or(usize::MAX)]) {
                    let (header, batch) = batch.map_err(|error| RotError::Unsound(error.to_string()))?;
                    let range = position..position + batch.len() as u64;
                    position = range.end;
                    batches.push(SegmentBatch {
                        partition: *partition,
                        path: path.clone(),
                        range,
                        base: header.base_offset,
                    });
                }
            }
        }
        Ok(batches)
    }
}

/// A batch that lies in a segment.
#[derive(Clone, Debug)]
pub(super) struct SegmentBatch {
    pub(super) partition: WrittenPartition,
    /// The segment, relative to the data directory.
    pub(super) path: String,
    /// Where it lies there, in bytes.
    pub(super) range: Range<u64>,
    pub(super) base: Offset,
}

fn look_through(root: &Path) -> Result<Vec<Finding>, RotError> {
    let mut directory = StoppedDirectory::lock(root)
        .map_err(|error| RotError::Unsound(format!("it cannot be read: {error:?}")))?;
    let mut findings = Vec::new();
    let verified = verify(&mut directory, &mut |finding| {
        findings.push(finding);
        Ok(())
    });
    verified.map_err(|_| RotError::Unsound("a look through it was stopped".to_owned()))?;
    Ok(findings)
}

/// What a start finds, or why there is none. An error of its own is a record served that was never written so.
fn start(root: &Path, written: &Written) -> Result<Result<Started, String>, String> {
    let options = BootOptions {
        node: NodeId(0),
        shards: SHARDS,
        // Nothing is settled.
        tail_bytes_max: usize::MAX,
        now: TimestampMs(0),
        entropy: Entropy { cluster_id: [0; 16], disk_id: [0; 16], salt: LogSalt(0) },
    };
    let mut overlay = Overlay::over(root).map_err(|error| error.to_string())?;
    let Booted { catalog, partitions, damaged, .. } = match boot(&mut overlay, options, &mut |_| ()) {
        Ok(booted) => booted,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut started =
        Started { states: BTreeMap::new(), damaged: damaged.into_iter().collect(), records: 0, catalog };
    for partition in partitions.iter().flatten() {
        started.states.insert(partition.id(), partition.state());
        let Some(topic) = started.catalog.topic_of(partition.id()) else { continue };
        let expected = find_partition(written, &topic.name, partition.id().index)?;
        let stored = Stored::of(&mut overlay, partition)?;
        let mut next = 0;
        for (offset, content) in &stored.records {
            expected.check(*offset, content)?;
            if offset.get() < next {
                return Err(format!("{expected} serves {offset} twice"));
            }
            next = offset.get() + 1;
        }
        let served = stored.records.len() as u64;
        if served < expected.records && !stored.damaged {
            return Err(format!(
                "{expected} serves {served} of {} records as if they were all",
                expected.records
            ));
        }
        started.records += served;
    }
    if started.catalog.topics().count() != TOPICS.len() {
        return Err("a topic is gone".to_owned());
    }
    Ok(Ok(started))
}

/// How many bytes count of every segment and of every index beside one.
fn count_bytes(root: &Path, started: &Started) -> io::Result<BTreeMap<String, u64>> {
    /// As `wal/src/segment/index/` has it: a header, its last field the number of entries, and the entries.
    const HEADER_BYTES: usize = 48;
    const ENTRY_BYTES: u64 = 24;
    let mut counted = BTreeMap::new();
    for (id, state) in &started.states {
        for extent in &state.segments {
            counted.insert(segment_file_name(*id, extent.base), extent.bytes);
            let path = index_file_name(*id, extent.base);
            let index = match fs::read(root.join(&path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                index => index?,
            };
            let entries = index[..HEADER_BYTES].last_chunk().map_or(0, |field| u32::from_le_bytes(*field));
            counted.insert(path, HEADER_BYTES as u64 + u64::from(entries) * ENTRY_BYTES);
        }
    }
    Ok(counted)
}

fn find_partition<'a>(
    written: &'a Written,
    topic: &str,
    index: PartitionIndex,
) -> Result<&'a WrittenPartition, String> {
    let is_it = |expected: &&WrittenPartition| expected.topic.name == topic && expected.index == index;
    let found = written.partitions.iter().find(is_it);
    found.ok_or_else(|| format!("nobody made the partition {topic}-{index}"))
}
