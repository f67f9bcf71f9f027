//! The client for programs without an executor: the same handles, waiting instead of awaiting. One thread carries the
//! connections of each client.
//!
//! Must not be called from within a tokio runtime.

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::messages::{
    AlterTopicRequest, CreateTopicRequest, ListedOffset, StatsResponse, TopicDescription, TopicSummary,
};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::core::{
    AppendError, ClientConfig, ConsumerConfig, Fetched, Position, ProduceRecord, ProducerConfig, Topic,
};
use crate::driver::{self, Delivered, Start};
use crate::error::ClientError;

/// A client of one cluster; see [`driver::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    // Before the carrier: its end is told to a runtime that still runs.
    client: driver::Client,
    carrier: Arc<Carrier>,
}

/// Sends records; see [`driver::Producer`].
#[derive(Clone, Debug)]
pub struct Producer {
    producer: driver::Producer,
    carrier: Arc<Carrier>,
}

/// Reads partitions; see [`driver::Consumer`].
#[derive(Clone, Debug)]
pub struct Consumer {
    consumer: driver::Consumer,
    carrier: Arc<Carrier>,
}

/// A record on its way.
#[derive(Debug)]
pub struct PendingDelivery {
    pending: driver::PendingDelivery,
    carrier: Arc<Carrier>,
}

impl Client {
    /// See [`driver::Client::connect`].
    ///
    /// # Errors
    /// [`ClientError::Connect`] as soon as none of the addresses can be reached, or without a thread to run on.
    pub fn connect(brokers: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let carrier = Arc::new(Carrier::start()?);
        let client = carrier.wait(driver::Client::connect(brokers, config))?;
        Ok(Self { client, carrier })
    }

    /// See [`driver::Client::producer`].
    pub fn producer(&self, config: ProducerConfig) -> Producer {
        Producer { producer: self.client.producer(config), carrier: Arc::clone(&self.carrier) }
    }

    /// See [`driver::Client::consumer`].
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer { consumer: self.client.consumer(config), carrier: Arc::clone(&self.carrier) }
    }

    /// See [`driver::Client::topic`].
    ///
    /// # Errors
    /// The same.
    pub fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        self.carrier.wait(self.client.topic(name))
    }

    /// See [`driver::Client::offset_of`].
    ///
    /// # Errors
    /// The same.
    pub fn offset_of(
        &self,
        topic: &str,
        partition: PartitionIndex,
        start: Start,
    ) -> Result<Offset, ClientError> {
        self.carrier.wait(self.client.offset_of(topic, partition, start))
    }

    /// See [`driver::Client::create_topic`].
    ///
    /// # Errors
    /// The same.
    pub fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicDescription, ClientError> {
        self.carrier.wait(self.client.create_topic(request))
    }

    /// See [`driver::Client::list_topics`].
    ///
    /// # Errors
    /// The same.
    pub fn list_topics(&self, internal: bool) -> Result<Vec<TopicSummary>, ClientError> {
        self.carrier.wait(self.client.list_topics(internal))
    }

    /// See [`driver::Client::stats`].
    ///
    /// # Errors
    /// The same.
    pub fn stats(&self) -> Result<StatsResponse, ClientError> {
        self.carrier.wait(self.client.stats())
    }

    /// See [`driver::Client::describe_topic`].
    ///
    /// # Errors
    /// The same.
    pub fn describe_topic(&self, name: &str) -> Result<TopicDescription, ClientError> {
        self.carrier.wait(self.client.describe_topic(name))
    }

    /// See [`driver::Client::alter_topic`].
    ///
    /// # Errors
    /// The same.
    pub fn alter_topic(&self, request: AlterTopicRequest) -> Result<TopicDescription, ClientError> {
        self.carrier.wait(self.client.alter_topic(request))
    }

    /// See [`driver::Client::add_partitions`].
    ///
    /// # Errors
    /// The same.
    pub fn add_partitions(&self, name: &str, partitions: u32) -> Result<TopicDescription, ClientError> {
        self.carrier.wait(self.client.add_partitions(name, partitions))
    }

    /// See [`driver::Client::delete_topic`].
    ///
    /// # Errors
    /// The same.
    pub fn delete_topic(&self, name: &str) -> Result<TopicId, ClientError> {
        self.carrier.wait(self.client.delete_topic(name))
    }

    /// See [`driver::Client::list_offset`].
    ///
    /// # Errors
    /// The same.
    pub fn list_offset(
        &self,
        topic: &str,
        partition: PartitionIndex,
        timestamp: TimestampMs,
    ) -> Result<ListedOffset, ClientError> {
        self.carrier.wait(self.client.list_offset(topic, partition, timestamp))
    }
}

