//! `ringmain debug …`: looks into files of a data directory, and into all of it. Reads only. What looks into one file takes
//! no lock and works beside a running broker.

mod log;
mod pieces;
mod report;
mod segment;
mod verify;

use clap::Subcommand;

use self::log::LogArguments;
use self::segment::SegmentArguments;
use self::verify::VerifyArguments;
use super::arguments::Format;
use super::failure::Failure;
use super::not_yet::Ignored;

#[derive(Debug, Subcommand)]
pub(super) enum DebugVerb {
    /// Print the groups of a log file with their entries, and how it ends.
    Log(LogArguments),
    /// Print the batches of a segment file, and how it ends.
    Segment(SegmentArguments),
    /// Prove what a stopped data directory holds, and tell every damage.
    Verify(VerifyArguments),
    #[command(hide = true)]
    Bundle(Ignored),
}

/// Runs one of them.
pub(super) fn run(verb: DebugVerb, format: Format) -> Result<(), Failure> {
    match verb {
        DebugVerb::Log(arguments) => log::run(&arguments, format),
        DebugVerb::Segment(arguments) => segment::run(&arguments, format),
        DebugVerb::Verify(arguments) => verify::run(&arguments, format),
        DebugVerb::Bundle(_) => unreachable!("refused before"),
    }
}
