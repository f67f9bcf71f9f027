//! Clients that stall in the middle of a large frame, and clients that ask for much and never read.

use core::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ringmain_wire::ids::{Offset, PartitionIndex, TopicId};
use ringmain_wire::native::frame::{self, Api, Body, FRAME_BYTES_MAX_DEFAULT, PROTOCOL_VERSION};
use ringmain_wire::native::messages::{FetchRequest, HelloRequest, ProducePart, ProduceRequest};

use super::client::{FILL_BATCH_RECORDS, create_topic, fetch_part, fill};
use super::error::SiegeError;
use super::healthy::{Healthy, Seen};
use super::latencies::ratio;
use super::memory::{MemorySeen, MemoryWatch};
use super::owners::Owners;
use super::run::{Place, pause, ports};
use crate::crash::clock::Stopwatch;
use crate::crash::session::Session;

const PARTITIONS: u32 = 2;
/// What a frame that stalls announces; half of it is sent.
const FRAME_BYTES: usize = 8 << 20;
/// Bytes that a fetch asks for.
const FETCH_BYTES: u32 = 8 << 20;
/// Fetches that each client sends and takes no answer of.
const FETCHES: u32 = 4;
/// Places of a partition that one fetch reads from.
const FETCH_PARTS: u32 = 4;
/// Between two looks at whether sockets take more.
const EVERY: Duration = Duration::from_millis(5);
const GREETED_AT_MOST: Duration = Duration::from_secs(30);

/// While clients arrive and all that they ask for is done at once; figures of it stand apart.
const ONSET: Duration = Duration::from_secs(2);
/// After so long nobody is waited for any more who does not take an answer, and all that was lent is back
/// (`src/host/connection.rs`, `src/host/patience.rs`).
const CUT_OFF_AFTER: Duration = Duration::from_secs(42);
/// What a client that means well may have been lent at any moment.
const LENT_BYTES_REST: u64 = 2 << 20;

/// What a siege does.
#[derive(Clone, Debug)]
pub struct StalledOptions {
    /// Clients of each kind.
    pub clients: usize,
    /// For how long they stall.
    pub stalled: Duration,
    /// Bytes that are there to be fetched.
    pub data_bytes: u64,
    /// For how long the client that means well is measured before.
    pub calm: Duration,
    /// Where the data is kept; it stays there then.
    pub directory: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
struct StalledReport {
    clients: usize,
    stalled: Duration,
    /// What the broker and its sockets took of half frames.
    taken_bytes: u64,
    /// When all had arrived.
    early: Owners,
    /// At the end.
    late: Owners,
    memory: MemorySeen,
    healthy: Seen,
}

/// Lays the siege.
///
/// # Errors
/// [`SiegeError::Broken`] and the like when a promise was broken, or when the run could not go on.
pub fn run(options: &StalledOptions) -> Result<(), SiegeError> {
    let place = Place::make(options.directory.as_deref(), "stalled")?;
    let mut broker = place.start()?;
    let native = place.options.native;
    let (mut session, _) = Session::connect(native)?;
    let topic = create_topic(&mut session, "much", PARTITIONS)?;
    let batches = fill(&mut session, topic, PARTITIONS, options.data_bytes)?;
    let ports = ports(native)?;

    let healthy = Healthy::start(native, 3)?;
    pause(options.calm);
    let watch = MemoryWatch::start(broker.process())?;
    healthy.enter(1);
    let started = Stopwatch::start();
    let mut clients = besiege(&ports, topic, batches, options.clients)?;
    stall(&mut clients, started, ONSET)?;
    healthy.enter(2);
    let early = Owners::ask(&mut session)?;
    stall(&mut clients, started, ONSET + options.stalled)?;
    let taken_bytes = clients.iter().map(Stalled::taken_bytes).sum();
    broker.check_alive()?;
    let late = Owners::ask(&mut session)?;
    drop(clients);
    let healthy = healthy.finish()?;
    let memory = watch.finish(&broker.process(), &late)?;
    let StalledOptions { clients, stalled, .. } = *options;
    let report = StalledReport { clients, stalled, taken_bytes, early, late, memory, healthy };
    println!("{report}");
    report.check()?;
    broker.stop()?;
    place.remove()
}

impl StalledReport {
    fn check(&self) -> Result<(), SiegeError> {
        self.memory.check()?;
        let lent_bytes = self.late.held_bytes("lent");
        if self.stalled >= CUT_OFF_AFTER && lent_bytes > LENT_BYTES_REST {
            let promise = format!("what is not taken comes back: {lent_bytes} bytes are lent still");
            return Err(SiegeError::broken(promise));
        }
        Ok(())
    }
}

/// Lets the clients send what their sockets take until so long after the start.
fn stall(clients: &mut [Stalled], started: Stopwatch, until: Duration) -> Result<(), SiegeError> {
    while started.left_of(until).is_some() {
        clients.iter_mut().try_for_each(Stalled::send_on)?;
        pause(EVERY);
    }
    Ok(())
}

/// Connects as many clients of either kind, over all ports.
fn besiege(
    ports: &[SocketAddr],
    topic: TopicId,
    batches: u64,
    clients: usize,
) -> Result<Vec<Stalled>, SiegeError> {
    let half_frame = half_frame(topic);
    let mut stalled = Vec::new();
    for (number, port) in (0..clients).zip(ports.iter().cycle()) {
        stalled.push(Stalled::connect(*port, half_frame.clone())?);
        // Behind a request that is whole: only what follows it is left untaken.
        let places = batches / u64::from(PARTITIONS) * FILL_BATCH_RECORDS as u64;
        let offset = places * number as u64 / clients as u64;
        stalled.push(Stalled::connect(*port, fetches(topic, offset, places))?);
    }
    Ok(stalled)
}

/// The first half of a produce request with one large batch.
fn half_frame(topic: TopicId) -> Vec<u8> {
    let length = u32::try_from(FRAME_BYTES).expect("below 4 GiB");
    let part = ProducePart { topic, partition: PartitionIndex(0), length };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, parts: vec![part] };
    let mut bytes = frame::encode(Api::Produce.number(), false, 0, 1, &request, length).to_vec();
    bytes.resize(FRAME_BYTES / 2, 0xa5);
    bytes
}

