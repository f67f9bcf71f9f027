//! The partitions of one shard and the log they share: appends in, durable marks out.
//!
//! Owned by its shard; view: core. The [`GroupCommit`] planner says what to write and when; the store carries that to
//! effects, and what becomes durable back to partitions and to whoever waits.

mod files;
mod outcome;
mod pending;
mod token;

use std::collections::{BTreeMap, VecDeque};

use ringmain_wal::commit::{GroupCommit, GroupCommitConfig, GroupWrite, PartitionChange, Refused};
use ringmain_wal::group::{EntryKind, Sequence};
use ringmain_wal::names::log_file_name;
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId};
use ringmain_wire::native::errors::ErrorCode;

use crate::effect::{Effect, Effects, FileId, FileOperation, FileToken, StopReason, WriteSync};
use crate::event::{FileError, FileOutcome};
use crate::partition::{Admission, Partition};
use crate::time::{Mono, Now};

pub use outcome::{Appended, Completion, ProduceOutcome};

use files::Preparation;
use pending::{Pending, PendingEntry, PendingKind};
use token::StoreToken;

/// Where log files live, relative to the data directory.
pub const LOG_DIRECTORY: &str = "logs";

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
}

/// Counts since the start, for tests and figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Batches appended.
    pub batches: u64,
    /// Bytes of these batches.
    pub batch_bytes: u64,
    /// Batches recognised as sent before.
    pub duplicates: u64,
    /// Log groups written.
    pub groups: u64,
    /// Bytes of these groups.
    pub group_bytes: u64,
}

/// Index of a partition in the store; reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(usize);

#[derive(Debug)]
struct Resident {
    partition: Partition,
    /// Fetches to be told when the high watermark moves.
    watchers: Vec<Ticket>,
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
    /// Groups being written and their file, for closing files behind the mark.
    writing: VecDeque<(Sequence, u32)>,
    tail_bytes: usize,
    completions: VecDeque<Completion>,
    woken: Vec<Ticket>,
    counters: StoreCounters,
    ready: bool,
    failed: bool,
    /// What had no room on the disk was given up.
    abandoned: bool,
}

impl Store {
    /// A store over what recovery found; its log is a new one.
    pub fn new(config: StoreConfig, recovered: Vec<Partition>) -> Self {
        let mut store = Self {
            commit: GroupCommit::new(config.commit.clone()),
            preparation: Preparation::new(),
            file_oldest: 0,
            residents: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            pending: Pending::default(),
            writing: VecDeque::new(),
            tail_bytes: 0,
            completions: VecDeque::new(),
            woken: Vec::new(),
            counters: StoreCounters::default(),
            ready: false,
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
        self.failed || self.commit.is_drained() || self.abandoned && self.writing.is_empty()
    }

    /// When [`finish_turn`](Self::finish_turn) is wanted next if nothing happens before.
    pub fn deadline(&self) -> Option<Mono> {
        let mark = self.commit.deadline_ns().map(Mono);
        [mark, self.preparation.deadline()].into_iter().flatten().min()
    }

    /// Adds an empty partition; one that exists stays as it is.
    pub fn create(&mut self, id: PartitionId) {
        if !self.slots.contains_key(&id) {
            self.insert(Partition::new(id, self.config.leader_epoch));
        }
    }

    /// Forgets a partition. Whoever waits for it is told that it is unknown. The log is told too, so that replay can
    /// forget it; what is in the log already means nothing any more, because its topic id never comes back.
    pub fn remove(&mut self, id: PartitionId) {
        let Some(slot) = self.slots.remove(&id) else { return };
        let tickets = self.pending.cut(slot, None);
        if let Ok(sequence) = self.commit.append_entry(id, PartitionChange::PartitionDrop) {
            self.pending.push_void(sequence, slot);
        }
        self.fail(tickets, ErrorCode::UnknownTopicOrPartition);
        if let Some(resident) = self.residents[slot.0].take() {
            self.tail_bytes -= resident.partition.tail().charged_bytes();
            self.woken.extend(resident.watchers);
        }
        self.free.push(slot);
    }

    /// Appends a batch that passed [`check_produced`](ringmain_wire::batch::check_produced); `header` is its header.
    pub fn produce(
        &mut self,
        id: PartitionId,
        header: &BatchHeader,
        batch: &[u8],
        ticket: Option<Ticket>,
    ) -> ProduceOutcome {
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
            return ProduceOutcome::Refused(code);
        }
        match self.commit.append_batch(id, leader_epoch, base_offset, header.records, batch) {
            Ok(sequence) => {
                let partition = &mut resident(&mut self.residents, slot).partition;
                partition.appended(header);
                let next_offset = partition.end();
                self.pending.push(sequence, slot, PendingKind::Append { base_offset, next_offset, ticket });
                self.counters.batches += 1;
                self.counters.batch_bytes += batch.len() as u64;
                ProduceOutcome::Waiting
            }
            Err(refused) => ProduceOutcome::Refused(code_of(refused)),
        }
    }

