//! What goes on beside the orders, so that kills land in it as well: a topic whose oldest records go all the time, and
//! topics that come, are filled and are deleted.
//!
//! Both are written by a thread of the run through every loss of the broker. What it was promised stands in a
//! [`Promised`], against which [`Churn::check`] holds what a start serves; [`check_files`] looks at what is left on the
//! disk.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use ringmain_wal::names::parse_partition_directory;
use ringmain_wire::ids::{PartitionId, PartitionIndex, ProducerId, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    ConfigEntry, CreateTopicRequest, DeleteTopicRequest, DeleteTopicResponse, InitProducerRequest,
    InitProducerResponse, ListTopicsRequest, ListTopicsResponse, ProducePart, ProduceRequest,
    ProduceResponse, TopicDescription, TopicSummary,
};

use super::error::{CrashError, Violation};
use super::read_back::read_partitions;
use super::session::{Session, SessionError};
use super::workload::batch;

/// The topic whose oldest records go.
const HISTORY: &str = "history";
const PARTITION: PartitionIndex = PartitionIndex(0);
/// Records of a batch of it: enough for some segments in each life of the broker.
const BATCH_RECORDS: u64 = 200;
/// Batches of it between two topics that come and go.
const BATCHES_BETWEEN: u32 = 8;
/// How much of it is kept, and how long its segments get: the least that there can be.
const KEPT_BYTES: &str = "1048576";
/// Partitions of a topic that comes and goes.
const PASSING_PARTITIONS: u32 = 3;
/// Between two attempts to reach the broker.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// When every in-sync replica has it.
const ACKS_ALL: i8 = -1;
const TIMEOUT_MS: u32 = 30_000;

/// The run's end of it. The thread goes on until this is told to [`finish`](Self::finish), or dropped.
#[derive(Debug)]
pub(super) struct Churn {
    stop: Sender<()>,
    thread: JoinHandle<Result<(), SessionError>>,
    promised: Arc<Mutex<Promised>>,
}

/// What came of it, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChurnCounts {
    /// Records of the history that were acknowledged.
    pub(super) records: u64,
    /// Records of the history that went.
    pub(super) records_gone: u64,
    /// Topics whose deletion was acknowledged.
    pub(super) topics_deleted: u64,
}

/// What the broker has acknowledged.
#[derive(Clone, Debug, Default)]
struct Promised {
    producer: Option<ProducerId>,
    /// Records of the history; they are the first ones.
    records: u64,
    /// Where the history was seen to begin.
    start: u64,
    /// Topics that were deleted.
    deleted: BTreeSet<TopicId>,
}

impl Churn {
    /// Begins, at a broker that is up.
    pub(super) fn start(broker: SocketAddr) -> Self {
        let (stop, stopped) = mpsc::channel();
        let promised = Arc::<Mutex<Promised>>::default();
        let worker =
            Worker { broker, stopped, promised: Arc::clone(&promised), unacknowledged: None, topics: 0 };
        Self { stop, thread: thread::spawn(|| worker.run()), promised }
    }

    /// Reads the history back, and looks for topics that should be gone. Traffic may go on meanwhile.
    pub(super) fn check(&self, broker: SocketAddr) -> Result<(), CrashError> {
        let Promised { producer, records: due, start: start_before, deleted } = lock(&self.promised).clone();
        let (mut session, _) = Session::connect(broker)?;
        for topic in list(&mut session)? {
            if deleted.contains(&topic.id) {
                return Err(Violation::NotDeleted { topic: topic.name }.into());
            }
        }
        if due == 0 {
            return Ok(());
        }
        read_partitions(broker, HISTORY, producer, |partition, start, end| {
            if end < due {
                return Err(Violation::Lost { partition, end, expected_end: due });
            }
            if start < start_before {
                return Err(Violation::CameBack { partition, start, start_before });
            }
            lock(&self.promised).start = start;
            Ok(())
        })
    }

    /// Ends when what is under way is acknowledged.
    pub(super) fn finish(self, broker: SocketAddr) -> Result<ChurnCounts, CrashError> {
        // A thread that has ended by itself says why below.
        let _ = self.stop.send(());
        self.check(broker)?;
        let Self { thread, promised, .. } = self;
        thread.join().expect("the thread ends well")?;
        let Promised { records, start, deleted, .. } = lock(&promised).clone();
        Ok(ChurnCounts { records, records_gone: start, topics_deleted: deleted.len() as u64 })
    }
}

/// The topics that a broker serves.
pub(super) fn living(broker: SocketAddr) -> Result<BTreeSet<TopicId>, CrashError> {
    let (mut session, _) = Session::connect(broker)?;
    let topics = list(&mut session)?.into_iter().map(|topic| topic.id);
    Ok(topics.chain([PartitionId::METADATA.topic]).collect())
}

/// Nothing lies in the directory of a broker that was stopped but what belongs to the `living` topics.
pub(super) fn check_files(data_dir: &Path, living: &BTreeSet<TopicId>) -> Result<(), CrashError> {
    let entries = fs::read_dir(data_dir.join("partitions"));
    for entry in entries.map_err(CrashError::io("listing partitions"))? {
        let entry = entry.map_err(CrashError::io("listing partitions"))?;
        let partition = entry.file_name().to_str().and_then(parse_partition_directory);
        if partition.is_none_or(|partition| !living.contains(&partition.topic)) {
            return Err(Violation::LeftBehind { path: entry.path() }.into());
        }
    }
    Ok(())
}

