//! Proofs that need the whole broker: simulator, kill -9, fuzzing, rotten bits, and what says that a test could not run.
//!
//! Must never import: glommio, io_uring; anything of the product but its public interface.

pub mod crash;
pub mod fixture;
pub mod fulldisk;
pub mod fuzz;
pub mod rot;
pub mod siege;
pub mod sim;
pub mod skip;
