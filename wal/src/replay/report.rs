//! What replay gives and tells: groups, damage, and where the log ends.

use core::ops::Range;

use bytes::Bytes;

use crate::group::{EntryHead, Sequence};

/// A group that survived, or what did of it.
#[derive(Clone, Debug)]
pub struct ReplayedGroup {
    /// The group.
    pub sequence: Sequence,
    /// The file it lies in.
    pub file: u32,
    /// Where it lies in that file, in bytes: whole blocks.
    pub range: Range<u64>,
    /// Its intact entries in order; the bytes are empty unless its kind has any.
    pub entries: Vec<(EntryHead, Bytes)>,
}

/// Damage to what was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// The file's number.
    pub file: u32,
    /// Where it begins, in bytes.
    pub position: u64,
    /// The first group hit.
    pub first: Sequence,
    /// The last group hit.
    pub last: Sequence,
    /// What is lost of them.
    pub lost: Lost,
}

/// What rot took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// These entries of one group; all others were given.
    Entries(Vec<EntryHead>),
    /// Whole groups whose directories cannot be read: any partition of the log may be hit.
    Groups,
}

/// A torn tail that was removed. All of it was written by this log, or may have been: it may have been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file's number.
    pub file: u32,
    /// Where the log now ends, in bytes.
    pub position: u64,
    /// The first group that is gone.
    pub first: Sequence,
    /// Groups behind the cut that are intact.
    pub groups_complete: u32,
    /// Groups from the cut on whose header is intact but not all else.
    pub groups_damaged: u32,
    /// Blocks from the cut on that are neither zero nor of a group that can be recognised. Where files are recycled
    /// without being zeroed, the rest of a former group that was overwritten in part is among them.
    pub blocks_unknown: u64,
}

/// What replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayReport {
    /// Groups given.
    pub groups: u64,
    /// The last group given; 0 if none was.
    pub last_sequence: Sequence,
    /// Where the log ends: the file, and the byte behind its last group.
    pub end: (u32, u64),
    /// The highest mark seen: all up to here was durable for certain.
    pub durable_upto: Sequence,
    /// The log was closed in order.
    pub closed: bool,
    /// What was cut, if that was anything but zeroes or whole groups of another generation.
    pub cut: Option<Cut>,
    /// Damage to what was durable, in order.
    pub rot: Vec<Rot>,
}
