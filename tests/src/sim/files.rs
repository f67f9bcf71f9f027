//! A shard's work on files: started as an effect, carried out by the disk after a while, told as an event.

use ringmain_shard::effect::{FileId, FileOperation, FileToken, OpenMode, WriteSync};
use ringmain_shard::event::{FileError, FileOutcome};
use ringmain_wal::group;

use super::carrier::Arrival;
use super::checker::Violation;
use super::disk::{EIO, Inode, Read, Unsynced, UnsyncedNames, WriteId};
use super::inspections;
use super::queue::Happening;
use super::world::{Phase, Step, World};
use super::{MICROSECOND, MILLISECOND};

/// An operation under way.
#[derive(Debug)]
pub(super) struct FileWork {
    pub(super) shard: u16,
    token: FileToken,
    /// The file that it is done on.
    file: Option<FileId>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Open { file: FileId, path: String, mode: OpenMode },
    Write(WriteId),
    Read(Read),
    Sync { inode: Inode, unsynced: Unsynced },
    SyncDirectory { unsynced: Result<UnsyncedNames, FileError> },
    Close,
    Remove { path: String },
    CreateDirectory { path: String },
    RemoveDirectory { path: String },
}

impl Work {
    /// Whether something rests on it that was promised, so that nothing may be promised once it has failed.
    fn is_promised(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Sync { .. } | Self::SyncDirectory { .. })
    }
}

impl World {
    /// Starts an operation of a shard.
    pub(super) fn start_file(&mut self, shard: u16, token: FileToken, operation: FileOperation) -> Step {
        let mut latency = self.random.disk.between(20 * MICROSECOND, self.plan.disk_latency_max);
        if self.random.disk.chance(self.plan.disk_spikes) && self.phase == Phase::Active {
            latency += self.random.disk.between(5, 60) * MILLISECOND;
        }
        let file = file_of(&operation);
        let work = match operation {
            FileOperation::Open { file, path, mode } => {
                self.check_unused(shard, file)?;
                Work::Open { file, path, mode }
            }
            FileOperation::Write { file, position, bytes, sync } => {
                let inode = self.inode(shard, file)?;
                if sync == WriteSync::Durable {
                    self.met.file_rolls += u64::from(file.0 > 0 && position == 0);
                    let is_mark = bytes.len() == ringmain_wal::block::BLOCK_BYTES
                        && group::parse(&bytes, self.node.salt()).is_ok_and(|view| view.heads.is_empty());
                    self.met.mark_groups += u64::from(is_mark);
                }
                let started = self.disk.start_write(inode, position, bytes, sync);
                Work::Write(started.map_err(broken)?)
            }
            FileOperation::Read { file, position, length } => {
                let inode = self.inode(shard, file)?;
                Work::Read(self.disk.start_read(inode, position, length as usize).map_err(broken)?)
            }
            FileOperation::Sync { file } => {
                let inode = self.inode(shard, file)?;
                Work::Sync { inode, unsynced: self.disk.unsynced(inode) }
            }
            FileOperation::SyncDirectory { path } => {
                Work::SyncDirectory { unsynced: self.disk.unsynced_names(&path) }
            }
            FileOperation::Close { file } => {
                self.inode(shard, file)?;
                self.node.shard(shard).files.remove(&file);
                self.check_unused(shard, file)?;
                Work::Close
            }
            FileOperation::Remove { path } => Work::Remove { path },
            FileOperation::CreateDirectory { path } => Work::CreateDirectory { path },
            FileOperation::RemoveDirectory { path } => Work::RemoveDirectory { path },
        };
        self.disk_work_started += 1;
        let operation = self.disk_work_started;
        self.disk_work.insert(operation, FileWork { shard, token, file, work });
        self.after(latency, Happening::DiskDone { operation });
        Ok(())
    }

