//! A real broker on a directory with a rotten bit, asked for everything.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use ringmain_wire::batch::{Batches, RecordReader, check};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    FetchPart, FetchRequest, FetchResponse, ListOffsetsPart, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, TIMESTAMP_END, TopicMetadata,
};

use super::error::RotError;
use super::judge::Outcome;
use super::make::SHARDS;
use super::workload::{Content, Written, WrittenPartition};
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::error::CrashError;
use crate::crash::place;
use crate::crash::session::{Session, SessionError};

const FETCH_BYTES: u32 = 1 << 20;
/// Most that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// Records between two places at which reading begins: at least one in every large segment.
const HERE_AND_THERE: u64 = 500;
/// What the broker's log says of damage, whatever it is.
const NAMED_AS: &[&str] = &["damaged", "rotted", "is gone"];

/// What a broker made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Everything that was acknowledged.
    All,
    /// Less, and its log or an answer names the damage.
    Part,
    /// It does not start, and says why.
    Nothing,
}

impl Served {
    /// Whether that is what was found without a broker.
    pub(super) fn check(self, outcome: Outcome) -> Result<(), RotError> {
        let expected = match outcome {
            Outcome::MeansNothing | Outcome::ToldAllServed => Self::All,
            Outcome::ToldPartRefused => Self::Part,
            Outcome::ToldStartRefused => Self::Nothing,
        };
        if self == expected {
            return Ok(());
        }
        Err(RotError::Unsound(format!("a broker serves {self:?} where {expected:?} was expected")))
    }
}

/// Starts a broker and reads everything from it; stops it.
pub(super) fn serve_and_read(data_dir: &Path, log: &Path, written: &Written) -> Result<Served, RotError> {
    let native = place::free_address()?;
    let options = BrokerOptions { data_dir: data_dir.to_owned(), native, shards: SHARDS };
    let broker = match Broker::start(&options, log) {
        Ok(broker) => broker,
        Err(CrashError::Broker { problem: "ended while starting", .. }) if is_named(log)? => {
            return Ok(Served::Nothing);
        }
        Err(error) => return Err(error.into()),
    };
    let mut reader = Reader::connect(native)?;
    let mut refused = false;
    for partition in &written.partitions {
        refused |= reader.read(partition)?;
    }
    broker.stop()?;
    match refused {
        false => Ok(Served::All),
        true if is_named(log)? => Ok(Served::Part),
        true => {
            Err(RotError::Unsound("records are not served, and the broker's log does not say why".to_owned()))
        }
    }
}

pub(super) fn is_named(log: &Path) -> Result<bool, RotError> {
    let text = fs::read_to_string(log).map_err(RotError::io("reading the broker's log"))?;
    Ok(NAMED_AS.iter().any(|word| text.contains(word)))
}

/// Connections to a broker's shards.
pub(super) struct Reader {
    address: SocketAddr,
    ports: BTreeMap<ShardId, u16>,
    topics: Vec<TopicMetadata>,
    sessions: BTreeMap<ShardId, Session>,
}

impl Reader {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, RotError> {
        let (mut session, greeting) = Session::connect(address)?;
        let (metadata, _): (MetadataResponse, _) =
            session.request(Api::Metadata, &MetadataRequest { topics: None })?;
        let ports = greeting.shards.iter().map(|endpoint| (endpoint.shard, endpoint.port)).collect();
        Ok(Self { address, ports, topics: metadata.topics, sessions: BTreeMap::new() })
    }

    /// Reads a partition, here and there and then from its start to its end; says whether anything of it is refused.
    pub(super) fn read(&mut self, expected: &WrittenPartition) -> Result<bool, RotError> {
        let (mut reader, shard, damaged) = self.open(expected)?;
        let end = reader.high_watermark()?;
        let mut refused = false;
        // Index files are looked into only by who begins somewhere.
        for place in (HERE_AND_THERE / 2..end).step_by(HERE_AND_THERE as usize) {
            reader.next = place;
            refused |= !reader.fetch()?;
        }
        reader.next = 0;
        let mut goes_on = true;
        while reader.next < end && goes_on {
            goes_on = reader.fetch()?;
        }
        refused |= !goes_on;
        let served = reader.next;
        self.sessions.insert(shard, reader.session);
        if refused || damaged && served < expected.records {
            return Ok(true);
        }
        if served >= expected.records {
            return Ok(false);
        }
        let what =
            format!("{expected} ends at {served} as if {} had not been acknowledged", expected.records);
        Err(RotError::Unsound(what))
    }

