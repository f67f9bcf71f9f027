//! The batches of one partition, from the first record to the broker's answer, in the order of the records.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ringmain_wire::batch::{BatchBuilder, BatchError, Codec, stamp_producer};
use ringmain_wire::ids::{PartitionId, ProducerEpoch, ProducerId, ProducerSequence};

use super::{Delivery, ProduceRecord, SentRecord, Stored};
use crate::core::ConnectionId;
use crate::error::ClientError;

/// Batches of one partition that may be on their way at once; as many as a broker remembers to recognise duplicates.
pub(super) const IN_FLIGHT_MAX: usize = 5;

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// One batch and what became of it so far.
#[derive(Debug)]
pub(super) struct Batch {
    /// Names it among all batches of the producer, in the order in which they were begun.
    pub(super) serial: u64,
    content: Content,
    pub(super) records: Vec<SentRecord>,
    /// What its records count against the producer's buffer.
    pub(super) bytes: usize,
    pub(super) created: Duration,
    /// Takes no more records and waits no longer for them.
    closed: bool,
    /// Assigned when it is first sent, kept over every retry.
    sequence: Option<ProducerSequence>,
    /// Its number among the sequences of the partition; without meaning before it has one.
    ordinal: u64,
    in_flight: bool,
}

#[derive(Debug)]
enum Content {
    Open(Box<BatchBuilder>),
    Sealed(Bytes),
}

/// What a partition needs to decide what may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendRules {
    pub(super) linger: Duration,
    pub(super) in_flight_max: usize,
    pub(super) idempotent: bool,
    /// The producer's current identity, for partitions that have none of their own yet.
    pub(super) identity: Option<Identity>,
}

/// One partition's part of a producer. Batches leave at the front; those in flight are the first ones, except while a
/// failed one waits for those behind it to come back.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) partition: PartitionId,
    topic: Arc<str>,
    batches: VecDeque<Batch>,
    /// The connection that carries what is in flight: another one could overtake it.
    in_flight_on: Option<ConnectionId>,
    /// A batch failed while later ones were in flight: nothing is sent until they have come back.
    draining: bool,
    attempts: u32,
    retry_at: Duration,
    identity: Option<Identity>,
    sequence_next: ProducerSequence,
    ordinal_next: u64,
    last_error: Option<ClientError>,
}

/// Whether a batch that failed for good may have been stored all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    NotStored,
    Unknown,
}

impl Queue {
    pub(super) fn new(partition: PartitionId, topic: Arc<str>) -> Self {
        Self {
            partition,
            topic,
            batches: VecDeque::new(),
            in_flight_on: None,
            draining: false,
            attempts: 0,
            retry_at: Duration::ZERO,
            identity: None,
            sequence_next: ProducerSequence(0),
            ordinal_next: 0,
            last_error: None,
        }
    }

    /// Bytes of the batch that takes records, header included and before compression; `None` when there is none.
    pub(super) fn open_bytes(&self) -> Option<usize> {
        let batch = self.batches.back().filter(|batch| !batch.closed)?;
        match &batch.content {
            Content::Open(builder) => Some(builder.size_estimate_bytes()),
            Content::Sealed(_) => None,
        }
    }

    /// Adds a record to the open batch, or to a new one named `serial`. Returns whether a batch was begun.
    pub(super) fn append(
        &mut self,
        now: Duration,
        serial: u64,
        codec: Codec,
        record: &ProduceRecord<'_>,
        sent: SentRecord,
        bytes: usize,
    ) -> bool {
        let begins = self.open_bytes().is_none();
        if begins {
            self.batches.push_back(Batch {
                serial,
                content: Content::Open(Box::new(BatchBuilder::new(codec))),
                records: Vec::new(),
                bytes: 0,
                created: now,
                closed: false,
                sequence: None,
                ordinal: 0,
                in_flight: false,
            });
        }
        let batch = self.batches.back_mut().expect("one is open");
        let Content::Open(builder) = &mut batch.content else { unreachable!("the last batch is open") };
        builder.append(record.timestamp, record.key, record.value, record.headers);
        batch.records.push(sent);
        batch.bytes += bytes;
        begins
    }

