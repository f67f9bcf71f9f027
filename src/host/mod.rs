//! What one shard of a broker does with connections, requests and mail: logic without IO.
//!
//! Must never import: sockets, files, clocks, randomness, threads. [`ShardHost`] is a
//! [`Host`]; the ring drives it in production, the simulator in tests.
//!
//! Reading order: `connection` (bytes to frames), `dispatch` (frames to requests), `produce` and `fetch` (the data path),
//! `catalog` and `controller` (topics), `lifecycle` (stopping).

pub mod catalog;
pub mod config;
pub mod connection;
pub mod controller;
pub mod mail;
pub mod placement;

mod change;
mod dispatch;
mod faults;
mod fetch;
mod former_logs;
mod frame_room;
mod lending;
mod lifecycle;
mod list_offsets;
mod metadata;
mod patience;
mod peers;
mod produce;
mod producer_ids;
mod requests;
mod segment_reads;
mod stats;
mod truncation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::{ConnectionId, Event, Received};
use ringmain_shard::host::Host;
use ringmain_shard::partition::Partition;
use ringmain_shard::store::{Completion, Store, StoreConfig};
use ringmain_shard::time::{Mono, Now};
use ringmain_wire::ids::{LeaderEpoch, NodeId, Offset, PartitionId, ShardId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame;
use ringmain_wire::native::messages::ShardEndpoint;

use catalog::Catalog;
use connection::{AnswerKey, Connection, Segment};
use controller::Controller;
use faults::Faults;
use former_logs::FormerLogRemoval;
pub use former_logs::FormerLogs;
use frame_room::FrameRoom;
pub use lending::LENT_BYTES_MAX_DEFAULT;
use lending::Lending;
use lifecycle::Life;
use mail::Mail;
use patience::Patience;
use peers::{Asking, Peers};
use producer_ids::ProducerIds;
use requests::{Requests, Waiting};
pub use truncation::Truncated;

/// Who this shard is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Names the cluster for ever.
    pub cluster_id: [u8; 16],
    /// The node.
    pub node: NodeId,
    /// This shard of it.
    pub shard: ShardId,
    /// How many shards it has.
    pub shards: u16,
    /// Where each listens.
    pub endpoints: Vec<ShardEndpoint>,
    /// Largest frame accepted, in bytes.
    pub frame_bytes_max: u32,
    /// Distinguishes this start of the node from all others; topic ids follow from it.
    pub seed: u64,
}

/// Everything that a shard starts with.
#[derive(Debug)]
pub struct HostConfig {
    /// Who it is.
    pub identity: Identity,
    /// How its store is run.
    pub store: StoreConfig,
    /// Bytes of its memory that may be in answers which clients have not taken, and one batch.
    pub lent_bytes_max: usize,
    /// The topics, as the metadata log holds them.
    pub catalog: Catalog,
    /// Its partitions, as recovery found them: all that the catalog gives it, and for shard 0 the metadata log.
    pub partitions: Vec<Partition>,
    /// Partitions of the whole node that were found damaged.
    pub damaged: BTreeSet<PartitionId>,
    /// Logs of former starts, for shard 0.
    pub former_logs: Option<FormerLogs>,
}

/// One shard of a broker.
#[derive(Debug)]
pub struct ShardHost {
    identity: Identity,
    store: Store,
    catalog: Catalog,
    damaged: BTreeSet<PartitionId>,
    leader_epoch: LeaderEpoch,
    /// On shard 0.
    controller: Option<Controller>,
    connections: BTreeMap<ConnectionId, Connection>,
    requests: Requests,
    peers: Peers,
    producer_ids: ProducerIds,
    frame_room: FrameRoom,
    lending: Lending,
    patience: Patience,
    faults: Faults,
    life: Life,
    /// On shard 0.
    former_logs: Option<FormerLogRemoval>,
    /// Shard 0 knows that nothing here rests on logs of former starts.
    told_former_logs: bool,
    truncated: VecDeque<Truncated>,
    /// Connections that may have something to start.
    touched: Vec<ConnectionId>,
    /// Connections whose next frame no longer waits.
    resumed: Vec<ConnectionId>,
}

