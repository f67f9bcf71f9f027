//! What a start would find on the disk of a store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_wal::group::{EntryKind, Generation, LogId, LogSalt, Sequence};
use ringmain_wal::names::{log_file_name, parse_log_file_name, segment_file_name};
use ringmain_wal::replay::{LogSource, ReadFailed, Replay, ReplayConfig};
use ringmain_wire::batch::Batches;

use super::disk::Disk;
use crate::partition::Partition;
use crate::partition::tail::LogPlace;
use crate::recovery::{Recovered, Recovery};

pub(super) const LOG: LogId = LogId(0);
pub(super) const SALT: LogSalt = LogSalt(7);

/// Where each log ends that a start has served.
pub(super) type Served = BTreeMap<Generation, Sequence>;

/// All logs on `disk`, replayed. Where each of them ends is put into `served`.
pub(super) fn replay(disk: &Disk, served: &mut Served) -> Recovered {
    let mut files: BTreeMap<Generation, BTreeSet<u32>> = BTreeMap::new();
    for (generation, _, number) in disk.paths().filter_map(parse_log_file_name) {
        files.entry(generation).or_default().insert(number);
    }
    let mut recovery = Recovery::default();
    for (generation, numbers) in files {
        let (first_file, last_file) = (*numbers.first().unwrap(), *numbers.last().unwrap());
        let served_upto = served.get(&generation).copied().filter(|last| *last > Sequence::ZERO);
        let config = ReplayConfig { generation, log: LOG, salt: SALT, first_file, last_file, served_upto };
        let mut replay = Replay::new(config);
        let mut source = Files { disk, generation };
        let mut floor = 0;
        while let Some(group) = replay.next_group(&mut source).unwrap() {
            let place = LogPlace { generation, sequence: group.sequence };
            for (head, bytes) in group.entries {
                if head.kind == EntryKind::Floor {
                    floor = head.offset.get();
                }
                recovery.apply(place, &head, bytes, 4096);
            }
        }
        let report = replay.finish();
        assert_eq!(report.rot, [], "nothing was damaged");
        assert!(i64::from(first_file) <= floor, "file {first_file} is the first, needed from {floor} on");
        served.insert(generation, report.last_sequence);
    }
    recovery.finish()
}

/// All batches of a partition that was found on `disk`.
pub(super) fn batches(disk: &Disk, partition: &Partition) -> Vec<Bytes> {
    let mut found = Vec::new();
    for extent in partition.segments().extents() {
        let path = segment_file_name(partition.id(), extent.base);
        let file = disk.read(&path).unwrap_or_else(|| panic!("{path} is gone"));
        let counted = &file[..file.len().min(extent.bytes as usize)];
        let batches = Batches::new(counted).map_while(Result::ok);
        let within = batches.take_while(|(header, _)| header.base_offset < extent.end);
        found.extend(within.map(|(_, batch)| Bytes::copy_from_slice(batch)));
    }
    found.extend(partition.tail().from(partition.settled_end()).map(|batch| batch.bytes.clone()));
    found
}

struct Files<'a> {
    disk: &'a Disk,
    generation: Generation,
}

impl Files<'_> {
    fn bytes(&self, file: u32) -> Option<&[u8]> {
        self.disk.read(&log_file_name(self.generation, LOG, file))
    }
}

impl LogSource for Files<'_> {
    fn read_at(&mut self, file: u32, position: u64, buffer: &mut [u8]) -> Result<usize, ReadFailed> {
        let bytes = self.bytes(file).unwrap_or_default();
        let start = bytes.len().min(position as usize);
        let length = buffer.len().min(bytes.len() - start);
        buffer[..length].copy_from_slice(&bytes[start..start + length]);
        Ok(length)
    }

    fn file_bytes(&mut self, file: u32) -> Option<u64> {
        self.bytes(file).map(|bytes| bytes.len() as u64)
    }
}
