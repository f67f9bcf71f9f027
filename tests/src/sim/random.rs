//! Seeded randomness: one stream a concern, so that a change in one does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of pseudo-random numbers.
#[derive(Debug)]
pub(super) struct Random {
    stream: ChaCha8Rng,
}

impl Random {
    /// The stream of one concern under `seed`.
    pub(super) fn new(seed: u64, salt: u64) -> Self {
        Self { stream: ChaCha8Rng::seed_from_u64(seed ^ salt) }
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `first` to `last`.
    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in `per_thousand` of a thousand cases.
    pub(super) fn chance(&mut self, per_thousand: u64) -> bool {
        self.below(1000) < per_thousand
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Bytes for a name.
    pub(super) fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.stream.fill_bytes(&mut bytes);
        bytes
    }
}

/// The streams of one run.
#[derive(Debug)]
pub(super) struct Streams {
    /// When things happen, and what the network does.
    pub(super) schedule: Random,
    /// What the disk does.
    pub(super) disk: Random,
    /// What happens to the process and its clock.
    pub(super) process: Random,
    /// What clients and operators want.
    pub(super) workload: Random,
}

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            schedule: Random::new(seed, 0x5c4e_d01e),
            disk: Random::new(seed, 0xd15c_0000_0001),
            process: Random::new(seed, 0x9a0c_e550_0002),
            workload: Random::new(seed, 0x3041_0ad0_0003),
        }
    }
}
