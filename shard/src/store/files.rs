//! Prepares log files: zero-written and synced with their directory before a group may go into one.

use bytes::Bytes;
use ringmain_wal::block::{aligned_zeroes, round_up};
use ringmain_wal::commit::PrepareFile;

use crate::effect::{Effect, Effects, FileId, FileOperation, OpenMode, WriteSync};
use crate::event::{FileError, FileOutcome};
use crate::time::Mono;

use super::RETRY_AFTER;
use super::token::StoreToken;

/// Zeroes written at a time, at most: small enough not to delay a group behind it for long.
const ZEROES_BYTES_MAX: u64 = 256 * 1024;
/// A file is written in as many pieces, at least: it is made while another one is filled.
const PIECES_MIN: u64 = 8;

/// Makes one log file after the other usable, as the log asks for them.
#[derive(Debug)]
pub(super) struct Preparation {
    zeroes: Bytes,
    step: Step,
    /// What there was not enough of; no file could be made since.
    shortage: Option<FileError>,
}

#[derive(Debug)]
enum Step {
    Idle,
    Opening(Target),
    Zeroing(Target, u64),
    /// So many bytes are there; more are not wanted yet.
    Pausing(Target, u64),
    Syncing(Target),
    SyncingDirectory(Target),
    /// There was not enough of something: what was made of it is being removed.
    Discarding(Target),
    /// Not even that could be done: it is tried again at this time.
    Discardable(Target, Mono),
    /// It is asked for again at this time.
    Waiting(Target, Mono),
}

#[derive(Clone, Debug)]
struct Target {
    file: PrepareFile,
    path: String,
}

impl Preparation {
    /// For files of so many bytes, or fewer.
    pub(super) fn new(file_bytes: u64) -> Self {
        let piece = round_up((file_bytes / PIECES_MIN).min(ZEROES_BYTES_MAX) as usize);
        Self { zeroes: Bytes::from(aligned_zeroes(piece)), step: Step::Idle, shortage: None }
    }

    /// Whether the disk had no room for the next file.
    pub(super) fn is_disk_full(&self) -> bool {
        self.shortage == Some(FileError::Full)
    }

    /// Whether the next file waits for room on the disk, or for a descriptor.
    pub(super) fn is_held_up(&self) -> bool {
        self.shortage.is_some()
    }

    /// The file being prepared, for messages.
    pub(super) fn path(&self) -> &str {
        match &self.step {
            Step::Idle => "",
            Step::Opening(target)
            | Step::Zeroing(target, _)
            | Step::Pausing(target, _)
            | Step::Syncing(target)
            | Step::SyncingDirectory(target)
            | Step::Discarding(target)
            | Step::Discardable(target, _)
            | Step::Waiting(target, _) => &target.path,
        }
    }

    /// When the file is to be asked for again.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.step {
            Step::Discardable(_, due) | Step::Waiting(_, due) => Some(due),
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

