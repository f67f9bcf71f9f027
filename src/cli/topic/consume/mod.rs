//! `topic consume`: records of some partitions, from one position to another or for ever.

mod arguments;
mod bounds;
mod position;
mod printer;
mod template;

use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use ringmain_client::{Client, ClientError, Consumer, ConsumerConfig, Fetched, Record, Start, Topic};
use ringmain_wire::ids::{Offset, PartitionId, PartitionIndex};
use ringmain_wire::native::errors::ErrorCode;

pub(in crate::cli) use self::arguments::ConsumeArguments;
use self::bounds::{Bounds, log_starts_above, place};
use self::position::To;
use self::printer::{Form, Printer};
use crate::cli::arguments::Format;
use crate::cli::failure::{Failure, note};
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
            let mut reading = Reading::begin(&client, arguments, format).await?;
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
    client: Client,
    topic: std::sync::Arc<Topic>,
    consumer: Consumer,
    /// Partitions that are still read.
    open: BTreeMap<PartitionIndex, Range>,
    /// Records below it are not printed: an offset that is still to come cannot be fetched from.
    first: Offset,
    /// Records still to be printed.
    remaining: u64,
    /// How long a record may be waited for.
    patience: Option<Duration>,
}

/// What is to be read of a partition.
#[derive(Clone, Copy, Debug)]
struct Range {
    next: Offset,
    /// Where it ends, if it does.
    end: Option<Offset>,
}

impl Range {
    fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

impl Reading {
    async fn begin(client: &Client, arguments: &ConsumeArguments, format: Format) -> Result<Self, Failure> {
        let topic = client.topic(&arguments.topic).await?;
        let partitions = chosen_partitions(&topic, &arguments.partitions)?;
        let mut open = BTreeMap::new();
        for partition in partitions {
            // The end before the beginning: what arrives in between is behind the end, and not read.
            let end = match arguments.to() {
                Some(to) => Some(client.offset_of(&arguments.topic, partition, to.as_start()).await?),
                None => None,
            };
            let next = client.offset_of(&arguments.topic, partition, arguments.from.0).await?;
            open.insert(partition, Range { next, end });
        }
        // An end that lies in the future can be waited for.
        let can_wait = matches!(arguments.to(), None | Some(To::Offset(_)));
        if can_wait {
            open.retain(|_, range| !range.is_empty());
        }
        let mut first = Offset(0);
        if let Start::Offset(offset) = arguments.from.0 {
            first = offset;
            let bounds = find_bounds(client, &arguments.topic, open.keys().copied()).await?;
            let placed = place(&arguments.topic, &bounds, offset, can_wait)?;
            if let Some(waiting) = &placed.waiting {
                note(format, "offset_to_come", waiting);
            }
            for (partition, begin) in placed.begins {
                open.entry(partition).and_modify(|range| range.next = begin);
            }
        }
        open.retain(|_, range| !range.is_empty());
        let timeout = arguments.broker.timeout;
        let consumer = client.consumer(ConsumerConfig {
            fetch_wait: FETCH_WAIT_MAX.min(timeout.unwrap_or(TIMEOUT_DEFAULT) / 2),
            ..ConsumerConfig::default()
        });
        let assigned: Vec<_> =
            open.iter().map(|(&partition, range)| (partition, Start::Offset(range.next))).collect();
        consumer.assign_all(&arguments.topic, &assigned).await?;
        // Records up to the end are there already: only the broker can be waited for.
        let bounded = arguments.to().is_some();
        Ok(Self {
            client: client.clone(),
            topic,
            consumer,
            first,
            open,
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
                Fetched::Failed { partition, error, .. } => {
                    return Err(self.explain(partition, error).await);
                }
            }
        }
        Ok(())
    }

    /// Why a partition is read no further. What was to be read next may have been deleted meanwhile.
    async fn explain(&self, partition: PartitionIndex, error: ClientError) -> Failure {
        if error.code() == ErrorCode::OffsetOutOfRange {
            let name = &self.topic.name;
            let start = self.client.offset_of(name, partition, Start::Beginning).await;
            if let (Some(range), Ok(start)) = (self.open.get(&partition), start)
                && range.next < start
            {
                return log_starts_above(name, partition, start, range.next);
            }
        }
        error.into()
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
        let Some(range) = self.open.get_mut(&record.partition) else { return Ok(()) };
        if self.remaining == 0 {
            return Ok(());
        }
        if record.offset >= self.first && range.end.is_none_or(|end| record.offset < end) {
            printer.print(record)?;
            self.remaining -= 1;
        }
        range.next = record.offset.plus(1);
        if range.is_empty() {
            self.open.remove(&record.partition);
            self.consumer.unassign(PartitionId::new(self.topic.id, record.partition));
        }
        Ok(())
    }
}

/// What those partitions hold.
async fn find_bounds(
    client: &Client,
    topic: &str,
    partitions: impl Iterator<Item = PartitionIndex>,
) -> Result<Vec<(PartitionIndex, Bounds)>, Failure> {
    let mut bounds = Vec::new();
    for partition in partitions {
        let start = client.offset_of(topic, partition, Start::Beginning).await?;
        let end = client.offset_of(topic, partition, Start::End).await?;
        bounds.push((partition, Bounds { start, end }));
    }
    Ok(bounds)
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
