//! Names of log files, segments and indexes, relative to the data directory.

use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TopicId};

use crate::group::{Generation, LogId};

/// Where the partitions' directories lie.
pub const PARTITIONS_DIRECTORY: &str = "partitions";

/// Where file `number` of one log of one generation lives: `logs/0000000007-0003-000012.log`.
#[must_use]
pub fn log_file_name(generation: Generation, log: LogId, number: u32) -> String {
    format!("logs/{:010}-{:04}-{number:06}.log", generation.0, log.0)
}

/// The inverse of [`log_file_name`]; `None` for anything that it would not have written.
#[must_use]
pub fn parse_log_file_name(name: &str) -> Option<(Generation, LogId, u32)> {
    let stem = name.strip_prefix("logs/")?.strip_suffix(".log")?;
    let mut parts = stem.split('-');
    let generation = Generation(parts.next()?.parse().ok()?);
    let log = LogId(parts.next()?.parse().ok()?);
    let number = parts.next()?.parse().ok()?;
    (log_file_name(generation, log, number) == name).then_some((generation, log, number))
}

/// Where the segments of a partition lie: `partitions/00010203-0405-0607-0809-0a0b0c0d0e0f-12`.
#[must_use]
pub fn partition_directory(partition: PartitionId) -> String {
    format!("{PARTITIONS_DIRECTORY}/{}", directory_name(partition))
}

/// The partition whose directory within [`PARTITIONS_DIRECTORY`] has this name; `None` for anything that
/// [`partition_directory`] would not have written.
#[must_use]
pub fn parse_partition_directory(name: &str) -> Option<PartitionId> {
    let (topic, index) = name.rsplit_once('-')?;
    let digits: String = topic.chars().filter(|&digit| digit != '-').collect();
    let topic = TopicId(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes());
    let partition = PartitionId::new(topic, PartitionIndex(index.parse().ok()?));
    (directory_name(partition) == name).then_some(partition)
}

fn directory_name(PartitionId { topic, index }: PartitionId) -> String {
    format!("{topic}-{index}")
}

/// The files of a segment, and what may be left of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentPart {
    /// The batches.
    Data,
    /// Where to find them.
    Index,
    /// Batches that no segment of their partition holds, kept for whoever repairs it.
    Stray,
}

/// Where the segment of a partition that begins at `base` lies: `partitions/…-12/00000000000000004711.log`.
#[must_use]
pub fn segment_file_name(partition: PartitionId, base: Offset) -> String {
    format!("{}/{}", partition_directory(partition), segment_name(base, SegmentPart::Data))
}

/// Where the index of the segment of a partition that begins at `base` lies: `partitions/…-12/00000000000000004711.index`.
#[must_use]
pub fn index_file_name(partition: PartitionId, base: Offset) -> String {
    format!("{}/{}", partition_directory(partition), segment_name(base, SegmentPart::Index))
}

/// Where a file of batches is kept that begins at `base` and that no segment of its damaged partition is:
/// `partitions/…-12/00000000000000004711.stray`. Out of the way: a segment that begins there may come.
#[must_use]
pub fn stray_file_name(partition: PartitionId, base: Offset) -> String {
    format!("{}/{}", partition_directory(partition), segment_name(base, SegmentPart::Stray))
}

/// The file of a segment that has this name within its partition's directory; `None` for anything that
/// [`segment_file_name`], [`index_file_name`] and [`stray_file_name`] would not have written.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<(Offset, SegmentPart)> {
    let (stem, extension) = name.split_once('.')?;
    let part = match extension {
        "log" => SegmentPart::Data,
        "index" => SegmentPart::Index,
        "stray" => SegmentPart::Stray,
        _ => return None,
    };
    let base = Offset(stem.parse().ok().filter(|&base: &i64| base >= 0)?);
    (segment_name(base, part) == name).then_some((base, part))
}

