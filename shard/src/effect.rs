//! What logic asks for: the ring carries effects out in production, the simulator in tests.

use bytes::{Bytes, BytesMut};
use ringmain_wire::ids::ShardId;

use crate::event::ConnectionId;
use crate::inspection::{InspectionKind, InspectionRequest};

/// Effects in the order in which they are to be started. `M` is what travels between shards.
pub type Effects<M> = Vec<Effect<M>>;

/// One thing to be done. Starting it never blocks; what comes of it arrives as an [`Event`](crate::event::Event).
#[derive(Debug)]
pub enum Effect<M> {
    /// Receive once on a connection that has no receive under way.
    Receive {
        /// Where.
        connection: ConnectionId,
        /// `None`: into a buffer of the carrier's, lent for one event. `Some`: behind the bytes already in this buffer,
        /// up to its capacity, so that a large frame is never copied together; the buffer has spare capacity.
        into: Option<BytesMut>,
    },
    /// Send all segments in order, whole, on a connection that has no send under way.
    Send {
        /// Where.
        connection: ConnectionId,
        /// What; not empty, no segment empty.
        segments: Vec<Bytes>,
    },
    /// Close a connection once its send under way has ended or failed. `Closed` follows, and is its last event.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Take no new connections.
    StopAccepting,
    /// Work on a file.
    File {
        /// Comes back with the outcome.
        token: FileToken,
        /// What to do.
        operation: FileOperation,
    },
    /// Inspect a segment beside the loop; no other inspection of its kind is under way.
    Inspect {
        /// Which, and how.
        request: InspectionRequest,
    },
    /// End the inspection of that kind early. It ends in any case, cancelled or not.
    CancelInspection {
        /// Which.
        kind: InspectionKind,
    },
    /// Hand a message to another shard. The sender has made sure that there is room.
    Mail {
        /// To whom.
        to: ShardId,
        /// What.
        mail: M,
    },
    /// Leave the loop once everything under way has ended. No event follows, and effects behind it are dropped.
    Stop {
        /// Why.
        reason: StopReason,
    },
}

/// Comes back with the outcome of a file operation; chosen by logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileToken(pub u64);

/// A file that is open or being opened; numbers are chosen by logic and reused after `Close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// Work on a file. Paths are relative to the data directory, `/` between their parts.
#[derive(Clone, Debug)]
pub enum FileOperation {
    /// Open `path` as `file`, which may be used once this has completed. Bypasses the page cache where the filesystem
    /// can.
    Open {
        /// Its number from now on.
        file: FileId,
        /// Where.
        path: String,
        /// What for.
        mode: OpenMode,
    },
    /// Write all of `bytes` at `position`; both multiples of 4,096. Fewer bytes written is an error.
    Write {
        /// Which.
        file: FileId,
        /// Byte position.
        position: u64,
        /// What; the memory is frozen and aligned to 4,096.
        bytes: Bytes,
        /// Whether the write is on stable storage when it completes.
        sync: WriteSync,
    },
    /// Read up to `length` bytes at `position`; both multiples of 4,096. Fewer bytes mean the end of the file. A block that
    /// is written meanwhile comes back old, as written, or as a mix of both.
    Read {
        /// Which.
        file: FileId,
        /// Byte position.
        position: u64,
        /// How many.
        length: u32,
    },
    /// Everything written to `file` before is on stable storage when this completes, its length included.
    Sync {
        /// Which.
        file: FileId,
    },
    /// Names of files and directories created and removed in directory `path` before are on stable storage when this
    /// completes. The directory's own name is its parent's. [`Exhausted`](crate::event::FileError::Exhausted) says that it
    /// was not even begun.
    SyncDirectory {
        /// Which; empty for the data directory itself.
        path: String,
    },
    /// Close `file`; nothing is under way on it.
    Close {
        /// Which.
        file: FileId,
    },
    /// Remove the name `path` of a file. Done as well where there is no such name, so that removing can be begun anew after
    /// a crash; what is open under it stays usable until it is closed.
    Remove {
        /// Which.
        path: String,
    },
    /// Make the directory `path` in a directory that exists. Done as well where the name is taken already.
    CreateDirectory {
        /// Which.
        path: String,
    },
    /// Remove the directory `path` if it is empty. Done as well where there is none.
    RemoveDirectory {
        /// Which.
        path: String,
    },
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It exists and is only read.
    Read,
    /// It exists and is read and written.
    Write,
    /// It must not exist yet; read and written.
    Create,
    /// Made if it does not exist, emptied if it does; read and written. That it was emptied is on stable storage after a
    /// [`FileOperation::Sync`]; a crash before may bring back all, some or none of what it held.
    Replace,
}

/// Whether a completed write survives the loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSync {
    /// On stable storage when it completes (`RWF_DSYNC`).
    Durable,
    /// Only after a later [`FileOperation::Sync`].
    Deferred,
}

/// Why a loop ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to.
    Shutdown,
    /// Storage failed: what was not acknowledged may be lost, and nothing more may be acknowledged.
    StorageFailed {
        /// File, operation and error.
        message: String,
    },
}
