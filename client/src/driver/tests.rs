//! The driver and the blocking façade over real sockets, against the fake broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringmain_wire::ids::{Offset, PartitionIndex, ShardId, TimestampMs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::core::{AppendError, ConnectionId, ConsumerConfig, Fetched, ProduceRecord, ProducerConfig};
use crate::fake_broker::FakeBroker;

const TOPIC: &str = "orders";

/// The fake broker behind real listeners, one a shard; the first is the bootstrap too.
struct Served {
    broker: Mutex<FakeBroker>,
    changed: Notify,
    /// Cuts every connection.
    cut: Notify,
    epoch: Instant,
    address: String,
}

impl Served {
    async fn start(shards: u16) -> Arc<Self> {
        let mut listeners = Vec::new();
        for _ in 0..shards {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let mut broker = FakeBroker::new(shards);
        broker.create_topic(TOPIC, 4);
        broker.shard_ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let address = format!("127.0.0.1:{}", broker.shard_ports[0]);
        let served = Arc::new(Self {
            broker: Mutex::new(broker),
            changed: Notify::new(),
            cut: Notify::new(),
            epoch: Instant::now(),
            address,
        });
        for (shard, listener) in (0..).zip(listeners) {
            let served = Arc::clone(&served);
            tokio::spawn(async move {
                for number in 0.. {
                    let (stream, _) = listener.accept().await.unwrap();
                    let connection = ConnectionId(u64::from(shard) << 32 | number);
                    served.broker.lock().unwrap().open(connection, ShardId(shard));
                    tokio::spawn(Arc::clone(&served).serve(connection, stream));
                }
            });
        }
        served
    }

    async fn serve(self: Arc<Self>, connection: ConnectionId, mut stream: TcpStream) {
        let mut buffer = [0; 4096];
        loop {
            let output = {
                let mut broker = self.broker.lock().unwrap();
                broker.serve(self.epoch.elapsed());
                broker.take_output(connection)
            };
            if stream.write_all(&output).await.is_err() {
                break;
            }
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        let now = self.epoch.elapsed();
                        self.broker.lock().unwrap().receive(now, connection, &buffer[..length]);
                        self.changed.notify_waiters();
                    }
                },
                () = self.changed.notified() => {}
                () = self.cut.notified() => break,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        self.broker.lock().unwrap().close(connection);
    }
}

fn record(partition: u32, value: &[u8]) -> ProduceRecord<'_> {
    ProduceRecord {
        partition: Some(PartitionIndex(partition)),
        timestamp: TimestampMs(5),
        key: None,
        value: Some(value),
        headers: &[],
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_error_at_once() {
    // Bound and dropped: nothing listens there now.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let connecting = Client::connect(&address, ClientConfig::default());
    let error = tokio::time::timeout(Duration::from_secs(1), connecting).await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Connect { endpoint, .. } if endpoint.port == port), "{error}");
    assert!(Client::connect("not an address", ClientConfig::default()).await.is_err());
}

#[tokio::test]
async fn records_go_out_and_come_back_over_cut_connections() {
    let served = Served::start(2).await;
    let client = Client::connect(&served.address, ClientConfig::default()).await.unwrap();
    let producer = client.producer(ProducerConfig { batch_bytes: 500, ..ProducerConfig::default() });
    let mut pending = Vec::new();
    for number in 0..2000_u32 {
        let value = number.to_string();
        pending.push(producer.send(TOPIC, &record(number % 4, value.as_bytes())).await.unwrap());
        if number % 500 == 250 {
            served.cut.notify_waiters();
        }
    }
    producer.flush().await.unwrap();
    for (number, mut delivery) in (0..).zip(pending) {
        let delivered = delivery.try_take().expect("flushed").unwrap();
        assert_eq!(
            (delivered.partition, delivered.offset),
            (PartitionIndex(number % 4), Some(Offset(i64::from(number / 4))))
        );
    }
    let consumer = client.consumer(ConsumerConfig::default());
    let partitions: Vec<_> = (0..4).map(|partition| (PartitionIndex(partition), Start::Tail(100))).collect();
    assert_eq!(consumer.assign_all(TOPIC, &partitions).await, Ok(vec![Offset(400); 4]));
    let missing = consumer.assign(TOPIC, PartitionIndex(4), Start::Beginning).await;
    assert!(missing.unwrap_err().to_string().contains("has no partition 4"));
    let mut read: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    while read.values().map(Vec::len).sum::<usize>() < 400 {
        let fetched = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await.unwrap().unwrap();
        let Fetched::Records { records, .. } = fetched else { panic!("{fetched:?}") };
        for record in records {
            let number = record.offset.get() * 4 + i64::from(record.partition.get());
            assert_eq!(record.value.unwrap(), number.to_string());
            read.entry(record.partition.get()).or_default().push(record.offset.get());
        }
    }
    assert!(read.values().all(|offsets| offsets.iter().copied().eq(400..500)), "{read:?}");
}

