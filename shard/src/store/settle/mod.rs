//! Settling: moves what the log holds into segments, or further ahead in the log, so that old log files can go.
//!
//! In windows: when enough has been appended since the last one began, everything durable is settled, a few partitions
//! at a time. A tail too small to be worth a file write is carried: put into the log again behind its state. When all of
//! a window is durable, memory of what was settled by the window before is given back, and log files are recycled. The
//! newest settled batches stay in memory because readers are likely to want them.

mod bucket;
mod config;
pub mod job;

use std::collections::VecDeque;

use ringmain_wal::commit::Refused;
use ringmain_wal::group::Sequence;
use ringmain_wal::names::log_file_name;
use ringmain_wire::ids::{Offset, PartitionId};

use crate::effect::{Effect, Effects, FileId, FileOperation};
use crate::event::{FileError, FileOutcome};
use crate::partition::Partition;
use crate::partition::producers::{PRODUCER_STATE_BYTES_MAX, PRODUCERS_MAX};
use crate::partition::tail::{LogPlace, TailBatch};
use crate::time::{Mono, Now};

use self::bucket::Bucket;
pub use self::config::SettleConfig;
use self::job::{SettleJob, Settled};
use super::pending::PendingKind;
use super::removal::Void;
use super::token::StoreToken;
use super::{RETRY_AFTER, Store, resident};

/// Partitions looked at in one turn.
const PARTITIONS_PER_TURN: usize = 16;
/// The states of all partitions together take one such part of the log at most.
const STATES_OF_LOG: u64 = 8;
/// File numbers of settle jobs begin here; log files have small ones.
const FILES_FROM: u32 = 1 << 31;

/// What settling is doing.
#[derive(Debug)]
pub(super) struct Settling {
    window: Option<Window>,
    /// Everything up to here was settled, carried or put in a state by the last window.
    former_upto: LogPlace,
    /// Memory that log groups with records took since the last window began.
    gathered_since: usize,
    /// Records were refused since then, for want of memory or log.
    refused_since: bool,
    /// For want of log.
    lacked_log_since: bool,
    /// The last window left nothing in the log from before it.
    was_thorough: bool,
    /// What the states of all partitions take in the log, at most.
    states_bytes: u64,
    /// Partitions still to be looked at in this window.
    queue: VecDeque<PartitionId>,
    /// Those that wait for a job of theirs to end, or for the removal of a file in whose place one is to be made.
    blocked: Vec<PartitionId>,
    jobs: Vec<Option<Running>>,
    bucket: Bucket,
    /// When the bucket has enough for the next write.
    paused_until: Option<Mono>,
    /// The disk was full, or no descriptor was left: no job begins before.
    retry_at: Option<Mono>,
    /// The disk had no room for a segment; none was written since.
    disk_full: bool,
    /// Something still rests on logs of former starts.
    inherits: bool,
    /// The oldest log file that was not promised to be removed.
    floor_file: u32,
    /// The group that says so, until it is durable.
    floor_logged: Option<Sequence>,
}

#[derive(Debug)]
struct Window {
    upto: LogPlace,
    /// The group that holds the last entry of this window.
    last_logged: Sequence,
    carried_bytes: usize,
}

#[derive(Debug)]
struct Running {
    job: SettleJob,
    /// As it was when the job began: stale if it has moved.
    truncations: u64,
    step_under_way: bool,
}

impl Settling {
    pub(super) fn new(config: &SettleConfig, begins: LogPlace) -> Self {
        Self {
            window: None,
            former_upto: begins,
            gathered_since: 0,
            refused_since: false,
            lacked_log_since: false,
            was_thorough: false,
            states_bytes: 0,
            queue: VecDeque::new(),
            blocked: Vec::new(),
            jobs: (0..config.jobs_max).map(|_| None).collect(),
            bucket: Bucket::full(config.bytes_per_second, 4 * job::CHUNK_BYTES as u64),
            paused_until: None,
            retry_at: None,
            disk_full: false,
            inherits: true,
            floor_file: 0,
            floor_logged: None,
        }
    }

    /// A log group with records was frozen.
    pub(super) fn note_group(&mut self, bytes: usize, config: &SettleConfig) {
        self.gathered_since += bytes;
        self.bucket.earn((bytes as u64).saturating_mul(config.bytes_per_byte));
    }

    /// A partition remembers one more producer.
    pub(super) fn note_producer(&mut self) {
        self.states_bytes += PRODUCER_STATE_BYTES_MAX as u64;
    }

