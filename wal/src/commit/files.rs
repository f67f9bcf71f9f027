//! Which log file a group goes to, when the next file must be prepared, and which files nobody needs any more.

use std::collections::VecDeque;

use crate::block::is_whole_blocks;
use crate::group::Sequence;

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
    log_bytes_max: u64,
    /// The file in use is the last; those before it take no further group.
    used: VecDeque<UsedFile>,
    /// Where the next group starts in the file in use.
    position: u64,
    /// The file ready behind it.
    ahead: Option<PrepareFile>,
    /// The next file to ask for.
    number_next: u32,
    preparing: Option<PrepareFile>,
}

#[derive(Debug)]
struct UsedFile {
    file: PrepareFile,
    /// The first group in it; none if none fitted, or none came yet.
    first: Option<Sequence>,
}

impl LogFiles {
    pub(super) fn new(first_file_bytes: u64, file_bytes: u64, log_bytes_max: u64) -> Self {
        Self {
            first_file_bytes,
            file_bytes,
            log_bytes_max,
            used: VecDeque::new(),
            position: 0,
            ahead: None,
            number_next: 0,
            preparing: None,
        }
    }

    /// Bytes of all files that exist or are being made.
    pub(super) fn live_bytes(&self) -> u64 {
        let used = self.used.iter().map(|used| &used.file);
        used.chain(&self.ahead).chain(&self.preparing).map(|file| file.bytes).sum()
    }

    /// Bytes that groups can still take before a file must be forgotten.
    pub(super) fn spare_bytes(&self) -> u64 {
        let coming: u64 = [self.ahead, self.preparing].iter().flatten().map(|file| file.bytes).sum();
        let allowed = self.log_bytes_max.saturating_sub(self.live_bytes());
        self.room() + coming + allowed / self.file_bytes * self.file_bytes
    }

    /// Bytes that groups can still take if no file is made any more.
    pub(super) fn ready_bytes(&self) -> u64 {
        self.room() + self.ahead.map_or(0, |file| file.bytes)
    }

