//! Why a run did not end well: the broker broke a promise, proved too little, or the run itself could not go on.

use core::fmt;
use std::io;
use std::path::PathBuf;

use ringmain_wal::superblock::SuperblockError;
use ringmain_wire::ids::PartitionIndex;

use super::session::SessionError;

/// A promise that was broken. Numbers count the records of one partition from 0, in the order produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A record was acknowledged at an offset that leaves room for another before it, or none.
    AcknowledgedElsewhere {
        /// The partition.
        partition: PartitionIndex,
        /// The record; from the partition's beginning each lands once, so this is the offset it must have.
        number: u64,
        /// The offset it was acknowledged at.
        offset: i64,
    },
    /// A record that was acknowledged, or had been read before, is gone.
    Lost {
        /// The partition.
        partition: PartitionIndex,
        /// Where the partition ends now.
        end: u64,
        /// The end that was acknowledged or had been read.
        expected_end: u64,
    },
    /// Another record stands where one should.
    WrongRecord {
        /// The partition.
        partition: PartitionIndex,
        /// Where.
        offset: u64,
        /// The beginning of what stands there.
        found: String,
    },
    /// The offsets of what was read have a hole or repeat.
    WrongOffset {
        /// The partition.
        partition: PartitionIndex,
        /// The offset that was due.
        expected: u64,
        /// The offset that came.
        found: i64,
    },
    /// A batch of another producer than the one that there is.
    ForeignBatch {
        /// The partition.
        partition: PartitionIndex,
        /// Its base offset.
        offset: i64,
    },
    /// A batch that is damaged or cannot be read.
    UnreadableBatch {
        /// The partition.
        partition: PartitionIndex,
        /// What is wrong.
        problem: ringmain_wire::batch::BatchError,
    },
    /// A fetch below the high watermark gave nothing.
    NothingToRead {
        /// The partition.
        partition: PartitionIndex,
        /// From where.
        offset: u64,
    },
    /// A record was looked for by its time, and another was found.
    NotFoundByTime {
        /// The partition.
        partition: PartitionIndex,
        /// The record's offset, which is its time.
        wanted: u64,
        /// The offset that was told.
        found: u64,
    },
    /// Records that had gone are there again.
    CameBack {
        /// The partition.
        partition: PartitionIndex,
        /// Its first offset.
        start: u64,
        /// Its first offset when it was read before.
        start_before: u64,
    },
    /// Records went of which no setting says that they may.
    StartsTooLate {
        /// The partition.
        partition: PartitionIndex,
        /// Its first offset.
        start: u64,
        /// The first offset that it may have.
        start_max: u64,
    },
    /// A topic is there whose deletion was acknowledged.
    NotDeleted {
        /// The topic.
        topic: String,
    },
    /// Something lies in the data directory that belongs to no topic.
    LeftBehind {
        /// What.
        path: PathBuf,
    },
    /// The broker tells of damage where there is none.
    FalseAlarm {
        /// The counter that should be zero.
        counter: &'static str,
        /// What it says.
        value: u64,
    },
    /// More is stored than was ever acknowledged although nothing is in flight.
    TooMuchStored {
        /// The partition.
        partition: PartitionIndex,
        /// Where it ends.
        end: u64,
        /// What was produced.
        produced: u64,
    },
}

