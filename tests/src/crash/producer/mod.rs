//! The producer as a process of its own, with one producer id for its whole life; and the run's end of it.

mod connection;
mod handle;

pub(super) use handle::Producer;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ringmain_wire::ids::{LeaderEpoch, ProducerId, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    InitProducerRequest, InitProducerResponse, MetadataRequest, MetadataResponse,
};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::report::Event;
use super::session::{Session, SessionError};
use super::workload::{CONNECTIONS, TOPIC};
use connection::Connection;

/// The hidden mode of `crash` that runs [`run`].
pub const MODE: &str = "producer";
/// Between attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(4);

/// How a producer is started.
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// Where the broker, or the proxy before it, listens.
    pub broker: SocketAddr,
    /// Decides how many records the batches have.
    pub seed: u64,
}

/// Is the producer, in this process, until standard input says `stop` and all that was sent is acknowledged.
pub fn run(options: &ProducerOptions) -> ExitCode {
    let told = match set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => produce(options),
        Err(error) => Err(SessionError::Lost(error.into())),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Event::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn produce(options: &ProducerOptions) -> Result<(), SessionError> {
    let orders = Arc::new(Orders { order: Mutex::new(Order::Produce), changed: Condvar::new() });
    let (producer, topic) = begin(options, &orders)?;
    say(&Event::Named(producer));
    let obeying = orders.clone();
    thread::spawn(move || obey(&obeying));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let connection = Connection::new(number, *options, producer, topic, orders.clone());
            thread::spawn(move || connection.run())
        })
        .collect();
    // The first failure is told by its thread; the others would go on for ever.
    connections
        .into_iter()
        .try_for_each(|connection| connection.join().expect("a connection's thread ends well"))
}

/// The producer id, asked for until it is had, and the topic.
fn begin(options: &ProducerOptions, orders: &Orders) -> Result<(ProducerId, TopicId), SessionError> {
    let attempt = || -> Result<_, SessionError> {
        let (mut session, _) = Session::connect(options.broker)?;
        let (topic, _) = find_topic(&mut session)?;
        let request = InitProducerRequest { transactional_id: None };
        let (given, _): (InitProducerResponse, _) = session.request(Api::InitProducer, &request)?;
        Ok((given.producer, topic))
    };
    loop {
        match attempt() {
            Err(error) if error.is_passing() => orders.pause(RETRY_PAUSE),
            settled => return settled,
        }
    }
}

/// The topic, and the epoch of the broker's start: it leads all partitions under it.
fn find_topic(session: &mut Session) -> Result<(TopicId, LeaderEpoch), SessionError> {
    let request = MetadataRequest { topics: Some(vec![TOPIC.to_owned()]) };
    let (metadata, _): (MetadataResponse, _) = session.request(Api::Metadata, &request)?;
    let topic = metadata.topics.into_iter().next().ok_or(SessionError::WrongAnswer)?;
    if topic.error != 0 {
        return Err(SessionError::refused(topic.error, None));
    }
    let start = topic.partitions.first().ok_or(SessionError::WrongAnswer)?.leader_epoch;
    Ok((topic.id, start))
}

/// Answers marks and passes orders on, line by line.
fn obey(orders: &Orders) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match (line.as_str(), line.strip_prefix("mark ").map(str::parse)) {
            (_, Some(Ok(mark))) => say(&Event::Marked(mark)),
            ("produce", _) => orders.give(Order::Produce),
            ("hold", _) => orders.give(Order::Hold),
            ("stop", _) => orders.give(Order::Stop),
            _ => say(&Event::Failed(format!("unknown command {line:?}"))),
        }
    }
}

/// One whole line in one write.
fn say(event: &Event) {
    let line = format!("{event}\n");
    let mut out = io::stdout().lock();
    // A run that no longer listens has ended, and this process is killed with it.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// What the run wants of the producer. Shared by its threads.
#[derive(Debug)]
struct Orders {
    order: Mutex<Order>,
    changed: Condvar,
}

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Produce as fast as they can.
    Produce,
    /// Make no further batch until they are told to.
    Hold,
    /// Make no further batch, and end when all that was made is acknowledged.
    Stop,
}

impl Orders {
    fn give(&self, order: Order) {
        *self.order.lock().expect("nobody panics with it") = order;
        self.changed.notify_all();
    }

    fn current(&self) -> Order {
        *self.order.lock().expect("nobody panics with it")
    }

    /// Waits for another order than to hold.
    fn wait_while_held(&self) {
        let order = self.order.lock().expect("nobody panics with it");
        drop(self.changed.wait_while(order, |order| *order == Order::Hold));
    }

    /// Waits for that time, or until the order changes.
    fn pause(&self, time: Duration) {
        let order = self.order.lock().expect("nobody panics with it");
        let before = *order;
        drop(self.changed.wait_timeout_while(order, time, |order| *order == before));
    }
}
