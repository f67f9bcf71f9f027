//! What the kernel knows of a process (proc(5)): its memory.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::Pid;

use super::error::SiegeError;

/// A process that runs.
#[derive(Clone, Debug)]
pub(super) struct Process(PathBuf);

impl Process {
    pub(super) fn of(process: Pid) -> Self {
        Self(PathBuf::from(format!("/proc/{}", process.as_raw_nonzero())))
    }

    /// Memory that it has in use.
    pub(super) fn resident_bytes(&self) -> Result<u64, SiegeError> {
        let text = fs::read_to_string(self.0.join("status"));
        let found =
            text.and_then(|text| parse_resident(&text).ok_or_else(|| io::ErrorKind::InvalidData.into()));
        found.map_err(SiegeError::io("reading the broker's memory"))
    }
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let status = "Name:\tsiege\nVmHWM:\t  900 kB\nVmRSS:\t    12 kB\nThreads:\t3\n";
        assert_eq!(parse_resident(status), Some(12 * 1024));
        assert_eq!(parse_resident("VmRSS: many kB\n"), None);
    }

    #[test]
    fn a_process_has_memory() {
        let this = Process::of(rustix::process::getpid());
        assert!(this.resident_bytes().unwrap() > 0);
    }
}
