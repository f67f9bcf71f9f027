//! Latency histograms, and the few figures of them that a run has enough samples for.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies are recorded as this long.
const LATENCY_MAX: Duration = Duration::from_secs(120);
/// A percentile is reported only with this many samples above it.
const SAMPLES_ABOVE_MIN: u64 = 10;

/// Latencies of one run, to three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    nanoseconds: Histogram<u64>,
}

impl Latencies {
    /// No samples yet.
    pub fn new() -> Self {
        let longest =
            u64::try_from(LATENCY_MAX.as_nanos()).expect("two minutes fit in 64 bits of nanoseconds");
        let nanoseconds = Histogram::new_with_bounds(1, longest, 3).expect("constant bounds are valid");
        Self { nanoseconds }
    }

    /// Adds one sample, in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        self.nanoseconds.saturating_record(nanoseconds.max(1));
    }

    /// The histogram itself, in nanoseconds, for files that others analyse.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.nanoseconds
    }

    /// The figures that this many samples support.
    pub fn summary(&self) -> LatencySummary {
        let samples = self.nanoseconds.len();
        LatencySummary {
            samples,
            p50_us: self.percentile_us(50.0),
            p90_us: self.percentile_us(90.0),
            p99_us: self.percentile_us(99.0),
            p999_us: self.percentile_us(99.9),
            p9999_us: self.percentile_us(99.99),
            max_us: (samples > 0).then(|| microseconds(self.nanoseconds.max())),
        }
    }

    fn percentile_us(&self, percentile: f64) -> Option<f64> {
        let above = samples_above(self.nanoseconds.len(), percentile);
        (above >= SAMPLES_ABOVE_MIN).then(|| microseconds(self.nanoseconds.value_at_percentile(percentile)))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// What a report says of a latency histogram. A percentile is `None` when fewer than ten samples lie above it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Samples recorded.
    pub samples: u64,
    /// Median, in microseconds.
    pub p50_us: Option<f64>,
    /// 90th percentile, in microseconds.
    pub p90_us: Option<f64>,
    /// 99th percentile, in microseconds.
    pub p99_us: Option<f64>,
    /// 99.9th percentile, in microseconds.
    pub p999_us: Option<f64>,
    /// 99.99th percentile, in microseconds.
    pub p9999_us: Option<f64>,
    /// The longest, in microseconds; `None` without samples.
    pub max_us: Option<f64>,
}

/// How many of `samples` lie above `percentile` at least.
fn samples_above(samples: u64, percentile: f64) -> u64 {
    // Counted in hundredths of a percent, exactly: 0.1 % of 10,000 in floating point is just under 10.
    let at_or_below = (percentile * 100.0).round() as u128;
    let above = u128::from(samples) * (10_000 - at_or_below) / 10_000;
    u64::try_from(above).expect("a part of a u64 fits in a u64")
}

fn microseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(samples: u64) -> LatencySummary {
        let mut latencies = Latencies::new();
        for sample in 1..=samples {
            latencies.record(sample * 1_000);
        }
        latencies.summary()
    }

    #[test]
    fn a_percentile_is_reported_from_ten_samples_above_it() {
        assert_eq!(uniform(19).p50_us, None);
        assert!(uniform(20).p50_us.is_some());
        assert_eq!(uniform(999).p99_us, None);
        assert!(uniform(1_000).p99_us.is_some());
        assert_eq!(uniform(9_999).p999_us, None);
        assert!(uniform(10_000).p999_us.is_some());
        assert_eq!(uniform(10_000).p9999_us, None);
    }

    #[test]
    fn percentiles_of_a_uniform_distribution_are_where_they_belong() {
        let summary = uniform(10_000);
        let near = |found: Option<f64>, wanted: f64| (found.unwrap_or(0.0) / wanted - 1.0).abs() < 0.002;
        assert!(near(summary.p50_us, 5_000.0), "{summary:?}");
        assert!(near(summary.p99_us, 9_900.0), "{summary:?}");
        assert!(near(summary.max_us, 10_000.0), "{summary:?}");
    }

    #[test]
    fn an_empty_histogram_claims_nothing_and_a_huge_sample_is_kept() {
        assert_eq!(Latencies::new().summary(), LatencySummary::default());
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        let max = latencies.summary().max_us.unwrap_or(0.0);
        assert!(max >= 120e6, "{max}");
    }
}
