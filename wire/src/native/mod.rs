//! The native protocol: a fixed header, an rkyv-archived body validated on arrival, batch bytes behind it.
//!
//! A connection begins with [`Hello`](messages::HelloRequest); its answer names the protocol version both sides speak,
//! and the shard map that lets a client connect straight to the core that owns a partition.
//! Requests of one connection are answered in the order in which they were sent, except acks=0 produces, which are
//! not answered at all.

pub mod errors;
pub mod frame;
pub mod messages;