/// Why a run failed.
#[derive(Debug)]
pub enum CrashError {
    /// The broker broke a promise.
    Violation(Violation),
    /// A proof that is too weak to count.
    ProvesTooLittle {
        /// What there was too little of.
        what: &'static str,
        /// How much there was.
        found: u64,
        /// How much there must be.
        needed: u64,
    },
    /// The broker did not come up, or ended by itself.
    Broker {
        /// What it did.
        problem: &'static str,
        /// Its log.
        log: PathBuf,
    },
    /// The producer met an answer that it must never get.
    Producer {
        /// What it said.
        said: String,
    },
    /// The producer did not answer in time.
    ProducerSilent,
    /// A request of the run's own failed.
    Session(SessionError),
    /// The data directory has no superblock that can be read.
    Superblock(SuperblockError),
    /// The run's directory is not empty.
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
    },
    /// Files, processes or sockets cannot be had.
    Io {
        /// While doing what.
        during: &'static str,
        /// What the operating system said.
        error: io::Error,
    },
    /// What was acknowledged was not synced.
    NotSynced {
        /// What the disk's counters are of.
        what: &'static str,
        /// How far they rose.
        found: u64,
        /// How far they must.
        needed: u64,
    },
    /// A log file is open for writing without `O_DIRECT`, or none is open.
    NotDirect {
        /// Which, and how.
        problem: String,
    },
}

impl CrashError {
    pub(crate) fn io(during: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { during, error }
    }
}

impl From<Violation> for CrashError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<SessionError> for CrashError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AcknowledgedElsewhere { partition, number, offset } => {
                write!(out, "partition {partition}: record {number} was acknowledged at offset {offset}")
            }
            Self::Lost { partition, end, expected_end } => {
                write!(
                    out,
                    "partition {partition} ends at {end}, but {expected_end} was acknowledged or read before"
                )
            }
            Self::WrongRecord { partition, offset, found } => {
                write!(out, "partition {partition}: offset {offset} holds {found:?}")
            }
            Self::WrongOffset { partition, expected, found } => {
                write!(out, "partition {partition}: offset {found} came where {expected} was due")
            }
            Self::ForeignBatch { partition, offset } => {
                write!(out, "partition {partition}: the batch at offset {offset} is of an unknown producer")
            }
            Self::UnreadableBatch { partition, problem } => write!(out, "partition {partition}: {problem}"),
            Self::NothingToRead { partition, offset } => {
                write!(out, "partition {partition}: nothing to read at {offset}, below the high watermark")
            }
            Self::NotFoundByTime { partition, wanted, found } => {
                write!(out, "partition {partition}: the time of offset {wanted} was found at {found}")
            }
            Self::CameBack { partition, start, start_before } => {
                write!(
                    out,
                    "partition {partition} starts at {start} again after it started at {start_before}"
                )
            }
            Self::StartsTooLate { partition, start, start_max } => {
                write!(out, "partition {partition} starts at {start}, but {start_max} has to be there")
            }
            Self::NotDeleted { topic } => write!(out, "{topic} is there again after it was deleted"),
            Self::LeftBehind { path } => write!(out, "{} belongs to no topic", path.display()),
            Self::FalseAlarm { counter, value } => write!(out, "{counter} is {value} on a sound disk"),
            Self::TooMuchStored { partition, end, produced } => {
                write!(out, "partition {partition} ends at {end}, but only {produced} records were produced")
            }
        }
    }
}

impl fmt::Display for CrashError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => write!(out, "VIOLATION: {violation}"),
            Self::ProvesTooLittle { what, found, needed } => {
                write!(out, "the run proves too little: {found} {what}, at least {needed} are needed")
            }
            Self::Broker { problem, log } => {
                write!(out, "the broker {problem}; its log is {}", log.display())
            }
            Self::Producer { said } => write!(out, "VIOLATION: the producer was told: {said}"),
            Self::ProducerSilent => out.write_str("the producer does not answer"),
            Self::Session(error) => write!(out, "{error}"),
            Self::Superblock(error) => write!(out, "after a kill: {error}"),
            Self::DirectoryInUse { path } => write!(out, "{} is not empty", path.display()),
            Self::Io { during, error } => write!(out, "{during}: {error}"),
            Self::NotSynced { what, found, needed } => {
                write!(out, "NOT SYNCED: the disk counted {found} {what}, at least {needed} were due")
            }
            Self::NotDirect { problem } => write!(out, "NOT DIRECT: {problem}"),
        }
    }
}

impl core::error::Error for CrashError {}
