//! Prepares log files: zero-written and synced with their directory before a group may go into one.

use core::time::Duration;

use bytes::Bytes;
use ringmain_wal::commit::PrepareFile;

use crate::effect::{Effect, Effects, FileId, FileOperation, OpenMode, WriteSync};
use crate::event::{FileError, FileOutcome};
use crate::time::Mono;

use super::token::StoreToken;

/// Zeroes written at a time: small enough not to delay a group behind it for long.
const ZEROES_BYTES: usize = 256 * 1024;
/// How long to wait before asking a full disk for room again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes one log file after the other usable, as the log asks for them.
#[derive(Debug)]
pub(super) struct Preparation {
    zeroes: Bytes,
    step: Step,
    /// The disk had no room, and no file could be made since.
    disk_full: bool,
}

#[derive(Debug)]
enum Step {
    Idle,
    Opening(Target),
    Zeroing(Target, u64),
    Syncing(Target),
    SyncingDirectory(Target),
    /// No room: what was written of it is being removed.
    Discarding(Target),
    /// No room: asked for again at this time.
    Waiting(Target, Mono),
}

#[derive(Clone, Debug)]
struct Target {
    file: PrepareFile,
    path: String,
}

impl Preparation {
    pub(super) fn new() -> Self {
        Self {
            zeroes: Bytes::from(ringmain_wal::block::aligned_zeroes(ZEROES_BYTES)),
            step: Step::Idle,
            disk_full: false,
        }
    }

    /// Whether the disk had no room for the next file.
    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// The file being prepared, for messages.
    pub(super) fn path(&self) -> &str {
        match &self.step {
            Step::Idle => "",
            Step::Opening(target)
            | Step::Zeroing(target, _)
            | Step::Syncing(target)
            | Step::SyncingDirectory(target)
            | Step::Discarding(target)
            | Step::Waiting(target, _) => &target.path,
        }
    }

    /// When the disk is to be asked again.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.step {
            Step::Waiting(_, due) => Some(due),
            _ => None,
        }
    }

    /// Begins with a file.
    ///
    /// # Panics
    /// When another one is under way.
    pub(super) fn start<M>(&mut self, file: PrepareFile, path: String, effects: &mut Effects<M>) {
        assert!(matches!(self.step, Step::Idle), "one log file is prepared at a time");
        self.open(Target { file, path }, effects);
    }

    /// Asks a full disk again if it is time.
    pub(super) fn handle_time<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        if self.deadline().is_some_and(|due| due <= now)
            && let Step::Waiting(target, _) = core::mem::replace(&mut self.step, Step::Idle)
        {
            self.open(target, effects);
        }
    }

    /// A step ended. Gives the file once it can be used.
    ///
    /// # Errors
    /// When the disk failed; a disk without room is waited for instead.
    pub(super) fn handle_step<M>(
        &mut self,
        now: Mono,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) -> Result<Option<PrepareFile>, FileError> {
        // A filesystem without room for all of it takes a part.
        let cut_short = result == Err(FileError::Short) && matches!(self.step, Step::Zeroing(..));
        if result == Err(FileError::Full) || cut_short {
            self.give_up(now, effects);
            return Ok(None);
        }
        result?;
        let (next, operation) = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Opening(target) => self.zero(target, 0),
            Step::Zeroing(target, written) if written < target.file.bytes => self.zero(target, written),
            Step::Zeroing(target, _) => {
                let operation = FileOperation::Sync { file: FileId(target.file.number) };
                (Step::Syncing(target), operation)
            }
            Step::Syncing(target) => {
                let operation = FileOperation::SyncDirectory { path: super::LOG_DIRECTORY.to_owned() };
                (Step::SyncingDirectory(target), operation)
            }
            Step::SyncingDirectory(target) => {
                self.disk_full = false;
                return Ok(Some(target.file));
            }
            Step::Discarding(target) => {
                self.step = Step::Waiting(target, now + RETRY_AFTER);
                return Ok(None);
            }
            step @ (Step::Idle | Step::Waiting(..)) => unreachable!("an outcome without a step: {step:?}"),
        };
        self.step = next;
        effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation });
        Ok(None)
    }

    fn open<M>(&mut self, target: Target, effects: &mut Effects<M>) {
        let file = FileId(target.file.number);
        let operation = FileOperation::Open { file, path: target.path.clone(), mode: OpenMode::Create };
        effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation });
        self.step = Step::Opening(target);
    }

    fn zero(&self, target: Target, written: u64) -> (Step, FileOperation) {
        let chunk = (target.file.bytes - written).min(self.zeroes.len() as u64);
        let operation = FileOperation::Write {
            file: FileId(target.file.number),
            position: written,
            bytes: self.zeroes.slice(..chunk as usize),
            sync: WriteSync::Deferred,
        };
        (Step::Zeroing(target, written + chunk), operation)
    }

    /// Gives back what was written, so that a file cut short is never taken for a whole one.
    fn give_up<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        self.disk_full = true;
        self.step = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Opening(target) => Step::Waiting(target, now + RETRY_AFTER),
            Step::Zeroing(target, _) | Step::Syncing(target) | Step::SyncingDirectory(target) => {
                let close = FileOperation::Close { file: FileId(target.file.number) };
                effects.push(Effect::File { token: StoreToken::Tidy.encode(), operation: close });
                let remove = FileOperation::Remove { path: target.path.clone() };
                effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation: remove });
                Step::Discarding(target)
            }
            step @ (Step::Idle | Step::Discarding(_) | Step::Waiting(..)) => {
                unreachable!("no room for a step that takes none: {step:?}")
            }
        };
    }
}
