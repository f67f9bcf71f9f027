//! What becomes of batches, at once and in the end.

use ringmain_wire::ids::{Offset, PartitionId};
use ringmain_wire::native::errors::ErrorCode;

use super::Ticket;

/// What became of a produced batch at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceOutcome {
    /// It is in the log; the ticket, if there is one, completes when it is durable.
    Waiting,
    /// It had been appended before and is durable.
    Duplicate(Appended),
    /// Nothing of it is in the log.
    Refused(ErrorCode),
}

/// Where a batch landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// First offset of the partition that is still stored.
    pub log_start: Offset,
    /// An earlier attempt had put it there.
    pub duplicate: bool,
}

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Who waited.
    pub ticket: Ticket,
    /// What came of it. An error says that the outcome is unknown, never that nothing was stored.
    pub result: Result<Appended, ErrorCode>,
}

/// Something on the disk that is not as it should be, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageFault {
    /// Whose it is, or was.
    pub partition: PartitionId,
    /// The file or directory, relative to the data directory.
    pub path: String,
    /// What is wrong with it and where, and what follows from that.
    pub problem: String,
}
