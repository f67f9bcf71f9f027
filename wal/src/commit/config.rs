//! The limits of one log, and how they must relate.

use core::time::Duration;

use crate::block::{BLOCK_BYTES, is_whole_blocks};
use crate::group::{Generation, LogId, LogSalt, group_bytes};

/// How one log is written.
#[derive(Clone, Debug)]
pub struct GroupCommitConfig {
    /// The node's current generation.
    pub generation: Generation,
    /// The log.
    pub log: LogId,
    /// The data directory's secret.
    pub salt: LogSalt,
    /// Bytes after which a group takes no further entry, padding included.
    pub group_bytes_max: usize,
    /// The largest batch that is taken; one that does not fit an ordinary group gets a group of its own.
    pub entry_bytes_max: usize,
    /// K: groups handed out and not yet passed by the mark.
    pub groups_in_flight_max: usize,
    /// Bytes of memory allocated at a time; groups are carved from it.
    pub chunk_bytes: usize,
    /// How long nothing must have been going on before a mark-only group closes the gap.
    pub mark_delay: Duration,
    /// Bytes of the log's first file: small, because a start waits for it.
    pub first_file_bytes: u64,
    /// Bytes of every later file.
    pub file_bytes: u64,
    /// Bytes of all files together beyond which no further one is asked for: appends gather then, until files have been
    /// deleted. The owner must see to that while there is room for what it logs to that end. A log that is being closed
    /// goes beyond, so that what it took is written.
    pub log_bytes_max: u64,
}

impl GroupCommitConfig {
    /// The defaults for one log: groups of up to 1 MiB, 4 in flight, files of 8 and then 64 MiB,
    /// 1 GiB of them.
    #[must_use]
    pub const fn new(generation: Generation, log: LogId, salt: LogSalt) -> Self {
        Self {
            generation,
            log,
            salt,
            group_bytes_max: 1 << 20,
            entry_bytes_max: 16 << 20,
            groups_in_flight_max: 4,
            chunk_bytes: 1 << 20,
            mark_delay: Duration::from_millis(10),
            first_file_bytes: 8 << 20,
            file_bytes: 64 << 20,
            log_bytes_max: 1 << 30,
        }
    }

    /// Asserts the relations between the limits.
    pub(super) fn assert_consistent(&self) {
        assert!(self.groups_in_flight_max > 0, "no group could ever leave");
        assert!(self.group_bytes_max >= BLOCK_BYTES && is_whole_blocks(self.group_bytes_max as u64));
        assert!(self.chunk_bytes >= self.group_bytes_max && is_whole_blocks(self.chunk_bytes as u64));
        assert!(is_whole_blocks(self.first_file_bytes) && is_whole_blocks(self.file_bytes));
        assert!(self.first_file_bytes > 0);
        let largest = self.group_bytes_max.max(group_bytes(1, self.entry_bytes_max));
        assert!(largest as u64 <= self.file_bytes, "the largest group must fit a file");
        let files_bytes_min =
            self.file_bytes.checked_mul(3).and_then(|files| files.checked_add(self.first_file_bytes));
        assert!(
            files_bytes_min.is_some_and(|bytes_min| bytes_min <= self.log_bytes_max),
            "a full file, the one in use and the one ahead of it must fit a log beside the first"
        );
        assert!(u32::try_from(largest).is_ok(), "positions within a group are 32 bits wide");
    }
}
