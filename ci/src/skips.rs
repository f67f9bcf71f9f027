//! The contract by which a test says that it could not run here.
//!
//! It writes one whole line, `SKIPPED name: why`, to standard error and appends the same line to the file that the
//! environment variable [`FILE_VARIABLE`] names, if it is set: libtest may hide or split what goes to standard error.
//! In test code, `ringmain_tests::skip::skip` does both. A line seen in both places counts once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variable with the path of the file that skips are appended to.
pub(crate) const FILE_VARIABLE: &str = "RINGMAIN_CI_SKIPS";

/// The skips of one step.
#[derive(Debug)]
pub(crate) struct Skips {
    file: PathBuf,
    lines: BTreeSet<String>,
}

impl Skips {
    /// None so far; what an earlier run left in `file` is removed.
    pub(crate) fn collect_in(file: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { file, lines: BTreeSet::new() }),
        }
    }

    /// The file that tests append to.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Takes note of a line of output if it is a skip.
    pub(crate) fn handle_line(&mut self, line: &str) {
        let line = line.trim();
        if line.strip_prefix("SKIPPED ").is_some_and(|rest| rest.contains(": ")) {
            self.lines.insert(line.to_owned());
        }
    }

    /// All skips, those in the file included, in alphabetical order.
    pub(crate) fn finish(mut self) -> io::Result<Vec<String>> {
        match fs::read_to_string(&self.file) {
            Ok(text) => text.lines().for_each(|line| self.handle_line(line)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(self.lines.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringmain-ci-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_skip_seen_twice_counts_once() {
        let mut skips = Skips::collect_in(file("twice")).unwrap();
        fs::write(skips.file(), "SKIPPED direct_write: no loop device\nSKIPPED other: not root\n").unwrap();
        skips.handle_line("SKIPPED direct_write: no loop device");
        let path = skips.file().to_owned();
        let lines = skips.finish().unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(lines, ["SKIPPED direct_write: no loop device", "SKIPPED other: not root"]);
    }

    #[test]
    fn what_an_earlier_run_left_is_forgotten() {
        fs::write(file("earlier"), "SKIPPED old: gone\n").unwrap();
        let skips = Skips::collect_in(file("earlier")).unwrap();
        assert_eq!(skips.finish().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_a_reason_is_no_skip() {
        let mut skips = Skips::collect_in(file("reason")).unwrap();
        skips.handle_line("SKIPPED 14 bytes");
        skips.handle_line("test skip ... ok");
        assert_eq!(skips.finish().unwrap(), Vec::<String>::new());
    }
}
