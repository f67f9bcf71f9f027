//! One client connection: bytes into frames, answers out in the order of their requests.
//!
//! Owned by the shard that accepted it. It receives only while it has credit: a client that sends requests faster than
//! it takes answers is left unread, so what it makes the broker hold is bounded.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_wire::ids::ShardId;
use ringmain_wire::native::frame::FrameHeader;

use super::mail::RequestNumber;

/// Requests of one connection that may wait for their answers.
const ANSWERS_MAX: usize = 256;
/// Bytes of answers that one connection may leave untaken before it is read no further.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// From this size on a frame is received straight into a buffer of its own.
const LARGE_FRAME_BYTES: usize = 16 * 1024;
/// Segments of one send.
const SEND_SEGMENTS_MAX: usize = 512;
/// Bytes of one send, unless a single answer is larger.
const SEND_BYTES_MAX: usize = 1024 * 1024;

/// A piece of an answer, and the shard that its memory goes back to.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The bytes.
    pub bytes: Bytes,
    /// Whose memory they are.
    pub owner: ShardId,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for hello, and accepts nothing else.
    Greeting,
    /// Serves requests.
    Serving,
    /// Sends what is due, reads nothing more, then closes.
    Closing,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerKey {
    /// The connection.
    pub connection: ConnectionId,
    /// Its place among all answers of that connection.
    pub place: u64,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    phase: Phase,
    frame_bytes_max: u32,
    /// Received and not yet taken; lent to the carrier while a large frame is received.
    received: BytesMut,
    receiving: bool,
    /// Bytes of a frame's beginning that lie in the buffer the carrier has.
    lent_bytes: usize,
    /// The fetch that its client waits for.
    fetch: Option<RequestNumber>,
    /// The next frame waits for something else than bytes.
    stalled: bool,
    /// In the order of the requests; the first is `first_place`.
    answers: VecDeque<Option<Vec<Segment>>>,
    first_place: u64,
    /// Bytes of the answers that are due.
    due_bytes: usize,
    /// Owners of the segments being sent, in their order.
    sending: Option<Vec<ShardId>>,
    close_asked: bool,
}

impl Connection {
    /// A connection that was just accepted and may send frames of up to `frame_bytes_max`.
    pub fn new(id: ConnectionId, frame_bytes_max: u32) -> Self {
        Self {
            id,
            phase: Phase::Greeting,
            frame_bytes_max,
            received: BytesMut::new(),
            receiving: false,
            lent_bytes: 0,
            fetch: None,
            stalled: false,
            answers: VecDeque::new(),
            first_place: 0,
            due_bytes: 0,
            sending: None,
            close_asked: false,
        }
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether every answer is out.
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.sending.is_none()
    }

    /// Whether it may take another request.
    pub fn has_credit(&self) -> bool {
        self.phase != Phase::Closing && self.answers.len() < ANSWERS_MAX && self.due_bytes < ANSWER_BYTES_MAX
    }

    /// Memory that it holds, in bytes: frames not yet whole, and answers not yet taken.
    pub fn held_bytes(&self) -> usize {
        self.received.len() + self.lent_bytes + self.due_bytes
    }

    /// Whether its next frame waits for something else than bytes.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Hello went well.
    pub fn greet(&mut self) {
        self.phase = Phase::Serving;
    }

    /// Reads nothing more; closes once what is due is out.
    pub fn close(&mut self) {
        self.phase = Phase::Closing;
        self.received = BytesMut::new();
    }

