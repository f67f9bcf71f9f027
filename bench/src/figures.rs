//! How figures look: rounded in machine-readable reports, in columns for people.

use std::fmt::{self, Write};

use crate::latency::LatencySummary;

/// To three decimals; more is noise, and makes files longer.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Whether a latency is more the client's own than the server's.
pub(crate) fn is_generator_bound(latency: &LatencySummary, lateness: &LatencySummary) -> bool {
    match (latency.p50_us, lateness.p50_us) {
        (Some(latency), Some(lateness)) => lateness > latency / 2.0,
        _ => false,
    }
}

pub(crate) fn write_latency_header(out: &mut String) -> fmt::Result {
    writeln!(out, "  {:<34} {:>9} {:>9} {:>9} {:>9} {:>10}", "µs", "p50", "p99", "p99.9", "max", "requests/s")
}

/// A figure that the samples do not support is a dash.
pub(crate) fn write_latency_row(
    name: &str,
    per_second: Option<f64>,
    latency: &LatencySummary,
    out: &mut String,
) -> fmt::Result {
    let show = |figure: Option<f64>, digits: usize| {
        figure.map_or("-".to_owned(), |figure| format!("{figure:.digits$}"))
    };
    writeln!(
        out,
        "  {name:<34} {:>9} {:>9} {:>9} {:>9} {:>10}",
        show(latency.p50_us, 1),
        show(latency.p99_us, 1),
        show(latency.p999_us, 1),
        show(latency.max_us, 1),
        show(per_second, 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_samples_is_a_dash() {
        let latency = LatencySummary { samples: 20, p50_us: Some(12.34), ..LatencySummary::default() };
        let mut out = String::new();
        let written = write_latency_row("echo", None, &latency, &mut out);
        assert_eq!(written, Ok(()));
        let words: Vec<&str> = out.split_ascii_whitespace().collect();
        assert_eq!(words, ["echo", "12.3", "-", "-", "-", "-"]);
    }

    #[test]
    fn a_client_later_than_half_of_the_median_is_named() {
        let at = |p50| LatencySummary { p50_us: p50, ..LatencySummary::default() };
        assert!(is_generator_bound(&at(Some(100.0)), &at(Some(51.0))));
        assert!(!is_generator_bound(&at(Some(100.0)), &at(Some(49.0))));
        assert!(!is_generator_bound(&at(Some(100.0)), &at(None)));
    }
}
