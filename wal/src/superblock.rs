//! The superblock: whose data directory this is, and which generation wrote it last.
//!
//! Two slots of a block each lie in one file and are written in turn, so that a write cut short leaves the other. The
//! last four bytes of a slot are the CRC-32C of all before them, in every format version, so that a newer version can be
//! told from damage. Integers are little endian.

use core::fmt;

use ringmain_wire::ids::NodeId;

use crate::block::BLOCK_BYTES;
use crate::group::{Generation, LogSalt};
use crate::layout::{array, put, u16_at, u32_at, u64_at};

/// Bytes of a slot; slot *i* starts at *i* times this.
pub const SLOT_BYTES: usize = BLOCK_BYTES;

/// The format of data directories that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RINGMAIN";
const CRC_PLACE: usize = SLOT_BYTES - 4;

/// What a data directory says about itself. View: node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The cluster that the node belongs to.
    pub cluster_id: [u8; 16],
    /// The node.
    pub node_id: NodeId,
    /// Names this directory for its whole life: a wiped or replaced disk has another.
    pub disk_id: [u8; 16],
    /// The directory's secret, drawn with its id.
    pub log_salt: LogSalt,
    /// The current start of the node; logs of lower ones are only read.
    pub generation: Generation,
    /// Logs that the generation writes, one a shard.
    pub shards: u16,
    /// Number of this write of the superblock; its parity is the slot.
    pub write_number: u64,
}

impl Superblock {
    /// The same with the next write number, for the other slot.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { write_number: self.write_number + 1, ..self.clone() }
    }

    /// The slot, 0 or 1, where this write belongs.
    #[must_use]
    pub const fn slot(&self) -> usize {
        (self.write_number % 2) as usize
    }

    /// The slot, 0 or 1, where its successor belongs.
    #[must_use]
    pub const fn next_slot(&self) -> usize {
        1 - self.slot()
    }

    /// The bytes of [`Self::slot`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SLOT_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.node_id.0.to_le_bytes());
        put(&mut bytes, 16, &self.cluster_id);
        put(&mut bytes, 32, &self.disk_id);
        put(&mut bytes, 48, &self.log_salt.0.to_le_bytes());
        put(&mut bytes, 56, &self.write_number.to_le_bytes());
        put(&mut bytes, 64, &self.generation.0.to_le_bytes());
        put(&mut bytes, 68, &self.shards.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_PLACE]);
        put(&mut bytes, CRC_PLACE, &crc.to_le_bytes());
        bytes
    }
}

/// Why a data directory has no superblock that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// Nothing was ever written: both slots are zero.
    Empty,
    /// Something else than a superblock was written.
    WrongMagic,
    /// Neither slot is intact.
    Damaged,
    /// A newer version of the program has used the directory.
    NewerFormat {
        /// Its format version.
        found: u32,
    },
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("the superblock was never written"),
            Self::WrongMagic => out.write_str("the file is not a superblock"),
            Self::Damaged => out.write_str("both copies of the superblock are damaged"),
            Self::NewerFormat { found } => {
                write!(out, "the directory has format version {found}, this version reads {FORMAT_VERSION}")
            }
        }
    }
}

impl core::error::Error for SuperblockError {}

