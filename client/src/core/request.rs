//! Requests about topics and offsets: one question, one answer, repeated where repeating is safe.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringmain_wire::ids::{PartitionIndex, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api};
use ringmain_wire::native::messages::{
    AddPartitionsRequest, AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DeleteTopicResponse,
    DescribeTopicRequest, ListOffsetsPart, ListOffsetsRequest, ListOffsetsResponse, ListTopicsRequest,
    ListTopicsResponse, ListedOffset, MetadataRequest, MetadataResponse, StatsRequest, StatsResponse,
    TopicDescription,
};

use super::backoff::Jitter;
use super::connection::Connection;
use super::{Purpose, RequestId};
use crate::error::{ClientError, Fault};

/// A question to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Answered by [`Answer::Metadata`].
    Metadata(MetadataRequest),
    /// Answered by [`Answer::Topic`].
    CreateTopic(CreateTopicRequest),
    /// Answered by [`Answer::Topics`].
    ListTopics(ListTopicsRequest),
    /// Answered by [`Answer::Stats`].
    Stats(StatsRequest),
    /// Answered by [`Answer::Topic`].
    DescribeTopic(DescribeTopicRequest),
    /// Answered by [`Answer::Topic`].
    AlterTopic(AlterTopicRequest),
    /// Answered by [`Answer::Topic`].
    AddPartitions(AddPartitionsRequest),
    /// Answered by [`Answer::Deleted`].
    DeleteTopic(DeleteTopicRequest),
    /// Asks the owner of one partition; answered by [`Answer::Offset`].
    ListOffsets {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The time, or one of the constants for the ends.
        timestamp: TimestampMs,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Topics and the owners of their partitions.
    Metadata(MetadataResponse),
    /// A topic as it is now.
    Topic(TopicDescription),
    /// All topics.
    Topics(ListTopicsResponse),
    /// What the node's shards hold and have done.
    Stats(StatsResponse),
    /// The topic is gone.
    Deleted(DeleteTopicResponse),
    /// The offset that was looked for.
    Offset(ListedOffset),
}

impl Request {
    /// Its API.
    pub const fn api(&self) -> Api {
        match self {
            Self::Metadata(_) => Api::Metadata,
            Self::CreateTopic(_) => Api::CreateTopic,
            Self::ListTopics(_) => Api::ListTopics,
            Self::Stats(_) => Api::Stats,
            Self::DescribeTopic(_) => Api::DescribeTopic,
            Self::AlterTopic(_) => Api::AlterTopic,
            Self::AddPartitions(_) => Api::AddPartitions,
            Self::DeleteTopic(_) => Api::DeleteTopic,
            Self::ListOffsets { .. } => Api::ListOffsets,
        }
    }

    /// The topic that it changes so that metadata known before is outdated.
    fn changes(&self) -> Option<&str> {
        match self {
            Self::AddPartitions(request) => Some(&request.name),
            Self::DeleteTopic(request) => Some(&request.name),
            _ => None,
        }
    }

    /// Whether asking twice does the same as asking once, and gives the same answer.
    const fn is_repeatable(&self) -> bool {
        match self {
            Self::Metadata(_)
            | Self::ListTopics(_)
            | Self::Stats(_)
            | Self::DescribeTopic(_)
            | Self::AlterTopic(_)
            | Self::ListOffsets { .. } => true,
            Self::CreateTopic(_) | Self::AddPartitions(_) | Self::DeleteTopic(_) => false,
        }
    }
}

/// Requests without an answer. Owned by one client.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<RequestId, Pending>,
    answers: VecDeque<(RequestId, Result<Answer, ClientError>)>,
    next: u64,
}

#[derive(Debug)]
struct Pending {
    request: Request,
    deadline: Duration,
    retry_at: Duration,
    attempts: u32,
    sent: bool,
    last_error: Option<ClientError>,
}