fn segment_name(base: Offset, part: SegmentPart) -> String {
    let extension = match part {
        SegmentPart::Data => "log",
        SegmentPart::Index => "index",
        SegmentPart::Stray => "stray",
    };
    // An offset has at most 19 digits; 20 are Kafka's width.
    format!("{base:020}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(index: u32) -> PartitionId {
        PartitionId::new(TopicId(core::array::from_fn(|place| place as u8)), PartitionIndex(index))
    }

    #[test]
    fn names_sort_in_the_order_of_writing_and_parse_back() {
        assert_eq!(log_file_name(Generation(7), LogId(3), 12), "logs/0000000007-0003-000012.log");
        for (generation, log, number) in
            [(0, 0, 0), (7, 3, 12), (u32::MAX, u16::MAX, u32::MAX), (1, 9_999, 1_000_000)]
        {
            let name = log_file_name(Generation(generation), LogId(log), number);
            assert_eq!(parse_log_file_name(&name), Some((Generation(generation), LogId(log), number)));
        }
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        for name in [
            "",
            "logs/",
            "logs/0000000007-0003-000012",
            "0000000007-0003-000012.log",
            "logs/7-3-12.log",
            "logs/0000000007-0003-000012-1.log",
            "logs/0000000007-0003-+00012.log",
            "logs/0000000007-0003-00001x.log",
            "logs/9999999999-0003-000012.log",
        ] {
            assert_eq!(parse_log_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_segments_say_partition_offset_and_part_and_parse_back() {
        let directory = "partitions/00010203-0405-0607-0809-0a0b0c0d0e0f-12";
        assert_eq!(partition_directory(partition(12)), directory);
        let segment = segment_file_name(partition(12), Offset(4711));
        assert_eq!(segment, format!("{directory}/00000000000000004711.log"));
        let stray = stray_file_name(partition(12), Offset(4711));
        assert_eq!(stray, format!("{directory}/00000000000000004711.stray"));
        assert_eq!(
            parse_segment_name("00000000000000004711.stray"),
            Some((Offset(4711), SegmentPart::Stray))
        );
        let index = index_file_name(partition(12), Offset(4711));
        assert_eq!(index, format!("{directory}/00000000000000004711.index"));

        for partition in [partition(0), partition(u32::MAX), PartitionId::METADATA, PartitionId::default()] {
            let directory = partition_directory(partition);
            let name = directory.strip_prefix("partitions/").unwrap();
            assert_eq!(parse_partition_directory(name), Some(partition));
            for base in [Offset(0), Offset(i64::MAX)] {
                let within = |path: String| path[directory.len() + 1..].to_owned();
                let [data, index] =
                    [segment_file_name(partition, base), index_file_name(partition, base)].map(within);
                assert_eq!(parse_segment_name(&data), Some((base, SegmentPart::Data)));
                assert_eq!(parse_segment_name(&index), Some((base, SegmentPart::Index)));
            }
        }
    }

    #[test]
    fn names_of_partitions_and_segments_that_are_not_ours_are_refused() {
        for name in [
            "",
            "-",
            "lost+found",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "00010203-0405-0607-0809-0a0b0c0d0e0f-",
            "00010203-0405-0607-0809-0a0b0c0d0e0f-012",
            "00010203-0405-0607-0809-0a0b0c0d0e0f-+1",
            "00010203-0405-0607-0809-0a0b0c0d0e0f-4294967296",
            "00010203-0405-0607-0809-0A0B0C0D0E0F-12",
            "000102030405060708090a0b0c0d0e0f-12",
            "0001020304-05-0607-0809-0a0b0c0d0e0f-12",
            "partitions/00010203-0405-0607-0809-0a0b0c0d0e0f-12",
        ] {
            assert_eq!(parse_partition_directory(name), None, "{name}");
        }
        for name in [
            "",
            ".log",
            "4711.log",
            "00000000000000004711",
            "00000000000000004711.",
            "00000000000000004711.tmp",
            "00000000000000004711.log.log",
            "0000000000000000471x.log",
            "+0000000000000004711.log",
            "-0000000000000004711.log",
            "-0000000000000000000.log",
            "09223372036854775808.log",
        ] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
