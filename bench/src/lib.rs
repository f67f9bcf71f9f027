//! Measures brokers: the load generator, and the physical limit of this host that its numbers are compared with.
//!
//! [`client_loop`] is the one client that drives both the bare durable echo of [`limit`] and the broker through
//! [`generator`], so that the difference between the two is the broker's and not the client's.
//!
//! Must never import: the broker (`ringmain`, `ringmain-shard`, `ringmain-wal`). Only [`limit`] names io_uring or
//! holds `unsafe` code.

pub mod client_loop;
mod clock;
mod figures;
pub mod generator;
pub mod host;
pub mod latency;
pub mod limit;
