//! Connections between clients and shards: bytes move in order, late, in pieces, and may stop in the middle of a frame.
//!
//! The server's end keeps the ring's rules: one receive and one send under way, a connection that failed or closes ends
//! when both have ended, and its end is told once.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use ringmain_client::core::ConnectionId as ClientConnection;
use ringmain_shard::event::ConnectionId;

use super::carrier::Arrival;
use super::client::Dial;
use super::node::{SHARD_PORT, SHARED_PORT};
use super::queue::{Direction, Happening};
use super::world::{Phase, World};
use super::{MICROSECOND, MILLISECOND, SECOND};

/// How long a closing connection may take to send what is left.
const LINGER: u64 = 2 * SECOND;
/// Bytes lent at a time at most.
const LENT_BYTES_MAX: usize = 16 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) name: ClientConnection,
    client_open: bool,
    /// The client has given bytes and was not told that they are out.
    client_sends: bool,
    /// Cut: nothing that is under way arrives any more.
    cut: bool,
    shard: u16,
    connection: Option<ConnectionId>,
    pub(super) server: ServerPhase,
    receive: Receive,
    sending: Option<Vec<Bytes>>,
    /// The send's end waits for the shard's turn.
    sent: bool,
    unsent: Vec<Bytes>,
    ended: bool,
    up: Pipe,
    down: Pipe,
    habits: Habits,
}

/// How far the server's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerPhase {
    /// Not accepted yet.
    Dialled,
    Open,
    /// The shard has asked for its end.
    Closing,
    /// Cut; the shard does not know yet.
    Failed,
    Gone,
}

#[derive(Debug)]
enum Receive {
    Idle,
    UnderWay(Option<BytesMut>),
    /// Its end waits for the shard's turn.
    Ended,
}

#[derive(Debug, Default)]
struct Pipe {
    waiting: VecDeque<Bytes>,
    arrived: BytesMut,
    /// A delivery is due.
    moving: bool,
    /// The reader's buffer is full.
    blocked: bool,
    /// The writer sends no more.
    finished: bool,
}

#[derive(Clone, Copy, Debug)]
struct Habits {
    delay_max: u64,
    chunk_max: usize,
    window: usize,
}

impl Pipe {
    fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }

    fn carry(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let Some(front) = self.waiting.front_mut() else { return };
            let length = front.len().min(bytes);
            self.arrived.extend_from_slice(&front[..length]);
            front.advance(length);
            bytes -= length;
            if front.is_empty() {
                self.waiting.pop_front();
            }
        }
    }
}

// The client's end.
impl World {
    /// A client wants a connection.
    pub(super) fn dial(&mut self, client: usize, name: ClientConnection, port: u16) {
        let slow = self.plan.slow_links && self.random.schedule.chance(400);
        let habits = if slow {
            Habits {
                delay_max: self.random.schedule.between(200, 4000) * MICROSECOND,
                chunk_max: self.random.schedule.between(200, 4000) as usize,
                window: self.random.schedule.between(1000, 16_000) as usize,
            }
        } else {
            Habits { delay_max: 100 * MICROSECOND, chunk_max: 64 << 10, window: 64 << 10 }
        };
        let shards = self.node.shards().len().max(1) as u64;
        let shard =
            if port == SHARED_PORT { self.random.schedule.below(shards) as u16 } else { port - SHARD_PORT };
        self.links_made += 1;
        let link = self.links_made;
        self.links.insert(
            link,
            Link {
                client,
                name,
                client_open: true,
                client_sends: false,
                cut: false,
                shard,
                connection: None,
                server: ServerPhase::Dialled,
                receive: Receive::Idle,
                sending: None,
                sent: false,
                unsent: Vec::new(),
                ended: false,
                up: Pipe::default(),
                down: Pipe::default(),
                habits,
            },
        );
        self.clients[client].links.insert(name, link);
        let delay = self.random.schedule.between(10 * MICROSECOND, habits.delay_max * 2);
        self.after(delay, Happening::Arrive { link });
    }

    /// A connection attempt arrives.
    pub(super) fn arrive(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let (client, name, shard) = (link.client, link.name, link.shard);
        if !link.client_open {
            self.links.remove(&id);
            return;
        }
        let there = self.node.is_serving() && usize::from(shard) < self.node.shards().len();
        if !there || !self.node.shard(shard).accepting {
            self.note("refused", [client as u64, u64::from(shard), 0]);
            self.links.remove(&id);
            self.clients[client].links.remove(&name);
            self.tell_client(client, name, Dial::Refused);
            return;
        }
        let connection = self.node.shard(shard).name_connection(id);
        self.note("accepted", [client as u64, u64::from(shard), u64::from(connection.slot)]);
        if let Some(link) = self.links.get_mut(&id) {
            link.connection = Some(connection);
            link.server = ServerPhase::Open;
            // Until the shard knows of it, nothing of it is over.
            link.receive = Receive::Ended;
        }
        self.arrived(shard, Arrival::Accepted { connection });
        self.tell_client(client, name, Dial::Connected);
    }

