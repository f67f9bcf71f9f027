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

/// How fast segments are inspected, and how often, and how often it is asked which of them may go.
#[derive(Clone, Debug)]
pub struct UpkeepConfig {
    /// Between two looks for records that retention lets go.
    pub retention_every: Duration,
    /// How fast a segment is read that waits for its index file, in bytes a second.
    pub seal_bytes_per_second: u64,
    /// How fast all of them are read over and over, in bytes a second.
    pub scrub_bytes_per_second: u64,
    /// The scrub begins so long after the start.
    pub scrub_after: Duration,
    /// It begins anew at the earliest so long after it began; `None` leaves what rots to readers.
    pub scrub_every: Option<Duration>,
}

impl Default for UpkeepConfig {
    /// Retention every half minute: ages are days, and Kafka looks every five minutes. Inspections at 128 MiB/s and
    /// 16 MiB/s; the scrub from a minute after the start, once a day.
    fn default() -> Self {
        Self {
            retention_every: Duration::from_secs(30),
            seal_bytes_per_second: 128 << 20,
            scrub_bytes_per_second: 16 << 20,
            scrub_after: Duration::from_secs(60),
            scrub_every: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }
}

/// How long to wait before it is tried again where nothing can be inspected, for want of an executor, descriptors or room;
/// twice as long each time that nothing came of that, up to an hour.
const REST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(60 * 60);

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
    /// Nothing could be inspected: nothing is before this time.
    rests_until: Option<Mono>,
    /// How long it rests the next time.
    rest: Duration,
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
    /// The one before.
    before: Option<SegmentName>,
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
            rests_until: None,
            rest: REST,
        }
    }

    /// The index file of a segment is missing.
    pub(super) fn want(&mut self, partition: PartitionId, base: Offset) {
        if self.awaited.insert((partition, base)) {
            self.unsealed.push_back((partition, base));
        }
    }

    /// Whether this segment of `partition`, or any of its segments, is being inspected.
    pub(super) fn works_on(&self, partition: PartitionId, base: Option<Offset>) -> bool {
        let is_its = |request: &InspectionRequest| {
            request.partition == partition && base.is_none_or(|base| base == request.extent.base)
        };
        self.under_way.iter().any(|under_way| is_its(&under_way.request))
    }

    /// When there is something to do although nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let scrub = self.scrub.due.filter(|_| !self.is_under_way(InspectionKind::Scrub));
        let scrub = scrub.map(|due| self.rests_until.map_or(due, |until| until.max(due)));
        let has_unsealed = !self.unsealed.is_empty() && !self.is_under_way(InspectionKind::Seal);
        [scrub, self.rests_until.filter(|_| has_unsealed)].into_iter().flatten().min()
    }

    /// Nothing came of an inspection, for reasons that may pass.
    fn put_off(&mut self, now: Mono, kind: InspectionKind, name: SegmentName) {
        if self.rests_until.is_none_or(|until| until <= now) {
            self.rests_until = Some(now + self.rest);
            self.rest = (2 * self.rest).min(REST_MAX);
        }
        match kind {
            InspectionKind::Seal => self.want(name.0, name.1),
            InspectionKind::Scrub => self.scrub.last = self.scrub.before,
        }
    }

    fn is_under_way(&self, kind: InspectionKind) -> bool {
        self.under_way.iter().any(|under_way| under_way.request.kind == kind)
    }
}

