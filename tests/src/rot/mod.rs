//! A real data directory, in which one bit after the other rots: each is told, or means nothing.
//!
//! [`run`] is what the binary `rot` runs. A broker process makes the directory and is stopped well. Then, again and again,
//! one bit of one file is flipped, and what `ringmain debug verify` tells is held against what a start makes of it, in
//! this process: what it would serve is what was acknowledged, or less, and then the damage was told with its place. A bit
//! that nothing is told of must change nothing. For some of the flips a real broker is started on a copy and asked for
//! everything, by somebody who knows nothing of the client's code. At last bits rot in many batches of segments at once,
//! and one broker is asked for each of those batches: it serves none; and in all indexes at once: it serves everything.

pub mod error;

pub(crate) mod files;
mod judge;
mod make;
pub(crate) mod overlay;
pub(crate) mod reader;
mod report;
mod served;
pub(crate) mod stored;
mod sweep;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use crate::crash::clock::Stopwatch;
use crate::crash::dice::Dice;
use crate::crash::place;
use error::RotError;
use files::{DataFiles, Flip, KINDS, copy_directory};
use judge::Judge;
use make::make_directory;
use served::serve_and_read;
use sweep::Sweep;

pub use report::RotReport;

/// Of so many batches in segments one is asked for with a rotten bit.
const SWEPT_ONE_IN: u64 = 4;

/// What a run does.
#[derive(Clone, Debug)]
pub struct RotOptions {
    /// Bits flipped, one at a time.
    pub flips: u64,
    /// For so many of them a broker is started.
    pub brokers: u64,
    /// Decides which.
    pub seed: u64,
    /// Where the run keeps its data; it stays there then. Otherwise in `target/`, and it is removed if all was well.
    pub directory: Option<PathBuf>,
}

/// Does a run.
///
/// # Errors
/// When a bit rotted unnoticed, when the run proved too little, or when it could not go on. The data stays then.
pub fn run(options: &RotOptions) -> Result<RotReport, RotError> {
    let name = format!("rot-{}-{}", options.seed, std::process::id());
    let directory = place::make_directory(options.directory.as_deref(), &name)?;
    eprintln!("seed {}, data in {}", options.seed, directory.display());
    let report = rot(options, &directory)?;
    report.check_proof()?;
    if options.directory.is_none() {
        fs::remove_dir_all(&directory).map_err(RotError::io("removing the run's directory"))?;
    }
    Ok(report)
}

fn rot(options: &RotOptions, directory: &Path) -> Result<RotReport, RotError> {
    let started = Stopwatch::start();
    let made = directory.join("made");
    let written = make_directory(&made, &directory.join("making.log"))?;
    let work = directory.join("work");
    copy_directory(&made, &work)?;
    let files = DataFiles::of(&work)?;
    let judge = Judge::of(&work, &written)?;
    let mut report = RotReport::new(options, &written, &files);
    let mut dice = Dice::new(options.seed, 0);
    let mut kinds = KINDS.iter().cycle().peekable();
    for number in 0..options.flips {
        // Spread evenly over all flips, and each kind of file in turn.
        let is_served =
            number * options.brokers / options.flips < (number + 1) * options.brokers / options.flips;
        let kind = kinds.next_if(|_| is_served);
        let flip = match kind {
            Some(kind) => files.choose_of(*kind, &mut dice),
            None => files.choose(&mut dice),
        };
        let rotten = flip.apply(&work)?;
        let outcome = judge.judge(&flip)?;
        rotten.restore()?;
        report.count(flip.kind, outcome);
        if is_served {
            let served = serve_flip(&made, directory, &flip, &written)?;
            served.check(outcome).map_err(|error| error.after(&flip))?;
            report.count_served(served);
        }
    }
    let sweep = Sweep { made: &made, directory, judge: &judge, written: &written };
    report.count_swept(sweep.batches(SWEPT_ONE_IN, &mut dice)?, sweep.indexes(&mut dice)?);
    report.finish(started.elapsed());
    Ok(report)
}

/// Starts a broker on a copy with that bit flipped.
fn serve_flip(
    made: &Path,
    directory: &Path,
    flip: &Flip,
    written: &workload::Written,
) -> Result<served::Served, RotError> {
    let copy = directory.join("served");
    copy_directory(made, &copy)?;
    // It stays rotten.
    drop(flip.apply(&copy)?);
    let log = directory.join("served.log");
    fs::write(&log, []).map_err(RotError::io("emptying the broker's log"))?;
    let served = serve_and_read(&copy, &log, written).map_err(|error| error.after(flip))?;
    fs::remove_dir_all(&copy).map_err(RotError::io("removing a copy"))?;
    Ok(served)
}
