//! One core: its partitions, its log, its mailbox, and the ring loop that carries their effects out.
//!
//! Everything but `ring` and `background` is logic: it must never import sockets, files, clocks, randomness or threads
//! (`mailbox` names atomics and nothing else). Only `ring` names io_uring, only `background` names glommio.

pub mod background;
pub mod effect;
pub mod event;
pub mod host;
pub mod inspection;
pub mod mailbox;
pub mod partition;
pub mod recovery;
pub mod ring;
pub mod store;
pub mod time;
