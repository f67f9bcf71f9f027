//! What a look through a data directory tells.

use ringmain_wire::ids::PartitionId;

/// Something found: where, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The file or directory, relative to the data directory.
    pub path: String,
    /// Where in the file, in bytes; none if it is about the whole of it.
    pub position: Option<u64>,
    /// The partition that is hit, if it is one.
    pub partition: Option<PartitionId>,
    /// The topic of that partition, if there is one.
    pub topic: Option<String>,
    /// What it means, for people.
    pub meaning: String,
}

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A copy of the superblock or of the checkpoint is damaged, and the other one serves.
    CopyDamaged,
    /// Neither copy of the superblock or of the checkpoint can be used: nothing behind them can be read.
    HeadUnusable,
    /// A start refuses what is there.
    Refused,
    /// A file or a directory cannot be read.
    Unreadable,
    /// What was durable in a log is damaged.
    LogDamaged,
    /// A log ends in writes that were under way: a start cuts them off.
    TornTail,
    /// The topics cannot be known.
    TopicsUnknown,
    /// A partition opens read-only.
    PartitionReadOnly,
    /// A segment is not there.
    SegmentMissing,
    /// A segment does not hold what it should.
    SegmentDamaged,
    /// An index file cannot be relied on: the broker makes it again, and reads take longer until then.
    IndexUnusable,
    /// Records lie in no segment and in no log.
    RecordsMissing,
    /// A file or a directory that nobody names.
    Unnamed,
}

impl FindingKind {
    /// Whether something is damaged. What is not is left over from a crash, and a start deals with it.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        !matches!(self, Self::TornTail | Self::IndexUnusable | Self::Unnamed)
    }

    /// A stable name in snake_case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CopyDamaged => "copy_damaged",
            Self::HeadUnusable => "head_unusable",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::LogDamaged => "log_damaged",
            Self::TornTail => "torn_tail",
            Self::TopicsUnknown => "topics_unknown",
            Self::PartitionReadOnly => "partition_read_only",
            Self::SegmentMissing => "segment_missing",
            Self::SegmentDamaged => "segment_damaged",
            Self::IndexUnusable => "index_unusable",
            Self::RecordsMissing => "records_missing",
            Self::Unnamed => "unnamed",
        }
    }
}

impl Finding {
    /// About all of `path`.
    pub(super) fn new(kind: FindingKind, path: impl Into<String>, meaning: impl Into<String>) -> Self {
        let (path, meaning) = (path.into(), meaning.into());
        Self { kind, path, position: None, partition: None, topic: None, meaning }
    }

    /// The same, at a byte of the file.
    pub(super) fn at(self, position: u64) -> Self {
        Self { position: Some(position), ..self }
    }

    /// The same, about that partition.
    pub(super) fn of(self, partition: PartitionId) -> Self {
        Self { partition: Some(partition), ..self }
    }
}
