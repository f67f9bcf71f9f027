//! Reads from a broker, knowing nothing of the client's code.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use ringmain_wire::batch::{Batches, check};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, ShardId, TimestampMs, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    FetchPart, FetchRequest, FetchResponse, ListOffsetsPart, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, TIMESTAMP_END, TIMESTAMP_START, TopicMetadata,
};

use super::error::RotError;
use super::stored::{Content, read_batch};
use crate::crash::session::{Session, SessionError};

const FETCH_BYTES: u32 = 1 << 20;

/// Connections to a broker's shards.
pub(crate) struct Reader {
    address: SocketAddr,
    ports: BTreeMap<ShardId, u16>,
    topics: Vec<TopicMetadata>,
    sessions: BTreeMap<ShardId, Session>,
}

impl Reader {
    /// Of the broker at that address.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, RotError> {
        let (mut session, greeting) = Session::connect(address)?;
        let (metadata, _): (MetadataResponse, _) =
            session.request(Api::Metadata, &MetadataRequest { topics: None })?;
        let ports = greeting.shards.iter().map(|endpoint| (endpoint.shard, endpoint.port)).collect();
        Ok(Self { address, ports, topics: metadata.topics, sessions: BTreeMap::new() })
    }

    /// A reader of one partition, from offset 0 on.
    pub(crate) fn open(
        &mut self,
        topic: &str,
        index: PartitionIndex,
    ) -> Result<PartitionReader<'_>, RotError> {
        let name = format!("{topic}-{index}");
        let found = self.topics.iter().find(|found| found.name == topic).and_then(|topic| {
            let partition = topic.partitions.iter().find(|partition| partition.index == index)?;
            Some((topic.id, partition.shard, partition.damaged))
        });
        let (topic, shard, damaged) = found.ok_or_else(|| RotError::Unsound(format!("{name} is gone")))?;
        let session = match self.sessions.entry(shard) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let port = *self.ports.get(&shard).ok_or(SessionError::WrongAnswer)?;
                entry.insert(Session::connect(SocketAddr::new(self.address.ip(), port))?.0)
            }
        };
        Ok(PartitionReader { name, topic, index, session, next: Offset::ZERO, damaged })
    }
}

/// Reads one partition.
pub(crate) struct PartitionReader<'a> {
    name: String,
    topic: TopicId,
    index: PartitionIndex,
    session: &'a mut Session,
    /// The offset that comes next.
    pub(crate) next: Offset,
    /// Whether the broker calls it damaged.
    pub(crate) damaged: bool,
}

impl PartitionReader<'_> {
    /// Its log start and its end.
    pub(crate) fn ends(&mut self) -> Result<(Offset, Offset), RotError> {
        Ok((self.list(TIMESTAMP_START)?, self.list(TIMESTAMP_END)?))
    }

    fn list(&mut self, timestamp: TimestampMs) -> Result<Offset, RotError> {
        let part = ListOffsetsPart { topic: self.topic, partition: self.index, timestamp };
        let request = ListOffsetsRequest { parts: vec![part] };
        let (listed, _): (ListOffsetsResponse, _) = self.session.request(Api::ListOffsets, &request)?;
        match listed.parts.first() {
            Some(part) if part.error == 0 => Ok(part.offset),
            _ => Err(SessionError::WrongAnswer.into()),
        }
    }

    /// Reads on by one answer, and hands over every record in it; says whether it was given. A batch is given whole, also
    /// where the first of its records were had before.
    pub(crate) fn fetch(
        &mut self,
        take: &mut dyn FnMut(Offset, Content) -> Result<(), String>,
    ) -> Result<bool, RotError> {
        let part = FetchPart {
            topic: self.topic,
            partition: self.index,
            offset: self.next,
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
        let unreadable =
            |error| RotError::Unsound(format!("{} serves what cannot be read: {error}", self.name));
        for batch in Batches::new(&payload) {
            let (_, bytes) = batch.map_err(unreadable)?;
            check(bytes).map_err(unreadable)?;
            for (offset, content) in read_batch(bytes).map_err(unreadable)? {
                if offset == self.next {
                    self.next = offset.plus(1);
                }
                take(offset, content).map_err(RotError::Unsound)?;
            }
        }
        if self.next == before {
            return Err(RotError::Unsound(format!("{} gives nothing at {before}", self.name)));
        }
        Ok(true)
    }
}
