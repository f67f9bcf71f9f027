//! Which of the file operations of reading an outcome belongs to.

use super::descriptors::FileNumber;
use super::index_files::LoadNumber;
use super::operations::PieceId;
use crate::effect::FileToken;
use crate::store::token::StoreToken;

/// A file operation of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum ReadToken {
    /// A segment file is opened.
    Open(FileNumber),
    /// A piece of a segment file is read.
    Read(PieceId),
    /// A segment file is closed.
    Close(FileNumber),
    /// A step of reading an index file.
    Index(LoadNumber),
}

const KIND_SHIFT: u32 = 54;

impl ReadToken {
    /// The token in 56 bits.
    pub(in crate::store) fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Open(file) => (0, u64::from(file.0)),
            Self::Read(piece) => (1, piece.0),
            Self::Close(file) => (2, u64::from(file.0)),
            Self::Index(load) => (3, u64::from(load.0)),
        };
        assert!(value < 1 << KIND_SHIFT, "{value} does not fit a token");
        kind << KIND_SHIFT | value
    }

    /// The inverse of [`encode`](Self::encode).
    ///
    /// # Panics
    /// For anything that it did not make.
    pub(in crate::store) fn decode(token: u64) -> Self {
        let value = token & ((1 << KIND_SHIFT) - 1);
        let number = || u32::try_from(value).expect("files and loads are numbered with 32 bits");
        let file = || FileNumber(number());
        match token >> KIND_SHIFT {
            0 => Self::Open(file()),
            1 => Self::Read(PieceId(value)),
            2 => Self::Close(file()),
            3 => Self::Index(LoadNumber(number())),
            kind => unreachable!("reading never made a token of kind {kind}"),
        }
    }
}

/// The token under which the store starts the operation.
pub(super) fn token(token: ReadToken) -> FileToken {
    StoreToken::Read(token.encode()).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were_and_fit_56_bits() {
        for token in [
            ReadToken::Open(FileNumber(0)),
            ReadToken::Open(FileNumber(u32::MAX)),
            ReadToken::Read(PieceId(0)),
            ReadToken::Read(PieceId((1 << KIND_SHIFT) - 1)),
            ReadToken::Close(FileNumber(7)),
            ReadToken::Index(LoadNumber(u32::MAX)),
        ] {
            assert!(token.encode() < 1 << 56);
            assert_eq!(ReadToken::decode(token.encode()), token);
        }
    }
}
