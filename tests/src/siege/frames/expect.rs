//! What must come of bytes that a connection sends: which answers, and whether the broker closes. A second opinion, made
//! of the documentation of the protocol and `ringmain_wire`, with nothing of the broker's code.

use ringmain_wire::native::frame::{self, Api, FRAME_BYTES_MAX_DEFAULT, Frame, PROTOCOL_VERSION};
use ringmain_wire::native::messages::*;

use super::templates::{PREY, PREY_PARTITIONS};

/// Largest body of a request.
const REQUEST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame before hello.
const GREETING_BYTES_MAX: u32 = 16 * 1024;
/// Most batches of a produce request.
const BATCHES_MAX: usize = 256;

/// What must come of it.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    /// API and correlation of every answer that is due, in order.
    pub(super) answers: Vec<(u16, u32)>,
    /// The broker closes behind them.
    pub(super) closes: bool,
    /// It may close even though nothing is wrong with the frames: refused, and nobody wants to be told.
    pub(super) may_close: bool,
    /// A fetch may wait, and requests behind one that waits are given up when the client sends no more.
    pub(super) may_wait: bool,
    /// The last frame is not whole.
    pub(super) is_incomplete: bool,
    pub(super) spoil: Spoil,
}

/// What carrying it out would spoil.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spoil {
    /// Nothing.
    #[default]
    Nothing,
    /// What the siege rests on: its topics, or a bound on memory that topics by the thousand would move.
    Siege,
}

impl Expectation {
    /// Whether a further frame would be looked at.
    pub(super) const fn is_open(&self) -> bool {
        !self.closes && !self.may_close && !self.is_incomplete
    }
}

/// What must come of `bytes` on a new connection.
pub(super) fn expect(bytes: &[u8]) -> Expectation {
    let mut expected = Expectation::default();
    let (mut rest, mut is_greeted) = (bytes, false);
    while !expected.closes && !rest.is_empty() {
        let frame_bytes_max = if is_greeted { FRAME_BYTES_MAX_DEFAULT } else { GREETING_BYTES_MAX };
        match frame::split(rest, frame_bytes_max) {
            Ok(Some((frame, length))) => {
                expect_frame(&frame, &mut is_greeted, &mut expected);
                rest = &rest[length..];
            }
            Ok(None) => {
                expected.is_incomplete = true;
                break;
            }
            Err(_) => {
                expected.answers.push((0, 0));
                expected.closes = true;
            }
        }
    }
    expected
}

fn expect_frame(frame: &Frame<'_>, is_greeted: &mut bool, expected: &mut Expectation) {
    let header = frame.header;
    let api = Api::from_number(header.api);
    let is_sound =
        (api == Some(Api::Produce) || frame.payload.is_empty()) && frame.body.len() <= REQUEST_BODY_BYTES_MAX;
    let mut is_answered = true;
    if header.answer || *is_greeted == (api == Some(Api::Hello)) {
        expected.closes = true;
    } else if is_sound {
        match api {
            Some(Api::Hello) => expect_hello(frame, is_greeted, expected),
            Some(Api::Produce) => {
                is_answered = is_produce_answered(frame);
                expected.may_close |= !is_answered;
            }
            Some(Api::Fetch) => expected.may_wait |= frame::decode::<FetchRequest>(frame.body).is_ok(),
            _ => expected.spoil = expected.spoil.max_of(spoils(api, frame.body)),
        }
    }
    if is_answered {
        expected.answers.push((header.api, header.correlation));
    }
}

fn expect_hello(frame: &Frame<'_>, is_greeted: &mut bool, expected: &mut Expectation) {
    if let Ok(HelloRequest { version_min, version_max, .. }) = frame::decode(frame.body) {
        *is_greeted = (version_min..=version_max).contains(&PROTOCOL_VERSION);
        expected.closes = !*is_greeted;
    }
}

/// Unless it is in order and wants no answer.
fn is_produce_answered(frame: &Frame<'_>) -> bool {
    let Ok(ProduceRequest { acks, parts, .. }) = frame::decode(frame.body) else { return true };
    let lengths: u64 = parts.iter().map(|part| u64::from(part.length)).sum();
    acks != 0 || !(1..=BATCHES_MAX).contains(&parts.len()) || lengths != frame.payload.len() as u64
}

fn spoils(api: Option<Api>, body: &[u8]) -> Spoil {
    let is_spoiling = match api {
        Some(Api::CreateTopic) => {
            frame::decode(body).is_ok_and(|CreateTopicRequest { partitions, validate_only, .. }| {
                !validate_only && partitions > 4
            })
        }
        Some(Api::AddPartitions) => frame::decode(body)
            .is_ok_and(|AddPartitionsRequest { partitions, .. }| partitions > 2 * PREY_PARTITIONS),
        Some(Api::DeleteTopic) => {
            frame::decode(body).is_ok_and(|DeleteTopicRequest { name }| is_needed(&name))
        }
        Some(Api::AlterTopic) => {
            frame::decode(body).is_ok_and(|AlterTopicRequest { name, .. }| is_needed(&name) && name != PREY)
        }
        _ => false,
    };
    if is_spoiling { Spoil::Siege } else { Spoil::Nothing }
}

fn is_needed(topic: &str) -> bool {
    topic == PREY || topic == "healthy"
}

impl Spoil {
    fn max_of(self, other: Self) -> Self {
        if self == Self::Nothing { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Vec<u8> {
        let hello = HelloRequest { version_min: 1, version_max: 1, ..HelloRequest::default() };
        frame::encode(Api::Hello.number(), false, 0, 1, &hello, 0).to_vec()
    }

    fn list(correlation: u32) -> Vec<u8> {
        let list = ListTopicsRequest { internal: false };
        frame::encode(Api::ListTopics.number(), false, 0, correlation, &list, 0).to_vec()
    }

    #[test]
    fn requests_are_answered_in_order_until_one_is_none() {
        let sound = [hello(), list(2), list(3)].concat();
        let expected = expect(&sound);
        let list_topics = Api::ListTopics.number();
        assert_eq!(expected.answers, [(0, 1), (list_topics, 2), (list_topics, 3)]);
        assert!(expected.is_open());

        let mut damaged = sound.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let expected = expect(&damaged);
        assert_eq!(expected.answers, [(0, 1), (list_topics, 2), (0, 0)]);
        assert!(expected.closes);

        assert!(expect(&sound[..sound.len() - 1]).is_incomplete);
        assert!(expect(&list(2)).closes, "a connection begins with hello");
        assert!(expect(&[hello(), hello()].concat()).closes, "hello comes once");
    }

    #[test]
    fn what_would_spoil_the_siege_is_known() {
        let delete = |name: &str| {
            let request = DeleteTopicRequest { name: name.to_owned() };
            [hello(), frame::encode(Api::DeleteTopic.number(), false, 0, 1, &request, 0).to_vec()].concat()
        };
        assert_eq!(expect(&delete(PREY)).spoil, Spoil::Siege);
        assert_eq!(expect(&delete("nobody")).spoil, Spoil::Nothing);
    }
}
