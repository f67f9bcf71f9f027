//! Runs a target in a process of its own and tells how that ended.

use core::fmt;
use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use super::cases::Cases;
use super::inside::{MEMORY_BYTES_MAX, Progress};
use super::{Ending, Target};

/// First argument of the process that runs the cases.
pub const INSIDE: &str = "--inside";

/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks at the same case after which it counts as hanging.
const LOOKS_MAX: u32 = 5;
/// Longest input that is printed rather than only kept in a file.
const PRINTED_BYTES_MAX: usize = 512;

/// How the run of one target ended.
#[derive(Debug)]
pub enum Outcome {
    /// All cases passed.
    Passed(Progress),
    /// A case did not.
    Found(Finding),
}

/// A case that ended the process, or would not end.
#[derive(Debug)]
pub struct Finding {
    /// The target.
    pub target: &'static str,
    /// With the case, it decides the input.
    pub seed: u64,
    /// The case.
    pub case: u64,
    /// How the process ended.
    pub ending: Ending,
    /// What is known of that, with what the process said.
    pub what: String,
    /// What the parser was given.
    pub input: Vec<u8>,
    /// Where that is kept.
    pub kept: PathBuf,
}

/// Runs `mutations` mutations of the target's corpus.
///
/// # Errors
/// When the process or its files cannot be had, or the corpus cannot be read.
pub fn run(
    target: &'static Target,
    seed: u64,
    mutations: u64,
) -> Result<Outcome, Box<dyn core::error::Error>> {
    let cases = Cases::new(target, seed, mutations)?;
    let progress = tempfile::tempfile()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([INSIDE, target.name, "--seed", &seed.to_string(), "--mutations", &mutations.to_string()])
        // A backtrace takes more memory than is left. Whoever replays the case can have one.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(progress.try_clone()?)
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = watch(&mut child, &progress)?;
    let reached = Progress::read(&progress)?;
    let Some((ending, what)) = ended.or_else(|| nothing_accepted(reached)) else {
        return Ok(Outcome::Passed(reached));
    };
    let input = cases.input(reached.case);
    let kept = keep(target.name, seed, reached.case, &input)?;
    Ok(Outcome::Found(Finding { target: target.name, seed, case: reached.case, ending, what, input, kept }))
}

/// Waits for the process; how it ended, unless all was well.
fn watch(child: &mut Child, progress: &File) -> io::Result<Option<(Ending, String)>> {
    let said = child.stderr.take().map(listen).expect("standard error was piped");
    let (mut seen, mut looks) = (Progress::default(), 0);
    loop {
        match said.recv_timeout(LOOK_EVERY) {
            Ok(said) => {
                let status = child.wait()?;
                return Ok(ending(status).map(|ending| (ending, format!("{status}\n{}", said.trim_end()))));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                unreachable!("the listener speaks before it ends")
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let now = Progress::read(progress)?;
        looks = if now == seen { looks + 1 } else { 0 };
        seen = now;
        if looks == LOOKS_MAX {
            child.kill()?;
            child.wait()?;
            let what = format!("still running after {} s", (LOOK_EVERY * LOOKS_MAX).as_secs());
            return Ok(Some((Ending::Hung, what)));
        }
    }
}

fn ending(status: ExitStatus) -> Option<Ending> {
    /// What a program that panics exits with.
    const PANICKED: i32 = 101;
    match status.code() {
        Some(0) => None,
        Some(PANICKED) => Some(Ending::Panicked),
        Some(_) => Some(Ending::Failed),
        None => Some(Ending::Killed),
    }
}

/// All that the process says until it ends.
fn listen(mut stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        let failed = stderr.read_to_end(&mut said).err();
        let unheard = failed.map(|error| format!(" (and more that could not be read: {error})"));
        // Nobody listens any more to a process that was killed.
        let _ = sender.send(String::from_utf8_lossy(&said).into_owned() + &unheard.unwrap_or_default());
    });
    receiver
}

/// A parser that refuses everything, the corpus included, is not tested.
fn nothing_accepted(reached: Progress) -> Option<(Ending, String)> {
    let what = "no input was accepted: renew the corpus with cargo fuzzing --renew-corpus";
    (reached.accepted == 0).then(|| (Ending::Failed, what.to_owned()))
}

/// Writes the input beside the build.
fn keep(target: &str, seed: u64, case: u64, input: &[u8]) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let build = program.parent().and_then(Path::parent).ok_or(io::ErrorKind::NotFound)?;
    let folder = build.join("fuzz-findings");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{target}-seed-{seed}-case-{case}"));
    fs::write(&path, input)?;
    Ok(path)
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, case, what, input, kept, .. } = self;
        writeln!(out, "{target}: seed {seed}, case {case}: {what}")?;
        write!(out, "input of {} bytes in {}", input.len(), kept.display())?;
        if input.len() <= PRINTED_BYTES_MAX {
            out.write_str(": ")?;
            input.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        }
        writeln!(out, "\nlimits: {} s, {} MiB", (LOOK_EVERY * LOOKS_MAX).as_secs(), MEMORY_BYTES_MAX >> 20)?;
        write!(out, "to replay it: cargo fuzzing {target} --seed {seed} --case {case}")
    }
}
