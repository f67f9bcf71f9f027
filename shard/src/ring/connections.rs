//! The table of connections: what is under way on each, and how each comes to its end.

use core::time::Duration;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bytes::Bytes;

use super::tokens::OperationId;
use crate::event::ConnectionId;
use crate::time::Mono;

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Bytes go both ways.
    Open,
    /// Logic has asked for its end.
    Closing,
    /// The peer or the network has ended it. Logic does not know yet and may still ask for things, in vain.
    Failed,
}

/// A connection and the operations under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) phase: Phase,
    pub(super) receive: Receive,
    pub(super) send: Option<OperationId>,
    /// The last receive left nothing behind: the next one waits before it looks.
    pub(super) receive_emptied: bool,
    /// Segments that will not get out.
    pub(super) unsent: Vec<Bytes>,
    /// In the queue of those whose `Closed` is due.
    ended: bool,
}

/// Whether a receive was asked for, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// None is wanted.
    Idle,
    /// The kernel has it.
    UnderWay(OperationId),
    /// All buffers were filled at that moment; it is started again when some are back.
    Starved,
}

impl Connection {
    /// Whether nothing is under way any more on a connection that came to its end.
    fn is_quiet(&self) -> bool {
        self.phase != Phase::Open && self.send.is_none() && !matches!(self.receive, Receive::UnderWay(_))
    }

    /// Makes what is under way end by itself: both directions are shut.
    pub(super) fn shut(&self) {
        // A peer that is gone already makes this fail, and everything under way ends in the same way.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// All connections of a shard, by slot. Their number is bounded.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
    count_max: usize,
    linger: Duration,
    /// Those whose receive found no buffer, and which may have ended since.
    starved: Vec<ConnectionId>,
    /// Those that are cut at a time unless their send is out by then, oldest first; they may have ended since.
    lingering: VecDeque<(Mono, ConnectionId)>,
    /// Those whose `Closed` is due, oldest first.
    ended: VecDeque<ConnectionId>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    /// For at most `count_max` connections, which may take `linger` to send what they were given before their end.
    pub(super) const fn at_most(count_max: usize, linger: Duration) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            count_max,
            linger,
            starved: Vec::new(),
            lingering: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// Takes in a socket, and names it; `None` closes it, because there are as many as there may be.
    pub(super) fn insert(&mut self, socket: OwnedFd) -> Option<ConnectionId> {
        if self.count == self.count_max {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            u32::try_from(self.slots.len() - 1).expect("descriptors are numbered by 31 bits")
        });
        let place = &mut self.slots[slot as usize];
        place.connection = Some(Connection {
            socket,
            phase: Phase::Open,
            receive: Receive::Idle,
            send: None,
            receive_emptied: true,
            unsent: Vec::new(),
            ended: false,
        });
        self.count += 1;
        Some(ConnectionId { slot, generation: place.generation })
    }

