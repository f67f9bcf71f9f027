//! What is done with an input, by kind of parser, and the valid encodings to begin with.

pub(crate) mod batch;
pub(super) mod bodies;
pub(super) mod checkpoint;
pub(super) mod client;
pub(super) mod codec;
pub(crate) mod frame;
pub(super) mod group;
pub(super) mod log;
pub(super) mod metadata;
pub(super) mod names;
pub(super) mod records;
pub(super) mod segment;
pub(super) mod state;
pub(super) mod superblock;