    /// The disk has done an operation, unless the node has ended meanwhile.
    pub(super) fn disk_done(&mut self, operation: u64) -> Step {
        let Some(done) = self.disk_work.remove(&operation) else { return Ok(()) };
        let FileWork { shard, token, work, .. } = done;
        let is_promised = work.is_promised();
        let is_active = self.phase == Phase::Active;
        let fails = is_active && self.random.disk.chance(self.plan.disk_errors);
        let failed = Err(FileError::Failed(EIO));
        let is_opening = matches!(work, Work::Open { .. } | Work::SyncDirectory { .. });
        let is_short = is_opening
            && is_active
            && self.plan.shortages > 0
            && self.random.disk.chance(self.plan.shortages);
        let result = match work {
            _ if is_short => Err(FileError::Exhausted),
            Work::Open { file, path, mode } => match self.disk.open(&path, mode) {
                Ok(inode) => {
                    self.node.shard(shard).files.insert(file, inode);
                    Ok(FileOutcome::Done)
                }
                Err(error) => Err(error),
            },
            Work::Write(write) if fails => {
                self.disk.fail_write(write, &mut self.random.disk);
                self.node.disk_failed = true;
                failed
            }
            Work::Write(write) => {
                let finished = self.disk.finish_write(write);
                finished.map_err(broken)?.map(|()| FileOutcome::Done)
            }
            Work::Read(read) if is_active && self.random.disk.chance(self.disk.read_errors) => {
                let path = self.disk.name_of_read(&read).to_owned();
                self.note_read_failed(&path);
                failed
            }
            Work::Read(read) => {
                let bytes = self.disk.finish_read(&read, &mut self.random.disk);
                Ok(FileOutcome::Read(bytes.into()))
            }
            Work::Sync { inode, .. } if fails => {
                self.disk.fail_sync(inode, &mut self.random.disk);
                self.node.disk_failed = true;
                failed
            }
            Work::Sync { inode, unsynced } => {
                self.disk.finish_sync(inode, &unsynced);
                Ok(FileOutcome::Done)
            }
            Work::SyncDirectory { .. } if fails => {
                self.node.disk_failed = true;
                failed
            }
            Work::SyncDirectory { unsynced } => unsynced.map(|unsynced| {
                self.disk.finish_sync_directory(&unsynced);
                FileOutcome::Done
            }),
            Work::Close => Ok(FileOutcome::Done),
            Work::Remove { path } => self.disk.remove(&path).map(|()| FileOutcome::Done),
            Work::CreateDirectory { path } => self.disk.create_directory(&path).map(|()| FileOutcome::Done),
            Work::RemoveDirectory { path } => self.disk.remove_directory(&path).map(|()| FileOutcome::Done),
        };
        if result == Err(FileError::NotEmpty) {
            let what = "a partition's directory is to go and a file of the broker's own is in it".to_owned();
            return Err(Violation { invariant: "I14", what });
        }
        self.met.disk_full += u64::from(result == Err(FileError::Full));
        self.met.shortages += u64::from(result == Err(FileError::Exhausted));
        self.note("disk done", [u64::from(shard), token.0, u64::from(result.is_err())]);
        if let Some(kind) = inspections::kind_of(token) {
            return self.inspection_step_done(shard, kind, result);
        }
        let must_stop = is_promised && matches!(result, Err(FileError::Failed(_)));
        self.arrived(shard, Arrival::File { token, result, must_stop });
        Ok(())
    }

    fn inode(&mut self, shard: u16, file: FileId) -> Result<Inode, Violation> {
        let found = self.node.shard(shard).files.get(&file).copied();
        found.ok_or_else(|| Violation {
            invariant: "I14",
            what: format!("file {} is used and not open", file.0),
        })
    }

    /// A file's number may be given to another, and a file closed, only with nothing under way on it.
    fn check_unused(&mut self, shard: u16, file: FileId) -> Step {
        let is_open = self.node.shard(shard).files.contains_key(&file);
        let under_way = self.disk_work.values().any(|work| work.shard == shard && work.file == Some(file));
        if is_open || under_way {
            return Err(broken(format!("file {} is opened or closed while it is in use", file.0)));
        }
        Ok(())
    }
}

/// The file that an operation is done on; one that is closed is none any more.
fn file_of(operation: &FileOperation) -> Option<FileId> {
    match operation {
        FileOperation::Open { file, .. }
        | FileOperation::Write { file, .. }
        | FileOperation::Read { file, .. }
        | FileOperation::Sync { file } => Some(*file),
        FileOperation::Close { .. }
        | FileOperation::SyncDirectory { .. }
        | FileOperation::Remove { .. }
        | FileOperation::CreateDirectory { .. }
        | FileOperation::RemoveDirectory { .. } => None,
    }
}

fn broken(what: String) -> Violation {
    Violation { invariant: "I14", what }
}
