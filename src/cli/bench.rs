//! `ringmain bench …`.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ringmain_bench::client_loop::{Load, Pace, Stop};
use ringmain_bench::generator::{
    Acks, LoadError, LoadReport, NativeLoadOptions, PairedOptions, Topic, paired, run_native,
};
use ringmain_bench::limit::{self, LimitOptions, Progress as Step};
use ringmain_client::Endpoint;
use ringmain_client::driver::PORT_DEFAULT;
use serde::Serialize;
use tokio::runtime::Builder;

use super::arguments::Format;
use super::failure::{EXIT_FAILED, Failure};
use super::not_yet::Ignored;
use super::output::{Progress, write_document, write_text};
use super::session::{Interrupts, check_descriptors};
use super::time::parse_duration;

/// How long answers may take after the last request.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum BenchVerb {
    /// What this host could do at best: a bare durable echo, and disk, loopback and memory behind it. Under 30 s.
    Limit(LimitArguments),
    /// Put a load on a broker.
    Run(RunArguments),
    /// The bare durable echo and the broker in turns, and the ratio of each pair.
    Pair(PairArguments),
    #[command(hide = true)]
    Compare(Ignored),
    #[command(hide = true)]
    Report(Ignored),
}

#[derive(Debug, Args)]
pub(super) struct LimitArguments {
    /// A directory on the disk that the broker uses.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain bench run --rate 500 --duration 60          # open loop: latency under a light load
  ringmain bench run --connections 32                  # closed loop: what it can take
  ringmain bench run --batch-records 64 --verify --format json")]
pub(super) struct RunArguments {
    #[command(flatten)]
    load: LoadArguments,
}

#[derive(Debug, Args)]
pub(super) struct PairArguments {
    #[command(flatten)]
    load: LoadArguments,
    /// A directory on the disk that the broker uses, for the echo.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// How many pairs.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pairs: u32,
    /// How long the echo looks for work before it sleeps, in microseconds: as the broker [default: it sleeps at once].
    #[arg(long, value_name = "MICROS")]
    spin: Option<u64>,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// The broker, as ringmain://HOST:PORT or HOST:PORT.
    #[arg(
        long,
        visible_alias = "broker",
        env = "RINGMAIN_BROKER",
        value_name = "URL",
        default_value = "ringmain://127.0.0.1:7092"
    )]
    target: String,
    /// An existing topic [default: one of the run's own, deleted at its end].
    #[arg(long, value_name = "NAME", conflicts_with = "partitions")]
    topic: Option<String>,
    /// Partitions of the run's own topic.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: u32,
    /// Requests a second, on a fixed schedule [default: as soon as the one before is answered].
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Requests without an answer on each connection, where there is no --rate.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Length of a record's value.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    record_bytes: usize,
    /// Records in the batch of each request.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch_records: u32,
    /// How long to measure, in seconds or with a unit.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_duration)]
    duration: Duration,
    /// How long to run before that.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_duration)]
    warm_up: Duration,
    /// What is waited for; in both cases the record is on stable storage.
    #[arg(long, value_enum, default_value_t = AcksArgument::All)]
    acks: AcksArgument,
    /// Read everything back and look for what was acknowledged; exit 1 if something is missing.
    #[arg(long)]
    verify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AcksArgument {
    #[value(name = "1")]
    Leader,
    #[value(name = "all")]
    All,
}

/// Runs one of them.
pub(super) fn run(verb: BenchVerb, format: Format) -> Result<(), Failure> {
    match verb {
        BenchVerb::Limit(LimitArguments { dir }) => {
            let options = LimitOptions::new(dir);
            let measured = with_progress(|progress| limit::run(&options, progress));
            let report = measured.map_err(|error| Failure::failed("bench_failed", error.to_string()))?;
            print(&report, format, || report.render_text())
        }
        BenchVerb::Run(RunArguments { load }) => {
            let (options, stop) = (load.options()?, Stop::default());
            stop_when_interrupted(&stop)?;
            let report = run_native(&options, &stop).map_err(|error| load_failure(&error))?;
            print(&report, format, || report.render_text())?;
            judge(&report)
        }
        BenchVerb::Pair(PairArguments { load, dir, pairs, spin }) => {
            let spin = spin.map(Duration::from_micros);
            let limit = LimitOptions { spin, ..LimitOptions::new(dir) };
            let options = PairedOptions { native: load.options()?, limit, pairs };
            let measured = with_progress(|progress| paired(&options, progress));
            let report = measured.map_err(|error| load_failure(&error))?;
            print(&report, format, || report.render_text())
        }
        BenchVerb::Compare(_) | BenchVerb::Report(_) => unreachable!("refused before"),
    }
}

