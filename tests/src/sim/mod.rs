//! The simulator: one node of two shards, their mailbox and three clients over a simulated disk, network, clock and
//! process, all driven by one queue of events.
//!
//! A seed decides everything: what clients and operators want, when things happen, which faults there are. The product's
//! logic runs as it is; what the ring does in production a `World` does here. Checkers are told what is observed and
//! judge it without knowing the workload. Reading order: `plan` (what a seed may do), `world` (the loop), `node` (starts
//! and ends), `carrier` (a shard's turn), `network`, `disk`, `rot`, `client`, `wishes`, `operator`, `checker`.

mod carrier;
mod checker;
mod client;
mod coverage;
mod directory;
mod disk;
mod files;
mod inspections;
mod log_image;
pub mod mutations;
mod network;
mod node;
mod operator;
mod plan;
mod queue;
mod random;
mod records;
mod rot;
mod stored;
mod trace;
mod wishes;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use checker::Violation;
pub use coverage::Coverage;
use world::World;

/// A microsecond of simulated time, in its unit.
const MICROSECOND: u64 = 1_000;
/// A millisecond of simulated time.
const MILLISECOND: u64 = 1_000_000;
/// A second of simulated time.
const SECOND: u64 = 1_000_000_000;

/// What a seed came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash over all that happened: the same seed gives the same.
    pub trace_hash: u64,
    /// How many things happened.
    pub events: u64,
    /// What was met.
    pub coverage: Coverage,
    /// The promise that was broken, and the last that happened before.
    pub failure: Option<(Violation, String)>,
}

/// Runs one seed to its end. Assertions of the product that fail are caught and count as broken promises.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match ended {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = message.unwrap_or_else(|| "an assertion failed".to_owned());
            Some(Violation { invariant: "assertion", what })
        }
    };
    Outcome {
        seed,
        trace_hash: world.trace().hash(),
        events: world.trace().events(),
        coverage: *world.coverage(),
        failure: violation.map(|violation| (violation, world.trace().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..12 {
            let (first, second) = (run(seed), run(seed));
            assert_eq!((first.trace_hash, first.events), (second.trace_hash, second.events), "seed {seed}");
        }
        assert_ne!(run(1).trace_hash, run(2).trace_hash);
    }

    #[test]
    fn a_hundred_seeds_break_no_promise() {
        let mut met = Coverage::default();
        for seed in 0..100 {
            let outcome = run(seed);
            met.add(&outcome.coverage);
            assert_eq!(outcome.failure, None, "seed {seed}");
        }
        assert!(met.acknowledged > 1_000 && met.kills > 0 && met.power_losses > 0, "{met:?}");
    }
}
