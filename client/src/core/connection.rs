//! One connection: bytes to answers and requests to bytes, greeting first, answers matched in the order of requests.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Body, FrameHeader, HEADER_BYTES, PROTOCOL_VERSION};
use ringmain_wire::native::messages::{ErrorBody, HelloRequest, HelloResponse};

use super::Purpose;
use crate::error::ClientError;

/// Largest answer. Above the broker's own limit on requests: a fetch answer holds at least one whole batch.
const ANSWER_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// An answer together with what its request was for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) purpose: Purpose,
    /// The body's bytes, or the error that the broker answered with.
    pub(crate) body: Result<Bytes, ClientError>,
    pub(crate) payload: Bytes,
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The greeting is over: requests may be sent.
    Greeted(HelloResponse),
    Answer(Answer),
}

/// Framing and request order of one established connection. Owned by one client; knows no addresses.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: Phase,
    received: BytesMut,
    transmit: Vec<Bytes>,
    transmit_bytes: usize,
}

/// Each phase is a type of its own: before the greeting's answer there is no way to send a request.
#[derive(Debug)]
enum Phase {
    Greeting(Greeting),
    Ready(Ready),
}

#[derive(Debug)]
struct Greeting {
    deadline: Duration,
}

#[derive(Debug)]
struct Ready {
    correlation_next: u32,
    waiting: VecDeque<Waiting>,
    /// Largest frame that the broker takes.
    frame_bytes_max: u32,
}

/// A request without an answer yet.
#[derive(Debug)]
struct Waiting {
    correlation: u32,
    api: Api,
    deadline: Duration,
    purpose: Purpose,
}

impl Connection {
    /// Begins the greeting on a connection that was just established.
    pub(crate) fn new(client_name: &str, deadline: Duration) -> Self {
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            client_name: client_name.to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut connection = Self {
            phase: Phase::Greeting(Greeting { deadline }),
            received: BytesMut::new(),
            transmit: Vec::new(),
            transmit_bytes: 0,
        };
        connection.push(frame::encode(Api::Hello.number(), false, 0, GREETING_CORRELATION, &hello, 0));
        connection
    }

    /// Whether requests can be sent.
    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Largest frame that the broker takes; `None` during the greeting.
    pub(crate) const fn frame_bytes_max(&self) -> Option<u32> {
        match &self.phase {
            Phase::Greeting(_) => None,
            Phase::Ready(ready) => Some(ready.frame_bytes_max),
        }
    }

    /// Requests without an answer.
    pub(crate) fn waiting(&self) -> usize {
        match &self.phase {
            Phase::Greeting(_) => 0,
            Phase::Ready(ready) => ready.waiting.len(),
        }
    }

    /// Bytes that were not yet taken by [`Connection::poll_transmit`].
    pub(crate) const fn transmit_bytes(&self) -> usize {
        self.transmit_bytes
    }

