//! The load generator for Ringmain's native protocol, driven by the same client loop as the bare durable echo.
//!
//! One prebuilt batch a request, connections straight to the shard that owns their partition, every acknowledged
//! offset remembered and, if asked for, looked up again at the end.

mod error;
mod paired;
mod produce;
mod report;
mod session;
mod verify;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    CreateTopicRequest, DeleteTopicRequest, DeleteTopicResponse, HelloResponse, ListOffsetsPart,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, TIMESTAMP_END,
    TopicDescription,
};

use crate::client_loop::{self, Load, Stop};
use crate::clock;
use crate::host::{Host, ProcessorTime};

pub use error::{LoadError, ProduceAnswerError};
pub use paired::{Pair, PairedOptions, PairedReport, paired};
use produce::ProduceExchange;
pub use report::{LoadReport, Verification};
use session::Session;

/// How long the broker may take for a request outside the measured load.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: u32 = 4096;
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Tells the topics of one process apart.
static TOPICS: AtomicU32 = AtomicU32::new(0);

/// Which acknowledgement is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// The leader has the records durable.
    Leader,
    /// Every in-sync replica has them durable.
    All,
}

/// Where the records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A topic that exists; it is left as it is, with the records added.
    Existing(String),
    /// A topic of the run's own, deleted at its end.
    Temporary {
        /// Its partitions.
        partitions: u32,
    },
}

/// What to send, where, how fast and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeLoadOptions {
    /// Any native listener of the broker; the shards' own ports are learnt from it.
    pub broker: SocketAddr,
    /// Where the records go.
    pub topic: Topic,
    /// Connections, 1 to 4,096; number `n` writes to partition `n` modulo the number of partitions.
    pub connections: u32,
    /// Records in the one batch of each request.
    pub records_per_request: u32,
    /// Length of a record's value.
    pub record_bytes: usize,
    /// Which acknowledgement is waited for.
    pub acks: Acks,
    /// When requests leave, and for how long.
    pub load: Load,
    /// Read everything back afterwards and look for what was acknowledged.
    pub verify: bool,
}

impl NativeLoadOptions {
    fn check(&self) -> Result<(), LoadError> {
        let request_bytes = (self.records_per_request as usize).saturating_mul(self.record_bytes);
        let checks = [
            ((1..=CONNECTIONS_MAX).contains(&self.connections), "connections", "from 1 to 4,096"),
            (self.records_per_request > 0, "records per request", "at least 1"),
            (request_bytes <= REQUEST_BYTES_MAX, "records per request times their length", "at most 16 MiB"),
            (!self.load.measured.is_zero(), "duration", "more than 0"),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, wanted)) => Err(LoadError::Option { name, wanted }),
            None => Ok(()),
        }
    }
}

/// Puts the load on a broker and reports what came of it; told to stop, what came of it so far, with nothing read back.
///
/// # Errors
/// Options that make no sense, a broker that cannot be reached, refuses to serve the topic, or breaks the protocol.
/// Refused and unanswered produce requests are no error; they are in the report.
pub fn run_native(options: &NativeLoadOptions, stop: &Stop) -> Result<LoadReport, LoadError> {
    options.check()?;
    let (mut session, hello) = Session::connect(options.broker, CONTROL_TIMEOUT)?;
    match &options.topic {
        Topic::Existing(name) => run_on_topic(options, name, &mut session, &hello, stop),
        Topic::Temporary { partitions } => {
            let name = create_temporary(&mut session, *partitions)?;
            let report = run_on_topic(options, &name, &mut session, &hello, stop);
            let request = DeleteTopicRequest { name };
            let deleted = session.request::<_, DeleteTopicResponse>(Api::DeleteTopic, &request);
            // What went wrong first is what the caller has to hear of.
            let report = report?;
            deleted?;
            Ok(report)
        }
    }
}

fn create_temporary(session: &mut Session, partitions: u32) -> Result<String, LoadError> {
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    let name = format!("bench-{}-{}-{number}", std::process::id(), clock::unix_milliseconds());
    let request = CreateTopicRequest {
        name: name.clone(),
        partitions,
        replication_factor: 1,
        configs: Vec::new(),
        validate_only: false,
    };
    session.request::<_, TopicDescription>(Api::CreateTopic, &request)?;
    Ok(name)
}

