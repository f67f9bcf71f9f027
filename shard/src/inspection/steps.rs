//! The file operations of an inspection, one after the other.

use bytes::Bytes;
use ringmain_wal::block::{aligned_zeroes, round_up};
use ringmain_wal::segment::{INDEX_FILE_BYTES_MAX, Index, IndexDamage};

use super::walk::{Progress, Walk};
use super::{Inspected, InspectionRequest, Sound, Unsound};
use crate::effect::{FileId, FileOperation, OpenMode, WriteSync};
use crate::event::{FileError, FileOutcome};

/// One segment being inspected.
#[derive(Debug)]
pub struct Inspection {
    request: InspectionRequest,
    file: FileId,
    step: Step,
    /// The index file as it was found; empty where there was none.
    index: Bytes,
    walk: Walk,
    is_cancelled: bool,
    result: Option<Result<Sound, Unsound>>,
}

/// What is to be done next, or being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    OpenIndex,
    ReadIndex,
    CloseIndex,
    OpenSegment,
    ReadSegment,
    CloseSegment,
    /// The index file is to be made anew.
    ReplaceIndex,
    WriteIndex,
    SyncIndex,
    /// The result is known.
    CloseLast,
    Done,
}

impl Inspection {
    /// Of the segment asked for. `file` is the number of the one file that is open at a time.
    pub fn new(request: InspectionRequest, file: FileId) -> Self {
        Self {
            walk: Walk::of(request.extent, request.epochs.clone()),
            request,
            file,
            step: Step::OpenIndex,
            index: Bytes::new(),
            is_cancelled: false,
            result: None,
        }
    }

    /// Ends it as soon as its file is closed.
    pub fn cancel(&mut self) {
        self.is_cancelled = true;
    }

    /// Bytes that the next operation reads, for whoever slows it down.
    pub fn next_bytes(&self) -> u64 {
        if self.step == Step::ReadSegment { u64::from(self.walk.next_read().1) } else { 0 }
    }

    /// The next operation; nothing else may be under way. None once it is done.
    pub fn poll(&mut self) -> Option<FileOperation> {
        self.heed_cancellation();
        let file = self.file;
        let open = |path, mode| FileOperation::Open { file, path, mode };
        Some(match self.step {
            Step::OpenIndex => open(self.request.index_path(), OpenMode::Read),
            Step::ReadIndex => FileOperation::Read { file, position: 0, length: INDEX_FILE_BYTES_MAX as u32 },
            Step::OpenSegment => open(self.request.path(), OpenMode::Read),
            Step::ReadSegment => {
                let (position, length) = self.walk.next_read();
                FileOperation::Read { file, position, length }
            }
            Step::CloseIndex | Step::CloseSegment | Step::CloseLast => FileOperation::Close { file },
            Step::ReplaceIndex => open(self.request.index_path(), OpenMode::Replace),
            Step::WriteIndex => {
                let bytes = aligned(&self.walk.index().encode(self.walk.footer()));
                FileOperation::Write { file, position: 0, bytes, sync: WriteSync::Deferred }
            }
            Step::SyncIndex => FileOperation::Sync { file },
            Step::Done => return None,
        })
    }

    /// The operation ended.
    pub fn handle(&mut self, outcome: Result<FileOutcome, FileError>) {
        self.step = match (self.step, outcome) {
            // Whatever is wrong with the index file, it is made anew, and tells more if that fails.
            (Step::OpenIndex, Err(_)) => Step::OpenSegment,
            (Step::OpenIndex, Ok(_)) => Step::ReadIndex,
            (Step::ReadIndex, outcome) => {
                if let Ok(FileOutcome::Read(bytes)) = outcome {
                    self.index = bytes;
                }
                Step::CloseIndex
            }
            (Step::CloseIndex, _) => Step::OpenSegment,
            (Step::OpenSegment, Ok(_)) => Step::ReadSegment,
            (Step::ReadSegment, Ok(FileOutcome::Read(bytes))) => self.handle_piece(&bytes),
            (Step::CloseSegment, Ok(_)) => Step::ReplaceIndex,
            (Step::ReplaceIndex, Ok(_)) => Step::WriteIndex,
            (Step::WriteIndex, Ok(_)) => Step::SyncIndex,
            (Step::SyncIndex, Ok(_)) => {
                let index_damage = self.index_found().err().flatten();
                self.result = Some(Ok(Sound { index_was_written: true, index_damage }));
                Step::CloseLast
            }
            (Step::CloseLast, _) => Step::Done,
            (step, Err(error)) => self.fail(step, error),
            (step, Ok(outcome)) => unreachable!("{outcome:?} of {step:?}"),
        };
    }

