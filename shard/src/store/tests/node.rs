//! A store on its disk: operations end in an order of the seed's choosing, and it can crash at any time.

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ringmain_wal::commit::{FlushBound, GroupCommitConfig};
use ringmain_wal::group::Generation;
use ringmain_wal::names::{index_file_name, parse_log_file_name, segment_file_name};
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Batches, Codec};
use ringmain_wire::ids::{ProducerEpoch, ProducerId, ProducerSequence, TimestampMs};

use super::disk::Disk;
use super::history::{End, History, Model};
use super::replayed::{LOG, SALT, Served, replay};
use crate::effect::FileId;
use crate::inspection::{Inspected, Inspection, InspectionKind, Unsound};
use crate::store::*;

/// Files of inspections have these bits.
const INSPECTED_FILES: u32 = 7 << 28;

/// Under which an inspection's steps are done.
fn token_of(kind: InspectionKind) -> FileToken {
    FileToken(14 << 60 | kind as u64)
}

fn kind_of(token: FileToken) -> Option<InspectionKind> {
    [InspectionKind::Seal, InspectionKind::Scrub].into_iter().find(|&kind| token == token_of(kind))
}

/// A store with its disk and what it was asked to do.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) store: Store,
    pub(super) disk: Disk,
    pub(super) history: History,
    pub(super) stopped: Option<StopReason>,
    inspections: BTreeMap<InspectionKind, Inspection>,
    /// No operation of an inspection ends.
    pub(super) holds_inspections: bool,
    /// From the next start on.
    pub(super) scrubs: bool,
    /// There is no executor for inspections.
    pub(super) refuses_inspections: bool,
    pub(super) inspections_cancelled: usize,
    /// What people were told.
    pub(super) faults: Vec<StorageFault>,
    generation: Generation,
    served: Served,
    now: Now,
    random: ChaCha8Rng,
    producer_next: i64,
    settle: SettleConfig,
}

/// How far producers' clocks are behind that of the store, in milliseconds.
pub(super) const PRODUCERS_BEHIND_MS: i64 = 3_600_000;

/// The time that a batch appended now is given: partitions of odd number have their records' time from the store.
fn append_time_in(id: PartitionId, now: Now) -> Option<TimestampMs> {
    (id.index.get() % 2 == 1).then_some(now.wall)
}

/// What partitions of number 2 let wait for a sync.
pub(super) const RELAXED: FlushBound = FlushBound { records: 9, within_ns: 20_000_000 };

fn limits_of(id: PartitionId) -> PartitionLimits {
    let flush = (id.index.get() == 2).then_some(RELAXED);
    PartitionLimits { segment_bytes: 30_000, segment_ms: 60_000, flush, ..PartitionLimits::default() }
}

/// Small enough for a few dozen batches to go through several windows and log files.
pub(super) fn settle_config() -> SettleConfig {
    SettleConfig {
        start_bytes: 40 << 10,
        small_tail_bytes: 3_000,
        carried_bytes_max: 64 << 10,
        run_bytes_max: 9_000,
        run_batches_max: 4,
        jobs_max: 2,
        bytes_per_second: 256 << 20,
        bytes_per_byte: 2,
    }
}

pub(super) fn store_config(generation: Generation, settle: &SettleConfig) -> StoreConfig {
    let commit = GroupCommitConfig {
        group_bytes_max: 8 << 10,
        entry_bytes_max: 24 << 10,
        chunk_bytes: 64 << 10,
        groups_in_flight_max: 3,
        first_file_bytes: 16 << 10,
        file_bytes: 32 << 10,
        log_bytes_max: (16 + 8 * 32) << 10,
        ..GroupCommitConfig::new(generation, LOG, SALT)
    };
    StoreConfig {
        commit,
        leader_epoch: LeaderEpoch(generation.0.cast_signed()),
        tail_bytes_max: 192 << 10,
        gathered_bytes_max: 48 << 10,
        settle: settle.clone(),
        upkeep: UpkeepConfig {
            scrub_after: Duration::from_millis(300),
            scrub_every: Some(Duration::from_secs(100_000)),
            ..UpkeepConfig::default()
        },
    }
}

