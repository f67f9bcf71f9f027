//! Reads everything back, from the shards that own it, and holds it against what was promised.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmain_wire::batch::{Batches, RecordReader, check};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerId, ShardId, TimestampMs, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    FetchPart, FetchRequest, FetchResponse, ListOffsetsPart, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, TIMESTAMP_END, TIMESTAMP_START,
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
    let producer = ledger.producer();
    let mut records = 0;
    read_partitions(broker, TOPIC, producer, |partition, start, next| {
        if start > 0 {
            return Err(Violation::StartsTooLate { partition, start, start_max: 0 });
        }
        records += next;
        ledger.handle_read(partition, next)
    })?;
    Ok(records)
}

/// Reads every partition of a topic from where it starts to its high watermark, checks each record, and tells the
/// partition's first offset and its end. Then looks for one of its records by its time.
pub(super) fn read_partitions(
    broker: SocketAddr,
    topic: &str,
    producer: Option<ProducerId>,
    mut tell: impl FnMut(PartitionIndex, u64, u64) -> Result<(), Violation>,
) -> Result<(), CrashError> {
    let mut shards = Shards::connect(broker, topic)?;
    for (partition, shard) in shards.owners.clone() {
        let (topic, session) = (shards.topic, shards.session(shard)?);
        let mut reader = PartitionReader { topic, partition, session, producer, next: 0 };
        let (start, end) = reader.read_all()?;
        tell(partition, start, end)?;
        reader.find_by_time(start, end)?;
    }
    Ok(())
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
    fn connect(broker: SocketAddr, topic: &str) -> Result<Self, CrashError> {
        let (mut session, greeting) = Session::connect(broker)?;
        let request = MetadataRequest { topics: Some(vec![topic.to_owned()]) };
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
    /// Who wrote all of it.
    producer: Option<ProducerId>,
    /// The offset that comes next, which also is the number of its record.
    next: u64,
}

impl PartitionReader<'_> {
    /// Reads from the first record that is stored to the high watermark: both offsets. Where retention takes records
    /// while they are read, it begins again.
    fn read_all(&mut self) -> Result<(u64, u64), CrashError> {
        let end = self.offset_at(TIMESTAMP_END)?;
        loop {
            let start = self.offset_at(TIMESTAMP_START)?;
            self.next = start;
            let mut outcome = Ok(());
            while self.next < end && outcome.is_ok() {
                outcome = self.read();
            }
            match outcome {
                Ok(()) => return Ok((start, self.next.max(end))),
                Err(CrashError::Session(SessionError::Refused { error, .. }))
                    if error == ErrorCode::OffsetOutOfRange.number()
                        && self.offset_at(TIMESTAMP_START)? > start => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A record's timestamp is its number: it is found where it lies, also in the middle of a segment.
    fn find_by_time(&mut self, start: u64, end: u64) -> Result<(), CrashError> {
        let Some(wanted) = start.checked_add(end.saturating_sub(start) / 2).filter(|&wanted| wanted < end)
        else {
            return Ok(());
        };
        let found = self.offset_at(TimestampMs(i64::try_from(wanted).expect("offsets are below 2^63")))?;
        // Retention may have moved past it meanwhile.
        if found != wanted && self.offset_at(TIMESTAMP_START)? <= wanted {
            let partition = self.partition;
            return Err(Violation::NotFoundByTime { partition, wanted, found }.into());
        }
        Ok(())
    }

    fn offset_at(&mut self, timestamp: TimestampMs) -> Result<u64, CrashError> {
        let Self { topic, partition, .. } = *self;
        let request = ListOffsetsRequest { parts: vec![ListOffsetsPart { topic, partition, timestamp }] };
        let (listed, _): (ListOffsetsResponse, _) = self.session.request(Api::ListOffsets, &request)?;
        match listed.parts.first() {
            Some(part) if part.error == 0 => Ok(u64::try_from(part.offset.get()).unwrap_or(0)),
            Some(part) => Err(SessionError::refused(part.error, None).into()),
            None => Err(SessionError::WrongAnswer.into()),
        }
    }

    /// Reads on, by as much as one answer holds.
    fn read(&mut self) -> Result<(), CrashError> {
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
        Ok(self.check_batches(&payload)?)
    }

    fn check_batches(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let partition = self.partition;
        let unreadable = |problem| Violation::UnreadableBatch { partition, problem };
        for batch in Batches::new(payload) {
            let (header, bytes) = batch.map_err(unreadable)?;
            check(bytes).map_err(unreadable)?;
            if Some(header.producer) != self.producer {
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
