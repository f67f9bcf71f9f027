//! Bytes to typed messages and back: Kafka record batches, native frames, the partitioner that all clients share.
//!
//! Must never import: sockets, files, clocks, randomness, threads, any other member of this workspace.
//! Every count and length that arrives is checked against the bytes that remain before anything is allocated.

pub mod batch;
pub mod ids;
pub mod native;
pub mod partitioner;