impl Node {
    pub(super) fn new(settle: SettleConfig, seed: u64) -> Self {
        let generation = Generation(1);
        Self {
            store: Store::new(store_config(generation, &settle), Vec::new()),
            disk: Disk::new(),
            history: History::beginning(Model::new()),
            stopped: None,
            inspections: BTreeMap::new(),
            holds_inspections: false,
            scrubs: true,
            refuses_inspections: false,
            inspections_cancelled: 0,
            faults: Vec::new(),
            generation,
            served: Served::new(),
            now: Now { mono: Mono(1), wall: TimestampMs(36_000_000) },
            random: ChaCha8Rng::seed_from_u64(seed),
            producer_next: 1,
            settle,
        }
    }

    /// Appends a batch of its producer's next records. Gives the refusal if there was one.
    pub(super) fn produce(
        &mut self,
        id: PartitionId,
        records: u32,
        value_bytes: usize,
    ) -> Result<(), ErrorCode> {
        let last = self.history.newest().get(&id).and_then(|expected| expected.batches.last());
        let last = last.map(|batch| BatchHeader::parse(batch).unwrap());
        let batch = match last {
            Some(last) => {
                let sequence = last.base_sequence.plus(last.records);
                self.batch(last.producer, sequence, records, value_bytes)
            }
            None => self.first_batch(records, value_bytes),
        };
        self.append(id, batch, (records, value_bytes))
    }

    /// Appends the first batch of a new producer. Gives the refusal if there was one.
    pub(super) fn produce_as_new(&mut self, id: PartitionId) -> Result<(), ErrorCode> {
        let batch = self.first_batch(1, 1);
        self.append(id, batch, (1, 1))
    }

    fn append(
        &mut self,
        id: PartitionId,
        mut batch: Bytes,
        (records, value_bytes): (u32, usize),
    ) -> Result<(), ErrorCode> {
        let epoch = LeaderEpoch(self.generation.0.cast_signed());
        let append_time = append_time_in(id, self.now);
        if self.store.partition(id).is_none() {
            self.store.create(id);
            self.store.set_limits(id, limits_of(id));
        }
        loop {
            let header = BatchHeader::parse(&batch).unwrap();
            let ticket = Ticket(self.history.next() as u64);
            match self.store.produce(id, &header, &batch, append_time, Some(ticket)) {
                ProduceOutcome::Waiting => break,
                ProduceOutcome::Duplicate(appended) => panic!("{header:?} was there: {appended:?}"),
                // A cut may take everything that was remembered.
                ProduceOutcome::Refused(ErrorCode::UnknownProducer) => {
                    batch = self.first_batch(records, value_bytes);
                }
                ProduceOutcome::Refused(code) => {
                    self.turn();
                    return Err(code);
                }
            }
        }
        let operation =
            self.history.push(|model| model.entry(id).or_default().append(&batch, epoch, append_time));
        if limits_of(id).flush.is_some() {
            self.history.note_relaxed(operation, records);
        }
        self.turn();
        Ok(())
    }

    /// Cuts a partition where the batch begins that holds `offset`, or at the log start if that lies above.
    pub(super) fn truncate(&mut self, id: PartitionId, offset: Offset) {
        let Some(partition) = self.store.partition(id) else { return };
        let expected = self.history.newest().get(&id);
        let within =
            expected.map_or(Offset::ZERO, |expected| expected.batch_start(offset)).max(partition.log_start());
        let cut = if offset <= partition.log_start() { partition.log_start() } else { within };
        if let Some(found) = partition.cut_at(offset) {
            assert_eq!(found, cut, "{id} at {offset}");
        }
        let ticket = Ticket(self.history.next() as u64);
        let mut effects: Effects<()> = Vec::new();
        self.store.truncate(id, cut, Some(ticket), &mut effects).unwrap();
        self.history.push(|model| model.entry(id).or_default().truncate(cut));
        self.carry(effects);
        self.turn();
    }

