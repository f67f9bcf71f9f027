//! Recovery of one log: gives its groups in order, tells rot from a torn tail, and cuts only the latter.
//!
//! Writes in flight may reach the disk in any order and in part, so behind the last group that was acknowledged there
//! may be holes with intact groups behind them. Every header says how far everything was durable when it was written;
//! let D be the highest such mark in any intact header, also behind the damage. Damage up to D is **rot**: it was
//! durable once, so it is reported, skipped and never cut. Damage above D is a **torn tail**: the log ends there.
//!
//! A group is where it should be if it has the expected sequence and names the header CRC of the group before. When the
//! file in hand has no such group at the expected place but the next file begins with it, the log went on there.
//! Bytes of older generations or other data directories never pass: both are in the header. Where the first files have
//! been recycled, the log begins with whatever group the first file that is left begins with.

mod ahead;
mod report;
mod source;

use core::fmt;

use bytes::Bytes;

pub use report::{Cut, Lost, ReplayReport, ReplayedGroup, Rot};
pub use source::{LogSource, ReadFailed};

use crate::block::BLOCK_BYTES;
use crate::group::{
    EntryHead, Generation, GroupDamage, GroupHeader, LogId, LogSalt, Sequence, parse_directory,
};
use ahead::{Ahead, Place, Search, look_ahead};
use source::ReadWindow;

/// Bytes read at a time, unless a single group is larger.
const WINDOW_BYTES: usize = 1 << 20;

/// Which log is replayed, and from where.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// The log's generation.
    pub generation: Generation,
    /// The log.
    pub log: LogId,
    /// The data directory's secret.
    pub salt: LogSalt,
    /// The first file that exists. If it is not 0, those before it have been recycled, which is done only once the first
    /// group of this one is durable: damage to that is rot.
    pub first_file: u32,
    /// The last file that exists; all between are expected to.
    pub last_file: u32,
    /// The log's last group, if a former start has replayed and served it: everything up to there is known to have been
    /// durable, whatever the headers say, and nothing behind it belongs to the log, however intact, because that start
    /// went on without it. `None` when no start has.
    pub served_upto: Option<Sequence>,
}

impl ReplayConfig {
    fn owns(&self, header: &GroupHeader) -> bool {
        header.generation == self.generation && header.log == self.log
    }
}

/// Why replay cannot go on; nothing is known about what lies behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The device or the filesystem refused a read.
    Read {
        /// The file's number.
        file: u32,
        /// Where, in bytes.
        position: u64,
        /// How it failed.
        error: ReadFailed,
    },
    /// A file between the first and the last does not exist.
    FileMissing {
        /// The file's number.
        file: u32,
    },
    /// The log was written by a version that this one does not understand.
    Unsupported {
        /// The file's number.
        file: u32,
        /// Where the group starts, in bytes.
        position: u64,
        /// What is not understood.
        reason: GroupDamage,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, position, error } => {
                write!(out, "log file {file} cannot be read at {position}: {error}")
            }
            Self::FileMissing { file } => write!(out, "log file {file} is missing"),
            Self::Unsupported { file, position, reason } => {
                write!(out, "log file {file} at {position} was written by another version: {reason}")
            }
        }
    }
}

impl core::error::Error for ReplayError {}

/// Replay of one log. The owner calls [`Self::next_group`] until it gives none, then [`Self::finish`].
#[derive(Debug)]
pub struct Replay {
    config: ReplayConfig,
    window: ReadWindow,
    /// For looking ahead of it.
    window_ahead: ReadWindow,
    /// Where the expected group should start.
    place: Place,
    expected: Sequence,
    /// Whether the log's beginning was recycled and no group has been found yet: which one is the first is not known.
    is_searching: bool,
    /// Header CRC of the group before; unknown at a recycled beginning and behind rot.
    previous_crc: Option<u32>,
    is_ended: bool,
    report: ReplayReport,
}

impl Replay {
    /// Begins at the first file.
    ///
    /// # Panics
    /// When the first file lies behind the last.
    #[must_use]
    pub fn new(config: ReplayConfig) -> Self {
        assert!(config.first_file <= config.last_file, "no files to replay");
        let is_whole = config.first_file == 0;
        Self {
            window: ReadWindow::new(WINDOW_BYTES),
            window_ahead: ReadWindow::new(WINDOW_BYTES),
            place: Place { file: config.first_file, position: 0 },
            expected: Sequence::ZERO.next(),
            is_searching: !is_whole,
            previous_crc: is_whole.then_some(0),
            is_ended: false,
            report: ReplayReport {
                groups: 0,
                last_sequence: Sequence::ZERO,
                end: (config.first_file, 0),
                durable_upto: config.served_upto.unwrap_or(Sequence::ZERO),
                closed: false,
                cut: None,
                rot: Vec::new(),
            },
            config,
        }
    }

