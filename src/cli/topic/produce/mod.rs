//! `topic produce`: lines to records, until each has its acknowledgement.

mod arguments;
mod input;
mod limits;
mod outstanding;
mod record;
mod report;
mod splitter;

use std::io::{IsTerminal, stdin, stdout};
use std::time::Duration;

use ringmain_client::{
    Acks, AppendError, Client, ClientError, Delivered, PendingDelivery, Producer, ProducerConfig,
};
use ringmain_wire::ids::PartitionIndex;
use tokio::time::Interval;

pub(in crate::cli) use self::arguments::ProduceArguments;
use self::input::{Input, Piece};
use self::limits::{BatchLimit, record_bytes};
use self::outstanding::Outstanding;
use self::record::{BorrowedHeaders, RecordRules};
use self::report::Report;
use self::splitter::{Splitter, TooLong};
use crate::cli::arguments::Format;
use crate::cli::clock;
use crate::cli::failure::{Failure, note};
use crate::cli::output::{Progress, stdout_closed};
use crate::cli::session::{Interrupts, with_client};

/// How long each record may take, retries over restarts of the broker included, unless told otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// How long an interrupted command waits for what is on its way.
const INTERRUPTED_AT_MOST: Duration = Duration::from_secs(5);
/// Short enough for people who type, long enough to fill batches from a pipe.
const LINGER: Duration = Duration::from_millis(5);
/// How often a terminal is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// The largest record, and so the longest line.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory for records on their way.
const BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Produces all input.
pub(super) fn run(arguments: &ProduceArguments, format: Format) -> Result<(), Failure> {
    if arguments.report && arguments.acks() == Acks::None {
        return Err(Failure::usage(
            "--report prints what was acknowledged, but --acks 0 asks for no acknowledgement",
        ));
    }
    let report = if arguments.report { Some(Report::new(format)?) } else { None };
    let rules = arguments.rules();
    let headers = rules.borrow_headers();
    with_client(&arguments.broker, async |client| {
        let mut pieces = input::open(&arguments.files)?;
        let limit = find_limit(&client, arguments).await?;
        let mut production = Production {
            topic: &arguments.topic,
            limit,
            producer: client.producer(producer_config(arguments, limit)),
            rules: &rules,
            headers: &headers,
            outstanding: Outstanding::new(),
            report,
            format,
            interrupts: Interrupts::listen()?,
            // Whoever types, or reads the report, is not to be disturbed.
            progress: Progress::new(!(stdin().is_terminal() || arguments.report && stdout().is_terminal())),
            progress_due: tokio::time::interval(PROGRESS_EVERY),
            taken: 0,
            landed: 0,
        };
        let splitter = Splitter::new(arguments.delimiter(), RECORD_BYTES_MAX);
        let ending = match production.read(&mut pieces, splitter).await {
            Ok(()) => Ending::InputDone,
            Err(ending) => ending,
        };
        production.settle(ending).await
    })
}

/// What the topic takes; asked before the first line is read: whoever types should hear of a wrong name at once.
async fn find_limit(client: &Client, arguments: &ProduceArguments) -> Result<BatchLimit, Failure> {
    let described = client.describe_topic(&arguments.topic).await?;
    if let Some(partition) = arguments.partition {
        client.topic(&arguments.topic).await?.partition(PartitionIndex(partition))?;
    }
    Ok(BatchLimit::of(&described))
}

fn producer_config(arguments: &ProduceArguments, limit: BatchLimit) -> ProducerConfig {
    ProducerConfig {
        acks: arguments.acks(),
        codec: arguments.codec(),
        linger: LINGER,
        batch_bytes: ProducerConfig::default().batch_bytes.min(limit.records_bytes_max()),
        record_bytes_max: RECORD_BYTES_MAX,
        buffer_bytes_max: BUFFER_BYTES_MAX,
        delivery_timeout: arguments.broker.timeout.unwrap_or(TIMEOUT_DEFAULT),
        ..ProducerConfig::default()
    }
}

/// Why nothing more is read.
enum Ending {
    InputDone,
    Interrupted,
    Failed(Failure),
}

/// What is remembered of a record on its way.
struct Sent {
    /// Which record of the input it is, from 1.
    number: u64,
    /// Its length: key, value and headers.
    bytes: usize,
    /// Its value, where that has to be reported.
    reported: Option<Option<Vec<u8>>>,
}

/// A record's outcome.
type Outcome = (Result<Delivered, ClientError>, Sent);

/// One run of the command.
struct Production<'a> {
    topic: &'a str,
    limit: BatchLimit,
    producer: Producer,
    rules: &'a RecordRules,
    headers: &'a BorrowedHeaders<'a>,
    outstanding: Outstanding<PendingDelivery, Sent>,
    report: Option<Report>,
    format: Format,
    interrupts: Interrupts,
    progress: Progress,
    progress_due: Interval,
    /// Records that the producer took.
    taken: u64,
    /// Those of them that were acknowledged.
    landed: u64,
}

