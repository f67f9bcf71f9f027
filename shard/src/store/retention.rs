//! Lets old records go: whole segments by age and size, and by age what lies in the log only.

use core::time::Duration;

use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::{Offset, PartitionId, TimestampMs};

use crate::partition::Partition;
use crate::partition::tail::TailBatch;
use crate::time::{Mono, Now};

use super::{PartitionLimits, Store};

/// When it is looked at next.
#[derive(Debug)]
pub(super) struct Retention {
    every: Duration,
    due: Option<Mono>,
}

impl Retention {
    pub(super) const fn new(every: Duration) -> Self {
        Self { every, due: None }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.due
    }
}

impl Store {
    /// Moves log starts if it is time to look for records that may go.
    pub(super) fn retain(&mut self, now: Now) {
        let every = self.retention.every;
        let due = *self.retention.due.get_or_insert(now.mono + every);
        if now.mono < due || self.closing {
            return;
        }
        self.retention.due = Some(now.mono + every);
        let starts: Vec<(PartitionId, Offset)> = self
            .residents
            .iter()
            .flatten()
            .filter_map(|here| {
                let start = start_wanted(&here.partition, &here.limits, now.wall)?;
                Some((here.partition.id(), start))
            })
            .collect();
        for (id, start) in starts {
            // Refused only when the log is being closed: then the next start looks again.
            let _ = self.move_log_start(id, start, None);
        }
    }
}

/// The offset below which nothing need be kept, if that is above what the log start is or is going to be.
fn start_wanted(partition: &Partition, limits: &PartitionLimits, now: TimestampMs) -> Option<Offset> {
    let by_age = limits.retention_ms.and_then(|age_ms| first_younger(partition, age_ms, now));
    let by_size = limits.retention_bytes.and_then(|bytes| first_within(partition, bytes));
    by_age.max(by_size).filter(|&start| start > partition.log_start_logged())
}

/// Behind the last of the oldest records that are all older than `age_ms`. Where none of them has a time, a segment is as old
/// as its file (Kafka takes the time of its last change), and what lies in no segment yet stays.
fn first_younger(partition: &Partition, age_ms: u64, now: TimestampMs) -> Option<Offset> {
    let age_ms = i64::try_from(age_ms).unwrap_or(i64::MAX);
    let is_old = |newest: TimestampMs| now.get().saturating_sub(newest.get()) > age_ms;
    let newest_in = |extent: &SegmentExtent| {
        if extent.max_timestamp.get() < 0 { extent.created } else { extent.max_timestamp }
    };
    let extents = partition.segments().extents();
    let old = extents.iter().take_while(|extent| is_old(newest_in(extent))).count();
    let in_segments = old.checked_sub(1).map(|last| extents[last].end);
    if old < extents.len() {
        return in_segments;
    }
    let is_old_batch = |batch: &&TailBatch| batch.max_timestamp.get() >= 0 && is_old(batch.max_timestamp);
    let in_log = partition.unsettled().take_while(is_old_batch).last();
    in_log.map(|batch| batch.next_offset).or(in_segments)
}

/// Behind the oldest segments without which the others still have `bytes`.
fn first_within(partition: &Partition, bytes: u64) -> Option<Offset> {
    let mut left = partition.segments().bytes();
    let mut start = None;
    for extent in partition.segments().extents() {
        left -= extent.bytes;
        if left < bytes {
            break;
        }
        start = Some(extent.end);
    }
    start
}

#[cfg(test)]
mod tests {
    use ringmain_wal::group::{Generation, Sequence};
    use ringmain_wire::batch::BatchHeader;
    use ringmain_wire::ids::LeaderEpoch;

    use super::*;
    use crate::partition::tail::LogPlace;
    use crate::partition::testing::{batch, header};

    /// Two segments of two records each, the newer one of time 2,000, and two records in the log of time 1,001.
    fn partition() -> Partition {
        partition_with([1_000, 2_000], TimestampMs(1_001))
    }

    /// The same with other times; the segments were made at 500.
    fn partition_with(segments: [i64; 2], in_log: TimestampMs) -> Partition {
        let mut partition = Partition::new(PartitionId::default(), LeaderEpoch(1));
        for number in 0..3 {
            let header = BatchHeader { max_timestamp: in_log, ..header(1, 0, number * 2, 2) };
            let sequence = Sequence(u64::from(number.unsigned_abs()) + 1);
            partition.appended(&header, LogPlace { generation: Generation(1), sequence });
            partition.frozen(batch(1, 0, number * 2, 2), 4096);
        }
        partition.advance(Offset(6));
        for (base, max_timestamp) in [0, 2].into_iter().zip(segments) {
            partition.close_segment();
            partition.settled(SegmentExtent {
                base: Offset(base),
                end: Offset(base + 2),
                bytes: 100,
                created: TimestampMs(500),
                max_timestamp: TimestampMs(max_timestamp),
            });
        }
        partition
    }

    fn wanted(retention_ms: Option<u64>, retention_bytes: Option<u64>, now: i64) -> Option<Offset> {
        let limits = PartitionLimits { retention_ms, retention_bytes, ..PartitionLimits::default() };
        start_wanted(&partition(), &limits, TimestampMs(now))
    }

    #[test]
    fn what_is_old_goes_from_the_oldest_on() {
        assert_eq!(wanted(Some(500), None, 1_500), None, "not older than that");
        assert_eq!(wanted(Some(500), None, 1_501), Some(Offset(2)));
        assert_eq!(
            wanted(Some(500), None, 2_500),
            Some(Offset(2)),
            "what is younger keeps what is behind it"
        );
        assert_eq!(wanted(Some(500), None, 2_501), Some(Offset(6)), "also what lies in the log only");
    }

    #[test]
    fn records_without_a_time_are_as_old_as_their_file_and_stay_while_they_have_none() {
        let none = TimestampMs(-1);
        let wanted = |segments, now| first_younger(&partition_with(segments, none), 500, TimestampMs(now));
        assert_eq!(wanted([-1, -1], 1_000), None);
        assert_eq!(wanted([-1, 2_000], 1_001), Some(Offset(2)));
        assert_eq!(wanted([-1, -1], 1_001), Some(Offset(4)), "what lies in the log only has no age");
    }

    #[test]
    fn segments_go_as_long_as_the_rest_has_the_bytes_to_be_kept() {
        assert_eq!(wanted(None, Some(101), 0), None);
        assert_eq!(wanted(None, Some(100), 0), Some(Offset(2)));
        assert_eq!(wanted(None, Some(0), 0), Some(Offset(4)));
        assert_eq!(wanted(None, None, i64::MAX), None);
    }
}
