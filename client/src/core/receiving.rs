//! What greetings, answers and lost connections mean for everything that waits for them.

use core::time::Duration;

use bytes::Bytes;
use ringmain_wire::ids::TopicId;
use ringmain_wire::native::frame;
use ringmain_wire::native::messages::{HelloResponse, InitProducerResponse, ProduceResponse};

use super::links::{Failure, Lane};
use super::{ClientCore, Event, Purpose, connection};
use crate::error::ClientError;

impl ClientCore {
    pub(super) fn handle_greeted(&mut self, lane: Lane, hello: &HelloResponse) -> Result<(), ClientError> {
        if lane.shard().is_some_and(|shard| shard != hello.shard) {
            self.map_outdated = true;
            return Err(ClientError::Protocol {
                violation: "another shard listens there: the shard map is outdated",
            });
        }
        if lane == Lane::Control {
            let endpoint = self.links.endpoint(lane).expect("greeted on an established connection").clone();
            self.cluster.handle_greeting(&endpoint, hello);
            self.map_outdated = false;
            if !self.ever_ready {
                self.ever_ready = true;
                self.events.push_back(Event::Ready);
            }
        }
        Ok(())
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Duration,
        answer: connection::Answer,
    ) -> Result<(), ClientError> {
        let connection::Answer { purpose, body, payload } = answer;
        match purpose {
            Purpose::Metadata => self.handle_metadata(now, body),
            Purpose::Request(id) => {
                if let Some(topic) = self.requests.handle_answer(now, id, body, &mut self.jitter)? {
                    self.cluster.handle_outdated(&topic);
                }
                Ok(())
            }
            Purpose::Identity(key) => {
                let Some(producer) = self.producers.get_mut(&key) else { return Ok(()) };
                match body.and_then(|body| Ok(frame::decode::<InitProducerResponse>(&body)?)) {
                    Ok(identity) => producer.handle_identity(&identity),
                    Err(error) => producer.handle_identity_failed(now, &error),
                }
                Ok(())
            }
            Purpose::Produce { producer, batches } => {
                let Some(producer) = self.producers.get_mut(&producer) else { return Ok(()) };
                let moved = match body {
                    Ok(body) => match frame::decode::<ProduceResponse>(&body) {
                        Ok(answer) => producer.handle_answer(now, &batches, &answer)?,
                        Err(error) => {
                            producer.handle_lost(&batches);
                            return Err(error.into());
                        }
                    },
                    Err(error) => producer.handle_refused(now, &batches, &error),
                };
                self.handle_moved(moved);
                Ok(())
            }
            Purpose::Fetch { consumer, shard, parts } => {
                let Some(consumer) = self.consumers.get_mut(&consumer) else { return Ok(()) };
                let moved = match body {
                    Ok(body) => match frame::decode(&body) {
                        Ok(answer) => consumer.handle_answer(now, shard, &parts, &answer, payload)?,
                        Err(error) => {
                            consumer.handle_lost(now, &parts);
                            return Err(error.into());
                        }
                    },
                    Err(error) => {
                        consumer.handle_refused(now, &parts, &error);
                        Vec::new()
                    }
                };
                self.handle_moved(moved);
                Ok(())
            }
        }
    }

    fn handle_metadata(
        &mut self,
        now: Duration,
        body: Result<Bytes, ClientError>,
    ) -> Result<(), ClientError> {
        self.metadata.in_flight = false;
        let metadata = match body {
            Ok(body) => frame::decode(&body)?,
            Err(_) => {
                self.delay_metadata(now);
                return Ok(());
            }
        };
        for (topic, error) in self.cluster.handle_metadata(metadata) {
            for producer in self.producers.values_mut() {
                producer.handle_topic_gone(topic, &error);
            }
            for consumer in self.consumers.values_mut() {
                consumer.handle_topic_gone(topic, &error);
            }
        }
        if self.cluster.stale().is_empty() {
            self.metadata.attempts = 0;
        } else {
            self.delay_metadata(now);
        }
        Ok(())
    }

    fn delay_metadata(&mut self, now: Duration) {
        self.metadata.retry_at = now + self.jitter.delay(self.metadata.attempts);
        self.metadata.attempts += 1;
    }

    fn handle_moved(&mut self, topics: Vec<TopicId>) {
        for topic in topics {
            self.cluster.handle_wrong_owner(topic);
        }
    }

    /// A link goes down, because of `error` or else for `reason`; what was asked on it is lost.
    pub(super) fn fail_link(
        &mut self,
        now: Duration,
        lane: Lane,
        error: Option<ClientError>,
        reason: String,
    ) {
        let Some(failure) = self.links.fail(now, lane, &mut self.jitter) else { return };
        let Failure { lane, endpoint, was_ready, lost } = failure;
        for purpose in lost {
            self.handle_lost(now, purpose);
        }
        if was_ready {
            return;
        }
        if lane != Lane::Control {
            self.map_outdated = true;
        } else if self.cluster.handle_bootstrap_failed() && !self.ever_ready {
            let refused = error.filter(|error| matches!(error, ClientError::Refused { .. }));
            let error = refused.unwrap_or(ClientError::Connect { endpoint, reason });
            self.events.push_back(Event::ConnectFailed(error));
        }
    }

    fn handle_lost(&mut self, now: Duration, purpose: Purpose) {
        match purpose {
            Purpose::Metadata => self.metadata.in_flight = false,
            Purpose::Request(id) => self.requests.handle_lost(now, id),
            Purpose::Identity(key) => {
                if let Some(producer) = self.producers.get_mut(&key) {
                    producer.handle_identity_failed(
                        now,
                        &ClientError::ConnectionLost { request: "init_producer" },
                    );
                }
            }
            Purpose::Produce { producer, batches } => {
                if let Some(producer) = self.producers.get_mut(&producer) {
                    producer.handle_lost(&batches);
                }
            }
            Purpose::Fetch { consumer, parts, .. } => {
                if let Some(consumer) = self.consumers.get_mut(&consumer) {
                    consumer.handle_lost(now, &parts);
                }
            }
        }
    }
}