    /// A client sends.
    pub(super) fn send_by_client(&mut self, id: u64, segments: Vec<Bytes>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.client_sends = true;
        link.up.waiting.extend(segments);
        self.move_soon(id, Direction::Up);
    }

    /// A client closes.
    pub(super) fn close_by_client(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.client_open = false;
        link.up.finished = true;
        let (client, name) = (link.client, link.name);
        self.clients[client].links.remove(&name);
        self.move_soon(id, Direction::Up);
        self.forget_if_over(id);
    }

    /// What has arrived at the client's end.
    pub(super) fn take_arrived(&mut self, id: u64) -> Option<(ClientConnection, Bytes)> {
        let link = self.links.get_mut(&id)?;
        if link.down.arrived.is_empty() {
            return None;
        }
        let bytes = link.down.arrived.split().freeze();
        let name = link.name;
        if core::mem::take(&mut link.down.blocked) {
            self.move_soon(id, Direction::Down);
        }
        Some((name, bytes))
    }

    /// A client hears that the other end is gone.
    pub(super) fn client_hears(&mut self, id: u64) {
        let Some(link) = self.links.get(&id) else { return };
        let (client, name, cut) = (link.client, link.name, link.cut);
        if link.client_open {
            if !cut {
                self.read_by_client(client, id);
            }
            self.note("closed", [client as u64, u64::from(cut), 0]);
            self.clients[client].links.remove(&name);
            if let Some(link) = self.links.get_mut(&id) {
                link.client_open = false;
            }
            self.tell_client(client, name, Dial::Closed);
        }
        self.forget_if_over(id);
    }
}

// Between them.
impl World {
    /// Some bytes of a link move.
    pub(super) fn deliver(&mut self, id: u64, direction: Direction) {
        let cuts = self.phase == Phase::Active && self.random.schedule.chance(self.plan.cuts);
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = match direction {
            Direction::Up => &mut link.up,
            Direction::Down => &mut link.down,
        };
        pipe.moving = false;
        let room = link.habits.window.saturating_sub(pipe.arrived.len());
        let waiting = pipe.waiting_bytes();
        if waiting > 0 && room == 0 {
            pipe.blocked = true;
            self.met.stalled += u64::from(direction == Direction::Down);
            return;
        }
        let chunk = link.habits.chunk_max.min(room).min(waiting);
        let bytes = if chunk > 1 && (cuts || chunk < waiting || self.random.schedule.chance(250)) {
            self.random.schedule.between(1, chunk as u64) as usize
        } else {
            chunk
        };
        pipe.carry(bytes);
        let left = waiting - bytes;
        self.note(if direction == Direction::Up { "up" } else { "down" }, [id, bytes as u64, left as u64]);
        if cuts && waiting > 0 {
            self.met.cut_connections += 1;
            self.cut(id);
            return;
        }
        if left > 0 {
            self.move_soon(id, direction);
        }
        match direction {
            Direction::Up => self.moved_up(id, left == 0),
            Direction::Down => self.moved_down(id, left == 0),
        }
    }

    fn moved_up(&mut self, id: u64, all: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if all && core::mem::take(&mut link.client_sends) && link.client_open {
            let (client, name) = (link.client, link.name);
            self.tell_client(client, name, Dial::Sent);
        }
        self.try_receive(id);
    }

    fn moved_down(&mut self, id: u64, all: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.client_open {
            self.fail(id);
            return;
        }
        let client = link.client;
        if all && let Some(segments) = link.sending.take() {
            link.sent = true;
            let (shard, connection) = (link.shard, link.connection.expect("it was accepted"));
            self.arrived(shard, Arrival::Sent { connection, segments });
        }
        self.wake_client(client, 5 * MICROSECOND);
    }

    fn move_soon(&mut self, id: u64, direction: Direction) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = match direction {
            Direction::Up => &mut link.up,
            Direction::Down => &mut link.down,
        };
        if !core::mem::replace(&mut pipe.moving, true) {
            let delay = self.random.schedule.between(5 * MICROSECOND, link.habits.delay_max);
            self.after(delay, Happening::Deliver { link: id, direction });
        }
    }

    /// Both directions end at once.
    fn cut(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.cut = true;
        link.up.waiting.clear();
        link.up.arrived.clear();
        link.down.waiting.clear();
        link.down.arrived.clear();
        self.note("cut", [id, 0, 0]);
        self.fail(id);
        let delay = self.random.schedule.between(1, 3000) * MICROSECOND;
        self.after(delay, Happening::ClientHears { link: id });
    }

    /// The node is gone, and with it the server's end of all links.
    pub(super) fn reset_links(&mut self) {
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else { continue };
            if link.server == ServerPhase::Dialled {
                continue;
            }
            link.server = ServerPhase::Gone;
            link.cut = true;
            link.sending = None;
            link.up = Pipe::default();
            link.down = Pipe::default();
            let delay = self.random.schedule.between(1, 2000) * MICROSECOND;
            self.after(delay, Happening::ClientHears { link: id });
        }
    }

    fn forget_if_over(&mut self, id: u64) {
        let over =
            self.links.get(&id).is_some_and(|link| !link.client_open && link.server == ServerPhase::Gone);
        if over {
            self.links.remove(&id);
        }
    }
}

