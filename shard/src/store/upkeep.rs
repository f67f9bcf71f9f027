//! Which segment is inspected next: those that wait for an index file first, and all of them over and over.
//!
//! One inspection of each kind at a time, beside the loop. Nothing waits for one but the removal of its own segment,
//! which cancels it.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use ringmain_wal::names::{index_file_name, segment_file_name};
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::{Offset, PartitionId};

use super::Store;
use crate::effect::{Effect, Effects};
use crate::inspection::{Inspected, InspectionKind, InspectionRequest, Sound, Unsound};
use crate::time::{Mono, Now};

/// How fast segments are inspected, and how often.
#[derive(Clone, Debug)]
pub struct UpkeepConfig {
    /// How fast a segment is read that waits for its index file, in bytes a second.
    pub seal_bytes_per_second: u64,
    /// How fast all of them are read over and over, in bytes a second.
    pub scrub_bytes_per_second: u64,
    /// The scrub begins so long after the start.
    pub scrub_after: Duration,
    /// It begins anew at the earliest so long after it began.
    pub scrub_every: Duration,
}

impl Default for UpkeepConfig {
    /// 128 MiB/s and 16 MiB/s; from a minute after the start, once a day.
    fn default() -> Self {
        Self {
            seal_bytes_per_second: 128 << 20,
            scrub_bytes_per_second: 16 << 20,
            scrub_after: Duration::from_secs(60),
            scrub_every: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A segment, by the names of its partition and its first record.
type SegmentName = (PartitionId, Offset);

/// What is inspected, and what is to be.
#[derive(Debug)]
pub(super) struct Upkeep {
    config: UpkeepConfig,
    /// Without an index file, as far as is known; in the order in which that was found out.
    unsealed: VecDeque<SegmentName>,
    /// The same, to be asked by name.
    awaited: BTreeSet<SegmentName>,
    under_way: Vec<UnderWay>,
    scrub: Scrub,
    is_unavailable: bool,
}

#[derive(Debug)]
struct UnderWay {
    request: InspectionRequest,
    /// As it was when the inspection began: void if it has moved.
    truncations: u64,
    is_cancelled: bool,
}

/// How far the scrub has come.
#[derive(Debug, Default)]
struct Scrub {
    /// The segment that was inspected last in this pass.
    last: Option<SegmentName>,
    began: Option<Mono>,
    due: Option<Mono>,
}

impl Upkeep {
    pub(super) fn new(config: UpkeepConfig) -> Self {
        Self {
            config,
            unsealed: VecDeque::new(),
            awaited: BTreeSet::new(),
            under_way: Vec::new(),
            scrub: Scrub::default(),
            is_unavailable: false,
        }
    }

    /// The index file of a segment is missing.
    pub(super) fn want(&mut self, partition: PartitionId, base: Offset) {
        if self.awaited.insert((partition, base)) {
            self.unsealed.push_back((partition, base));
        }
    }

    /// Whether a segment of `partition` is being inspected.
    pub(super) fn is_busy(&self, partition: PartitionId) -> bool {
        self.under_way.iter().any(|under_way| under_way.request.partition == partition)
    }

    /// When there is something to do although nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.scrub.due.filter(|_| !self.is_unavailable && !self.is_under_way(InspectionKind::Scrub))
    }

    fn is_under_way(&self, kind: InspectionKind) -> bool {
        self.under_way.iter().any(|under_way| under_way.request.kind == kind)
    }
}

impl Store {
    /// Begins the inspections that are due, and ends those that something waits for.
    pub(super) fn keep_up<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        let scrub_after = self.upkeep.config.scrub_after;
        self.upkeep.scrub.due.get_or_insert(now.mono + scrub_after);
        if self.upkeep.is_unavailable {
            return;
        }
        for under_way in self.upkeep.under_way.iter_mut().filter(|under_way| !under_way.is_cancelled) {
            if self.closing || self.removal.concerns(under_way.request.partition) {
                under_way.is_cancelled = true;
                effects.push(Effect::CancelInspection { kind: under_way.request.kind });
            }
        }
        if self.closing {
            return;
        }
        while !self.upkeep.is_under_way(InspectionKind::Seal)
            && let Some(name) = self.upkeep.unsealed.pop_front()
        {
            self.upkeep.awaited.remove(&name);
            if let Some(extent) = self.sealed_extent(name) {
                self.inspect(InspectionKind::Seal, name.0, extent, effects);
            }
        }
        if self.upkeep.deadline().is_some_and(|due| due <= now.mono) {
            self.scrub_next(now.mono, effects);
        }
    }

    /// An inspection has ended.
    pub fn handle_inspected(&mut self, now: Now, inspected: Inspected) {
        let Inspected { request, result } = inspected;
        let place = self.upkeep.under_way.iter().position(|under_way| under_way.request == request);
        let under_way = self.upkeep.under_way.remove(place.expect("an inspection ends once"));
        if request.kind == InspectionKind::Scrub {
            // Small segments take their turn one by one, too.
            self.upkeep.scrub.due = Some(now.mono + Duration::from_millis(10));
        }
        let (id, base) = (request.partition, request.extent.base);
        let is_current = self.partition(id).is_some_and(|partition| {
            partition.truncations() == under_way.truncations && partition.segments().based(base).is_some()
        });
        match result {
            Ok(Sound { index_was_written, index_damage }) => {
                self.counters.segments_inspected += 1;
                self.counters.index_files_written += u64::from(index_was_written);
                if let Some(damage) = index_damage {
                    let problem = format!("{damage}; made again from its segment");
                    self.note_fault(id, index_file_name(id, base), problem);
                }
            }
            Err(Unsound::Unavailable) => {
                self.upkeep.is_unavailable = true;
                self.upkeep.unsealed.clear();
                self.upkeep.awaited.clear();
            }
            Err(Unsound::Cancelled) => {}
            // What was read may be void, and its file gone for good reason.
            Err(_) if !is_current => {}
            // The index file is written when there is room; without it reads take longer.
            Err(Unsound::Failed { error, .. }) if error.is_shortage() => {}
            Err(Unsound::Damaged { position, reason }) => {
                self.counters.segments_damaged += 1;
                let problem = format!("damaged at byte {position}: {reason}; records there are not served");
                self.note_fault(id, segment_file_name(id, base), problem);
            }
            Err(Unsound::Failed { path, error }) => {
                self.note_fault(id, path, format!("cannot be inspected: {error}"));
            }
        }
    }

    /// The next segment of the scrub, or the end of its pass.
    fn scrub_next<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        let began = *self.upkeep.scrub.began.get_or_insert(now);
        match self.sealed_after(self.upkeep.scrub.last) {
            Some((id, extent)) => {
                self.upkeep.scrub.last = Some((id, extent.base));
                self.inspect(InspectionKind::Scrub, id, extent, effects);
            }
            None => {
                let next = began + self.upkeep.config.scrub_every;
                self.upkeep.scrub =
                    Scrub { due: Some(next.max(now + self.upkeep.config.scrub_after)), ..Scrub::default() };
            }
        }
    }