    /// Its next frame waits, or no longer.
    pub fn set_stalled(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// The receive under way has ended. Gives how many bytes had been there before.
    pub fn handle_received(&mut self) -> usize {
        self.receiving = false;
        core::mem::take(&mut self.lent_bytes)
    }

    /// The fetch that its client waits for.
    pub fn fetch(&self) -> Option<RequestNumber> {
        self.fetch
    }

    /// Its client waits for a fetch, or no longer.
    pub fn set_fetch(&mut self, fetch: Option<RequestNumber>) {
        self.fetch = fetch;
    }

    /// Takes out what was received before, to look for frames in it.
    pub fn take_received(&mut self) -> BytesMut {
        core::mem::take(&mut self.received)
    }

    /// Puts back what no frame was found in: the beginning of one, or frames that wait.
    pub fn put_back(&mut self, mut received: BytesMut, consumed: usize) {
        if self.phase != Phase::Closing {
            received.advance(consumed);
            // An emptied buffer is let go: an idle connection holds no memory for receiving.
            self.received = if received.is_empty() { BytesMut::new() } else { received };
        }
    }

    /// Keeps lent bytes that no frame was found in.
    pub fn keep(&mut self, rest: &[u8]) {
        if self.phase != Phase::Closing {
            self.received.extend_from_slice(rest);
        }
    }

    /// Whether bytes lie here that may hold a frame.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Reserves the next place among the answers.
    pub fn reserve_answer(&mut self) -> AnswerKey {
        let place = self.first_place + self.answers.len() as u64;
        self.answers.push_back(None);
        AnswerKey { connection: self.id, place }
    }

    /// Fills a reserved place.
    ///
    /// # Panics
    /// When it is filled already, or was never reserved.
    pub fn answer(&mut self, key: AnswerKey, segments: Vec<Segment>) {
        let index = usize::try_from(key.place - self.first_place).expect("few answers wait");
        self.due_bytes += segments.iter().map(|segment| segment.bytes.len()).sum::<usize>();
        let place = self.answers.get_mut(index).expect("an answer has a reserved place");
        assert!(place.replace(segments).is_none(), "a request is answered once");
    }

    /// The send under way is out or lost: the owners of its segments, in order.
    pub fn handle_sent(&mut self) -> Vec<ShardId> {
        self.sending.take().unwrap_or_default()
    }

    /// Segments of answers that were not sent, for giving their memory back.
    pub fn unsent_answers(&mut self) -> impl Iterator<Item = Segment> {
        self.due_bytes = 0;
        self.answers.drain(..).flatten().flatten()
    }

    /// Starts what can be started: a send if answers are due and none is under way, a receive if there is credit, the
    /// close if nothing is left to do.
    pub fn poll<M>(&mut self, effects: &mut Effects<M>) {
        self.poll_send(effects);
        if self.phase == Phase::Closing {
            if self.is_idle() && !self.close_asked {
                self.close_asked = true;
                effects.push(Effect::Close { connection: self.id });
            }
        } else if !self.receiving && !self.stalled && self.has_credit() {
            self.receiving = true;
            effects.push(Effect::Receive { connection: self.id, into: self.receive_into() });
        }
    }

    /// Closes at once, whatever is under way.
    pub fn abort<M>(&mut self, effects: &mut Effects<M>) {
        self.close();
        if !self.close_asked {
            self.close_asked = true;
            effects.push(Effect::Close { connection: self.id });
        }
    }

    fn poll_send<M>(&mut self, effects: &mut Effects<M>) {
        if self.sending.is_some() || self.close_asked {
            return;
        }
        let (mut segments, mut owners, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(Some(answer)) = self.answers.front() {
            let answer_bytes: usize = answer.iter().map(|segment| segment.bytes.len()).sum();
            let full =
                segments.len() + answer.len() > SEND_SEGMENTS_MAX || bytes + answer_bytes > SEND_BYTES_MAX;
            if full && !segments.is_empty() {
                break;
            }
            let answer = self.answers.pop_front().flatten().unwrap_or_default();
            self.first_place += 1;
            bytes += answer_bytes;
            self.due_bytes -= answer_bytes;
            for segment in answer {
                segments.push(segment.bytes);
                owners.push(segment.owner);
            }
        }
        if !segments.is_empty() {
            self.sending = Some(owners);
            effects.push(Effect::Send { connection: self.id, segments });
        }
    }

    /// A buffer for the rest of a large frame whose beginning lies here.
    fn receive_into(&mut self) -> Option<BytesMut> {
        let header = FrameHeader::parse(&self.received).ok()??;
        // What is too large is refused when it is looked at; no room is made for it.
        header.check_size(self.frame_bytes_max).ok()?;
        let frame_bytes = usize::try_from(header.frame_bytes()).ok()?;
        if frame_bytes < LARGE_FRAME_BYTES || frame_bytes <= self.received.len() {
            return None;
        }
        let mut into = self.take_received();
        self.lent_bytes = into.len();
        into.reserve(frame_bytes - into.len());
        Some(into)
    }
}
