//! The run's end of the producer process: hears what it says, tells it to stop.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::{MODE, ProducerOptions};
use crate::crash::clock::Stopwatch;
use crate::crash::error::CrashError;
use crate::crash::ledger::Ledger;
use crate::crash::report::Event;

/// A producer that says nothing for this long when it should is taken for hung.
const SILENT_AT_MOST: Duration = Duration::from_secs(30);

/// A running producer. Killed when dropped.
#[derive(Debug)]
pub(in crate::crash) struct Producer {
    process: Child,
    commands: ChildStdin,
    /// Unbounded: it is never what the producer waits for.
    events: Receiver<Event>,
    marks: u64,
}

impl Producer {
    pub(in crate::crash) fn start(options: &ProducerOptions) -> Result<Self, CrashError> {
        let program = std::env::current_exe().map_err(CrashError::io("looking for this program"))?;
        let mut process = Command::new(program)
            .args([MODE, "--broker", &options.broker.to_string(), "--seed", &options.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(CrashError::io("starting the producer"))?;
        let commands = process.stdin.take().expect("it was asked for");
        let stdout = process.stdout.take().expect("it was asked for");
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event =
                    Event::parse(&line).unwrap_or_else(|| Event::Failed(format!("unknown event {line:?}")));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, commands, events, marks: 0 })
    }

    /// Lets it produce for that time.
    pub(in crate::crash) fn run_for(
        &mut self,
        time: Duration,
        ledger: &mut Ledger,
    ) -> Result<(), CrashError> {
        let started = Stopwatch::start();
        while let Some(left) = started.left_of(time) {
            match self.events.recv_timeout(left) {
                Ok(event) => handle(event, ledger)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(CrashError::ProducerSilent),
            }
        }
        Ok(())
    }

    /// Lets it make no further batch until [`Self::resume`].
    pub(in crate::crash) fn hold(&mut self, ledger: &mut Ledger) -> Result<(), CrashError> {
        self.command("hold\n", ledger)
    }

    /// Lets it go on.
    pub(in crate::crash) fn resume(&mut self, ledger: &mut Ledger) -> Result<(), CrashError> {
        self.command("produce\n", ledger)
    }

    /// The broker is gone: waits until the producer knows, on every connection. What it was told is in `ledger` then.
    pub(in crate::crash) fn settle(&mut self, ledger: &mut Ledger) -> Result<(), CrashError> {
        self.mark(ledger)?;
        // A connection that had ever sent anything has been heard of by now; what is down now has nothing to come.
        self.wait_until(ledger, Ledger::is_disconnected)
    }

    /// Takes in everything that it has said so far.
    pub(in crate::crash) fn mark(&mut self, ledger: &mut Ledger) -> Result<(), CrashError> {
        self.marks += 1;
        let mark = self.marks;
        self.command(&format!("mark {mark}\n"), ledger)?;
        self.wait_until(ledger, |ledger| ledger.marked == mark)
    }

    /// Lets everything that it has sent be acknowledged, and ends it.
    pub(in crate::crash) fn finish(mut self, ledger: &mut Ledger) -> Result<(), CrashError> {
        self.command("stop\n", ledger)?;
        loop {
            match self.events.recv_timeout(SILENT_AT_MOST) {
                Ok(event) => handle(event, ledger)?,
                Err(RecvTimeoutError::Timeout) => return Err(CrashError::ProducerSilent),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.process.wait().map_err(CrashError::io("waiting for the producer"))?;
        if status.success() { Ok(()) } else { Err(CrashError::ProducerSilent) }
    }

    fn wait_until(
        &mut self,
        ledger: &mut Ledger,
        is_reached: impl Fn(&Ledger) -> bool,
    ) -> Result<(), CrashError> {
        let started = Stopwatch::start();
        while !is_reached(ledger) {
            let left = started.left_of(SILENT_AT_MOST).ok_or(CrashError::ProducerSilent)?;
            let event = self.events.recv_timeout(left).map_err(|_| CrashError::ProducerSilent)?;
            handle(event, ledger)?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str, ledger: &mut Ledger) -> Result<(), CrashError> {
        let written = self.commands.write_all(line.as_bytes());
        if written.is_err() {
            // It has ended by itself, and what it said last is why.
            self.events.iter().try_for_each(|event| handle(event, ledger))?;
        }
        written.map_err(CrashError::io("telling the producer"))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Gone already, unless a run ends early; then there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn handle(event: Event, ledger: &mut Ledger) -> Result<(), CrashError> {
    match event {
        Event::Failed(said) => Err(CrashError::Producer { said }),
        event => Ok(ledger.handle(event)?),
    }
}
