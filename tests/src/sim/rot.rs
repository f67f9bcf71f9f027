//! Rot in segments and their index files, and reads of them that fail: what may be refused because of that, and what has
//! to be told of it.
//!
//! The disk knows what was written, so that observers see every record as it was and nothing else is excused. A reader
//! may be refused the records of a batch in which a bit has flipped, and those behind it in the same segment up to the
//! next batch that an intact index file knows: there is no way to them but past the damage.

use std::collections::{BTreeMap, BTreeSet};

use ringmain_shard::event::FileError;
use ringmain_shard::inspection::{InspectionRequest, Sound, Unsound};
use ringmain_shard::partition::Partition;
use ringmain_wal::names::{
    PARTITIONS_DIRECTORY, SegmentPart, index_file_name, parse_partition_directory, parse_segment_name,
    segment_file_name,
};
use ringmain_wal::segment::Index;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{Offset, PartitionId};

use super::MILLISECOND;
use super::checker::Violation;
use super::client::{READER, Reading};
use super::disk::Disk;
use super::queue::Happening;
use super::world::{Phase, Step, World};

/// What has rotted so far.
#[derive(Debug, Default)]
pub(super) struct Rot {
    /// Every batch of a segment that was ever hit.
    hits: Vec<Hit>,
    /// Index files that were ever hit.
    indexes: BTreeSet<String>,
    /// Files of which a look through the directory told damage before this start.
    told: BTreeSet<String>,
    /// By partition: when a read of one of its files failed last.
    reads_failed: BTreeMap<PartitionId, u64>,
    /// Index files of which a read failed in this start: it may go on without them.
    indexes_unread: BTreeSet<String>,
}

/// A batch in which a bit has flipped.
#[derive(Clone, Debug)]
struct Hit {
    partition: PartitionId,
    /// Offset of the first record of its segment.
    segment: Offset,
    batch: Placed,
}

/// A batch in a segment.
#[derive(Clone, Copy, Debug)]
struct Placed {
    base: Offset,
    next: Offset,
    position: u64,
    end: u64,
}

impl Placed {
    fn holds(&self, offset: Offset) -> bool {
        (self.base..self.next).contains(&offset)
    }

    fn covers(&self, place: u64) -> bool {
        (self.position..self.end).contains(&place)
    }
}

impl Rot {
    /// Whether any segment of a partition was ever hit.
    pub(super) fn has_hit(&self, partition: PartitionId) -> bool {
        self.hits.iter().any(|hit| hit.partition == partition)
    }

    /// Whether a bit has ever flipped in that file.
    pub(super) fn has_hit_file(&self, path: &str) -> bool {
        self.indexes.contains(path)
            || self.hits.iter().any(|hit| segment_file_name(hit.partition, hit.segment) == path)
    }

    /// A node has started.
    pub(super) fn handle_started(&mut self) {
        self.indexes_unread.clear();
    }

    /// A look through the directory begins.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// It tells damage of a file.
    pub(super) fn handle_told(&mut self, path: &str) {
        self.told.insert(path.to_owned());
    }
}

impl World {
    /// Bits of segments and index files rot while the node is up.
    pub(super) fn rot(&mut self) {
        if self.phase == Phase::Active {
            self.flip_in_segments();
            let gap = self.random.disk.between(10, 150) * MILLISECOND;
            self.after(gap, Happening::Rot);
        }
    }