/// Ctrl-C and SIGTERM end the run in order: its topic is deleted, its figures are printed.
fn stop_when_interrupted(stop: &Stop) -> Result<(), Failure> {
    check_descriptors()?;
    let refused = |error: io::Error| Failure::failed("environment", format!("cannot catch signals: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let mut interrupts = {
        let _context = runtime.enter();
        Interrupts::listen()?
    };
    let stop = stop.clone();
    let waiting = move || {
        runtime.block_on(interrupts.next());
        stop.request();
    };
    // It ends with the process.
    std::thread::Builder::new().name("ringmain-signals".to_owned()).spawn(waiting).map_err(refused)?;
    Ok(())
}

/// Whether what was measured is worth anything.
fn judge(report: &LoadReport) -> Result<(), Failure> {
    if report.verification.as_ref().is_some_and(|found| !found.holds()) {
        return Err(Failure::failed(
            "verification_failed",
            "what was acknowledged is not what is stored; the report says more",
        ));
    }
    check_acknowledged(report.requests_sent, report.requests_acknowledged, report.requests_refused)?;
    if report.interrupted {
        let words = format!("interrupted: the figures are those of {:.1} s", report.measured_seconds);
        return Err(Failure::failed("interrupted", words));
    }
    Ok(())
}

/// Figures of a run in which nothing was acknowledged are figures of nothing.
fn check_acknowledged(sent: u64, acknowledged: u64, refused: u64) -> Result<(), Failure> {
    if acknowledged > 0 {
        return Ok(());
    }
    let message = format!("none of {sent} requests was acknowledged, {refused} were refused");
    Err(Failure::failed("nothing_acknowledged", message))
}

fn print(report: &impl Serialize, format: Format, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Json => write_document(report),
        Format::Text => write_text(&text()),
    }
}

fn load_failure(error: &LoadError) -> Failure {
    match error {
        LoadError::Option { .. } => Failure::usage(error.to_string()),
        LoadError::Connect { .. } => Failure::passed_on(EXIT_FAILED, "cannot_connect", &error.to_string()),
        _ => Failure::passed_on(EXIT_FAILED, "bench_failed", &error.to_string()),
    }
}

impl LoadArguments {
    fn options(&self) -> Result<NativeLoadOptions, Failure> {
        let pace = match self.rate {
            Some(requests_per_second) => Pace::OpenLoop { requests_per_second },
            None => Pace::ClosedLoop { unanswered_per_connection: self.in_flight },
        };
        Ok(NativeLoadOptions {
            broker: resolve(&self.target)?,
            topic: match &self.topic {
                Some(name) => Topic::Existing(name.clone()),
                None => Topic::Temporary { partitions: self.partitions },
            },
            connections: self.connections,
            records_per_request: self.batch_records,
            record_bytes: self.record_bytes,
            acks: match self.acks {
                AcksArgument::Leader => Acks::Leader,
                AcksArgument::All => Acks::All,
            },
            load: Load { pace, warm_up: self.warm_up, measured: self.duration, drain: DRAIN },
            verify: self.verify,
        })
    }
}

/// The first address of `[ringmain://]HOST[:PORT][,…]`: one broker is measured at a time.
fn resolve(target: &str) -> Result<SocketAddr, Failure> {
    let first = target.split(',').next().unwrap_or_default().trim();
    let address = first.strip_prefix("ringmain://").unwrap_or(first);
    if address.contains("://") {
        return Err(Failure::usage(format!("{target}: this version measures ringmain:// targets only")));
    }
    let endpoint =
        Endpoint::parse(address, PORT_DEFAULT).map_err(|error| Failure::usage(error.to_string()))?;
    let mut resolved = (endpoint.host.as_str(), endpoint.port)
        .to_socket_addrs()
        .map_err(|error| Failure::unresolvable(&endpoint.host, &error.to_string()))?;
    resolved.next().ok_or_else(|| Failure::failed("cannot_connect", format!("{endpoint} has no address")))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=1e7).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.1 to 10000000".to_owned()),
    }
}

/// Shows what is being measured.
fn with_progress<T>(measure: impl FnOnce(&mut dyn FnMut(Step)) -> T) -> T {
    let progress = Progress::new(true);
    measure(&mut |Step { step, number, steps }| progress.show(&format!("[{number}/{steps}] {step}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn options(arguments: &[&str]) -> NativeLoadOptions {
        let line = Line::try_parse_from([&["run"], arguments].concat()).expect("arguments");
        line.load.options().expect("options")
    }

    #[test]
    fn a_rate_makes_the_loop_open() {
        let pace = options(&["--rate", "500"]).load.pace;
        assert_eq!(pace, Pace::OpenLoop { requests_per_second: 500.0 });
        let closed = options(&["--in-flight", "3", "--acks", "1", "--partitions", "5"]);
        assert_eq!(closed.load.pace, Pace::ClosedLoop { unanswered_per_connection: 3 });
        assert_eq!((closed.acks, closed.topic), (Acks::Leader, Topic::Temporary { partitions: 5 }));
        assert!(Line::try_parse_from(["run", "--rate", "0"]).is_err());
        assert!(Line::try_parse_from(["run", "--acks", "0"]).is_err());
    }

    #[test]
    fn a_run_in_which_nothing_was_acknowledged_has_failed() {
        let message = "none of 7 requests was acknowledged, 5 were refused";
        let failure = Failure::failed("nothing_acknowledged", message);
        assert_eq!(check_acknowledged(7, 0, 5), Err(failure));
        assert_eq!(check_acknowledged(7, 1, 6), Ok(()));
    }

    #[test]
    fn a_target_is_a_url_or_an_address() {
        let address = |target: &str| resolve(target).map(|address| address.to_string()).ok();
        assert_eq!(address("ringmain://127.0.0.1:9"), Some("127.0.0.1:9".to_owned()));
        assert_eq!(address("127.0.0.1"), Some("127.0.0.1:7092".to_owned()));
        assert_eq!(address("127.0.0.1:1,127.0.0.1:2"), Some("127.0.0.1:1".to_owned()));
        assert_eq!(address("kafka://127.0.0.1:9092"), None);
    }
}