    /// Asks for the records from one of them on; says whether that is refused.
    pub(super) fn is_refused(&mut self, expected: &WrittenPartition, next: u64) -> Result<bool, RotError> {
        let (mut reader, shard, _) = self.open(expected)?;
        reader.next = next;
        let refused = !reader.fetch()?;
        self.sessions.insert(shard, reader.session);
        Ok(refused)
    }

    /// A reader of a partition from its start on, the shard that it asks, and whether the partition is called damaged.
    fn open<'a>(
        &mut self,
        expected: &'a WrittenPartition,
    ) -> Result<(PartitionReader<'a>, ShardId, bool), RotError> {
        let topic = self.topics.iter().find(|topic| topic.name == expected.topic.name);
        let found = topic.and_then(|topic| {
            let partition = topic.partitions.iter().find(|partition| partition.index == expected.index)?;
            Some((topic.id, partition.shard, partition.damaged))
        });
        let Some((topic, shard, damaged)) = found else {
            return Err(RotError::Unsound(format!("{expected} is gone")));
        };
        let session = match self.sessions.remove(&shard) {
            Some(session) => session,
            None => {
                let port = *self.ports.get(&shard).ok_or(SessionError::WrongAnswer)?;
                Session::connect(SocketAddr::new(self.address.ip(), port))?.0
            }
        };
        Ok((PartitionReader { topic, session, expected, next: 0 }, shard, damaged))
    }
}

struct PartitionReader<'a> {
    topic: TopicId,
    session: Session,
    expected: &'a WrittenPartition,
    /// The offset that comes next.
    next: u64,
}

impl PartitionReader<'_> {
    const fn index(&self) -> PartitionIndex {
        self.expected.index
    }

    fn high_watermark(&mut self) -> Result<u64, RotError> {
        let part = ListOffsetsPart { topic: self.topic, partition: self.index(), timestamp: TIMESTAMP_END };
        let request = ListOffsetsRequest { parts: vec![part] };
        let (listed, _): (ListOffsetsResponse, _) = self.session.request(Api::ListOffsets, &request)?;
        match listed.parts.first() {
            Some(part) if part.error == 0 => Ok(u64::try_from(part.offset.get()).unwrap_or(0)),
            _ => Err(SessionError::WrongAnswer.into()),
        }
    }

    /// Reads on by one answer; says whether it was given.
    fn fetch(&mut self) -> Result<bool, RotError> {
        let part = FetchPart {
            topic: self.topic,
            partition: self.index(),
            offset: Offset(i64::try_from(self.next).unwrap_or(i64::MAX)),
            bytes_max: FETCH_BYTES,
            leader_epoch: LeaderEpoch(-1),
        };
        let request =
            FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts: vec![part] };
        let (fetched, payload): (FetchResponse, _) = self.session.request(Api::Fetch, &request)?;
        if fetched.parts.first().ok_or(SessionError::WrongAnswer)?.error != 0 {
            return Ok(false);
        }
        let before = self.next;
        self.take(&payload).map_err(RotError::Unsound)?;
        if self.next == before {
            return Err(RotError::Unsound(format!("{} gives nothing at {before}", self.expected)));
        }
        Ok(true)
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), String> {
        let expected = self.expected;
        let unreadable = |error| format!("{expected} serves what cannot be read: {error}");
        for batch in Batches::new(payload) {
            let (_, bytes) = batch.map_err(unreadable)?;
            check(bytes).map_err(unreadable)?;
            for record in &RecordReader::new(bytes, DECOMPRESSED_BYTES_MAX).map_err(unreadable)? {
                let record = record.map_err(unreadable)?;
                let content = Content {
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.unwrap_or_default().to_vec(),
                };
                expected.check(record.offset, &content)?;
                // A batch is given whole, also where the first of its records was had before.
                if u64::try_from(record.offset.get()) == Ok(self.next) {
                    self.next += 1;
                }
            }
        }
        Ok(())
    }
}
