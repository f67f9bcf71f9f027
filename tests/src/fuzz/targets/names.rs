//! Names of files as a directory lists them.

use ringmain_wal::group::{Generation, LogId};
use ringmain_wal::names::{
    PARTITIONS_DIRECTORY, SegmentPart, index_file_name, log_file_name, parse_log_file_name,
    parse_partition_directory, parse_segment_name, partition_directory, segment_file_name, stray_file_name,
};
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex, TopicId};

use crate::fuzz::Verdict;

/// What is recognised is exactly what is written.
pub(in crate::fuzz) fn run(input: &[u8]) -> Verdict {
    let Ok(name) = str::from_utf8(input) else { return Verdict::Refused };
    let mut verdict = Verdict::Refused;
    if let Some((generation, log, number)) = parse_log_file_name(name) {
        assert_eq!(log_file_name(generation, log, number), name);
        verdict = Verdict::Accepted;
    }
    if let Some(partition) = parse_partition_directory(name) {
        assert_eq!(partition_directory(partition), format!("{PARTITIONS_DIRECTORY}/{name}"));
        verdict = Verdict::Accepted;
    }
    if let Some((base, part)) = parse_segment_name(name) {
        let path = match part {
            SegmentPart::Data => segment_file_name(PartitionId::METADATA, base),
            SegmentPart::Index => index_file_name(PartitionId::METADATA, base),
            SegmentPart::Stray => stray_file_name(PartitionId::METADATA, base),
        };
        assert_eq!(path, format!("{}/{name}", partition_directory(PartitionId::METADATA)));
        verdict = Verdict::Accepted;
    }
    verdict
}

/// A name of each kind.
pub(in crate::fuzz) fn seeds() -> Vec<Vec<u8>> {
    let partition = PartitionId::new(TopicId([0xa5; 16]), PartitionIndex(12));
    let last = |path: String| path.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    [
        log_file_name(Generation(7), LogId(3), 12),
        log_file_name(Generation(u32::MAX), LogId(u16::MAX), u32::MAX),
        last(partition_directory(partition)),
        last(segment_file_name(partition, Offset(4_711))),
        last(index_file_name(partition, Offset(i64::MAX))),
        last(stray_file_name(partition, Offset(4_711))),
    ]
    .map(String::into_bytes)
    .to_vec()
}
