//! `--from OFFSET` against what each partition holds: nothing is skipped silently, nothing waited for silently.

use std::collections::BTreeMap;

use ringmain_wire::ids::{Offset, PartitionIndex};
use ringmain_wire::native::errors::ErrorCode;

use crate::cli::failure::Failure;

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Of its first record.
    pub(super) start: Offset,
    /// Behind its last record.
    pub(super) end: Offset,
}

/// Where reading begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// In each partition; at its end where the offset that was asked for is still to come.
    pub(super) begins: BTreeMap<PartitionIndex, Offset>,
    /// What is waited for, if a record is.
    pub(super) waiting: Option<String>,
}

/// Where reading begins when `offset` was asked for; `can_wait`: records that are still to come are wanted, too.
///
/// # Errors
/// When a partition has no longer what was asked for, or none has it yet and nobody wants to wait.
pub(super) fn place(
    topic: &str,
    partitions: &[(PartitionIndex, Bounds)],
    offset: Offset,
    can_wait: bool,
) -> Result<Placed, Failure> {
    if let Some(&(partition, bounds)) = partitions.iter().find(|(_, bounds)| offset < bounds.start) {
        return Err(log_starts_above(topic, partition, bounds.start, offset));
    }
    let short: Vec<_> = partitions.iter().filter(|(_, bounds)| offset > bounds.end).collect();
    let mut waiting = None;
    if let Some((partition, Bounds { end, .. })) = short.first() {
        let others = match short.len() {
            1 => String::new(),
            count => format!(" (and {} more end before {offset})", count - 1),
        };
        let message = format!("{topic}/{partition} ends at offset {end}{others}");
        if can_wait {
            waiting = Some(format!("{message}: waiting for offset {offset}"));
        } else if short.len() == partitions.len() {
            let message = format!("{message}: there is no offset {offset}");
            return Err(Failure::failed(ErrorCode::OffsetOutOfRange.name(), message)
                .hint("--from -N begins N records before the end"));
        }
    }
    let begins = partitions.iter().map(|&(partition, bounds)| (partition, offset.min(bounds.end)));
    Ok(Placed { begins: begins.collect(), waiting })
}

/// The failure of reading what is gone.
pub(super) fn log_starts_above(
    topic: &str,
    partition: PartitionIndex,
    start: Offset,
    offset: Offset,
) -> Failure {
    let message = format!("{topic}/{partition} starts at offset {start}: offset {offset} is gone");
    Failure::failed(ErrorCode::OffsetOutOfRange.name(), message)
        .hint("--from start begins with what is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(bounds: &[(i64, i64)]) -> Vec<(PartitionIndex, Bounds)> {
        let bounds = bounds.iter().map(|&(start, end)| Bounds { start: Offset(start), end: Offset(end) });
        (0..).map(PartitionIndex).zip(bounds).collect()
    }

    fn begins(placed: &Placed) -> Vec<i64> {
        placed.begins.values().map(|offset| offset.get()).collect()
    }

    #[test]
    fn an_offset_that_is_there_is_where_reading_begins() {
        let placed = place("t", &partitions(&[(0, 10), (3, 5)]), Offset(5), false).expect("there");
        assert_eq!((begins(&placed), placed.waiting), (vec![5, 5], None));
    }

    #[test]
    fn an_offset_that_is_gone_is_refused_with_the_start_of_the_log() {
        let failure = Failure::failed("offset_out_of_range", "t/1 starts at offset 3: offset 2 is gone")
            .hint("--from start begins with what is there");
        assert_eq!(place("t", &partitions(&[(0, 10), (3, 5)]), Offset(2), true), Err(failure));
    }

    #[test]
    fn an_offset_beyond_every_end_is_refused_unless_it_can_be_waited_for() {
        let failure = Failure::failed("offset_out_of_range", "t/0 ends at offset 5: there is no offset 6")
            .hint("--from -N begins N records before the end");
        assert_eq!(place("t", &partitions(&[(0, 5)]), Offset(6), false), Err(failure));
        let placed = place("t", &partitions(&[(0, 5)]), Offset(6), true).expect("to come");
        assert_eq!(begins(&placed), [5]);
        assert_eq!(placed.waiting.as_deref(), Some("t/0 ends at offset 5: waiting for offset 6"));
    }

    #[test]
    fn partitions_that_end_earlier_have_nothing_to_show() {
        let some = partitions(&[(0, 5), (0, 9), (0, 6)]);
        let placed = place("t", &some, Offset(7), false).expect("one has it");
        assert_eq!((begins(&placed), placed.waiting), (vec![5, 7, 6], None));
        let placed = place("t", &some, Offset(7), true).expect("one has it");
        let note = "t/0 ends at offset 5 (and 1 more end before 7): waiting for offset 7";
        assert_eq!(placed.waiting.as_deref(), Some(note));
    }
}