/// The thread.
struct Worker {
    broker: SocketAddr,
    stopped: Receiver<()>,
    promised: Arc<Mutex<Promised>>,
    /// A batch of the history: its first record and its bytes, the same in every attempt.
    unacknowledged: Option<(u64, Bytes)>,
    /// Topics that came so far.
    topics: u64,
}

impl Worker {
    fn run(mut self) -> Result<(), SessionError> {
        loop {
            match self.serve() {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error),
            }
            match self.stopped.recv_timeout(RETRY_PAUSE) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// From connecting to the loss of the connection, or to the end.
    fn serve(&mut self) -> Result<(), SessionError> {
        let (mut session, _) = Session::connect(self.broker)?;
        let producer = self.producer(&mut session)?;
        // Its records say that they are of 1970: only its size lets them go.
        let settings =
            [("retention.bytes", KEPT_BYTES), ("retention.ms", "-1"), ("segment.bytes", KEPT_BYTES)];
        let history = create(&mut session, HISTORY, 1, &settings)?;
        while self.stopped.try_recv().is_err() {
            for _ in 0..BATCHES_BETWEEN {
                self.append_history(&mut session, producer, history)?;
            }
            self.pass(&mut session, producer)?;
        }
        Ok(())
    }

    fn producer(&self, session: &mut Session) -> Result<ProducerId, SessionError> {
        if let Some(producer) = lock(&self.promised).producer {
            return Ok(producer);
        }
        let request = InitProducerRequest { transactional_id: None };
        let (given, _): (InitProducerResponse, _) = session.request(Api::InitProducer, &request)?;
        lock(&self.promised).producer = Some(given.producer);
        Ok(given.producer)
    }

    fn append_history(
        &mut self,
        session: &mut Session,
        producer: ProducerId,
        topic: TopicId,
    ) -> Result<(), SessionError> {
        let first = lock(&self.promised).records;
        let make = || (first, batch(producer, PARTITION, first, BATCH_RECORDS));
        let (_, bytes) = self.unacknowledged.get_or_insert_with(make);
        produce(session, topic, PARTITION, bytes)?;
        self.unacknowledged = None;
        lock(&self.promised).records += BATCH_RECORDS;
        Ok(())
    }

    /// A topic comes, is filled and goes. Where an answer was lost, its deletion is asked for again.
    fn pass(&mut self, session: &mut Session, producer: ProducerId) -> Result<(), SessionError> {
        let name = format!("passing-{}", self.topics);
        let id = create(session, &name, PASSING_PARTITIONS, &[("segment.bytes", KEPT_BYTES)])?;
        for partition in (0..PASSING_PARTITIONS).map(PartitionIndex) {
            produce(session, id, partition, &batch(producer, partition, 0, BATCH_RECORDS))?;
        }
        let (gone, _): (DeleteTopicResponse, _) =
            session.request(Api::DeleteTopic, &DeleteTopicRequest { name })?;
        lock(&self.promised).deleted.insert(gone.id);
        self.topics += 1;
        Ok(())
    }
}

/// Creates a topic, or finds the one that an earlier attempt created.
fn create(
    session: &mut Session,
    name: &str,
    partitions: u32,
    settings: &[(&str, &str)],
) -> Result<TopicId, SessionError> {
    let configs =
        settings.iter().map(|&(key, value)| ConfigEntry { key: key.to_owned(), value: value.to_owned() });
    let request = CreateTopicRequest {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        configs: configs.collect(),
        validate_only: false,
    };
    match session.request::<_, TopicDescription>(Api::CreateTopic, &request) {
        Ok((created, _)) => Ok(created.id),
        Err(SessionError::Refused { error, .. }) if error == ErrorCode::TopicExists.number() => {
            let there = list(session)?.into_iter().find(|topic| topic.name == name);
            there.map(|topic| topic.id).ok_or(SessionError::WrongAnswer)
        }
        Err(error) => Err(error),
    }
}

fn list(session: &mut Session) -> Result<Vec<TopicSummary>, SessionError> {
    let request = ListTopicsRequest { internal: false };
    let (listed, _): (ListTopicsResponse, _) = session.request(Api::ListTopics, &request)?;
    Ok(listed.topics)
}

fn produce(
    session: &mut Session,
    topic: TopicId,
    partition: PartitionIndex,
    bytes: &Bytes,
) -> Result<(), SessionError> {
    let length = u32::try_from(bytes.len()).expect("batches are small");
    let parts = vec![ProducePart { topic, partition, length }];
    let request = session.send(
        Api::Produce,
        &ProduceRequest { acks: ACKS_ALL, timeout_ms: TIMEOUT_MS, parts },
        bytes,
    )?;
    let (answer, _): (ProduceResponse, _) = session.receive(Api::Produce, request)?;
    let part = answer.parts.into_iter().next().ok_or(SessionError::WrongAnswer)?;
    match part.error {
        0 => Ok(()),
        error => Err(SessionError::refused(error, part.message)),
    }
}

fn lock(promised: &Mutex<Promised>) -> MutexGuard<'_, Promised> {
    promised.lock().expect("no holder panics")
}
