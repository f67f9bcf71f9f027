//! Index files, each read once, before the first scan of a segment that nothing is known of.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::Bytes;
use ringmain_wal::names::index_file_name;
use ringmain_wal::segment::{INDEX_FILE_BYTES_MAX, Index};
use ringmain_wal::state::SegmentExtent;

use super::request::{JobId, ReadRequest, SegmentId};
use super::token::{ReadToken, token};
use crate::effect::{Effect, Effects, FileId, FileOperation, OpenMode};
use crate::event::{FileError, FileOutcome};

/// Index files have these bits in their [`FileId`], and their number below them; segments never have as many files open.
const FILE_ID_BITS: u32 = 3 << 29;
/// Index files read at a time; further ones wait.
const LOADS_MAX: usize = 4;

/// One of the loads under way; reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct LoadNumber(pub(super) u32);

/// Index files being read, and the reads that wait for them.
#[derive(Debug, Default)]
pub(super) struct IndexFiles {
    queue: VecDeque<SegmentId>,
    under_way: BTreeMap<LoadNumber, Load>,
    /// By segment: its extent as the first of them has it, and who waits.
    waiting: BTreeMap<SegmentId, (SegmentExtent, Vec<(JobId, ReadRequest)>)>,
}

#[derive(Debug)]
struct Load {
    segment: SegmentId,
    step: Step,
    read: Bytes,
    /// The segment was forgotten meanwhile: what is read may be of another one of that name.
    is_void: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Opening,
    Reading,
    Closing,
}

/// An index file was read, or there is none that can be relied on.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) segment: SegmentId,
    pub(super) index: Option<Index>,
    /// The reads that waited for it.
    pub(super) waiting: Vec<(JobId, ReadRequest)>,
}

impl IndexFiles {
    /// The most memory that loads ever fill, in bytes.
    pub(super) const HELD_BYTES_MAX: usize = LOADS_MAX * INDEX_FILE_BYTES_MAX;

    /// Memory that loads under way will fill, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.under_way.len() * INDEX_FILE_BYTES_MAX
    }

    /// Lets a read wait for the index of its segment.
    pub(super) fn await_index(&mut self, id: JobId, request: ReadRequest) {
        let segment = request.segment();
        let (_, waiting) = self.waiting.entry(segment).or_insert_with(|| {
            self.queue.push_back(segment);
            (request.extent, Vec::new())
        });
        waiting.push((id, request));
    }

    /// A step of a load ended.
    pub(super) fn handle<M>(
        &mut self,
        number: LoadNumber,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) -> Option<Loaded> {
        let load = self.under_way.get_mut(&number).expect("a step belongs to a load");
        let file = file_id(number);
        match (load.step, result) {
            (Step::Opening, Ok(_)) => {
                load.step = Step::Reading;
                let length = u32::try_from(INDEX_FILE_BYTES_MAX).expect("an index file is small");
                push(number, FileOperation::Read { file, position: 0, length }, effects);
                return None;
            }
            (Step::Reading, result) => {
                load.step = Step::Closing;
                if let Ok(FileOutcome::Read(bytes)) = result {
                    load.read = bytes;
                }
                push(number, FileOperation::Close { file }, effects);
                return None;
            }
            (Step::Opening, Err(_)) | (Step::Closing, _) => {}
        }
        let Load { segment, read, is_void, .. } = self.under_way.remove(&number)?;
        self.start_queued(effects);
        if is_void {
            return None;
        }
        let (extent, waiting) = self.waiting.remove(&segment)?;
        Some(Loaded { segment, index: decode(&read, &extent), waiting })
    }

    /// Takes out the reads that wait for these segments: their index files may be of something else by now.
    pub(super) fn forget(&mut self, segments: &RangeInclusive<SegmentId>) -> Vec<ReadRequest> {
        self.queue.retain(|segment| !segments.contains(segment));
        for load in self.under_way.values_mut() {
            load.is_void |= segments.contains(&load.segment);
        }
        let gone: Vec<SegmentId> =
            self.waiting.range(segments.clone()).map(|(&segment, _)| segment).collect();
        let waiting = gone.iter().filter_map(|segment| self.waiting.remove(segment));
        waiting.flat_map(|(_, waiting)| waiting.into_iter().map(|(_, request)| request)).collect()
    }

    /// Begins the loads that there is room for.
    pub(super) fn start_queued<M>(&mut self, effects: &mut Effects<M>) {
        while self.under_way.len() < LOADS_MAX {
            // One of a segment at a time: a void one may still be under way.
            let is_free = |segment: &SegmentId| self.under_way.values().all(|load| load.segment != *segment);
            let Some(place) = self.queue.iter().position(is_free) else { return };
            let Some(segment) = self.queue.remove(place) else { return };
            let unused = |number: &LoadNumber| !self.under_way.contains_key(number);
            let number = (0..).map(LoadNumber).find(unused).expect("few are under way");
            self.under_way
                .insert(number, Load { segment, step: Step::Opening, read: Bytes::new(), is_void: false });
            let path = index_file_name(segment.partition, segment.base);
            let open = FileOperation::Open { file: file_id(number), path, mode: OpenMode::Read };
            push(number, open, effects);
        }
    }
}

/// The index in a file, if it is one of this segment. Cut since, the segment has fewer batches than its index knows.
fn decode(read: &[u8], extent: &SegmentExtent) -> Option<Index> {
    let (index, footer) = Index::decode(read).ok()?;
    (footer.segment_bytes <= extent.bytes && footer.end >= extent.end).then_some(index)
}

fn file_id(number: LoadNumber) -> FileId {
    FileId(FILE_ID_BITS | number.0)
}

fn push<M>(number: LoadNumber, operation: FileOperation, effects: &mut Effects<M>) {
    effects.push(Effect::File { token: token(ReadToken::Index(number)), operation });
}