impl Store {
    /// Begins the inspections that are due, and ends those that something waits for.
    pub(super) fn keep_up<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        if self.upkeep.config.scrub_every.is_some() {
            let scrub_after = self.upkeep.config.scrub_after;
            self.upkeep.scrub.due.get_or_insert(now.mono + scrub_after);
        }
        for under_way in self.upkeep.under_way.iter_mut().filter(|under_way| !under_way.is_cancelled) {
            let InspectionRequest { partition, extent, .. } = &under_way.request;
            if self.closing || self.removal.concerns_segment(*partition, extent.base) {
                under_way.is_cancelled = true;
                effects.push(Effect::CancelInspection { kind: under_way.request.kind });
            }
        }
        self.upkeep.rests_until = self.upkeep.rests_until.filter(|&until| now.mono < until);
        if self.closing || self.upkeep.rests_until.is_some() {
            return;
        }
        if !self.upkeep.is_under_way(InspectionKind::Seal)
            && let Some((id, extent)) = self.next_unsealed()
        {
            self.inspect(InspectionKind::Seal, id, extent, effects);
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
                self.upkeep.rest = REST;
                if index_was_written && is_current {
                    self.reading.handle_index_written(id, base);
                }
                self.counters.segments_inspected += 1;
                self.counters.index_files_written += u64::from(index_was_written);
                if let Some(damage) = index_damage {
                    let problem = format!("{damage}; made again from its segment");
                    self.note_fault(id, index_file_name(id, base), problem);
                }
            }
            Err(Unsound::Unavailable) => {
                self.counters.inspections_unavailable += 1;
                self.upkeep.put_off(now.mono, request.kind, (id, base));
            }
            // The index file is written when there is room; without it reads take longer.
            Err(Unsound::Failed { error, .. }) if error.is_shortage() => {
                self.counters.inspections_failed += 1;
                self.upkeep.put_off(now.mono, request.kind, (id, base));
            }
            Err(Unsound::Cancelled) => {
                if request.kind == InspectionKind::Seal {
                    self.upkeep.want(id, base);
                }
            }
            // What was read may be void, and its file gone for good reason.
            Err(_) if !is_current => {}
            Err(Unsound::Damaged { position, reason }) => {
                self.counters.segments_damaged += 1;
                let problem = format!("damaged at byte {position}: {reason}; records there are not served");
                self.note_fault(id, segment_file_name(id, base), problem);
            }
            Err(Unsound::Changed { found, sealed }) => {
                self.counters.segments_damaged += 1;
                let problem = format!(
                    "its checksum {found:#010x} differs from the sealed one, {sealed:#010x}; where is not known: every \
                     batch is intact, and served"
                );
                self.note_fault(id, segment_file_name(id, base), problem);
            }
            Err(Unsound::Failed { path, error }) => {
                self.counters.inspections_failed += 1;
                self.note_fault(id, path, format!("cannot be inspected: {error}"));
            }
        }
    }

    /// The next segment of the scrub, or the end of its pass.
    fn scrub_next<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        let began = *self.upkeep.scrub.began.get_or_insert(now);
        match self.sealed_after(self.upkeep.scrub.last) {
            Some((id, extent)) => {
                let last = self.upkeep.scrub.last.replace((id, extent.base));
                self.upkeep.scrub.before = last;
                self.inspect(InspectionKind::Scrub, id, extent, effects);
            }
            None => {
                let soonest = now + self.upkeep.config.scrub_after;
                let due = self.upkeep.config.scrub_every.map(|every| soonest.max(began + every));
                self.upkeep.scrub = Scrub { due, ..Scrub::default() };
                self.counters.scrub_passes += 1;
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
        let Some(inspected) = self.partition(partition) else { return };
        let (epochs, truncations) =
            (inspected.epochs().within(extent.base, extent.end), inspected.truncations());
        let request = InspectionRequest { kind, partition, extent, epochs, bytes_per_second };
        self.upkeep.under_way.push(UnderWay { request: request.clone(), truncations, is_cancelled: false });
        effects.push(Effect::Inspect { request });
    }

    /// The segment that has waited longest for its index file. One that is being inspected already waits on.
    fn next_unsealed(&mut self) -> Option<(PartitionId, SegmentExtent)> {
        let mut place = 0;
        while let Some(&(id, base)) = self.upkeep.unsealed.get(place) {
            if self.upkeep.works_on(id, Some(base)) {
                place += 1;
                continue;
            }
            self.upkeep.unsealed.remove(place);
            self.upkeep.awaited.remove(&(id, base));
            if let Some(extent) = self.sealed_extent((id, base)) {
                return Some((id, extent));
            }
        }
        None
    }

    /// The first segment behind `last` that can be inspected.
    fn sealed_after(&self, last: Option<SegmentName>) -> Option<(PartitionId, SegmentExtent)> {
        let (first, behind) = last.unwrap_or((PartitionId::default(), Offset(-1)));
        self.slots.range(first..).find_map(|(&id, _)| {
            let extents = self.partition(id)?.segments().extents();
            let mut candidates = extents.iter().filter(|extent| {
                (id != first || extent.base > behind) && !self.upkeep.works_on(id, Some(extent.base))
            });
            candidates.find_map(|extent| Some((id, self.sealed_extent((id, extent.base))?)))
        })
    }

    /// What counts of a segment that grows no more and stays.
    fn sealed_extent(&self, (id, base): SegmentName) -> Option<SegmentExtent> {
        let segments = self.partition(id)?.segments();
        let extent = *segments.based(base)?;
        let is_open = segments.open().is_some_and(|open| open.base == base);
        (!is_open && !self.removal.concerns_segment(id, base)).then_some(extent)
    }
}