impl Producer {
    /// See [`driver::Producer::send`].
    ///
    /// # Errors
    /// The same.
    pub fn send(&self, topic: &str, record: &ProduceRecord<'_>) -> Result<PendingDelivery, ClientError> {
        let pending = match self.producer.try_send(topic, record) {
            Ok(pending) => pending,
            Err(AppendError::Refused(error)) => return Err(error),
            Err(AppendError::Full | AppendError::AwaitingMetadata) => {
                self.carrier.wait(self.producer.send(topic, record))?
            }
        };
        Ok(PendingDelivery { pending, carrier: Arc::clone(&self.carrier) })
    }

    /// See [`driver::Producer::flush`].
    ///
    /// # Errors
    /// The same.
    pub fn flush(&self) -> Result<(), ClientError> {
        self.carrier.wait(self.producer.flush())
    }
}

impl PendingDelivery {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// Why the record was not delivered.
    pub fn wait(self) -> Result<Delivered, ClientError> {
        self.carrier.wait(self.pending)
    }

    /// The outcome if it is known already.
    pub fn try_take(&mut self) -> Option<Result<Delivered, ClientError>> {
        self.pending.try_take()
    }
}

impl Consumer {
    /// See [`driver::Consumer::assign`].
    ///
    /// # Errors
    /// The same.
    pub fn assign(
        &self,
        topic: &str,
        partition: PartitionIndex,
        start: Start,
    ) -> Result<Offset, ClientError> {
        self.carrier.wait(self.consumer.assign(topic, partition, start))
    }

    /// See [`driver::Consumer::assign_all`].
    ///
    /// # Errors
    /// The same.
    pub fn assign_all(
        &self,
        topic: &str,
        partitions: &[(PartitionIndex, Start)],
    ) -> Result<Vec<Offset>, ClientError> {
        self.carrier.wait(self.consumer.assign_all(topic, partitions))
    }

    /// See [`driver::Consumer::unassign`].
    pub fn unassign(&self, partition: PartitionId) {
        self.consumer.unassign(partition);
    }

    /// See [`driver::Consumer::set_paused`].
    pub fn set_paused(&self, partition: PartitionId, paused: bool) {
        self.consumer.set_paused(partition, paused);
    }

    /// See [`driver::Consumer::position`].
    pub fn position(&self, partition: PartitionId) -> Option<Position> {
        self.consumer.position(partition)
    }

    /// See [`driver::Consumer::next`].
    ///
    /// # Errors
    /// The same.
    pub fn next(&self) -> Result<Fetched, ClientError> {
        self.carrier.wait(self.consumer.next())
    }
}

/// The thread that carries the connections.
#[derive(Debug)]
struct Carrier {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Carrier {
    fn start() -> Result<Self, ClientError> {
        let failed = |error: std::io::Error| ClientError::Environment { reason: error.to_string() };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("ringmain-client".to_owned())
            .spawn(move || {
                // Sent or dropped: both mean that the last handle is gone.
                let _ = runtime.block_on(stopped);
            })
            .map_err(failed)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the carrier was printed when it happened; here it must not become a second one.
            drop(thread.join());
        }
    }
}