    /// Goes on with the file until so many `wanted_bytes` of it are there; all of it if records are refused until then.
    pub(super) fn go_on_until<M>(&mut self, wanted_bytes: u64, effects: &mut Effects<M>) {
        if let Step::Pausing(target, written) = &self.step
            && (*written < wanted_bytes || self.is_held_up())
        {
            let (next, operation) = self.zero(target.clone(), *written);
            self.step = next;
            effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation });
        }
    }

    /// Asks for the file again if it is time.
    pub(super) fn handle_time<M>(&mut self, now: Mono, effects: &mut Effects<M>) {
        if self.deadline().is_none_or(|due| now < due) {
            return;
        }
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Waiting(target, _) => self.open(target, effects),
            Step::Discardable(target, _) => self.discard(target, effects),
            step => unreachable!("{step:?} waits for nothing"),
        }
    }

    /// A step ended. Gives the file once it can be used.
    ///
    /// # Errors
    /// When the disk failed; room on the disk and descriptors are waited for instead.
    pub(super) fn handle_step<M>(
        &mut self,
        now: Mono,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) -> Result<Option<PrepareFile>, FileError> {
        // A filesystem without room for all of it takes a part.
        let cut_short = result == Err(FileError::Short) && matches!(self.step, Step::Zeroing(..));
        match result {
            Err(_) if cut_short => self.give_up(now, FileError::Full, effects),
            Err(error) if error.is_shortage() => self.give_up(now, error, effects),
            Err(error) => return Err(error),
            Ok(_) => return Ok(self.go_on(now, effects)),
        }
        Ok(None)
    }

    /// The step under way succeeded.
    fn go_on<M>(&mut self, now: Mono, effects: &mut Effects<M>) -> Option<PrepareFile> {
        let (next, operation) = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Opening(target) => self.zero(target, 0),
            Step::Zeroing(target, written) if written < target.file.bytes => {
                self.step = Step::Pausing(target, written);
                return None;
            }
            Step::Zeroing(target, _) => {
                let operation = FileOperation::Sync { file: FileId(target.file.number) };
                (Step::Syncing(target), operation)
            }
            Step::Syncing(target) => {
                let operation = FileOperation::SyncDirectory { path: super::LOG_DIRECTORY.to_owned() };
                (Step::SyncingDirectory(target), operation)
            }
            Step::SyncingDirectory(target) => {
                self.shortage = None;
                return Some(target.file);
            }
            Step::Discarding(target) => {
                self.step = Step::Waiting(target, now + RETRY_AFTER);
                return None;
            }
            step @ (Step::Idle | Step::Pausing(..) | Step::Discardable(..) | Step::Waiting(..)) => {
                unreachable!("an outcome without a step: {step:?}")
            }
        };
        self.step = next;
        effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation });
        None
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

    /// Gives back what was made, so that a file cut short is never taken for a whole one.
    fn give_up<M>(&mut self, now: Mono, shortage: FileError, effects: &mut Effects<M>) {
        self.shortage = Some(shortage);
        let target = match core::mem::replace(&mut self.step, Step::Idle) {
            // Its name may be there even so.
            Step::Opening(target) => target,
            Step::Zeroing(target, _) | Step::Syncing(target) | Step::SyncingDirectory(target) => {
                let close = FileOperation::Close { file: FileId(target.file.number) };
                effects.push(Effect::File { token: StoreToken::Tidy.encode(), operation: close });
                target
            }
            // Some filesystems need room to remove a file.
            Step::Discarding(target) => {
                self.step = Step::Discardable(target, now + RETRY_AFTER);
                return;
            }
            step @ (Step::Idle | Step::Pausing(..) | Step::Discardable(..) | Step::Waiting(..)) => {
                unreachable!("{shortage} without a step: {step:?}")
            }
        };
        self.discard(target, effects);
    }

    fn discard<M>(&mut self, target: Target, effects: &mut Effects<M>) {
        let remove = FileOperation::Remove { path: target.path.clone() };
        effects.push(Effect::File { token: StoreToken::Prepare.encode(), operation: remove });
        self.step = Step::Discarding(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: PrepareFile = PrepareFile { number: 1, bytes: 16 * 4096 };

    /// Ends the operation under way; gives the next one.
    fn end(preparation: &mut Preparation, result: Result<FileOutcome, FileError>) -> Option<FileOperation> {
        let mut effects: Effects<()> = Vec::new();
        assert_eq!(preparation.handle_step(Mono(0), result, &mut effects), Ok(None));
        operation(effects)
    }

    fn go_on_until(preparation: &mut Preparation, wanted_bytes: u64) -> Option<FileOperation> {
        let mut effects: Effects<()> = Vec::new();
        preparation.go_on_until(wanted_bytes, &mut effects);
        operation(effects)
    }

    fn operation(effects: Effects<()>) -> Option<FileOperation> {
        effects.into_iter().rev().find_map(|effect| match effect {
            Effect::File { operation, .. } => Some(operation),
            _ => None,
        })
    }

    fn is_write_at(operation: Option<FileOperation>, wanted: u64) -> bool {
        matches!(operation, Some(FileOperation::Write { position, .. }) if position == wanted)
    }

    #[test]
    fn no_more_of_a_file_is_made_than_is_wanted_yet() {
        let mut preparation = Preparation::new(FILE.bytes);
        preparation.start(FILE, "logs/1".to_owned(), &mut Effects::<()>::new());
        assert!(is_write_at(end(&mut preparation, Ok(FileOutcome::Done)), 0));
        assert!(end(&mut preparation, Ok(FileOutcome::Done)).is_none());
        assert!(go_on_until(&mut preparation, 8192).is_none());
        assert!(is_write_at(go_on_until(&mut preparation, 8193), 8192));
    }

    #[test]
    fn on_a_disk_that_was_full_all_of_it_is_wanted_because_nothing_is_appended_until_then() {
        let mut preparation = Preparation::new(FILE.bytes);
        preparation.start(FILE, "logs/1".to_owned(), &mut Effects::<()>::new());
        end(&mut preparation, Ok(FileOutcome::Done));
        assert!(matches!(end(&mut preparation, Err(FileError::Full)), Some(FileOperation::Remove { .. })));
        assert!(end(&mut preparation, Ok(FileOutcome::Done)).is_none());
        let mut effects: Effects<()> = Vec::new();
        preparation.handle_time(preparation.deadline().unwrap(), &mut effects);
        assert!(matches!(operation(effects), Some(FileOperation::Open { .. })));
        end(&mut preparation, Ok(FileOutcome::Done));
        assert!(end(&mut preparation, Ok(FileOutcome::Done)).is_none());
        assert!(is_write_at(go_on_until(&mut preparation, 0), 8192));
    }
}