    /// Bits of a few segments and index files flip.
    pub(super) fn flip_in_segments(&mut self) {
        let files = segment_files(&self.disk);
        for _ in 0..self.random.disk.between(1, 3) {
            let wanted = if self.random.disk.chance(400) { SegmentPart::Index } else { SegmentPart::Data };
            let candidates: Vec<_> = files.iter().filter(|(_, _, part)| *part == wanted).collect();
            if candidates.is_empty() {
                continue;
            }
            let (partition, segment, part) = **self.random.disk.pick(&candidates);
            // Without its topics a node refuses to start, and nothing more can be seen.
            if partition == PartitionId::METADATA && self.random.disk.chance(950) {
                continue;
            }
            let is_index = part == SegmentPart::Index;
            let path = if is_index { index_file_name } else { segment_file_name }(partition, segment);
            let Some(inode) = self.disk.find(&path) else { continue };
            // Most of an index file is room for more entries.
            let random = &mut self.random.disk;
            let Some(place) = (0..16).find_map(|_| self.disk.flip(inode, random)) else { continue };
            self.note("segment rots", [u64::from(is_index), segment.get() as u64, place]);
            if is_index {
                self.met.index_flips += 1;
                self.rot.indexes.insert(path);
                continue;
            }
            let written = self.disk.written(inode);
            if let Some(batch) = placed(&written, segment).find(|batch| batch.covers(place)) {
                self.met.segment_flips += 1;
                self.rot.hits.push(Hit { partition, segment, batch });
            }
        }
    }

    /// A client was told that the record it wants next is damaged. Says where it may go on.
    pub(super) fn judge_refusal(
        &mut self,
        index: usize,
        reading: Reading,
    ) -> Result<Option<Offset>, Violation> {
        let Reading { partition, next: offset, since } = reading;
        if self.checker.is_damaged(partition) {
            return Ok(None);
        }
        if self.rot.reads_failed.get(&partition).is_some_and(|&failed| failed >= since) {
            self.met.failure_refusals += 1;
            return Ok(Some(offset));
        }
        let refused = format!("client {index} is refused offset {offset} of {partition} as damaged");
        let excuse = if index == READER {
            let faults = self.node.shards().iter().map(|shard| shard.host.storage_faults()).sum::<u64>();
            if faults == 0 {
                return Err(Violation { invariant: "I14", what: format!("{refused}, and no fault is told") });
            }
            self.excuse_now(partition, offset)
        } else {
            self.excuse_ever(partition, offset)
        };
        if excuse.is_none() {
            let served = self.node.partition(partition);
            let extents = served.map(|served| served.segments().extents()).unwrap_or_default();
            let hits: Vec<Vec<Placed>> =
                extents.iter().map(|&extent| self.hits_now(partition, extent)).collect();
            let indexes: Vec<_> =
                extents.iter().map(|&extent| self.intact_index(partition, extent)).collect();
            let what = format!("{refused}, where {hits:?} of {extents:?} have rotted, with {indexes:?}");
            return Err(Violation { invariant: "I14", what });
        }
        self.met.rot_refusals += 1;
        Ok(excuse.flatten())
    }

    /// Whether an answer that may be old can refuse a record, and where a reader goes on if it is known.
    fn excuse_ever(&self, partition: PartitionId, offset: Offset) -> Option<Option<Offset>> {
        let mut hits = self.rot.hits.iter().filter(|hit| hit.partition == partition);
        let held = hits.clone().find(|hit| hit.batch.holds(offset)).map(|hit| hit.batch.next);
        let is_behind = |hit: &Hit| {
            let files = segment_files(&self.disk);
            let mut others =
                files.iter().filter(|(id, _, part)| *id == partition && *part == SegmentPart::Data);
            hit.batch.base <= offset && !others.any(|&(_, base, _)| hit.segment < base && base <= offset)
        };
        (held.is_some() || hits.any(is_behind)).then_some(held)
    }

    /// Whether a record can be refused as things are, and where a reader goes on.
    fn excuse_now(&self, partition: PartitionId, offset: Offset) -> Option<Option<Offset>> {
        let served = self.node.partition(partition)?;
        let extents = served.segments().extents();
        let extent = *extents.iter().rfind(|extent| extent.base <= offset && offset < extent.end)?;
        let written = self.disk.written(self.disk.find(&segment_file_name(partition, extent.base))?);
        let next = placed(&written, extent.base).find(|batch| batch.holds(offset))?.next;
        let hit = self.hits_now(partition, extent).into_iter().rfind(|hit| hit.base <= offset)?;
        let is_passed = || {
            let entries = self.intact_index(partition, extent).unwrap_or_default();
            let mut entries = entries.entries().iter();
            entries.any(|entry| entry.position > hit.position && entry.base <= offset)
        };
        (hit.holds(offset) || !is_passed()).then_some(Some(next))
    }