impl ShardHost {
    /// A shard that serves as soon as its log is ready; see [`is_ready`](Self::is_ready).
    pub fn new(config: HostConfig) -> Self {
        let topics: Vec<TopicId> = config.catalog.topics().map(|topic| topic.id).collect();
        let mut host = Self::of(config);
        topics.into_iter().for_each(|topic| host.set_limits(topic));
        host
    }

    fn of(config: HostConfig) -> Self {
        let HostConfig { identity, store, lent_bytes_max, catalog, partitions, damaged, former_logs } =
            config;
        let is_first = identity.shard == ShardId(0);
        Self {
            leader_epoch: store.leader_epoch,
            store: Store::new(store, partitions),
            catalog,
            damaged,
            controller: is_first.then(|| Controller::new(identity.seed)),
            connections: BTreeMap::new(),
            requests: Requests::default(),
            peers: Peers::new(identity.shards),
            producer_ids: ProducerIds::default(),
            frame_room: FrameRoom::new(identity.frame_bytes_max),
            lending: Lending::within(lent_bytes_max),
            patience: Patience::default(),
            faults: Faults::default(),
            life: Life::Serving,
            former_logs: former_logs.map(|logs| FormerLogRemoval::new(logs, identity.shards)),
            told_former_logs: false,
            truncated: VecDeque::new(),
            touched: Vec::new(),
            resumed: Vec::new(),
            identity,
        }
    }

    /// Whether records can be appended: the first log file is there.
    pub fn is_ready(&self) -> bool {
        self.store.is_ready()
    }

    /// Its partitions and log, for tests and figures.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Faults of the disk met since the start: damage found, reads that failed.
    pub fn storage_faults(&self) -> u64 {
        self.faults.met()
    }

