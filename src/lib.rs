//! The broker process: what each shard does, how a node starts, and the command line.
//!
//! Must never import: io_uring or glommio by name; only `ringmain-shard` knows them. What is logic here (`host`, and
//! `boot` but for `boot::disk`) imports no sockets, files, clocks, randomness or threads either.

pub mod boot;
pub mod cli;
pub mod host;
pub mod serve;