    /// The batches of a segment that read otherwise than they were written, in their order.
    fn hits_now(&self, partition: PartitionId, extent: SegmentExtent) -> Vec<Placed> {
        let Some(inode) = self.disk.find(&segment_file_name(partition, extent.base)) else {
            return Vec::new();
        };
        let rotten: Vec<u64> = self.disk.rotten(inode).filter(|&place| place < extent.bytes).collect();
        if rotten.is_empty() {
            return Vec::new();
        }
        let written = self.disk.written(inode);
        let is_hit = |batch: &Placed| rotten.iter().any(|&place| batch.covers(place));
        let batches = placed(&written, extent.base);
        // What a truncation has cut off is void.
        batches.take_while(|batch| batch.base < extent.end).filter(is_hit).collect()
    }

    /// The index file of a segment as it is, if it can be relied on.
    fn intact_index(&self, partition: PartitionId, extent: SegmentExtent) -> Option<Index> {
        let path = index_file_name(partition, extent.base);
        let inode = self.disk.find(&path).filter(|_| !self.rot.indexes_unread.contains(&path))?;
        let mut bytes = vec![0; self.disk.file_bytes(inode) as usize];
        self.disk.read(inode, 0, &mut bytes);
        let (index, footer) = Index::decode(&bytes).ok()?;
        ((footer.segment_bytes, footer.end) == (extent.bytes, extent.end)).then_some(index)
    }

    /// Every rotten batch of the partitions that a start has found has to have been told by the look through the directory
    /// before.
    pub(super) fn check_rot_told(&self, partition: &Partition) -> Step {
        for &extent in partition.segments().extents() {
            let path = segment_file_name(partition.id(), extent.base);
            let hits = self.hits_now(partition.id(), extent);
            if !hits.is_empty() && !self.rot.told.contains(&path) {
                let what = format!("{path} has rotted, and no look through it tells: {hits:?}");
                return Err(Violation { invariant: "I14", what });
            }
        }
        Ok(())
    }

    /// A read of a segment or an index file failed.
    pub(super) fn note_read_failed(&mut self, path: &str) {
        self.note("read fails", [0; 3]);
        let named = path.strip_prefix(PARTITIONS_DIRECTORY).and_then(|path| path[1..].split_once('/'));
        let Some((directory, name)) = named else { return };
        let is_index = parse_segment_name(name).is_some_and(|(_, part)| part == SegmentPart::Index);
        self.met.segment_reads_failed += u64::from(!is_index);
        self.met.index_reads_failed += u64::from(is_index);
        if is_index {
            self.rot.indexes_unread.insert(path.to_owned());
        }
        if let Some(partition) = parse_partition_directory(directory) {
            self.rot.reads_failed.insert(partition, self.now);
        }
    }

    /// Whether the metadata log has rotted where it counts.
    pub(super) fn has_metadata_rotted(&self) -> bool {
        self.rot.has_hit(PartitionId::METADATA)
    }

    /// An inspection begins: what has rotted by now it has to find.
    pub(super) fn note_rotten(&mut self, shard: u16, request: &InspectionRequest) {
        let hits = self.hits_now(request.partition, request.extent);
        let found = self.disk.find(&request.path());
        let rotten = found.into_iter().flat_map(|inode| self.disk.rotten(inode));
        let rotten = rotten.filter(|&place| hits.iter().any(|hit| hit.covers(place))).collect();
        self.node.shard(shard).rotten.insert(request.kind, rotten);
    }

