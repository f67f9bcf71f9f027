//! The log of one core as logic without IO: group commit, the formats on disk, recovery.
//!
//! Must never import: sockets, files, clocks, randomness, threads, any member of this workspace but `ringmain-wire`.
//! It asks for reads and writes and is told how they went; what is performed, when and by what is its owner's matter.

pub mod block;
pub mod checkpoint;
pub mod commit;
pub mod group;
mod layout;
pub mod names;
pub mod replay;
pub mod segment;
pub mod state;
pub mod superblock;
