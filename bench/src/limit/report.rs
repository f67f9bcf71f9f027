//! What the limit is, for machines (serde) and for people.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::{Direction, DiskReport, MachineReport};
use crate::client_loop::Ledger;
use crate::figures::{is_generator_bound, write_latency_header, write_latency_row};
use crate::host::Host;
use crate::latency::LatencySummary;

/// Above this, others had so much of the processor that the figures say little.
const STOLEN_CORES_MAX: f64 = 0.12;

/// The physical limit of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitReport {
    /// Version of Ringmain that measured.
    pub version: String,
    /// The machine.
    pub host: Host,
    /// The directory whose disk was measured.
    pub directory: String,
    /// What an answer of the echo means.
    pub durability: String,
    /// Length of a request of the echo.
    pub payload_bytes: usize,
    /// Group writes that the echo keeps in flight.
    pub groups_in_flight: usize,
    /// Length of the file that was written, wrapping.
    pub file_bytes: u64,
    /// The processor that the echo's server was pinned to.
    pub server_cpu: Option<usize>,
    /// How much of a core the hypervisor gave to others during the run.
    pub stolen_cores: f64,
    /// How long the run took.
    pub elapsed_seconds: f64,
    /// The bare durable echo, one for each way of waiting.
    pub echoes: Vec<EchoReport>,
    /// The disk alone.
    pub disk: DiskReport,
    /// Network stack, memory and processor alone.
    pub machine: MachineReport,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// The bare durable echo with one way of waiting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EchoReport {
    /// `parked`: the server sleeps in the kernel; `spinning`: it looks for work before.
    pub waiting: String,
    /// For how long, in microseconds.
    pub spin_us: Option<f64>,
    /// One connection on a fixed schedule.
    pub light_load: LightLoadReport,
    /// Connections with one request in flight each.
    pub closed_loops: Vec<ClosedLoopReport>,
}

/// An open loop over one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LightLoadReport {
    /// The schedule.
    pub requests_per_second: f64,
    /// From when a request was due to its answer.
    pub latency: LatencySummary,
    /// How late the client itself was: part of the latency.
    pub lateness: LatencySummary,
    /// The client's median lateness exceeds half of the median latency: the figures are more its own than the server's.
    pub generator_bound: bool,
}

/// A closed loop: connections with one request in flight each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedLoopReport {
    /// How many.
    pub connections: u32,
    /// All connections together.
    pub requests_per_second: f64,
    /// How many requests shared a group write.
    pub requests_per_write: f64,
    /// From request to answer.
    pub latency: LatencySummary,
}

impl LightLoadReport {
    pub(super) fn new(requests_per_second: f64, ledger: &Ledger) -> Self {
        let (latency, lateness) = (ledger.latency.summary(), ledger.lateness.summary());
        let generator_bound = is_generator_bound(&latency, &lateness);
        Self { requests_per_second, latency, lateness, generator_bound }
    }
}

impl LimitReport {
    /// The report as people read it, a table of lines that end in a newline.
    pub fn render_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a String does not fail");
        text
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        self.write_host(out)?;
        for echo in &self.echoes {
            echo.write_text(self.payload_bytes, out)?;
        }
        self.write_disk(out)?;
        self.write_machine(out)?;
        if self.stolen_cores > STOLEN_CORES_MAX {
            writeln!(
                out,
                "\nnote: {:.2} of a core was stolen by the hypervisor: repeat the run",
                self.stolen_cores
            )?;
        }
        for note in &self.notes {
            writeln!(out, "\nnote: {note}")?;
        }
        Ok(())
    }

    fn write_host(&self, out: &mut String) -> fmt::Result {
        let Host { kernel, cpu_model, cpus, mount } = &self.host;
        writeln!(
            out,
            "physical limit of this host (ringmain {}, {:.0} s)",
            self.version, self.elapsed_seconds
        )?;
        writeln!(out, "  kernel      {kernel}")?;
        writeln!(
            out,
            "  processor   {cpus} x {cpu_model}, {:.2} of a core stolen during the run",
            self.stolen_cores
        )?;
        writeln!(
            out,
            "  disk        {} on {} ({}), write cache: {}",
            self.directory, mount.device, mount.filesystem, mount.write_cache
        )?;
        writeln!(out, "  durability  {}", self.durability)?;
        let pinned =
            self.server_cpu.map_or("not pinned".to_owned(), |cpu| format!("pinned to processor {cpu}"));
        writeln!(
            out,
            "  echo        {} groups in flight, file of {} MiB, server {pinned}",
            self.groups_in_flight,
            self.file_bytes >> 20
        )
    }

    fn write_disk(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\ndisk, 4 KiB, O_DIRECT + RWF_DSYNC, one at a time")?;
        write_latency_header(out)?;
        write_latency_row("through io_uring", None, &self.disk.ring_write_4k, out)?;
        write_latency_row("blocking pwritev2", None, &self.disk.blocking_write_4k, out)?;
        writeln!(out, "\ndisk, sequential")?;
        for stream in &self.disk.streams {
            let what = match stream.direction {
                Direction::SyncedWrite => "synced write",
                Direction::Read => "direct read",
            };
            writeln!(
                out,
                "  {what} {:>5} KiB, {} in flight {:>14.0} MB/s",
                stream.block_bytes / 1024,
                stream.depth,
                stream.megabytes_per_second
            )?;
        }
        Ok(())
    }

    fn write_machine(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\nloopback TCP, 512 B there and back")?;
        write_latency_header(out)?;
        write_latency_row("blocking", None, &self.machine.loopback_round_trip_512, out)?;
        writeln!(out, "\nmemory")?;
        writeln!(out, "  copy   {:>6.1} GB/s", self.machine.copy_gigabytes_per_second)?;
        writeln!(out, "  crc32c {:>6.1} GB/s", self.machine.crc32c_gigabytes_per_second)
    }
}

impl EchoReport {
    fn write_text(&self, payload_bytes: usize, out: &mut String) -> fmt::Result {
        let spin = self.spin_us.map_or(String::new(), |spin| format!(" up to {spin:.0} µs"));
        writeln!(out, "\nbare durable echo, {payload_bytes} B, server {}{spin}", self.waiting)?;
        write_latency_header(out)?;
        let light = &self.light_load;
        write_latency_row(
            &format!("open loop, {:.0}/s, 1 connection", light.requests_per_second),
            None,
            &light.latency,
            out,
        )?;
        write_latency_row("  of which the client's lateness", None, &light.lateness, out)?;
        if light.generator_bound {
            writeln!(out, "  (generator-bound: the client was later than half of the median)")?;
        }
        for closed in &self.closed_loops {
            let connections = closed.connections;
            let plural = if connections == 1 { "" } else { "s" };
            let name = format!("closed loop, {connections} connection{plural}");
            write_latency_row(&name, Some(closed.requests_per_second), &closed.latency, out)?;
        }
        Ok(())
    }
}