    /// Moves the log start of a partition to `offset` if that is shown.
    pub(super) fn move_log_start(&mut self, id: PartitionId, offset: Offset) {
        let ticket = Ticket(self.history.next() as u64);
        if self.store.move_log_start(id, offset, Some(ticket)).is_ok() {
            self.history.push(|model| {
                let expected = model.entry(id).or_default();
                expected.log_start = expected.log_start.max(offset);
            });
        }
        self.turn();
    }

    /// The same, and nobody waits for it.
    pub(super) fn let_go(&mut self, id: PartitionId, offset: Offset) {
        self.store.move_log_start(id, offset, None).unwrap();
        self.history.push(|model| {
            let expected = model.entry(id).or_default();
            expected.log_start = expected.log_start.max(offset);
        });
        self.turn();
    }

    pub(super) fn remove(&mut self, id: PartitionId) {
        let mut effects: Effects<()> = Vec::new();
        self.store.remove(id, &mut effects);
        self.history.push(|model| {
            model.remove(&id);
        });
        self.carry(effects);
        self.turn();
    }

    /// Ends any one operation. False if there is none.
    pub(super) fn step(&mut self) -> bool {
        let is_held = |token| self.holds_inspections && kind_of(token).is_some();
        let under_way = self.disk.under_way().iter().enumerate();
        let free: Vec<usize> =
            under_way.filter(|(_, (token, _))| !is_held(*token)).map(|(place, _)| place).collect();
        if !free.is_empty() {
            let place = free[self.random.next_u64() as usize % free.len()];
            self.complete(place);
        }
        !free.is_empty()
    }

    /// Ends the operation in this place.
    pub(super) fn complete(&mut self, place: usize) {
        let (token, result) = self.disk.complete(place);
        self.end(token, result);
    }

    /// Ends the operation in this place as a failing device does.
    pub(super) fn fail(&mut self, place: usize, error: FileError) {
        let (token, result) = self.disk.fail(place, error);
        self.end(token, result);
    }

    /// Goes on until nothing is left to be done, or to be waited for, before `seconds` have passed.
    pub(super) fn rest(&mut self, seconds: u64) {
        let until = Mono(self.now.mono.0 + seconds * 1_000_000_000);
        for _ in 0..5_000 {
            if self.step() {
                continue;
            }
            let Some(due) = self.store.deadline().filter(|due| *due <= until) else { return };
            self.now.mono = self.now.mono.max(due);
            self.turn();
        }
        let needed: Vec<_> =
            self.store.partitions().map(|partition| (partition.id(), partition.needed_place())).collect();
        panic!("never rests: {:?}, {needed:?}", self.store.counters());
    }

