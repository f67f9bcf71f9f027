//! Which of the store's file operations an outcome belongs to.

use ringmain_wal::group::Sequence;

use crate::effect::FileToken;

/// A file operation of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreToken {
    /// The write of a log group.
    Group(Sequence),
    /// The sync of the log file of this number.
    SyncLog(u32),
    /// A step in preparing a log file.
    Prepare,
    /// Something whose outcome only matters if it failed.
    Tidy,
    /// A step of the settle job in this place.
    Settle(u64),
    /// A step of a read from segments.
    Read(u64),
    /// A step in removing what is void.
    Remove,
}

const KIND_SHIFT: u32 = 60;

impl StoreToken {
    pub(super) fn encode(self) -> FileToken {
        let (kind, value) = match self {
            Self::Group(sequence) => (0, sequence.0),
            Self::Prepare => (1, 0),
            Self::Tidy => (2, 0),
            Self::Settle(job) => (3, job),
            Self::Read(step) => (4, step),
            Self::Remove => (5, 0),
            Self::SyncLog(file) => (6, u64::from(file)),
        };
        assert!(value < 1 << KIND_SHIFT, "{value} does not fit a token");
        FileToken(kind << KIND_SHIFT | value)
    }

    pub(super) fn decode(token: FileToken) -> Self {
        let value = token.0 & ((1 << KIND_SHIFT) - 1);
        match token.0 >> KIND_SHIFT {
            0 => Self::Group(Sequence(value)),
            1 => Self::Prepare,
            2 => Self::Tidy,
            3 => Self::Settle(value),
            4 => Self::Read(value),
            5 => Self::Remove,
            6 => Self::SyncLog(u32::try_from(value).expect("log files have small numbers")),
            kind => unreachable!("the store never made a token of kind {kind}"),
        }
    }
}
