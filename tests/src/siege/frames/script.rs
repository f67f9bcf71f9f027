//! What one connection of the attack sends: seeded, most of it mangled, and ended where no further frame could be found.

use ringmain_wire::ids::PartitionIndex;
use ringmain_wire::native::frame::{self, HEADER_BYTES};

use super::expect::{Expectation, Spoil, expect};
use super::templates::{PREY_PARTITIONS, Template, Templates};
use crate::fuzz::dice::Dice;
use crate::fuzz::mutate::mutate;
use crate::fuzz::targets::{batch, frame as frame_target};
use crate::siege::client::produce_request;

/// Most frames of one connection.
const FRAMES_MAX: usize = 16;
/// Most bytes sent behind a header that announces more than there may be.
const EXCESS_BYTES_MAX: usize = 64 * 1024;
/// Where a header says how long its body and its payload are (`ringmain_wire::native::frame`).
const LENGTHS_AT: [usize; 2] = [12, 16];
/// Lengths around every limit, and far beyond.
const LENGTHS: &[u32] = &[
    0,
    1,
    16 * 1024,
    1024 * 1024,
    1024 * 1024 + 1,
    8 << 20,
    frame::BODY_BYTES_MAX,
    frame::BODY_BYTES_MAX + 1,
    frame::FRAME_BYTES_MAX_DEFAULT,
    frame::FRAME_BYTES_MAX_DEFAULT + 1,
    i32::MAX as u32,
    u32::MAX - 24,
    u32::MAX,
];

/// What a connection sends, and what must come of it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u64,
    pub(super) expected: Expectation,
}

/// The script of connection `number` under `seed`.
pub(super) fn script(templates: &Templates, seed: u64, number: u64) -> Script {
    let mut dice = Dice::new(seed, number);
    let frames_max = dice.length(FRAMES_MAX) as u64;
    let mut bytes = Vec::new();
    if !dice.once_in(8) {
        bytes.extend(sealed(&templates.hello, 0));
    }
    let mut frames = 0;
    loop {
        let correlation = dice.number() as u32;
        let mut piece = piece(templates, &mut dice, correlation);
        let before = bytes.len();
        bytes.extend_from_slice(&piece);
        let mut expected = expect(&bytes);
        if expected.spoil == Spoil::Siege {
            // What would be carried out and would change what the siege rests on is left out.
            bytes.truncate(before);
            piece = sealed(&templates.requests[0], correlation);
            bytes.extend_from_slice(&piece);
            expected = expect(&bytes);
        }
        frames += 1;
        if frames == frames_max || !expected.is_open() {
            return Script { bytes, frames, expected };
        }
    }
}

/// One frame, or what is left of it.
fn piece(templates: &Templates, dice: &mut Dice, correlation: u32) -> Vec<u8> {
    let template = dice.pick(&templates.requests);
    let intact = sealed(template, correlation);
    match dice.below(16) {
        0 | 1 => intact,
        2 => flipped(intact, dice, usize::MAX),
        3 => {
            let mut bytes = flipped(intact, dice, HEADER_BYTES - 4);
            frame_target::seal(&mut bytes);
            bytes
        }
        4 => {
            let end = dice.below(intact.len());
            intact[..end].to_vec()
        }
        5 => {
            let length = dice.length(4_096);
            (0..length).map(|_| dice.number() as u8).collect()
        }
        6 | 7 => oversized(intact, dice),
        8 | 9 => mangled_batch(templates, dice, correlation),
        _ => {
            let body = mutate(&templates.bodies, dice);
            sealed(&Template { api: template.api, body, payload: template.payload.clone() }, correlation)
        }
    }
}

/// Some bits of the first `end` bytes changed.
fn flipped(mut bytes: Vec<u8>, dice: &mut Dice, end: usize) -> Vec<u8> {
    for _ in 0..dice.length(8) {
        let place = dice.below(bytes.len().min(end));
        bytes[place] ^= 1 << dice.below(8);
    }
    bytes
}

/// A frame that announces another length than it has, with or without a checksum that says so too.
fn oversized(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let at = *dice.pick(&LENGTHS_AT);
    bytes[at..at + 4].copy_from_slice(&dice.pick(LENGTHS).to_le_bytes());
    let excess = dice.length(EXCESS_BYTES_MAX);
    bytes.resize(bytes.len() + excess, dice.number() as u8);
    if dice.once_in(2) {
        frame_target::seal(&mut bytes);
    }
    bytes
}

/// A produce request that is in order but for its batch.
fn mangled_batch(templates: &Templates, dice: &mut Dice, correlation: u32) -> Vec<u8> {
    let mut mangled = mutate(&templates.batches, dice);
    if !dice.once_in(4) {
        batch::seal(&mut mangled);
    }
    let partition = PartitionIndex(dice.below(PREY_PARTITIONS as usize) as u32);
    let request = produce_request(templates.prey, partition, &mangled);
    let api = frame::Api::Produce;
    let length = u32::try_from(mangled.len()).expect("mutations are short");
    [&frame::encode(api.number(), false, 0, correlation, &request, length)[..], &mangled].concat()
}

/// The frame of a request, its checksum right.
fn sealed(template: &Template, correlation: u32) -> Vec<u8> {
    let Template { api, body, payload } = template;
    let [body_length, payload_length] =
        [body, payload].map(|bytes| u32::try_from(bytes.len()).expect("requests are short"));
    let mut bytes =
        frame::encode_error(api.number(), correlation, ringmain_wire::native::errors::ErrorCode::None, "")
            .to_vec();
    bytes.truncate(HEADER_BYTES);
    // A request, where what was encoded is an answer.
    bytes[4] = 0;
    bytes[LENGTHS_AT[0]..LENGTHS_AT[0] + 4].copy_from_slice(&body_length.to_le_bytes());
    bytes[LENGTHS_AT[1]..LENGTHS_AT[1] + 4].copy_from_slice(&payload_length.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(payload);
    frame_target::seal(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::TopicId;

    use super::*;

    #[test]
    fn seed_and_number_decide_a_script_and_every_ending_is_met() {
        let templates = Templates::about(TopicId([7; 16]));
        let (mut answers, mut closed, mut open, mut frames) = (0, 0, 0, 0);
        for number in 0..2_000 {
            let made = script(&templates, 1, number);
            assert_eq!(made.bytes, script(&templates, 1, number).bytes);
            assert_ne!(made.bytes, script(&templates, 2, number).bytes);
            answers += made.expected.answers.len();
            closed += usize::from(made.expected.closes);
            open += usize::from(made.expected.is_open());
            frames += made.frames;
        }
        assert!(answers > 2_000 && closed > 500 && open > 200, "{answers} {closed} {open} of {frames}");
    }

    #[test]
    fn intact_frames_are_those_of_the_encoder() {
        let templates = Templates::about(TopicId([7; 16]));
        let encoded = frame::encode(
            frame::Api::ListTopics.number(),
            false,
            0,
            9,
            &ringmain_wire::native::messages::ListTopicsRequest { internal: true },
            0,
        );
        let template =
            templates.requests.iter().find(|request| request.api == frame::Api::ListTopics).unwrap();
        assert_eq!(sealed(template, 9), encoded);
    }
}