    /// Of the file being prepared: twice the part that is used of the file in use, and all if there is none.
    pub(super) fn prepared_bytes_wanted(&self) -> u64 {
        let (Some(used), Some(preparing)) = (self.used.back(), self.preparing) else { return u64::MAX };
        let part = u128::from(preparing.bytes) * 2 * u128::from(self.position) / u128::from(used.file.bytes);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// The oldest file that holds a group at or after `needed`, or the file in use.
    pub(super) fn first_from(&self, needed: Sequence) -> u32 {
        // The last file that begins at or before it holds it; if none does, the oldest with a group is behind it.
        let begins_by = |used: &&UsedFile| used.first.is_some_and(|first| first <= needed);
        let holder = self.used.iter().rfind(begins_by);
        let found = holder.or_else(|| self.used.iter().find(|used| used.first.is_some()));
        found.or(self.used.back()).map_or(0, |used| used.file.number)
    }

    /// Files before number `first_file` are gone.
    pub(super) fn forget_before(&mut self, first_file: u32) {
        let in_use = self.used.back().map_or(0, |used| used.file.number);
        assert!(first_file <= in_use, "log file {in_use} is in use and was deleted");
        while self.used.pop_front_if(|used| used.file.number < first_file).is_some() {}
    }

    /// From now on files are asked for however many there are.
    pub(super) fn lift_limit(&mut self) {
        self.log_bytes_max = u64::MAX;
    }

    /// The next file to prepare; `waiting_bytes` is the size of the group that waits to be placed, 0 if none does.
    pub(super) fn poll_prepare(&mut self, waiting_bytes: usize) -> Option<PrepareFile> {
        let is_enough = self
            .used
            .back()
            .is_some_and(|used| self.position == 0 && waiting_bytes as u64 <= used.file.bytes);
        if self.preparing.is_some() || self.ahead.is_some() || is_enough {
            return None;
        }
        let number = self.number_next;
        let bytes = if number == 0 { self.first_file_bytes } else { self.file_bytes };
        if number > 0 && self.live_bytes() + bytes > self.log_bytes_max {
            return None;
        }
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
        if self.used.is_empty() {
            self.use_file(file);
        } else {
            assert!(self.ahead.replace(file).is_none(), "two files ready ahead");
        }
    }

    /// Whether a group of `length` bytes can be placed now.
    pub(super) fn has_room(&self, length: usize) -> bool {
        let length = length as u64;
        length <= self.room() || self.ahead.is_some_and(|file| length <= file.bytes)
    }

    /// Where the next group, of `length` bytes, goes: file number and position in bytes.
    ///
    /// # Panics
    /// Unless [`Self::has_room`] for it.
    pub(super) fn place(&mut self, sequence: Sequence, length: usize) -> (u32, u64) {
        let length = length as u64;
        if length > self.room() {
            let ahead = self.ahead.take().expect("no file is ready");
            self.use_file(ahead);
        }
        assert!(length <= self.room(), "a group of {length} bytes does not fit a fresh file");
        let used = self.used.back_mut().expect("a file with room is in use");
        used.first.get_or_insert(sequence);
        let placed = (used.file.number, self.position);
        self.position += length;
        placed
    }

    /// Bytes left in the file in use.
    fn room(&self) -> u64 {
        self.used.back().map_or(0, |used| used.file.bytes - self.position)
    }

    fn use_file(&mut self, file: PrepareFile) {
        self.used.push_back(UsedFile { file, first: None });
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_BYTES_MAX: u64 = 65_536;

    #[test]
    fn one_file_is_asked_for_at_a_time_and_one_stands_ready_ahead() {
        let mut files = LogFiles::new(8192, 16384, LOG_BYTES_MAX);
        assert!(!files.has_room(4096));
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 0, bytes: 8192 }));
        assert_eq!(files.poll_prepare(0), None);
        files.handle_ready(0, 8192);
        assert_eq!(files.poll_prepare(0), None, "nothing is written yet");
        assert_eq!(files.place(Sequence(1), 4096), (0, 0));
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 1, bytes: 16384 }));
        assert!(files.has_room(4096) && !files.has_room(8192));
        assert_eq!(files.ready_bytes(), 4096, "the next is being made");
        assert_eq!(files.prepared_bytes_wanted(), 16384, "half of the file in use is filled");
        files.handle_ready(1, 16384);
        assert_eq!(files.ready_bytes(), 4096 + 16384);
        assert_eq!(files.poll_prepare(0), None, "one is ready ahead");
        assert_eq!(files.place(Sequence(2), 8192), (1, 0), "rolls when it does not fit");
        assert_eq!(files.poll_prepare(0), Some(PrepareFile { number: 2, bytes: 16384 }));
        assert_eq!(files.place(Sequence(3), 8192), (1, 8192));
        assert!(!files.has_room(4096));
    }

    #[test]
    fn the_next_file_is_made_as_the_one_in_use_is_filled() {
        let mut files = LogFiles::new(16384, 16384, LOG_BYTES_MAX);
        files.poll_prepare(0);
        assert_eq!(files.prepared_bytes_wanted(), u64::MAX, "there is none yet");
        files.handle_ready(0, 16384);
        for (sequence, wanted) in (1..=3).zip([8192, 16384, 24576]) {
            files.place(Sequence(sequence), 4096);
            files.poll_prepare(0);
            assert_eq!(files.prepared_bytes_wanted(), wanted);
        }
    }

    #[test]
    fn a_group_larger_than_the_first_file_leaves_it_empty() {
        let mut files = LogFiles::new(4096, 16384, LOG_BYTES_MAX);
        files.poll_prepare(0);
        files.handle_ready(0, 4096);
        assert!(!files.has_room(8192));
        assert_eq!(files.poll_prepare(0), None);
        assert_eq!(files.poll_prepare(8192), Some(PrepareFile { number: 1, bytes: 16384 }));
        files.handle_ready(1, 16384);
        assert_eq!(files.first_from(Sequence(1)), 0, "no group has come yet");
        assert_eq!(files.place(Sequence(1), 8192), (1, 0));
        assert_eq!(files.first_from(Sequence(1)), 1, "the first file holds nothing");
    }

    /// Files of two groups each, the last of them in use, and one ahead.
    fn filled(last_file: u32) -> LogFiles {
        let mut files = LogFiles::new(8192, 8192, LOG_BYTES_MAX);
        for sequence in 1..=2 * (u64::from(last_file) + 1) {
            if let Some(file) = files.poll_prepare(4096) {
                files.handle_ready(file.number, file.bytes);
            }
            files.place(Sequence(sequence), 4096);
        }
        files
    }

    #[test]
    fn the_first_file_needed_is_the_one_that_holds_the_group() {
        let mut files = filled(3);
        let first_from =
            |files: &LogFiles| (0..12).map(|needed| files.first_from(Sequence(needed))).collect::<Vec<_>>();
        assert_eq!(first_from(&files), [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3]);
        files.forget_before(2);
        assert_eq!(first_from(&files), [2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
        files.forget_before(1);
        assert_eq!(files.first_from(Sequence::ZERO), 2, "forgotten before");
    }

    #[test]
    fn no_file_is_asked_for_beyond_the_limit_until_others_are_forgotten() {
        let mut files = filled(6);
        assert_eq!(files.live_bytes(), LOG_BYTES_MAX, "the one ahead counts");
        assert_eq!((files.place(Sequence(15), 8192), files.live_bytes()), ((7, 0), LOG_BYTES_MAX));
        assert_eq!(files.poll_prepare(4096), None);
        assert!(!files.has_room(4096));
        files.forget_before(1);
        assert_eq!(files.poll_prepare(4096), Some(PrepareFile { number: 8, bytes: 8192 }));
        assert_eq!(files.live_bytes(), LOG_BYTES_MAX, "so does the one being prepared");
        files.handle_ready(8, 8192);
        files.place(Sequence(16), 8192);
        assert_eq!(files.poll_prepare(4096), None);
        files.lift_limit();
        assert_eq!(files.poll_prepare(4096), Some(PrepareFile { number: 9, bytes: 8192 }));
    }

    #[test]
    #[should_panic(expected = "in use")]
    fn the_file_in_use_is_never_forgotten() {
        filled(3).forget_before(4);
    }
}
