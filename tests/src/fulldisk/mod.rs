//! A real broker on a small filesystem of its own that fills up, and on one whose device fails.
//!
//! [`full`] fills the disk at a moment that a ballast file chooses, round after round; [`failing`] lets writes end with EIO.
//! Both need root and loop devices; where those are not to be had, the run says so and counts as skipped.

pub mod failing;
pub mod full;

mod image;
mod ledger;

use std::path::PathBuf;

use crate::crash::place;
use crate::siege::error::SiegeError;

pub use image::obstacle;

/// A new directory for images, mount points and logs.
///
/// # Errors
/// When it cannot be made.
pub fn run_directory() -> Result<PathBuf, SiegeError> {
    Ok(place::make_directory(None, &format!("fulldisk-{}", std::process::id()))?)
}
