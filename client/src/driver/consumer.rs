//! Consumer handles.

use std::sync::Arc;

use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TimestampMs};
use ringmain_wire::native::messages::{TIMESTAMP_END, TIMESTAMP_START};

use super::{Client, Phase};
use crate::core::{ConsumerConfig, ConsumerKey, Fetched, Position, Topic};
use crate::error::ClientError;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is stored.
    Beginning,
    /// Behind the last record that is committed.
    End,
    /// At that offset.
    Offset(Offset),
    /// That many records before the end, or at the first one.
    Tail(u64),
    /// At the first record that is not older, or at the end.
    Time(TimestampMs),
}

/// Reads partitions. Cheap to clone; clones share the records: each goes to one of them.
#[derive(Clone, Debug)]
pub struct Consumer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    client: Client,
    key: ConsumerKey,
}

impl Client {
    /// Opens a consumer that reads nothing yet.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        let key = self.shared().command(|state, _| state.core.open_consumer(config));
        Consumer { handle: Arc::new(Handle { client: self.clone(), key }) }
    }

    /// What the client knows of a topic; asks the broker when that is nothing.
    ///
    /// # Errors
    /// When there is no such topic, or no answer in time.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        let shared = self.shared();
        let known = shared.command(|state, _| state.core.topic(name))?;
        if let Some(topic) = known {
            return Ok(topic);
        }
        let known = shared.wait_for(|state| state.core.topic(name).transpose());
        let waited = tokio::time::timeout(shared.request_timeout, known).await;
        waited.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { waited_for: format!("metadata of topic {name:?}") })
        })
    }

    /// The offset that `start` means in a partition now.
    ///
    /// # Errors
    /// When topic or partition do not exist, or no answer comes in time.
    pub async fn offset_of(
        &self,
        topic: &str,
        partition: PartitionIndex,
        start: Start,
    ) -> Result<Offset, ClientError> {
        let listed =
            async |timestamp| self.list_offset(topic, partition, timestamp).await.map(|found| found.offset);
        match start {
            Start::Offset(offset) => Ok(offset),
            Start::Beginning => listed(TIMESTAMP_START).await,
            Start::End => listed(TIMESTAMP_END).await,
            Start::Time(time) => match listed(time).await? {
                Offset(..0) => listed(TIMESTAMP_END).await,
                found => Ok(found),
            },
            Start::Tail(records) => {
                let (first, end) = (listed(TIMESTAMP_START).await?, listed(TIMESTAMP_END).await?);
                let back = i64::try_from(records).unwrap_or(i64::MAX);
                Ok(Offset(end.get().saturating_sub(back)).max(first))
            }
        }
    }
}

impl Consumer {
    /// Reads a partition from `start` on; one that is read already goes on there (seek). Returns the offset.
    ///
    /// # Errors
    /// When topic or partition do not exist, or no answer comes in time.
    pub async fn assign(
        &self,
        topic: &str,
        partition: PartitionIndex,
        start: Start,
    ) -> Result<Offset, ClientError> {
        self.assign_all(topic, &[(partition, start)]).await.map(|offsets| offsets[0])
    }

    /// Reads partitions of one topic, all from the same moment on: none waits behind a fetch that another one parks.
    /// Returns their offsets in the same order.
    ///
    /// # Errors
    /// When topic or a partition do not exist, or no answer comes in time; nothing has been assigned then.
    pub async fn assign_all(
        &self,
        topic: &str,
        partitions: &[(PartitionIndex, Start)],
    ) -> Result<Vec<Offset>, ClientError> {
        let client = &self.handle.client;
        let known = client.topic(topic).await?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for &(partition, start) in partitions {
            known.partition(partition)?;
            offsets.push(client.offset_of(topic, partition, start).await?);
        }
        client.shared().command(|state, _| {
            let assigned = partitions.iter().zip(&offsets);
            assigned.into_iter().try_for_each(|(&(partition, _), &offset)| {
                state.core.assign(self.handle.key, &known, partition, offset)
            })
        })?;
        Ok(offsets)
    }

    /// Reads a partition no further.
    pub fn unassign(&self, partition: PartitionId) {
        self.handle.client.shared().command(|state, _| state.core.unassign(self.handle.key, partition));
    }

    /// Stops or resumes fetching a partition; what was fetched already is still given out.
    pub fn set_paused(&self, partition: PartitionId, paused: bool) {
        self.handle
            .client
            .shared()
            .command(|state, _| state.core.set_paused(self.handle.key, partition, paused));
    }

    /// Where this consumer stands in a partition that it reads.
    pub fn position(&self, partition: PartitionId) -> Option<Position> {
        self.handle.client.shared().lock().core.position(self.handle.key, partition)
    }

    /// The next records, those of one batch, or a partition that is read no further. Waits for as long as it takes,
    /// over restarts of the broker too.
    ///
    /// # Errors
    /// [`ClientError::Closed`].
    pub async fn next(&self) -> Result<Fetched, ClientError> {
        tokio::task::coop::consume_budget().await;
        let shared = self.handle.client.shared();
        let fetched = shared
            .wait_for(|state| match state.phase {
                Phase::Closed => Some(Err(ClientError::Closed)),
                _ => state.core.poll_fetched(self.handle.key).map(Ok),
            })
            .await;
        // What was taken makes room for the next fetch.
        shared.work.notify_one();
        fetched
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.client.shared().command(|state, _| state.core.close_consumer(self.key));
    }
}
