//! What replay found, and whom it hits.

use ringmain_shard::store::LOG_DIRECTORY;
use ringmain_wal::group::{EntryHead, EntryKind, Generation, LogId};
use ringmain_wal::names::{PARTITIONS_DIRECTORY, log_file_name, partition_directory};
use ringmain_wal::replay::{Cut, Lost, ReplayError, Rot};
use ringmain_wire::ids::PartitionId;

use super::{Finding, FindingKind, Living, LogReport, Stopped, Verifier};
use crate::boot::logs::CHECKPOINT;
use crate::boot::{BootError, LogName, SUPERBLOCK};

impl Verifier<'_> {
    /// Damage and ends of the logs, and the partitions that open read-only.
    pub(super) fn tell_logs(&mut self, found: &LogReport, living: &Living) -> Result<(), Stopped> {
        for (log, rot) in &found.report.rot {
            self.tell_rot(*log, rot, living)?;
        }
        for (log, cut) in &found.report.cuts {
            self.tell_cut(*log, cut)?;
        }
        if let Err(error) = &found.topics {
            let path = partition_directory(PartitionId::METADATA);
            let meaning = format!("{error}; a start refuses the directory");
            let finding = Finding::new(FindingKind::TopicsUnknown, path, meaning);
            self.tell(finding.of(PartitionId::METADATA))?;
        }
        for partition in living.values().filter(|partition| partition.is_damaged()) {
            let meaning = format!(
                "the partition opens read-only: it was not proved to be whole, and what is left of it ends at offset {}",
                partition.end()
            );
            let path = partition_directory(partition.id());
            self.tell(Finding::new(FindingKind::PartitionReadOnly, path, meaning).of(partition.id()))?;
        }
        Ok(())
    }

    fn tell_rot(&mut self, log: LogName, rot: &Rot, living: &Living) -> Result<(), Stopped> {
        let path = file_name(log, rot.file);
        let Rot { first, last, position, .. } = rot;
        match &rot.lost {
            Lost::Groups => {
                let which = if first == last {
                    format!("group {first}")
                } else {
                    format!("groups {first} to {last}")
                };
                let meaning = format!(
                    "{which} of the log, once durable, cannot be read: partitions that had records there and nowhere \
                     else open read-only"
                );
                self.tell(Finding::new(FindingKind::LogDamaged, path, meaning).at(*position))
            }
            Lost::Entries(heads) => {
                for head in heads {
                    let meaning = format!(
                        "{} in group {first} of the log, once durable, is damaged: {}",
                        describe(head),
                        consequence(head.partition, living)
                    );
                    let finding = Finding::new(FindingKind::LogDamaged, path.clone(), meaning);
                    self.tell(finding.at(position + u64::from(head.position)).of(head.partition))?;
                }
                Ok(())
            }
        }
    }

    fn tell_cut(&mut self, log: LogName, cut: &Cut) -> Result<(), Stopped> {
        let Cut { first, groups_complete, groups_damaged, blocks_unknown, .. } = cut;
        let meaning = format!(
            "the log ends before group {first}: a start cuts {groups_complete} whole groups, {groups_damaged} damaged \
             ones and {blocks_unknown} unknown blocks, writes that were under way"
        );
        let finding = Finding::new(FindingKind::TornTail, file_name(log, cut.file), meaning);
        self.tell(finding.at(cut.position))
    }

    /// A start would end here, and nothing more can be known.
    pub(super) fn tell_refusal(&mut self, error: &BootError) -> Result<(), Stopped> {
        let meaning = format!("{error}; a start refuses the directory, and the rest of it was not looked at");
        let refused = |path: &str| Finding::new(FindingKind::Refused, path, meaning.clone());
        self.tell(match error {
            BootError::Replay { generation, log, error, .. } => {
                let (file, position) = place_of(*error);
                refused(&log_file_name(*generation, *log, file)).at(position)
            }
            BootError::NewerLog { .. } => refused(SUPERBLOCK).at(0),
            BootError::Checkpoint(_) => refused(CHECKPOINT).at(0),
            BootError::Stranger { path, .. } => refused(path),
            BootError::Directory(failed) => {
                Finding { kind: FindingKind::Unreadable, ..refused(&failed.path) }
            }
            BootError::Identity(_) => refused(SUPERBLOCK),
            BootError::Log(_) => refused(LOG_DIRECTORY),
            BootError::MetadataDamaged
            | BootError::Metadata(_)
            | BootError::MetadataBatch(_)
            | BootError::MetadataSegment(_) => refused(PARTITIONS_DIRECTORY),
        })
    }
}

fn place_of(error: ReplayError) -> (u32, u64) {
    match error {
        ReplayError::Read { file, position, .. } | ReplayError::Unsupported { file, position, .. } => {
            (file, position)
        }
        ReplayError::FileMissing { file } => (file, 0),
    }
}

fn file_name(log: LogName, number: u32) -> String {
    log_file_name(Generation(log.generation), LogId(log.log), number)
}

fn describe(head: &EntryHead) -> String {
    match head.kind {
        EntryKind::Append | EntryKind::Carried => {
            let last = head.offset.get() + i64::from(head.records) - 1;
            format!("a batch of the records {} to {last}", head.offset)
        }
        EntryKind::State => format!("what is settled of the partition up to offset {}", head.offset),
        EntryKind::Truncate | EntryKind::LogStart | EntryKind::PartitionDrop | EntryKind::Floor => {
            "an entry".to_owned()
        }
    }
}

fn consequence(id: PartitionId, living: &Living) -> String {
    match living.get(&id) {
        None => "the partition was deleted since, nothing is lost".to_owned(),
        Some(partition) if partition.is_damaged() => {
            format!("what is left of the partition ends at offset {}", partition.end())
        }
        Some(_) => "it lies in a segment or further ahead in a log as well, nothing is lost".to_owned(),
    }
}
