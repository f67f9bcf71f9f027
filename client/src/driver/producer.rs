//! Producer handles and the futures of their records.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};
use tokio::sync::oneshot;

use super::{Client, Phase, State};
use crate::core::{AppendError, Delivery, ProduceRecord, ProducerConfig, ProducerKey, RecordTag};
use crate::error::ClientError;

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset; `None` with acks=0, or for a duplicate so old that the broker no longer knows.
    pub offset: Option<Offset>,
    /// The timestamp it was sent with; readers get another where the topic has its records' time from the broker
    /// (`message.timestamp.type=LogAppendTime`).
    pub timestamp: TimestampMs,
    /// An earlier attempt had stored it; its answer was lost.
    pub duplicate: bool,
}

/// A record on its way: the future of its outcome. Dropping it does not take the record back.
#[derive(Debug)]
pub struct PendingDelivery {
    receiver: oneshot::Receiver<Result<Delivered, ClientError>>,
}

impl PendingDelivery {
    /// The outcome if it is known already.
    pub fn try_take(&mut self) -> Option<Result<Delivered, ClientError>> {
        match self.receiver.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(ClientError::Closed)),
        }
    }
}

impl Future for PendingDelivery {
    type Output = Result<Delivered, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|outcome| outcome.unwrap_or(Err(ClientError::Closed)))
    }
}

/// Sends records. Cheap to clone; clones share buffer, order and producer id.
///
/// Dropping the last clone without [`Producer::flush`] abandons what has no outcome yet, and logs how many those were.
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    client: Client,
    key: ProducerKey,
    delivery_timeout: Duration,
}

impl Client {
    /// Opens a producer; idempotent unless configured otherwise.
    pub fn producer(&self, config: ProducerConfig) -> Producer {
        let delivery_timeout = config.delivery_timeout;
        let key = self.shared().command(|state, _| {
            let key = state.core.open_producer(config);
            state.deliveries.insert(key, Waiters::default());
            key
        });
        Producer { handle: Arc::new(Handle { client: self.clone(), key, delivery_timeout }) }
    }
}

impl Producer {
    /// Takes a record into the buffer, waiting while there is no room, and returns the future of its outcome.
    ///
    /// Records of one partition are stored in the order in which they were taken.
    ///
    /// # Errors
    /// When the record cannot be produced, or there was no room or no topic within the delivery timeout.
    pub async fn send(
        &self,
        topic: &str,
        record: &ProduceRecord<'_>,
    ) -> Result<PendingDelivery, ClientError> {
        // Appending never waits while there is room: without this a busy loop would keep the carrier from its turn.
        tokio::task::coop::consume_budget().await;
        let mut waited_for = "room in the producer's buffer";
        match self.try_send(topic, record) {
            Ok(pending) => return Ok(pending),
            Err(AppendError::Refused(error)) => return Err(error),
            Err(AppendError::Full) => {}
            Err(AppendError::AwaitingMetadata) => waited_for = "metadata of the topic",
        }
        let shared = self.handle.client.shared();
        let appended = shared.wait_for(|state| match self.append(state, topic, record) {
            Ok(pending) => Some(Ok(pending)),
            Err(AppendError::Refused(error)) => Some(Err(error)),
            Err(AppendError::Full | AppendError::AwaitingMetadata) => None,
        });
        let appended = tokio::time::timeout(self.handle.delivery_timeout, appended).await;
        shared.work.notify_one();
        appended.unwrap_or(Err(ClientError::TimedOut { waited_for: waited_for.to_owned() }))
    }

    /// Takes a record into the buffer if that is possible at once.
    ///
    /// # Errors
    /// [`AppendError::Full`] and [`AppendError::AwaitingMetadata`] pass; see [`Producer::send`], which waits.
    pub fn try_send(&self, topic: &str, record: &ProduceRecord<'_>) -> Result<PendingDelivery, AppendError> {
        self.handle.client.shared().command(|state, _| self.append(state, topic, record))
    }

    /// Sends everything taken so far without lingering, and waits until all of it has its outcome.
    ///
    /// # Errors
    /// [`ClientError::Closed`]. Outcomes, failures too, are told by each record's future.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (key, shared) = (self.handle.key, self.handle.client.shared());
        let mark = shared.command(|state, _| {
            state.core.flush(key);
            state.core.flush_mark(key)
        });
        shared
            .wait_for(|state| match state.phase {
                Phase::Closed => Some(Err(ClientError::Closed)),
                _ => state.core.is_flushed(key, mark).then_some(Ok(())),
            })
            .await
    }

    fn append(
        &self,
        state: &mut State,
        topic: &str,
        record: &ProduceRecord<'_>,
    ) -> Result<PendingDelivery, AppendError> {
        let now = self.handle.client.shared().now();
        let key = self.handle.key;
        let waiters = state.deliveries.get_mut(&key).ok_or(AppendError::Refused(ClientError::Closed))?;
        state.core.append(now, key, topic, record, waiters.next())?;
        Ok(PendingDelivery { receiver: waiters.wait() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let abandoned = self.client.shared().command(|state, _| {
            state.hand_out();
            state.deliveries.remove(&self.key);
            state.core.close_producer(self.key)
        });
        let records: usize = abandoned.iter().map(|delivery| delivery.records.len()).sum();
        if records > 0 {
            tracing::warn!(records, "producer dropped before its records had an outcome: flush it first");
        }
    }
}

/// Those who wait for the outcome of a record, by the record's tag.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    slots: Vec<Option<oneshot::Sender<Result<Delivered, ClientError>>>>,
    free: Vec<usize>,
}

impl Waiters {
    /// The tag of the next record.
    fn next(&self) -> RecordTag {
        RecordTag(self.free.last().copied().unwrap_or(self.slots.len()) as u64)
    }

    /// Waits for the record that got the tag from [`Waiters::next`].
    fn wait(&mut self) -> oneshot::Receiver<Result<Delivered, ClientError>> {
        let (sender, receiver) = oneshot::channel();
        match self.free.pop() {
            Some(slot) => self.slots[slot] = Some(sender),
            None => self.slots.push(Some(sender)),
        }
        receiver
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        for (place, record) in (0..).zip(&delivery.records) {
            let slot = record.tag.0 as usize;
            let sender = self.slots[slot].take().expect("each record has one outcome");
            self.free.push(slot);
            let outcome = match &delivery.outcome {
                Ok(stored) => Ok(Delivered {
                    partition: delivery.partition,
                    offset: stored.offset(place),
                    timestamp: record.timestamp,
                    duplicate: stored.duplicate,
                }),
                Err(error) => Err(error.clone()),
            };
            // The future may have been dropped: then nobody wants to know.
            drop(sender.send(outcome));
        }
    }
}
