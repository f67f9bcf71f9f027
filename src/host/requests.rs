//! Requests that wait: for the log, for other shards, for time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_shard::store::Ticket;
use ringmain_shard::time::Mono;
use ringmain_wire::ids::{PartitionId, ShardId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{FetchPart, FetchedPart, ListedOffset, ProducedPart};

use super::connection::{AnswerKey, Segment};
use super::mail::RequestNumber;
use super::stats::StatsGather;

/// Parts that one request may have.
pub(super) const PARTS_MAX: usize = 1 << PART_BITS;
const PART_BITS: u32 = 14;

/// Who asked for something: a request of a shard, and the part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The shard.
    pub(super) shard: ShardId,
    /// Its request.
    pub(super) request: RequestNumber,
    /// The part.
    pub(super) part: u16,
}

/// What a request waits for, and what it has so far.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A produce of a client of this shard.
    Produce {
        /// Where its answer goes; nowhere with acks=0.
        answer: Option<AnswerKey>,
        /// To be repeated in the answer.
        correlation: u32,
        /// Results so far.
        parts: Vec<ProducedPart>,
        /// How many are missing.
        missing: usize,
    },
    /// A batch that another shard sent here.
    ProduceFor {
        /// The shard,
        shard: ShardId,
        /// its request,
        request: RequestNumber,
        /// and the part of it.
        part: u16,
    },
    /// The log entry of a change of metadata.
    Change,
    /// A fetch of a client of this shard.
    Fetch(FetchGather),
    /// Partitions of this shard that a fetch waits on.
    FetchHere(FetchHere),
    /// A share of a fetch whose records are being read out of segments.
    FetchReading(FetchReading),
    /// A search for the first record of a time in a segment.
    TimeSearch(TimeSearch),
    /// A search for the batch at which a partition is to be cut.
    Truncation {
        /// The partition.
        partition: PartitionId,
    },
    /// A search for offsets by a client of this shard.
    ListOffsets {
        /// Where its answer goes.
        answer: AnswerKey,
        /// To be repeated in the answer.
        correlation: u32,
        /// Results so far.
        parts: Vec<ListedOffset>,
        /// How many are missing.
        missing: usize,
    },
    /// A decision of the controller for a client of this shard.
    Decision {
        /// Where its answer goes.
        answer: AnswerKey,
        /// To be repeated in the answer.
        correlation: u32,
        /// What was asked.
        api: u16,
    },
    /// What other shards hold and have done.
    Stats(StatsGather),
    /// A block of producer ids.
    ProducerIds,
}

/// A fetch, gathered from the shards that own its partitions.
#[derive(Debug)]
pub(super) struct FetchGather {
    /// Where its answer goes.
    pub(super) answer: AnswerKey,
    /// To be repeated in the answer.
    pub(super) correlation: u32,
    /// Results so far, with their batches.
    pub(super) parts: Vec<(FetchedPart, Vec<Segment>)>,
    /// Shards whose results are missing.
    pub(super) shards: BTreeSet<ShardId>,
    /// The missing ones were asked to answer at once.
    pub(super) cancelled: bool,
}

/// The share of a fetch that one shard serves.
#[derive(Debug)]
pub(super) struct FetchHere {
    /// Who gathers it.
    pub(super) shard: ShardId,
    /// Its request.
    pub(super) request: RequestNumber,
    /// What to read, with its place in the request.
    pub(super) parts: Vec<(u16, FetchPart)>,
    /// Wait for that many bytes.
    pub(super) bytes_min: usize,
    /// Give no more than that, but one batch if there is one.
    pub(super) bytes_max: usize,
    /// Answer at this time at the latest, unless records that are there have to wait for memory.
    pub(super) deadline: Mono,
}

impl FetchHere {
    /// The partitions it reads.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.parts.iter().map(|(_, part)| PartitionId::new(part.topic, part.partition))
    }
}

/// A share of a fetch that waits for segments to be read.
#[derive(Debug)]
pub(super) struct FetchReading {
    /// The share.
    pub(super) here: FetchHere,
    /// What was read, by place in the share.
    pub(super) found: BTreeMap<usize, Result<Bytes, ErrorCode>>,
    /// Reads that have not ended.
    pub(super) missing: usize,
}

/// A search for the first record of a time that goes through segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeSearch {
    /// Who wants to know.
    pub(super) asker: Asker,
    /// Where.
    pub(super) partition: PartitionId,
    /// The time.
    pub(super) timestamp: TimestampMs,
}

/// What one shard read for a fetch.
pub(super) type FetchedParts = Vec<(u16, FetchedPart, Vec<Bytes>)>;

/// All requests of a shard that wait, and when the impatient ones give up.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestNumber, Waiting>,
    next: RequestNumber,
    deadlines: BTreeSet<(Mono, RequestNumber)>,
}

impl Requests {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The number that the next request gets.
    pub(super) fn next_number(&self) -> RequestNumber {
        self.next
    }

    /// A request begins to wait.
    pub(super) fn insert(&mut self, waiting: Waiting) -> RequestNumber {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, waiting);
        number
    }

    /// What a request waits for; none when it was answered or given up.
    pub(super) fn get_mut(&mut self, number: RequestNumber) -> Option<&mut Waiting> {
        self.waiting.get_mut(&number)
    }

    /// A request waits on, under the number it had.
    pub(super) fn put_back(&mut self, number: RequestNumber, waiting: Waiting) {
        self.waiting.insert(number, waiting);
    }

    /// A request no longer waits.
    pub(super) fn remove(&mut self, number: RequestNumber) -> Option<Waiting> {
        self.waiting.remove(&number)
    }

    /// Wakes a request at `deadline`.
    pub(super) fn set_deadline(&mut self, deadline: Mono, number: RequestNumber) {
        self.deadlines.insert((deadline, number));
    }

    /// Takes a wake-up back.
    pub(super) fn clear_deadline(&mut self, deadline: Mono, number: RequestNumber) {
        self.deadlines.remove(&(deadline, number));
    }

    /// The next wake-up.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// A request whose time has come.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<RequestNumber> {
        let &(deadline, number) = self.deadlines.first()?;
        (deadline <= now).then(|| {
            self.deadlines.remove(&(deadline, number));
            number
        })
    }

    /// Shares of fetches that wait here, by number.
    pub(super) fn fetches_here(&self) -> Vec<RequestNumber> {
        let fetches = self.waiting.iter().filter(|(_, waiting)| matches!(waiting, Waiting::FetchHere(_)));
        fetches.map(|(&number, _)| number).collect()
    }

    /// The share that waits here of another shard's fetch.
    pub(super) fn fetch_here_of(&self, shard: ShardId, request: RequestNumber) -> Option<RequestNumber> {
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::FetchHere(here) if here.shard == shard && here.request == request);
        self.waiting.iter().find(|(_, waiting)| is_it(waiting)).map(|(&number, _)| number)
    }
}

/// The ticket of part `part` of a request.
pub(super) fn ticket(request: RequestNumber, part: usize) -> Ticket {
    assert!(part < PARTS_MAX, "requests have fewer parts");
    Ticket(request << PART_BITS | part as u64)
}

/// The inverse of [`ticket`].
pub(super) fn of_ticket(ticket: Ticket) -> (RequestNumber, usize) {
    (ticket.0 >> PART_BITS, (ticket.0 & (PARTS_MAX as u64 - 1)) as usize)
}