    /// Its topics.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How many shares of fetches have had to wait for memory that others had not given back.
    pub fn fetches_held_back(&self) -> u64 {
        self.lending.waits()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Lets the records of a partition of this shard below `offset` go.
    ///
    /// # Errors
    /// See [`Store::move_log_start`].
    pub fn move_log_start(&mut self, partition: PartitionId, offset: Offset) -> Result<(), ErrorCode> {
        self.store.move_log_start(partition, offset, None)
    }

    fn handle_mail(&mut self, now: Now, from: ShardId, mail: Mail, effects: &mut Effects<Mail>) {
        match mail {
            Mail::Produce { request, part, partition, batch } => {
                let asker = requests::Asker { shard: from, request, part };
                self.produce_for(now, asker, partition, &batch, effects);
            }
            Mail::Produced { request, part, result } => {
                self.handle_peer_answered(from, Asking::Request);
                self.handle_produced(request, usize::from(part), result);
            }
            Mail::Fetch { request, parts, bytes_min, bytes_max, deadline } => {
                let here =
                    requests::FetchHere { shard: from, request, parts, bytes_min, bytes_max, deadline };
                self.fetch_here(now.mono, here, effects);
            }
            Mail::FetchCancel { request } => self.cancel_fetch_here(from, request, effects),
            Mail::Fetched { request, parts } => self.handle_fetched(from, request, parts, effects),
            Mail::Release { segments } => self.lending.give_back(segments.iter().map(Bytes::len).sum()),
            Mail::ListOffset { request, part, partition, timestamp } => {
                let asker = requests::Asker { shard: from, request, part };
                self.list_offset_here(asker, partition, timestamp, effects);
            }
            Mail::ListedOffset { request, part, listed } => {
                self.handle_peer_answered(from, Asking::Request);
                self.handle_listed_offset(request, usize::from(part), listed);
            }
            Mail::AskStats { request } => {
                let mail = Mail::Stats { request, stats: self.stats_here() };
                effects.push(Effect::Mail { to: from, mail });
            }
            Mail::Stats { request, stats } => {
                self.handle_peer_answered(from, Asking::Request);
                self.handle_stats(request, stats);
            }
            Mail::Command { request, command } => {
                self.handle_command(controller::Origin { shard: from, request }, command);
            }
            Mail::Decided { request, decision } => {
                self.handle_peer_answered(from, Asking::Request);
                self.handle_decided(request, decision, effects);
            }
            Mail::Apply { change } => {
                self.apply(&change, effects);
                effects.push(Effect::Mail { to: from, mail: Mail::Applied });
            }
            Mail::Applied => self.handle_applied(effects),
            Mail::FormerLogsSettled => self.handle_shard_settled(effects),
            Mail::Drained => self.peers.handle_drained(from),
        }
    }

    /// Carries on what the store has completed.
    fn handle_store(&mut self, now: Mono, effects: &mut Effects<Mail>) {
        while let Some(Completion { ticket, result }) = self.store.poll_completion() {
            let (request, part) = requests::of_ticket(ticket);
            match self.requests.get_mut(request) {
                Some(Waiting::Produce { .. }) => {
                    self.handle_produced(request, part, result.map_err(Into::into));
                }
                Some(&mut Waiting::ProduceFor { shard, request: theirs, part }) => {
                    self.requests.remove(request);
                    let mail = Mail::Produced { request: theirs, part, result: result.map_err(Into::into) };
                    effects.push(Effect::Mail { to: shard, mail });
                }
                Some(Waiting::Change) => {
                    self.requests.remove(request);
                    self.handle_change_logged(result, effects);
                }
                other => unreachable!("the store completed what did not wait for it: {other:?}"),
            }
        }
        while let Some(ticket) = self.store.poll_woken() {
            let (request, _) = requests::of_ticket(ticket);
            self.retry_fetch_here(request, effects);
        }
        while let Some(read) = self.store.poll_read() {
            self.handle_segment_read(read, effects);
        }
        while let Some(fault) = self.store.poll_fault() {
            if let Some(telling) = self.faults.handle(now, fault) {
                telling.tell();
            }
        }
        self.faults.note_room(self.identity.shard, self.store.is_disk_full());
        self.poll_former_logs(effects);
    }

    fn handle_sent(&mut self, id: ConnectionId, segments: Vec<Bytes>, effects: &mut Effects<Mail>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let owners = connection.handle_sent();
        self.release(owners.into_iter().zip(segments), effects);
        self.resumed.push(id);
    }

    fn handle_closed(&mut self, id: ConnectionId, unsent: Vec<Bytes>, effects: &mut Effects<Mail>) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.frame_room.give_back(id);
        let owners = connection.handle_sent();
        let queued: Vec<_> =
            connection.unsent_answers().map(|segment| (segment.owner, segment.bytes)).collect();
        let fetch = connection.fetch();
        self.release(owners.into_iter().zip(unsent).chain(queued), effects);
        if let Some(fetch) = fetch {
            self.give_up_fetch(fetch, effects);
        }
    }

    /// Gives memory back to the shards that own it. What was made for an answer is simply dropped.
    fn release(
        &mut self,
        segments: impl Iterator<Item = (Option<ShardId>, Bytes)>,
        effects: &mut Effects<Mail>,
    ) {
        let mut foreign: BTreeMap<ShardId, Vec<Bytes>> = BTreeMap::new();
        for (owner, bytes) in segments {
            match owner {
                None => {}
                Some(owner) if owner == self.identity.shard => self.lending.give_back(bytes.len()),
                Some(owner) => foreign.entry(owner).or_default().push(bytes),
            }
        }
        for (to, segments) in foreign {
            effects.push(Effect::Mail { to, mail: Mail::Release { segments } });
            // One fetch a shard is in one answer at most, so this ends exactly one.
            self.handle_peer_answered(to, Asking::Fetch);
        }
    }