#[tokio::test]
async fn all_who_wait_for_a_missing_topic_hear_of_it() {
    let served = Served::start(1).await;
    let client = Client::connect(&served.address, ClientConfig::default()).await.unwrap();
    let both = async { tokio::join!(client.topic("missing"), client.topic("missing")) };
    let (one, other) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert!(one.unwrap_err().to_string().contains("topic create missing"));
    assert!(other.is_err());
    let producer = client.producer(ProducerConfig::default());
    let sent = producer.send("missing", &record(0, b"v")).await;
    assert!(sent.unwrap_err().to_string().contains("topic create missing"));
}

#[tokio::test]
async fn a_full_buffer_makes_send_wait_and_a_dropped_send_takes_nothing() {
    let served = Served::start(1).await;
    let client = Client::connect(&served.address, ClientConfig::default()).await.unwrap();
    client.topic(TOPIC).await.unwrap();
    let producer = client.producer(ProducerConfig { buffer_bytes_max: 2000, ..ProducerConfig::default() });
    served.broker.lock().unwrap().frozen = true;
    let value = [b'x'; 936];
    let first = producer.send(TOPIC, &record(0, &value)).await.unwrap();
    let second = producer.send(TOPIC, &record(0, &value)).await.unwrap();
    assert!(matches!(producer.try_send(TOPIC, &record(0, &value)), Err(AppendError::Full)));
    let waiting =
        tokio::time::timeout(Duration::from_millis(50), producer.send(TOPIC, &record(0, b"dropped"))).await;
    assert!(waiting.is_err(), "there was no room");
    served.broker.lock().unwrap().frozen = false;
    assert_eq!(first.await.unwrap().offset, Some(Offset(0)));
    assert_eq!(second.await.unwrap().offset, Some(Offset(1)));
    let third = producer.send(TOPIC, &record(0, b"third")).await.unwrap();
    assert_eq!(third.await.unwrap().offset, Some(Offset(2)), "the dropped one was never taken");
}

#[tokio::test]
async fn dropping_every_handle_ends_the_connections() {
    let served = Served::start(1).await;
    let client = Client::connect(&served.address, ClientConfig::default()).await.unwrap();
    let shared = Arc::downgrade(client.shared());
    let producer = client.producer(ProducerConfig::default());
    let pending = producer.send(TOPIC, &record(0, b"v")).await.unwrap();
    drop((client, producer));
    assert_eq!(pending.await, Err(ClientError::Closed));
    for _ in 0..100 {
        if shared.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("tasks outlive their client");
}

#[test]
fn the_blocking_facade_does_the_same() {
    let (address_sender, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let broker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = Served::start(2).await;
            address_sender.send(served.address.clone()).unwrap();
            stopped.await.unwrap_err();
        });
    });
    let address = address.recv().unwrap();
    let client = crate::blocking::Client::connect(&address, ClientConfig::default()).unwrap();
    assert_eq!(client.list_topics(false).unwrap()[0].name, TOPIC);
    let producer = client.producer(ProducerConfig::default());
    let pending: Vec<_> = (0..100).map(|_| producer.send(TOPIC, &record(1, b"v")).unwrap()).collect();
    producer.flush().unwrap();
    let offsets: Vec<_> =
        pending.into_iter().map(|pending| pending.wait().unwrap().offset.unwrap().get()).collect();
    assert!(offsets.iter().copied().eq(0..100));
    let consumer = client.consumer(ConsumerConfig::default());
    assert_eq!(consumer.assign(TOPIC, PartitionIndex(1), Start::Offset(Offset(42))), Ok(Offset(42)));
    let Fetched::Records { records, .. } = consumer.next().unwrap() else { panic!("failed") };
    assert_eq!(records[0].offset, Offset(42));
    drop((client, producer, consumer, stop));
    broker.join().unwrap();
}