    /// The next group, or none at the log's end.
    ///
    /// # Errors
    /// When what the log holds cannot be known. Replay is over then.
    pub fn next_group(&mut self, source: &mut dyn LogSource) -> Result<Option<ReplayedGroup>, ReplayError> {
        if self.is_searching {
            self.find_beginning(source)?;
        }
        while !self.is_ended {
            if !self.is_owned(self.expected) {
                self.is_ended = true;
                break;
            }
            let place @ Place { file, position } = self.place;
            let block = self.window.peek(source, file, position, BLOCK_BYTES)?;
            let decoded = GroupHeader::decode(block, self.config.salt);
            let Some(header) = self.expected_header(place, decoded)? else {
                if !self.moves_to_next_file(source)? {
                    self.pass_missing_group(source)?;
                }
                continue;
            };
            if let Some(entries) = self.read_group(source, header)? {
                let sequence = self.expected.previous();
                let range = position..self.place.position;
                self.report.groups += 1;
                self.report.last_sequence = sequence;
                self.report.end = (file, range.end);
                return Ok(Some(ReplayedGroup { sequence, file, range, entries }));
            }
        }
        Ok(None)
    }

    /// Damage found so far to what was durable.
    #[must_use]
    pub fn rot(&self) -> &[Rot] {
        &self.report.rot
    }

    /// The highest mark seen so far: all up to here was durable for certain.
    #[must_use]
    pub fn durable_upto(&self) -> Sequence {
        self.report.durable_upto
    }

    /// What was found.
    ///
    /// The last groups, those above [`durable_upto`](ReplayReport::durable_upto), may have been given although their
    /// writes never completed. Before anything is built on them the owner must write them again, durably, or a power
    /// failure could take back what was already shown. A sync is not enough: after one that failed, the next may succeed
    /// without having written anything.
    ///
    /// # Panics
    /// When replay has not come to the log's end.
    #[must_use]
    pub fn finish(self) -> ReplayReport {
        assert!(self.is_ended, "replay has not come to its end");
        self.report
    }

    /// Expects the group that the first file begins with, where those before it were recycled; if that is lost, the first
    /// group that is found.
    fn find_beginning(&mut self, source: &mut dyn LogSource) -> Result<(), ReplayError> {
        self.is_searching = false;
        let place @ Place { file, position } = self.place;
        let block = self.window.peek(source, file, position, BLOCK_BYTES)?;
        match GroupHeader::decode(block, self.config.salt) {
            Ok(header) if self.config.owns(&header) && self.is_owned(header.sequence) => {
                self.expected = header.sequence;
                self.report.durable_upto = self.report.durable_upto.max(header.sequence);
                return Ok(());
            }
            Err(reason @ GroupDamage::FormatVersion { .. }) => {
                return Err(ReplayError::Unsupported { file, position, reason });
            }
            _ => {}
        }
        let durable_upto = self.report.durable_upto;
        let search = Search { from: place, after: Sequence::ZERO, durable_upto, lost_upto: None };
        let ahead = look_ahead(&self.config, source, &mut self.window_ahead, search)?;
        let found = ahead.first.filter(|&(_, sequence)| self.is_owned(sequence));
        let lost = found.map_or(self.expected, |(_, sequence)| sequence.previous());
        self.report.rot.push(Rot { file, position, first: lost, last: lost, lost: Lost::Groups });
        if let Some((next, sequence)) = found {
            self.report.durable_upto = durable_upto.max(lost);
            self.place = next;
            self.expected = sequence;
        } else {
            self.cut(place, &ahead);
        }
        Ok(())
    }

    /// The header decoded at `place`, if it is the expected group's.
    fn expected_header(
        &self,
        place: Place,
        decoded: Result<GroupHeader, GroupDamage>,
    ) -> Result<Option<GroupHeader>, ReplayError> {
        let Place { file, position } = place;
        match decoded {
            Ok(header) if self.is_expected(&header) => Ok(Some(header)),
            Err(reason @ GroupDamage::FormatVersion { .. }) => {
                Err(ReplayError::Unsupported { file, position, reason })
            }
            _ => Ok(None),
        }
    }

    fn is_expected(&self, header: &GroupHeader) -> bool {
        let is_in_chain = self.previous_crc.is_none_or(|crc| crc == header.previous_crc);
        self.config.owns(header) && header.sequence == self.expected && is_in_chain
    }

