//! Runs the registry of parsers over its corpus and mutations of it, or one case again.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ringmain_tests::fuzz::cases::Cases;
use ringmain_tests::fuzz::inside;
use ringmain_tests::fuzz::registry::{TARGETS, find};
use ringmain_tests::fuzz::supervise::{self, INSIDE, Outcome};
use ringmain_tests::fuzz::{Target, corpus};

const USAGE: &str = "usage: fuzz [TARGET] [--mutations N] [--seed N]
       fuzz TARGET --case N [--seed N]
       fuzz TARGET --input FILE
       fuzz --list
       fuzz [TARGET] --renew-corpus";
/// Mutations of each target's corpus.
const MUTATIONS: u64 = 100_000;
const SEED: u64 = 1;

#[derive(Debug)]
struct Arguments {
    mode: Mode,
    target: Option<&'static Target>,
    seed: u64,
    mutations: u64,
}

#[derive(Debug)]
enum Mode {
    Run,
    Case(u64),
    Input(PathBuf),
    List,
    RenewCorpus,
    Inside,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Arguments { mode, target, seed, mutations } = arguments;
    let done = match (mode, target) {
        (Mode::List, _) => Ok(list()),
        (Mode::RenewCorpus, only) => renew_corpus(only),
        (Mode::Run, only) => run(only, seed, mutations),
        (Mode::Case(case), Some(target)) => run_case(target, seed, case),
        (Mode::Input(path), Some(target)) => run_file(target, &path),
        (Mode::Inside, Some(target)) => run_inside(target, seed, mutations),
        (Mode::Case(_) | Mode::Input(_) | Mode::Inside, None) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments { mode: Mode::Run, target: None, seed: SEED, mutations: MUTATIONS };
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse().ok();
        match word.as_str() {
            "--seed" => arguments.seed = number()?,
            "--mutations" => arguments.mutations = number()?,
            "--case" => arguments.mode = Mode::Case(number()?),
            "--input" => arguments.mode = Mode::Input(words.next()?.into()),
            "--list" => arguments.mode = Mode::List,
            "--renew-corpus" => arguments.mode = Mode::RenewCorpus,
            INSIDE => arguments.mode = Mode::Inside,
            name if arguments.target.is_none() => arguments.target = Some(find(name)?),
            _ => return None,
        }
    }
    Some(arguments)
}

/// The canaries run with all the others, or by name.
fn chosen(only: Option<&'static Target>) -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().filter(move |target| only.is_none_or(|only| only.name == target.name))
}

fn list() -> bool {
    for target in TARGETS {
        println!("{}{}", target.name, if target.planted.is_some() { " (a bug is planted)" } else { "" });
    }
    true
}

fn renew_corpus(only: Option<&'static Target>) -> Result<bool, Box<dyn Error>> {
    for target in chosen(only) {
        corpus::renew(target)?;
    }
    Ok(true)
}

fn run(only: Option<&'static Target>, seed: u64, mutations: u64) -> Result<bool, Box<dyn Error>> {
    println!("seed {seed}, {mutations} mutations a target");
    println!("{:>12} {:>12}", "accepted", "refused");
    let (mut parsers, mut canaries, mut is_fine) = (0_u64, 0_u64, true);
    for target in chosen(only) {
        match supervise::run(target, seed, mutations)? {
            Outcome::Passed(progress) => {
                println!("{:>12} {:>12}  {}", progress.accepted, progress.refused, target.name);
                if target.planted.is_some() {
                    println!("{}: the planted bug was not found", target.name);
                    is_fine = false;
                }
                parsers += u64::from(target.planted.is_none());
            }
            Outcome::Found(finding) if target.planted == Some(finding.ending) => {
                println!("{:>25}  {} found at case {}", "", target.name, finding.case);
                canaries += 1;
            }
            Outcome::Found(finding) => {
                println!("{finding}");
                is_fine = false;
            }
        }
    }
    if is_fine {
        let inputs = parsers * mutations;
        println!("{parsers} parsers, {inputs} mutations, no defect; {canaries} planted bugs found");
    }
    Ok(is_fine)
}

fn run_case(target: &'static Target, seed: u64, case: u64) -> Result<bool, Box<dyn Error>> {
    println!("seed {seed}, case {case}");
    run_input(target, &Cases::new(target, seed, MUTATIONS)?.input(case));
    Ok(true)
}

fn run_file(target: &Target, path: &Path) -> Result<bool, Box<dyn Error>> {
    run_input(target, &std::fs::read(path)?);
    Ok(true)
}

/// In this very process, so that a debugger and a backtrace see it.
fn run_input(target: &Target, input: &[u8]) {
    println!("{} bytes: {:?}", input.len(), (target.run)(input));
}

fn run_inside(target: &'static Target, seed: u64, mutations: u64) -> Result<bool, Box<dyn Error>> {
    let cases = Cases::new(target, seed, mutations)?;
    inside::run(target, &cases, &inside::standard_output()?)?;
    Ok(true)
}
