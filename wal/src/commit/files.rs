//! Which log file a group goes to, and when the next file must be prepared.

use crate::block::is_whole_blocks;

/// A file that the owner should create: zero-written and synced, with its directory, before it is reported ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareFile {
    /// Its number within the log.
    pub number: u32,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The files of one log: groups lie back to back in one, and one that does not fit moves to the next.
///
/// At most one file is being prepared at a time. Once a group stands in the one in use, the next is made ready ahead of
/// it; a start that writes nothing makes only the first.
#[derive(Debug)]
pub(super) struct LogFiles {
    first_file_bytes: u64,
    file_bytes: u64,
    /// The file in use, and where the next group starts in it.
    current: Option<(PrepareFile, u64)>,
    /// The file ready behind it.
    ahead: Option<PrepareFile>,
    /// The next file to ask for.
    number_next: u32,
    preparing: Option<PrepareFile>,
}

impl LogFiles {
    pub(super) fn new(first_file_bytes: u64, file_bytes: u64) -> Self {
        Self { first_file_bytes, file_bytes, current: None, ahead: None, number_next: 0, preparing: None }
    }

    /// The next file to prepare; `waiting_bytes` is the size of the group that waits to be placed, 0 if none does.
    pub(super) fn poll_prepare(&mut self, waiting_bytes: usize) -> Option<PrepareFile> {
        let is_enough =
            |(file, position): (PrepareFile, u64)| position == 0 && waiting_bytes as u64 <= file.bytes;
        if self.preparing.is_some() || self.ahead.is_some() || self.current.is_some_and(is_enough) {
            return None;
        }
        let number = self.number_next;
        let bytes = if number == 0 { self.first_file_bytes } else { self.file_bytes };
        self.number_next += 1;
        self.preparing = Some(PrepareFile { number, bytes });
        self.preparing
    }

    pub(super) fn handle_ready(&mut self, number: u32, bytes: u64) {
        let asked = self.preparing.take().expect("a file became ready that nobody asked for");
        assert_eq!(asked.number, number, "another file became ready than was asked for");
        assert!(
            is_whole_blocks(bytes) && bytes >= asked.bytes,
            "file {number} is smaller than was asked for"
        );
        let file = PrepareFile { number, bytes };
        if self.current.is_none() {
            self.current = Some((file, 0));
        } else {
            assert!(self.ahead.replace(file).is_none(), "two files ready ahead");
        }
    }

    /// Whether a group of `length` bytes can be placed now.
    pub(super) fn has_room(&self, length: usize) -> bool {
        let length = length as u64;
        let here = self.current.is_some_and(|(file, position)| length <= file.bytes - position);
        here || self.ahead.is_some_and(|file| length <= file.bytes)
    }

    /// Where the next group of `length` bytes goes: file number and position in bytes.
    ///
    /// # Panics
    /// Unless [`Self::has_room`] for it.
    pub(super) fn place(&mut self, length: usize) -> (u32, u64) {
        let length = length as u64;
        if self.current.is_some_and(|(file, position)| length > file.bytes - position) {
            self.current = self.ahead.take().map(|file| (file, 0));
        }
        let (file, position) = self.current.as_mut().expect("no file is ready");
        assert!(length <= file.bytes - *position, "a group of {length} bytes does not fit a fresh file");
        let placed = (file.number, *position);
        *position += length;
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_asked_for_at_a_time_and_one_stands_ready_ahead() {
        let mut files = LogFiles::new(8192, 16384);
        assert!(!files.has_room(4096));
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 0, bytes: 8192 }));
        assert_eq!(files.poll_prepare(0), None);
        files.handle_ready(0, 8192);
        assert_eq!(files.poll_prepare(0), None, "nothing is written yet");
        assert_eq!(files.place(4096), (0, 0));
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 1, bytes: 16384 }));
        assert!(files.has_room(4096) && !files.has_room(8192));
        files.handle_ready(1, 16384);
        assert_eq!(files.poll_prepare(0), None, "one is ready ahead");
        assert_eq!(files.place(8192), (1, 0), "rolls when it does not fit");
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 2, bytes: 16384 }));
        assert_eq!(files.place(8192), (1, 8192));
        assert!(!files.has_room(4096));
    }

    #[test]
    fn a_group_larger_than_the_first_file_leaves_it_empty() {
        let mut files = LogFiles::new(4096, 16384);
        files.poll_prepare(0);
        files.handle_ready(0, 4096);
        assert!(!files.has_room(8192));
        assert_eq!(files.poll_prepare(0), None);
        assert_eq!(files.poll_prepare(8192), Some(PrepareFile { number: 1, bytes: 16384 }));
        files.handle_ready(1, 16384);
        assert_eq!(files.place(8192), (1, 0));
    }
}
