//! A group on disk: what one write carries, and how its damage is told.
//!
//! ```text
//! header (64 bytes) | bytes of entry 0 | bytes of entry 1 | … | directory (56 bytes an entry) | zeroes to the block
//! ```
//!
//! Integers are little endian. The directory stands behind the entries so that a batch is copied once, straight to its
//! final place, while nobody knows yet how many will follow. Each entry's CRC-32C covers its bytes, the directory's
//! covers the entries' heads, the header's covers the header: everything once, so that damage can be named by
//! partition. Padding is covered by nothing and means nothing.

mod entry;
mod header;

pub use entry::{ENTRY_HEAD_BYTES, EntryHead, EntryKind};
pub use header::{FORMAT_VERSION, GROUP_HEADER_BYTES, GroupHeader};

use core::fmt;

use crate::block::round_up;

/// Number of a start of the node; each start writes logs of its own. View: node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// A log among those of its generation: the number of the shard that wrote it. View: node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u16);

/// Place of a group within its log; the first is 1, 0 stands before it. View: one log of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first group.
    pub const ZERO: Self = Self(0);

    /// The sequence after this one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The sequence before this one; [`Sequence::ZERO`] has none and stays.
    #[inline]
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// A secret of the data directory, in every header: a record whose value is a well-formed group cannot pass for one.
///
/// Drawn once when the directory is created, kept in the superblock, never sent anywhere.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LogSalt(pub u64);

impl fmt::Debug for LogSalt {
    /// Hides the value: what is logged is no secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LogSalt(…)")
    }
}

/// Why bytes are no intact group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupDamage {
    /// The magic is missing: zeroes, or the middle of something else.
    NotAGroup,
    /// The header's CRC does not match: torn or rotten.
    HeaderCrc,
    /// An intact header of another data directory, or a forged one.
    Foreign,
    /// An intact header of a format that this version does not know.
    FormatVersion {
        /// The version found.
        found: u16,
    },
    /// Lengths in an intact header or directory contradict each other or the bytes given.
    Bounds,
    /// The directory's CRC does not match; which partitions are hit is unknown.
    DirectoryCrc,
    /// An intact directory names a kind of entry, or a flag, that this version does not know.
    UnknownEntry {
        /// Index of the entry within the group.
        which: u32,
        /// The kind found.
        kind: u8,
        /// The flags found.
        flags: u8,
    },
    /// An entry's CRC does not match its bytes.
    EntryCrc {
        /// Index of the first such entry within the group.
        which: u32,
    },
}

impl fmt::Display for GroupDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAGroup => out.write_str("no log group starts here"),
            Self::HeaderCrc => out.write_str("the CRC of the group's header does not match"),
            Self::Foreign => out.write_str("the group belongs to another data directory"),
            Self::FormatVersion { found } => {
                write!(out, "the group has format version {found}, this version reads {FORMAT_VERSION}")
            }
            Self::Bounds => out.write_str("the group's lengths contradict each other"),
            Self::DirectoryCrc => out.write_str("the CRC of the group's directory does not match"),
            Self::UnknownEntry { which, kind, flags } => {
                write!(out, "entry {which} of the group has unknown kind {kind} or flags {flags:#04x}")
            }
            Self::EntryCrc { which } => write!(out, "the CRC of entry {which} of the group does not match"),
        }
    }
}

impl core::error::Error for GroupDamage {}

/// An intact group over the bytes that it was read from.
#[derive(Debug)]
pub struct GroupView<'a> {
    /// The header.
    pub header: GroupHeader,
    /// The entries, in the order in which they were appended.
    pub heads: Vec<EntryHead>,
    bytes: &'a [u8],
}

impl<'a> GroupView<'a> {
    /// The stored bytes of `head`, one of this view's entries; empty unless its kind has any.
    ///
    /// # Panics
    /// When `head` is of another group.
    #[must_use]
    pub fn entry_bytes(&self, head: &EntryHead) -> &'a [u8] {
        &self.bytes[head.range()]
    }
}

/// Parses the group at the start of `bytes`, which may go on behind it, and checks every CRC in it.
///
/// # Errors
/// The first damage found, from the header inwards.
pub fn parse(bytes: &[u8], salt: LogSalt) -> Result<GroupView<'_>, GroupDamage> {
    let header = GroupHeader::decode(bytes, salt)?;
    let heads = parse_directory(&header, bytes)?;
    for (which, head) in (0..).zip(&heads) {
        if !head.matches(bytes) {
            return Err(GroupDamage::EntryCrc { which });
        }
    }
    Ok(GroupView { header, heads, bytes })
}

/// The heads of the entries of the group at the start of `bytes`, whose header is `header`; the entries' own bytes are
/// within bounds but not checked.
///
/// # Errors
/// When the group does not lie within `bytes`, or its directory is damaged or beyond this version.
pub fn parse_directory(header: &GroupHeader, bytes: &[u8]) -> Result<Vec<EntryHead>, GroupDamage> {
    let directory = bytes.get(header.directory_range()).ok_or(GroupDamage::Bounds)?;
    if bytes.len() < header.length as usize {
        return Err(GroupDamage::Bounds);
    }
    if crc32c::crc32c(directory) != header.directory_crc {
        return Err(GroupDamage::DirectoryCrc);
    }
    let mut heads = Vec::with_capacity(header.entries as usize);
    let mut position = GROUP_HEADER_BYTES;
    for (which, encoded) in (0..).zip(directory.chunks_exact(ENTRY_HEAD_BYTES)) {
        let head = EntryHead::decode(encoded, which)?;
        // Entries lie back to back: overlaps and gaps are impossible, not merely unlikely.
        if head.position as usize != position || head.kind.has_bytes() != (head.length > 0) {
            return Err(GroupDamage::Bounds);
        }
        position = position.checked_add(head.length as usize).ok_or(GroupDamage::Bounds)?;
        heads.push(head);
    }
    if position != header.directory_position as usize {
        return Err(GroupDamage::Bounds);
    }
    Ok(heads)
}

/// Bytes of a group of `entries` entries with `entry_bytes` bytes between them, padding included.
#[must_use]
pub const fn group_bytes(entries: usize, entry_bytes: usize) -> usize {
    round_up(GROUP_HEADER_BYTES + entry_bytes + entries * ENTRY_HEAD_BYTES)
}

#[cfg(test)]
mod tests;
