//! Watches how much memory the broker has while it is besieged, and holds it against a bound.

use core::fmt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::error::SiegeError;
use super::owners::Owners;
use super::process::Process;

const EVERY: Duration = Duration::from_millis(20);
/// What the broker may have beside what its owners of memory may hold.
const OTHER_BYTES_MAX: u64 = 96 << 20;

/// Looks at the broker's memory again and again, on a thread of its own.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    before: u64,
    /// Dropped, it ends the watch.
    stop: Sender<()>,
    thread: JoinHandle<Result<u64, SiegeError>>,
}

/// What a watch saw, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemorySeen {
    before: u64,
    highest: u64,
    after: u64,
    /// How much it may be.
    bytes_max: u64,
}

impl MemoryWatch {
    pub(super) fn start(process: Process) -> Result<Self, SiegeError> {
        let before = process.resident_bytes()?;
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut highest = before;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                highest = highest.max(process.resident_bytes()?);
            }
            Ok(highest)
        });
        Ok(Self { before, stop, thread })
    }

    /// What was seen. Beside what all `owners` together may hold there may be the program, and what its allocator keeps.
    pub(super) fn finish(self, process: &Process, owners: &Owners) -> Result<MemorySeen, SiegeError> {
        drop(self.stop);
        let highest = self.thread.join().expect("the watch does not panic")?;
        let after = process.resident_bytes()?;
        let bytes_max = owners.bytes_max() + OTHER_BYTES_MAX;
        Ok(MemorySeen { before: self.before, highest: highest.max(after), after, bytes_max })
    }
}

impl MemorySeen {
    /// It must have stayed within its bound.
    pub(super) fn check(&self) -> Result<(), SiegeError> {
        if self.highest <= self.bytes_max {
            return Ok(());
        }
        Err(SiegeError::broken(format!("the broker's memory is bounded: {self}")))
    }
}

impl fmt::Display for MemorySeen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, highest, after, bytes_max } = self;
        let [before, highest, after, bound] = [before, highest, after, bytes_max].map(|bytes| bytes >> 20);
        write!(
            out,
            "resident memory {before} MiB before, {highest} MiB at most, {after} MiB after; bound {bound} MiB"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_the_bound_breaks_the_promise() {
        let seen = |highest| MemorySeen { before: 10, highest, after: 5, bytes_max: 30 };
        assert!(seen(30).check().is_ok());
        assert!(seen(31).check().is_err());
    }
}
