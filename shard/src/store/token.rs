//! Which of the store's file operations an outcome belongs to.

use ringmain_wal::group::Sequence;

use crate::effect::FileToken;

/// A file operation of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreToken {
    /// The write of a log group.
    Group(Sequence),
    /// A step in preparing a log file.
    Prepare,
    /// Something whose outcome only matters if it failed.
    Tidy,
}

const KIND_SHIFT: u32 = 60;

impl StoreToken {
    pub(super) fn encode(self) -> FileToken {
        let (kind, value) = match self {
            Self::Group(sequence) => (0, sequence.0),
            Self::Prepare => (1, 0),
            Self::Tidy => (2, 0),
        };
        assert!(value < 1 << KIND_SHIFT, "sequence {value} does not fit a token");
        FileToken(kind << KIND_SHIFT | value)
    }

    pub(super) fn decode(token: FileToken) -> Self {
        match token.0 >> KIND_SHIFT {
            0 => Self::Group(Sequence(token.0)),
            1 => Self::Prepare,
            2 => Self::Tidy,
            kind => unreachable!("the store never made a token of kind {kind}"),
        }
    }
}
