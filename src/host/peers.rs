//! What this shard has asked of the others, so that no queue between them ever fills.

use ringmain_shard::event::ConnectionId;
use ringmain_wire::ids::ShardId;

use super::mail::{FETCHES_MAX, REQUESTS_MAX};

/// What is counted apart, so that what may wait long never keeps from asking what does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Answered as soon as the log allows.
    Request,
    /// Over when its answer's memory has gone back.
    Fetch,
}

/// The other shards of this node, and this one at its own place.
#[derive(Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    requests: Account,
    fetches: Account,
    /// It will ask nothing more.
    drained: bool,
}

#[derive(Debug, Default)]
struct Account {
    /// What is not over yet.
    asked: usize,
    /// Connections whose next request waits for room, in the order of their coming.
    stalled: Vec<ConnectionId>,
}

impl Peers {
    /// `shards` shards, all with room.
    pub(super) fn new(shards: u16) -> Self {
        Self { peers: (0..shards).map(|_| Peer::default()).collect() }
    }

    /// Whether `shard` can be asked `times` more. Not while others wait for room, or a request that asks much at once
    /// would starve.
    pub(super) fn has_room(&self, shard: ShardId, asking: Asking, times: usize) -> bool {
        let (account, limit) = self.peers[usize::from(shard.get())].account(asking);
        account.stalled.is_empty() && account.asked + times <= limit
    }

    /// It is being asked.
    ///
    /// # Panics
    /// When there was no room.
    pub(super) fn handle_asked(&mut self, shard: ShardId, asking: Asking) {
        let account = self.account_mut(shard, asking);
        account.asked += 1;
        let (account, limit) = self.peers[usize::from(shard.get())].account(asking);
        assert!(account.asked <= limit, "shard {shard} is asked beyond its room");
    }

    /// Something asked is over. Gives the connections that waited for that.
    pub(super) fn handle_over(&mut self, shard: ShardId, asking: Asking) -> Vec<ConnectionId> {
        let account = self.account_mut(shard, asking);
        account.asked -= 1;
        core::mem::take(&mut account.stalled)
    }

    /// `connection` waits for room.
    pub(super) fn stall(&mut self, shard: ShardId, asking: Asking, connection: ConnectionId) {
        self.account_mut(shard, asking).stalled.push(connection);
    }

    /// Whether nothing is asked of any.
    pub(super) fn is_idle(&self) -> bool {
        self.peers.iter().all(|peer| peer.requests.asked == 0 && peer.fetches.asked == 0)
    }

    /// A shard will ask nothing more.
    pub(super) fn handle_drained(&mut self, shard: ShardId) {
        self.peers[usize::from(shard.get())].drained = true;
    }

    /// Whether no other shard will ask anything more.
    pub(super) fn are_drained(&self, this: ShardId) -> bool {
        let mut others = self.peers.iter().enumerate().filter(|(place, _)| *place != usize::from(this.get()));
        others.all(|(_, peer)| peer.drained)
    }

    fn account_mut(&mut self, shard: ShardId, asking: Asking) -> &mut Account {
        let peer = &mut self.peers[usize::from(shard.get())];
        match asking {
            Asking::Request => &mut peer.requests,
            Asking::Fetch => &mut peer.fetches,
        }
    }
}

impl Peer {
    fn account(&self, asking: Asking) -> (&Account, usize) {
        match asking {
            Asking::Request => (&self.requests, REQUESTS_MAX),
            Asking::Fetch => (&self.fetches, FETCHES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ShardId = ShardId(1);

    #[test]
    fn who_waits_for_room_is_served_before_newcomers_and_fetches_do_not_stop_requests() {
        let mut peers = Peers::new(2);
        for _ in 0..FETCHES_MAX {
            peers.handle_asked(PEER, Asking::Fetch);
        }
        assert!(!peers.has_room(PEER, Asking::Fetch, 1));
        assert!(peers.has_room(PEER, Asking::Request, REQUESTS_MAX));
        let waits = ConnectionId { slot: 3, generation: 1 };
        peers.handle_asked(PEER, Asking::Request);
        peers.stall(PEER, Asking::Request, waits);
        assert!(!peers.has_room(PEER, Asking::Request, 1), "someone waits");
        assert_eq!(peers.handle_over(PEER, Asking::Request), [waits]);
        assert!(peers.has_room(PEER, Asking::Request, REQUESTS_MAX));
    }
}
