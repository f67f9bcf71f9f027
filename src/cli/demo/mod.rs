//! `ringmain demo`: a broker, live orders through the native client, and what became of each of them.

mod display;
mod ledger;
mod orders;
mod place;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ringmain_bench::latency::LatencySummary;
use ringmain_bench::limit::{LimitError, synced_write_latency};
use ringmain_client::{Client, Topic};
use ringmain_shard::store::UpkeepConfig;
use ringmain_wire::ids::{NodeId, Offset};
use ringmain_wire::native::messages::CreateTopicRequest;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use self::display::{Display, Moment, percentiles, summary};
use self::ledger::Ledger;
use self::orders::Order;
use self::place::{Place, free_ports};
use self::traffic::{Event, Traffic};
use super::arguments::{BrokerArguments, Format};
use super::clock::{instant, now};
use super::failure::Failure;
use super::serve::{NATIVE_DEFAULT, failure_of};
use super::session::{Interrupts, check_descriptors, with_client};
use super::time::parse_duration;
use crate::serve::{Beside, ServeOptions};

/// The durability of a disk.
const SYNCED: &str = "synced before acknowledged";
const TOPIC: &str = "orders";
const PARTITIONS: u32 = 10;
/// Memory and log of each shard: little, because nobody keeps what the demo stores.
const MEMORY_BYTES: usize = 64 << 20;
const LOG_BYTES: u64 = 256 << 20;
/// For how long the disk is measured before the broker starts.
const FLOOR_TIME: Duration = Duration::from_millis(300);
/// What is on its way when the demo ends may take so long; what was acknowledged and has not come by then is lost.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain demo
  ringmain demo --for 30 --rate 5000
  ringmain demo --for 10 --format json | tail -1

Starts a broker of its own on 127.0.0.1, sends orders to the topic `orders` and reads them back, until Ctrl-C. Its data lies
in ./.ringmain-demo and is gone in the end. Exit code 0 means that no order was lost, and none came twice.")]
pub(super) struct DemoArguments {
    /// End after so many seconds, or after a time with a unit (500ms, 2m) [default: at Ctrl-C].
    #[arg(long = "for", value_name = "SECONDS", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Orders sent in a second.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Keep the data here [default: ./.ringmain-demo, removed in the end].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the demo to its end.
pub(super) fn run(arguments: &DemoArguments, format: Format) -> Result<(), Failure> {
    check_descriptors()?;
    let place = Place::choose(arguments.data_dir.as_deref())?;
    let floor = synced_write_latency(&place.existing(), FLOOR_TIME);
    let (native, native_shards) = free_ports();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = ServeOptions {
        data_dir: place.directory().to_owned(),
        node: NodeId(1),
        shards: u16::try_from(cores).unwrap_or(u16::MAX).clamp(1, 16),
        native,
        native_shards,
        spin: Duration::ZERO,
        // Whoever sends and reads needs the same cores.
        pin_cores: false,
        memory_bytes: Some(MEMORY_BYTES),
        log_bytes_max: LOG_BYTES,
        upkeep: UpkeepConfig::default(),
        json: false,
        warnings: Vec::new(),
    };
    let shards = options.shards;
    let broker = Beside::start(options).map_err(|error| failure_of(&error))?;
    let mut demo = Demo {
        display: Display::new(format),
        ledger: Ledger::default(),
        latest: None,
        run: now().get(),
        floor: floor.as_ref().ok(),
    };
    let (words, document) = welcome(&place, &broker, shards, &floor);
    demo.display.say(&words, &document)?;
    let reach = BrokerArguments { broker: broker.native().to_string(), timeout: None };
    let watched = with_client(&reach, async |client| demo.watch(&client, arguments, &broker).await);
    let stopped = broker.stop().map_err(|error| failure_of(&error));
    // Why the broker ended is what explains everything else.
    let elapsed = stopped.and(watched)?;
    let (words, document) = summary(&demo.ledger, elapsed);
    demo.display.say(&words, &document)?;
    demo.judge()
}

/// One run.
struct Demo<'a> {
    display: Display,
    ledger: Ledger,
    /// The order read last, and words for it.
    latest: Option<(Order, String)>,
    run: i64,
    floor: Option<&'a LatencySummary>,
}