    /// What an inspection found, against what has rotted.
    pub(super) fn judge_inspected(
        &mut self,
        shard: u16,
        request: &InspectionRequest,
        result: &Result<Sound, Unsound>,
    ) -> Step {
        let path = request.path();
        let rotten = self.node.shard(shard).rotten.remove(&request.kind).unwrap_or_default();
        let broken = |what: String| Err(Violation { invariant: "I14", what });
        match result {
            Err(Unsound::Damaged { position, reason }) => {
                let is_there = |hit: &&Hit| {
                    let is_its = (hit.partition, hit.segment) == (request.partition, request.extent.base);
                    is_its && hit.batch.covers(*position)
                };
                if !self.rot.hits.iter().any(|hit| is_there(&hit)) {
                    return broken(format!(
                        "{request} is called damaged at byte {position} where nothing rotted: {reason}"
                    ));
                }
                self.met.rot_inspected += 1;
            }
            Err(Unsound::Changed { .. }) => {
                if !self.rot.has_hit_file(&path) {
                    return broken(format!("{request} is called changed where nothing rotted"));
                }
                self.met.rot_inspected += 1;
            }
            Ok(Sound { index_damage, .. }) => {
                let still = |place: &&u64| {
                    let found = self.disk.find(&path);
                    found.is_some_and(|inode| self.disk.rotten(inode).any(|left| left == **place))
                };
                if let Some(place) = rotten.iter().find(|place| still(place)) {
                    return broken(format!("{request} is called sound, and byte {place} has rotted"));
                }
                let is_hit = self.rot.has_hit_file(&request.index_path());
                self.met.indexes_mended += u64::from(index_damage.is_some() && is_hit);
            }
            Err(Unsound::Cancelled) => self.met.inspections_cancelled += 1,
            Err(Unsound::Failed { error: FileError::Failed(_), path }) => {
                if self.plan.read_errors == 0 && self.plan.disk_errors == 0 {
                    return broken(format!("{request} cannot be inspected for {path}, and no disk failed"));
                }
                self.met.inspections_failed += 1;
            }
            Err(Unsound::Failed { .. } | Unsound::Unavailable) => {}
        }
        Ok(())
    }

    /// What a truncation came to that had to look for its batch, if it was refused as damaged.
    pub(super) fn judge_truncation_refused(&self, partition: PartitionId) -> Step {
        let has_failed = self.rot.reads_failed.contains_key(&partition);
        if has_failed || self.rot.has_hit(partition) || self.checker.is_damaged(partition) {
            return Ok(());
        }
        let what = format!("a truncation of {partition} is refused as damaged where nothing rotted");
        Err(Violation { invariant: "I14", what })
    }
}

/// All segments and index files there are, by partition.
fn segment_files(disk: &Disk) -> Vec<(PartitionId, Offset, SegmentPart)> {
    let mut files = Vec::new();
    for directory in disk.list(PARTITIONS_DIRECTORY) {
        let Some(partition) = parse_partition_directory(&directory) else { continue };
        let names = disk.list(&format!("{PARTITIONS_DIRECTORY}/{directory}"));
        let parsed = names.iter().filter_map(|name| parse_segment_name(name));
        let counting = parsed.filter(|&(_, part)| part != SegmentPart::Stray);
        files.extend(counting.map(|(base, part)| (partition, base, part)));
    }
    files
}

/// The batches of a segment that begins with `base`, as they were written.
fn placed(written: &[u8], base: Offset) -> impl Iterator<Item = Placed> {
    let (mut next, mut position) = (base, 0_usize);
    core::iter::from_fn(move || {
        let header = BatchHeader::parse(written.get(position..)?).ok()?;
        let end = position + header.length as usize;
        if header.base_offset != next || end > written.len() {
            return None;
        }
        let batch =
            Placed { base: next, next: header.next_offset(), position: position as u64, end: end as u64 };
        (next, position) = (batch.next, end);
        Some(batch)
    })
}
