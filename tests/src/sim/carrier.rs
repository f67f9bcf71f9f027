//! One shard's turns: what arrived is told, then the turn is finished, then effects are started, by the ring's rules.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use ringmain::host::ShardHost;
use ringmain::host::mail::{Mail, QUEUE_ROOM};
use ringmain_shard::effect::{Effect, Effects, FileId, FileToken, StopReason};
use ringmain_shard::event::{ConnectionId, Event, FileError, FileOutcome, Listener, Received};
use ringmain_shard::host::Host;
use ringmain_shard::inspection::{Inspected, Inspection, InspectionKind};
use ringmain_shard::time::{Mono, Now};
use ringmain_wire::ids::{PartitionId, ShardId};
use ringmain_wire::native::errors::ErrorCode;

use super::MICROSECOND;
use super::checker::Violation;
use super::disk::Inode;
use super::queue::Happening;
use super::world::{Phase, Step, World};

/// Completions told in one turn.
const ARRIVALS_PER_TURN_MAX: usize = 64;

/// Something that waits for a shard's next turn.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A client connected.
    Accepted { connection: ConnectionId },
    /// A receive ended; `into` if the shard gave a buffer.
    Received { connection: ConnectionId, bytes: Bytes, into: Option<BytesMut> },
    /// A send is out.
    Sent { connection: ConnectionId, segments: Vec<Bytes> },
    /// A file operation ended; after a write or sync that failed the shard must stop.
    File { token: FileToken, result: Result<FileOutcome, FileError>, must_stop: bool },
    /// An inspection ended.
    Inspected { inspected: Inspected },
    /// The node is to stop.
    Shutdown,
}

/// One shard and what carries its effects out.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) host: ShardHost,
    pub(super) arrivals: VecDeque<Arrival>,
    /// Connections that came to their end, with what they could not send.
    pub(super) closed: VecDeque<(ConnectionId, Vec<Bytes>)>,
    /// Partitions of which a suffix is to be cut once it is found where.
    pub(super) cuts_wanted: Vec<PartitionId>,
    /// What the host asked for between its turns.
    pub(super) unasked: Effects<Mail>,
    /// By sender.
    pub(super) mail: Vec<VecDeque<Mail>>,
    pub(super) files: BTreeMap<FileId, Inode>,
    pub(super) inspections: BTreeMap<InspectionKind, Inspection>,
    /// By kind of inspection under way: bytes of the segment that had rotted when it began.
    pub(super) rotten: BTreeMap<InspectionKind, Vec<u64>>,
    pub(super) connections: BTreeMap<ConnectionId, u64>,
    /// By slot: the generation that the next connection there gets.
    generations: Vec<u32>,
    free: Vec<u32>,
    pub(super) accepting: bool,
    pub(super) paused_until: u64,
    /// The turn that counts, and when it is.
    turn: Option<(u64, u64)>,
    turns_set: u64,
    /// A write or sync failed: it may do nothing but stop.
    pub(super) must_stop: bool,
    pub(super) stopped: Option<StopReason>,
}

impl Shard {
    pub(super) fn new(host: ShardHost, shards: u16) -> Self {
        Self {
            host,
            arrivals: VecDeque::new(),
            closed: VecDeque::new(),
            cuts_wanted: Vec::new(),
            unasked: Effects::new(),
            mail: (0..shards).map(|_| VecDeque::new()).collect(),
            files: BTreeMap::new(),
            inspections: BTreeMap::new(),
            rotten: BTreeMap::new(),
            connections: BTreeMap::new(),
            generations: Vec::new(),
            free: Vec::new(),
            accepting: true,
            paused_until: 0,
            turn: None,
            turns_set: 0,
            must_stop: false,
            stopped: None,
        }
    }

    /// A name for a connection.
    pub(super) fn name_connection(&mut self, link: u64) -> ConnectionId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        let id = ConnectionId { slot, generation: self.generations[slot as usize] };
        self.connections.insert(id, link);
        id
    }

    /// A connection's name is never used again, its slot is.
    pub(super) fn forget_connection(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.generations[id.slot as usize] += 1;
        self.free.push(id.slot);
    }

    fn has_work(&self) -> bool {
        !self.arrivals.is_empty() || !self.closed.is_empty() || self.mail.iter().any(|mail| !mail.is_empty())
    }
}

impl World {
    /// Something waits for a shard.
    pub(super) fn arrived(&mut self, shard: u16, arrival: Arrival) {
        self.node.shard(shard).arrivals.push_back(arrival);
        self.wake_shard(shard);
    }