impl Production<'_> {
    /// Reads to the end, or to the first failure.
    async fn read(&mut self, pieces: &mut Input, mut splitter: Splitter) -> Result<(), Ending> {
        let mut stdout_closed = std::pin::pin!(stdout_closed());
        loop {
            tokio::select! {
                biased;
                () = self.interrupts.next() => return Err(Ending::Interrupted),
                () = &mut stdout_closed, if self.report.is_some() => {
                    return Err(Ending::Failed(Failure::StdoutClosed));
                }
                _ = self.progress_due.tick() => self.show_progress(),
                outcome = self.outstanding.next() => self.book(outcome)?,
                piece = pieces.recv() => match piece {
                    Some(Piece::Bytes(bytes)) => {
                        splitter.push(&bytes);
                        while let Some(line) = splitter.next().map_err(|TooLong| self.too_long())? {
                            self.send(line).await?;
                        }
                    }
                    Some(Piece::EndOfFile) => if let Some(line) = splitter.finish() {
                        self.send(line).await?;
                    },
                    Some(Piece::Failed(failure)) => return Err(Ending::Failed(failure)),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Gives one line to the producer, booking outcomes meanwhile.
    async fn send(&mut self, line: &[u8]) -> Result<(), Ending> {
        let record = self.rules.record(line, self.headers, clock::now());
        let (number, bytes) = (self.taken + 1, record_bytes(&record));
        let pending = loop {
            match self.producer.try_send(self.topic, &record) {
                Ok(pending) => break pending,
                Err(AppendError::Refused(error)) => return Err(self.refused(error, number, bytes)),
                Err(AppendError::Full | AppendError::AwaitingMetadata) => {}
            }
            tokio::select! {
                biased;
                () = self.interrupts.next() => return Err(Ending::Interrupted),
                _ = self.progress_due.tick() => self.show_progress(),
                // Makes room.
                outcome = self.outstanding.next() => self.book(outcome)?,
                sent = self.producer.send(self.topic, &record) => {
                    break sent.map_err(|error| self.refused(error, number, bytes))?;
                }
            }
        };
        let reported = self.report.is_some().then(|| record.value.map(<[u8]>::to_vec));
        self.taken += 1;
        self.outstanding.push(pending, Sent { number, bytes, reported });
        while let Some(outcome) = self.outstanding.take() {
            self.book(outcome)?;
        }
        Ok(())
    }

    fn book(&mut self, (outcome, sent): Outcome) -> Result<(), Ending> {
        let Sent { number, bytes, reported } = sent;
        let delivered = outcome.map_err(|error| self.refused(error, number, bytes))?;
        self.landed += 1;
        if let (Some(report), Some(value)) = (&mut self.report, reported)
            && let Err(failure) = report.write(&delivered, value.as_deref())
        {
            // Said once; what is on its way still lands.
            self.report = None;
            return Err(Ending::Failed(failure));
        }
        Ok(())
    }

    fn refused(&self, error: ClientError, number: u64, bytes: usize) -> Ending {
        Ending::Failed(self.limit.explain(self.topic, number, bytes, error))
    }

    /// Waits for what is on its way, and says how it went.
    async fn settle(mut self, mut ending: Ending) -> Result<(), Failure> {
        let read_all = matches!(ending, Ending::InputDone);
        if !matches!(ending, Ending::Interrupted)
            && let Err(later) = self.collect().await
        {
            // What failed first is what has to be told; a closed stdout is no failure.
            let told = matches!(&ending, Ending::Failed(failure) if *failure != Failure::StdoutClosed);
            if !told || matches!(later, Ending::Interrupted) {
                ending = later;
            }
        }
        if matches!(ending, Ending::Interrupted) {
            // Late, interrupted again or failed: the numbers say it.
            let _ = tokio::time::timeout(INTERRUPTED_AT_MOST, self.collect()).await;
        }
        let (landed, taken) = (self.landed, self.taken);
        match ending {
            Ending::InputDone => Ok(()),
            Ending::Interrupted => {
                let failure = Failure::failed(
                    "interrupted",
                    format!("interrupted: {landed} of {taken} records landed"),
                );
                Err(if landed < taken { failure.hint("the others may have landed, too") } else { failure })
            }
            Ending::Failed(Failure::StdoutClosed) => {
                if landed < taken || !read_all {
                    let rest = if read_all { "" } else { ", no more were read" };
                    let message = format!(
                        "stdout was closed: {landed} of {taken} records read were acknowledged{rest}"
                    );
                    note(self.format, "stdout_closed", &message);
                }
                Err(Failure::StdoutClosed)
            }
            Ending::Failed(failure) => {
                Err(failure.followed_by(&format!("; {landed} of {taken} records landed, no more were read")))
            }
        }
    }

    /// Until nothing is on its way. The first failure is returned at the end, an interrupt at once.
    async fn collect(&mut self) -> Result<(), Ending> {
        let mut collected = Ok(());
        while self.outstanding.len() > 0 {
            tokio::select! {
                biased;
                () = self.interrupts.next() => return Err(Ending::Interrupted),
                _ = self.progress_due.tick() => self.show_progress(),
                outcome = self.outstanding.next() => {
                    let booked = self.book(outcome);
                    if collected.is_ok() {
                        collected = booked;
                    }
                }
            }
        }
        collected
    }

    fn show_progress(&self) {
        let Self { topic, landed, taken, .. } = self;
        self.progress.show(&format!("{topic}: {landed} of {taken} records acknowledged"));
    }

    fn too_long(&self) -> Ending {
        let number = self.taken + 1;
        Ending::Failed(
            Failure::failed(
                "message_too_large",
                format!("record {number} is longer than {RECORD_BYTES_MAX} bytes"),
            )
            .hint("if its end was not recognised: -D names what ends a record"),
        )
    }
}
