//! Reads everything back, from the shards that own it, and holds it against what was promised.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmain_wire::batch::{Batches, RecordReader, check};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, ShardId, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    FetchPart, FetchRequest, FetchResponse, ListOffsetsPart, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, TIMESTAMP_END,
};

use super::error::{CrashError, Violation};
use super::ledger::Ledger;
use super::session::{Session, SessionError};
use super::workload::{TOPIC, value};

const FETCH_BYTES: u32 = 4 << 20;

/// Reads every partition from its start to its high watermark and checks that every record is there once, in the order
/// produced, and that nothing is gone that was acknowledged or read before. Gives how many records that were.
///
/// Traffic may go on meanwhile: what is due is what was acknowledged before.
pub(super) fn read_back(broker: SocketAddr, ledger: &mut Ledger) -> Result<u64, CrashError> {
    let mut shards = Shards::connect(broker)?;
    let mut records = 0;
    for (partition, shard) in shards.owners.clone() {
        let (topic, session) = (shards.topic, shards.session(shard)?);
        let mut reader = PartitionReader { topic, partition, session, next: 0 };
        let end = reader.high_watermark()?;
        while reader.next < end {
            reader.read(ledger)?;
        }
        records += reader.next;
        let next = reader.next;
        ledger.handle_read(partition, next)?;
    }
    Ok(records)
}

/// The broker's shards, each reached on its own port.
struct Shards {
    broker: SocketAddr,
    topic: TopicId,
    ports: BTreeMap<ShardId, u16>,
    owners: Vec<(PartitionIndex, ShardId)>,
    sessions: BTreeMap<ShardId, Session>,
}

impl Shards {
    fn connect(broker: SocketAddr) -> Result<Self, CrashError> {
        let (mut session, greeting) = Session::connect(broker)?;
        let request = MetadataRequest { topics: Some(vec![TOPIC.to_owned()]) };
        let (metadata, _): (MetadataResponse, _) = session.request(Api::Metadata, &request)?;
        let topic = metadata.topics.into_iter().next().ok_or(SessionError::WrongAnswer)?;
        if topic.error != 0 {
            return Err(SessionError::refused(topic.error, None).into());
        }
        Ok(Self {
            broker,
            topic: topic.id,
            ports: greeting.shards.iter().map(|endpoint| (endpoint.shard, endpoint.port)).collect(),
            owners: topic.partitions.iter().map(|partition| (partition.index, partition.shard)).collect(),
            sessions: BTreeMap::new(),
        })
    }

    fn session(&mut self, shard: ShardId) -> Result<&mut Session, CrashError> {
        if !self.sessions.contains_key(&shard) {
            let port = *self.ports.get(&shard).ok_or(SessionError::WrongAnswer)?;
            let (session, _) = Session::connect(SocketAddr::new(self.broker.ip(), port))?;
            self.sessions.insert(shard, session);
        }
        Ok(self.sessions.get_mut(&shard).expect("just connected"))
    }
}

struct PartitionReader<'a> {
    topic: TopicId,
    partition: PartitionIndex,
    session: &'a mut Session,
    /// The offset that comes next, which also is the number of its record.
    next: u64,
}

impl PartitionReader<'_> {
    fn high_watermark(&mut self) -> Result<u64, CrashError> {
        let Self { topic, partition, .. } = *self;
        let request = ListOffsetsRequest {
            parts: vec![ListOffsetsPart { topic, partition, timestamp: TIMESTAMP_END }],
        };
        let (listed, _): (ListOffsetsResponse, _) = self.session.request(Api::ListOffsets, &request)?;
        match listed.parts.first() {
            Some(part) if part.error == 0 => Ok(u64::try_from(part.offset.get()).unwrap_or(0)),
            Some(part) => Err(SessionError::refused(part.error, None).into()),
            None => Err(SessionError::WrongAnswer.into()),
        }
    }

    /// Reads on, by as much as one answer holds.
    fn read(&mut self, ledger: &Ledger) -> Result<(), CrashError> {
        let offset = Offset(i64::try_from(self.next).expect("offsets are below 2^63"));
        let Self { topic, partition, .. } = *self;
        let part =
            FetchPart { topic, partition, offset, bytes_max: FETCH_BYTES, leader_epoch: LeaderEpoch(-1) };
        let request =
            FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts: vec![part] };
        let (fetched, payload): (FetchResponse, _) = self.session.request(Api::Fetch, &request)?;
        let error = fetched.parts.first().ok_or(SessionError::WrongAnswer)?.error;
        if error != 0 {
            return Err(SessionError::refused(error, None).into());
        }
        if payload.is_empty() {
            return Err(Violation::NothingToRead { partition, offset: self.next }.into());
        }
        Ok(self.check_batches(&payload, ledger)?)
    }

    fn check_batches(&mut self, payload: &[u8], ledger: &Ledger) -> Result<(), Violation> {
        let partition = self.partition;
        let unreadable = |problem| Violation::UnreadableBatch { partition, problem };
        for batch in Batches::new(payload) {
            let (header, bytes) = batch.map_err(unreadable)?;
            check(bytes).map_err(unreadable)?;
            if Some(header.producer) != ledger.producer() {
                return Err(Violation::ForeignBatch { partition, offset: header.base_offset.get() });
            }
            for record in &RecordReader::new(bytes, 0).map_err(unreadable)? {
                let record = record.map_err(unreadable)?;
                self.check_record(record.offset, record.value.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn check_record(&mut self, offset: Offset, found: &[u8]) -> Result<(), Violation> {
        let (partition, expected) = (self.partition, self.next);
        if i64::try_from(expected) != Ok(offset.get()) {
            return Err(Violation::WrongOffset { partition, expected, found: offset.get() });
        }
        if found != value(partition, expected) {
            let found = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
            return Err(Violation::WrongRecord { partition, offset: expected, found });
        }
        self.next += 1;
        Ok(())
    }
}
