//! The connections that the client keeps: one for questions, and for each shard one to produce on and one a consumer.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;
use ringmain_wire::ids::ShardId;

use super::backoff::Jitter;
use super::connection::Connection;
use super::{ConnectionId, ConsumerKey, Effect, Endpoint, Purpose};

/// What a connection is for. A fetch may be parked at the broker, and answers keep the order of requests: whatever must
/// not wait for it goes another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Questions, to whichever shard accepts.
    Control,
    /// Produces and offsets, to the shard that owns the partition.
    Requests(ShardId),
    /// Fetches of one consumer.
    Fetch(ConsumerKey, ShardId),
}

impl Lane {
    /// The shard that has to be on the other side, if it matters.
    pub(super) const fn shard(self) -> Option<ShardId> {
        match self {
            Self::Control => None,
            Self::Requests(shard) | Self::Fetch(_, shard) => Some(shard),
        }
    }
}

/// The way to one shard for one purpose, up or down.
#[derive(Debug)]
struct Link {
    state: LinkState,
    /// Failures since the last answer.
    attempts: u32,
}

#[derive(Debug)]
enum LinkState {
    Down { retry_at: Duration },
    Connecting { connection: ConnectionId, endpoint: Endpoint, deadline: Duration },
    Up { connection: ConnectionId, endpoint: Endpoint, wire: Box<Connection>, sending: bool },
}

/// A link that went down.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) lane: Lane,
    /// Where it led.
    pub(super) endpoint: Endpoint,
    /// Whether the greeting had been answered.
    pub(super) was_ready: bool,
    /// What was asked and not answered.
    pub(super) lost: Vec<Purpose>,
}

/// All links of one client.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<Lane, Link>,
    lanes: BTreeMap<ConnectionId, Lane>,
    connection_next: u64,
}

impl Links {
    /// Keeps a link for that purpose from now on.
    pub(super) fn want(&mut self, lane: Lane) {
        let down = LinkState::Down { retry_at: Duration::ZERO };
        self.links.entry(lane).or_insert(Link { state: down, attempts: 0 });
    }

    /// The connection of a lane, if requests can be sent on it.
    pub(super) fn ready(&mut self, lane: Lane) -> Option<(ConnectionId, &mut Connection)> {
        match &mut self.links.get_mut(&lane)?.state {
            LinkState::Up { connection, wire, .. } if wire.is_ready() => Some((*connection, wire)),
            _ => None,
        }
    }

    /// Where an established connection leads.
    pub(super) fn endpoint(&self, lane: Lane) -> Option<&Endpoint> {
        match &self.links.get(&lane)?.state {
            LinkState::Up { endpoint, .. } => Some(endpoint),
            _ => None,
        }
    }

    /// The lane of a connection that is still ours.
    pub(super) fn lane(&self, connection: ConnectionId) -> Option<Lane> {
        self.lanes.get(&connection).copied()
    }

    /// An established connection.
    pub(super) fn wire(&mut self, lane: Lane) -> Option<&mut Connection> {
        match &mut self.links.get_mut(&lane)?.state {
            LinkState::Up { wire, .. } => Some(wire),
            _ => None,
        }
    }

    /// Lanes that may be dialled now.
    pub(super) fn due(&self, now: Duration) -> Vec<Lane> {
        let due = |link: &Link| matches!(link.state, LinkState::Down { retry_at } if now >= retry_at);
        self.links.iter().filter(|(_, link)| due(link)).map(|(&lane, _)| lane).collect()
    }

    /// Dials a lane that is down.
    pub(super) fn dial(&mut self, lane: Lane, endpoint: Endpoint, deadline: Duration) -> Effect {
        let connection = ConnectionId(self.connection_next);
        self.connection_next += 1;
        self.lanes.insert(connection, lane);
        let link = self.links.get_mut(&lane).expect("dialled because it is wanted");
        link.state = LinkState::Connecting { connection, endpoint: endpoint.clone(), deadline };
        Effect::Connect { connection, endpoint }
    }

    /// A connection was established: the greeting begins.
    pub(super) fn handle_connected(&mut self, connection: ConnectionId, wire: Connection) {
        let Some(link) = self.lanes.get(&connection).and_then(|lane| self.links.get_mut(lane)) else {
            return;
        };
        if let LinkState::Connecting { endpoint, .. } = &link.state {
            let endpoint = endpoint.clone();
            link.state = LinkState::Up { connection, endpoint, wire: Box::new(wire), sending: false };
        }
    }