    /// What the states of all partitions take in the log at most, in bytes.
    pub(super) fn states_bytes(&self) -> u64 {
        self.states_bytes
    }

    /// Records were refused for want of memory, or of log.
    pub(super) fn note_refusal(&mut self, lacks_log: bool) {
        self.refused_since = true;
        self.lacked_log_since |= lacks_log;
    }

    /// Whether the disk had no room for a segment.
    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Whether a job is running that writes this segment of `partition`, or any of its segments.
    pub(super) fn works_on(&self, partition: PartitionId, base: Option<Offset>) -> bool {
        let is_its =
            |job: &SettleJob| job.partition() == partition && base.is_none_or(|base| base == job.base());
        self.jobs.iter().flatten().any(|running| is_its(&running.job))
    }

    /// Whether something rests on logs of former starts.
    pub(super) fn inherits(&self) -> bool {
        self.inherits
    }

    /// When there is something to do although nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        let can_begin = !self.queue.is_empty() && self.jobs.iter().any(Option::is_none);
        if can_begin { Some(Mono::default()) } else { self.paused_until }
    }

    /// A job or a removal of some partition has ended.
    pub(super) fn unblock(&mut self) {
        self.queue.extend(self.blocked.drain(..));
    }
}

impl Store {
    /// Begins a window if it is time, goes on with the one there is, and ends it.
    pub(super) fn settle<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        self.settling.retry_at = self.settling.retry_at.filter(|&retry_at| now.mono < retry_at);
        if self.settling.window.is_none() && self.is_ready() && self.wants_window() {
            self.begin_window();
        }
        for _ in 0..PARTITIONS_PER_TURN {
            let has_room = self.settling.jobs.iter().any(Option::is_none);
            if !has_room || self.settling.retry_at.is_some() {
                break;
            }
            let Some(id) = self.settling.queue.pop_front() else { break };
            if self.settle_partition(id, now).is_err() {
                // The log is being closed: the next start goes on.
                return;
            }
        }
        self.start_steps(now.mono, effects);
        if self.is_window_over() {
            self.end_window();
        }
    }

    /// A step of a job has ended.
    ///
    /// # Errors
    /// What failed, for people, when the disk cannot be trusted any more.
    pub(super) fn handle_settle_step<M>(
        &mut self,
        now: Now,
        place: u64,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) -> Result<(), String> {
        let place = usize::try_from(place).expect("jobs have small numbers");
        let running = self.settling.jobs[place].as_mut().expect("a step belongs to a job");
        running.step_under_way = false;
        let path = running.job.path();
        let is_stale = match self.slots.get(&running.job.partition()) {
            Some(&slot) => resident(&mut self.residents, slot).partition.truncations() != running.truncations,
            None => true,
        };
        match running.job.handle(result) {
            Ok(true) => {
                if let Some(Running { job, truncations, .. }) = self.settling.jobs[place].take() {
                    self.finish_job(job, truncations);
                }
            }
            Ok(false) if is_stale => {
                self.settling.queue.push_front(running.job.partition());
                self.give_up_job(place, effects);
            }
            Ok(false) => {}
            Err(error) if error.is_shortage() => {
                self.settling.retry_at = Some(now.mono + RETRY_AFTER);
                self.settling.disk_full |= error == FileError::Full;
                self.settling.queue.push_front(running.job.partition());
                self.give_up_job(place, effects);
            }
            // What was settled is not served from there; what is in memory goes into another segment.
            Err(error) if running.job.is_reading() => {
                let id = running.job.partition();
                self.settling.queue.push_front(id);
                self.give_up_job(place, effects);
                if !is_stale {
                    self.close_open_segment(id);
                }
                self.note_fault(
                    id,
                    path,
                    format!("its last block cannot be read: {error}; it grows no more"),
                );
            }
            Err(error) => return Err(format!("settling into {path} failed: {error}")),
        }
        Ok(())
    }

    fn wants_window(&self) -> bool {
        let Settling { inherits, gathered_since, refused_since, lacked_log_since, was_thorough, .. } =
            self.settling;
        // What a window carries moves on, until it is in the next file and the one it was in can go.
        let has_something = gathered_since > 0 || !was_thorough || lacked_log_since;
        let is_due = gathered_since >= self.config.settle.start_bytes || refused_since && has_something;
        !self.closing && (inherits || is_due)
    }

    /// The disk has no room for the next log file. Where that costs less room than that file, all that log files hold is
    /// settled, so that they go: deleting topics gives back what the log holds of them, too.
    pub(super) fn note_full_disk(&mut self) {
        let goes = self.commit.first_file_from(self.commit.mark().next()) > self.settling.floor_file;
        if !self.preparation.is_disk_full() || !goes {
            return;
        }
        let unsettled =
            self.partitions().flat_map(Partition::unsettled).map(|batch| batch.bytes.len() as u64);
        if unsettled.sum::<u64>() <= self.config.commit.file_bytes {
            self.settling.note_refusal(false);
        }
    }

    /// Everything durable is to be settled. States are renewed that stand in the log before the last window; when records
    /// are refused, all of them, so that the whole log before this window can go.
    fn begin_window(&mut self) {
        let upto = self.log_place(self.commit.mark());
        let is_thorough = self.settling.refused_since;
        let renewed_before = if is_thorough { upto } else { self.settling.former_upto };
        self.settling.gathered_since = 0;
        self.settling.refused_since = false;
        self.settling.lacked_log_since = false;
        self.settling.was_thorough = is_thorough;
        self.bound_states();
        // Also what was logged before: memory shows truncations at once, and former logs may go only when they are durable.
        let last_logged = self.pending.newest().unwrap_or(Sequence::ZERO);
        self.settling.window = Some(Window { upto, last_logged, carried_bytes: 0 });
        self.settling.queue = self
            .partitions()
            .filter(|partition| {
                let has_unsettled = partition.unsettled().next().is_some();
                let rests_far_back = partition.needed_place().is_some_and(|place| place < renewed_before);
                let is_untold = partition.is_damaged() && partition.state_place() < Some(renewed_before);
                has_unsettled || rests_far_back || is_untold
            })
            .map(|partition| partition.id())
            .collect();
    }

    /// All states together have to fit a part of the log: of the largest, producers are forgotten until they do.
    fn bound_states(&mut self) {
        let states_bytes_max = self.config.commit.log_bytes_max / STATES_OF_LOG;
        let mut producers_max = PRODUCERS_MAX;
        loop {
            let states_bytes: usize = self.partitions().map(Partition::state_bytes_max).sum();
            self.settling.states_bytes = states_bytes as u64;
            if self.settling.states_bytes <= states_bytes_max || producers_max == 0 {
                return;
            }
            producers_max /= 2;
            for here in self.residents.iter_mut().flatten() {
                here.partition.keep_latest_producers(producers_max);
            }
        }
    }

    /// What this window does for one partition: settle a run of its batches, carry its tail, or renew its state.
    fn settle_partition(&mut self, id: PartitionId, now: Now) -> Result<(), Refused> {
        if self.settling.works_on(id, None) || self.removal.concerns_partition(id) {
            self.settling.blocked.push(id);
            return Ok(());
        }
        let Some(&slot) = self.slots.get(&id) else { return Ok(()) };
        let config = &self.config.settle;
        let here = resident(&mut self.residents, slot);
        let partition = &mut here.partition;
        let mut bytes = 0;
        let run: Vec<TailBatch> = partition
            .unsettled()
            .take(config.run_batches_max)
            .take_while(|batch| {
                bytes += batch.bytes.len();
                bytes - batch.bytes.len() < config.run_bytes_max
            })
            .cloned()
            .collect();
        let Some(first) = run.first() else {
            return self.log_state(id);
        };
        let charge: usize = run.iter().map(|batch| batch.charge).sum();
        let gathered = self.commit.gathered_bytes() + charge;
        let has_ready_room = !self.preparation.is_disk_full() || self.has_ready_room(2 * gathered);
        let config = &self.config.settle;
        let here = resident(&mut self.residents, slot);
        let partition = &mut here.partition;
        let window = self.settling.window.as_mut().expect("partitions are looked at in a window");
        let may_carry = has_ready_room
            && bytes < config.small_tail_bytes
            && window.carried_bytes + charge <= config.carried_bytes_max
            && !partition.is_damaged()
            && run.last().is_some_and(|last| last.next_offset == partition.end());
        if may_carry {
            window.carried_bytes += charge;
            return self.carry(id, &run);
        }
        if let Some(open) = partition.segments().open() {
            let age_ms = now.wall.get().saturating_sub(open.created.get());
            let is_full = open.bytes + first.bytes.len() as u64 > here.limits.segment_bytes;
            let is_old = u64::try_from(age_ms).is_ok_and(|age_ms| age_ms > here.limits.segment_ms);
            if is_full || is_old || open.end != first.base_offset {
                self.close_open_segment(id);
            }
        }
        let here = resident(&mut self.residents, slot);
        let partition = &here.partition;
        let open = partition.segments().open().copied().zip(here.open_index.clone());
        let free = self.settling.jobs.iter().position(Option::is_none).expect("asked only with room");
        let file = FileId(FILES_FROM + u32::try_from(free).expect("jobs are few"));
        let is_new = open.is_none();
        if is_new && self.removal.concerns_segment(id, first.base_offset) {
            self.settling.blocked.push(id);
            return Ok(());
        }
        let job = SettleJob::new(file, id, open, here.has_directory, &run, now.wall);
        if is_new {
            here.begun.insert(job.base());
        }
        let truncations = here.partition.truncations();
        self.settling.jobs[free] = Some(Running { job, truncations, step_under_way: false });
        Ok(())
    }

    /// Nothing more is appended to the segment that is open, if there is one.
    fn close_open_segment(&mut self, id: PartitionId) {
        let Some(&slot) = self.slots.get(&id) else { return };
        let here = resident(&mut self.residents, slot);
        if let Some(open) = here.partition.segments().open() {
            let closed = open.base;
            here.partition.close_segment();
            here.open_index = None;
            self.upkeep.want(id, closed);
        }
    }

    /// Puts a whole tail into the log again, behind a state of what is before it.
    fn carry(&mut self, id: PartitionId, tail: &[TailBatch]) -> Result<(), Refused> {
        let slot = self.slots[&id];
        self.log_state(id)?;
        for batch in tail {
            let partition = &resident(&mut self.residents, slot).partition;
            let epoch = partition.epochs().at(batch.base_offset).expect("every record has an epoch");
            let records = u32::try_from(batch.next_offset.get() - batch.base_offset.get())
                .expect("a batch has fewer than 4 billion records");
            let sequence = self.commit.append_carried(id, epoch, batch.base_offset, records, &batch.bytes)?;
            self.pending.push(sequence, slot, PendingKind::Carried { base_offset: batch.base_offset });
            self.note_logged(sequence);
        }
        Ok(())
    }

    /// Puts the state of a partition into the log.
    fn log_state(&mut self, id: PartitionId) -> Result<(), Refused> {
        let slot = self.slots[&id];
        let partition = &mut resident(&mut self.residents, slot).partition;
        let settled_end = partition.settled_end();
        let sequence = self.commit.append_state(id, settled_end, &partition.state().encode())?;
        partition.state_logging(LogPlace { generation: self.config.commit.generation, sequence });
        let truncations = partition.truncations();
        self.pending.push(sequence, slot, PendingKind::State { settled_end, truncations });
        self.note_logged(sequence);
        Ok(())
    }

    /// The window under way ends only when group `sequence` is durable.
    pub(super) fn note_logged(&mut self, sequence: Sequence) {
        if let Some(window) = &mut self.settling.window {
            window.last_logged = window.last_logged.max(sequence);
        }
    }

    /// Starts the next step of every job that has none under way, as far as the bucket allows.
    fn start_steps<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        self.settling.paused_until = None;
        let pressed = self.is_pressed();
        for (place, running) in self.settling.jobs.iter_mut().enumerate() {
            let Some(running) = running.as_mut().filter(|running| !running.step_under_way) else { continue };
            let bytes = running.job.next_bytes() as u64;
            if let Err(due) = self.settling.bucket.take(now, bytes)
                && !pressed
            {
                self.settling.paused_until = Some(due);
                break;
            }
            if let Some(operation) = running.job.poll() {
                running.step_under_way = true;
                let token = StoreToken::Settle(place as u64).encode();
                effects.push(Effect::File { token, operation });
            }
        }
    }

    /// Whether it is late, or memory or log run short: settling goes as fast as the disk does.
    fn is_pressed(&self) -> bool {
        let log_bytes_max = self.config.commit.log_bytes_max;
        let is_late = self.settling.gathered_since >= self.config.settle.start_bytes;
        let log_is_short = self.settling.refused_since || self.commit.spare_bytes() < log_bytes_max / 4;
        is_late || log_is_short || self.memory_bytes() > self.config.tail_bytes_max / 4 * 3
    }

    /// Memory of what is appended and not let go.
    fn memory_bytes(&self) -> usize {
        self.tail_bytes + self.commit.gathered_bytes()
    }

    fn finish_job(&mut self, job: SettleJob, truncations: u64) {
        let id = job.partition();
        self.settling.unblock();
        self.settling.disk_full = false;
        let Settled { extent, index } = job.finish();
        let Some(&slot) = self.slots.get(&id) else { return };
        let here = resident(&mut self.residents, slot);
        here.has_directory = true;
        let partition = &here.partition;
        if partition.truncations() != truncations {
            // What is left of it has still to be settled, or told.
            self.settling.queue.push_front(id);
            return;
        }
        if extent.end <= partition.log_start() {
            // Let go meanwhile.
            self.removal.remove(Void::Segments(id, vec![extent.base]));
            self.settling.queue.push_front(id);
            return;
        }
        self.counters.settled_bytes += extent.bytes
            - partition
                .segments()
                .open()
                .filter(|open| open.base == extent.base)
                .map_or(0, |open| open.bytes);
        here.begun.remove(&extent.base);
        here.open_index = Some(index.clone());
        self.learn_index(id, extent.base, index);
        let partition = &mut resident(&mut self.residents, slot).partition;
        partition.settled(extent);
        let upto = self.settling.window.as_ref().map_or(LogPlace::default(), |window| window.upto);
        if partition.unsettled().next().is_some_and(|batch| batch.place <= upto) {
            // Another run; one state tells of all.
            self.settling.queue.push_front(id);
        } else {
            // Refused only when the log is being closed: then the next start settles these batches again.
            let _ = self.log_state(id);
        }
    }

    /// Drops a job whose work is void; its file is closed.
    fn give_up_job<M>(&mut self, place: usize, effects: &mut Effects<M>) {
        if let Some(Running { job, .. }) = self.settling.jobs[place].take() {
            if job.is_open() {
                let file = FileId(FILES_FROM + u32::try_from(place).expect("jobs are few"));
                let operation = FileOperation::Close { file };
                effects.push(Effect::File { token: StoreToken::Tidy.encode(), operation });
            }
            self.settling.unblock();
        }
    }

    fn is_window_over(&self) -> bool {
        let Settling { window: Some(window), queue, blocked, jobs, .. } = &self.settling else {
            return false;
        };
        queue.is_empty()
            && blocked.is_empty()
            && jobs.iter().all(Option::is_none)
            && window.last_logged <= self.commit.mark()
    }

    /// Everything of the window is durable: memory and log files are given back.
    fn end_window(&mut self) {
        let Some(window) = self.settling.window.take() else { return };
        let former_upto = core::mem::replace(&mut self.settling.former_upto, window.upto);
        self.evict(former_upto);
        if self.memory_bytes() > self.config.tail_bytes_max / 2 {
            self.evict(window.upto);
        }
        let generation = self.config.commit.generation;
        let next = self.log_place(self.commit.mark().next());
        let places = self.residents.iter().flatten().filter_map(|here| here.partition.needed_place());
        let needed = places.min().map_or(next, |place| place.min(next));
        self.settling.was_thorough &= window.upto <= needed;
        if needed.generation < generation {
            // Something was skipped: the next window takes it.
            return;
        }
        self.settling.inherits = false;
        self.recycle(needed.sequence);
    }

    /// Lets go of the memory of what is settled up to `upto`.
    fn evict(&mut self, upto: LogPlace) {
        for here in self.residents.iter_mut().flatten() {
            let charged = here.partition.tail().charged_bytes();
            here.partition.evict(upto);
            self.tail_bytes -= charged - here.partition.tail().charged_bytes();
        }
    }

    /// Promises to remove the log files wholly before group `needed`.
    fn recycle(&mut self, needed: Sequence) {
        let file = self.commit.first_file_from(needed);
        if file <= self.settling.floor_file || self.settling.floor_logged.is_some() {
            return;
        }
        if let Ok(sequence) = self.commit.append_floor(file) {
            let numbers = core::mem::replace(&mut self.settling.floor_file, file)..file;
            self.counters.log_files_recycled += numbers.len() as u64;
            self.pending.push_void(sequence);
            let (generation, log) = (self.config.commit.generation, self.config.commit.log);
            let paths = numbers.map(|number| log_file_name(generation, log, number)).collect();
            self.removal.promise(sequence, Void::LogFiles(paths));
            self.settling.floor_logged = Some(sequence);
        }
    }

    /// Everything up to `mark` is durable, perhaps also that some files of the log are void.
    pub(super) fn handle_floor_durable(&mut self, mark: Sequence) {
        if self.settling.floor_logged.take_if(|logged| *logged <= mark).is_some() {
            self.commit.forget_files_before(self.settling.floor_file);
        }
    }
}
