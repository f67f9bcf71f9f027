//! What came of a load, for machines (serde) and for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use ringmain_wire::native::messages::HelloResponse;
use serde::{Deserialize, Serialize};

use super::{Acks, NativeLoadOptions};
use crate::client_loop::{Ledger, Pace};
use crate::figures::{is_generator_bound, rounded, write_latency_header, write_latency_row};
use crate::host::Host;
use crate::latency::LatencySummary;

/// What came of a load on one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Version of Ringmain that measured.
    pub version: String,
    /// The machine that measured.
    pub host: Host,
    /// The broker, as `ringmain://HOST:PORT`.
    pub target: String,
    /// The broker's version.
    pub broker_version: String,
    /// What an acknowledgement means.
    pub durability: String,
    /// When requests left.
    pub pace: Pace,
    /// Connections, each to the shard that owns its partition.
    pub connections: u32,
    /// Partitions written to.
    pub partitions: usize,
    /// Records in the one batch of each request.
    pub records_per_request: u32,
    /// Length of a record's value.
    pub record_bytes: usize,
    /// Time before the figures begin.
    pub warm_up_seconds: f64,
    /// Time that the figures are of.
    pub measured_seconds: f64,
    /// Whether the run was told to stop before its time.
    pub interrupted: bool,
    /// Requests sent, warm-up included.
    pub requests_sent: u64,
    /// Requests acknowledged, warm-up included.
    pub requests_acknowledged: u64,
    /// Requests refused, warm-up included.
    pub requests_refused: u64,
    /// Requests that had no answer when the run was over.
    pub requests_unanswered: u64,
    /// Requests that were due and never sent, because too many had no answer.
    pub requests_unsent: u64,
    /// How often each error was answered.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledged within the measured time.
    pub requests_per_second: f64,
    /// The same in records.
    pub records_per_second: f64,
    /// The same in millions of bytes of values.
    pub megabytes_per_second: f64,
    /// From when a request was due (open loop) or sent (closed loop) to its acknowledgement.
    pub latency: LatencySummary,
    /// How late the client itself was; empty in a closed loop.
    pub lateness: LatencySummary,
    /// The client's median lateness exceeds half of the median latency.
    pub generator_bound: bool,
    /// How much of a core the hypervisor gave to others during the load.
    pub stolen_cores: f64,
    /// What reading everything back found, if that was asked for.
    pub verification: Option<Verification>,
}

/// What was acknowledged against what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Records acknowledged.
    pub acknowledged_records: u64,
    /// Records that the run's partitions gained.
    pub stored_records: u64,
    /// Acknowledged records that are not where the acknowledgement said.
    pub lost_records: u64,
    /// Records acknowledged at an offset that another acknowledgement had named.
    pub acknowledged_twice_records: u64,
    /// Batches whose offset is not above that of the batch before.
    pub out_of_order_batches: u64,
}

impl Verification {
    /// Whether every acknowledgement was true.
    pub fn holds(&self) -> bool {
        self.lost_records == 0 && self.acknowledged_twice_records == 0 && self.out_of_order_batches == 0
    }
}

impl LoadReport {
    #[expect(clippy::too_many_arguments, reason = "a report is where everything about a run meets")]
    pub(super) fn new(
        options: &NativeLoadOptions,
        hello: &HelloResponse,
        host: Host,
        partitions: usize,
        ledger: &Ledger,
        errors: BTreeMap<String, u64>,
        stolen_cores: f64,
        interrupted: bool,
        verification: Option<Verification>,
    ) -> Self {
        let requests_per_second = ledger.accepted_per_second();
        let records_per_second = requests_per_second * f64::from(options.records_per_request);
        let (latency, lateness) = (ledger.latency.summary(), ledger.lateness.summary());
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            target: format!("ringmain://{}", options.broker),
            broker_version: hello.broker_version.clone(),
            durability: match options.acks {
                Acks::Leader => "acks=1: written and synced by the leader",
                Acks::All => "acks=all: written and synced by every in-sync replica",
            }
            .to_owned(),
            pace: options.load.pace,
            connections: options.connections,
            partitions,
            records_per_request: options.records_per_request,
            record_bytes: options.record_bytes,
            warm_up_seconds: options.load.warm_up.as_secs_f64(),
            measured_seconds: ledger.measured_seconds(),
            interrupted,
            requests_sent: ledger.sent,
            requests_acknowledged: ledger.accepted,
            requests_refused: ledger.refused,
            requests_unanswered: ledger.unanswered(),
            requests_unsent: ledger.unsent,
            errors,
            requests_per_second: rounded(requests_per_second),
            records_per_second: rounded(records_per_second),
            megabytes_per_second: rounded(records_per_second * options.record_bytes as f64 / 1e6),
            generator_bound: is_generator_bound(&latency, &lateness),
            latency,
            lateness,
            stolen_cores: rounded(stolen_cores),
            verification,
        }
    }

    /// The report as people read it, lines that end in a newline.
    pub fn render_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a String does not fail");
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{} ({}), {}", self.target, self.broker_version, self.durability)?;
        let pace = match self.pace {
            Pace::OpenLoop { requests_per_second } => format!("open loop, {requests_per_second:.0}/s"),
            Pace::ClosedLoop { unanswered_per_connection } => {
                format!("closed loop, {unanswered_per_connection} in flight a connection")
            }
        };
        writeln!(
            out,
            "  {pace}; connections {}, partitions {}, {} x {} B a request; {:.0} s after {:.0} s of warm-up{}",
            self.connections,
            self.partitions,
            self.records_per_request,
            self.record_bytes,
            self.measured_seconds,
            self.warm_up_seconds,
            if self.interrupted { ", interrupted" } else { "" }
        )?;
        write_latency_header(out)?;
        write_latency_row("produce to acknowledgement", Some(self.requests_per_second), &self.latency, out)?;
        if self.lateness.samples > 0 {
            write_latency_row("  of which the client's lateness", None, &self.lateness, out)?;
        }
        if self.generator_bound {
            writeln!(out, "  (generator-bound: the client was later than half of the median)")?;
        }
        writeln!(
            out,
            "  {:.0} records/s, {:.1} MB/s; {:.2} of a core stolen",
            self.records_per_second, self.megabytes_per_second, self.stolen_cores
        )?;
        writeln!(
            out,
            "  requests: {} sent, {} acknowledged, {} refused, {} unanswered, {} never sent",
            self.requests_sent,
            self.requests_acknowledged,
            self.requests_refused,
            self.requests_unanswered,
            self.requests_unsent
        )?;
        for (error, count) in &self.errors {
            writeln!(out, "  refused with {error}: {count}")?;
        }
        if let Some(found) = &self.verification {
            writeln!(
                out,
                "  read back: {} records acknowledged, {} stored, {} lost, {} acknowledged twice, {} batches out of order",
                found.acknowledged_records,
                found.stored_records,
                found.lost_records,
                found.acknowledged_twice_records,
                found.out_of_order_batches
            )?;
        }
        Ok(())
    }
}
