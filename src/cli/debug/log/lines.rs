//! What is printed of a log file, for people and for programs.

use std::fmt;

use ringmain_wal::group::{EntryHead, EntryKind, GroupHeader};
use serde::Serialize;

/// A group. Fields may only be added: programs read them.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "group")]
pub(super) struct GroupLine {
    position_bytes: u64,
    sequence: u64,
    generation: u32,
    shard: u16,
    durable_upto: u64,
    length_bytes: u32,
    closed: bool,
    entry_count: u32,
    /// Why the entries cannot be told.
    damage: Option<String>,
    entries: Vec<EntryLine>,
}

/// An entry of a group. Fields may only be added: programs read them.
#[derive(Debug, Serialize)]
pub(super) struct EntryLine {
    kind: &'static str,
    topic_id: String,
    partition: u32,
    leader_epoch: i32,
    offset: i64,
    records: u32,
    length_bytes: u32,
    crc_ok: bool,
}

/// How the file ends. Fields may only be added: programs read them.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "end")]
pub(super) struct EndLine {
    pub(super) position_bytes: u64,
    pub(super) how: &'static str,
    pub(super) zero_bytes: u64,
    /// Why the end is damage.
    pub(super) reason: Option<String>,
    /// The first group of the log behind damage.
    pub(super) next_group: Option<NextGroup>,
    /// The last group says that the log was closed in order.
    pub(super) closed: bool,
    groups: u64,
    damaged_groups: u64,
    entries: u64,
}

/// Where a group begins.
#[derive(Debug, Serialize)]
pub(super) struct NextGroup {
    pub(super) position_bytes: u64,
    pub(super) sequence: u64,
}

impl GroupLine {
    pub(super) fn new(
        position: u64,
        header: &GroupHeader,
        entries: Vec<EntryLine>,
        damage: Option<String>,
    ) -> Self {
        Self {
            position_bytes: position,
            sequence: header.sequence.0,
            generation: header.generation.0,
            shard: header.log.0,
            durable_upto: header.durable_upto.0,
            length_bytes: header.length,
            closed: header.closed,
            entry_count: header.entries,
            damage,
            entries,
        }
    }

    /// Why it is damaged, if it is.
    pub(super) fn reason(&self) -> Option<String> {
        let rotten = self.entries.iter().position(|entry| !entry.crc_ok);
        let rotten = rotten.map(|which| format!("the CRC of entry {which} does not match"));
        let reason = self.damage.clone().or(rotten)?;
        Some(format!("group {}: {reason}", self.sequence))
    }
}

impl EntryLine {
    pub(super) fn new(head: &EntryHead, crc_ok: bool) -> Self {
        Self {
            kind: kind_name(head.kind),
            topic_id: head.partition.topic.to_string(),
            partition: head.partition.index.get(),
            leader_epoch: head.leader_epoch.get(),
            offset: head.offset.get(),
            records: head.records,
            length_bytes: head.length,
            crc_ok,
        }
    }
}

impl EndLine {
    pub(super) fn count(&mut self, group: &GroupLine) {
        self.groups += 1;
        self.damaged_groups += u64::from(group.reason().is_some());
        self.entries += group.entries.len() as u64;
    }
}

impl Default for EndLine {
    fn default() -> Self {
        Self {
            position_bytes: 0,
            how: "end",
            zero_bytes: 0,
            reason: None,
            next_group: None,
            closed: false,
            groups: 0,
            damaged_groups: 0,
            entries: 0,
        }
    }
}

const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Append => "append",
        EntryKind::Truncate => "truncate",
        EntryKind::LogStart => "log_start",
        EntryKind::PartitionDrop => "partition_drop",
        EntryKind::State => "state",
        EntryKind::Carried => "carried",
        EntryKind::Floor => "floor",
    }
}

impl fmt::Display for GroupLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position_bytes, sequence, generation, shard, durable_upto, length_bytes, .. } = self;
        write!(
            out,
            "{position_bytes}: group {sequence}, generation {generation}, shard {shard}, durable up to {durable_upto}, \
             {length_bytes} bytes, entries: {}",
            self.entry_count
        )?;
        if self.closed {
            out.write_str(", closes the log")?;
        }
        if let Some(damage) = &self.damage {
            write!(out, ", DAMAGED: {damage}")?;
        }
        self.entries.iter().try_for_each(|entry| write!(out, "\n  {entry}"))
    }
}

impl fmt::Display for EntryLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, topic_id, partition, leader_epoch, offset, records, length_bytes, crc_ok } = self;
        if *kind == kind_name(EntryKind::Floor) {
            return write!(out, "{kind:<14}  log files before number {offset} say nothing any more");
        }
        write!(out, "{kind:<14}  {topic_id}/{partition}  offset {offset}, epoch {leader_epoch}")?;
        if *length_bytes > 0 {
            write!(out, ", records: {records}, {length_bytes} bytes")?;
        }
        if *crc_ok { Ok(()) } else { out.write_str(", DAMAGED: the CRC does not match") }
    }
}

impl fmt::Display for EndLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position_bytes, zero_bytes, groups, damaged_groups, entries, .. } = self;
        match &self.reason {
            Some(reason) => write!(out, "damage at byte {position_bytes}: {reason}")?,
            None if *zero_bytes > 0 => {
                write!(out, "zeroes from byte {position_bytes} to the end of the file: {zero_bytes} bytes")?;
            }
            None => write!(out, "end of the file at byte {position_bytes}")?,
        }
        if let Some(NextGroup { position_bytes, sequence }) = &self.next_group {
            write!(out, "\nbehind it: group {sequence} at byte {position_bytes}")?;
        }
        write!(out, "\ngroups: {groups}, damaged: {damaged_groups}, entries: {entries}")?;
        if self.closed { out.write_str(", closed in order") } else { Ok(()) }
    }
}
