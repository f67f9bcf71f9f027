//! Damage: what becomes of a corpus entry before a parser sees it.

use super::dice::Dice;

/// No input is longer: what parsers do with long inputs, they do with these.
pub(super) const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Most changes to one input.
const CHANGES_MAX: usize = 6;
/// Most bytes that are moved, repeated or made up at once.
const RANGE_BYTES_MAX: usize = 4 * 1024;
/// What lengths, counts and offsets are compared with, off by one included.
const INTERESTING: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    1023,
    1024,
    4095,
    4096,
    4097,
    8192,
    65_535,
    65_536,
    1 << 20,
    (1 << 24) - 1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    1 << 32,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// An input to start from.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) bytes: Vec<u8>,
    /// Where it is not zero: blocks on disk are mostly padding, and changing that finds nothing.
    dense: Vec<usize>,
}

impl Entry {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let dense = (0..bytes.len()).filter(|&place| bytes[place] != 0).collect();
        Self { bytes, dense }
    }
}

/// One entry of `corpus`, which is not empty, with one or a few changes.
pub(crate) fn mutate(corpus: &[Entry], dice: &mut Dice) -> Vec<u8> {
    let entry = dice.pick(corpus);
    let mut bytes = entry.bytes.clone();
    for _ in 0..dice.length(CHANGES_MAX) {
        change(&mut bytes, entry, corpus, dice);
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, entry: &Entry, corpus: &[Entry], dice: &mut Dice) {
    let kind = dice.below(10);
    if bytes.is_empty() || kind == 0 {
        insert_noise(bytes, dice);
        return;
    }
    let place = pick_place(bytes, entry, dice);
    match kind {
        1 | 2 => bytes[place] ^= 1 << dice.below(8),
        3 => bytes[place] = *dice.pick(INTERESTING) as u8,
        4 | 5 => overwrite_integer(bytes, place, dice),
        6 => bytes.truncate(place),
        7 => splice(bytes, place, dice.pick(corpus), dice),
        8 => {
            let range = place..place + dice.length((bytes.len() - place).min(RANGE_BYTES_MAX));
            bytes.drain(range);
        }
        _ => repeat_range(bytes, place, dice),
    }
}

/// Mostly where the entry means something, or just behind; sometimes anywhere.
fn pick_place(bytes: &[u8], entry: &Entry, dice: &mut Dice) -> usize {
    if entry.dense.is_empty() || dice.once_in(4) {
        return dice.below(bytes.len());
    }
    let place = *dice.pick(&entry.dense) + if dice.once_in(4) { dice.below(8) } else { 0 };
    place.min(bytes.len() - 1)
}

fn insert_noise(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let place = dice.below(bytes.len() + 1);
    let length = dice.length(64);
    let filler = dice.once_in(2).then(|| dice.number() as u8);
    let noise: Vec<u8> = (0..length).map(|_| filler.unwrap_or_else(|| dice.number() as u8)).collect();
    bytes.splice(place..place, noise);
}

/// A field becomes an interesting number, the number of bytes there are, or a little more or less than it was.
fn overwrite_integer(bytes: &mut [u8], place: usize, dice: &mut Dice) {
    let width = *dice.pick(&[1, 2, 4, 8]);
    let is_big_endian = dice.once_in(2);
    let length = bytes.len() as u64;
    let Some(field) = bytes.get_mut(place..place + width) else { return };
    let near = |number: u64, dice: &mut Dice| number.wrapping_add(dice.number() % 33).wrapping_sub(16);
    let number = match dice.below(4) {
        0 => near(length, dice),
        1 => near(read_integer(field, is_big_endian), dice),
        _ => *dice.pick(INTERESTING),
    };
    if is_big_endian {
        field.copy_from_slice(&number.to_be_bytes()[8 - width..]);
    } else {
        field.copy_from_slice(&number.to_le_bytes()[..width]);
    }
}

fn read_integer(field: &[u8], is_big_endian: bool) -> u64 {
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if is_big_endian { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) }
}

/// Goes on as another entry does.
fn splice(bytes: &mut Vec<u8>, place: usize, other: &Entry, dice: &mut Dice) {
    let from = match dice.once_in(2) {
        true => place.min(other.bytes.len()),
        false => dice.below(other.bytes.len() + 1),
    };
    bytes.truncate(place);
    bytes.extend_from_slice(&other.bytes[from..]);
}

/// A range stands there twice, or over something else.
fn repeat_range(bytes: &mut Vec<u8>, place: usize, dice: &mut Dice) {
    let length = dice.length((bytes.len() - place).min(RANGE_BYTES_MAX));
    let range = bytes[place..place + length].to_vec();
    let to = dice.below(bytes.len() + 1);
    let overwritten = if dice.once_in(2) { length.min(bytes.len() - to) } else { 0 };
    bytes.splice(to..to + overwritten, range);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_case_decide_the_input() {
        let corpus = [Entry::new((0..200).collect()), Entry::new(vec![0; 5_000]), Entry::new(Vec::new())];
        let inputs = |seed: u64| -> Vec<Vec<u8>> {
            (0..200).map(|case| mutate(&corpus, &mut Dice::new(seed, case))).collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }

    #[test]
    fn padding_is_rarely_changed() {
        let mut bytes = vec![0; 4096];
        bytes[100..164].fill(7);
        let entry = Entry::new(bytes.clone());
        let mut dice = Dice::new(3, 0);
        let meant =
            (0..1_000).filter(|_| (100..172).contains(&pick_place(&bytes, &entry, &mut dice))).count();
        assert!(meant > 700, "{meant} of 1,000");
    }

    #[test]
    fn integers_are_read_and_written_in_both_orders() {
        assert_eq!(read_integer(&[1, 2, 3, 4], true), 0x0102_0304);
        assert_eq!(read_integer(&[1, 2, 3, 4], false), 0x0403_0201);
        let seen = |wanted: &[u8]| {
            (0..20_000).any(|case| {
                let mut bytes = [9; 4];
                overwrite_integer(&mut bytes, 0, &mut Dice::new(1, case));
                bytes == wanted
            })
        };
        assert!(seen(&[0xff; 4]) && seen(&[0x7f, 0xff, 0xff, 0xff]) && seen(&[0xff, 0xff, 0xff, 0x7f]));
    }
}
