//! Tears groups that were in flight when the broker was killed, as a power failure would: a write is done in part, up
//! to a boundary of 512 bytes, and what stood there before shows behind it.
//!
//! Only what nobody was told of may be torn: groups above the highest `durable_upto` on the disk of which no record was
//! acknowledged or read.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringmain_wal::names::parse_log_file_name;
use ringmain_wire::ids::TopicId;

use super::dice::Dice;
use super::error::CrashError;
use super::ledger::Ledger;
use super::log_scan::{GroupOnDisk, KilledLogs, durable_upto};

/// The smallest piece that a disk writes whole.
pub(super) const SECTOR_BYTES: u64 = 512;

/// Tears groups, and counts it.
#[derive(Debug, Default)]
pub(super) struct Tearing {
    /// Kills after which something was torn.
    pub(super) kills: u64,
    /// Groups torn.
    pub(super) groups: u64,
    /// How many groups were torn behind as many whole sectors; the longer ones count together at the end.
    pub(super) boundaries: [u64; 9],
}

impl Tearing {
    /// Tears one group of each log that has one to be torn, and some of those behind it.
    pub(super) fn tear(
        &mut self,
        data_dir: &Path,
        killed: &KilledLogs,
        topic: TopicId,
        ledger: &Ledger,
        dice: &mut Dice,
    ) -> Result<(), CrashError> {
        let groups_before = self.groups;
        for groups in &killed.logs {
            let in_flight = tearable(groups, topic, ledger);
            if in_flight.is_empty() {
                continue;
            }
            let first = dice.between(0, in_flight.len() as u64 - 1) as usize;
            for (place, group) in in_flight[first..].iter().enumerate() {
                // Writes in flight end in any order: those behind may be whole.
                if place == 0 || dice.once_in(2) {
                    self.tear_group(data_dir, killed, group, dice)
                        .map_err(CrashError::io("tearing a group"))?;
                }
            }
        }
        self.kills += u64::from(self.groups > groups_before);
        Ok(())
    }

    fn tear_group(
        &mut self,
        data_dir: &Path,
        killed: &KilledLogs,
        group: &GroupOnDisk,
        dice: &mut Dice,
    ) -> io::Result<()> {
        let length = u64::from(group.header.length);
        // In turn, so that every boundary comes up.
        let sectors = self.groups % (length / SECTOR_BYTES);
        let torn_bytes = usize::try_from(length - sectors * SECTOR_BYTES).expect("groups fit memory");
        let before = match dice.between(0, 3) {
            0 => dice.noise(torn_bytes),
            1 => older_bytes(data_dir, killed, torn_bytes)?.unwrap_or_else(|| vec![0; torn_bytes]),
            _ => vec![0; torn_bytes],
        };
        let file = OpenOptions::new().write(true).open(&group.file)?;
        file.write_all_at(&before, group.position + sectors * SECTOR_BYTES)?;
        file.sync_data()?;
        self.groups += 1;
        let counted = usize::try_from(sectors).unwrap_or(usize::MAX).min(self.boundaries.len() - 1);
        self.boundaries[counted] += 1;
        Ok(())
    }
}

/// The groups at the end of a log that nobody may miss.
fn tearable<'a>(groups: &'a [GroupOnDisk], topic: TopicId, ledger: &Ledger) -> &'a [GroupOnDisk] {
    let durable_upto = durable_upto(groups);
    let is_tearable =
        |group: &GroupOnDisk| group.header.sequence > durable_upto && group.is_unknown_to_all(topic, ledger);
    let kept = groups.iter().rposition(|group| !is_tearable(group)).map_or(0, |last| last + 1);
    &groups[kept..]
}

/// What a recycled file would show: groups of an older generation.
fn older_bytes(data_dir: &Path, killed: &KilledLogs, bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut older: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(data_dir.join("logs"))? {
        let entry = entry?;
        let name = format!("logs/{}", entry.file_name().to_string_lossy());
        let generation = parse_log_file_name(&name).map(|(generation, ..)| generation);
        if generation.is_some_and(|generation| generation < killed.generation)
            && entry.metadata()?.len() >= bytes as u64
        {
            older.push(entry.path());
        }
    }
    let Some(path) = older.into_iter().max() else { return Ok(None) };
    let mut found = vec![0; bytes];
    fs::File::open(path)?.read_exact_at(&mut found, 0)?;
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::PartitionIndex;

    use super::*;
    use crate::crash::log_scan::testing::group;

    const TOPIC: TopicId = TopicId([7; 16]);

    fn tearable_sequences(groups: &[GroupOnDisk], acknowledged: u64) -> Vec<u64> {
        let mut ledger = Ledger::default();
        ledger.acknowledge(PartitionIndex(0), acknowledged);
        tearable(groups, TOPIC, &ledger).iter().map(|group| group.header.sequence.0).collect()
    }

    #[test]
    fn nothing_acknowledged_or_durable_is_torn() {
        let groups = [group(1, 0, TOPIC, &[0]), group(2, 0, TOPIC, &[1]), group(3, 1, TOPIC, &[2])];
        assert_eq!(tearable_sequences(&groups, 0), [2, 3], "the mark has passed the first");
        assert_eq!(tearable_sequences(&groups, 2), [3], "the second was acknowledged");
        assert_eq!(tearable_sequences(&groups, 3), [0_u64; 0]);
    }

    #[test]
    fn what_stands_before_an_acknowledged_group_is_left_alone() {
        let groups = [group(1, 0, TOPIC, &[5]), group(2, 0, TOPIC, &[0])];
        assert_eq!(tearable_sequences(&groups, 1), [0_u64; 0]);
    }
}