    /// What was given to the socket last is on its way.
    pub(super) fn handle_sent(&mut self, connection: ConnectionId) {
        let Some(link) = self.lanes.get(&connection).and_then(|lane| self.links.get_mut(lane)) else {
            return;
        };
        if let LinkState::Up { sending, .. } = &mut link.state {
            *sending = false;
        }
    }

    /// An answer came: the broker serves.
    pub(super) fn handle_served(&mut self, lane: Lane) {
        if let Some(link) = self.links.get_mut(&lane) {
            link.attempts = 0;
        }
    }

    /// Takes a link down; it is dialled again after a while. `None` when it was down already.
    pub(super) fn fail(&mut self, now: Duration, lane: Lane, jitter: &mut Jitter) -> Option<Failure> {
        let link = self.links.get_mut(&lane)?;
        if matches!(link.state, LinkState::Down { .. }) {
            return None;
        }
        let retry_at = now + jitter.delay(link.attempts);
        link.attempts += 1;
        self.take_down(lane, retry_at)
    }

    /// Takes a link down to dial it again at once.
    pub(super) fn redial(&mut self, now: Duration, lane: Lane) -> Option<Failure> {
        self.take_down(lane, now)
    }

    /// Keeps no link for that purpose any more.
    pub(super) fn remove(&mut self, lane: Lane) -> Option<ConnectionId> {
        let link = self.links.remove(&lane)?;
        let connection = link.state.connection()?;
        self.lanes.remove(&connection);
        Some(connection)
    }

    /// Lanes of a consumer.
    pub(super) fn fetch_lanes(&self, consumer: ConsumerKey) -> Vec<Lane> {
        self.links
            .keys()
            .copied()
            .filter(|lane| matches!(lane, Lane::Fetch(of, _) if *of == consumer))
            .collect()
    }

    /// The connection of a lane, established or not.
    pub(super) fn connection(&self, lane: Lane) -> Option<ConnectionId> {
        self.links.get(&lane)?.state.connection()
    }

    /// Lanes whose greeting, answer or establishment is overdue.
    pub(super) fn overdue(&self, now: Duration) -> Vec<Lane> {
        let overdue = |link: &Link| link.state.deadline().is_some_and(|deadline| now >= deadline);
        self.links.iter().filter(|(_, link)| overdue(link)).map(|(&lane, _)| lane).collect()
    }

    /// The next bytes for a socket that is free.
    pub(super) fn poll_transmit(&mut self) -> Option<(ConnectionId, Vec<Bytes>)> {
        for link in self.links.values_mut() {
            if let LinkState::Up { connection, wire, sending, .. } = &mut link.state
                && !*sending
                && let Some(segments) = wire.poll_transmit()
            {
                *sending = true;
                return Some((*connection, segments));
            }
        }
        None
    }

    /// When time alone changes something after `now`.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let retries = self.links.values().filter_map(|link| match link.state {
            LinkState::Down { retry_at } => Some(retry_at),
            _ => None,
        });
        let answers = self.links.values().filter_map(|link| link.state.deadline());
        retries.chain(answers).filter(|&at| at > now).min()
    }

    fn take_down(&mut self, lane: Lane, retry_at: Duration) -> Option<Failure> {
        let link = self.links.get_mut(&lane)?;
        match core::mem::replace(&mut link.state, LinkState::Down { retry_at }) {
            LinkState::Down { .. } => None,
            LinkState::Connecting { connection, endpoint, .. } => {
                self.lanes.remove(&connection);
                Some(Failure { lane, endpoint, was_ready: false, lost: Vec::new() })
            }
            LinkState::Up { connection, endpoint, wire, .. } => {
                self.lanes.remove(&connection);
                Some(Failure { lane, endpoint, was_ready: wire.is_ready(), lost: wire.close().collect() })
            }
        }
    }
}

impl LinkState {
    const fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Down { .. } => None,
            Self::Connecting { connection, .. } | Self::Up { connection, .. } => Some(*connection),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Down { .. } => None,
            Self::Connecting { deadline, .. } => Some(*deadline),
            Self::Up { wire, .. } => wire.deadline(),
        }
    }
}
