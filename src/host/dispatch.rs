//! From received bytes to frames, and from frames to the handlers of their APIs.

use bytes::BytesMut;
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::time::Now;
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Body, Frame, FrameError, PROTOCOL_VERSION};
use ringmain_wire::native::messages::{HelloRequest, HelloResponse};

use super::ShardHost;
use super::connection::{Connection, Phase};
use super::lifecycle::Life;
use super::mail::Mail;

/// Largest body of a request: far above any sensible one, and small enough that what is kept of it costs little.
const REQUEST_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Whether the next frame may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// This one is dealt with.
    Next,
    /// This one has to wait, and all behind it; whoever lets it wait resumes the connection.
    Wait,
}

impl ShardHost {
    pub(super) fn handle_accepted(&mut self, id: ConnectionId, effects: &mut Effects<Mail>) {
        if self.life == Life::Serving {
            self.connections.insert(id, Connection::new(id, self.identity.frame_bytes_max));
            self.touched.push(id);
        } else {
            effects.push(Effect::Close { connection: id });
        }
    }

    pub(super) fn handle_lent(
        &mut self,
        now: Now,
        id: ConnectionId,
        data: &[u8],
        effects: &mut Effects<Mail>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.handle_received();
        self.touched.push(id);
        if data.is_empty() {
            self.handle_end(id, effects);
        } else if connection.has_received() {
            connection.keep(data);
            self.process_received(now, id, effects);
        } else {
            let consumed = self.process(now, id, data, effects);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.keep(&data[consumed..]);
            }
        }
    }

    pub(super) fn handle_filled(
        &mut self,
        now: Now,
        id: ConnectionId,
        buffer: BytesMut,
        effects: &mut Effects<Mail>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let before = connection.handle_received();
        self.touched.push(id);
        if buffer.len() == before {
            self.handle_end(id, effects);
        } else {
            connection.put_back(buffer, 0);
            self.process_received(now, id, effects);
        }
    }

    /// The client sends no more: what it asked is still answered, a fetch without waiting any longer.
    fn handle_end(&mut self, id: ConnectionId, effects: &mut Effects<Mail>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.close();
        if let Some(fetch) = connection.fetch() {
            self.hurry_fetch(fetch, effects);
        }
    }

    /// Looks again at frames that waited.
    pub(super) fn resume_connections(&mut self, now: Now, effects: &mut Effects<Mail>) {
        for id in core::mem::take(&mut self.resumed) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.set_stalled(false);
                self.touched.push(id);
                self.process_received(now, id, effects);
            }
        }
    }

    fn process_received(&mut self, now: Now, id: ConnectionId, effects: &mut Effects<Mail>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let received = connection.take_received();
        let consumed = self.process(now, id, &received, effects);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.put_back(received, consumed);
        }
    }

    /// Deals with the frames at the front of `bytes`, as far as the connection's credit goes, and says how many bytes
    /// they were.
    fn process(&mut self, now: Now, id: ConnectionId, bytes: &[u8], effects: &mut Effects<Mail>) -> usize {
        let mut consumed = 0;
        while let Some(connection) = self.connections.get(&id).filter(|connection| connection.has_credit()) {
            match frame::split(&bytes[consumed..], connection.frame_bytes_max()) {
                Ok(Some((frame, length))) => match self.handle_frame(now, id, &frame, effects) {
                    Flow::Next => consumed += length,
                    Flow::Wait => {
                        self.connections.entry(id).and_modify(|connection| connection.set_stalled(true));
                        break;
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    // What follows cannot be trusted to be frames. Correlation 0: the header is not to be trusted either.
                    self.refuse(id, 0, 0, error.code(), &error.to_string());
                    self.connections.entry(id).and_modify(Connection::close);
                }
            }
        }
        consumed
    }

    fn handle_frame(
        &mut self,
        now: Now,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let header = frame.header;
        let api = Api::from_number(header.api);
        let greeting =
            self.connections.get(&id).is_some_and(|connection| connection.phase() == Phase::Greeting);
        if header.answer || greeting != (api == Some(Api::Hello)) {
            let problem =
                if greeting { "a connection begins with hello" } else { "hello comes once, answers never" };
            self.refuse(id, header.api, header.correlation, ErrorCode::MalformedRequest, problem);
            self.connections.entry(id).and_modify(Connection::close);
            return Flow::Next;
        }
        if api != Some(Api::Produce) && !frame.payload.is_empty() {
            let problem = "only a produce request carries batches";
            self.refuse(id, header.api, header.correlation, ErrorCode::MalformedRequest, problem);
            return Flow::Next;
        }
        if frame.body.len() > REQUEST_BODY_BYTES_MAX {
            let problem = format!("a request's body has at most {REQUEST_BODY_BYTES_MAX} bytes");
            self.refuse(id, header.api, header.correlation, ErrorCode::MessageTooLarge, &problem);
            return Flow::Next;
        }
        match api {
            Some(Api::Hello) => self.hello(id, frame),
            Some(Api::Produce) => self.produce(now, id, frame, effects),
            Some(Api::Fetch) => self.fetch(now.mono, id, frame, effects),
            Some(Api::ListOffsets) => self.list_offsets(id, frame, effects),
            Some(Api::Stats) => self.stats(id, frame, effects),
            Some(Api::Metadata) => self.metadata(id, frame),
            Some(Api::ListTopics) => self.list_topics(id, frame),
            Some(Api::DescribeTopic) => self.describe_topic(id, frame),
            Some(Api::CreateTopic) => self.create_topic(id, frame, effects),
            Some(Api::AlterTopic) => self.alter_topic(id, frame, effects),
            Some(Api::AddPartitions) => self.add_partitions(id, frame, effects),
            Some(Api::DeleteTopic) => self.delete_topic(id, frame, effects),
            Some(Api::InitProducer) => self.init_producer(id, frame, effects),
            None => {
                let problem = format!("this broker has no API {}", header.api);
                self.refuse(id, header.api, header.correlation, ErrorCode::UnsupportedVersion, &problem);
                Flow::Next
            }
        }
    }

    fn hello(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Flow {
        let Some(request) = self.decode::<HelloRequest>(id, frame) else { return Flow::Next };
        let HelloRequest { version_min, version_max, .. } = request;
        if !(version_min..=version_max).contains(&PROTOCOL_VERSION) {
            let problem = format!(
                "the client speaks protocol versions {version_min} to {version_max}, this broker {PROTOCOL_VERSION}"
            );
            let correlation = frame.header.correlation;
            self.refuse(id, frame.header.api, correlation, ErrorCode::UnsupportedVersion, &problem);
            self.connections.entry(id).and_modify(Connection::close);
            return Flow::Next;
        }
        let response = HelloResponse {
            version: PROTOCOL_VERSION,
            cluster_id: self.identity.cluster_id,
            node: self.identity.node,
            shard: self.identity.shard,
            shards: self.identity.endpoints.clone(),
            frame_bytes_max: self.identity.frame_bytes_max,
            broker_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.connections.entry(id).and_modify(Connection::greet);
        self.reply(id, frame, &response)
    }

    /// The body of a request; answers the request if there is none to be had.
    pub(super) fn decode<T: Body>(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Option<T> {
        match frame::decode::<T>(frame.body) {
            Ok(request) => Some(request),
            Err(error) => {
                self.refuse_body(id, frame, error);
                None
            }
        }
    }

    /// Answers a request whose body cannot be parsed.
    pub(super) fn refuse_body(&mut self, id: ConnectionId, frame: &Frame<'_>, error: FrameError) {
        self.refuse(id, frame.header.api, frame.header.correlation, error.code(), &error.to_string());
    }

    /// Answers a request at once.
    pub(super) fn reply<T: Body>(&mut self, id: ConnectionId, frame: &Frame<'_>, response: &T) -> Flow {
        let bytes = frame::encode(frame.header.api, true, 0, frame.header.correlation, response, 0);
        if let Some(connection) = self.connections.get_mut(&id) {
            let key = connection.reserve_answer();
            self.answer_own(key, bytes);
        }
        Flow::Next
    }

    /// Answers a request with an error.
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        api: u16,
        correlation: u32,
        code: ErrorCode,
        message: &str,
    ) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let key = connection.reserve_answer();
            self.answer_error(key, api, correlation, code, message);
        }
    }
}
