//! The partitions of one shard and the log they share: appends in, durable marks out.
//!
//! Owned by its shard; view: core. The [`GroupCommit`] planner says what to write and when; the store carries that to
//! effects, and what becomes durable back to partitions and to whoever waits.
//!
//! Reading order: this file (appending and the life of the log), `changes` (of whole partitions), `durable` (what a durable group sets off), `settle`
//! (out of the log into segments), `reads` and `reading` (out of segments to readers), `removal` (what is void), `upkeep`
//! (which segments are inspected).

mod changes;
mod counters;
mod durable;
mod files;
mod limits;
mod memory;
mod outcome;
mod pending;
mod pressure;
mod reading;
mod reads;
mod removal;
mod retention;
pub mod settle;
mod token;
mod upkeep;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringmain_wal::commit::{AppendOptions, GroupCommit, GroupCommitConfig, Refused};
use ringmain_wal::group::Sequence;
use ringmain_wal::names::log_file_name;
use ringmain_wal::segment::IndexBuilder;
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;

use crate::effect::{Effect, Effects, FileId, FileOperation, FileToken, StopReason};
use crate::event::{FileError, FileOutcome};
use crate::partition::tail::LogPlace;
use crate::partition::{Admission, Partition};
use crate::time::{Mono, Now};

pub use counters::StoreCounters;
pub use limits::PartitionLimits;
pub use memory::MemoryOwner;
pub use outcome::{Appended, Completion, ProduceOutcome, StorageFault};
pub use reads::{Found, Read, ReadCompletion, TimeWanted};
pub use upkeep::UpkeepConfig;

use files::Preparation;
use pending::{Pending, PendingKind};
use reading::{Reading, ReadingConfig};
use removal::Removal;
use retention::Retention;
use settle::{SettleConfig, Settling};
use token::StoreToken;
use upkeep::Upkeep;

/// Where log files live, relative to the data directory.
pub const LOG_DIRECTORY: &str = "logs";

/// Segment files that a store keeps open for reading.
pub const SEGMENT_FILES_MAX: usize = 64;

/// How long to wait before room on a full disk, or a descriptor, is asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Names a request that waits; chosen by whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How a store is run.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The log.
    pub commit: GroupCommitConfig,
    /// The epoch under which this node leads all its partitions until it stops.
    pub leader_epoch: LeaderEpoch,
    /// Memory for batches; at the limit appends are refused.
    pub tail_bytes_max: usize,
    /// Memory for appends that no write has begun for; at the limit appends are refused.
    pub gathered_bytes_max: usize,
    /// How what is appended gets out of log and memory.
    pub settle: SettleConfig,
    /// How segments are inspected.
    pub upkeep: UpkeepConfig,
}

/// Index of a partition in the store; reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(usize);

#[derive(Debug)]
struct Resident {
    partition: Partition,
    /// Fetches to be told when the high watermark moves.
    watchers: Vec<Ticket>,
    limits: PartitionLimits,
    /// Where the last batch ends that counts only when it is on stable storage.
    synced_upto: Offset,
    /// The group of its last truncation in this start.
    truncated: Option<Sequence>,
    /// Its directory is there for certain.
    has_directory: bool,
    /// Segments that were begun and that no state names yet, or not any more: their files may be there.
    begun: BTreeSet<Offset>,
    /// Where batches lie in its open segment.
    open_index: Option<IndexBuilder>,
}

/// One shard's partitions and log.
#[derive(Debug)]
pub struct Store {
    config: StoreConfig,
    commit: GroupCommit,
    preparation: Preparation,
    /// Oldest log file that is still open.
    file_oldest: u32,
    residents: Vec<Option<Resident>>,
    free: Vec<Slot>,
    slots: BTreeMap<PartitionId, Slot>,
    pending: Pending,
    settling: Settling,
    removal: Removal,
    retention: Retention,
    reading: Reading,
    upkeep: Upkeep,
    /// Groups being written and their file, for closing files behind the mark.
    writing: VecDeque<(Sequence, u32)>,
    tail_bytes: usize,
    completions: VecDeque<Completion>,
    woken: Vec<Ticket>,
    counters: StoreCounters,
    faults: VecDeque<StorageFault>,
    ready: bool,
    closing: bool,
    failed: bool,
    /// What waited for room on the disk or for a descriptor was given up.
    abandoned: bool,
}