impl Requests {
    /// Takes a question; it is given up at `deadline`.
    pub(super) fn ask(&mut self, request: Request, deadline: Duration) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        let pending = Pending {
            request,
            deadline,
            retry_at: Duration::ZERO,
            attempts: 0,
            sent: false,
            last_error: None,
        };
        self.pending.insert(id, pending);
        id
    }

    /// Nobody waits for the answer any more. What was sent is still carried out.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.pending.remove(&id);
        self.answers.retain(|(answered, _)| *answered != id);
    }

    /// What may be sent now.
    pub(super) fn due(&self, now: Duration) -> Vec<RequestId> {
        let due = |pending: &Pending| !pending.sent && now >= pending.retry_at;
        self.pending.iter().filter(|(_, pending)| due(pending)).map(|(&id, _)| id).collect()
    }

    /// The question behind an id that [`Requests::due`] gave.
    pub(super) fn request(&self, id: RequestId) -> Option<&Request> {
        self.pending.get(&id).map(|pending| &pending.request)
    }

    /// Sends one; `offsets` places a [`Request::ListOffsets`].
    pub(super) fn send(
        &mut self,
        id: RequestId,
        connection: &mut Connection,
        deadline: Duration,
        offsets: Option<ListOffsetsPart>,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.sent = true;
        let (api, purpose) = (pending.request.api(), Purpose::Request(id));
        match &pending.request {
            Request::Metadata(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::CreateTopic(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::ListTopics(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::Stats(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::DescribeTopic(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::AlterTopic(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::AddPartitions(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::DeleteTopic(body) => connection.send(api, body, Vec::new(), deadline, purpose),
            Request::ListOffsets { .. } => {
                let body = ListOffsetsRequest { parts: offsets.into_iter().collect() };
                connection.send(api, &body, Vec::new(), deadline, purpose);
            }
        }
    }

    /// The broker answered. Returns a topic of which what is known is outdated.
    ///
    /// # Errors
    /// When the answer does not fit its request; the connection has to be closed.
    pub(super) fn handle_answer(
        &mut self,
        now: Duration,
        id: RequestId,
        body: Result<Bytes, ClientError>,
        jitter: &mut Jitter,
    ) -> Result<Option<String>, ClientError> {
        let Some(pending) = self.pending.get(&id) else { return Ok(None) };
        let outcome = match body {
            Ok(body) => match decode(&pending.request, &body) {
                Ok(outcome) => outcome,
                Err(violation) => {
                    self.handle_lost(now, id);
                    return Err(violation);
                }
            },
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if self.may_repeat(id, &error) => Ok(self.repeat(now, id, error, jitter)),
            outcome => {
                let changed = outcome.is_ok().then(|| pending.request.changes().map(str::to_owned)).flatten();
                self.finish(id, outcome);
                Ok(changed)
            }
        }
    }

    /// The connection was lost before the answer.
    pub(super) fn handle_lost(&mut self, now: Duration, id: RequestId) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let error = ClientError::ConnectionLost { request: pending.request.api().name() };
        if pending.request.is_repeatable() {
            pending.sent = false;
            pending.retry_at = now;
            pending.last_error = Some(error);
        } else {
            self.finish(id, Err(error));
        }
    }

    /// It cannot even be sent.
    pub(super) fn finish(&mut self, id: RequestId, outcome: Result<Answer, ClientError>) {
        if self.pending.remove(&id).is_some() {
            self.answers.push_back((id, outcome));
        }
    }

    /// Time passed: what is beyond its deadline is given up.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        let expired: Vec<_> =
            self.pending.iter().filter(|(_, pending)| now >= pending.deadline).map(|(&id, _)| id).collect();
        for id in expired {
            let pending = &self.pending[&id];
            let last = pending.last_error.as_ref().map(|error| format!(" (last error: {error})"));
            let waited_for = format!("{}{}", pending.request.api(), last.unwrap_or_default());
            self.finish(id, Err(ClientError::TimedOut { waited_for }));
        }
    }

    /// The next answer.
    pub(super) fn poll_answer(&mut self) -> Option<(RequestId, Result<Answer, ClientError>)> {
        self.answers.pop_front()
    }

    /// When time alone changes something after `now`.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let times = self.pending.values().flat_map(|pending| [pending.deadline, pending.retry_at]);
        times.filter(|&at| at > now).min()
    }

    fn may_repeat(&self, id: RequestId, error: &ClientError) -> bool {
        let repeatable = self.pending.get(&id).is_some_and(|pending| pending.request.is_repeatable());
        // A time-out is the one refusal that may have been carried out all the same.
        error.fault() == Fault::Retriable && (repeatable || error.code() != ErrorCode::TimedOut)
    }

    fn repeat(
        &mut self,
        now: Duration,
        id: RequestId,
        error: ClientError,
        jitter: &mut Jitter,
    ) -> Option<String> {
        let pending = self.pending.get_mut(&id)?;
        pending.sent = false;
        pending.retry_at = now + jitter.delay(pending.attempts);
        pending.attempts += 1;
        pending.last_error = Some(error);
        match &pending.request {
            Request::ListOffsets { topic, .. } => Some(topic.clone()),
            _ => None,
        }
    }
}

/// The outcome that a body tells; the outer error says that the body does not fit the request.
fn decode(request: &Request, body: &[u8]) -> Result<Result<Answer, ClientError>, ClientError> {
    let answer = match request {
        Request::Metadata(_) => Answer::Metadata(frame::decode(body)?),
        Request::ListTopics(_) => Answer::Topics(frame::decode(body)?),
        Request::Stats(_) => Answer::Stats(frame::decode(body)?),
        Request::DeleteTopic(_) => Answer::Deleted(frame::decode(body)?),
        Request::CreateTopic(_)
        | Request::DescribeTopic(_)
        | Request::AlterTopic(_)
        | Request::AddPartitions(_) => Answer::Topic(frame::decode(body)?),
        Request::ListOffsets { topic, partition, .. } => {
            let mut body: ListOffsetsResponse = frame::decode(body)?;
            let Some(found) = body.parts.pop().filter(|_| body.parts.is_empty()) else {
                return Err(ClientError::Protocol {
                    violation: "offsets of other partitions than asked for",
                });
            };
            if found.error != 0 {
                let code = ErrorCode::from_number(found.error).map_or("unknown error", ErrorCode::name);
                return Ok(Err(ClientError::refused(
                    found.error,
                    format!("offsets of {topic}/{partition}: {code}"),
                )));
            }
            Answer::Offset(found)
        }
    };
    Ok(Ok(answer))
}
