//! Runs the simulator: one seed with what happened last, many seeds with what they met, or mutants until they are caught.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ringmain_tests::sim::{Coverage, Outcome, mutations, run};

const USAGE: &str = "usage: sim SEED
       sim --seeds N [--from SEED] [--jobs N]
       sim --check-determinism N [--from SEED]
       sim --mutations [NAME] [--seeds N] [--from SEED] [--jobs N]";
/// Seeds from which on a counter at zero is a failure.
const SEEDS_FOR_COVERAGE: u64 = 2_000;
/// Seeds within which a mutant has to be caught.
const SEEDS_FOR_MUTANTS: u64 = 10_000;

#[derive(Debug)]
struct Arguments {
    mode: Mode,
    seeds: Option<u64>,
    from: u64,
    jobs: u64,
}

#[derive(Debug)]
enum Mode {
    One(u64),
    Many,
    Twice(u64),
    Mutations(Option<String>),
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A failed assertion of the product is an outcome here; it is printed with its seed and trace.
    std::panic::set_hook(Box::new(|_| {}));
    let fine = match &arguments.mode {
        Mode::One(seed) => one(*seed),
        Mode::Many => many(&arguments),
        Mode::Twice(seeds) => twice(arguments.from, *seeds),
        Mode::Mutations(name) => {
            let seeds = arguments.seeds.unwrap_or(SEEDS_FOR_MUTANTS);
            mutations::run_all(name.as_deref(), arguments.from, seeds, arguments.jobs)
        }
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments { mode: Mode::Many, seeds: None, from: 0, jobs: 1 };
    let mut has_mode = false;
    let mut words = words.by_ref().peekable();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--seeds" => {
                arguments.seeds = Some(number()?);
                has_mode = true;
            }
            "--from" => arguments.from = number()?,
            "--jobs" => arguments.jobs = number()?,
            "--check-determinism" => {
                arguments.mode = Mode::Twice(number()?);
                has_mode = true;
            }
            "--mutations" => {
                let name = words.next_if(|next| !next.starts_with("--"));
                arguments.mode = Mode::Mutations(name);
                has_mode = true;
            }
            seed => {
                arguments.mode = Mode::One(seed.parse().ok()?);
                has_mode = true;
            }
        }
    }
    (has_mode && arguments.jobs > 0).then_some(arguments)
}

fn one(seed: u64) -> bool {
    println!("seed {seed}");
    let outcome = run(seed);
    println!("{} events, trace hash {:016x}", outcome.events, outcome.trace_hash);
    for (name, count) in outcome.coverage.rows().into_iter().filter(|(_, count)| *count > 0) {
        println!("{count:>12}  {name}");
    }
    report(&outcome)
}

fn many(arguments: &Arguments) -> bool {
    let seeds = arguments.seeds.unwrap_or_default();
    println!("seeds {} to {}", arguments.from, arguments.from + seeds.saturating_sub(1));
    let next = AtomicU64::new(0);
    let total = Mutex::new((Coverage::default(), 0_u64, None::<Outcome>));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= seeds {
                        return;
                    }
                    let outcome = run(arguments.from + place);
                    let mut total = total.lock().expect("no thread panics with the totals in hand");
                    total.0.add(&outcome.coverage);
                    total.1 += outcome.events;
                    if outcome.failure.is_some() {
                        // The smallest that failed; those before it are finished all the same.
                        next.store(seeds, Ordering::Relaxed);
                        if total.2.as_ref().is_none_or(|failed| outcome.seed < failed.seed) {
                            total.2 = Some(outcome);
                        }
                    }
                }
            });
        }
    });
    let (coverage, events, failed) = total.into_inner().expect("no thread panics with the totals in hand");
    for (name, count) in coverage.rows() {
        println!("{count:>12}  {name}");
    }
    println!("{events:>12}  events");
    if let Some(failed) = failed {
        return report(&failed);
    }
    let missed: Vec<&str> =
        coverage.rows().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
    if seeds >= SEEDS_FOR_COVERAGE && !missed.is_empty() {
        println!("never met: {}", missed.join(", "));
        return false;
    }
    println!("{seeds} seeds, no promise broken");
    true
}

fn twice(from: u64, seeds: u64) -> bool {
    for seed in from..from + seeds {
        let (first, second) = (run(seed), run(seed));
        if (first.trace_hash, first.events) != (second.trace_hash, second.events) {
            println!("seed {seed} gives {:016x} and then {:016x}", first.trace_hash, second.trace_hash);
            return false;
        }
    }
    println!("{seeds} seeds, each twice with the same trace");
    true
}

fn report(outcome: &Outcome) -> bool {
    let Some((violation, trace)) = &outcome.failure else { return true };
    println!("the last that happened:\n{trace}seed {} broke a promise", outcome.seed);
    println!("{}: {}", violation.invariant, violation.what);
    false
}
