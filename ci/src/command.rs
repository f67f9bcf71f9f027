//! Runs one command line under a time budget, with everything it starts, and hands over what it writes.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, PipeReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

/// The last lines kept in memory; the log has them all.
const OUTPUT_LINES_MAX: usize = 20_000;
/// How long output may still trickle in once the command has ended.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// Leading `NAME=VALUE` words are its environment, then come the program and its arguments.
    pub(crate) words: Vec<String>,
    /// Further environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Everything that it writes is kept here.
    pub(crate) log: PathBuf,
    /// It is killed after this long.
    pub(crate) budget: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With this status.
    Exited(ExitStatus),
    /// Killed, because this budget was used up.
    OutOfTime(Duration),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ending: Ending,
    /// The last lines of its standard output and error, in the order in which they were written.
    pub(crate) output: Vec<String>,
}

/// What the threads around the child report.
enum Event {
    Line(String),
    OutputClosed,
    Exited(io::Result<ExitStatus>),
}

impl Invocation {
    /// Runs it to its end; `on_line` sees every line as soon as it is written.
    ///
    /// # Errors
    /// When it cannot be started or its log cannot be written.
    pub(crate) fn run(&self, on_line: &mut dyn FnMut(&str)) -> io::Result<Outcome> {
        let mut log = BufWriter::new(File::create(&self.log)?);
        let (output, mut child) = self.start()?;
        let guard = Guard::over(&child)?;
        let (sender, events) = sync_channel(1024);
        let lines = sender.clone();
        thread::spawn(move || forward_lines(output, &lines));
        thread::spawn(move || sender.send(Event::Exited(child.wait())));

        let deadline = now() + self.budget;
        let mut watch = Watch { output: VecDeque::new(), log: &mut log, on_line };
        let ending = match watch.until_exit(&events, deadline)? {
            Some(status) => Ending::Exited(status),
            None => Ending::OutOfTime(self.budget),
        };
        // What it left running goes too, which closes the output that those processes share.
        guard.release()?;
        watch.until_closed(&events, now() + DRAIN_TIME_MAX)?;
        let output = watch.output.into();
        log.flush()?;
        Ok(Outcome { ending, output })
    }

    fn start(&self) -> io::Result<(PipeReader, Child)> {
        let environment_words = self.words.iter().take_while(|word| word.contains('=')).count();
        let (environment, line) = self.words.split_at(environment_words);
        let (program, arguments) =
            line.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
        let (reader, writer) = io::pipe()?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().filter_map(|word| word.split_once('=')))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program} did not start: {error}")))?;
        Ok((reader, child))
    }
}

/// Follows a running command.
struct Watch<'run> {
    output: VecDeque<String>,
    log: &'run mut BufWriter<File>,
    on_line: &'run mut dyn FnMut(&str),
}

impl Watch<'_> {
    /// Passes lines on until the command ends; `None` if it has not by `deadline`.
    fn until_exit(&mut self, events: &Receiver<Event>, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            match events.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(Event::Line(line)) => self.handle_line(line)?,
                Ok(Event::OutputClosed) => {}
                Ok(Event::Exited(status)) => return status.map(Some),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the waiting thread reports before it ends")
                }
            }
        }
    }

    /// Passes on what was still in the pipe, until `deadline` at most.
    fn until_closed(&mut self, events: &Receiver<Event>, deadline: Instant) -> io::Result<()> {
        while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(now())) {
            match event {
                Event::Line(line) => self.handle_line(line)?,
                Event::OutputClosed | Event::Exited(_) => {}
            }
        }
        Ok(())
    }

    fn handle_line(&mut self, line: String) -> io::Result<()> {
        writeln!(self.log, "{line}")?;
        (self.on_line)(&line);
        if self.output.len() == OUTPUT_LINES_MAX {
            self.output.pop_front();
        }
        self.output.push_back(line);
        Ok(())
    }
}

