//! Seeded choices. Two runs with one seed choose alike; what the kernel makes of it differs.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of choices.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of one concern under `seed`.
    pub(crate) fn new(seed: u64, concern: u64) -> Self {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        stream.set_stream(concern);
        Self(stream)
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        let choices = u128::from(last - first) + 1;
        // Below `choices`, so it fits.
        first + ((u128::from(self.0.next_u64()) * choices) >> 64) as u64
    }

    /// True once in `of` cases.
    pub(crate) fn once_in(&mut self, of: u64) -> bool {
        self.between(1, of) == 1
    }

    /// A time from `first` to `last` milliseconds, in steps of a microsecond.
    pub(crate) fn milliseconds(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_micros(self.between(first * 1_000, last * 1_000))
    }

    /// As many bytes of noise.
    pub(crate) fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        self.0.fill_bytes(&mut noise);
        noise
    }
}
