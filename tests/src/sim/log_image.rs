//! Log files as an observer sees them: which groups lie where, and up to which one all was durable for certain.

use std::collections::BTreeMap;

use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::checkpoint;
use ringmain_wal::group::{Generation, GroupHeader, LogId, LogSalt, Sequence, parse};
use ringmain_wal::names::parse_log_file_name;

use super::disk::Disk;

/// All groups of all logs at one moment.
#[derive(Debug)]
pub(super) struct LogImage {
    /// By file and position.
    groups: BTreeMap<(String, u64), Seen>,
    /// By log: the highest mark in an intact header.
    marks: BTreeMap<(Generation, LogId), Sequence>,
}

/// A group, by log and place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    log: (Generation, LogId),
    sequence: Sequence,
}

impl Group {
    /// The start that wrote it.
    pub(super) fn generation(&self) -> Generation {
        self.log.0
    }
}

/// Logs of starts before this one are not needed, as far as the checkpoint says.
pub(super) fn oldest_needed_generation(disk: &Disk) -> Generation {
    let Some(inode) = disk.find("checkpoint") else { return Generation(0) };
    let slot_bytes = disk.file_bytes(inode) / 2;
    let slots = [0, slot_bytes].map(|position| {
        let mut slot = vec![0; slot_bytes as usize];
        disk.read(inode, position, &mut slot);
        slot
    });
    checkpoint::choose(&slots[0], &slots[1]).map_or(Generation(0), |checkpoint| checkpoint.oldest_generation)
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    group: Group,
    length: u64,
    intact: bool,
}

impl LogImage {
    /// What the disk holds now.
    pub(super) fn of(disk: &Disk, salt: LogSalt) -> Self {
        let mut image = Self { groups: BTreeMap::new(), marks: BTreeMap::new() };
        for name in disk.list("logs") {
            let path = format!("logs/{name}");
            let named = parse_log_file_name(&path).zip(disk.find(&path));
            let Some(((generation, log, _), inode)) = named else { continue };
            let mut bytes = vec![0; disk.file_bytes(inode) as usize];
            disk.read(inode, 0, &mut bytes);
            for position in (0..bytes.len()).step_by(BLOCK_BYTES) {
                let Ok(header) = GroupHeader::decode(&bytes[position..], salt) else { continue };
                if (header.generation, header.log) != (generation, log) {
                    continue;
                }
                let end = bytes.len().min(position + header.length as usize);
                let seen = Seen {
                    group: Group { log: (generation, log), sequence: header.sequence },
                    length: u64::from(header.length),
                    intact: parse(&bytes[position..end], salt).is_ok(),
                };
                image.groups.insert((path.clone(), position as u64), seen);
                let mark = image.marks.entry((generation, log)).or_insert(Sequence::ZERO);
                *mark = (*mark).max(header.durable_upto);
            }
        }
        image
    }

    /// The groups that flips at these places have damaged, as far as what is left says that they were durable.
    pub(super) fn rotten(&self, after: &Self, flips: &[(String, u64)]) -> Vec<Group> {
        let hit = flips.iter().filter_map(|(path, position)| {
            self.groups.iter().find(|((file, start), seen)| {
                file == path && (*start..*start + seen.length).contains(position)
            })
        });
        let damaged = hit
            .filter(|(place, seen)| seen.intact && after.groups.get(*place).is_none_or(|left| !left.intact));
        damaged.map(|(_, seen)| seen.group).filter(|group| after.tells_durable(group)).collect()
    }

    /// Whether some intact header says that a group was durable.
    pub(super) fn tells_durable(&self, group: &Group) -> bool {
        self.marks.get(&group.log).is_some_and(|&mark| group.sequence <= mark)
    }
}
