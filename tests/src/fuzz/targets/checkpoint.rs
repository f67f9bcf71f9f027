//! The two slots of the checkpoint.

use ringmain_wal::block::{BLOCK_BYTES, round_up};
use ringmain_wal::checkpoint::{Checkpoint, LogExtent, choose};
use ringmain_wal::group::{Generation, LogId, Sequence};

use crate::fuzz::Verdict;

const CRC_AT: usize = 12;
const LENGTH_AT: usize = 24;
const HEADER_BYTES: usize = 32;

/// Chooses between the slots, halves of the input; what is chosen is encoded and chosen again.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let (slot_a, slot_b) = input.split_at(input.len() / 2);
    let chosen = choose(slot_a, slot_b);
    match &chosen {
        Ok(checkpoint) => {
            let alone = if checkpoint.slot() == 0 { choose(slot_a, &[]) } else { choose(&[], slot_b) };
            assert_eq!(alone.as_ref(), Ok(checkpoint), "it stands in the other's slot");
            let encoded = checkpoint.encode(round_up(input.len())).expect("it came out of fewer bytes");
            let mut slots = [Vec::new(), Vec::new()];
            slots[checkpoint.slot()] = encoded;
            assert_eq!(choose(&slots[0], &slots[1]).as_ref(), Ok(checkpoint));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Verdict::of(&chosen)
}

/// Both slots written, and only one.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let log = |generation: u32, log: u16| LogExtent {
        generation: Generation(generation),
        log: LogId(log),
        last: Sequence(u64::from(generation) * 100),
    };
    let newer = Checkpoint {
        write_number: 8,
        oldest_generation: Generation(3),
        logs: vec![log(3, 0), log(3, 1), log(4, 0)],
    };
    let older = Checkpoint { write_number: 7, oldest_generation: Generation(1), logs: vec![log(2, 0)] };
    let encoded = |checkpoint: &Checkpoint| checkpoint.encode(BLOCK_BYTES).expect("a block is enough");
    let zero = vec![0; BLOCK_BYTES];
    vec![[encoded(&newer), encoded(&older)].concat(), [encoded(&newer), zero].concat()]
}

/// Makes the checksum of both slots right, as far as their lengths stay within them.
pub(in crate::fuzz) fn seal(input: &mut [u8]) {
    let (slot_a, slot_b) = input.split_at_mut(input.len() / 2);
    for slot in [slot_a, slot_b] {
        let Some(length) = slot.get(LENGTH_AT..LENGTH_AT + 4).filter(|_| slot.starts_with(b"RMCHECKP"))
        else {
            continue;
        };
        let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let Some(covered) = slot.get(..HEADER_BYTES + length) else { continue };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&covered[..CRC_AT]), &covered[CRC_AT + 4..]);
        slot[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
}