    /// A shard takes a turn soon.
    pub(super) fn wake_shard(&mut self, shard: u16) {
        let delay = self.random.schedule.between(1, 20) * MICROSECOND;
        self.set_turn(shard, self.now + delay);
    }

    /// A shard takes a turn at that time, unless it takes one before.
    fn set_turn(&mut self, index: u16, at: u64) {
        let start = self.node.start();
        let now = self.now;
        let shard = self.node.shard(index);
        let at = at.max(shard.paused_until).max(now);
        if shard.stopped.is_some() || shard.turn.is_some_and(|(set, _)| set <= at) {
            return;
        }
        shard.turns_set += 1;
        let ticket = shard.turns_set;
        shard.turn = Some((at, ticket));
        self.after(at - now, Happening::Turn { start, shard: index, ticket });
    }

    /// A shard's turn.
    pub(super) fn turn(&mut self, start: u64, index: u16, ticket: u64) -> Step {
        if !self.node.is_up(start) || self.node.shard(index).turn.is_none_or(|(_, set)| set != ticket) {
            return Ok(());
        }
        let now = Now { mono: Mono(self.now), wall: self.wall() };
        self.node.shard(index).turn = None;
        if self.node.shard(index).paused_until > self.now {
            self.set_turn(index, self.now);
            return Ok(());
        }
        let before_cuts = self.contents_before_cuts(index)?;
        let mut effects = core::mem::take(&mut self.node.shard(index).unasked);
        let mut told = 0;
        while let Some((connection, unsent)) = self.node.shard(index).closed.pop_front() {
            if let Some(link) = self.link_of(index, connection) {
                self.server_gone(link);
            }
            self.node.shard(index).forget_connection(connection);
            self.node.shard(index).host.handle(now, Event::Closed { connection, unsent }, &mut effects);
            told += 1;
        }
        for _ in 0..ARRIVALS_PER_TURN_MAX {
            let Some(arrival) = self.node.shard(index).arrivals.pop_front() else { break };
            self.tell(index, now, arrival, &mut effects);
            told += 1;
        }
        let shards = self.node.shard(index).mail.len();
        let first = self.random.schedule.below(shards as u64) as usize;
        for from in (0..shards).map(|place| (place + first) % shards) {
            while let Some(mail) = self.node.shard(index).mail[from].pop_front() {
                let event = Event::Mail { from: ShardId(from as u16), mail };
                self.node.shard(index).host.handle(now, event, &mut effects);
                told += 1;
            }
        }
        self.node.shard(index).host.finish_turn(now, &mut effects);
        self.note("turn", [u64::from(index), told, effects.len() as u64]);
        self.hear_of_truncations(index, &before_cuts)?;
        self.check_shard(index, &effects)?;
        self.start_effects(index, effects)?;
        if self.node.is_up(start) {
            let shard = self.node.shard(index);
            if shard.has_work() {
                self.wake_shard(index);
            } else if let Some(deadline) = shard.host.deadline() {
                // Timers of the kernel are late, never early.
                let late = self.random.schedule.between(1, 60) * MICROSECOND;
                self.set_turn(index, deadline.0 + late);
            }
        }
        Ok(())
    }

    fn tell(&mut self, index: u16, now: Now, arrival: Arrival, effects: &mut Effects<Mail>) {
        match arrival {
            Arrival::Accepted { connection } => {
                let Some(link) = self.link_of(index, connection) else { return };
                self.receive_ended(link);
                let event = Event::Accepted { connection, listener: Listener::Native };
                self.node.shard(index).host.handle(now, event, effects);
                self.settle(link);
            }
            Arrival::Received { connection, bytes, into } => {
                let Some(link) = self.link_of(index, connection) else { return };
                if self.receive_ended(link) {
                    let host = &mut self.node.shard(index).host;
                    match into {
                        None => {
                            let data = Received::Lent(&bytes);
                            host.handle(now, Event::Received { connection, data }, effects);
                        }
                        Some(mut buffer) => {
                            buffer.extend_from_slice(&bytes);
                            let data = Received::Filled(buffer);
                            host.handle(now, Event::Received { connection, data }, effects);
                        }
                    }
                }
                self.settle(link);
            }
            Arrival::Sent { connection, segments } => {
                let Some(link) = self.link_of(index, connection) else { return };
                self.send_ended(link);
                self.node.shard(index).host.handle(now, Event::Sent { connection, segments }, effects);
                self.settle(link);
            }
            Arrival::File { token, result, must_stop } => {
                self.node.shard(index).must_stop |= must_stop;
                self.node.shard(index).host.handle(now, Event::File { token, result }, effects);
            }
            Arrival::Inspected { inspected } => {
                self.node.shard(index).host.handle(now, Event::Inspected { inspected }, effects);
            }
            Arrival::Shutdown => self.node.shard(index).host.handle(now, Event::Shutdown, effects),
        }
    }