    /// The entries of the group in hand, and moves behind it; none if it is lost or the log ends with it.
    fn read_group(
        &mut self,
        source: &mut dyn LogSource,
        header: GroupHeader,
    ) -> Result<Option<Vec<(EntryHead, Bytes)>>, ReplayError> {
        let place @ Place { file, position } = self.place;
        let length = header.length as usize;
        self.expected = header.sequence;
        self.report.durable_upto = self.report.durable_upto.max(header.durable_upto);
        let bytes = self.window.peek(source, file, position, length)?;
        let header_crc = GroupHeader::crc_at(bytes);
        let (intact, lost) = match parse_directory(&header, bytes) {
            Ok(heads) => {
                let (intact, damaged): (Vec<_>, Vec<_>) =
                    heads.into_iter().partition(|head| head.matches(bytes));
                (Some(intact), (!damaged.is_empty()).then_some(Lost::Entries(damaged)))
            }
            Err(reason @ GroupDamage::UnknownEntry { .. }) => {
                return Err(ReplayError::Unsupported { file, position, reason });
            }
            Err(_) => (None, Some(Lost::Groups)),
        };
        if let Some(lost) = lost {
            let sequence = header.sequence;
            let behind = Place { file, position: position + u64::from(header.length) };
            let durable_upto = self.report.durable_upto;
            let search = Search { from: behind, after: sequence, durable_upto, lost_upto: Some(sequence) };
            let mut ahead = look_ahead(&self.config, source, &mut self.window_ahead, search)?;
            self.report.durable_upto = ahead.durable_upto;
            if sequence > self.report.durable_upto {
                ahead.groups_damaged += 1;
                self.cut(place, &ahead);
                return Ok(None);
            }
            self.report.rot.push(Rot { file, position, first: sequence, last: sequence, lost });
        }
        let entries = intact.map(|heads| {
            let bytes = self.window.take(length);
            heads.into_iter().map(|head| (head, bytes.slice(head.range()))).collect()
        });
        self.place.position += u64::from(header.length);
        self.expected = header.sequence.next();
        self.previous_crc = Some(header_crc);
        self.is_ended = header.closed;
        self.report.closed = header.closed;
        Ok(entries)
    }

    /// Whether the log went on in the next file; if so, that is where the expected group now should start.
    fn moves_to_next_file(&mut self, source: &mut dyn LogSource) -> Result<bool, ReplayError> {
        if self.place.file == self.config.last_file {
            return Ok(false);
        }
        let next = Place { file: self.place.file + 1, position: 0 };
        let mut window = ReadWindow::new(BLOCK_BYTES);
        let block = window.peek(source, next.file, next.position, BLOCK_BYTES)?;
        let decoded = GroupHeader::decode(block, self.config.salt);
        let moves = self.expected_header(next, decoded)?.is_some();
        if moves {
            self.place = next;
        }
        Ok(moves)
    }

    /// Nothing stands where the expected group should: rot, a torn tail, or simply the end.
    fn pass_missing_group(&mut self, source: &mut dyn LogSource) -> Result<(), ReplayError> {
        let place = self.place;
        let (after, durable_upto) = (self.expected, self.report.durable_upto);
        let search = Search { from: place, after, durable_upto, lost_upto: None };
        let ahead = look_ahead(&self.config, source, &mut self.window_ahead, search)?;
        let durable_upto = self.last_owned(ahead.durable_upto);
        self.report.durable_upto = durable_upto;
        match ahead.first {
            Some((next, sequence)) if sequence.previous() <= durable_upto && self.is_owned(sequence) => {
                self.report_missing(sequence.previous());
                self.place = next;
                self.expected = sequence;
                self.previous_crc = None;
            }
            _ => {
                self.report_missing(durable_upto);
                self.expected = self.expected.max(durable_upto.next());
                self.cut(place, &ahead);
            }
        }
        Ok(())
    }

    /// Whether a group of this number belongs to the log: none does behind where a former start served it up to.
    fn is_owned(&self, sequence: Sequence) -> bool {
        self.last_owned(sequence) == sequence
    }

    /// `sequence`, or the log's last group if that lies before it.
    fn last_owned(&self, sequence: Sequence) -> Sequence {
        self.config.served_upto.map_or(sequence, |last| sequence.min(last))
    }

    /// Reports the groups from the expected one to `last` as rotten, if there are any.
    fn report_missing(&mut self, last: Sequence) {
        if self.expected <= last {
            let Place { file, position } = self.place;
            self.report.rot.push(Rot { file, position, first: self.expected, last, lost: Lost::Groups });
        }
    }

    fn cut(&mut self, place: Place, ahead: &Ahead) {
        self.is_ended = true;
        let Ahead { groups_complete, groups_damaged, blocks_unknown, .. } = *ahead;
        if groups_complete > 0 || groups_damaged > 0 || blocks_unknown > 0 {
            self.report.cut = Some(Cut {
                file: place.file,
                position: place.position,
                first: self.expected,
                groups_complete,
                groups_damaged,
                blocks_unknown,
            });
        }
    }
}