impl Demo<'_> {
    /// Sends and reads until the time is over or an interrupt comes, and then until each order has its fate. Gives how long
    /// that took.
    async fn watch(
        &mut self,
        client: &Client,
        arguments: &DemoArguments,
        broker: &Beside,
    ) -> Result<Duration, Failure> {
        let mut interrupts = Interrupts::listen()?;
        let topic = topic(client).await?;
        let mut traffic = Traffic::start(client, &topic, self.run, arguments.rate).await?;
        let started = instant();
        let mut ticks = tokio::time::interval_at(
            tokio::time::Instant::from_std(started) + self.display.every(),
            self.display.every(),
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Until it is set it is as good as never.
        let mut deadline = arguments.time.map(|time| tokio::time::Instant::from_std(started + time));
        let mut shown = (started, 0);
        let mut is_ending = false;
        let mut has_ended = false;
        while !(has_ended && self.ledger.is_settled()) {
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = traffic.next() => match event {
                    Some(Event::Ended) => has_ended = true,
                    Some(event) => self.handle(event)?,
                    None => break,
                },
                _ = ticks.tick() => {
                    let (at, acknowledged) = (instant(), self.ledger.acknowledged());
                    self.show(at - started, (acknowledged - shown.1) as f64 / (at - shown.0).as_secs_f64())?;
                    shown = (at, acknowledged);
                    if broker.has_ended() {
                        break;
                    }
                }
                () = interrupts.next() => {
                    if is_ending {
                        return Err(Failure::with_exit(130, "interrupted", "interrupted twice: not all orders came to their end"));
                    }
                    (is_ending, deadline) = (true, Some(tokio::time::Instant::now() + DRAIN_AT_MOST));
                    traffic.stop();
                }
                () = due => {
                    if is_ending {
                        break;
                    }
                    (is_ending, deadline) = (true, Some(tokio::time::Instant::now() + DRAIN_AT_MOST));
                    traffic.stop();
                }
            }
        }
        let elapsed = started.elapsed();
        self.show(elapsed, self.ledger.acknowledged() as f64 / elapsed.as_secs_f64())?;
        Ok(elapsed)
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Sent { order, at } => self.ledger.send(order, at),
            Event::Acknowledged { order, at } => self.ledger.acknowledge(order, at),
            Event::Failed { order, error } => {
                tracing::warn!(order, error, "an order failed");
                self.ledger.fail(order);
            }
            Event::Consumed { order, partition, offset, at } => {
                self.ledger.read_to(partition, Offset(offset.get() + 1));
                match order {
                    Some(order) => {
                        self.ledger.consume(order.order, at);
                        let words = format!("{} (partition {partition}, offset {offset})", order.words());
                        self.latest = Some((order, words));
                    }
                    None => self.ledger.meet_other(),
                }
            }
            Event::ReadingFailed { error } => {
                return Err(Failure::failed(
                    "demo_failed",
                    format!("orders cannot be read any more: {error}"),
                ));
            }
            Event::Ended => {}
        }
        Ok(())
    }

    fn show(&mut self, elapsed: Duration, rate: f64) -> Result<(), Failure> {
        let (ledger, latest) = (&self.ledger, self.latest.as_ref());
        self.display.show(&Moment { elapsed, rate, ledger, latest, floor: self.floor })
    }

    /// Whether all went well.
    fn judge(&self) -> Result<(), Failure> {
        let (lost, duplicated, failed) =
            (self.ledger.missing(), self.ledger.duplicated(), self.ledger.failed());
        if lost == 0 && duplicated == 0 && failed == 0 {
            return Ok(());
        }
        let words = format!("{lost} orders were lost, {duplicated} came twice, {failed} failed");
        Err(Failure::failed("demo_failed", words))
    }
}

/// The topic, made if it is not there.
async fn topic(client: &Client) -> Result<Arc<Topic>, Failure> {
    let topics = client.list_topics(false).await?;
    if topics.iter().all(|topic| topic.name != TOPIC) {
        let request = CreateTopicRequest {
            name: TOPIC.to_owned(),
            partitions: PARTITIONS,
            replication_factor: 1,
            ..CreateTopicRequest::default()
        };
        client.create_topic(request).await?;
    }
    Ok(client.topic(TOPIC).await?)
}

/// What is running, what its durability is, and what to try.
fn welcome(
    place: &Place,
    broker: &Beside,
    shards: u16,
    floor: &Result<LatencySummary, LimitError>,
) -> (String, serde_json::Value) {
    let (native, directory) = (broker.native(), place.directory().display().to_string());
    let removed = if place.is_kept() { "" } else { ", removed in the end" };
    let program = std::env::args().next().unwrap_or_else(|| "ringmain".to_owned());
    let reach = reach(native);
    let (durability, floor_words) = match floor {
        Ok(latencies) => (SYNCED, format!("one synced 4 KiB write takes {} here", percentiles(latencies))),
        Err(LimitError::NotDurable { filesystem, .. }) => {
            ("kept in memory", format!("but on {filesystem} that is in memory, and power takes it all"))
        }
        Err(error) => (SYNCED, format!("how long this disk takes is not known: {error}")),
    };
    let words = format!(
        "A broker with {shards} shards at {native}; data in {directory}{removed}.\n\
         An order is acknowledged when it is synced to disk, and not before; {floor_words}.\n\
         Ctrl-C ends it. Meanwhile, in another terminal:\n\
         \x20 {program} topic consume {TOPIC}{reach} --from end -f '%k %v\\n'\n\
         \x20 {program} topic describe {TOPIC}{reach}\n\
         \x20 {program} cluster info{reach}\n\n"
    );
    let document = json!({
        "event": "ready",
        "native": native.to_string(),
        "shards": shards,
        "data_dir": directory,
        "durability": durability,
        "disk_synced_write_4k": floor.as_ref().ok(),
    });
    (words, document)
}

/// What a command needs to reach the broker.
fn reach(native: SocketAddr) -> String {
    if native == NATIVE_DEFAULT { String::new() } else { format!(" --broker {native}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_a_broker_that_is_not_where_they_look_for_one() {
        assert_eq!(reach(NATIVE_DEFAULT), "");
        assert_eq!(reach(SocketAddr::from(([127, 0, 0, 1], 4000))), " --broker 127.0.0.1:4000");
    }
}