    /// Lets milliseconds pass.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now.mono = Mono(self.now.mono.0 + milliseconds * 1_000_000);
        self.now.wall = TimestampMs(self.now.wall.get() + milliseconds as i64);
        self.turn();
    }

    /// What a start would find now if power were lost is what was acknowledged, and more of what was asked for at most.
    pub(super) fn check_crash(&self) {
        let mut disk = self.disk.clone();
        disk.lose_power();
        let recovered = replay(&disk, &mut self.served.clone());
        let _ = self.history.agreed(&disk, &recovered, self.generation, End::PowerLost);
    }

    /// Crashes and starts anew on what is found.
    pub(super) fn crash(&mut self, loses_power: bool) {
        let end = if loses_power { End::PowerLost } else { End::Killed };
        match end {
            End::PowerLost => self.disk.lose_power(),
            End::Killed => self.disk.kill(),
        }
        let mut recovered = replay(&self.disk, &mut self.served);
        self.disk.sync_logs();
        let model = self.history.agreed(&self.disk, &recovered, self.generation, end);
        let found: Vec<_> = model.keys().map(|&id| recovered.take(id, LeaderEpoch(0))).collect();
        let named: BTreeSet<String> = found
            .iter()
            .flat_map(|partition| {
                let extents = partition.segments().extents().iter();
                let names = [segment_file_name, index_file_name];
                extents.flat_map(move |extent| names.map(|name| name(partition.id(), extent.base)))
            })
            .collect();
        self.disk.retain(|path| path.starts_with(LOG_DIRECTORY) || named.contains(path));
        self.history = History::beginning(model);
        self.generation = Generation(self.generation.0 + 1);
        let mut config = store_config(self.generation, &self.settle);
        config.upkeep.scrub_every = config.upkeep.scrub_every.filter(|_| self.scrubs);
        self.store = Store::new(config, found);
        for id in self.store.partitions().map(Partition::id).collect::<Vec<_>>() {
            self.store.set_limits(id, limits_of(id));
        }
        self.stopped = None;
        self.inspections.clear();
        self.turn();
    }

    /// Everything that was asked for is there, for readers and for the next start, and people were told of nothing.
    pub(super) fn check_at_rest(&mut self) {
        assert_eq!(self.faults, []);
        self.check_crash();
        let charged: usize = self.store.partitions().map(|partition| partition.tail().charged_bytes()).sum();
        assert_eq!(self.store.tail_bytes(), charged);
        for (id, expected) in self.history.newest().clone() {
            let partition = self.store.partition(id).unwrap();
            assert_eq!((partition.high_watermark(), partition.end()), (expected.end, expected.end));
            assert_eq!(expected.difference(&self.disk, partition), None, "{id}");
            let shown: Vec<_> = expected.shown().cloned().collect();
            assert_eq!(self.read(id).concat(), shown.concat(), "{id}");
        }
    }

    /// Everything readers get of a partition.
    pub(super) fn read(&mut self, id: PartitionId) -> Vec<Bytes> {
        let mut found = Vec::new();
        let partition = self.store.partition(id).unwrap();
        let (mut offset, end) = (partition.log_start(), partition.end());
        while offset < end {
            let before = found.len();
            match self.store.read(id, offset, 5_000, true, &mut found).unwrap() {
                Read::Given(bytes) => assert!(bytes > 0, "{id}: nothing at {offset}"),
                Read::InSegment => found.push(self.read_segment(id, offset)),
            }
            for bytes in &found[before..] {
                let last = Batches::new(bytes).last().expect("a batch was read").unwrap();
                assert!(last.0.next_offset() > offset, "{id}: nothing new at {offset}");
                offset = last.0.next_offset();
            }
        }
        found
    }

    /// The first record that is not older than `timestamp`, and its time.
    pub(super) fn find_time(
        &mut self,
        id: PartitionId,
        timestamp: TimestampMs,
    ) -> Option<(Offset, TimestampMs)> {
        let mut behind = None;
        loop {
            let wanted = TimeWanted { timestamp, behind, decompressed_bytes_max: 1 << 20 };
            let mut effects: Effects<()> = Vec::new();
            let is_asked = self.store.find_timestamp_in_segment(Ticket(0), id, wanted, &mut effects).unwrap();
            if !is_asked {
                return self.store.partition(id).unwrap().find_timestamp(timestamp, 1 << 20);
            }
            self.carry(effects);
            let ReadCompletion { base, result, .. } = self.read_done();
            let Ok(Found::Time(found)) = result else { panic!("{id} from {timestamp}: {result:?}") };
            if found.is_some() {
                return found;
            }
            behind = Some(base);
        }
    }

    /// The time it is.
    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// Log files of the generation that serves.
    pub(super) fn log_files(&self) -> Vec<u32> {
        let names = self.disk.paths().filter_map(parse_log_file_name);
        names.filter(|(generation, ..)| *generation == self.generation).map(|(.., number)| number).collect()
    }

    /// A random number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random.next_u64() as usize % bound
    }

    fn read_segment(&mut self, id: PartitionId, offset: Offset) -> Bytes {
        match self.find_in_segment(id, offset) {
            Ok(Found::Batches(bytes)) => bytes,
            other => panic!("{id} at {offset}: {other:?}"),
        }
    }

    /// What comes of a read from a segment.
    pub(super) fn find_in_segment(&mut self, id: PartitionId, offset: Offset) -> Result<Found, ErrorCode> {
        self.ask_segment(id, offset);
        self.read_done().result
    }

    /// Begins a read from a segment.
    pub(super) fn ask_segment(&mut self, id: PartitionId, offset: Offset) {
        let mut effects: Effects<()> = Vec::new();
        self.store.read_segment(Ticket(0), id, offset, 5_000, &mut effects).unwrap();
        self.carry(effects);
    }

    /// The end of a read.
    pub(super) fn read_done(&mut self) -> ReadCompletion {
        loop {
            if let Some(done) = self.store.poll_read() {
                return done;
            }
            assert!(self.step(), "a read ends");
        }
    }

    fn first_batch(&mut self, records: u32, value_bytes: usize) -> Bytes {
        self.producer_next += 1;
        self.batch(ProducerId(self.producer_next), ProducerSequence(0), records, value_bytes)
    }

    fn batch(
        &mut self,
        producer: ProducerId,
        sequence: ProducerSequence,
        records: u32,
        value_bytes: usize,
    ) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..records {
            let value = vec![self.random.next_u64() as u8; value_bytes];
            // Of a clock that is an hour behind.
            let sent_at = TimestampMs(self.now.wall.get() - PRODUCERS_BEHIND_MS);
            builder.append(sent_at, None, Some(&value), &[]);
        }
        builder.set_producer(producer, ProducerEpoch(0), sequence);
        builder.finish().unwrap()
    }

    fn end(&mut self, token: FileToken, result: Result<FileOutcome, FileError>) {
        if let Some(kind) = kind_of(token) {
            self.inspections.get_mut(&kind).expect("a step belongs to an inspection").handle(result);
            self.inspect_on(kind);
        } else {
            let mut effects: Effects<()> = Vec::new();
            self.store.handle_file(self.now, token, result, &mut effects);
            self.carry(effects);
        }
        self.turn();
    }

    /// The next step of an inspection, or its end.
    fn inspect_on(&mut self, kind: InspectionKind) {
        let inspection = self.inspections.get_mut(&kind).expect("it was begun");
        if let Some(operation) = inspection.poll() {
            self.disk.start(token_of(kind), operation);
        } else if let Some(inspection) = self.inspections.remove(&kind) {
            let inspected = inspection.finish();
            let is_called_damaged = matches!(inspected.result, Err(Unsound::Damaged { .. }));
            assert!(!is_called_damaged || self.disk.has_rotted, "{inspected:?}");
            self.store.handle_inspected(self.now, inspected);
        }
    }

    fn turn(&mut self) {
        let mut effects: Effects<()> = Vec::new();
        self.store.finish_turn(self.now, &mut effects);
        self.carry(effects);
        while let Some(Completion { ticket, result }) = self.store.poll_completion() {
            match result {
                Ok(_) => self.history.handle_acknowledged(ticket.0 as usize),
                Err(ErrorCode::NotLeader | ErrorCode::UnknownTopicOrPartition) => {}
                Err(ErrorCode::DiskFull) if self.store.abandoned => {}
                Err(code) => assert!(self.stopped.is_some(), "{code:?}"),
            }
        }
        let faults = core::iter::from_fn(|| self.store.poll_fault());
        // An index file may be written in part, and is made again.
        self.faults.extend(faults.filter(|fault| !fault.path.ends_with(".index")));
        let served_from = self.generation;
        if !self.store.rests_on_former_logs() {
            let is_needed = |path: &str| {
                parse_log_file_name(path).is_none_or(|(generation, ..)| generation >= served_from)
            };
            self.disk.retain(is_needed);
        }
    }

    fn carry(&mut self, effects: Effects<()>) {
        for effect in effects {
            match effect {
                Effect::File { token, operation } => self.disk.start(token, operation),
                Effect::Stop { reason } => self.stopped = Some(reason),
                Effect::Inspect { request } if self.refuses_inspections => {
                    let inspected = Inspected { request, result: Err(Unsound::Unavailable) };
                    self.store.handle_inspected(self.now, inspected);
                }
                Effect::Inspect { request } => {
                    let kind = request.kind;
                    let file = FileId(INSPECTED_FILES | request.kind as u32);
                    self.inspections.insert(kind, Inspection::new(request, file));
                    self.inspect_on(kind);
                }
                Effect::CancelInspection { kind } => {
                    self.inspections_cancelled += 1;
                    if let Some(inspection) = self.inspections.get_mut(&kind) {
                        inspection.cancel();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