    /// Drops the suffix of a partition from `offset` on, or from the start of the batch that holds it. The entry is in
    /// the log before anything that is appended afterwards.
    ///
    /// # Errors
    /// When the partition is unknown or the log takes no more.
    pub fn truncate(
        &mut self,
        id: PartitionId,
        offset: Offset,
        ticket: Option<Ticket>,
    ) -> Result<Offset, ErrorCode> {
        let slot = *self.slots.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = &mut resident(&mut self.residents, slot).partition;
        let end = partition.cut_at(offset);
        let change = PartitionChange::Truncate { offset: end, leader_epoch: partition.leader_epoch() };
        let sequence = self.commit.append_entry(id, change).map_err(code_of)?;
        let charged = partition.tail().charged_bytes();
        partition.truncate(end);
        self.tail_bytes -= charged - partition.tail().charged_bytes();
        let tickets = self.pending.cut(slot, Some(end));
        self.pending.push(sequence, slot, PendingKind::Truncate { end, ticket });
        self.fail(tickets, ErrorCode::NotLeader);
        self.wake_watchers(slot);
        Ok(end)
    }

    /// Lets the records below `offset` go once that is durable.
    ///
    /// # Errors
    /// When the partition is unknown, `offset` lies above its high watermark, or the log takes no more.
    pub fn move_log_start(
        &mut self,
        id: PartitionId,
        offset: Offset,
        ticket: Option<Ticket>,
    ) -> Result<(), ErrorCode> {
        let slot = *self.slots.get(&id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = &resident(&mut self.residents, slot).partition;
        if offset > partition.high_watermark() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let sequence = self.commit.append_entry(id, PartitionChange::LogStart { offset }).map_err(code_of)?;
        self.pending.push(sequence, slot, PendingKind::LogStart { offset, ticket });
        Ok(())
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

    /// Tells whoever waits for room on a full disk that there will be none: it was not stored, or may have been.
    pub fn abandon(&mut self) {
        if self.preparation.is_disk_full() {
            self.abandoned = true;
            let tickets = self.pending.drain_tickets();
            self.fail(tickets, ErrorCode::DiskFull);
        }
    }

    /// Takes no more entries; what is in the log is still written.
    pub fn close(&mut self) {
        self.commit.close();
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
                while let Some(mark) = self.commit.poll_durable() {
                    self.handle_durable(mark, effects);
                }
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
                    Ok(None) => {}
                    Err(error) => self.stop(&format!("preparing {path} failed: {error}"), effects),
                }
            }
            (StoreToken::Tidy, Ok(_)) => {}
            (StoreToken::Tidy, Err(error)) => {
                self.stop(&format!("closing a log file failed: {error}"), effects);
            }
        }
    }

    /// Lets gathered groups go and prepares files.
    pub fn finish_turn<M>(&mut self, now: Now, effects: &mut Effects<M>) {
        if self.failed || self.abandoned {
            return;
        }
        self.preparation.handle_time(now.mono, effects);
        if let Some(file) = self.commit.poll_prepare() {
            let path = self.path(file.number);
            self.preparation.start(file, path, effects);
        }
        while let Some(group) = self.commit.poll_group(now.mono.0) {
            self.start_group(group, effects);
        }
    }

    /// The next wait that has ended.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// A watcher whose partition has moved.
    pub fn poll_woken(&mut self) -> Option<Ticket> {
        self.woken.pop()
    }

    fn insert(&mut self, partition: Partition) {
        let id = partition.id();
        let resident = Some(Resident { partition, watchers: Vec::new() });
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

    /// Why no batch of `bytes` can be taken now. Memory never refuses a change of metadata: deleting topics gives it back.
    fn pressure(&self, id: PartitionId, bytes: usize) -> Option<ErrorCode> {
        if self.preparation.is_disk_full() {
            return Some(ErrorCode::DiskFull);
        }
        let gathered = self.commit.gathered_bytes() + bytes;
        let held = self.tail_bytes + gathered;
        let over = gathered > self.config.gathered_bytes_max || held > self.config.tail_bytes_max;
        (over && id != PartitionId::METADATA).then_some(ErrorCode::OverBudget)
    }

    fn start_group<M>(&mut self, group: GroupWrite, effects: &mut Effects<M>) {
        let entries = self.pending.entries(group.sequence);
        assert_eq!(
            entries.len(),
            group.entries.len(),
            "entries of group {} and those waiting differ",
            group.sequence
        );
        let appends = group.entries.iter().filter(|entry| entry.head.kind == EntryKind::Append).count();
        let charge = group.bytes.len().checked_div(appends).unwrap_or(0);
        for (entry, placed) in entries.iter().zip(group.entries) {
            if let (PendingKind::Append { .. }, false) = (entry.kind, entry.cut) {
                resident(&mut self.residents, entry.slot).partition.frozen(placed.bytes, charge);
                self.tail_bytes += charge;
            }
        }
        self.counters.groups += 1;
        self.counters.group_bytes += group.bytes.len() as u64;
        self.writing.push_back((group.sequence, group.file));
        let operation = FileOperation::Write {
            file: FileId(group.file),
            position: group.position,
            bytes: group.bytes,
            sync: WriteSync::Durable,
        };
        effects.push(Effect::File { token: StoreToken::Group(group.sequence).encode(), operation });
    }

    /// Everything up to group `mark` is on stable storage: partitions show it, and whoever waited is answered.
    fn handle_durable<M>(&mut self, mark: Sequence, effects: &mut Effects<M>) {
        while let Some(group) = self.pending.pop_durable(mark) {
            for entry in group.entries.iter().filter(|entry| !entry.cut) {
                self.apply_durable(entry, false);
            }
            for entry in &group.duplicates {
                self.apply_durable(entry, true);
            }
        }
        while let Some(&(sequence, file)) = self.writing.front()
            && sequence <= mark
        {
            self.writing.pop_front();
            // Marks advance in order, so nothing is under way on the files before this one.
            for old in core::mem::replace(&mut self.file_oldest, file)..file {
                let operation = FileOperation::Close { file: FileId(old) };
                effects.push(Effect::File { token: StoreToken::Tidy.encode(), operation });
            }
        }
    }

    fn apply_durable(&mut self, entry: &PendingEntry, duplicate: bool) {
        let partition = &mut resident(&mut self.residents, entry.slot).partition;
        let (ticket, base_offset, moved) = match entry.kind {
            PendingKind::Append { base_offset, next_offset, ticket } => {
                (ticket, base_offset, partition.advance(next_offset))
            }
            PendingKind::Truncate { end, ticket } => (ticket, end, false),
            PendingKind::LogStart { offset, ticket } => {
                let charged = partition.tail().charged_bytes();
                partition.move_log_start(offset);
                self.tail_bytes -= charged - partition.tail().charged_bytes();
                (ticket, offset, true)
            }
        };
        if let Some(ticket) = ticket {
            let appended = Appended { base_offset, log_start: partition.log_start(), duplicate };
            self.completions.push_back(Completion { ticket, result: Ok(appended) });
        }
        if moved {
            self.wake_watchers(entry.slot);
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
