//! What a broker did with its segments before it was killed, and index files that are damaged while it is down.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use ringmain_wal::names::{SegmentPart, parse_segment_name};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{StatsRequest, StatsResponse};

use super::dice::Dice;
use super::error::{CrashError, Violation};
use super::session::Session;

/// Counts of all starts together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upkeep {
    /// Bytes put into segments.
    pub(super) settled_bytes: u64,
    /// Log files given back.
    pub(super) log_files: u64,
    /// Segments read whole and found sound.
    pub(super) inspected: u64,
    /// Index files written.
    pub(super) indexes_written: u64,
    /// Index files that were removed by the run.
    pub(super) indexes_removed: u64,
    /// Index files that the run damaged.
    pub(super) indexes_damaged: u64,
}

impl Upkeep {
    /// Takes note of what a broker has done that will be killed now. No segment is damaged, so that none may be told of.
    pub(super) fn note(&mut self, broker: SocketAddr) -> Result<(), CrashError> {
        let (mut session, _) = Session::connect(broker)?;
        let (stats, _): (StatsResponse, _) = session.request(Api::Stats, &StatsRequest { shards: None })?;
        let counters = || stats.shards.iter().flat_map(|shard| &shard.counters);
        let sum =
            |name: &str| counters().filter(|counter| counter.name == name).map(|counter| counter.value).sum();
        for counter in ["partitions_damaged", "segments_damaged_total", "inspections_failed_total"] {
            match sum(counter) {
                0 => {}
                value => return Err(Violation::FalseAlarm { counter, value }.into()),
            }
        }
        self.settled_bytes += sum("settled_bytes_total");
        self.log_files += sum("log_files_recycled_total");
        self.inspected += sum("segments_inspected_total");
        self.indexes_written += sum("index_files_written_total");
        Ok(())
    }

    /// Removes some index files, and flips a bit in others.
    pub(super) fn damage_indexes(&mut self, data_dir: &Path, dice: &mut Dice) -> Result<(), CrashError> {
        for directory in entries(&data_dir.join("partitions"))? {
            for path in entries(&directory)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if !matches!(parse_segment_name(name), Some((_, SegmentPart::Index))) {
                    continue;
                }
                if dice.once_in(4) {
                    fs::remove_file(&path).map_err(CrashError::io("removing an index file"))?;
                    self.indexes_removed += 1;
                } else if dice.once_in(4) {
                    flip(&path, dice).map_err(CrashError::io("damaging an index file"))?;
                    self.indexes_damaged += 1;
                }
            }
        }
        Ok(())
    }
}

fn flip(path: &Path, dice: &mut Dice) -> std::io::Result<()> {
    let mut bytes = fs::read(path)?;
    if let Some(last) = (bytes.len() as u64).checked_sub(1) {
        bytes[dice.between(0, last) as usize] ^= 1 << dice.between(0, 7);
    }
    fs::write(path, bytes)
}

/// What lies in a directory, by name so that one seed chooses alike.
fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, CrashError> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<_> = listed.map_err(CrashError::io("listing partitions"))?;
    paths.sort();
    Ok(paths)
}
