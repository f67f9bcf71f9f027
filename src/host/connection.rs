//! One client connection: bytes into frames, answers out in the order of their requests.
//!
//! Owned by the shard that accepted it. It receives only while it has credit: a client that sends requests faster than
//! it takes answers is left unread, so what it makes the broker hold is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::time::Mono;
use ringmain_wire::ids::ShardId;
use ringmain_wire::native::frame::FrameHeader;

use super::frame_room::FrameRoom;
use super::mail::RequestNumber;

/// Requests of one connection that may wait for their answers.
const ANSWERS_MAX: usize = 256;
/// Bytes of answers that one connection may leave untaken before it is read no further.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// From this size on a frame is received straight into a buffer of its own.
const LARGE_FRAME_BYTES: usize = 16 * 1024;
/// Largest frame before hello: who has not said it is made no room for.
const GREETING_BYTES_MAX: u32 = 16 * 1024;
/// An answer that is not taken within this time ends its connection: it holds memory that others wait for.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Segments of one send.
const SEND_SEGMENTS_MAX: usize = 512;
/// Bytes of one send, unless a single answer is larger.
const SEND_BYTES_MAX: usize = 1024 * 1024;

/// A piece of an answer, and the shard that has lent its memory.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The bytes.
    pub bytes: Bytes,
    /// Whose records they are; `None` for bytes that were made for this answer.
    pub owner: Option<ShardId>,
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
    sending: Option<Vec<Option<ShardId>>>,
    /// When that send began.
    sending_since: Mono,
    /// It has room for a frame, or waits for it.
    has_asked_room: bool,
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
            sending_since: Mono(0),
            has_asked_room: false,
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

    /// Bytes that were received and not taken, but for those that the carrier has.
    pub fn received_bytes(&self) -> usize {
        self.received.len()
    }

    /// Bytes that were made for answers which are due; records that were lent to them are not among these.
    pub fn made_bytes(&self) -> usize {
        let made = self.answers.iter().flatten().flatten().filter(|segment| segment.owner.is_none());
        made.map(|segment| segment.bytes.len()).sum()
    }

    /// Whether its next frame waits for something else than bytes.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Largest frame that it may send now.
    pub fn frame_bytes_max(&self) -> u32 {
        if self.phase == Phase::Greeting {
            self.frame_bytes_max.min(GREETING_BYTES_MAX)
        } else {
            self.frame_bytes_max
        }
    }

    /// Whether answers are on their way out.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether its client has left an answer untaken for too long.
    pub fn is_untaken(&self, now: Mono) -> bool {
        self.is_sending() && now >= self.sending_since + TAKEN_WITHIN
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
    pub fn handle_sent(&mut self) -> Vec<Option<ShardId>> {
        self.sending.take().unwrap_or_default()
    }

    /// Segments of answers that were not sent, for giving their memory back.
    pub fn unsent_answers(&mut self) -> impl Iterator<Item = Segment> {
        self.due_bytes = 0;
        self.answers.drain(..).flatten().flatten()
    }

    /// Starts what can be started: a send if answers are due and none is under way, a receive if there is credit and
    /// room, the close if nothing is left to do.
    pub fn poll<M>(&mut self, now: Mono, room: &mut FrameRoom, effects: &mut Effects<M>) {
        self.poll_send(now, effects);
        self.poll_room(room);
        if self.phase == Phase::Closing {
            if self.is_idle() && !self.close_asked {
                self.close_asked = true;
                effects.push(Effect::Close { connection: self.id });
            }
        } else if !self.receiving && !self.stalled && self.has_credit() {
            self.poll_receive(now, room, effects);
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

    fn poll_send<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
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
            self.sending_since = now;
            effects.push(Effect::Send { connection: self.id, segments });
        }
    }

    /// Room is held for as long as a large frame, or its beginning, lies here.
    fn poll_room(&mut self, room: &mut FrameRoom) {
        if !self.has_asked_room || self.receiving {
            return;
        }
        match self.large_frame_bytes() {
            None => {
                self.has_asked_room = false;
                room.give_back(self.id);
            }
            Some(frame_bytes) if frame_bytes <= self.received.len() => room.handle_whole(self.id),
            Some(_) => {}
        }
    }

    /// Receives into a buffer of the carrier's, or straight into one for the rest of a large frame if there is room.
    fn poll_receive<M>(&mut self, now: Mono, room: &mut FrameRoom, effects: &mut Effects<M>) {
        let rest = self.large_frame_bytes().filter(|&frame_bytes| frame_bytes > self.received.len());
        let into = match rest {
            None => None,
            Some(frame_bytes) => {
                self.has_asked_room = true;
                if !room.ask(self.id, frame_bytes, now) {
                    return;
                }
                let mut into = self.take_received();
                self.lent_bytes = into.len();
                into.reserve(frame_bytes - into.len());
                Some(into)
            }
        };
        self.receiving = true;
        effects.push(Effect::Receive { connection: self.id, into });
    }

    /// The length of the frame whose beginning lies here, if it is a large one.
    fn large_frame_bytes(&self) -> Option<usize> {
        let header = FrameHeader::parse(&self.received).ok()??;
        // What is too large is refused when it is looked at; no room is made for it.
        header.check_size(self.frame_bytes_max()).ok()?;
        usize::try_from(header.frame_bytes()).ok().filter(|&frame_bytes| frame_bytes >= LARGE_FRAME_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use ringmain_wire::native::frame::{self, Api, FRAME_BYTES_MAX_DEFAULT};
    use ringmain_wire::native::messages::ProduceRequest;

    use super::*;

    const PAYLOAD_BYTES: u32 = 8 << 20;

    fn connection(slot: u32) -> Connection {
        Connection::new(ConnectionId { slot, generation: 0 }, FRAME_BYTES_MAX_DEFAULT)
    }

    /// Has received the head of a large frame.
    fn half_way(slot: u32) -> Connection {
        let mut connection = connection(slot);
        connection.greet();
        let request = ProduceRequest::default();
        connection.keep(&frame::encode(Api::Produce.number(), false, 0, 1, &request, PAYLOAD_BYTES));
        connection
    }

    /// Polls, and gives the capacity of the buffer that it wants to receive into; none if it is not read.
    fn poll(connection: &mut Connection, room: &mut FrameRoom) -> Option<usize> {
        let mut effects: Effects<()> = Vec::new();
        connection.poll(Mono(0), room, &mut effects);
        match effects.pop() {
            Some(Effect::Receive { into, .. }) => Some(into.map_or(0, |into| into.capacity())),
            _ => None,
        }
    }

    #[test]
    fn large_frames_that_stall_hold_no_more_than_there_is_room() {
        let mut room = FrameRoom::new(FRAME_BYTES_MAX_DEFAULT);
        let mut stalled: Vec<Connection> = (0..100).map(half_way).collect();
        let held: usize = stalled.iter_mut().filter_map(|connection| poll(connection, &mut room)).sum();
        assert!(held >= PAYLOAD_BYTES as usize && held <= 64 << 20, "{held}");
        let unread = stalled.iter().filter(|connection| !connection.receiving).count();
        assert!(unread > 90, "{unread}");
    }

    #[test]
    fn room_goes_back_when_a_frame_is_dealt_with_or_its_connection_closes() {
        let mut room = FrameRoom::new(FRAME_BYTES_MAX_DEFAULT);
        let mut first = half_way(0);
        assert!(poll(&mut first, &mut room).is_some());
        let mut others: Vec<Connection> = (1..100).map(half_way).collect();
        let unread: Vec<usize> =
            (0..others.len()).filter(|&place| poll(&mut others[place], &mut room).is_none()).collect();
        first.handle_received();
        first.put_back(BytesMut::new(), 0);
        poll(&mut first, &mut room);
        let next = room.poll_admitted(Mono(0));
        assert_eq!(next, Some(others[unread[0]].id));
        assert!(poll(&mut others[unread[0]], &mut room).is_some());
        assert_eq!(room.poll_admitted(Mono(0)), None);
        others[unread[0]].handle_received();
        others[unread[0]].close();
        poll(&mut others[unread[0]], &mut room);
        assert_eq!(room.poll_admitted(Mono(0)), Some(others[unread[1]].id));
    }

    #[test]
    fn nobody_is_made_room_for_before_hello() {
        let mut room = FrameRoom::new(FRAME_BYTES_MAX_DEFAULT);
        let mut connection = connection(0);
        assert!(connection.frame_bytes_max() <= 16 * 1024);
        connection.keep(&frame::encode(0, false, 0, 1, &ProduceRequest::default(), PAYLOAD_BYTES));
        assert_eq!(poll(&mut connection, &mut room), Some(0));
        connection.greet();
        assert_eq!(connection.frame_bytes_max(), FRAME_BYTES_MAX_DEFAULT);
    }

    #[test]
    fn an_answer_is_untaken_after_a_while() {
        let mut room = FrameRoom::new(FRAME_BYTES_MAX_DEFAULT);
        let mut connection = connection(0);
        let key = connection.reserve_answer();
        connection.answer(key, vec![Segment { bytes: Bytes::from_static(b"answer"), owner: None }]);
        assert!(!connection.is_untaken(Mono(0) + TAKEN_WITHIN), "nothing is sent");
        poll(&mut connection, &mut room);
        assert!(!connection.is_untaken(Mono(1)));
        assert!(connection.is_untaken(Mono(0) + TAKEN_WITHIN));
        connection.handle_sent();
        assert!(!connection.is_untaken(Mono(0) + TAKEN_WITHIN));
    }
}