    /// When the oldest answer is overdue.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Greeting(greeting) => Some(greeting.deadline),
            Phase::Ready(ready) => ready.waiting.front().map(|waiting| waiting.deadline),
        }
    }

    /// Bytes came in; what they complete is told by [`Connection::poll_arrival`].
    pub(crate) fn handle_received(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Sends a request that will be answered.
    ///
    /// # Panics
    /// During the greeting.
    pub(crate) fn send<T: Body>(
        &mut self,
        api: Api,
        body: &T,
        payload: Vec<Bytes>,
        deadline: Duration,
        purpose: Purpose,
    ) {
        let correlation = self.send_frame(api, body, payload);
        let Phase::Ready(ready) = &mut self.phase else { unreachable!("send_frame has checked the phase") };
        ready.waiting.push_back(Waiting { correlation, api, deadline, purpose });
    }

    /// Sends a request that is never answered.
    ///
    /// # Panics
    /// During the greeting.
    pub(crate) fn send_unanswered<T: Body>(&mut self, api: Api, body: &T, payload: Vec<Bytes>) {
        self.send_frame(api, body, payload);
    }

    /// What the bytes received so far complete; `None` when more are needed.
    ///
    /// # Errors
    /// When the peer broke the protocol or refused the greeting: the connection has to be closed.
    pub(crate) fn poll_arrival(&mut self) -> Result<Option<Arrival>, ClientError> {
        let Some((found, frame_bytes)) = frame::split(&self.received, ANSWER_BYTES_MAX)? else {
            return Ok(None);
        };
        let header = found.header;
        if !header.answer {
            return Err(ClientError::Protocol { violation: "a request where an answer was due" });
        }
        let mut body = self.received.split_to(frame_bytes).freeze();
        body.advance(HEADER_BYTES);
        let payload = body.split_off(header.body_length as usize);
        match &mut self.phase {
            Phase::Greeting(_) => {
                let hello = Greeting::handle_answer(&header, &body)?;
                let frame_bytes_max = hello.frame_bytes_max;
                self.phase = Phase::Ready(Ready {
                    correlation_next: GREETING_CORRELATION + 1,
                    waiting: VecDeque::new(),
                    frame_bytes_max,
                });
                Ok(Some(Arrival::Greeted(hello)))
            }
            Phase::Ready(ready) => {
                let purpose = ready.handle_answer(&header)?;
                let body = if header.error == 0 { Ok(body) } else { Err(refusal(&header, &body)) };
                Ok(Some(Arrival::Answer(Answer { purpose, body, payload })))
            }
        }
    }

    /// Everything that is to be sent, in order.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<Bytes>> {
        self.transmit_bytes = 0;
        (!self.transmit.is_empty()).then(|| core::mem::take(&mut self.transmit))
    }

    /// Ends the connection; what was asked and not answered.
    pub(crate) fn close(self) -> impl Iterator<Item = Purpose> {
        let waiting = match self.phase {
            Phase::Greeting(_) => VecDeque::new(),
            Phase::Ready(ready) => ready.waiting,
        };
        waiting.into_iter().map(|waiting| waiting.purpose)
    }

    fn send_frame<T: Body>(&mut self, api: Api, body: &T, payload: Vec<Bytes>) -> u32 {
        let Phase::Ready(ready) = &mut self.phase else { panic!("{api} sent during the greeting") };
        let correlation = ready.correlation_next;
        ready.correlation_next = correlation.wrapping_add(1);
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
        let payload_bytes = u32::try_from(payload_bytes).expect("requests are bounded far below 4 GiB");
        self.push(frame::encode(api.number(), false, 0, correlation, body, payload_bytes));
        for segment in payload {
            self.push(segment);
        }
        correlation
    }

    fn push(&mut self, segment: Bytes) {
        self.transmit_bytes += segment.len();
        self.transmit.push(segment);
    }
}

const GREETING_CORRELATION: u32 = 0;

impl Greeting {
    fn handle_answer(header: &FrameHeader, body: &[u8]) -> Result<HelloResponse, ClientError> {
        if header.error != 0 {
            return Err(refusal(header, body));
        }
        if header.api != Api::Hello.number() || header.correlation != GREETING_CORRELATION {
            return Err(ClientError::Protocol { violation: "the first answer is not that to the greeting" });
        }
        let hello: HelloResponse = frame::decode(body)?;
        if hello.version != PROTOCOL_VERSION {
            return Err(ClientError::Refused {
                code: ErrorCode::UnsupportedVersion,
                message: format!(
                    "broker {} speaks protocol version {}, this client {PROTOCOL_VERSION}",
                    hello.broker_version, hello.version
                ),
            });
        }
        Ok(hello)
    }
}

impl Ready {
    fn handle_answer(&mut self, header: &FrameHeader) -> Result<Purpose, ClientError> {
        let Some(waiting) = self.waiting.pop_front() else {
            return Err(ClientError::Protocol { violation: "an answer that nobody asked for" });
        };
        if (waiting.correlation, waiting.api.number()) != (header.correlation, header.api) {
            // The request counts as lost: whoever closes the connection finds it still waiting.
            self.waiting.push_front(waiting);
            return Err(ClientError::Protocol {
                violation: "answers are not in the order of their requests",
            });
        }
        Ok(waiting.purpose)
    }
}

/// The error that an answer carries.
fn refusal(header: &FrameHeader, body: &[u8]) -> ClientError {
    match frame::decode::<ErrorBody>(body) {
        Ok(body) => ClientError::refused(header.error, body.message),
        Err(error) => ClientError::Frame(error),
    }
}
