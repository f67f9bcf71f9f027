//! How another process has its log files open (proc(5), `/proc/pid/fdinfo`).

use std::fs;
use std::io;

use rustix::fs::OFlags;
use rustix::process::Pid;

use crate::crash::error::CrashError;

/// Checks that `process` writes its log files past the page cache, and says how many it has open for that.
pub(super) fn check_log_descriptors(process: Pid) -> Result<usize, CrashError> {
    let written =
        log_files_written(process).map_err(CrashError::io("looking at the broker's descriptors"))?;
    if written.is_empty() {
        return Err(CrashError::NotDirect {
            problem: "the broker has no log file open for writing".to_owned(),
        });
    }
    for (path, flags) in &written {
        if !flags.contains(OFlags::DIRECT) {
            return Err(CrashError::NotDirect {
                problem: format!("{path} is open for writing without O_DIRECT"),
            });
        }
    }
    Ok(written.len())
}

/// The log files that it can write, with the flags that they were opened with.
fn log_files_written(process: Pid) -> io::Result<Vec<(String, OFlags)>> {
    let process = process.as_raw_nonzero();
    let mut written = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let entry = entry?;
        // What is closed meanwhile is gone.
        let Ok(path) = fs::read_link(entry.path()) else { continue };
        let path = path.to_string_lossy().into_owned();
        let name = entry.file_name();
        let Ok(information) =
            fs::read_to_string(format!("/proc/{process}/fdinfo/{}", name.to_string_lossy()))
        else {
            continue;
        };
        let flags = flags(&information).ok_or(io::ErrorKind::InvalidData)?;
        let is_log = path.contains("/logs/") && path.ends_with(".log");
        if is_log && flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            written.push((path, flags));
        }
    }
    Ok(written)
}

fn flags(information: &str) -> Option<OFlags> {
    let octal = information.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(octal.trim(), 8).ok().map(OFlags::from_bits_retain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_a_descriptor_are_read() {
        let information =
            format!("pos:\t0\nflags:\t0{:o}\nmnt_id:\t29\n", (OFlags::RDWR | OFlags::DIRECT).bits());
        assert_eq!(flags(&information), Some(OFlags::RDWR | OFlags::DIRECT));
        assert_eq!(flags("pos:\t0\n"), None);
    }

    #[test]
    fn a_process_without_log_files_is_told() {
        let own = rustix::process::getpid();
        assert!(matches!(check_log_descriptors(own), Err(CrashError::NotDirect { .. })));
    }
}
