//! Group commit: gathers appends of all partitions of a shard into groups and moves the durable mark.
//!
//! A group all of whose entries count once written (`flush.messages`, `flush.ms`) is written without a sync; one sync
//! later makes many of them durable. A group behind them that is waited for is made durable by that sync too.
//!
//! With fewer than K groups in flight the gathered one leaves at once; otherwise appends gather until one returns. A
//! mark-only group closes the gap between the mark and the last `durable_upto` on disk when nothing has been going on
//! for a while. Only groups with entries leave a gap that wants closing: a mark-only group is covered by nobody and need
//! not be, so an idle log stays idle after exactly one.

mod config;
mod entry;
mod files;
mod gather;
mod window;
mod write;

use ringmain_wire::batch::HEADER_BYTES;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId};

pub use config::GroupCommitConfig;
pub use entry::{AppendOptions, FlushBound, PartitionChange, Refused};
pub use files::PrepareFile;
pub use write::{GroupWrite, PlacedEntry, SyncLog};

use crate::block::BLOCK_BYTES;
use crate::group::{EntryHead, EntryKind, GroupHeader, Sequence};
use entry::bare_head;
use files::LogFiles;
use gather::{Gather, GatheredGroup};
use window::Window;

/// How far the life of the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    /// The last group was handed out.
    Closed,
    /// Nothing more is written; what was is still to be synced.
    Abandoned,
    Poisoned,
}

/// Plans the writes of one log. Owned by its shard; view: core.
#[derive(Debug)]
pub struct GroupCommit {
    config: GroupCommitConfig,
    phase: Phase,
    gather: Gather,
    window: Window,
    files: LogFiles,
    /// Header CRC of the last group handed out.
    previous_crc: u32,
    /// The newest `durable_upto` handed out.
    mark_written: Sequence,
    /// The last group handed out that has entries.
    entries_upto: Sequence,
    mark_told: Sequence,
    stored_told: Sequence,
    /// Since when a gap has been open and nothing going on, in nanoseconds.
    idle_since_ns: Option<u64>,
}

impl GroupCommit {
    /// A log without files; it asks for the first through [`Self::poll_prepare`].
    ///
    /// # Panics
    /// When the configuration contradicts itself.
    #[must_use]
    pub fn new(config: GroupCommitConfig) -> Self {
        config.assert_consistent();
        Self {
            phase: Phase::Open,
            gather: Gather::new(config.group_bytes_max, config.chunk_bytes),
            window: Window::new(config.groups_in_flight_max),
            files: LogFiles::new(config.first_file_bytes, config.file_bytes, config.log_bytes_max),
            previous_crc: 0,
            mark_written: Sequence::ZERO,
            entries_upto: Sequence::ZERO,
            mark_told: Sequence::ZERO,
            stored_told: Sequence::ZERO,
            idle_since_ns: None,
            config,
        }
    }

    /// Every group up to this one is durable.
    #[must_use]
    pub fn mark(&self) -> Sequence {
        self.window.mark()
    }

