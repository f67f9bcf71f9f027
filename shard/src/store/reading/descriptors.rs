//! The segment files that are open for reading: few, shared by all reads, closed when others are wanted more.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::operations::PieceId;
use super::recency::Recency;
use super::request::SegmentId;
use super::token::{ReadToken, token};
use crate::effect::{Effect, Effects, FileId, FileOperation, OpenMode};

/// Files of reading have this bit in their [`FileId`], and their number below it.
const FILE_ID_BIT: u32 = 1 << 30;

/// One of the open files; reused once it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct FileNumber(pub(super) u32);

impl FileNumber {
    pub(super) const fn id(self) -> FileId {
        FileId(FILE_ID_BIT | self.0)
    }
}

/// Open files by the segment that they belong to.
#[derive(Debug)]
pub(super) struct Descriptors {
    files_max: usize,
    files: BTreeMap<FileNumber, Descriptor>,
    /// Those that may be used for further reads.
    current: BTreeMap<SegmentId, FileNumber>,
    recency: Recency<FileNumber>,
}

#[derive(Debug)]
struct Descriptor {
    segment: SegmentId,
    state: State,
    /// Its segment was forgotten: it goes as soon as no read uses it.
    is_forgotten: bool,
}

#[derive(Debug)]
enum State {
    Opening {
        /// Pieces to be read from it.
        waiting: Vec<PieceId>,
    },
    Open {
        /// Pieces being read from it.
        reads: usize,
    },
    Closing,
}

/// Whether a piece can be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// From this file, until it is released.
    Open(FileNumber),
    /// When the file has been opened.
    Opening,
}

/// What becomes of pieces when their file was opened, or was not.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) waiting: Vec<PieceId>,
    /// Whether they can be read now. Otherwise the file failed to open, or its segment is forgotten.
    pub(super) is_usable: bool,
}

impl Descriptors {
    pub(super) const fn new(files_max: usize) -> Self {
        Self { files_max, files: BTreeMap::new(), current: BTreeMap::new(), recency: Recency::new() }
    }

    /// A file for one piece of `segment`. Each piece acquires once and, if its file came to be open, releases once.
    ///
    /// # Panics
    /// When every file is in use: fewer pieces are under way than files may be open.
    pub(super) fn acquire<M>(
        &mut self,
        segment: SegmentId,
        piece: PieceId,
        effects: &mut Effects<M>,
    ) -> Acquired {
        if let Some(&number) = self.current.get(&segment) {
            self.recency.touch(number);
            return match &mut self.file(number).state {
                State::Opening { waiting } => {
                    waiting.push(piece);
                    Acquired::Opening
                }
                State::Open { reads } => {
                    *reads += 1;
                    Acquired::Open(number)
                }
                State::Closing => unreachable!("a file that is being closed is not current"),
            };
        }
        self.make_room(effects);
        let number = self.unused_number();
        let state = State::Opening { waiting: vec![piece] };
        self.files.insert(number, Descriptor { segment, state, is_forgotten: false });
        self.current.insert(segment, number);
        self.recency.touch(number);
        let open = FileOperation::Open { file: number.id(), path: segment.path(), mode: OpenMode::Read };
        effects.push(Effect::File { token: token(ReadToken::Open(number)), operation: open });
        Acquired::Opening
    }

    /// A piece has been read from its file.
    pub(super) fn release<M>(&mut self, number: FileNumber, effects: &mut Effects<M>) {
        let file = self.file(number);
        let State::Open { reads } = &mut file.state else { unreachable!("a file is open while it is read") };
        *reads -= 1;
        if *reads == 0 && file.is_forgotten {
            self.close(number, effects);
        }
    }

    /// The file was opened, or could not be.
    pub(super) fn opened<M>(
        &mut self,
        number: FileNumber,
        is_open: bool,
        effects: &mut Effects<M>,
    ) -> Opened {
        let file = self.file(number);
        let State::Opening { waiting } = &mut file.state else { unreachable!("a file is opened once") };
        let waiting = core::mem::take(waiting);
        let is_usable = is_open && !file.is_forgotten;
        file.state = State::Open { reads: if is_usable { waiting.len() } else { 0 } };
        if !is_open {
            self.retire(number);
            self.files.remove(&number);
        } else if !is_usable {
            self.close(number, effects);
        }
        Opened { waiting, is_usable }
    }

    /// The file was closed; its number is free.
    pub(super) fn closed(&mut self, number: FileNumber) {
        self.files.remove(&number);
    }

    /// Files of these segments are used for no further read, and closed as soon as no read uses them.
    pub(super) fn forget<M>(&mut self, segments: &RangeInclusive<SegmentId>, effects: &mut Effects<M>) {
        let numbers: Vec<_> = self.current.range(segments.clone()).map(|(_, &number)| number).collect();
        for number in numbers {
            self.retire(number);
            let file = self.file(number);
            file.is_forgotten = true;
            if matches!(file.state, State::Open { reads: 0 }) {
                self.close(number, effects);
            }
        }
    }

    fn make_room<M>(&mut self, effects: &mut Effects<M>) {
        while self.files.values().filter(|file| !matches!(file.state, State::Closing)).count()
            >= self.files_max
        {
            let is_idle = |number: &FileNumber| matches!(self.files[number].state, State::Open { reads: 0 });
            let oldest = self.recency.oldest_first().find(is_idle);
            self.close(oldest.expect("fewer pieces are under way than files may be open"), effects);
        }
    }

    fn close<M>(&mut self, number: FileNumber, effects: &mut Effects<M>) {
        self.retire(number);
        self.file(number).state = State::Closing;
        let close = FileOperation::Close { file: number.id() };
        effects.push(Effect::File { token: token(ReadToken::Close(number)), operation: close });
    }

    /// Lets no further read use the file.
    fn retire(&mut self, number: FileNumber) {
        let segment = self.file(number).segment;
        if self.current.get(&segment) == Some(&number) {
            self.current.remove(&segment);
        }
        self.recency.remove(number);
    }

    fn file(&mut self, number: FileNumber) -> &mut Descriptor {
        self.files.get_mut(&number).expect("a file stays known until it is closed")
    }

    fn unused_number(&self) -> FileNumber {
        let unused = (0..FILE_ID_BIT).map(FileNumber).find(|number| !self.files.contains_key(number));
        unused.expect("few files are open")
    }
}