    /// What it found.
    ///
    /// # Panics
    /// Unless it is done.
    pub fn finish(self) -> Inspected {
        assert_eq!(self.step, Step::Done, "an inspection is asked for its result when it is done");
        Inspected { request: self.request, result: self.result.expect("it is done with a result") }
    }

    fn handle_piece(&mut self, bytes: &[u8]) -> Step {
        let damage = match self.walk.handle_read(bytes) {
            Progress::More => return Step::ReadSegment,
            Progress::Whole => match self.judge_index() {
                Judgement::Agrees => {
                    self.result = Some(Ok(Sound { index_was_written: false, index_damage: None }));
                    return Step::CloseLast;
                }
                Judgement::ToBeWritten => return Step::CloseSegment,
                Judgement::SegmentChanged { found, sealed } => Unsound::Changed { found, sealed },
            },
            Progress::Damaged { position, reason } => Unsound::Damaged { position, reason },
        };
        self.result = Some(Err(damage));
        Step::CloseLast
    }

    /// What the index file says of the segment, against what was found.
    fn judge_index(&self) -> Judgement {
        let found = self.walk.footer();
        match self.index_found() {
            Ok((_, footer)) if (footer.segment_bytes, footer.end) == (found.segment_bytes, found.end) => {
                if footer.segment_crc == found.segment_crc {
                    Judgement::Agrees
                } else {
                    Judgement::SegmentChanged { found: found.segment_crc, sealed: footer.segment_crc }
                }
            }
            _ => Judgement::ToBeWritten,
        }
    }

    /// The index file, or what is wrong with it: nothing where there is none.
    fn index_found(&self) -> Result<(Index, ringmain_wal::segment::IndexFooter), Option<IndexDamage>> {
        // A file that was made and not written before a crash has no bytes, or zeroes.
        if self.index.iter().all(|&byte| byte == 0) {
            return Err(None);
        }
        Index::decode(&self.index).map_err(Some)
    }

    fn heed_cancellation(&mut self) {
        if !self.is_cancelled || self.result.is_some() {
            return;
        }
        self.step = match self.step {
            Step::OpenIndex | Step::OpenSegment | Step::ReplaceIndex | Step::Done => Step::Done,
            _ => Step::CloseLast,
        };
        self.result = Some(Err(Unsound::Cancelled));
    }

    fn fail(&mut self, step: Step, error: FileError) -> Step {
        let (path, next) = match step {
            Step::OpenSegment => (self.request.path(), Step::Done),
            Step::ReadSegment => (self.request.path(), Step::CloseLast),
            Step::CloseSegment => (self.request.path(), Step::Done),
            Step::ReplaceIndex => (self.request.index_path(), Step::Done),
            _ => (self.request.index_path(), Step::CloseLast),
        };
        self.result = Some(Err(Unsound::Failed { path, error }));
        next
    }
}

/// What becomes of an index file.
enum Judgement {
    Agrees,
    ToBeWritten,
    /// It is intact and disagrees with intact batches.
    SegmentChanged {
        found: u32,
        sealed: u32,
    },
}

fn aligned(bytes: &[u8]) -> Bytes {
    let mut whole = aligned_zeroes(round_up(bytes.len()));
    whole[..bytes.len()].copy_from_slice(bytes);
    whole.freeze()
}