    /// Starts what a shard asked for, in order. The node may end before any of it.
    fn start_effects(&mut self, index: u16, effects: Effects<Mail>) -> Step {
        for effect in effects {
            if self.ends_here()? || !self.node.has_shards() {
                return Ok(());
            }
            if self.node.shard(index).stopped.is_some() {
                continue;
            }
            match effect {
                Effect::Receive { connection, into } => {
                    let link = self.open_link(index, connection)?;
                    self.start_receive(link, into);
                }
                Effect::Send { connection, segments } => {
                    let link = self.open_link(index, connection)?;
                    self.watch_refusals(&segments);
                    self.start_send(link, segments);
                }
                Effect::Close { connection } => {
                    let link = self.open_link(index, connection)?;
                    self.close_by_server(link);
                }
                Effect::StopAccepting => self.node.shard(index).accepting = false,
                Effect::File { token, operation } => self.start_file(index, token, operation)?,
                Effect::Inspect { request } => self.start_inspection(index, request)?,
                Effect::CancelInspection { kind } => {
                    if let Some(inspection) = self.node.shard(index).inspections.get_mut(&kind) {
                        inspection.cancel();
                    }
                }
                Effect::Mail { to, mail } => self.send_mail(index, to, mail)?,
                Effect::Stop { reason } => self.shard_stopped(index, reason)?,
            }
        }
        Ok(())
    }

    fn send_mail(&mut self, from: u16, to: ShardId, mail: Mail) -> Step {
        match &mail {
            Mail::Produce { .. } => self.met.cross_shard_produce += 1,
            Mail::Fetch { .. } => self.met.cross_shard_fetch += 1,
            _ => {}
        }
        let receiver = self.node.shard(to.get());
        if receiver.stopped.is_some() {
            return Ok(());
        }
        let queue = &mut receiver.mail[usize::from(from)];
        if queue.len() == QUEUE_ROOM {
            let what = format!("shard {from} sends more mail to shard {to} than there is room for");
            return Err(Violation { invariant: "bounds", what });
        }
        queue.push_back(mail);
        self.wake_shard(to.get());
        Ok(())
    }

    /// What has to hold after every turn.
    fn check_shard(&mut self, index: u16, effects: &Effects<Mail>) -> Step {
        let shard = self.node.shard(index);
        if core::mem::take(&mut shard.must_stop) {
            let stops = effects
                .iter()
                .any(|effect| matches!(effect, Effect::Stop { reason: StopReason::StorageFailed { .. } }));
            if !stops {
                let what = format!("a write or sync of shard {index} failed, and it goes on");
                return Err(Violation { invariant: "I14", what });
            }
        }
        for partition in shard.host.store().partitions() {
            self.checker.check_marks(partition)?;
        }
        Ok(())
    }

    /// The link of a connection that the host may name.
    fn open_link(&mut self, index: u16, connection: ConnectionId) -> Result<u64, Violation> {
        self.link_of(index, connection).ok_or_else(|| Violation {
            invariant: "ring",
            what: format!("shard {index} asks for something on {connection:?} after its end"),
        })
    }

    fn link_of(&mut self, index: u16, connection: ConnectionId) -> Option<u64> {
        self.node.shard(index).connections.get(&connection).copied()
    }

    /// Counts refusals that clients retry and nobody else sees.
    fn watch_refusals(&mut self, segments: &[Bytes]) {
        if self.phase != Phase::Active || !(self.plan.is_tight() || self.plan.disk_full.is_some()) {
            return;
        }
        use ringmain_wire::native::frame::{Api, FrameHeader, decode, split};
        use ringmain_wire::native::messages::ProduceResponse;
        for segment in segments {
            let is_produce = FrameHeader::parse(segment).ok().flatten();
            if is_produce.is_none_or(|header| header.api != Api::Produce.number()) {
                continue;
            }
            let Ok(Some((frame, _))) = split(segment, u32::MAX) else { continue };
            let Ok(response) = decode::<ProduceResponse>(frame.body) else { continue };
            for part in response.parts {
                self.met.budget += u64::from(part.error == ErrorCode::OverBudget.number());
                self.met.disk_full_refusals += u64::from(part.error == ErrorCode::DiskFull.number());
            }
        }
    }
}
