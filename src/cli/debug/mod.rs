//! `ringmain debug …`: looks into files of a data directory. Reads only, takes no lock, works beside a running broker.

mod log;
mod pieces;
mod report;
mod segment;

use clap::Subcommand;

use self::log::LogArguments;
use self::segment::SegmentArguments;
use super::arguments::Format;
use super::failure::Failure;
use super::not_yet::Ignored;

#[derive(Debug, Subcommand)]
pub(super) enum DebugVerb {
    /// Print the groups of a log file with their entries, and how it ends.
    Log(LogArguments),
    /// Print the batches of a segment file, and how it ends.
    Segment(SegmentArguments),
    #[command(hide = true)]
    Bundle(Ignored),
    #[command(hide = true)]
    Verify(Ignored),
}

/// Runs one of them.
pub(super) fn run(verb: DebugVerb, format: Format) -> Result<(), Failure> {
    match verb {
        DebugVerb::Log(arguments) => log::run(&arguments, format),
        DebugVerb::Segment(arguments) => segment::run(&arguments, format),
        DebugVerb::Bundle(_) | DebugVerb::Verify(_) => unreachable!("refused before"),
    }
}
