//! Questions about topics and offsets, one method each.

use ringmain_wire::ids::{PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::messages::{
    AddPartitionsRequest, AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DescribeTopicRequest,
    ListTopicsRequest, ListedOffset, MetadataRequest, StatsRequest, StatsResponse, TopicDescription,
    TopicMetadata, TopicSummary,
};

use super::Client;
use crate::core::{Answer, Request};
use crate::error::ClientError;

/// Every method waits for at most the client's request timeout. Errors are what the broker answered, or
/// [`ClientError::TimedOut`]; [`ClientError::ConnectionLost`] where asking again might do something twice.
impl Client {
    /// Creates a topic; it can be used everywhere when this returns.
    ///
    /// # Errors
    /// As above.
    pub async fn create_topic(&self, request: CreateTopicRequest) -> Result<TopicDescription, ClientError> {
        self.describe(Request::CreateTopic(request)).await
    }

    /// All topics by name; `internal`: also those of the broker itself.
    ///
    /// # Errors
    /// As above.
    pub async fn list_topics(&self, internal: bool) -> Result<Vec<TopicSummary>, ClientError> {
        match self.question(Request::ListTopics(ListTopicsRequest { internal })).await? {
            Answer::Topics(topics) => Ok(topics.topics),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    /// What the shards of the node that answers hold and have done.
    ///
    /// # Errors
    /// As above.
    pub async fn stats(&self) -> Result<StatsResponse, ClientError> {
        match self.question(Request::Stats(StatsRequest { shards: None })).await? {
            Answer::Stats(stats) => Ok(stats),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    /// A topic with its partitions and settings.
    ///
    /// # Errors
    /// As above.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, ClientError> {
        self.describe(Request::DescribeTopic(DescribeTopicRequest { name: name.to_owned() })).await
    }

    /// Changes settings of a topic.
    ///
    /// # Errors
    /// As above.
    pub async fn alter_topic(&self, request: AlterTopicRequest) -> Result<TopicDescription, ClientError> {
        self.describe(Request::AlterTopic(request)).await
    }

    /// Raises the number of partitions of a topic to `partitions`.
    ///
    /// # Errors
    /// As above.
    pub async fn add_partitions(&self, name: &str, partitions: u32) -> Result<TopicDescription, ClientError> {
        self.describe(Request::AddPartitions(AddPartitionsRequest { name: name.to_owned(), partitions }))
            .await
    }

    /// Deletes a topic and its records; returns the id that is gone.
    ///
    /// # Errors
    /// As above.
    pub async fn delete_topic(&self, name: &str) -> Result<TopicId, ClientError> {
        match self.question(Request::DeleteTopic(DeleteTopicRequest { name: name.to_owned() })).await? {
            Answer::Deleted(deleted) => Ok(deleted.id),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    /// Who owns the partitions of those topics, or of all.
    ///
    /// # Errors
    /// As above; a topic that does not exist is told by its own error number.
    pub async fn metadata(&self, topics: Option<Vec<String>>) -> Result<Vec<TopicMetadata>, ClientError> {
        match self.question(Request::Metadata(MetadataRequest { topics })).await? {
            Answer::Metadata(metadata) => Ok(metadata.topics),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    /// The first record of a partition that is not older than `timestamp`, or one of its ends.
    ///
    /// # Errors
    /// As above.
    pub async fn list_offset(
        &self,
        topic: &str,
        partition: PartitionIndex,
        timestamp: TimestampMs,
    ) -> Result<ListedOffset, ClientError> {
        match self.question(Request::ListOffsets { topic: topic.to_owned(), partition, timestamp }).await? {
            Answer::Offset(found) => Ok(found),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    async fn describe(&self, request: Request) -> Result<TopicDescription, ClientError> {
        match self.question(request).await? {
            Answer::Topic(topic) => Ok(topic),
            other => unreachable!("the core has matched {other:?} to its request"),
        }
    }

    async fn question(&self, request: Request) -> Result<Answer, ClientError> {
        self.ask(request, self.shared().request_timeout).await
    }
}
