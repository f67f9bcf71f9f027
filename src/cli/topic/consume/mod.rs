//! `topic consume`: records of some partitions, from one position to another or for ever.

mod arguments;
mod position;
mod printer;
mod template;

use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use ringmain_client::{Client, ClientError, Consumer, ConsumerConfig, Fetched, Record, Start, Topic};
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex};

pub(in crate::cli) use self::arguments::ConsumeArguments;
use self::printer::{Form, Printer};
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output::stdout_closed;
use crate::cli::session::{Interrupts, TIMEOUT_DEFAULT, with_client};

/// How long the broker holds a fetch that finds nothing.
const FETCH_WAIT_MAX: Duration = Duration::from_millis(500);

/// Prints records until the end that was asked for, or an interrupt.
pub(in crate::cli) fn run(arguments: &ConsumeArguments, format: Format) -> Result<(), Failure> {
    let form = match (&arguments.template, format) {
        (Some(_), Format::Json) => {
            return Err(Failure::usage("-f TEMPLATE and --format json are two forms of the same records"));
        }
        (Some(template), Format::Text) => Form::Template(template.clone()),
        (None, Format::Json) => Form::Json,
        (None, Format::Text) => Form::Value,
    };
    with_client(&arguments.broker, async |client| {
        let mut interrupts = Interrupts::listen()?;
        let mut printer = Printer::new(form)?;
        let read = async {
            let mut reading = Reading::begin(&client, arguments).await?;
            reading.print_all(&mut printer).await
        };
        let ended = tokio::select! {
            biased;
            () = interrupts.next() => Ok(()),
            ended = read => ended,
        };
        // Also after a failure: what came before it is there to be seen.
        let flushed = printer.flush();
        ended.and(flushed)
    })
}

/// One run of the command.
struct Reading {
    topic: std::sync::Arc<Topic>,
    consumer: Consumer,
    /// Partitions that are still read; with where they end, if they do.
    open: BTreeMap<PartitionIndex, Option<Offset>>,
    /// Records still to be printed.
    remaining: u64,
    /// How long a record may be waited for.
    patience: Option<Duration>,
}

impl Reading {
    async fn begin(client: &Client, arguments: &ConsumeArguments) -> Result<Self, Failure> {
        let topic = client.topic(&arguments.topic).await?;
        let partitions = chosen_partitions(&topic, &arguments.partitions)?;
        let mut open = BTreeMap::new();
        for partition in partitions {
            // The end before the beginning: what arrives in between is behind the end, and not read.
            let end = match arguments.to() {
                Some(to) => Some(client.offset_of(&arguments.topic, partition, to.as_start()).await?),
                None => None,
            };
            let begin = client.offset_of(&arguments.topic, partition, arguments.from.0).await?;
            if end.is_none_or(|end| begin < end) {
                open.insert(partition, (begin, end));
            }
        }
        let timeout = arguments.broker.timeout;
        let consumer = client.consumer(ConsumerConfig {
            fetch_wait: FETCH_WAIT_MAX.min(timeout.unwrap_or(TIMEOUT_DEFAULT) / 2),
            ..ConsumerConfig::default()
        });
        let assigned: Vec<_> =
            open.iter().map(|(&partition, &(begin, _))| (partition, Start::Offset(begin))).collect();
        consumer.assign_all(&arguments.topic, &assigned).await?;
        // Records up to the end are there already: only the broker can be waited for.
        let bounded = arguments.to().is_some();
        Ok(Self {
            topic,
            consumer,
            open: open.into_iter().map(|(partition, (_, end))| (partition, end)).collect(),
            remaining: arguments.count.unwrap_or(u64::MAX),
            patience: timeout.or(bounded.then_some(TIMEOUT_DEFAULT)),
        })
    }

    async fn print_all(&mut self, printer: &mut Printer) -> Result<(), Failure> {
        while self.remaining > 0 && !self.open.is_empty() {
            match self.next(printer).await? {
                Fetched::Records { records, .. } => {
                    for record in &records {
                        self.print(record, printer)?;
                    }
                }
                Fetched::Failed { error, .. } => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next records; before it waits for them, what was printed can be seen.
    async fn next(&self, printer: &mut Printer) -> Result<Fetched, Failure> {
        let mut next = std::pin::pin!(self.consumer.next());
        let at_once = std::future::poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
        if let Poll::Ready(fetched) = at_once {
            return Ok(fetched?);
        }
        printer.flush()?;
        let out_of_patience = async {
            match self.patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            fetched = next => Ok(fetched?),
            () = stdout_closed() => Err(Failure::StdoutClosed),
            () = out_of_patience => {
                let waited_for = format!("a record of topic {:?}", self.topic.name);
                Err(ClientError::TimedOut { waited_for }.into())
            }
        }
    }

    fn print(&mut self, record: &Record, printer: &mut Printer) -> Result<(), Failure> {
        // A partition that is done, or the command.
        let Some(&end) = self.open.get(&record.partition) else { return Ok(()) };
        if self.remaining == 0 {
            return Ok(());
        }
        if end.is_none_or(|end| record.offset < end) {
            printer.print(record)?;
            self.remaining -= 1;
        }
        if end.is_some_and(|end| record.offset.plus(1) >= end) {
            self.open.remove(&record.partition);
            self.consumer.unassign(PartitionId::new(self.topic.id, record.partition));
        }
        Ok(())
    }
}

/// Those asked for, or all.
fn chosen_partitions(topic: &Topic, asked_for: &[u32]) -> Result<Vec<PartitionIndex>, Failure> {
    if asked_for.is_empty() {
        return Ok((0..topic.partitions()).map(PartitionIndex).collect());
    }
    let mut chosen: Vec<PartitionIndex> = asked_for.iter().copied().map(PartitionIndex).collect();
    chosen.sort_unstable();
    chosen.dedup();
    for &partition in &chosen {
        topic.partition(partition)?;
    }
    Ok(chosen)
}
