//! The queues between all shards of a node, and each shard's end of them.

use core::fmt;
use std::sync::Arc;

use ringmain_wire::ids::ShardId;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::sleep::SleepFlag;

/// Mailboxes of `shards` shards, in the order of their ids, with room for `capacity` messages on each way.
///
/// # Panics
/// When there is no shard, more than `u16::MAX`, or no capacity.
pub fn mesh<M>(shards: usize, capacity: usize) -> Vec<Mailbox<M>> {
    assert!(capacity > 0, "a queue without room never delivers");
    let count = u16::try_from(shards).expect("a node has fewer shards than a ShardId can name");
    assert!(count > 0, "a node has at least one shard");

    let flags: Arc<[SleepFlag]> = (0..count).map(|_| SleepFlag::awake()).collect();
    let mut mailboxes: Vec<Mailbox<M>> = (0..count)
        .map(|shard| Mailbox {
            shard: ShardId(shard),
            outgoing: (0..count).map(|_| None).collect(),
            incoming: (0..count).map(|_| None).collect(),
            flags: Arc::clone(&flags),
            mailed: Vec::with_capacity(shards),
            next: 0,
        })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(capacity);
            mailboxes[from].outgoing[to] = Some(producer);
            mailboxes[to].incoming[from] = Some(consumer);
        }
    }
    mailboxes
}

/// One shard's end of all queues. Made by the main thread, then owned by the shard's.
pub struct Mailbox<M> {
    shard: ShardId,
    /// By receiver; none to itself.
    outgoing: Vec<Option<Producer<M>>>,
    /// By sender; none from itself.
    incoming: Vec<Option<Consumer<M>>>,
    flags: Arc<[SleepFlag]>,
    /// Who was sent something and has not been looked at by [`Mailbox::next_wake`] since.
    mailed: Vec<ShardId>,
    /// Whose queue is looked at first next time, so that a busy sender does not starve the others.
    next: usize,
}

impl<M> Mailbox<M> {
    /// Whose it is.
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// How many shards there are, this one included.
    pub const fn shards(&self) -> usize {
        self.outgoing.len()
    }

    /// How many messages to `to` have room now; only this end can lower it.
    ///
    /// # Panics
    /// When `to` is this shard or none.
    pub fn room(&self, to: ShardId) -> usize {
        self.outgoing[usize::from(to.get())].as_ref().expect("a shard sends itself no mail").slots()
    }

    /// Hands `mail` to shard `to`. [`next_wake`](Self::next_wake) says afterwards whether it must be woken.
    ///
    /// # Errors
    /// Gives the message back when the queue is full, or when the receiver is gone for good.
    ///
    /// # Panics
    /// When `to` is this shard or none.
    pub fn send(&mut self, to: ShardId, mail: M) -> Result<(), SendError<M>> {
        let producer = self.outgoing[usize::from(to.get())].as_mut().expect("a shard sends itself no mail");
        if producer.is_abandoned() {
            return Err(SendError::Gone(mail));
        }
        match producer.push(mail) {
            Ok(()) => {
                if !self.mailed.contains(&to) {
                    self.mailed.push(to);
                }
                Ok(())
            }
            Err(PushError::Full(mail)) => Err(SendError::Full(mail)),
        }
    }

    /// The next shard that must be woken because it slept when its mail came. To be called until it gives none, after
    /// the last [`send`](Self::send) of a turn; a shard named once is not named again for the same sleep.
    pub fn next_wake(&mut self) -> Option<ShardId> {
        while let Some(to) = self.mailed.pop() {
            if self.flags[usize::from(to.get())].should_wake() {
                return Some(to);
            }
        }
        None
    }

    /// The next message and who sent it, taking turns between the senders.
    pub fn receive(&mut self) -> Option<(ShardId, M)> {
        for _ in 0..self.incoming.len() {
            let from = self.next;
            self.next = (self.next + 1) % self.incoming.len();
            if let Some(mail) = self.incoming[from].as_mut().and_then(|queue| queue.pop().ok()) {
                let from = u16::try_from(from).expect("the mesh has at most u16::MAX shards");
                return Some((ShardId(from), mail));
            }
        }
        None
    }

    /// Whether [`receive`](Self::receive) would give something.
    pub fn has_mail(&self) -> bool {
        self.incoming.iter().flatten().any(|queue| !queue.is_empty())
    }

    /// Announces sleep; look at [`has_mail`](Self::has_mail) afterwards and sleep only if there is none.
    pub fn prepare_sleep(&self) {
        self.flags[usize::from(self.shard.get())].prepare_sleep();
    }

    /// Takes the announcement back, after sleep or instead of it.
    pub fn stay_awake(&self) {
        self.flags[usize::from(self.shard.get())].stay_awake();
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mailbox").field("shard", &self.shard).field("shards", &self.shards()).finish()
    }
}

/// Why a message was not sent; carries it back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<M> {
    /// The queue has no room now.
    Full(M),
    /// The receiving shard has ended.
    Gone(M),
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full(_) => "Full(_)",
            Self::Gone(_) => "Gone(_)",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full(_) => "the queue to the shard is full",
            Self::Gone(_) => "the shard has ended",
        })
    }
}

impl<M> core::error::Error for SendError<M> {}
