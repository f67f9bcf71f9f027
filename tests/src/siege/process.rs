//! What the kernel knows of a process (proc(5)): its memory, and the time it has had.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::error::SiegeError;

/// A clock tick of the kernel's tables on this architecture.
const TICK: Duration = Duration::from_millis(10);
/// Where user and system time stand behind the name, which may hold anything and ends with the last parenthesis.
const TIMES_PLACE: usize = 11;

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

    /// Time that its threads have had of all cores since it began, in whole ticks.
    pub(super) fn cpu_time(&self) -> Result<Duration, SiegeError> {
        let text = fs::read_to_string(self.0.join("stat"));
        let found =
            text.and_then(|text| parse_cpu_time(&text).ok_or_else(|| io::ErrorKind::InvalidData.into()));
        found.map_err(SiegeError::io("reading the broker's times"))
    }
}

fn parse_cpu_time(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut times = behind_name.split_whitespace().skip(TIMES_PLACE);
    let [user, system]: [u32; 2] = [times.next()?.parse().ok()?, times.next()?.parse().ok()?];
    TICK.checked_mul(user.checked_add(system)?)
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
    fn times_stand_behind_any_name() {
        let stat = "12 (a) b) S 1 2 3 0 -1 4 5 6 7 8 150 25 9 9 20 0";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(parse_cpu_time("12 (a) S 1 2"), None);
    }

    #[test]
    fn a_process_has_memory() {
        let this = Process::of(rustix::process::getpid());
        assert!(this.resident_bytes().unwrap() > 0);
        assert!(this.cpu_time().is_ok());
    }
}
