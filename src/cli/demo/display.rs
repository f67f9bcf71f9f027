//! What the demo shows: a display that refreshes on a terminal, a line a second elsewhere, an object a line as JSON.

use std::io::{self, IsTerminal};
use std::time::Duration;

use ringmain_bench::latency::{Latencies, LatencySummary};
use serde_json::json;

use super::ledger::Ledger;
use super::orders::Order;
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output::{write_document, write_text};

/// Columns of a terminal that does not say how many it has.
const COLUMNS_DEFAULT: usize = 80;
/// How soon a display is refreshed, and how soon a further line follows.
const REFRESHED_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How the demo speaks.
#[derive(Debug)]
pub(super) struct Display {
    form: Form,
    /// Lines of the display that stand there already.
    shown: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Screen,
    Lines,
    Json,
}

/// What there is to be shown at one moment.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    /// Since the first order.
    pub(super) elapsed: Duration,
    /// Orders acknowledged a second since the moment before.
    pub(super) rate: f64,
    /// What has happened so far.
    pub(super) ledger: &'a Ledger,
    /// The order that was read last, and where.
    pub(super) latest: Option<&'a (Order, String)>,
    /// A synced write of 4 KiB to this disk.
    pub(super) floor: Option<&'a LatencySummary>,
}

impl Display {
    pub(super) fn new(format: Format) -> Self {
        let form = match format {
            Format::Json => Form::Json,
            Format::Text if io::stdout().is_terminal() => Form::Screen,
            Format::Text => Form::Lines,
        };
        Self { form, shown: 0 }
    }

    /// How often there is something to show.
    pub(super) fn every(&self) -> Duration {
        if self.form == Form::Screen { REFRESHED_EVERY } else { LINE_EVERY }
    }

    /// What stands above and below all else.
    pub(super) fn say(&self, text: &str, document: &serde_json::Value) -> Result<(), Failure> {
        if self.form == Form::Json { write_document(document) } else { write_text(text) }
    }

