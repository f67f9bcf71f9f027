//! The generator against a small broker in memory, honest or not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use ringmain_wire::batch::{self, BatchHeader};
use ringmain_wire::ids::{LeaderEpoch, NodeId, ShardId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Body, FRAME_BYTES_MAX_DEFAULT, Frame};
use ringmain_wire::native::messages::*;

use super::*;
use crate::client_loop::Pace;
use crate::latency::LatencySummary;
use crate::limit::LimitOptions;

const TOPIC: TopicId = TopicId([7; 16]);

/// How the broker treats what it should store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Honesty {
    Honest,
    /// Acknowledges its fifth batch without storing it.
    Forgets,
    /// Refuses every third batch.
    Refuses,
}

/// Batches of each of two partitions, and the name of the topic.
#[derive(Default)]
struct Stored {
    partitions: [Vec<Vec<u8>>; 2],
    next: [i64; 2],
    produced: usize,
    topic: Option<String>,
    deleted: bool,
}

fn start_broker(honesty: Honesty) -> (SocketAddr, Arc<Mutex<Stored>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let stored = Arc::new(Mutex::new(Stored::default()));
    let shared = Arc::clone(&stored);
    // Ends with the test process: it waits in accept.
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let stored = Arc::clone(&shared);
            std::thread::spawn(move || serve(socket, &stored, honesty, address.port()));
        }
    });
    (address, stored)
}