/// Fetches from some places at and behind `offset`, so that no two clients are given the same bytes.
fn fetches(topic: TopicId, offset: u64, places: u64) -> Vec<u8> {
    let parts = (0..FETCH_PARTS).flat_map(|part| {
        let offset = (offset + places * u64::from(part) / u64::from(FETCH_PARTS)) % places;
        let offset = Offset(i64::try_from(offset).expect("offsets are below 2^63"));
        (0..PARTITIONS)
            .map(move |partition| fetch_part(topic, PartitionIndex(partition), offset, FETCH_BYTES))
    });
    let request =
        FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts: parts.collect() };
    (1..=FETCHES)
        .flat_map(|number| frame::encode(Api::Fetch.number(), false, 0, number, &request, 0))
        .collect()
}

/// A client that has said hello, sends what it has for as long as its socket takes it, and reads nothing.
struct Stalled {
    socket: TcpStream,
    bytes: Vec<u8>,
    sent: usize,
    /// The broker has cut it off.
    is_cut: bool,
}

impl Stalled {
    fn connect(port: SocketAddr, bytes: Vec<u8>) -> Result<Self, SiegeError> {
        let connect = || -> io::Result<TcpStream> {
            let mut socket = TcpStream::connect(port)?;
            // So little that the kernel keeps nothing of an answer for a client that does not read it.
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4_096)?;
            socket.set_read_timeout(Some(GREETED_AT_MOST))?;
            socket.write_all(&encode(
                Api::Hello,
                &HelloRequest {
                    version_min: PROTOCOL_VERSION,
                    version_max: PROTOCOL_VERSION,
                    ..HelloRequest::default()
                },
            ))?;
            let mut greeting = Vec::new();
            while !matches!(frame::split(&greeting, FRAME_BYTES_MAX_DEFAULT), Ok(Some(_))) {
                let mut byte = [0; 64];
                let read = socket.read(&mut byte)?;
                if read == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                greeting.extend_from_slice(&byte[..read]);
            }
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connect().map_err(SiegeError::io("connecting a client that stalls"))?;
        Ok(Self { socket, bytes, sent: 0, is_cut: false })
    }

    /// Sends as much as the socket takes now.
    fn send_on(&mut self) -> Result<(), SiegeError> {
        while !self.is_cut && self.sent < self.bytes.len() {
            match self.socket.write(&self.bytes[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    self.is_cut = true;
                }
                Err(error) => return Err(SiegeError::Io { during: "stalling", error }),
            }
        }
        Ok(())
    }

    fn taken_bytes(&self) -> u64 {
        self.sent as u64
    }
}

fn encode<T: Body>(api: Api, body: &T) -> Vec<u8> {
    frame::encode(api.number(), false, 0, 0, body, 0).to_vec()
}

impl fmt::Display for StalledReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (clients, seconds) = (self.clients, self.stalled.as_secs_f64());
        writeln!(
            out,
            "stalled: {clients} clients half-way in frames of {} MiB and {clients} that never read, for {seconds:.1} s",
            FRAME_BYTES >> 20
        )?;
        writeln!(
            out,
            "  {} MiB of half frames were taken off their hands; {} connections were cut off",
            self.taken_bytes >> 20,
            self.late.count("connections_cut_off_total")
        )?;
        writeln!(out, "  after {} s, {}", ONSET.as_secs(), self.early)?;
        writeln!(out, "  at the end, {}", self.late)?;
        writeln!(out, "  {}", self.memory)?;
        let [before, onset, during] = [0, 1, 2].map(|part| &self.healthy.parts[part]);
        writeln!(out, "  healthy client before: {before}")?;
        writeln!(
            out,
            "  healthy client in the first {} s: {onset}; p99 x {:.1}",
            ONSET.as_secs(),
            ratio(before, onset)
        )?;
        writeln!(out, "  healthy client then: {during}; p99 x {:.1}", ratio(before, during))?;
        let mut all = onset.clone();
        all.append(during.clone());
        writeln!(out, "  healthy client in both: {all}; p99 x {:.1}", ratio(before, &all))?;
        write!(out, "  it read back {} records and saw no error", self.healthy.records)
    }
}
