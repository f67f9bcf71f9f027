//! Removes the logs of former starts once no shard rests on them. Lives on shard 0; view: node.
//!
//! The checkpoint says first, durably, that they are not needed: a start that finds some of them left removes them
//! without looking into them.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use ringmain_shard::effect::{
    Effect, Effects, FileId, FileOperation, FileToken, OpenMode, StopReason, WriteSync,
};
use ringmain_shard::event::{FileError, FileOutcome};
use ringmain_shard::time::Mono;
use ringmain_wire::ids::ShardId;

use super::ShardHost;
use super::lifecycle::Life;
use super::mail::Mail;

/// The token of all its file operations; the store's have smaller ones.
const TOKEN: FileToken = FileToken(15 << 60);
/// The number of the checkpoint among open files.
const CHECKPOINT_FILE: FileId = FileId(1 << 29);
/// How long to wait before a descriptor is asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is to be removed, and what has to be written down before.
#[derive(Clone, Debug)]
pub struct FormerLogs {
    /// The checkpoint's path.
    pub checkpoint_path: String,
    /// Where in it the slot is that says so, in bytes.
    pub checkpoint_position: u64,
    /// What that slot says: whole blocks, aligned.
    pub checkpoint: Bytes,
    /// The files.
    pub paths: VecDeque<String>,
}

/// How far it has come.
#[derive(Debug)]
pub(super) struct FormerLogRemoval {
    logs: FormerLogs,
    /// Shards that may rest on them.
    shards: u16,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Waiting,
    Opening,
    /// No descriptor was left: opened at this time.
    PutOff(Mono),
    Writing,
    Closing,
    Removing,
    Done,
}

impl FormerLogRemoval {
    pub(super) fn new(logs: FormerLogs, shards: u16) -> Self {
        Self { logs, shards, step: Step::Waiting }
    }

    /// Another shard rests on them no longer.
    fn handle_shard<M>(&mut self, effects: &mut Effects<M>) {
        self.shards -= 1;
        if self.shards == 0 && self.step == Step::Waiting {
            self.open(effects);
        }
    }

    fn open<M>(&mut self, effects: &mut Effects<M>) {
        let path = self.logs.checkpoint_path.clone();
        let operation = FileOperation::Open { file: CHECKPOINT_FILE, path, mode: OpenMode::Write };
        self.start(Step::Opening, operation, effects);
    }

    /// When the checkpoint is to be opened again.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.step {
            Step::PutOff(due) => Some(due),
            _ => None,
        }
    }

    /// Whether a step is under way.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Waiting | Step::PutOff(_) | Step::Done)
    }

    /// A step has ended; the node `is_stopping`: then the next start goes on.
    fn handle_step<M>(&mut self, is_stopping: bool, effects: &mut Effects<M>) {
        match self.step {
            Step::Writing | Step::Closing | Step::Removing if is_stopping => self.step = Step::Done,
            Step::Opening => {
                let operation = FileOperation::Write {
                    file: CHECKPOINT_FILE,
                    position: self.logs.checkpoint_position,
                    bytes: self.logs.checkpoint.clone(),
                    sync: WriteSync::Durable,
                };
                self.start(Step::Writing, operation, effects);
            }
            Step::Writing => {
                self.start(Step::Closing, FileOperation::Close { file: CHECKPOINT_FILE }, effects);
            }
            Step::Closing | Step::Removing => match self.logs.paths.pop_front() {
                Some(path) => self.start(Step::Removing, FileOperation::Remove { path }, effects),
                None => self.step = Step::Done,
            },
            Step::Waiting | Step::PutOff(_) | Step::Done => unreachable!("an outcome without a step"),
        }
    }

    fn start<M>(&mut self, step: Step, operation: FileOperation, effects: &mut Effects<M>) {
        self.step = step;
        effects.push(Effect::File { token: TOKEN, operation });
    }
}

impl ShardHost {
    /// Tells shard 0 once that nothing here rests on logs of former starts, and that there is a log of this one: the
    /// checkpoint will say that it has to be there.
    pub(super) fn poll_former_logs(&mut self, effects: &mut Effects<Mail>) {
        if self.told_former_logs || self.store.rests_on_former_logs() || !self.store.is_ready() {
            return;
        }
        self.told_former_logs = true;
        if self.identity.shard == ShardId(0) {
            self.handle_shard_settled(effects);
        } else {
            effects.push(Effect::Mail { to: ShardId(0), mail: Mail::FormerLogsSettled });
        }
    }

    /// Asks for a descriptor again if it is time.
    pub(super) fn retry_former_logs(&mut self, now: Mono, effects: &mut Effects<Mail>) {
        if let Some(removal) = &mut self.former_logs
            && removal.deadline().is_some_and(|due| due <= now)
            && self.life == Life::Serving
        {
            removal.open(effects);
        }
    }

    /// On shard 0: a shard rests on former logs no longer.
    pub(super) fn handle_shard_settled(&mut self, effects: &mut Effects<Mail>) {
        self.former_logs.as_mut().expect("only shard 0 is told").handle_shard(effects);
    }

    /// Whether the outcome of a file operation was of this module.
    pub(super) fn handle_former_logs_step(
        &mut self,
        now: Mono,
        token: FileToken,
        result: &Result<FileOutcome, FileError>,
        effects: &mut Effects<Mail>,
    ) -> bool {
        if token != TOKEN {
            return false;
        }
        let is_stopping = self.life != Life::Serving;
        let removal = self.former_logs.as_mut().expect("only shard 0 removes them");
        match result {
            Ok(_) => removal.handle_step(is_stopping, effects),
            Err(error) if error.is_shortage() => removal.step = Step::PutOff(now + RETRY_AFTER),
            Err(error) => {
                let message = format!("removing the logs of former starts failed: {error}");
                effects.push(Effect::Stop { reason: StopReason::StorageFailed { message } });
            }
        }
        true
    }
}
