use proptest::prelude::*;

use super::*;

const SLOT_BYTES: usize = 8192;

fn logs(count: u16) -> Vec<LogExtent> {
    let log = |log| LogExtent {
        generation: Generation(4 + u32::from(log / 8)),
        log: LogId(log % 8),
        last: Sequence(9 + u64::from(log)),
    };
    (0..count).map(log).collect()
}

fn sample(write_number: u64) -> Checkpoint {
    Checkpoint { write_number, oldest_generation: Generation(3), logs: logs(12) }
}

fn slots(write_number: u64) -> [Vec<u8>; 2] {
    let mut slots = [vec![0; SLOT_BYTES], vec![0; SLOT_BYTES]];
    for checkpoint in (1..=write_number).map(sample) {
        slots[checkpoint.slot()] = checkpoint.encode(SLOT_BYTES).unwrap();
    }
    slots
}

/// Recomputes the CRC of a slot that a test has changed.
fn seal(bytes: &mut [u8]) {
    let end = HEADER_BYTES + u32_at(bytes, 24) as usize;
    let crc = crc(&bytes[..end]);
    put(bytes, CRC_PLACE, &crc.to_le_bytes());
}

#[test]
fn the_newest_intact_slot_wins() {
    for write_number in 1..5 {
        let [a, b] = slots(write_number);
        assert_eq!(choose(&a, &b), Ok(sample(write_number)));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let [a, b] = slots(2);
    let length = HEADER_BYTES + u32_at(&a, 24) as usize;
    for bit in 0..length * 8 {
        let mut flipped = a.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(choose(&flipped, &b), Ok(sample(1)), "bit {bit}");
    }
}

#[test]
fn a_write_cut_short_leaves_the_one_before() {
    for cut in (0..SLOT_BYTES).step_by(512) {
        let mut slots = slots(4);
        let mut next = sample(5);
        next.logs = logs(200);
        let bytes = next.encode(SLOT_BYTES).unwrap();
        slots[1][..cut].copy_from_slice(&bytes[..cut]);
        let is_whole = cut >= HEADER_BYTES + u32_at(&bytes, 24) as usize;
        assert_eq!(choose(&slots[0], &slots[1]), Ok(if is_whole { next } else { sample(4) }), "cut at {cut}");
    }
}

#[test]
fn each_reason_has_its_error() {
    let zero = vec![0; SLOT_BYTES];
    let foreign = vec![b'x'; SLOT_BYTES];
    let [a, b] = slots(2);
    assert_eq!(choose(&zero, &zero), Err(CheckpointError::Empty));
    assert_eq!(choose(&zero, &foreign), Err(CheckpointError::WrongMagic));
    assert_eq!(choose(&a[..16], &b[..40]), Err(CheckpointError::Damaged));
    assert_eq!(choose(&b, &a), Err(CheckpointError::Damaged), "each is intact, in the other's place");

    let mut newer = a.clone();
    put(&mut newer, 8, &9_u32.to_le_bytes());
    seal(&mut newer);
    assert_eq!(choose(&newer, &b), Err(CheckpointError::NewerFormat { found: 9 }));

    let (count, log) = (HEADER_BYTES + 4, HEADER_BYTES + 12);
    for (place, value) in [(count, u32::MAX), (count, 1), (log, 2), (log, 1 << 16)] {
        let mut malformed = a.clone();
        put(&mut malformed, place, &value.to_le_bytes());
        seal(&mut malformed);
        assert_eq!(choose(&malformed, &b), Err(CheckpointError::Malformed), "{value} at {place}");
    }
}

#[test]
fn one_that_does_not_fit_says_how_much_it_takes() {
    let mut large = sample(1);
    large.logs = logs(600);
    let refused = large.encode(SLOT_BYTES).unwrap_err();
    assert!(refused.needed_bytes > SLOT_BYTES && refused.slot_bytes == SLOT_BYTES);
    let fitting = refused.needed_bytes.next_multiple_of(4096);
    assert_eq!(choose(&[], &large.encode(fitting).unwrap()), Ok(large));
}

proptest! {
    #[test]
    fn any_bytes_behind_a_valid_crc_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut slot = vec![0; HEADER_BYTES];
        slot.extend_from_slice(&body);
        put(&mut slot, 0, &MAGIC);
        put(&mut slot, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut slot, 24, &(body.len() as u32).to_le_bytes());
        seal(&mut slot);
        prop_assert!(!matches!(decode(&slot, 0), Err(CheckpointError::Damaged)));
    }
}