fn serve(mut socket: TcpStream, stored: &Mutex<Stored>, honesty: Honesty, port: u16) {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = socket.read(&mut chunk) {
        received.extend_from_slice(&chunk[..read]);
        while let Some((request, length)) = frame::split(&received, FRAME_BYTES_MAX_DEFAULT).unwrap() {
            let answer = answer(&request, &mut stored.lock().unwrap(), honesty, port);
            received.drain(..length);
            if socket.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

fn answer(request: &Frame<'_>, stored: &mut Stored, honesty: Honesty, port: u16) -> Vec<u8> {
    fn reply<T: Body>(request: &Frame<'_>, body: &T, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        let head = frame::encode(request.header.api, true, 0, request.header.correlation, body, length);
        [&head[..], payload].concat()
    }
    match Api::from_number(request.header.api).unwrap() {
        Api::Hello => {
            let shards = vec![ShardEndpoint { shard: ShardId(0), port }];
            let broker_version = "fake".to_owned();
            reply(
                request,
                &HelloResponse { version: 1, shards, broker_version, ..HelloResponse::default() },
                &[],
            )
        }
        Api::CreateTopic => {
            let create: CreateTopicRequest = frame::decode(request.body).unwrap();
            assert_eq!(create.partitions, 2);
            stored.topic = Some(create.name);
            reply(request, &TopicDescription::default(), &[])
        }
        Api::Metadata => {
            let asked: MetadataRequest = frame::decode(request.body).unwrap();
            let name = asked.topics.unwrap().remove(0);
            let known = stored.topic.as_ref() == Some(&name);
            let error = if known { 0 } else { ErrorCode::UnknownTopicOrPartition.number() };
            let partition = |index| PartitionMetadata {
                index: PartitionIndex(index),
                leader: NodeId(0),
                shard: ShardId(0),
                leader_epoch: LeaderEpoch(1),
                damaged: false,
            };
            let partitions = vec![partition(0), partition(1)];
            let topics = vec![TopicMetadata { error, name, id: TOPIC, partitions }];
            reply(request, &MetadataResponse { topics }, &[])
        }
        Api::ListOffsets => {
            let asked: ListOffsetsRequest = frame::decode(request.body).unwrap();
            let offset = Offset(stored.next[asked.parts[0].partition.get() as usize]);
            let part = ListedOffset { offset, ..ListedOffset::default() };
            reply(request, &ListOffsetsResponse { parts: vec![part] }, &[])
        }
        Api::Produce => {
            let asked: ProduceRequest = frame::decode(request.body).unwrap();
            assert_eq!((asked.acks, asked.parts.len(), asked.parts[0].topic), (-1, 1, TOPIC));
            reply(request, &append(stored, asked.parts[0].partition, request.payload, honesty), &[])
        }
        Api::Fetch => {
            let asked: FetchRequest = frame::decode(request.body).unwrap();
            let part = &asked.parts[0];
            let batches = &stored.partitions[part.partition.get() as usize];
            let wanted =
                batches.iter().filter(|batch| BatchHeader::parse(batch).unwrap().base_offset >= part.offset);
            // A few at a time, so that reading back takes several turns.
            let payload: Vec<u8> = wanted.take(3).flatten().copied().collect();
            let length = u32::try_from(payload.len()).unwrap();
            reply(
                request,
                &FetchResponse { parts: vec![FetchedPart { length, ..FetchedPart::default() }] },
                &payload,
            )
        }
        Api::DeleteTopic => {
            let asked: DeleteTopicRequest = frame::decode(request.body).unwrap();
            assert_eq!(Some(asked.name), stored.topic);
            stored.deleted = true;
            reply(request, &DeleteTopicResponse { id: TOPIC }, &[])
        }
        api => panic!("{api} was not expected"),
    }
}

fn append(stored: &mut Stored, partition: PartitionIndex, bytes: &[u8], honesty: Honesty) -> ProduceResponse {
    let partition = partition.get() as usize;
    let mut bytes = bytes.to_vec();
    let records = batch::check(&bytes).unwrap().records;
    stored.produced += 1;
    let mut part = ProducedPart { base_offset: Offset(stored.next[partition]), ..ProducedPart::default() };
    if honesty == Honesty::Refuses && stored.produced.is_multiple_of(3) {
        part.error = ErrorCode::OverBudget.number();
        return ProduceResponse { parts: vec![part] };
    }
    batch::stamp(&mut bytes, part.base_offset, LeaderEpoch(1));
    stored.next[partition] += i64::from(records);
    if !(honesty == Honesty::Forgets && stored.produced == 5) {
        stored.partitions[partition].push(bytes);
    }
    ProduceResponse { parts: vec![part] }
}

fn options(broker: SocketAddr) -> NativeLoadOptions {
    NativeLoadOptions {
        broker,
        topic: Topic::Temporary { partitions: 2 },
        connections: 3,
        records_per_request: 4,
        record_bytes: 100,
        acks: Acks::All,
        load: Load {
            pace: Pace::OpenLoop { requests_per_second: 500.0 },
            warm_up: Duration::from_millis(20),
            measured: Duration::from_millis(200),
            drain: Duration::from_secs(5),
        },
        verify: true,
    }
}

#[test]
fn an_honest_broker_is_found_honest_and_left_clean() {
    let (broker, stored) = start_broker(Honesty::Honest);
    let report = run_native(&options(broker), &Stop::default()).unwrap();
    assert_eq!((report.requests_sent, report.requests_acknowledged), (110, 110));
    assert_eq!((report.requests_refused, report.requests_unanswered), (0, 0));
    let verification = report.verification.clone().unwrap();
    assert!(verification.holds(), "{verification:?}");
    assert_eq!((verification.acknowledged_records, verification.stored_records), (440, 440));
    assert_eq!(report.latency.samples, 100);
    let stored = stored.lock().unwrap();
    assert!(stored.deleted);
    assert_eq!(stored.partitions.iter().map(Vec::len).sum::<usize>(), 110);
    assert!(stored.partitions.iter().all(|partition| !partition.is_empty()));

    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<LoadReport>(&json).unwrap(), report);
    let text = report.render_text();
    assert!(
        text.contains("acks=all") && text.contains("440 records acknowledged, 440 stored, 0 lost"),
        "{text}"
    );
}

#[test]
fn a_broker_that_forgets_what_it_acknowledged_is_caught() {
    let (broker, _) = start_broker(Honesty::Forgets);
    let verification = run_native(&options(broker), &Stop::default()).unwrap().verification.unwrap();
    assert_eq!((verification.lost_records, verification.holds()), (4, false));
}

#[test]
fn refusals_are_counted_by_name_and_not_as_throughput() {
    let (broker, _) = start_broker(Honesty::Refuses);
    let report = run_native(&options(broker), &Stop::default()).unwrap();
    assert_eq!(report.requests_refused, 110 / 3);
    assert_eq!(report.errors.get("over_budget"), Some(&(110 / 3)));
    assert_eq!(report.requests_acknowledged, 110 - 110 / 3);
    assert!(report.verification.unwrap().holds());
}

/// Requests that the broker has seen when the run is interrupted: some behind the warm-up.
const PRODUCED_BEFORE_STOP: usize = 300;

#[test]
fn an_interrupted_run_reports_what_there_is_and_deletes_its_topic() {
    let (broker, stored) = start_broker(Honesty::Honest);
    let stop = Stop::default();
    let mut options = options(broker);
    options.load.measured = Duration::from_secs(600);
    let interrupter = {
        let (stop, stored) = (stop.clone(), Arc::clone(&stored));
        std::thread::spawn(move || {
            while stored.lock().unwrap().produced < PRODUCED_BEFORE_STOP {
                std::thread::yield_now();
            }
            stop.request();
        })
    };
    let report = run_native(&options, &stop).unwrap();
    interrupter.join().unwrap();
    assert!(report.interrupted && report.requests_acknowledged > 0, "{report:?}");
    assert!(report.measured_seconds < 60.0 && report.verification.is_none(), "{report:?}");
    assert!(report.render_text().contains(", interrupted\n"));
    assert!(stored.lock().unwrap().deleted);
}

#[test]
fn a_topic_that_is_not_there_is_named_and_nothing_is_deleted() {
    let (broker, stored) = start_broker(Honesty::Honest);
    let options = NativeLoadOptions { topic: Topic::Existing("orders".to_owned()), ..options(broker) };
    let refused = run_native(&options, &Stop::default());
    assert!(matches!(&refused, Err(LoadError::UnknownTopic { name }) if name == "orders"), "{refused:?}");
    assert!(!stored.lock().unwrap().deleted);
}

#[test]
fn a_broker_that_is_not_there_is_an_error_with_its_address() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let refused = run_native(&options(unused), &Stop::default()).unwrap_err();
    assert!(refused.to_string().contains(&unused.to_string()), "{refused}");
}

#[test]
fn pairs_compare_the_broker_with_the_echo_under_the_same_load() {
    let (broker, _) = start_broker(Honesty::Honest);
    let directory = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let limit = LimitOptions { file_bytes: 8 << 20, spin: None, cpu: None, ..LimitOptions::new(directory) };
    let paired_options = PairedOptions { native: options(broker), limit, pairs: 2 };
    let mut steps = Vec::new();
    let report = paired(&paired_options, &mut |progress| steps.push(progress.step)).unwrap();
    assert_eq!(steps, ["bare durable echo", "broker", "bare durable echo", "broker"]);
    assert_eq!(report.pairs.len(), 2);
    assert!(report.pairs.iter().all(|pair| pair.echo_latency.samples == 100));
    let p50 = |latency: &LatencySummary| latency.p50_us.unwrap();
    let ratios: Vec<f64> =
        report.pairs.iter().map(|pair| p50(&pair.broker.latency) / p50(&pair.echo_latency)).collect();
    let wanted = f64::midpoint(ratios[0], ratios[1]);
    assert!((report.p50_ratio.unwrap() - wanted).abs() < 0.001, "{}", report.render_text());
    assert_eq!(report.p999_ratio, None);
    assert!((report.throughput_ratio.unwrap() - 1.0).abs() < 0.5);
}