fn run_on_topic(
    options: &NativeLoadOptions,
    name: &str,
    session: &mut Session,
    hello: &HelloResponse,
    stop: &Stop,
) -> Result<LoadReport, LoadError> {
    let (topic, owners) = find_partitions(session, name, options.broker, hello)?;
    let host = Host::describe(Path::new("."));
    let batch = build_batch(options);
    let assigned = |connection: u32| (connection as usize) % owners.len();
    let mut sockets = Vec::with_capacity(options.connections as usize);
    let mut targets = Vec::with_capacity(options.connections as usize);
    for connection in 0..options.connections {
        let partition = assigned(connection);
        sockets.push(connect_to_shard(owners[partition])?);
        targets.push(PartitionIndex(u32::try_from(partition).expect("partitions are counted in 32 bits")));
    }
    let begins = end_offsets(&owners, topic)?;
    let mut exchange = ProduceExchange::new(topic, &targets, options, &batch);
    let time_before = ProcessorTime::now();
    let ledger = client_loop::run(sockets, &options.load, &mut exchange, stop).map_err(LoadError::Client)?;
    let stolen_cores = ProcessorTime::now().stolen_cores_since(time_before, host.cpus);
    let acknowledged = exchange.into_acknowledged(owners.len());
    let interrupted = stop.is_requested();
    let verification = if options.verify && !interrupted {
        Some(verify::read_back(&owners, topic, &begins, &acknowledged, options.records_per_request)?)
    } else {
        None
    };
    Ok(LoadReport::new(
        options,
        hello,
        host,
        owners.len(),
        &ledger,
        acknowledged.errors,
        stolen_cores,
        interrupted,
        verification,
    ))
}

/// The topic's id, and for each partition the address of the shard that owns it.
fn find_partitions(
    session: &mut Session,
    name: &str,
    broker: SocketAddr,
    hello: &HelloResponse,
) -> Result<(TopicId, Vec<SocketAddr>), LoadError> {
    let request = MetadataRequest { topics: Some(vec![name.to_owned()]) };
    let (metadata, _) = session.request::<_, MetadataResponse>(Api::Metadata, &request)?;
    let topic = metadata.topics.into_iter().next().filter(|topic| topic.error == 0);
    let topic = topic.ok_or_else(|| LoadError::UnknownTopic { name: name.to_owned() })?;
    let mut owners = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        let endpoint = hello.shards.iter().find(|endpoint| endpoint.shard == partition.shard);
        let endpoint = endpoint.ok_or(LoadError::UnknownShard { shard: partition.shard })?;
        owners.push(SocketAddr::new(broker.ip(), endpoint.port));
    }
    if owners.is_empty() {
        Err(LoadError::UnknownTopic { name: name.to_owned() })
    } else {
        Ok((topic.id, owners))
    }
}

fn connect_to_shard(address: SocketAddr) -> Result<TcpStream, LoadError> {
    Session::connect(address, CONTROL_TIMEOUT).map(|(session, _)| session.into_socket())
}

fn end_offsets(owners: &[SocketAddr], topic: TopicId) -> Result<Vec<Offset>, LoadError> {
    owners
        .iter()
        .zip(0..)
        .map(|(&address, index)| {
            let (mut session, _) = Session::connect(address, CONTROL_TIMEOUT)?;
            end_offset(&mut session, topic, PartitionIndex(index))
        })
        .collect()
}

fn end_offset(session: &mut Session, topic: TopicId, partition: PartitionIndex) -> Result<Offset, LoadError> {
    let part = ListOffsetsPart { topic, partition, timestamp: TIMESTAMP_END };
    let (listed, _) = session
        .request::<_, ListOffsetsResponse>(Api::ListOffsets, &ListOffsetsRequest { parts: vec![part] })?;
    match listed.parts.first() {
        Some(part) if part.error == 0 => Ok(part.offset),
        Some(part) => Err(LoadError::refused(Api::ListOffsets, part.error, String::new())),
        None => Err(LoadError::WrongAnswer { api: Api::ListOffsets }),
    }
}

fn build_batch(options: &NativeLoadOptions) -> Bytes {
    let value: Vec<u8> = (0..options.record_bytes).map(|place| (place % 251) as u8).collect();
    let timestamp = TimestampMs(clock::unix_milliseconds());
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..options.records_per_request {
        builder.append(timestamp, None, Some(&value), &[]);
    }
    builder.finish().expect("a batch with records and of bounded length can be built")
}

#[cfg(test)]
mod tests;
