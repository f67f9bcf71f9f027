//! How long to wait before trying again: doubling, bounded, with jitter from a seed.

use core::time::Duration;

/// Shortest wait.
const DELAY_MIN: Duration = Duration::from_millis(20);
/// Longest wait before jitter.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// Source of jitter (SplitMix64): spreads clients that lost the same broker at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    state: u64,
}

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The wait before try number `attempts + 1` after `attempts` failures: between half and all of the doubled delay.
    pub(crate) fn delay(&mut self, attempts: u32) -> Duration {
        let full = DELAY_MIN.saturating_mul(1 << attempts.min(10)).min(DELAY_MAX);
        let half = full.as_nanos() as u64 / 2;
        Duration::from_nanos(half + self.next() % (half + 1))
    }

    /// The next pseudo-random number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_bounds_and_repeat_with_the_seed() {
        let (mut one, mut same) = (Jitter::new(7), Jitter::new(7));
        for attempts in 0..64 {
            let full = DELAY_MIN.saturating_mul(1 << attempts.min(10)).min(DELAY_MAX);
            let delay = one.delay(attempts);
            assert!(delay >= full / 2 && delay <= full, "{delay:?} after {attempts}");
            assert_eq!(delay, same.delay(attempts));
        }
    }
}
