//! The header of a group: who wrote it, where in the chain it stands, and how far everything was durable by then.

use core::ops::Range;

use super::{ENTRY_HEAD_BYTES, Generation, GroupDamage, LogId, LogSalt, Sequence};
use crate::block::{BLOCK_BYTES, is_whole_blocks, round_up};
use crate::layout::{put, u16_at, u32_at, u64_at};

/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;

/// The format of groups that this version writes and reads.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"RMGL";
/// Nothing follows: the log was closed in order.
const FLAG_CLOSED: u16 = 1;
/// The CRC covers all that stands before it.
const CRC_PLACE: usize = GROUP_HEADER_BYTES - 4;

const _: () = assert!(GROUP_HEADER_BYTES.is_multiple_of(8) && GROUP_HEADER_BYTES < BLOCK_BYTES);

/// The header of a group; see the module for what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// The log's last group: it was closed in order and nothing was written behind this.
    pub closed: bool,
    /// The log's generation.
    pub generation: Generation,
    /// The log.
    pub log: LogId,
    /// Place of the group in the log, from 1, without gaps.
    pub sequence: Sequence,
    /// Every group up to this one was durable when this one was handed out for writing.
    pub durable_upto: Sequence,
    /// The header CRC of the group before, 0 for the first.
    pub previous_crc: u32,
    /// Bytes of the whole group, padding included; a multiple of the block.
    pub length: u32,
    /// Where the directory starts, in bytes from the start of the group; the entries end there.
    pub directory_position: u32,
    /// CRC-32C of the directory.
    pub directory_crc: u32,
    /// Entries in the directory; 0 in a group that only carries the mark.
    pub entries: u32,
}

impl GroupHeader {
    /// Writes the header to the start of `bytes` and gives its CRC, the next group's `previous_crc`.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`GROUP_HEADER_BYTES`].
    pub fn encode(&self, salt: LogSalt, bytes: &mut [u8]) -> u32 {
        let bytes = &mut bytes[..GROUP_HEADER_BYTES];
        bytes.fill(0);
        put(bytes, 0, &MAGIC);
        put(bytes, 4, &FORMAT_VERSION.to_le_bytes());
        put(bytes, 6, &(if self.closed { FLAG_CLOSED } else { 0 }).to_le_bytes());
        put(bytes, 8, &salt.0.to_le_bytes());
        put(bytes, 16, &self.sequence.0.to_le_bytes());
        put(bytes, 24, &self.durable_upto.0.to_le_bytes());
        put(bytes, 32, &self.generation.0.to_le_bytes());
        put(bytes, 36, &self.log.0.to_le_bytes());
        // 38..40 is reserved and zero.
        put(bytes, 40, &self.previous_crc.to_le_bytes());
        put(bytes, 44, &self.length.to_le_bytes());
        put(bytes, 48, &self.directory_position.to_le_bytes());
        put(bytes, 52, &self.directory_crc.to_le_bytes());
        put(bytes, 56, &self.entries.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_PLACE]);
        put(bytes, CRC_PLACE, &crc.to_le_bytes());
        crc
    }

    /// The header at the start of `bytes`: its CRC, salt and version checked, and its lengths against each other.
    ///
    /// # Errors
    /// What is wrong with it. Salt and version are looked at only once the CRC has proved that they were written so.
    pub fn decode(bytes: &[u8], salt: LogSalt) -> Result<Self, GroupDamage> {
        let Some(bytes) = bytes.first_chunk::<GROUP_HEADER_BYTES>() else { return Err(GroupDamage::Bounds) };
        if !bytes.starts_with(&MAGIC) {
            return Err(GroupDamage::NotAGroup);
        }
        if crc32c::crc32c(&bytes[..CRC_PLACE]) != u32_at(bytes, CRC_PLACE) {
            return Err(GroupDamage::HeaderCrc);
        }
        if u64_at(bytes, 8) != salt.0 {
            return Err(GroupDamage::Foreign);
        }
        let found = u16_at(bytes, 4);
        if found != FORMAT_VERSION {
            return Err(GroupDamage::FormatVersion { found });
        }
        let flags = u16_at(bytes, 6);
        let header = Self {
            closed: flags & FLAG_CLOSED != 0,
            generation: Generation(u32_at(bytes, 32)),
            log: LogId(u16_at(bytes, 36)),
            sequence: Sequence(u64_at(bytes, 16)),
            durable_upto: Sequence(u64_at(bytes, 24)),
            previous_crc: u32_at(bytes, 40),
            length: u32_at(bytes, 44),
            directory_position: u32_at(bytes, 48),
            directory_crc: u32_at(bytes, 52),
            entries: u32_at(bytes, 56),
        };
        let reserved = flags & !FLAG_CLOSED | u16_at(bytes, 38);
        if reserved == 0 && header.is_consistent() { Ok(header) } else { Err(GroupDamage::Bounds) }
    }

    /// The header's CRC as it stands at the start of `bytes`, from which the header was decoded.
    pub(crate) fn crc_at(bytes: &[u8]) -> u32 {
        u32_at(bytes, CRC_PLACE)
    }

    /// Where the directory lies within the group.
    pub(crate) fn directory_range(&self) -> Range<usize> {
        let start = self.directory_position as usize;
        start..start + self.entries as usize * ENTRY_HEAD_BYTES
    }

    fn is_consistent(&self) -> bool {
        let directory_end = (self.entries as usize)
            .checked_mul(ENTRY_HEAD_BYTES)
            .and_then(|bytes| bytes.checked_add(self.directory_position as usize));
        self.sequence > self.durable_upto
            && is_whole_blocks(u64::from(self.length))
            && self.directory_position as usize >= GROUP_HEADER_BYTES
            && directory_end.is_some_and(|end| round_up(end) == self.length as usize)
    }
}