    /// Bytes that wait in memory for a write to begin; the owner stops reading from producers when they are too many.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.gather.bytes()
    }

    /// The oldest file that holds a group at or after `needed`, or the file in use when none does: once a
    /// [floor](Self::append_floor) at it is durable, all files before it may be deleted.
    #[must_use]
    pub fn first_file_from(&self, needed: Sequence) -> u32 {
        self.files.first_from(needed)
    }

    /// Bytes of all files of the log: those in use and not yet forgotten, ready, and being prepared.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.files.live_bytes()
    }

    /// Bytes that groups can still take, waiting ones included, before a file must be forgotten. The owner refuses new
    /// batches while there is still room for the entries that let files be forgotten.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        self.files.spare_bytes()
    }

    /// Bytes that groups can still take, waiting ones included, in files that are there: all that is left to them while
    /// the disk has no room for another.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.files.ready_bytes()
    }

    /// Whether a write has failed; see [`Self::handle_failed`].
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.phase == Phase::Poisoned
    }

    /// Whether what waits cannot go before another file is ready.
    #[must_use]
    pub fn waits_for_file(&self) -> bool {
        self.gather.front_bytes().is_some_and(|length| !self.files.has_room(length))
    }

    /// How much of the file that is being prepared had better be there, in bytes; all of it if something waits for it. It
    /// grows twice as fast as the file in use is filled: what writes it is in the way of groups, and so is what waits in
    /// the disk's cache for the next of them.
    #[must_use]
    pub fn prepared_bytes_wanted(&self) -> u64 {
        if self.waits_for_file() { u64::MAX } else { self.files.prepared_bytes_wanted() }
    }

    /// Whether, after [`Self::close`] or [`Self::abandon`], nothing is left to be written or waited for.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        if self.phase == Phase::Abandoned {
            return self.window.is_empty();
        }
        let last_group_done = self.phase == Phase::Closed || !self.files.has_room(BLOCK_BYTES);
        self.is_closing() && last_group_done && self.window.is_empty() && self.gather.front_bytes().is_none()
    }

    /// Takes a record batch and gives the group that it will be durable with.
    ///
    /// Base offset and leader epoch are stamped into the copy that is made; `batch` is not needed afterwards.
    ///
    /// # Errors
    /// When the log takes no such batch, now or ever.
    ///
    /// # Panics
    /// When `batch` is shorter than a batch's header or has no records: the owner has checked it.
    pub fn append_batch(
        &mut self,
        partition: PartitionId,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        records: u32,
        batch: &[u8],
    ) -> Result<Sequence, Refused> {
        let options = AppendOptions::default();
        self.append_batch_with(partition, leader_epoch, base_offset, records, batch, options)
    }

    /// As [`Self::append_batch`], with options.
    ///
    /// # Errors
    /// As [`Self::append_batch`].
    ///
    /// # Panics
    /// As [`Self::append_batch`].
    pub fn append_batch_with(
        &mut self,
        partition: PartitionId,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        records: u32,
        batch: &[u8],
        options: AppendOptions,
    ) -> Result<Sequence, Refused> {
        let head = bare_head(EntryKind::Append, partition, leader_epoch, base_offset);
        self.append_record_batch(EntryHead { records, ..head }, batch, options)
    }

    /// Takes a batch that stands further back in the log, again, under the leader epoch that it has there, and gives the
    /// group that it will be durable with.
    ///
    /// # Errors
    /// When the log takes no such batch, now or ever.
    ///
    /// # Panics
    /// As [`Self::append_batch`].
    pub fn append_carried(
        &mut self,
        partition: PartitionId,
        leader_epoch: LeaderEpoch,
        base_offset: Offset,
        records: u32,
        batch: &[u8],
    ) -> Result<Sequence, Refused> {
        let head = bare_head(EntryKind::Carried, partition, leader_epoch, base_offset);
        self.append_record_batch(EntryHead { records, ..head }, batch, AppendOptions::default())
    }

    /// Takes an encoded [`PartitionState`](crate::state::PartitionState) and gives the group that it will be durable
    /// with. The files that it names are synced by now, with their directory.
    ///
    /// # Errors
    /// When the log takes nothing more, or nothing as large.
    ///
    /// # Panics
    /// When `state` is empty.
    pub fn append_state(
        &mut self,
        partition: PartitionId,
        settled_end: Offset,
        state: &[u8],
    ) -> Result<Sequence, Refused> {
        assert!(!state.is_empty(), "a state has bytes");
        self.append(bare_head(EntryKind::State, partition, LeaderEpoch(0), settled_end), state)
    }

    /// Takes the word that files before number `first_file` are not needed any more, and gives the group that it will be
    /// durable with: not until then may they be deleted.
    ///
    /// # Errors
    /// When the log takes nothing more.
    pub fn append_floor(&mut self, first_file: u32) -> Result<Sequence, Refused> {
        let number = Offset(i64::from(first_file));
        self.append(bare_head(EntryKind::Floor, PartitionId::default(), LeaderEpoch(0), number), &[])
    }

    /// Takes an entry without bytes and gives the group that it will be durable with.
    ///
    /// # Errors
    /// When the log takes nothing more.
    pub fn append_entry(
        &mut self,
        partition: PartitionId,
        change: PartitionChange,
    ) -> Result<Sequence, Refused> {
        let (kind, leader_epoch, offset) = match change {
            PartitionChange::Truncate { offset, leader_epoch } => (EntryKind::Truncate, leader_epoch, offset),
            PartitionChange::LogStart { offset } => (EntryKind::LogStart, LeaderEpoch(0), offset),
            PartitionChange::PartitionDrop => (EntryKind::PartitionDrop, LeaderEpoch(0), Offset::ZERO),
        };
        self.append(bare_head(kind, partition, leader_epoch, offset), &[])
    }

    /// Takes no further entries: what waits is still written, if need be in files beyond the log's limit, then a last
    /// group says that the log was closed in order.
    pub fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            self.files.lift_limit();
        }
    }

    /// Takes no further entries, and gives up those whose write has not begun. What is written is still made durable, but
    /// nothing says that the log was closed in order.
    pub fn abandon(&mut self) {
        if self.phase != Phase::Poisoned {
            self.phase = Phase::Abandoned;
        }
    }

    /// A file asked for by [`Self::poll_prepare`] is zero-written and durable, with its directory entry.
    ///
    /// # Panics
    /// When it was not asked for, is smaller, or is not a whole number of blocks.
    pub fn file_ready(&mut self, number: u32, bytes: u64) {
        self.files.handle_ready(number, bytes);
    }

    /// The write of a group has completed, durably if [that was asked](GroupWrite::durable). Writes may complete in any
    /// order.
    ///
    /// # Panics
    /// When that group is not in flight.
    pub fn handle_written(&mut self, sequence: Sequence) {
        if self.phase != Phase::Poisoned {
            self.window.complete(sequence);
        }
    }

    /// The write of a group has failed. Nothing is retried, and nothing is durable any more that was not before.
    ///
    /// # Panics
    /// When that group is not in flight.
    pub fn handle_failed(&mut self, sequence: Sequence) {
        if self.phase != Phase::Poisoned {
            self.window.assert_in_flight(sequence);
            self.phase = Phase::Poisoned;
        }
    }

    /// The sync under way has completed.
    ///
    /// # Panics
    /// When none is.
    pub fn handle_synced(&mut self) {
        if self.phase != Phase::Poisoned {
            self.window.handle_synced();
        }
    }

    /// The sync under way has failed. It is not tried again, because the next may succeed without having written anything.
    ///
    /// # Panics
    /// When none is under way.
    pub fn handle_sync_failed(&mut self) {
        if self.phase != Phase::Poisoned {
            self.window.assert_syncing();
            self.phase = Phase::Poisoned;
        }
    }

    /// Files before number `first_file` were deleted; those forgotten before do no harm.
    ///
    /// # Panics
    /// When the file in use is among them, or a group in flight lies in one of them.
    pub fn forget_files_before(&mut self, first_file: u32) {
        assert!(self.window.is_behind_file(first_file), "a file was deleted before its groups were durable");
        self.files.forget_before(first_file);
    }

    /// The next file to prepare, each asked for once: the one to begin with, then always one ahead, as long as all
    /// together keep within [`GroupCommitConfig::log_bytes_max`].
    pub fn poll_prepare(&mut self) -> Option<PrepareFile> {
        let waiting_bytes = self.gather.front_bytes();
        let is_needed = match self.phase {
            Phase::Open => true,
            Phase::Closing => waiting_bytes.is_some(),
            Phase::Closed | Phase::Abandoned | Phase::Poisoned => false,
        };
        if is_needed { self.files.poll_prepare(waiting_bytes.unwrap_or(0)) } else { None }
    }

    /// The next write to begin, if there is one and K allows it. To be called until it gives none, after every event.
    pub fn poll_group(&mut self, now_ns: u64) -> Option<GroupWrite> {
        if matches!(self.phase, Phase::Abandoned | Phase::Poisoned) || self.window.is_full() {
            return None;
        }
        if let Some(length) = self.gather.front_bytes() {
            self.idle_since_ns = None;
            if !self.files.has_room(length) {
                return None;
            }
            let group = self.gather.pop_front().expect("a group waits");
            return Some(self.start(group, false, now_ns));
        }
        if !self.window.is_empty() || !self.files.has_room(BLOCK_BYTES) {
            return None;
        }
        let closed = match self.phase {
            Phase::Closing => true,
            Phase::Open if self.has_gap() => {
                let idle_since_ns = *self.idle_since_ns.get_or_insert(now_ns);
                if now_ns < self.mark_due_ns(idle_since_ns) {
                    return None;
                }
                false
            }
            Phase::Open | Phase::Closed | Phase::Abandoned | Phase::Poisoned => return None,
        };
        self.idle_since_ns = None;
        if closed {
            self.phase = Phase::Closed;
        }
        let group = self.gather.mark_only();
        Some(self.start(group, closed, now_ns))
    }

    /// The next sync to begin, if one is wanted. To be called after every event, behind [`Self::poll_group`].
    pub fn poll_sync(&mut self, now_ns: u64) -> Option<SyncLog> {
        if self.phase == Phase::Poisoned {
            return None;
        }
        let is_last =
            self.phase == Phase::Abandoned || self.is_closing() && self.gather.front_bytes().is_none();
        self.window.poll_sync(now_ns, is_last && self.window.is_written())
    }

    /// Up to which group entries may be acknowledged that count once written, if that lies beyond the mark and has moved
    /// since it was last given.
    pub fn poll_stored(&mut self) -> Option<Sequence> {
        let stored = self.window.stored();
        if self.phase == Phase::Poisoned || stored <= self.stored_told.max(self.window.mark()) {
            return None;
        }
        self.stored_told = stored;
        Some(stored)
    }

    /// The mark, if it has moved since it was last given: all that waited for a group up to it may go ahead.
    pub fn poll_durable(&mut self) -> Option<Sequence> {
        let mark = self.window.mark();
        if self.phase == Phase::Poisoned || mark == self.mark_told {
            return None;
        }
        assert!(mark > self.mark_told, "the mark moved back");
        self.mark_told = mark;
        Some(mark)
    }

    /// When [`Self::poll_group`] or [`Self::poll_sync`] has something to do although nothing happened, in nanoseconds of the
    /// owner's clock. To be asked after they gave none.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let possible = self.phase == Phase::Open && self.files.has_room(BLOCK_BYTES);
        let mark = self.idle_since_ns.filter(|_| possible).map(|since_ns| self.mark_due_ns(since_ns));
        let sync = self.window.sync_due_ns().filter(|_| self.phase != Phase::Poisoned);
        [mark, sync].into_iter().flatten().min()
    }

    fn append_record_batch(
        &mut self,
        head: EntryHead,
        batch: &[u8],
        options: AppendOptions,
    ) -> Result<Sequence, Refused> {
        assert!(batch.len() >= HEADER_BYTES && head.records > 0, "not a batch");
        self.append_stamped(head, batch, options)
    }

    fn append(&mut self, head: EntryHead, bytes: &[u8]) -> Result<Sequence, Refused> {
        self.append_stamped(head, bytes, AppendOptions::default())
    }

    fn append_stamped(
        &mut self,
        head: EntryHead,
        bytes: &[u8],
        options: AppendOptions,
    ) -> Result<Sequence, Refused> {
        match self.phase {
            Phase::Open => {}
            Phase::Closing | Phase::Closed | Phase::Abandoned => return Err(Refused::Closed),
            Phase::Poisoned => return Err(Refused::Poisoned),
        }
        let bytes_max = self.config.entry_bytes_max;
        if bytes.len() > bytes_max {
            return Err(Refused::TooLarge { bytes: bytes.len(), bytes_max });
        }
        self.idle_since_ns = None;
        self.gather.append(head, bytes, options);
        Ok(Sequence(self.window.sequence_next().0 + self.gather.closed_groups() as u64))
    }

    /// Completes a group with its header and place and hands it out.
    fn start(&mut self, group: GatheredGroup, closed: bool, now_ns: u64) -> GroupWrite {
        let GatheredGroup { mut bytes, heads, directory_position, directory_crc, durability } = group;
        let sequence = self.window.sequence_next();
        let length = bytes.len();
        let (file, position) = self.files.place(sequence, length);
        let durable = self.window.start((sequence, durability), (file, position, length as u64), now_ns);
        let header = GroupHeader {
            closed,
            generation: self.config.generation,
            log: self.config.log,
            sequence,
            durable_upto: self.window.mark(),
            previous_crc: self.previous_crc,
            length: u32::try_from(length).expect("groups are far below 4 GiB"),
            directory_position,
            directory_crc,
            entries: u32::try_from(heads.len()).expect("groups are far below 4 GiB"),
        };
        self.previous_crc = header.encode(self.config.salt, &mut bytes);
        assert!(header.durable_upto >= self.mark_written, "the mark moved back");
        self.mark_written = header.durable_upto;
        if !heads.is_empty() {
            self.entries_upto = sequence;
        }
        GroupWrite::new(sequence, file, position, durable, bytes, heads)
    }

    /// Whether entries are durable that no header on disk says to be.
    fn has_gap(&self) -> bool {
        self.mark_written < self.entries_upto && self.entries_upto <= self.window.mark()
    }

    fn mark_due_ns(&self, idle_since_ns: u64) -> u64 {
        let delay_ns = u64::try_from(self.config.mark_delay.as_nanos()).unwrap_or(u64::MAX);
        idle_since_ns.saturating_add(delay_ns)
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }
}

#[cfg(test)]
mod tests;
