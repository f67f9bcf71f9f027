//! The two slots of the superblock.

use ringmain_wal::group::{Generation, LogSalt};
use ringmain_wal::superblock::{SLOT_BYTES, Superblock, choose};
use ringmain_wire::ids::NodeId;

use crate::fuzz::Verdict;

const CRC_AT: usize = SLOT_BYTES - 4;

/// Chooses between the slots; what is chosen is encoded and chosen again.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let (slot_a, slot_b) = input.split_at(input.len().min(SLOT_BYTES));
    let chosen = choose(slot_a, slot_b);
    match &chosen {
        Ok(superblock) => {
            let alone = if superblock.slot() == 0 { choose(slot_a, &[]) } else { choose(&[], slot_b) };
            assert_eq!(alone.as_ref(), Ok(superblock), "it stands in the other's slot");
            let mut slots = [Vec::new(), Vec::new()];
            slots[superblock.slot()] = superblock.encode();
            assert_eq!(choose(&slots[0], &slots[1]).as_ref(), Ok(superblock));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Verdict::of(&chosen)
}

/// Both slots written, and only one.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let superblock = Superblock {
        cluster_id: [7; 16],
        node_id: NodeId(3),
        disk_id: [9; 16],
        log_salt: LogSalt(0x0123_4567_89ab_cdef),
        generation: Generation(40),
        shards: 4,
        write_number: 6,
    };
    let before = Superblock { generation: Generation(39), write_number: 5, ..superblock.clone() };
    let zero = vec![0; SLOT_BYTES];
    vec![[superblock.encode(), before.encode()].concat(), [zero, before.encode()].concat()]
}

/// Makes the checksum of every slot right that begins as one does.
pub(in crate::fuzz) fn seal(input: &mut [u8]) {
    for slot in input.chunks_exact_mut(SLOT_BYTES).filter(|slot| slot.starts_with(b"RINGMAIN")) {
        let crc = crc32c::crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
}