/// The newest intact superblock of the two slots, as they were read.
///
/// One damaged slot is what a write cut short leaves, so it is no error; but it may also have been the newer one that
/// rotted. The caller must therefore refuse a generation older than that of any log file it finds.
///
/// # Errors
/// When neither slot can be used, or a newer version has written either.
pub fn choose(slot_a: &[u8], slot_b: &[u8]) -> Result<Superblock, SuperblockError> {
    match (decode(slot_a, 0), decode(slot_b, 1)) {
        (Err(newer @ SuperblockError::NewerFormat { .. }), _)
        | (_, Err(newer @ SuperblockError::NewerFormat { .. })) => Err(newer),
        (Ok(a), Ok(b)) => Ok(if a.write_number > b.write_number { a } else { b }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        (Err(SuperblockError::Empty), Err(other)) | (Err(other), Err(SuperblockError::Empty)) => Err(other),
        (Err(SuperblockError::WrongMagic), Err(SuperblockError::WrongMagic)) => {
            Err(SuperblockError::WrongMagic)
        }
        (Err(_), Err(_)) => Err(SuperblockError::Damaged),
    }
}

/// The superblock in slot `slot`, 0 or 1, as it was read. One that is damaged is what a write cut short leaves, or rot: only
/// [`choose`] says what that means.
///
/// # Errors
/// When the slot cannot be used.
pub fn decode(bytes: &[u8], slot: usize) -> Result<Superblock, SuperblockError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(SuperblockError::Empty);
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(SuperblockError::WrongMagic);
    }
    if bytes.len() != SLOT_BYTES || crc32c::crc32c(&bytes[..CRC_PLACE]) != u32_at(bytes, CRC_PLACE) {
        return Err(SuperblockError::Damaged);
    }
    let found = u32_at(bytes, 8);
    if found > FORMAT_VERSION {
        return Err(SuperblockError::NewerFormat { found });
    }
    let superblock = Superblock {
        cluster_id: array(bytes, 16),
        node_id: NodeId(u32_at(bytes, 12)),
        disk_id: array(bytes, 32),
        log_salt: LogSalt(u64_at(bytes, 48)),
        generation: Generation(u32_at(bytes, 64)),
        shards: u16_at(bytes, 68),
        write_number: u64_at(bytes, 56),
    };
    // Intact but in the other's place: the disk has put the write where it does not belong.
    if superblock.slot() == slot { Ok(superblock) } else { Err(SuperblockError::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(write_number: u64) -> Superblock {
        Superblock {
            cluster_id: [7; 16],
            node_id: NodeId(3),
            disk_id: [9; 16],
            log_salt: LogSalt(0x0123_4567_89ab_cdef),
            generation: Generation(write_number as u32 + 40),
            shards: 4,
            write_number,
        }
    }

    /// The two slots after the superblocks up to `write_number` were written.
    fn slots(write_number: u64) -> [Vec<u8>; 2] {
        let mut slots = [vec![0; SLOT_BYTES], vec![0; SLOT_BYTES]];
        for superblock in (1..=write_number).map(sample) {
            slots[superblock.slot()] = superblock.encode();
        }
        slots
    }

    #[test]
    fn the_newest_intact_slot_wins() {
        for write_number in 1..6 {
            let [a, b] = slots(write_number);
            assert_eq!(choose(&a, &b), Ok(sample(write_number)));
        }
        assert_eq!(sample(4).successor(), Superblock { write_number: 5, ..sample(4) });
        assert_eq!((sample(4).slot(), sample(4).next_slot()), (0, 1));
    }

    #[test]
    fn a_write_cut_short_leaves_the_one_before() {
        for cut in (0..SLOT_BYTES).step_by(512) {
            let mut slots = slots(4);
            let next = sample(5).encode();
            slots[1][..cut].copy_from_slice(&next[..cut]);
            let expected = if cut == 0 { 4 } else { 4 + u64::from(cut == SLOT_BYTES) };
            assert_eq!(choose(&slots[0], &slots[1]), Ok(sample(expected)), "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let [a, b] = slots(2);
        for bit in (0..SLOT_BYTES * 8).filter(|bit| *bit < 1024 || bit % 97 == 0 || *bit >= CRC_PLACE * 8) {
            let mut flipped = a.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(choose(&flipped, &b), Ok(sample(1)), "bit {bit}");
        }
    }

    #[test]
    fn each_reason_has_its_error() {
        let zero = vec![0; SLOT_BYTES];
        let [a, b] = slots(2);
        let damaged = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[70] ^= 1;
            bytes
        };
        let foreign = vec![b'x'; SLOT_BYTES];
        let mut newer = a.clone();
        put(&mut newer, 8, &2_u32.to_le_bytes());
        let crc = crc32c::crc32c(&newer[..CRC_PLACE]);
        put(&mut newer, CRC_PLACE, &crc.to_le_bytes());

        assert_eq!(choose(&zero, &zero), Err(SuperblockError::Empty));
        assert_eq!(choose(&foreign, &foreign), Err(SuperblockError::WrongMagic));
        assert_eq!(choose(&foreign, &zero), Err(SuperblockError::WrongMagic));
        assert_eq!(choose(&damaged(&a), &damaged(&b)), Err(SuperblockError::Damaged));
        assert_eq!(choose(&damaged(&a), &zero), Err(SuperblockError::Damaged));
        assert_eq!(choose(&newer, &b), Err(SuperblockError::NewerFormat { found: 2 }));
        assert_eq!(choose(&a[..100], &b[..100]), Err(SuperblockError::Damaged));
        assert_eq!(choose(&b, &a), Err(SuperblockError::Damaged), "each is intact, in the other's place");
        assert_eq!(choose(&[], &[]), Err(SuperblockError::Empty));
    }
}
