//! When records are refused because memory, log or disk have no room for them.

use ringmain_wire::ids::PartitionId;
use ringmain_wire::native::errors::ErrorCode;

use super::Store;

impl Store {
    /// Whether the disk has no room for what is to be written next: records are refused until it has.
    pub fn is_disk_full(&self) -> bool {
        self.preparation.is_disk_full() || self.settling.is_disk_full()
    }

    /// Why no batch of `bytes` can be taken now. Memory never refuses a change of metadata: deleting topics gives it back.
    pub(super) fn pressure(&self, id: PartitionId, bytes: usize) -> Option<ErrorCode> {
        let gathered = self.commit.gathered_bytes() + bytes;
        let is_metadata = id == PartitionId::METADATA;
        // What is left of the file in use is for deletions, and for the entries that let files go.
        if self.preparation.is_disk_full() && !(is_metadata && self.has_ready_room(gathered)) {
            return Some(ErrorCode::DiskFull);
        }
        let held = self.tail_bytes + gathered;
        let memory_is_full = gathered > self.config.gathered_bytes_max || held > self.config.tail_bytes_max;
        // What settling would give back waits for room on the disk then.
        let code = if self.settling.is_disk_full() { ErrorCode::DiskFull } else { ErrorCode::OverBudget };
        (self.lacks_log(id, gathered) || memory_is_full && !is_metadata).then_some(code)
    }

    /// Whether the log is too full for `gathered` bytes. Its rest is for the entries that let files of it go; some of that,
    /// for changes of metadata. Every state is among them twice: the window under way may be no thorough one, and frees
    /// little.
    pub(super) fn lacks_log(&self, id: PartitionId, gathered: usize) -> bool {
        let files_kept = if id == PartitionId::METADATA { 1 } else { 2 };
        let kept_bytes = files_kept * self.config.commit.file_bytes + 2 * self.settling.states_bytes();
        self.commit.spare_bytes() < gathered as u64 + kept_bytes
    }

    /// Whether as many bytes fit the files that are there, and leave room for the entries that let files go.
    pub(super) fn has_ready_room(&self, bytes: usize) -> bool {
        self.commit.ready_bytes() >= bytes as u64 + self.config.commit.first_file_bytes / 2
    }
}
