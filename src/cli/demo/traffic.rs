//! The demo's traffic: orders at a steady rate through the native client, and a consumer of all partitions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmain_client::{
    Client, ConsumerConfig, Fetched, ProduceRecord, Producer, ProducerConfig, Start, Topic,
};
use ringmain_wire::ids::{Offset, PartitionIndex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::orders::Order;
use crate::cli::clock::{instant, now};
use crate::cli::failure::Failure;

/// Between two rounds of sending.
const ROUND: Duration = Duration::from_millis(1);

/// What happens, in the order in which it did.
#[derive(Debug)]
pub(super) enum Event {
    /// An order is on its way.
    Sent {
        order: u64,
        at: Instant,
    },
    Acknowledged {
        order: u64,
        at: Instant,
    },
    /// It has no outcome, or was refused.
    Failed {
        order: u64,
        error: String,
    },
    /// A record was read: an order of this run, or something else.
    Consumed {
        order: Option<Order>,
        partition: PartitionIndex,
        offset: Offset,
        at: Instant,
    },
    /// Nothing can be read any more.
    ReadingFailed {
        error: String,
    },
    /// Nothing more is sent.
    Ended,
}

/// Traffic that goes on until it is told to stop.
pub(super) struct Traffic {
    events: UnboundedReceiver<Event>,
    /// Dropped, it stops the sending.
    stop: Option<oneshot::Sender<()>>,
}

impl Traffic {
    /// Begins to read at the ends of the partitions, and then to send.
    ///
    /// # Errors
    /// When the consumer cannot be assigned.
    pub(super) async fn start(client: &Client, topic: &Topic, run: i64, rate: u32) -> Result<Self, Failure> {
        let consumer = client.consumer(ConsumerConfig::default());
        let partitions: Vec<_> =
            (0..topic.partitions()).map(|index| (PartitionIndex(index), Start::End)).collect();
        consumer.assign_all(&topic.name, &partitions).await?;
        let (sender, events) = unbounded_channel();
        let read = sender.clone();
        tokio::spawn(async move {
            while !read.is_closed() {
                match consumer.next().await {
                    Ok(Fetched::Records { records, .. }) => {
                        for record in records {
                            let value = record.value.as_deref().unwrap_or_default();
                            tell(
                                &read,
                                Event::Consumed {
                                    order: Order::recognise(run, value),
                                    partition: record.partition,
                                    offset: record.offset,
                                    at: instant(),
                                },
                            );
                        }
                    }
                    Ok(Fetched::Failed { error, .. }) | Err(error) => {
                        return tell(&read, Event::ReadingFailed { error: error.to_string() });
                    }
                }
            }
        });
        let (stop, stopped) = oneshot::channel();
        let producer = client.producer(ProducerConfig::default());
        tokio::spawn(send(producer, Arc::clone(&topic.name), (run, rate), stopped, sender));
        Ok(Self { events, stop: Some(stop) })
    }

    /// The next event; `None` once there can be no more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Sends no more; what is on its way still has its events.
    pub(super) fn stop(&mut self) {
        self.stop = None;
    }
}

/// Sends orders until it is told to stop, then waits until each has its outcome.
async fn send(
    producer: Producer,
    topic: Arc<str>,
    (run, rate): (i64, u32),
    mut stopped: oneshot::Receiver<()>,
    events: UnboundedSender<Event>,
) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = instant();
    let mut order = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = rounds.tick() => {}
        }
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while order < due {
            send_one(&producer, &topic, &Order::make(run, order), &events).await;
            order += 1;
        }
    }
    // Outcomes, failures too, are told one by one.
    let _ = producer.flush().await;
    tell(&events, Event::Ended);
}

async fn send_one(producer: &Producer, topic: &str, order: &Order, events: &UnboundedSender<Event>) {
    let (number, value) = (order.order, order.to_json());
    let record = ProduceRecord {
        partition: None,
        timestamp: now(),
        key: Some(order.key().as_bytes()),
        value: Some(value.as_bytes()),
        headers: &[],
    };
    tell(events, Event::Sent { order: number, at: instant() });
    let events = events.clone();
    match producer.send(topic, &record).await {
        Ok(pending) => {
            tokio::spawn(async move {
                tell(
                    &events,
                    match pending.await {
                        Ok(_) => Event::Acknowledged { order: number, at: instant() },
                        Err(error) => Event::Failed { order: number, error: error.to_string() },
                    },
                );
            });
        }
        Err(error) => tell(&events, Event::Failed { order: number, error: error.to_string() }),
    }
}

/// Nobody listens once the demo is over.
fn tell(events: &UnboundedSender<Event>, event: Event) {
    let _ = events.send(event);
}