// The server's end.
impl World {
    pub(super) fn start_receive(&mut self, id: u64, into: Option<BytesMut>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.server {
            ServerPhase::Open => {}
            ServerPhase::Failed => return,
            phase => panic!("a receive on a connection that is {phase:?}"),
        }
        assert!(matches!(link.receive, Receive::Idle), "one receive at a time");
        if let Some(buffer) = &into {
            assert!(buffer.capacity() > buffer.len(), "a receive into a full buffer");
            self.met.large_receives += 1;
        }
        link.receive = Receive::UnderWay(into);
        self.try_receive(id);
    }

    pub(super) fn start_send(&mut self, id: u64, segments: Vec<Bytes>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.server {
            ServerPhase::Open => {}
            ServerPhase::Failed => return link.unsent.extend(segments),
            phase => panic!("a send on a connection that is {phase:?}"),
        }
        assert!(link.sending.is_none() && !link.sent, "one send at a time");
        assert!(!segments.is_empty() && segments.iter().all(|segment| !segment.is_empty()), "an empty send");
        link.down.waiting.extend(segments.iter().cloned());
        link.sending = Some(segments);
        self.move_soon(id, Direction::Down);
    }

    pub(super) fn close_by_server(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.server != ServerPhase::Open {
            return;
        }
        link.server = ServerPhase::Closing;
        if matches!(link.receive, Receive::UnderWay(_)) {
            link.receive = Receive::Idle;
        }
        if link.sending.is_some() {
            self.after(LINGER, Happening::Linger { link: id });
        }
        self.settle(id);
    }

    /// A closing connection whose client does not read is cut.
    pub(super) fn linger_over(&mut self, id: u64) {
        if self.links.get(&id).is_some_and(|link| link.sending.is_some()) {
            self.cut(id);
        }
    }

    /// The end of a receive is told. Whether it matters to anybody.
    pub(super) fn receive_ended(&mut self, id: u64) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        link.receive = Receive::Idle;
        link.server == ServerPhase::Open
    }

    /// The end of a send is told.
    pub(super) fn send_ended(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.sent = false;
        }
    }

    /// The end of a connection is to be told once nothing is under way on it.
    pub(super) fn settle(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let ends = matches!(link.server, ServerPhase::Closing | ServerPhase::Failed);
        let quiet = link.sending.is_none() && !link.sent && matches!(link.receive, Receive::Idle);
        if ends && quiet && !core::mem::replace(&mut link.ended, true) {
            let unsent = core::mem::take(&mut link.unsent);
            let (shard, connection) = (link.shard, link.connection.expect("it was accepted"));
            self.node.shard(shard).closed.push_back((connection, unsent));
            self.wake_shard(shard);
        }
    }

    /// The shard was told of a connection's end.
    pub(super) fn server_gone(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.server = ServerPhase::Gone;
        if link.client_open && !link.cut {
            let delay = self.random.schedule.between(1, 2000) * MICROSECOND;
            self.after(delay, Happening::ClientHears { link: id });
        }
        self.forget_if_over(id);
    }

    fn fail(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.server == ServerPhase::Open {
            link.server = ServerPhase::Failed;
        }
        if matches!(link.receive, Receive::UnderWay(_)) {
            link.receive = Receive::Idle;
        }
        link.unsent.extend(link.sending.take().unwrap_or_default());
        link.down.waiting.clear();
        self.settle(id);
    }

    fn try_receive(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let at_end = link.up.finished && link.up.waiting.is_empty();
        let ready = !link.up.arrived.is_empty() || at_end;
        if !ready || link.server != ServerPhase::Open || !matches!(link.receive, Receive::UnderWay(_)) {
            return;
        }
        let Receive::UnderWay(into) = core::mem::replace(&mut link.receive, Receive::Ended) else { return };
        let room = into.as_ref().map_or(LENT_BYTES_MAX, |buffer| buffer.capacity() - buffer.len());
        let most = link.up.arrived.len().min(room);
        let length = if most > 1 && self.random.schedule.chance(300) {
            self.random.schedule.between(1, most as u64) as usize
        } else {
            most
        };
        let bytes = link.up.arrived.split_to(length).freeze();
        let (shard, connection) = (link.shard, link.connection.expect("it was accepted"));
        if core::mem::take(&mut link.up.blocked) {
            self.move_soon(id, Direction::Up);
        }
        self.arrived(shard, Arrival::Received { connection, bytes, into });
    }

    /// A client stops reading for a while.
    pub(super) fn stall_client(&mut self, client: usize) {
        let until = self.now + self.random.workload.between(5, 120) * MILLISECOND;
        self.clients[client].stalled_until = until;
        self.note("client stalls", [client as u64, until, 0]);
    }
}