    /// The connection `id`, unless it is gone.
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation == id.generation { place.connection.as_mut() } else { None }
    }

    /// The connection `id`.
    ///
    /// # Panics
    /// When it is gone: something is asked for or under way on a connection after its `Closed`.
    pub(super) fn get(&mut self, id: ConnectionId) -> &mut Connection {
        self.find(id).unwrap_or_else(|| panic!("{id:?} was closed before"))
    }

    /// The receive on `id` found no buffer.
    pub(super) fn starve(&mut self, id: ConnectionId) {
        self.get(id).receive = Receive::Starved;
        self.starved.push(id);
    }

    /// Those whose receive is to be started again.
    pub(super) fn take_starved(&mut self) -> Vec<ConnectionId> {
        let mut starved = core::mem::take(&mut self.starved);
        starved.retain(|&id| {
            let connection = self.find(id);
            connection.is_some_and(|found| found.receive == Receive::Starved && found.phase == Phase::Open)
        });
        starved
    }

    /// `id` is cut in a while if its send is not out by then.
    pub(super) fn linger(&mut self, id: ConnectionId, now: Mono) {
        if self.get(id).send.is_some() {
            self.lingering.push_back((now + self.linger, id));
        }
    }

    /// When the next one is cut.
    pub(super) fn deadline(&mut self) -> Option<Mono> {
        while let Some(&(time, id)) = self.lingering.front() {
            if self.find(id).is_some() {
                return Some(time);
            }
            self.lingering.pop_front();
        }
        None
    }

    /// Cuts those whose peers have not read for too long.
    pub(super) fn cut_lingering(&mut self, now: Mono) {
        while self.deadline().is_some_and(|time| time <= now) {
            let (_, id) = self.lingering.pop_front().expect("it has a deadline");
            self.get(id).shut();
        }
    }

    /// A connection that came to its end is to be told of as soon as nothing is under way on it.
    pub(super) fn settle(&mut self, id: ConnectionId) {
        let connection = self.get(id);
        if connection.is_quiet() && !connection.ended {
            connection.ended = true;
            self.ended.push_back(id);
        }
    }

    /// Whether [`poll_closed`](Self::poll_closed) would give something.
    pub(super) fn any_closed(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Closes the socket of one that has ended and forgets its name for good. What it could not send is given back.
    ///
    /// # Panics
    /// When something was started on it after it had ended.
    pub(super) fn poll_closed(&mut self) -> Option<(ConnectionId, Vec<Bytes>)> {
        let id = self.ended.pop_front()?;
        assert!(self.get(id).is_quiet(), "{id:?} is closed with nothing under way");
        let place = &mut self.slots[id.slot as usize];
        let connection = place.connection.take().expect("looked up above");
        self.count -= 1;
        // A slot that has used up its generations is left alone, so that no name ever comes twice.
        if let Some(generation) = place.generation.checked_add(1) {
            place.generation = generation;
            self.free.push(id.slot);
        }
        Some((id, connection.unsent))
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn any_descriptor() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC).expect("descriptors are left")
    }

    /// Ends `id`, which nothing is under way on.
    fn end(connections: &mut Connections, id: ConnectionId) {
        connections.get(id).phase = Phase::Closing;
        connections.settle(id);
        connections.settle(id);
        assert!(connections.any_closed());
        assert_eq!(connections.poll_closed(), Some((id, Vec::new())));
        assert_eq!(connections.poll_closed(), None, "told of once");
    }

    #[test]
    fn a_name_is_never_used_again_and_the_table_is_bounded() {
        let mut connections = Connections::at_most(2, Duration::ZERO);
        let first = connections.insert(any_descriptor()).expect("room");
        let second = connections.insert(any_descriptor()).expect("room");
        assert_eq!(connections.insert(any_descriptor()), None);

        end(&mut connections, first);
        assert!(connections.find(first).is_none());
        let third = connections.insert(any_descriptor()).expect("room again");
        assert_eq!(third.slot, first.slot);
        assert_ne!(third, first);
        assert!(connections.find(first).is_none());
        assert!(connections.find(second).is_some());

        connections.slots[third.slot as usize].generation = u32::MAX;
        let last = ConnectionId { slot: third.slot, generation: u32::MAX };
        end(&mut connections, last);
        let elsewhere = connections.insert(any_descriptor()).expect("room again");
        assert_ne!(elsewhere.slot, last.slot);
    }

    #[test]
    fn only_those_that_still_send_linger() {
        let mut connections = Connections::at_most(2, Duration::from_nanos(10));
        let quiet = connections.insert(any_descriptor()).expect("room");
        let sending = connections.insert(any_descriptor()).expect("room");
        connections.get(sending).send = Some(OperationId { slot: 0, generation: 0 });
        connections.linger(quiet, Mono(5));
        connections.linger(sending, Mono(5));
        assert_eq!(connections.deadline(), Some(Mono(15)));
        connections.get(sending).send = None;
        end(&mut connections, sending);
        assert_eq!(connections.deadline(), None, "it has ended before");
    }

    #[test]
    fn a_starved_receive_is_started_again_once_unless_its_connection_ends() {
        let mut connections = Connections::at_most(2, Duration::ZERO);
        let [first, second] = [(); 2].map(|()| connections.insert(any_descriptor()).expect("room"));
        connections.starve(first);
        connections.starve(second);
        end(&mut connections, first);
        assert_eq!(connections.take_starved(), [second]);
        assert_eq!(connections.take_starved(), []);
    }

    #[test]
    #[should_panic(expected = "was closed before")]
    fn asking_a_closed_connection_for_something_is_a_bug() {
        let mut connections = Connections::at_most(1, Duration::ZERO);
        let id = connections.insert(any_descriptor()).expect("room");
        end(&mut connections, id);
        connections.get(id);
    }
}
