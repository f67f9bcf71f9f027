//! What logic is told.

use core::fmt;

use bytes::{Bytes, BytesMut};
use ringmain_wire::ids::ShardId;

use crate::effect::FileToken;
use crate::inspection::Inspected;

/// Something that happened. `M` is what travels between shards.
#[derive(Debug)]
pub enum Event<'a, M> {
    /// A client connected. Nothing is received until logic asks for it.
    Accepted {
        /// Its name from now on.
        connection: ConnectionId,
        /// Where it came in.
        listener: Listener,
    },
    /// A receive ended with bytes, or with none: the peer sends no more.
    Received {
        /// Where.
        connection: ConnectionId,
        /// What.
        data: Received<'a>,
    },
    /// A send is out whole.
    Sent {
        /// Where.
        connection: ConnectionId,
        /// The segments, so that memory goes back to the shard that owns it.
        segments: Vec<Bytes>,
    },
    /// A connection is gone: closed as asked, reset, or failed. Nothing is under way on it any more. Effects that named
    /// it before this event came to nothing; none may name it afterwards.
    Closed {
        /// Which; the name is never used again.
        connection: ConnectionId,
        /// All segments of a send that did not get out whole.
        unsent: Vec<Bytes>,
    },
    /// A file operation ended.
    File {
        /// The token it was started with.
        token: FileToken,
        /// What came of it.
        result: Result<FileOutcome, FileError>,
    },
    /// An inspection ended.
    Inspected {
        /// What it found.
        inspected: Inspected,
    },
    /// A message from another shard.
    Mail {
        /// From whom.
        from: ShardId,
        /// What.
        mail: M,
    },
    /// Finish what was accepted, then stop.
    Shutdown,
}

/// Bytes of one receive.
#[derive(Debug)]
pub enum Received<'a> {
    /// Lent for this event; empty when the peer sends no more.
    Lent(&'a [u8]),
    /// The buffer that was given, longer than before; of the same length when the peer sends no more.
    Filled(BytesMut),
}

/// A connection: slot and generation, so that a late completion never meets a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index of its slot; small and reused.
    pub slot: u32,
    /// Rises with every reuse of the slot.
    pub generation: u32,
}

/// Which protocol a connection speaks, by the listener it came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// The native protocol, on the port all shards share or the shard's own.
    Native,
}

/// What a file operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOutcome {
    /// It is done.
    Done,
    /// Bytes read; fewer than asked for mean the end of the file.
    Read(Bytes),
}

/// Why a file operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// No room on the disk (`ENOSPC`, `EDQUOT`).
    Full,
    /// Nothing was opened or read, because the process or the system has no descriptor or no memory left (`EMFILE`,
    /// `ENFILE`, `ENOMEM`).
    Exhausted,
    /// A directory to be removed holds something (`ENOTEMPTY`).
    NotEmpty,
    /// The device or filesystem failed, with the operating system's error number.
    Failed(i32),
    /// Fewer bytes were written than asked for.
    Short,
}

impl FileError {
    /// Whether it says nothing about the disk's health, and the same may succeed later.
    pub const fn is_shortage(self) -> bool {
        matches!(self, Self::Full | Self::Exhausted)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => out.write_str("no room on the disk"),
            Self::Exhausted => out.write_str("no descriptor or no memory is left for it"),
            Self::NotEmpty => out.write_str("the directory is not empty"),
            Self::Failed(number) => write!(out, "operating system error {number}"),
            Self::Short => out.write_str("fewer bytes were written than asked for"),
        }
    }
}

impl core::error::Error for FileError {}
