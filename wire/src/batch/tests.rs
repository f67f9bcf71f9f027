//! Batches against a model, against other implementations, and against whatever bytes there may be.

mod append_time;
mod fixtures;
pub(super) mod generated;
mod hostile;
mod oracle;
mod produced;
mod round_trip;
