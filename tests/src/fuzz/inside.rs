//! The process that runs the cases of one target, and how another one looks into it.
//!
//! Nothing is caught here: a panic ends the process as an abort does. What it did last stands in a file that the
//! supervisor holds, the number of the case first; what it has to say goes to standard error.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cases::Cases;
use super::{Target, Verdict};

/// Address space that a run may take beyond what it has before its first case. Above what the limits that targets give
/// to parsers let them take, far below what a length field can claim.
pub const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The case that is running, or ran last.
    pub case: u64,
    /// Inputs that were taken.
    pub accepted: u64,
    /// Inputs that were refused.
    pub refused: u64,
}

/// Runs every case with limited memory and keeps what stands at the beginning of `progress` up to date.
///
/// # Errors
/// When the process cannot be limited or `progress` cannot be written.
///
/// # Panics
/// When the parser does: that is what this is for.
pub fn run(target: &Target, cases: &Cases, progress: &File) -> io::Result<()> {
    limit_memory()?;
    let mut reached = Progress::default();
    for case in 0..cases.count() {
        let input = cases.input(case);
        reached.case = case;
        reached.write(progress)?;
        match (target.run)(&input) {
            Verdict::Accepted => reached.accepted += 1,
            Verdict::Refused => reached.refused += 1,
        }
    }
    reached.write(progress)
}

/// The file behind this process's standard output.
///
/// # Errors
/// When it cannot be had.
pub fn standard_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

impl Progress {
    /// What a run wrote last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; 24];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Self::default()),
            read => read?,
        }
        let number = |field: usize| {
            bytes[field * 8..][..8].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        Ok(Self { case: number(0), accepted: number(1), refused: number(2) })
    }

    fn write(&self, file: &File) -> io::Result<()> {
        let mut bytes = [0; 24];
        for (field, number) in bytes.chunks_exact_mut(8).zip([self.case, self.accepted, self.refused]) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        file.write_all_at(&bytes, 0)
    }
}

/// An allocation beyond the limit fails, which ends the process.
fn limit_memory() -> io::Result<()> {
    let limit = address_space_bytes()? + MEMORY_BYTES_MAX;
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(limit), maximum })?;
    Ok(())
}

fn address_space_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_it_was_written() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Progress::read(&file).unwrap(), Progress::default());
        for case in [7, u64::MAX, 0] {
            let progress = Progress { case, accepted: 1 << 40, refused: 3 };
            progress.write(&file).unwrap();
            assert_eq!(Progress::read(&file).unwrap(), progress);
        }
    }

    #[test]
    fn the_size_of_this_process_is_known() {
        assert!(address_space_bytes().unwrap() > 1 << 20);
    }
}