    fn handle_peer_answered(&mut self, shard: ShardId, asking: Asking) {
        let resumed = self.peers.handle_over(shard, asking);
        self.resumed.extend(resumed);
    }

    fn answer(&mut self, key: AnswerKey, segments: Vec<Segment>, effects: &mut Effects<Mail>) {
        match self.connections.get_mut(&key.connection) {
            Some(connection) => {
                connection.answer(key, segments);
                self.touched.push(key.connection);
            }
            None => {
                let segments = segments.into_iter().map(|segment| (segment.owner, segment.bytes));
                self.release(segments, effects);
            }
        }
    }

    /// Answers with bytes of this shard.
    fn answer_own(&mut self, key: AnswerKey, bytes: Bytes) {
        if let Some(connection) = self.connections.get_mut(&key.connection) {
            connection.answer(key, vec![Segment { bytes, owner: None }]);
            self.touched.push(key.connection);
        }
    }

    fn answer_error(&mut self, key: AnswerKey, api: u16, correlation: u32, code: ErrorCode, message: &str) {
        self.answer_own(key, frame::encode_error(api, correlation, code, message));
    }
}

impl Host for ShardHost {
    type Mail = Mail;

    fn handle(&mut self, now: Now, event: Event<'_, Mail>, effects: &mut Effects<Mail>) {
        match event {
            Event::Accepted { connection, .. } => self.handle_accepted(connection, effects),
            Event::Received { connection, data: Received::Lent(data) } => {
                self.handle_lent(now, connection, data, effects);
            }
            Event::Received { connection, data: Received::Filled(buffer) } => {
                self.handle_filled(now, connection, buffer, effects);
            }
            Event::Sent { connection, segments } => self.handle_sent(connection, segments, effects),
            Event::Closed { connection, unsent } => self.handle_closed(connection, unsent, effects),
            Event::File { token, result } => {
                if !self.handle_former_logs_step(now.mono, token, &result, effects) {
                    self.store.handle_file(now, token, result, effects);
                    self.handle_store(now.mono, effects);
                }
            }
            Event::Inspected { inspected } => self.store.handle_inspected(now, inspected),
            Event::Mail { from, mail } => self.handle_mail(now, from, mail, effects),
            Event::Shutdown => self.handle_shutdown(now.mono, effects),
        }
    }

    fn finish_turn(&mut self, now: Now, effects: &mut Effects<Mail>) {
        self.resume_connections(now, effects);
        while let Some(request) = self.requests.pop_due(now.mono) {
            self.finish_fetch_here(request, effects);
        }
        self.poll_controller(effects);
        self.retry_former_logs(now.mono, effects);
        self.handle_store(now.mono, effects);
        // Until nothing more goes out or comes back by itself: only an event can wake who waits then.
        while self.poll_lending(effects) {
            self.handle_store(now.mono, effects);
        }
        // Before the store, so that closing the log lets its last group go in this very turn.
        self.poll_life(now.mono, effects);
        self.store.finish_turn(now, effects);
        self.cut_the_slow(now.mono, effects);
        let mut touched = core::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched.drain(..) {
            self.poll_connection(now.mono, id, effects);
        }
        self.touched = touched;
        while let Some(id) = self.frame_room.poll_admitted(now.mono) {
            self.poll_connection(now.mono, id, effects);
        }
    }

    fn deadline(&self) -> Option<Mono> {
        let former_logs = self.former_logs.as_ref().filter(|_| self.life == Life::Serving);
        let deadlines = [
            self.store.deadline(),
            self.requests.deadline(),
            self.life.deadline(),
            self.frame_room.deadline(),
            self.patience.deadline(),
            former_logs.and_then(FormerLogRemoval::deadline),
        ];
        deadlines.into_iter().flatten().min()
    }
}
