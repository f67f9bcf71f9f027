//! What shards tell each other.

use bytes::Bytes;
use ringmain_shard::store::Appended;
use ringmain_shard::time::Mono;
use ringmain_wire::ids::{PartitionId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::{FetchPart, FetchedPart, ListedOffset, ShardStats};

use super::catalog::Change;
use super::controller::{Command, Decision};

/// Requests one shard may have with another at a time, fetches apart. At the limit the connection that has the next one
/// waits.
pub const REQUESTS_MAX: usize = 256;

/// Fetches one shard may have with another at a time: counted apart, because they may wait long.
pub const FETCHES_MAX: usize = 256;

/// Room in each direction between two shards. Whoever sends has counted, so a queue never fills: a request and its answer
/// once for either side; for each fetch at most its cancellation and the release of its memory, then the fetch and the
/// cancellation that take its place, and an answer to the other side's; and what the controller tells.
pub const QUEUE_ROOM: usize = 2 * REQUESTS_MAX + 5 * FETCHES_MAX + 64;

/// Numbers a request among those of the shard that sent it.
pub type RequestNumber = u64;

/// Why one part of a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartError {
    /// Who has to act.
    pub code: ErrorCode,
    /// More, for people, where the code does not say it all.
    pub message: Option<String>,
}

impl From<ErrorCode> for PartError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// One message.
#[derive(Debug)]
pub enum Mail {
    /// Append a batch of a partition you own. Answered with `Produced`.
    Produce {
        /// The sender's request.
        request: RequestNumber,
        /// Which part of it.
        part: u16,
        /// The partition.
        partition: PartitionId,
        /// One batch, as the client sent it.
        batch: Bytes,
    },
    /// Answers `Produce`.
    Produced {
        /// The request.
        request: RequestNumber,
        /// Which part of it.
        part: u16,
        /// What became of it.
        result: Result<Appended, PartError>,
    },
    /// Read partitions you own. Answered with `Fetched`.
    Fetch {
        /// The sender's request.
        request: RequestNumber,
        /// What to read, with its place in the request.
        parts: Vec<(u16, FetchPart)>,
        /// Wait for that many bytes,
        bytes_min: usize,
        /// give no more than that, but one batch if there is one,
        bytes_max: usize,
        /// and answer at this time at the latest.
        deadline: Mono,
    },
    /// Answer that `Fetch` now.
    FetchCancel {
        /// The request.
        request: RequestNumber,
    },
    /// Answers `Fetch`. The memory is the sender's and goes back with `Release`.
    Fetched {
        /// The request.
        request: RequestNumber,
        /// What was read, with its place in the request.
        parts: Vec<(u16, FetchedPart, Vec<Bytes>)>,
    },
    /// Your memory back.
    Release {
        /// Slices that have been sent.
        segments: Vec<Bytes>,
    },
    /// Find an offset in a partition you own. Answered with `ListedOffset`.
    ListOffset {
        /// The sender's request.
        request: RequestNumber,
        /// Which part of it.
        part: u16,
        /// The partition.
        partition: PartitionId,
        /// The time asked for.
        timestamp: TimestampMs,
    },
    /// Answers `ListOffset`.
    ListedOffset {
        /// The request.
        request: RequestNumber,
        /// Which part of it.
        part: u16,
        /// What was found.
        listed: ListedOffset,
    },
    /// Say what you hold and have done. Answered with `Stats`.
    AskStats {
        /// The sender's request.
        request: RequestNumber,
    },
    /// Answers `AskStats`.
    Stats {
        /// The request.
        request: RequestNumber,
        /// The answer.
        stats: ShardStats,
    },
    /// To the controller: decide on this. Answered with `Decided`.
    Command {
        /// The sender's request.
        request: RequestNumber,
        /// What to decide on.
        command: Command,
    },
    /// Answers `Command`, when every shard knows of the decision.
    Decided {
        /// The request.
        request: RequestNumber,
        /// The decision.
        decision: Decision,
    },
    /// From the controller: this was decided. Answered with `Applied`.
    Apply {
        /// The change.
        change: Change,
    },
    /// Answers `Apply`.
    Applied,
    /// To shard 0: nothing here rests on logs of former starts any more. Sent once.
    FormerLogsSettled,
    /// I will ask nothing more: stopping.
    Drained,
}
