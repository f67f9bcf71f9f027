//! The checkpoint: which logs of former generations are still needed, and where they end.
//!
//! Of partitions it says nothing: what is settled of them stands in the logs themselves.
//!
//! Two slots of equal size, given when the file is created, are written in turn; a write cut short leaves the other. A
//! slot is a 32-byte header and a body, integers little endian:
//!
//! | bytes | field | bytes | field |
//! |---|---|---|---|
//! | 0..8 | magic | 16..24 | write number |
//! | 8..12 | format version | 24..28 | body length in bytes |
//! | 12..16 | CRC-32C of all else in header and body | 28..32 | 0 |

mod body;

use core::fmt;

use crate::block::is_whole_blocks;
use crate::group::{Generation, LogId, Sequence};
use crate::layout::{put, u32_at, u64_at};

/// The format of checkpoints that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RMCHECKP";
const CRC_PLACE: usize = 12;
const HEADER_BYTES: usize = 32;

/// Which logs a start needs, and where those that were served end. View: node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of this write; its parity is the slot.
    pub write_number: u64,
    /// Logs of generations below this one are not needed any more: all that they hold is settled, or stands in a later
    /// log again. Their files may be deleted without a look into them, in any order.
    pub oldest_generation: Generation,
    /// The logs of former generations that are still needed, ordered by generation and log.
    pub logs: Vec<LogExtent>,
}

/// Where a log of a former generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogExtent {
    /// The log's generation; below [`Checkpoint::oldest_generation`] for a rotten log that is kept only for whoever
    /// repairs it.
    pub generation: Generation,
    /// The log.
    pub log: LogId,
    /// The last group, once the generation is over. What it holds has been served since, so damage up to here is rot,
    /// never a torn tail. [`Sequence::ZERO`] for a log that may still grow.
    pub last: Sequence,
}

impl Checkpoint {
    /// The slot, 0 or 1, where this write belongs; slot *i* starts at *i* times the slot size.
    #[must_use]
    pub const fn slot(&self) -> usize {
        (self.write_number % 2) as usize
    }

    /// The slot, 0 or 1, where the next write belongs.
    #[must_use]
    pub const fn next_slot(&self) -> usize {
        1 - self.slot()
    }

    /// The bytes of [`Self::slot`], zero-padded to `slot_bytes`.
    ///
    /// # Errors
    /// When they do not fit.
    ///
    /// # Panics
    /// When `slot_bytes` is not a whole number of blocks, or the logs are not in order.
    pub fn encode(&self, slot_bytes: usize) -> Result<Vec<u8>, SlotTooSmall> {
        assert!(is_whole_blocks(slot_bytes as u64), "a slot is whole blocks");
        assert!(body::is_in_order(self), "logs of the checkpoint are not in order");
        let mut bytes = vec![0; HEADER_BYTES];
        body::encode(self, &mut bytes);
        let length = u32::try_from(bytes.len() - HEADER_BYTES).ok().filter(|_| bytes.len() <= slot_bytes);
        let Some(length) = length else { return Err(SlotTooSmall { needed_bytes: bytes.len(), slot_bytes }) };
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.write_number.to_le_bytes());
        put(&mut bytes, 24, &length.to_le_bytes());
        let crc = crc(&bytes);
        put(&mut bytes, CRC_PLACE, &crc.to_le_bytes());
        bytes.resize(slot_bytes, 0);
        Ok(bytes)
    }
}

/// A checkpoint does not fit its slot: the file must be created again, larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTooSmall {
    /// Bytes that it takes.
    pub needed_bytes: usize,
    /// Bytes that there are.
    pub slot_bytes: usize,
}

impl fmt::Display for SlotTooSmall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a checkpoint of {} bytes does not fit a slot of {}", self.needed_bytes, self.slot_bytes)
    }
}

impl core::error::Error for SlotTooSmall {}

/// Why there is no checkpoint that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Nothing was ever written: both slots are zero.
    Empty,
    /// Something else than a checkpoint was written.
    WrongMagic,
    /// Neither slot is intact.
    Damaged,
    /// A slot is intact but its list contradicts itself: a bug of the writer.
    Malformed,
    /// A newer version of the program has written a slot.
    NewerFormat {
        /// Its format version.
        found: u32,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => out.write_str("no checkpoint was ever written"),
            Self::WrongMagic => out.write_str("the file is not a checkpoint"),
            Self::Damaged => out.write_str("both copies of the checkpoint are damaged"),
            Self::Malformed => out.write_str("the checkpoint contradicts itself"),
            Self::NewerFormat { found } => {
                write!(out, "the checkpoint has format version {found}, this version reads {FORMAT_VERSION}")
            }
        }
    }
}

impl core::error::Error for CheckpointError {}

/// The newest intact checkpoint of the two slots, as they were read.
///
/// # Errors
/// When neither slot can be used, a newer version has written either, or one is intact and malformed.
pub fn choose(slot_a: &[u8], slot_b: &[u8]) -> Result<Checkpoint, CheckpointError> {
    use CheckpointError::{Damaged, Empty, Malformed, NewerFormat, WrongMagic};
    match (decode(slot_a, 0), decode(slot_b, 1)) {
        (Err(grave @ (NewerFormat { .. } | Malformed)), _)
        | (_, Err(grave @ (NewerFormat { .. } | Malformed))) => Err(grave),
        (Ok(a), Ok(b)) => Ok(if a.write_number > b.write_number { a } else { b }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        (Err(Empty), Err(other)) | (Err(other), Err(Empty)) => Err(other),
        (Err(WrongMagic), Err(WrongMagic)) => Err(WrongMagic),
        (Err(_), Err(_)) => Err(Damaged),
    }
}

/// The checkpoint in slot `slot`, 0 or 1, as it was read. One that is damaged is what a write cut short leaves, or rot: only
/// [`choose`] says what that means.
///
/// # Errors
/// When the slot cannot be used.
pub fn decode(bytes: &[u8], slot: usize) -> Result<Checkpoint, CheckpointError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(CheckpointError::Empty);
    }
    if !bytes.starts_with(&MAGIC) {
        return Err(CheckpointError::WrongMagic);
    }
    if bytes.len() < HEADER_BYTES {
        return Err(CheckpointError::Damaged);
    }
    let end = HEADER_BYTES.saturating_add(u32_at(bytes, 24) as usize);
    let bytes = bytes.get(..end).ok_or(CheckpointError::Damaged)?;
    if crc(bytes) != u32_at(bytes, CRC_PLACE) {
        return Err(CheckpointError::Damaged);
    }
    let found = u32_at(bytes, 8);
    if found > FORMAT_VERSION {
        return Err(CheckpointError::NewerFormat { found });
    }
    let write_number = u64_at(bytes, 16);
    let checkpoint = body::decode(write_number, &bytes[HEADER_BYTES..]).ok_or(CheckpointError::Malformed)?;
    // Intact but in the other's place: the disk has put the write where it does not belong.
    if checkpoint.slot() == slot { Ok(checkpoint) } else { Err(CheckpointError::Damaged) }
}

/// The CRC of header and body, all but the CRC's own bytes.
fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_PLACE]), &bytes[CRC_PLACE + 4..])
}

#[cfg(test)]
mod tests;
