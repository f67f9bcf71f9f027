//! Inspections: a segment that grows no more is read whole, every batch of it proved, and its index file made to agree.
//!
//! Asked for by a shard's store, carried out beside its loop, a step at a time. Logic without IO: [`Inspection`] says
//! which file operation comes next and is told what came of it. One kind of work serves three purposes: a segment is
//! *sealed* by its first inspection, which writes the index; a missing or damaged index is *rebuilt* by another; and the
//! *scrub* is all of them again, over and over, so that rot is found before a reader meets it.

mod steps;
mod walk;

use core::fmt;

use ringmain_wal::names::{index_file_name, segment_file_name};
use ringmain_wal::segment::{IndexDamage, SegmentDamage};
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId};

use crate::event::FileError;
use crate::partition::epochs::EpochTable;

pub use steps::Inspection;

/// Why a segment is inspected. At most one inspection of each kind is under way in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InspectionKind {
    /// Its index file is missing: somebody may be waiting for faster reads.
    Seal,
    /// It was long ago.
    Scrub,
}

/// A segment to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectionRequest {
    /// Why.
    pub kind: InspectionKind,
    /// Whose segment.
    pub partition: PartitionId,
    /// As much of it as counts.
    pub extent: SegmentExtent,
    /// Who led there: no batch's checksum covers the leader epoch that it names.
    pub epochs: EpochTable,
    /// How fast it is read, in bytes a second.
    pub bytes_per_second: u64,
}

impl InspectionRequest {
    /// The segment's file, relative to the data directory.
    pub fn path(&self) -> String {
        segment_file_name(self.partition, self.extent.base)
    }

    /// Its index file, relative to the data directory.
    pub fn index_path(&self) -> String {
        index_file_name(self.partition, self.extent.base)
    }
}

/// The end of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What was asked for.
    pub request: InspectionRequest,
    /// What was found.
    pub result: Result<Sound, Unsound>,
}

/// Every batch of the segment is what was appended, and its index file agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The index file was missing, damaged, or of a time before a truncation, and was written.
    pub index_was_written: bool,
    /// What was wrong with the one that was there.
    pub index_damage: Option<IndexDamage>,
}

/// Why a segment cannot be called sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It is damaged.
    Damaged {
        /// Where, in bytes from its start.
        position: u64,
        /// How.
        reason: InspectionDamage,
    },
    /// Every batch is intact, and still the segment's checksum is not the one that its index file says: what no batch's own
    /// checksum covers has changed, nobody knows where.
    Changed {
        /// The checksum as it is now.
        found: u32,
        /// As it was when the segment was sealed.
        sealed: u32,
    },
    /// A file could not be read or written.
    Failed {
        /// Which, relative to the data directory.
        path: String,
        /// How.
        error: FileError,
    },
    /// It was asked to end.
    Cancelled,
    /// Nothing can be inspected on this host.
    Unavailable,
}

/// How a segment is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectionDamage {
    /// A batch is not what it should be.
    Segment(SegmentDamage),
    /// A batch names another leader epoch than led where it was appended.
    Epoch {
        /// The batch.
        offset: Offset,
        /// The epoch that it names.
        found: LeaderEpoch,
        /// The one that led there.
        led: LeaderEpoch,
    },
}

impl fmt::Display for InspectionDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(damage) => damage.fmt(out),
            Self::Epoch { offset, found, led } => {
                write!(
                    out,
                    "the batch at offset {offset} names leader epoch {found}, but epoch {led} led there"
                )
            }
        }
    }
}

/// The offset range that an inspection is about, for messages.
impl fmt::Display for InspectionRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentExtent { base, end: Offset(end), .. } = self.extent;
        write!(out, "{} (offsets {base} to {})", self.path(), end - 1)
    }
}

#[cfg(test)]
mod tests;
