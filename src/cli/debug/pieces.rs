//! A file read in bounded pieces, beside whoever writes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cli::failure::Failure;

/// The most bytes that are asked for at once: a whole log file, so that no intact group or batch is larger.
pub(super) const PIECE_BYTES_MAX: usize = 64 << 20;
/// Bytes read at a time, unless more are asked for.
const PIECE_BYTES: usize = 1 << 20;

/// A file, and the piece of it that was read last.
#[derive(Debug)]
pub(super) struct Pieces {
    file: File,
    name: String,
    file_bytes: u64,
    /// Where `bytes` start in the file.
    position: u64,
    bytes: Vec<u8>,
}

impl Pieces {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// When it does not exist, is no regular file, or cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        // Looked at first: opening a pipe would wait for whoever writes to it.
        let metadata = fs::metadata(path).map_err(|error| cannot_open(&name, &error))?;
        if !metadata.is_file() {
            let failure = Failure::failed("not_a_file", format!("{name} is not a file"));
            return Err(failure.hint("name one file of the data directory"));
        }
        let file = File::open(path).map_err(|error| cannot_open(&name, &error))?;
        Ok(Self { file, name, file_bytes: metadata.len(), position: 0, bytes: Vec::new() })
    }

    /// As the file was named.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The size of the file when it was opened, or where it was found to end since.
    pub(super) const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// At least `length` bytes from `position` on; fewer only where the file ends.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn at(&mut self, position: u64, length: usize) -> Result<&[u8], Failure> {
        let left = usize::try_from(self.file_bytes.saturating_sub(position)).unwrap_or(usize::MAX);
        if self.held(position).len() < length.min(left) {
            self.read(position, length.max(PIECE_BYTES).min(left))?;
        }
        Ok(self.held(position))
    }

    /// Where the first byte from `position` on that is not zero stands; `None` when all are zero to the end of the file.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn first_nonzero(&mut self, mut position: u64) -> Result<Option<u64>, Failure> {
        loop {
            let piece = self.at(position, 1)?;
            if piece.is_empty() {
                return Ok(None);
            }
            if let Some(place) = piece.iter().position(|&byte| byte != 0) {
                return Ok(Some(position + place as u64));
            }
            position += piece.len() as u64;
        }
    }

    fn held(&self, position: u64) -> &[u8] {
        let ahead = position.checked_sub(self.position).and_then(|ahead| usize::try_from(ahead).ok());
        ahead.and_then(|ahead| self.bytes.get(ahead..)).unwrap_or_default()
    }

    fn read(&mut self, position: u64, wanted: usize) -> Result<(), Failure> {
        self.position = position;
        self.bytes.clear();
        self.bytes.resize(wanted, 0);
        let mut filled = 0;
        while filled < wanted {
            let place = position + filled as u64;
            match self.file.read_at(&mut self.bytes[filled..], place) {
                Ok(0) => {
                    // Whoever writes it has cut it meanwhile.
                    self.file_bytes = place;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let message = format!("cannot read {} at byte {place}: {error}", self.name);
                    return Err(Failure::failed("cannot_read", message)
                        .hint("the kernel's log may say whether the disk is failing"));
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

fn cannot_open(name: &str, error: &io::Error) -> Failure {
    let failure = Failure::failed("cannot_open", format!("cannot open {name}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => failure
            .hint("log files lie in <data-dir>/logs, segments in the directories of <data-dir>/partitions"),
        io::ErrorKind::PermissionDenied => failure.hint("run it as the user that the broker runs as"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_place_are_what_stands_there_and_stay_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let written: Vec<u8> = (0..3 * PIECE_BYTES + 77).map(|place| (place / 251) as u8).collect();
        fs::write(&path, &written).unwrap();
        let mut pieces = Pieces::open(&path).unwrap();
        assert_eq!(pieces.file_bytes(), written.len() as u64);
        for position in [0, 5, PIECE_BYTES - 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 76, 100, written.len()] {
            for length in [1, 4096, 2 * PIECE_BYTES] {
                let piece = pieces.at(position as u64, length).unwrap();
                assert!(piece.len() >= length.min(written.len() - position));
                assert!(piece.len() <= 2 * PIECE_BYTES, "{}", piece.len());
                assert_eq!(piece, &written[position..position + piece.len()]);
            }
        }
        assert!(pieces.at(u64::MAX, 1).unwrap().is_empty());
    }

    #[test]
    fn zeroes_are_told_from_zeroes_with_something_behind_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut written = vec![0; 2 * PIECE_BYTES];
        written[PIECE_BYTES + 9] = 1;
        fs::write(&path, &written).unwrap();
        let mut pieces = Pieces::open(&path).unwrap();
        assert_eq!(pieces.first_nonzero(3).unwrap(), Some(PIECE_BYTES as u64 + 9));
        assert_eq!(pieces.first_nonzero(PIECE_BYTES as u64 + 10).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_cut_meanwhile_ends_where_it_was_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, [7; 100]).unwrap();
        let mut pieces = Pieces::open(&path).unwrap();
        fs::write(&path, [7; 40]).unwrap();
        assert_eq!(pieces.at(0, 100).unwrap(), [7; 40]);
        assert_eq!(pieces.file_bytes(), 40);
    }

    #[test]
    fn what_is_no_file_is_refused_with_a_hint() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Pieces::open(&directory.path().join("missing")).unwrap_err();
        assert!(format!("{missing:?}").contains("<data-dir>/logs"), "{missing:?}");
        let folder = Pieces::open(directory.path()).unwrap_err();
        assert!(format!("{folder:?}").contains("is not a file"), "{folder:?}");
    }
}
