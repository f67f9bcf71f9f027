//! What is still to happen, in the order of time; what happens at the same time does so in random order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A shard of that start takes a turn, unless another turn was set meanwhile.
    Turn { start: u64, shard: u16, ticket: u64 },
    /// An operation on the disk ends.
    DiskDone { operation: u64 },
    /// A connection attempt arrives.
    Arrive { link: u64 },
    /// Some bytes of a link move.
    Deliver { link: u64, direction: Direction },
    /// A client hears that its connection is gone.
    ClientHears { link: u64 },
    /// The server has waited long enough for a closing connection's last send.
    Linger { link: u64 },
    /// A client has something to do.
    Wake { client: usize },
    /// A client wants something new.
    Wish { client: usize },
    /// The node is ended.
    End { index: usize },
    /// The node starts.
    Boot,
    /// The disk is full, or no longer.
    Full { full: bool },
    /// A shard stands still for a while.
    Pause,
    /// The wall clock jumps.
    ClockJump,
    /// Bits of segments rot.
    Rot,
    /// An operator cuts or drops records.
    Operate,
    /// Faults end.
    Heal,
    /// It is looked whether all is well again.
    CheckHealed,
}

/// Which way bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, u64, Happening)>>,
    pushed: u64,
}

impl Queue {
    /// Adds something; `tie` decides among what happens at the same time.
    pub(super) fn push(&mut self, at: u64, tie: u64, happening: Happening) {
        self.pushed += 1;
        self.heap.push(Reverse((at, tie, self.pushed, happening)));
    }

    /// What happens next, and when.
    pub(super) fn pop(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|Reverse((at, _, _, happening))| (at, happening))
    }
}
