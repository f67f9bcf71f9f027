//! The broker besieged: clients that mean harm or just stall, against a real broker process on a real disk, beside a client
//! that means well.
//!
//! What is promised is asserted: the broker lives, answers or closes, keeps its memory within a stated bound, and the
//! well-meaning client sees no error. Times are noisy: they are printed as ratios within one run, or beside a goal that only a
//! strict run holds them to; another fails when they miss it by far.

pub mod broker;
pub mod bulk;
pub mod cold;
pub mod error;
pub mod frames;
pub mod goals;
pub mod partitions;
pub mod replay;
pub mod settling;
pub mod stalled;

pub(crate) mod client;
mod healthy;
mod latencies;
mod memory;
mod owners;
mod process;
pub(crate) mod run;
