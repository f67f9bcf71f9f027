//! Latencies of one part of a run, and how those of two parts compare.

use core::fmt;
use std::time::Duration;

/// Every sample, in the order taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The smallest latency that `percent` of the samples do not exceed; zero without samples.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        self.permille(10 * percent)
    }

    /// The smallest latency that `permille` thousandths of the samples do not exceed; zero without samples.
    pub(super) fn permille(&self, permille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, high] = [50, 99].map(|percent| milliseconds(self.percentile(percent)));
        write!(out, "p50 {median:.2} ms, p99 {high:.2} ms of {}", self.0.len())
    }
}

/// How many times the 99th percentile of `before` that of `during` is.
pub(super) fn ratio(before: &Latencies, during: &Latencies) -> f64 {
    during.percentile(99).as_secs_f64() / before.percentile(99).as_secs_f64().max(f64::EPSILON)
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(99), Duration::ZERO);
        for millisecond in (1..=200).rev() {
            latencies.add(Duration::from_millis(millisecond));
        }
        assert_eq!(latencies.percentile(50), Duration::from_millis(100));
        assert_eq!(latencies.percentile(99), Duration::from_millis(198));
        assert_eq!(latencies.permille(995), Duration::from_millis(199));
        assert_eq!(latencies.percentile(100), Duration::from_millis(200));
    }
}