    fn inspect<M>(
        &mut self,
        kind: InspectionKind,
        partition: PartitionId,
        extent: SegmentExtent,
        effects: &mut Effects<M>,
    ) {
        let bytes_per_second = match kind {
            InspectionKind::Seal => self.upkeep.config.seal_bytes_per_second,
            InspectionKind::Scrub => self.upkeep.config.scrub_bytes_per_second,
        };
        let request = InspectionRequest { kind, partition, extent, bytes_per_second };
        let truncations = self.partition(partition).map_or(0, |partition| partition.truncations());
        self.upkeep.under_way.push(UnderWay { request, truncations, is_cancelled: false });
        effects.push(Effect::Inspect { request });
    }

    /// The first segment behind `last` that can be inspected.
    fn sealed_after(&self, last: Option<SegmentName>) -> Option<(PartitionId, SegmentExtent)> {
        let (first, behind) = last.unwrap_or((PartitionId::default(), Offset(-1)));
        self.slots.range(first..).find_map(|(&id, _)| {
            let extents = self.partition(id)?.segments().extents();
            let mut candidates = extents.iter().filter(|extent| id != first || extent.base > behind);
            candidates.find_map(|extent| Some((id, self.sealed_extent((id, extent.base))?)))
        })
    }

    /// What counts of a segment that grows no more and stays.
    fn sealed_extent(&self, (id, base): SegmentName) -> Option<SegmentExtent> {
        let segments = self.partition(id)?.segments();
        let extent = *segments.based(base)?;
        let is_open = segments.open().is_some_and(|open| open.base == base);
        let is_busy = self
            .upkeep
            .under_way
            .iter()
            .any(|under_way| (under_way.request.partition, under_way.request.extent.base) == (id, base));
        (!is_open && !is_busy && !self.removal.concerns(id)).then_some(extent)
    }
}