    /// Lets the open batch go as soon as its turn comes.
    pub(super) fn close_open(&mut self) {
        if let Some(batch) = self.batches.back_mut() {
            batch.closed = true;
        }
    }

    /// The oldest batch that is not settled.
    pub(super) fn oldest_serial(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.serial)
    }

    /// Whether a batch may be sent now, on a connection that [`Queue::can_use`] accepts.
    pub(super) fn is_due(&self, now: Duration, rules: SendRules) -> bool {
        let in_flight = self.in_flight();
        if in_flight >= rules.in_flight_max || now < self.retry_at || (self.draining && in_flight > 0) {
            return false;
        }
        let Some(batch) = self.batches.get(in_flight) else { return false };
        if rules.idempotent && batch.sequence.is_none() {
            match self.identity {
                Some(_) => {}
                // A fresh identity begins only when nothing of the last one is left in front of it.
                None if in_flight > 0 || rules.identity.is_none() => return false,
                None => {}
            }
        }
        // A retry may be refused though its batch is stored, and later ones accepted meanwhile: the oldest must stay
        // among those that the broker remembers.
        let oldest = &self.batches[0];
        let ordinal = if batch.sequence.is_some() { batch.ordinal } else { self.ordinal_next };
        if oldest.sequence.is_some() && ordinal - oldest.ordinal >= IN_FLIGHT_MAX as u64 {
            return false;
        }
        batch.closed || now >= batch.created + rules.linger
    }

    /// Whether a batch sent on `connection` stays behind those that are in flight.
    pub(super) fn can_use(&self, connection: ConnectionId) -> bool {
        self.in_flight() == 0 || self.in_flight_on == Some(connection)
    }

    /// Takes the next batch to be sent, as its bytes; [`Queue::is_due`] has said that there is one.
    ///
    /// # Errors
    /// When it cannot be built; it has to be dropped.
    pub(super) fn send(
        &mut self,
        rules: SendRules,
        connection: ConnectionId,
    ) -> Result<(u64, Bytes), BatchError> {
        let place = self.in_flight();
        if place == 0 {
            self.draining = false;
        }
        let batch = &mut self.batches[place];
        batch.closed = true;
        if let Content::Open(builder) = &mut batch.content {
            let builder = core::mem::replace(&mut **builder, BatchBuilder::new(Codec::None));
            batch.content = Content::Sealed(builder.finish()?);
        }
        if rules.idempotent && batch.sequence.is_none() {
            let identity = self.identity.or(rules.identity).expect("due only with an identity");
            self.identity = Some(identity);
            batch.stamp(identity, self.sequence_next);
            batch.ordinal = self.ordinal_next;
            self.ordinal_next += 1;
            self.sequence_next = self.sequence_next.plus(batch.records.len() as u32);
        }
        batch.in_flight = true;
        self.in_flight_on = Some(connection);
        let Content::Sealed(bytes) = &batch.content else { unreachable!("sealed above") };
        Ok((batch.serial, bytes.clone()))
    }

    /// Takes the batch that could not be built, or that nobody will answer for.
    pub(super) fn take_next(&mut self) -> Batch {
        let place = self.in_flight();
        self.batches.remove(place).expect("send has looked at it")
    }

    /// Takes the batch that was just sent and will not be answered (acks=0).
    pub(super) fn take_sent(&mut self) -> Batch {
        self.batches.pop_front().expect("send has looked at it")
    }

    /// The broker stored a batch. `None` when it was given up meanwhile.
    pub(super) fn handle_stored(&mut self, serial: u64) -> Option<Batch> {
        let place = self.place(serial)?;
        self.attempts = 0;
        self.last_error = None;
        self.batches.remove(place)
    }

    /// An attempt came to nothing: it is made again at `retry_at`, after those in flight behind it have come back.
    pub(super) fn handle_retriable(&mut self, serial: u64, error: ClientError, retry_at: Duration) {
        let Some(place) = self.place(serial) else { return };
        self.batches[place].in_flight = false;
        self.draining = true;
        self.attempts += 1;
        self.retry_at = retry_at;
        self.last_error = Some(error);
    }

    /// The connection was lost with a batch in flight: whether it was stored is not known, and it goes again.
    pub(super) fn handle_lost(&mut self, serial: u64) {
        if let Some(place) = self.place(serial) {
            self.batches[place].in_flight = false;
            self.draining = true;
        }
    }

    /// Whether a gap before this batch is explained by a batch that failed before it, and closes by sending again.
    pub(super) fn explains_gap(&self, serial: u64) -> bool {
        self.place(serial).is_some_and(|place| place > 0 || self.batches[place].sequence.is_none())
    }

    /// A batch failed for good. Returns it, and those that have to fail with it.
    pub(super) fn handle_failed(&mut self, serial: u64, fate: Fate) -> Vec<Batch> {
        let Some(place) = self.place(serial) else { return Vec::new() };
        let failed = self.batches.remove(place).expect("found above");
        let broke_sequence = failed.sequence.is_some();
        let mut taken = vec![failed];
        if broke_sequence {
            // What was sent behind it would leave a gap: this partition goes on under a fresh identity.
            self.identity = None;
            self.sequence_next = ProducerSequence(0);
            self.draining = true;
            match fate {
                // The gap proves that nothing behind it was stored: it takes new sequences when it goes again.
                Fate::NotStored => {
                    for batch in self.batches.iter_mut().skip(place) {
                        batch.sequence = None;
                    }
                }
                Fate::Unknown => {
                    while self.batches.get(place).is_some_and(|batch| batch.sequence.is_some()) {
                        taken.extend(self.batches.remove(place));
                    }
                }
            }
        }
        taken
    }

    /// The oldest batch, when it is older than `timeout`.
    pub(super) fn expired(&self, now: Duration, timeout: Duration) -> Option<u64> {
        self.batches.front().filter(|batch| now >= batch.created + timeout).map(|batch| batch.serial)
    }

    /// Why the oldest batch was not delivered at the last attempt.
    pub(super) const fn last_error(&self) -> Option<&ClientError> {
        self.last_error.as_ref()
    }

    /// How often in a row attempts came to nothing.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Takes everything.
    pub(super) fn take_all(&mut self) -> Vec<Batch> {
        self.identity = None;
        self.sequence_next = ProducerSequence(0);
        self.batches.drain(..).collect()
    }

    /// When time alone changes something after `now`.
    pub(super) fn deadline(&self, now: Duration, linger: Duration, timeout: Duration) -> Option<Duration> {
        let expires = self.batches.front()?.created + timeout;
        let lingers = self.batches.back().filter(|batch| !batch.closed).map(|batch| batch.created + linger);
        [Some(expires), lingers, Some(self.retry_at)].into_iter().flatten().filter(|&at| at > now).min()
    }

    /// What became of a batch of this partition.
    pub(super) fn delivery(&self, batch: Batch, outcome: Result<Stored, ClientError>) -> Delivery {
        Delivery {
            topic: Arc::clone(&self.topic),
            partition: self.partition.index,
            records: batch.records,
            outcome,
        }
    }

    fn in_flight(&self) -> usize {
        self.batches.iter().take(IN_FLIGHT_MAX).filter(|batch| batch.in_flight).count()
    }

    fn place(&self, serial: u64) -> Option<usize> {
        self.batches.binary_search_by_key(&serial, |batch| batch.serial).ok()
    }
}

impl Batch {
    /// Whether it was sent under an identity, and what follows it depends on it.
    pub(super) const fn has_sequence(&self) -> bool {
        self.sequence.is_some()
    }

    fn stamp(&mut self, identity: Identity, sequence: ProducerSequence) {
        let Content::Sealed(bytes) = &mut self.content else { unreachable!("stamped when sealed") };
        let mut batch =
            core::mem::take(bytes).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        stamp_producer(&mut batch, identity.producer, identity.epoch, sequence);
        *bytes = batch.freeze();
        self.sequence = Some(sequence);
    }
}