/// Kills a command's process group as soon as we let go of it, and therefore also when we are killed ourselves.
struct Guard {
    shell: Child,
    _held: ChildStdin,
}

impl Guard {
    /// A shell that waits for the end of its input, outside the group that a terminal's Ctrl-C reaches.
    fn over(child: &Child) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL \"-$0\" 2>/dev/null"])
            .arg(child.id().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let held = shell.stdin.take().expect("its input was asked for as a pipe");
        Ok(Self { shell, _held: held })
    }

    fn release(self) -> io::Result<()> {
        let Self { mut shell, _held: held } = self;
        drop(held);
        shell.wait().map(drop)
    }
}

fn forward_lines(output: PipeReader, events: &SyncSender<Event>) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        bytes.clear();
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    // Nobody listens any more once the run has given up on this output.
    drop(events.send(Event::OutputClosed));
}

/// The one place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "budgets and reported times are real time; this is the driver")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Ending {
    /// Whether the command did what it should.
    pub(crate) fn succeeded(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(out, "exit code {code}"),
                (None, Some(signal)) => write!(out, "killed by signal {signal}"),
                (None, None) => write!(out, "{status}"),
            },
            Self::OutOfTime(budget) => write!(out, "killed: not done within {} s", budget.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str, budget: Duration) -> (Outcome, Vec<String>) {
        let log = std::env::temp_dir().join(format!("ringmain-ci-{}-{name}.log", std::process::id()));
        let words = ["WORD=from the table", "bash", "-c", script].map(str::to_owned).to_vec();
        let directory = std::env::temp_dir();
        let environment = vec![("FURTHER".to_owned(), "from the caller".to_owned())];
        let invocation = Invocation { words, environment, directory, log: log.clone(), budget };
        let mut seen = Vec::new();
        let outcome = invocation.run(&mut |line| seen.push(line.to_owned())).unwrap();
        std::fs::remove_file(log).unwrap();
        (outcome, seen)
    }

    #[test]
    fn output_and_error_arrive_in_order() {
        let script = "echo one; echo two >&2; echo \"$WORD\"; echo \"$FURTHER\"; exit 3";
        let (outcome, seen) = shell("order", script, Duration::from_secs(20));
        assert_eq!(outcome.ending.to_string(), "exit code 3");
        assert_eq!(outcome.output, ["one", "two", "from the table", "from the caller"]);
        assert_eq!(seen, outcome.output);
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let words = vec!["ringmain-no-such-program".to_owned()];
        let log = std::env::temp_dir().join(format!("ringmain-ci-{}-missing.log", std::process::id()));
        let directory = std::env::temp_dir();
        let budget = Duration::from_secs(20);
        let invocation = Invocation { words, environment: Vec::new(), directory, log: log.clone(), budget };
        let error = invocation.run(&mut |_| ()).unwrap_err();
        std::fs::remove_file(log).unwrap();
        assert!(error.to_string().starts_with("ringmain-no-such-program did not start"), "{error}");
    }

    #[test]
    fn a_budget_ends_the_command_and_what_it_started() {
        let started = now();
        let script = "sleep 60 & echo $!; wait";
        let (outcome, _) = shell("budget", script, Duration::from_millis(300));
        assert!(matches!(outcome.ending, Ending::OutOfTime(_)));
        assert!(started.elapsed() < Duration::from_secs(20));
        assert!(!runs(&outcome.output[0]));
    }

    #[test]
    fn what_a_finished_command_left_running_is_killed() {
        let (outcome, _) = shell("left", "sleep 60 & echo $!", Duration::from_secs(20));
        assert!(outcome.ending.succeeded());
        assert!(!runs(&outcome.output[0]));
    }

    /// Whether a process goes on running. One that is dead and only waits to be collected does not, and one that has
    /// closed its files may take a moment to get there.
    fn runs(pid: &str) -> bool {
        (0..10_000).all(|_| {
            thread::yield_now();
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
        })
    }
}
