//! All shown batches of a partition as an observer sees them: as they were written to the segments that it names on the
//! disk, whatever has rotted since, and in its memory.

use bytes::Bytes;
use ringmain_shard::partition::Partition;
use ringmain_wal::names::segment_file_name;
use ringmain_wire::batch;
use ringmain_wire::ids::Offset;

use super::checker::Violation;
use super::disk::Disk;

/// Every batch below `end`, oldest first.
pub(super) fn batches(disk: &Disk, partition: &Partition, end: Offset) -> Result<Vec<Bytes>, Violation> {
    let mut batches = Vec::new();
    for extent in partition.segments().extents() {
        let path = segment_file_name(partition.id(), extent.base);
        let bad = |what: String| Violation { invariant: "I8", what: format!("{path} {what}") };
        let Some(inode) = disk.find(&path) else { return Err(bad("is gone".to_owned())) };
        let mut bytes = disk.written(inode);
        bytes.truncate(extent.bytes as usize);
        let bytes = Bytes::from(bytes);
        let (mut position, mut next) = (0, extent.base);
        while next < extent.end {
            let length = length_at(&bytes, position).ok_or_else(|| bad(format!("ends at {next}")))?;
            let stored = bytes.slice(position..position + length);
            let header = batch::check(&stored)
                .map_err(|error| bad(format!("holds a bad batch at byte {position}: {error}")))?;
            next = header.next_offset();
            position += length;
            if next > partition.log_start() {
                batches.push(stored);
            }
        }
    }
    let settled_end = partition.segments().extents().last().map_or(Offset::ZERO, |extent| extent.end);
    let in_memory = partition.tail().from(settled_end.max(partition.settled_end()));
    batches.extend(in_memory.filter(|stored| stored.next_offset <= end).map(|stored| stored.bytes.clone()));
    Ok(batches)
}

/// Bytes of the batch at `position`, if all of them are there.
fn length_at(bytes: &[u8], position: usize) -> Option<usize> {
    const BEFORE_LENGTH: usize = 8;
    const WITH_LENGTH: usize = 12;
    let field = bytes.get(position + BEFORE_LENGTH..position + WITH_LENGTH)?;
    let length = WITH_LENGTH + u32::from_be_bytes(field.try_into().ok()?) as usize;
    (position + length <= bytes.len()).then_some(length)
}