    /// Shows a moment, in the place of the one before if that is possible.
    pub(super) fn show(&mut self, moment: &Moment<'_>) -> Result<(), Failure> {
        match self.form {
            Form::Json => write_document(&document(moment)),
            Form::Lines => write_text(&line(moment)),
            Form::Screen => {
                let columns = columns();
                let mut text = if self.shown > 0 { format!("\x1b[{}A", self.shown) } else { String::new() };
                let lines = screen(moment);
                for line in &lines {
                    text.push_str("\r\x1b[K");
                    text.extend(line.chars().take(columns.saturating_sub(1)));
                    text.push('\n');
                }
                self.shown = lines.len();
                write_text(&text)
            }
        }
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map(|size| usize::from(size.ws_col)).ok().filter(|&columns| columns > 0).unwrap_or(COLUMNS_DEFAULT)
}

fn screen(moment: &Moment<'_>) -> Vec<String> {
    let Moment { rate, ledger, latest, floor, .. } = moment;
    // By partition: there is no room for its number.
    let positions: Vec<String> = ledger.positions().values().map(ToString::to_string).collect();
    let mut lines = vec![
        format!(
            "  orders      {} sent   {} acknowledged   {} consumed   {}/s",
            grouped(ledger.sent()),
            grouped(ledger.acknowledged()),
            grouped(ledger.consumed()),
            grouped(rate.round() as u64)
        ),
        format!("  to ack      {}", percentiles(&ledger.to_acknowledged().summary())),
        format!("  to consume  {}", percentiles(&ledger.to_consumed().summary())),
        format!("  disk alone  {}", floor.map_or_else(|| "not known".to_owned(), percentiles)),
        format!("  positions   {}", positions.join(" ")),
    ];
    lines.extend(latest.map(|(_, words)| format!("  latest      {words}")));
    lines
}

fn line(moment: &Moment<'_>) -> String {
    let Moment { elapsed, rate, ledger, .. } = moment;
    format!(
        "{:.0} s: {} sent, {} acknowledged, {} consumed, {}/s; to ack {}; to consume {}\n",
        elapsed.as_secs_f64(),
        ledger.sent(),
        ledger.acknowledged(),
        ledger.consumed(),
        rate.round(),
        percentiles(&ledger.to_acknowledged().summary()),
        percentiles(&ledger.to_consumed().summary())
    )
}

fn document(moment: &Moment<'_>) -> serde_json::Value {
    let Moment { elapsed, rate, ledger, latest, .. } = moment;
    let positions: Vec<_> = ledger
        .positions()
        .iter()
        .map(|(partition, next)| json!({ "partition": partition.get(), "offset": next.get() }))
        .collect();
    json!({
        "event": "progress",
        "elapsed_ms": milliseconds(*elapsed),
        "sent": ledger.sent(),
        "acknowledged": ledger.acknowledged(),
        "consumed": ledger.consumed(),
        "acknowledged_per_second": rate.round(),
        "send_to_acknowledged": ledger.to_acknowledged().summary(),
        "send_to_consumed": ledger.to_consumed().summary(),
        "positions": positions,
        "latest": latest.map(|(order, _)| order),
    })
}

/// How the demo ended.
pub(super) fn summary(ledger: &Ledger, elapsed: Duration) -> (String, serde_json::Value) {
    let latencies = |latencies: &Latencies| latencies.summary();
    let mut text = format!(
        "stopped after {:.1} s: sent {}, acknowledged {}, consumed {}, lost {}, duplicated {}\n",
        elapsed.as_secs_f64(),
        ledger.sent(),
        ledger.acknowledged(),
        ledger.consumed(),
        ledger.missing(),
        ledger.duplicated()
    );
    if ledger.failed() > 0 {
        text.push_str(&format!("{} orders failed: they may or may not be stored\n", ledger.failed()));
    }
    if ledger.others() > 0 {
        text.push_str(&format!("{} records of others were read too\n", ledger.others()));
    }
    let document = json!({
        "event": "summary",
        "elapsed_ms": milliseconds(elapsed),
        "sent": ledger.sent(),
        "acknowledged": ledger.acknowledged(),
        "consumed": ledger.consumed(),
        "lost": ledger.missing(),
        "duplicated": ledger.duplicated(),
        "failed": ledger.failed(),
        "others": ledger.others(),
        "send_to_acknowledged": latencies(ledger.to_acknowledged()),
        "send_to_consumed": latencies(ledger.to_consumed()),
    });
    (text, document)
}

/// The percentiles that there are samples enough for.
pub(super) fn percentiles(latencies: &LatencySummary) -> String {
    let known = [("p50", latencies.p50_us), ("p99", latencies.p99_us), ("p99.9", latencies.p999_us)];
    let known = known.into_iter().filter_map(|(name, us)| us.map(|us| format!("{name} {:.2} ms", us / 1e3)));
    let known: Vec<String> = known.collect();
    if known.is_empty() { "not known yet".to_owned() } else { known.join("  ") }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::{Offset, PartitionIndex};

    use super::*;
    use crate::cli::clock::instant;

    fn ledger() -> Ledger {
        let (mut ledger, at) = (Ledger::default(), instant());
        for order in 0..1_200 {
            ledger.send(order, at);
            ledger.acknowledge(order, at + Duration::from_micros(300));
            ledger.consume(order, at + Duration::from_micros(400));
        }
        ledger.read_to(PartitionIndex(3), Offset(1_200));
        ledger
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_moment_says_what_was_measured_and_nothing_more() {
        let ledger = ledger();
        let moment = Moment {
            elapsed: Duration::from_secs(2),
            rate: 1_000.4,
            ledger: &ledger,
            latest: None,
            floor: None,
        };
        assert_eq!(
            line(&moment),
            "2 s: 1200 sent, 1200 acknowledged, 1200 consumed, 1000/s; to ack p50 0.30 ms  p99 0.30 ms; to consume \
             p50 0.40 ms  p99 0.40 ms\n",
        );
        let screen = screen(&moment);
        assert_eq!(screen[0], "  orders      1,200 sent   1,200 acknowledged   1,200 consumed   1,000/s");
        assert_eq!(screen[4], "  positions   1200");
        let document = document(&moment);
        assert_eq!(document["send_to_acknowledged"]["p999_us"], serde_json::Value::Null, "too few samples");
        assert_eq!(document["positions"], json!([{ "partition": 3, "offset": 1_200 }]));
    }

    #[test]
    fn the_summary_says_what_was_lost() {
        let mut ledger = ledger();
        let at = instant();
        ledger.send(5_000, at);
        ledger.acknowledge(5_000, at);
        ledger.meet_other();
        let (text, document) = summary(&ledger, Duration::from_millis(1_250));
        assert_eq!(
            text,
            "stopped after 1.2 s: sent 1201, acknowledged 1201, consumed 1200, lost 1, duplicated 0\n\
             1 records of others were read too\n"
        );
        assert_eq!((&document["lost"], &document["duplicated"]), (&json!(1), &json!(0)));
    }
}
