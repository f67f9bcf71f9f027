//! Frames that are random, cut short, flipped, too long or mangled within, over all native ports and many connections.

mod attack;
mod expect;
mod script;
mod templates;

use core::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::client::create_topic;
use super::error::SiegeError;
use super::healthy::{Healthy, Seen};
use super::latencies::ratio;
use super::memory::{MemorySeen, MemoryWatch};
use super::owners::Owners;
use super::run::{Place, pause, ports};
use crate::crash::clock::Stopwatch;
use crate::crash::session::Session;
use attack::Counts;
use script::script;
use templates::{PREY, PREY_PARTITIONS, Templates};

/// Connections at a time.
const ATTACKERS: usize = 16;
/// What a siege does.
#[derive(Clone, Debug)]
pub struct FramesOptions {
    /// Frames sent.
    pub frames: u64,
    /// Decides all of them.
    pub seed: u64,
    /// For how long the client that means well is measured before.
    pub calm: Duration,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
struct FramesReport {
    seed: u64,
    counts: Counts,
    elapsed: Duration,
    memory: MemorySeen,
    healthy: Seen,
}

/// Lays the siege.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken, or when the run could not go on.
pub fn run(options: &FramesOptions) -> Result<(), SiegeError> {
    let place = Place::make(options.directory.as_deref(), "frames")?;
    let mut broker = place.start()?;
    let native = place.options.native;
    let (mut session, _) = Session::connect(native)?;
    let templates = Templates::about(create_topic(&mut session, PREY, PREY_PARTITIONS)?);
    let ports = ports(native)?;

    let healthy = Healthy::start(native, 2)?;
    pause(options.calm);
    let watch = MemoryWatch::start(broker.process())?;
    healthy.enter(1);
    let started = Stopwatch::start();
    let counts = attack_all(&ports, &templates, options);
    let elapsed = started.elapsed();
    // First of all: if it died, everything else only says so at greater length.
    broker.check_alive()?;
    let counts = counts?;
    let healthy = healthy.finish()?;
    let memory = watch.finish(&broker.process(), &Owners::ask(&mut session)?)?;
    let report = FramesReport { seed: options.seed, counts, elapsed, memory, healthy };
    println!("{report}");
    report.memory.check()?;
    broker.stop()?;
    place.remove()
}

/// Connection after connection on some threads, until enough frames are sent.
fn attack_all(
    ports: &[SocketAddr],
    templates: &Templates,
    options: &FramesOptions,
) -> Result<Counts, SiegeError> {
    let (next, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new(Counts::default());
    thread::scope(|scope| {
        let attack = || -> Result<(), SiegeError> {
            while sent.load(Ordering::Relaxed) < options.frames {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let script = script(templates, options.seed, number);
                sent.fetch_add(script.frames, Ordering::Relaxed);
                let port = ports[(number % ports.len() as u64) as usize];
                let counts = attack::run(port, &script).inspect_err(|_| {
                    // The others stop too.
                    sent.store(u64::MAX / 2, Ordering::Relaxed);
                    eprintln!(
                        "connection {number} under seed {}, {} bytes",
                        options.seed,
                        script.bytes.len()
                    );
                })?;
                total.lock().expect("no thread panics with it").add(counts);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..ATTACKERS).map(|_| scope.spawn(attack)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("an attacker does not panic"))
    })?;
    Ok(total.into_inner().expect("no thread panics with it"))
}

impl fmt::Display for FramesReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { connections, frames, accepted, refused, closed } = self.counts;
        let seconds = self.elapsed.as_secs_f64();
        writeln!(out, "frames, seed {}: {frames} on {connections} connections in {seconds:.1} s", self.seed)?;
        writeln!(
            out,
            "  {accepted} answers, {refused} error answers, {closed} connections closed by the broker; none hung"
        )?;
        writeln!(out, "  {}", self.memory)?;
        let [before, during] = [0, 1].map(|part| &self.healthy.parts[part]);
        writeln!(out, "  healthy client before: {before}")?;
        writeln!(out, "  healthy client during: {during}; p99 x {:.1}", ratio(before, during))?;
        write!(out, "  it read back {} records and saw no error", self.healthy.records)
    }
}