impl Store {
    /// A store over what recovery found; its log is a new one.
    pub fn new(config: StoreConfig, recovered: Vec<Partition>) -> Self {
        let mut store = Self {
            commit: GroupCommit::new(config.commit.clone()),
            preparation: Preparation::new(config.commit.file_bytes),
            file_oldest: 0,
            residents: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            pending: Pending::default(),
            settling: Settling::new(
                &config.settle,
                LogPlace { generation: config.commit.generation, sequence: Sequence::ZERO },
            ),
            removal: Removal::default(),
            retention: Retention::new(config.upkeep.retention_every),
            reading: Reading::new(ReadingConfig::default()),
            upkeep: Upkeep::new(config.upkeep.clone()),
            writing: VecDeque::new(),
            tail_bytes: 0,
            completions: VecDeque::new(),
            woken: Vec::new(),
            counters: StoreCounters::default(),
            faults: VecDeque::new(),
            ready: false,
            closing: false,
            failed: false,
            abandoned: false,
            config,
        };
        for mut partition in recovered {
            partition.lead(store.config.leader_epoch);
            store.tail_bytes += partition.tail().charged_bytes();
            store.insert(partition);
        }
        store
    }

    /// A partition of this shard.
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        let slot = *self.slots.get(&id)?;
        self.residents[slot.0].as_ref().map(|resident| &resident.partition)
    }

    /// All partitions, by id.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.slots
            .values()
            .filter_map(|slot| self.residents[slot.0].as_ref())
            .map(|resident| &resident.partition)
    }

    /// What it has done since the start.
    pub fn counters(&self) -> StoreCounters {
        self.counters
    }

    /// Memory held by reads from segments and by what they read ahead, in bytes.
    pub fn read_bytes(&self) -> usize {
        self.reading.held_bytes()
    }

    /// Its memory by owner.
    pub fn memory(&self) -> Vec<MemoryOwner> {
        let owner = |name, bytes, bytes_max| MemoryOwner { name, bytes, bytes_max: Some(bytes_max) };
        vec![
            owner("tails", self.tail_bytes, self.config.tail_bytes_max),
            owner("log_groups", self.commit.gathered_bytes(), self.config.gathered_bytes_max),
            owner("segment_reads", self.reading.held_bytes(), self.reading.held_bytes_max()),
            owner("indexes", self.reading.index_bytes(), self.reading.index_bytes_max()),
            MemoryOwner {
                name: "producers",
                bytes: self.partitions().map(Partition::producer_bytes).sum(),
                bytes_max: None,
            },
        ]
    }

    /// The most that its log's files may come to, in bytes.
    pub fn log_bytes_max(&self) -> u64 {
        self.config.commit.log_bytes_max
    }

    /// Bytes of its log's files.
    pub fn log_bytes(&self) -> u64 {
        self.commit.live_bytes()
    }

    /// Memory held by batches, in bytes.
    pub fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Groups whose write is under way or whose mark has not passed.
    pub fn groups_in_flight(&self) -> usize {
        self.writing.len()
    }

    /// Whether the log can take groups: its first file is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether, after [`close`](Self::close), nothing is left to be written or waited for.
    pub fn is_drained(&self) -> bool {
        self.failed || self.commit.is_drained()
    }

    /// When [`finish_turn`](Self::finish_turn) is wanted next if nothing happens before.
    pub fn deadline(&self) -> Option<Mono> {
        if self.failed {
            return None;
        }
        let mark = self.commit.deadline_ns().map(Mono);
        if self.abandoned {
            return mark;
        }
        let settling = self.settling.deadline().filter(|_| !self.closing);
        let retention = self.retention.deadline().filter(|_| !self.closing);
        let upkeep = self.upkeep.deadline().filter(|_| !self.closing);
        let deadlines =
            [mark, self.preparation.deadline(), settling, self.removal.deadline(), retention, upkeep];
        deadlines.into_iter().flatten().min()
    }

    /// Whether something still rests on logs of former starts: their files are needed.
    pub fn rests_on_former_logs(&self) -> bool {
        self.settling.inherits()
    }

    /// How the segments of a partition are kept, from now on.
    pub fn set_limits(&mut self, id: PartitionId, limits: PartitionLimits) {
        if let Some(&slot) = self.slots.get(&id) {
            resident(&mut self.residents, slot).limits = limits;
        }
    }

    /// Adds an empty partition; one that exists stays as it is.
    pub fn create(&mut self, id: PartitionId) {
        if !self.slots.contains_key(&id) {
            self.insert(Partition::new(id, self.config.leader_epoch));
        }
    }

    /// Appends a batch that passed [`check_produced`](ringmain_wire::batch::check_produced); `header` is its header. With
    /// an `append_time` that is the time of all its records, whatever their producer said.
    pub fn produce(
        &mut self,
        id: PartitionId,
        header: &BatchHeader,
        batch: &[u8],
        append_time: Option<TimestampMs>,
        ticket: Option<Ticket>,
    ) -> ProduceOutcome {
        // Nobody would be told what became of it.
        if self.failed || self.abandoned {
            let code = if self.failed { ErrorCode::StorageFailed } else { ErrorCode::ShuttingDown };
            return ProduceOutcome::Refused(code);
        }
        let Some(&slot) = self.slots.get(&id) else {
            return ProduceOutcome::Refused(ErrorCode::UnknownTopicOrPartition);
        };
        let partition = &mut resident(&mut self.residents, slot).partition;
        let (base_offset, leader_epoch) = match partition.admit(header) {
            Admission::Append { base_offset, leader_epoch } => (base_offset, leader_epoch),
            Admission::Duplicate(batch) => {
                self.counters.duplicates += 1;
                return self.answer_duplicate(slot, batch.base_offset, batch.next_offset, ticket);
            }
            Admission::Refused(code) => return ProduceOutcome::Refused(code),
        };
        if let Some(code) = self.pressure(id, batch.len()) {
            if !self.preparation.is_disk_full() {
                let lacks_log = self.lacks_log(id, self.commit.gathered_bytes() + batch.len());
                self.settling.note_refusal(lacks_log);
            }
            return ProduceOutcome::Refused(code);
        }
        let here = resident(&mut self.residents, slot);
        // Nothing is shown before what stands in front of it.
        let is_behind_synced = here.synced_upto > here.partition.high_watermark();
        let flush = here.limits.flush.filter(|_| !is_behind_synced);
        let options = AppendOptions { append_time, flush };
        let appended =
            self.commit.append_batch_with(id, leader_epoch, base_offset, header.records, batch, options);
        match appended {
            Ok(sequence) => {
                let header = append_time.map_or(*header, |time| header.with_append_time(time));
                let place = self.log_place(sequence);
                let here = resident(&mut self.residents, slot);
                let remembered = here.partition.producers().len();
                here.partition.appended(&header, place);
                if here.partition.producers().len() > remembered {
                    self.settling.note_producer();
                }
                let (next_offset, once_written) = (here.partition.end(), flush.is_some());
                if !once_written {
                    here.synced_upto = next_offset;
                }
                let kind = PendingKind::Append { base_offset, next_offset, ticket, once_written };
                self.pending.push(sequence, slot, kind);
                self.counters.batches += 1;
                self.counters.batch_bytes += batch.len() as u64;
                ProduceOutcome::Waiting
            }
            Err(refused) => ProduceOutcome::Refused(code_of(refused)),
        }
    }

    /// Tells `ticket` once, through [`poll_woken`](Self::poll_woken), when the partition's high watermark moves, its
    /// suffix is cut, or it goes away.
    pub fn watch(&mut self, id: PartitionId, ticket: Ticket) {
        if let Some(&slot) = self.slots.get(&id) {
            resident(&mut self.residents, slot).watchers.push(ticket);
        }
    }

    /// Takes back a [`watch`](Self::watch).
    pub fn unwatch(&mut self, id: PartitionId, ticket: Ticket) {
        if let Some(&slot) = self.slots.get(&id) {
            resident(&mut self.residents, slot).watchers.retain(|&watcher| watcher != ticket);
        }
    }

    /// Tells whoever waits for room on a full disk, or for a descriptor, that there will be none: it was not stored, or may
    /// have been.
    pub fn abandon(&mut self) {
        if self.preparation.is_held_up() {
            self.abandoned = true;
            self.commit.abandon();
            let tickets = self.pending.drain_tickets();
            let code =
                if self.preparation.is_disk_full() { ErrorCode::DiskFull } else { ErrorCode::OverBudget };
            self.fail(tickets, code);
        }
    }

    /// Takes no more entries; what is in the log is still written.
    pub fn close(&mut self) {
        self.closing = true;
        self.commit.close();
    }

    /// Once it is closing and nobody waits for it: gives up what would have to wait for room on a full disk, or for a
    /// descriptor. The next start does without.
    pub fn abandon_leftovers(&mut self) {
        if self.closing && self.commit.waits_for_file() {
            self.abandon();
        }
    }

    /// One of its file operations ended.
    pub fn handle_file<M>(
        &mut self,
        now: Now,
        token: FileToken,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) {
        if self.failed {
            return;
        }
        match (StoreToken::decode(token), result) {
            (StoreToken::Group(sequence), Ok(_)) => {
                self.commit.handle_written(sequence);
                self.handle_marks(effects);
            }
            (StoreToken::SyncLog(_), Ok(_)) => {
                self.commit.handle_synced();
                self.handle_marks(effects);
            }
            (StoreToken::SyncLog(file), Err(error)) => {
                self.commit.handle_sync_failed();
                self.stop(&format!("sync of {} failed: {error}", self.path(file)), effects);
            }
            (StoreToken::Group(sequence), Err(error)) => {
                self.commit.handle_failed(sequence);
                let file =
                    self.writing.iter().find(|(writing, _)| *writing == sequence).map(|&(_, file)| file);
                let path = self.path(file.unwrap_or_default());
                self.stop(&format!("write of log group {sequence} to {path} failed: {error}"), effects);
            }
            (StoreToken::Prepare, result) => {
                let path = self.preparation.path().to_owned();
                match self.preparation.handle_step(now.mono, result, effects) {
                    Ok(Some(file)) => {
                        self.commit.file_ready(file.number, file.bytes);
                        self.ready = true;
                    }
                    Ok(None) => self.note_full_disk(),
                    Err(error) => self.stop(&format!("preparing {path} failed: {error}"), effects),
                }
            }
            (StoreToken::Settle(job), result) => {
                if let Err(problem) = self.handle_settle_step(now, job, result, effects) {
                    self.stop(&problem, effects);
                }
            }
            (StoreToken::Read(step), result) => self.handle_read_step(step, result, effects),
            (StoreToken::Remove, result) => self.handle_removal_step(now.mono, result, effects),
            (StoreToken::Tidy, Ok(_)) => {}
            (StoreToken::Tidy, Err(error)) => {
                self.stop(&format!("closing a file failed: {error}"), effects);
            }
        }
    }

    /// Lets gathered groups go and prepares files.
    pub fn finish_turn<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        if self.failed {
            return;
        }
        if self.abandoned {
            return self.sync_log(now, effects);
        }
        self.preparation.handle_time(now.mono, effects);
        if let Some(file) = self.commit.poll_prepare() {
            let path = self.path(file.number);
            self.preparation.start(file, path, effects);
        }
        self.preparation.go_on_until(self.commit.prepared_bytes_wanted(), effects);
        self.retain(now);
        self.settle(now, effects);
        self.keep_up(now, effects);
        let is_busy = |id, base| self.settling.works_on(id, base) || self.upkeep.works_on(id, base);
        self.removal.poll(now.mono, is_busy, effects);
        while let Some(group) = self.commit.poll_group(now.mono.0) {
            self.start_group(group, effects);
        }
        self.sync_log(now, effects);
    }

    /// The next wait that has ended.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Damage that was found in what is stored, storage that failed a reader, or what could not be cleared away; to be told
    /// to people.
    pub fn poll_fault(&mut self) -> Option<StorageFault> {
        self.faults.pop_front()
    }

    /// A watcher whose partition has moved.
    pub fn poll_woken(&mut self) -> Option<Ticket> {
        self.woken.pop()
    }

    fn insert(&mut self, partition: Partition) {
        let id = partition.id();
        let has_directory = !partition.segments().extents().is_empty();
        let resident = Some(Resident {
            partition,
            watchers: Vec::new(),
            limits: PartitionLimits::default(),
            synced_upto: Offset::ZERO,
            truncated: None,
            has_directory,
            begun: BTreeSet::new(),
            open_index: None,
        });
        let slot = self.free.pop().unwrap_or_else(|| {
            self.residents.push(None);
            Slot(self.residents.len() - 1)
        });
        self.residents[slot.0] = resident;
        assert!(self.slots.insert(id, slot).is_none(), "partition {id} is here already");
    }

    fn answer_duplicate(
        &mut self,
        slot: Slot,
        base_offset: Offset,
        next_offset: Offset,
        ticket: Option<Ticket>,
    ) -> ProduceOutcome {
        let partition = &resident(&mut self.residents, slot).partition;
        if next_offset <= partition.high_watermark() {
            let log_start = partition.log_start();
            return ProduceOutcome::Duplicate(Appended { base_offset, log_start, duplicate: true });
        }
        if let Some(ticket) = ticket {
            let waits = self.pending.wait_for(slot, base_offset, ticket);
            assert!(waits, "a batch is neither durable nor on its way");
        }
        ProduceOutcome::Waiting
    }

    fn sync_log<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        if let Some(sync) = self.commit.poll_sync(now.mono.0) {
            let operation = FileOperation::Sync { file: FileId(sync.file) };
            effects.push(Effect::File { token: StoreToken::SyncLog(sync.file).encode(), operation });
            self.counters.log_syncs += 1;
        }
    }

    fn wake_watchers(&mut self, slot: Slot) {
        self.woken.append(&mut resident(&mut self.residents, slot).watchers);
    }

    fn fail(&mut self, tickets: Vec<Ticket>, code: ErrorCode) {
        self.completions.extend(tickets.into_iter().map(|ticket| Completion { ticket, result: Err(code) }));
    }

    /// Storage cannot be trusted any more: nothing is retried, nothing more is acknowledged.
    fn stop<M>(&mut self, message: &str, effects: &mut Effects<M>) {
        self.failed = true;
        let tickets = self.pending.drain_tickets();
        self.fail(tickets, ErrorCode::StorageFailed);
        effects.push(Effect::Stop { reason: StopReason::StorageFailed { message: message.to_owned() } });
    }

    fn log_place(&self, sequence: Sequence) -> LogPlace {
        LogPlace { generation: self.config.commit.generation, sequence }
    }

    fn path(&self, number: u32) -> String {
        log_file_name(self.config.commit.generation, self.config.commit.log, number)
    }
}

fn resident(residents: &mut [Option<Resident>], slot: Slot) -> &mut Resident {
    residents[slot.0].as_mut().expect("entries of a partition are cut before its slot is freed")
}

fn code_of(refused: Refused) -> ErrorCode {
    match refused {
        Refused::Poisoned => ErrorCode::StorageFailed,
        Refused::Closed => ErrorCode::ShuttingDown,
        Refused::TooLarge { .. } => ErrorCode::MessageTooLarge,
    }
}

#[cfg(test)]
mod tests;
