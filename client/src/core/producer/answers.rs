//! What the broker's answers mean for the batches they are about: stored, again, or failed.

use core::time::Duration;

use ringmain_wire::ids::TopicId;
use ringmain_wire::native::errors::{Blame, ErrorCode};
use ringmain_wire::native::messages::{ProduceResponse, ProducedPart};

use super::queue::Fate;
use super::{Producer, SentBatch, Stored};
use crate::error::ClientError;

impl Producer {
    /// The broker answered a request. Returns the topics whose owner has to be asked for again.
    ///
    /// # Errors
    /// When the answer does not fit the request; its batches go again.
    pub(crate) fn handle_answer(
        &mut self,
        now: Duration,
        batches: &[SentBatch],
        answer: &ProduceResponse,
    ) -> Result<Vec<TopicId>, ClientError> {
        if answer.parts.len() != batches.len() {
            self.handle_lost(batches);
            return Err(ClientError::Protocol {
                violation: "a produce answer with other parts than its request",
            });
        }
        let parts = batches.iter().zip(&answer.parts);
        Ok(parts.filter_map(|(batch, part)| self.handle_part(now, *batch, part)).collect())
    }

    /// The broker refused a request as a whole. Returns the topics whose owner has to be asked for again.
    pub(crate) fn handle_refused(
        &mut self,
        now: Duration,
        batches: &[SentBatch],
        error: &ClientError,
    ) -> Vec<TopicId> {
        batches.iter().filter_map(|batch| self.handle_error(now, *batch, error.clone())).collect()
    }

    /// The connection was lost before the answer.
    pub(crate) fn handle_lost(&mut self, batches: &[SentBatch]) {
        for batch in batches {
            if let Some(queue) = self.queues.get_mut(&batch.partition) {
                queue.handle_lost(batch.serial);
            }
        }
    }

    /// One batch was answered. Returns its topic if the owner has to be asked for again.
    fn handle_part(&mut self, now: Duration, sent: SentBatch, part: &ProducedPart) -> Option<TopicId> {
        let stored = match ErrorCode::from_number(part.error) {
            Some(ErrorCode::None) => {
                Stored { base_offset: Some(part.base_offset), duplicate: part.duplicate }
            }
            Some(ErrorCode::DuplicateSequence) => Stored { base_offset: None, duplicate: true },
            _ => {
                let error = ClientError::refused(part.error, part.message.clone().unwrap_or_default());
                return self.handle_error(now, sent, error);
            }
        };
        let queue = self.queues.get_mut(&sent.partition)?;
        let batch = queue.handle_stored(sent.serial)?;
        self.buffered_bytes -= batch.bytes;
        self.deliveries.push_back(queue.delivery(batch, Ok(stored)));
        None
    }

    fn handle_error(&mut self, now: Duration, sent: SentBatch, error: ClientError) -> Option<TopicId> {
        let queue = self.queues.get_mut(&sent.partition)?;
        let code = error.code();
        let gap = matches!(code, ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer)
            && queue.explains_gap(sent.serial);
        if gap {
            // The batch in front sets the pace; this one follows it.
            queue.handle_lost(sent.serial);
            return None;
        }
        // A node whose storage failed stops: after its restart the retry is recognised if it had been stored.
        if code.blame() == Blame::Retry || code == ErrorCode::StorageFailed {
            let retry_at = now + self.jitter.delay(queue.attempts());
            queue.handle_retriable(sent.serial, error, retry_at);
            let moved = matches!(
                code,
                ErrorCode::NotLeader | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch
            );
            return moved.then_some(sent.partition.topic);
        }
        let fate = match code {
            ErrorCode::MalformedRequest
            | ErrorCode::UnsupportedVersion
            | ErrorCode::Unsupported
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidBatch
            | ErrorCode::CorruptBatch
            | ErrorCode::MessageTooLarge
            | ErrorCode::InvalidTimestamp => Fate::NotStored,
            _ => Fate::Unknown,
        };
        self.fail(sent.partition, sent.serial, fate, error);
        (code == ErrorCode::UnknownTopicOrPartition).then_some(sent.partition.topic)
    }
}
