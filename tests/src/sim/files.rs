//! A shard's work on files: started as an effect, carried out by the disk after a while, told as an event.

use ringmain_shard::effect::{FileId, FileOperation, FileToken, OpenMode, WriteSync};
use ringmain_shard::event::{FileError, FileOutcome};
use ringmain_wal::group;

use super::carrier::Arrival;
use super::checker::Violation;
use super::disk::{EIO, Inode, WriteId};
use super::queue::Happening;
use super::world::{Phase, Step, World};
use super::{MICROSECOND, MILLISECOND};

/// An operation under way.
#[derive(Debug)]
pub(super) struct FileWork {
    pub(super) shard: u16,
    token: FileToken,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Open { file: FileId, path: String, mode: OpenMode },
    Write(WriteId),
    Read { inode: Inode, position: u64, length: u32 },
    Sync { inode: Inode, dirty: Vec<usize> },
    SyncDirectory { path: String },
    Close { file: FileId },
    Remove { path: String },
}

impl World {
    /// Starts an operation of a shard.
    pub(super) fn start_file(&mut self, shard: u16, token: FileToken, operation: FileOperation) -> Step {
        let mut latency = self.random.disk.between(20 * MICROSECOND, self.plan.disk_latency_max);
        if self.random.disk.chance(self.plan.disk_spikes) && self.phase == Phase::Active {
            latency += self.random.disk.between(5, 60) * MILLISECOND;
        }
        let work = match operation {
            FileOperation::Open { file, path, mode } => Work::Open { file, path, mode },
            FileOperation::Write { file, position, bytes, sync } => {
                let inode = self.inode(shard, file)?;
                if sync == WriteSync::Durable {
                    self.met.file_rolls += u64::from(file.0 > 0 && position == 0);
                    let is_mark = bytes.len() == ringmain_wal::block::BLOCK_BYTES
                        && group::parse(&bytes, self.node.salt()).is_ok_and(|view| view.heads.is_empty());
                    self.met.mark_groups += u64::from(is_mark);
                }
                let started = self.disk.start_write(inode, position, bytes, sync);
                Work::Write(started.map_err(|what| Violation { invariant: "I14", what })?)
            }
            FileOperation::Read { file, position, length } => {
                Work::Read { inode: self.inode(shard, file)?, position, length }
            }
            FileOperation::Sync { file } => {
                let inode = self.inode(shard, file)?;
                Work::Sync { inode, dirty: self.disk.dirty(inode) }
            }
            FileOperation::SyncDirectory { path } => Work::SyncDirectory { path },
            FileOperation::Close { file } => Work::Close { file },
            FileOperation::Remove { path } => Work::Remove { path },
        };
        self.disk_work_started += 1;
        let operation = self.disk_work_started;
        self.disk_work.insert(operation, FileWork { shard, token, work });
        self.after(latency, Happening::DiskDone { operation });
        Ok(())
    }

    /// The disk has done an operation, unless the node has ended meanwhile.
    pub(super) fn disk_done(&mut self, operation: u64) -> Step {
        let Some(FileWork { shard, token, work }) = self.disk_work.remove(&operation) else { return Ok(()) };
        let fails = self.phase == Phase::Active && self.random.disk.chance(self.plan.disk_errors);
        let failed = Err(FileError::Failed(EIO));
        let result = match work {
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
                finished.map_err(|what| Violation { invariant: "I14", what })?.map(|()| FileOutcome::Done)
            }
            Work::Read { inode, position, length } => {
                let mut buffer = vec![0; length as usize];
                let read = self.disk.read(inode, position, &mut buffer);
                buffer.truncate(read);
                Ok(FileOutcome::Read(buffer.into()))
            }
            Work::Sync { inode, .. } if fails => {
                self.disk.fail_sync(inode, &mut self.random.disk);
                self.node.disk_failed = true;
                failed
            }
            Work::Sync { inode, dirty } => {
                self.disk.finish_sync(inode, &dirty);
                Ok(FileOutcome::Done)
            }
            Work::SyncDirectory { path } => {
                self.disk.sync_directory(&path);
                Ok(FileOutcome::Done)
            }
            Work::Close { file } => {
                self.node.shard(shard).files.remove(&file);
                Ok(FileOutcome::Done)
            }
            Work::Remove { path } => self.disk.remove(&path).map(|()| FileOutcome::Done),
        };
        self.met.disk_full += u64::from(result == Err(FileError::Full));
        self.note("disk done", [u64::from(shard), token.0, u64::from(result.is_err())]);
        self.arrived(shard, Arrival::File { token, result });
        Ok(())
    }

    fn inode(&mut self, shard: u16, file: FileId) -> Result<Inode, Violation> {
        let found = self.node.shard(shard).files.get(&file).copied();
        found.ok_or_else(|| Violation {
            invariant: "I14",
            what: format!("file {} is used and not open", file.0),
        })
    }
}
