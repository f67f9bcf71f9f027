//! The bare durable echo and the broker in turns, and the ratio of each pair.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::{LoadError, LoadReport, NativeLoadOptions, run_native};
use crate::client_loop::Stop;
use crate::figures::{rounded, write_latency_header, write_latency_row};
use crate::latency::LatencySummary;
use crate::limit::{LimitOptions, Progress, run_echo_alone};

/// Shortest request of the echo, which a smaller payload is raised to.
const ECHO_BYTES_MIN: usize = 64;
const PAIRS_MAX: u32 = 1000;

/// What to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedOptions {
    /// The load, for both sides; the echo's requests are as long as the broker's records together.
    pub native: NativeLoadOptions,
    /// Directory, file, groups in flight, pinning and spin of the echo: as the broker has them, or the ratio says
    /// nothing. The directory has to be on the broker's disk.
    pub limit: LimitOptions,
    /// How many pairs, 1 to 1,000.
    pub pairs: u32,
}

/// Echo and broker in turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedReport {
    /// In the order in which they were measured.
    pub pairs: Vec<Pair>,
    /// Median over the pairs of broker to echo, of the medians; `None` without enough samples.
    pub p50_ratio: Option<f64>,
    /// The same of the 99th percentiles.
    pub p99_ratio: Option<f64>,
    /// The same of the 99.9th percentiles.
    pub p999_ratio: Option<f64>,
    /// The same of requests per second: above 1 the broker took more.
    pub throughput_ratio: Option<f64>,
}

/// One echo and one broker run, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Latency of the echo.
    pub echo_latency: LatencySummary,
    /// Throughput of the echo.
    pub echo_requests_per_second: f64,
    /// The broker.
    pub broker: LoadReport,
}

/// Measures the pairs. `progress` hears of every slot as it begins.
///
/// # Errors
/// As [`run_native`] and [`limit::run`](crate::limit::run).
pub fn paired(
    options: &PairedOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PairedReport, LoadError> {
    if !(1..=PAIRS_MAX).contains(&options.pairs) {
        return Err(LoadError::Option { name: "pairs", wanted: "from 1 to 1,000" });
    }
    let native = &options.native;
    let payload_bytes = (native.records_per_request as usize * native.record_bytes).max(ECHO_BYTES_MIN);
    let limit = LimitOptions { payload_bytes, ..options.limit.clone() };
    let steps = options.pairs as usize * 2;
    let mut pairs = Vec::with_capacity(options.pairs as usize);
    for number in 0..options.pairs as usize {
        begin_slot(progress, "bare durable echo", number * 2 + 1, steps);
        let echo = run_echo_alone(&limit, native.connections, &native.load).map_err(LoadError::Limit)?;
        begin_slot(progress, "broker", number * 2 + 2, steps);
        pairs.push(Pair {
            echo_latency: echo.latency.summary(),
            echo_requests_per_second: rounded(echo.accepted_per_second()),
            broker: run_native(native, &Stop::default())?,
        });
    }
    Ok(PairedReport::new(pairs))
}

/// Each slot begins with nothing left to write from the one before.
fn begin_slot(progress: &mut dyn FnMut(Progress), step: &str, number: usize, steps: usize) {
    rustix::fs::sync();
    progress(Progress { step: step.to_owned(), number, steps });
}

impl PairedReport {
    fn new(pairs: Vec<Pair>) -> Self {
        let latency_ratio = |figure: fn(&LatencySummary) -> Option<f64>| {
            median_ratio(&pairs, |pair| Some((figure(&pair.broker.latency)?, figure(&pair.echo_latency)?)))
        };
        Self {
            p50_ratio: latency_ratio(|latency| latency.p50_us),
            p99_ratio: latency_ratio(|latency| latency.p99_us),
            p999_ratio: latency_ratio(|latency| latency.p999_us),
            throughput_ratio: median_ratio(&pairs, |pair| {
                Some((pair.broker.requests_per_second, pair.echo_requests_per_second))
            }),
            pairs,
        }
    }

    /// The report as people read it, lines that end in a newline.
    pub fn render_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a String does not fail");
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        write_latency_header(out)?;
        for (pair, number) in self.pairs.iter().zip(1..) {
            let echo_rate = Some(pair.echo_requests_per_second);
            write_latency_row(&format!("{number} bare durable echo"), echo_rate, &pair.echo_latency, out)?;
            let broker_rate = Some(pair.broker.requests_per_second);
            write_latency_row(&format!("{number} broker"), broker_rate, &pair.broker.latency, out)?;
        }
        let show = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        writeln!(
            out,
            "broker / echo, median of {} paired ratios: p50 {}, p99 {}, p99.9 {}, requests/s {}",
            self.pairs.len(),
            show(self.p50_ratio),
            show(self.p99_ratio),
            show(self.p999_ratio),
            show(self.throughput_ratio)
        )
    }
}

/// The median over all pairs of first to second; `None` when a pair lacks one.
fn median_ratio(pairs: &[Pair], figures: impl Fn(&Pair) -> Option<(f64, f64)>) -> Option<f64> {
    let ratios = pairs.iter().map(|pair| figures(pair).map(|(broker, echo)| broker / echo));
    let mut ratios = ratios.collect::<Option<Vec<f64>>>()?;
    median(&mut ratios).filter(|median| median.is_finite()).map(rounded)
}

fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { f64::midpoint(figures[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
