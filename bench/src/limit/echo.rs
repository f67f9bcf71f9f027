//! The bare durable echo: one ring receives, groups, writes synced, and answers. What a broker on this host cannot beat.
//!
//! Group commit as the broker does it: with fewer than K groups in flight a group leaves at once; with K in flight,
//! requests gather into the next one. Answers leave in order, when the group that holds their request is durable.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::CpuSet;

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use super::error::LimitError;
use super::probe_file::ProbeFile;
use super::ring::{Completion, ProbeRing, ReceivedBytes};

/// Length of an answer; it repeats that many bytes of the request.
pub(super) const ANSWER_BYTES: usize = 64;
/// Largest group, and so the most that one write carries.
pub(super) const GROUP_BYTES_MAX: usize = 256 * 1024;
/// Room that one receive has.
const RECEIVE_BYTES: usize = 16 * 1024;
/// Tokens of the ring are connections; a group has none of its own because groups are told apart by their order number.
const CONNECTIONS_MAX: usize = 1 << 14;

/// How an echo is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EchoSettings {
    pub(super) connections: usize,
    pub(super) payload_bytes: usize,
    pub(super) groups_in_flight: usize,
    pub(super) spin: Option<Duration>,
    /// The processor that the server's thread is pinned to.
    pub(super) cpu: Option<usize>,
}

/// What an echo did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EchoServed {
    pub(super) requests: u64,
    pub(super) groups: u64,
    pub(super) bytes_written: u64,
}

/// A running echo. It ends when the other ends of its connections are closed.
pub(super) struct EchoServer {
    thread: JoinHandle<Result<EchoServed, LimitError>>,
}

impl EchoServer {
    /// Starts the server thread; the sockets are the clients' ends.
    pub(super) fn start(
        settings: EchoSettings,
        file: ProbeFile,
    ) -> Result<(Self, Vec<TcpStream>), LimitError> {
        assert!(settings.payload_bytes >= ANSWER_BYTES && settings.payload_bytes <= GROUP_BYTES_MAX);
        assert!((1..=CONNECTIONS_MAX).contains(&settings.connections));
        assert!(
            file.length() >= (GROUP_BYTES_MAX * (settings.groups_in_flight + 1)) as u64,
            "groups in flight would overwrite one another"
        );
        let (clients, servers) =
            connect_pairs(settings.connections).map_err(LimitError::io("connecting to the durable echo"))?;
        let thread = std::thread::Builder::new()
            .name("durable-echo".to_owned())
            .spawn(move || serve(settings, file, servers))
            .map_err(LimitError::io("starting the durable echo"))?;
        Ok((Self { thread }, clients))
    }

    /// Waits for the end.
    pub(super) fn join(self) -> Result<EchoServed, LimitError> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn connect_pairs(count: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut clients = Vec::with_capacity(count);
    let mut servers = Vec::with_capacity(count);
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        clients.push(client);
        servers.push(server);
    }
    Ok((clients, servers))
}

fn serve(settings: EchoSettings, file: ProbeFile, sockets: Vec<TcpStream>) -> Result<EchoServed, LimitError> {
    if let Some(cpu) = settings.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        rustix::thread::sched_setaffinity(None, &cpus)
            .map_err(|error| LimitError::io("pinning the durable echo")(error.into()))?;
    }
    let mut echo = Echo::new(settings, file, sockets).map_err(LimitError::NoRing)?;
    echo.serve()?;
    Ok(echo.served)
}

struct Echo {
    ring: ProbeRing,
    file: ProbeFile,
    payload_bytes: usize,
    groups_in_flight_max: usize,
    connections: Vec<EchoConnection>,
    gathering: Group,
    /// Oldest first; the token of a group is its place plus the number of the oldest.
    in_flight: VecDeque<Group>,
    oldest_in_flight: u32,
    spare: Vec<Group>,
    position: u64,
    served: EchoServed,
}

struct EchoConnection {
    socket: TcpStream,
    /// Received bytes that are no whole request yet, or that no group had room for.
    pending: Vec<u8>,
    answers: Vec<u8>,
    sending: bool,
    receiving: bool,
    closed: bool,
}

struct Group {
    /// `None` while the kernel writes it.
    buffer: Option<AlignedBuffer>,
    filled: usize,
    answers: Vec<(usize, [u8; ANSWER_BYTES])>,
    durable: bool,
}

impl Echo {
    fn new(settings: EchoSettings, file: ProbeFile, sockets: Vec<TcpStream>) -> io::Result<Self> {
        let operations = sockets.len() * 2 + settings.groups_in_flight;
        let mut ring =
            ProbeRing::new(u32::try_from(operations).expect("connections are bounded"), settings.spin)?;
        let receives = u16::try_from(sockets.len().next_power_of_two()).expect("connections are bounded");
        ring.provide_receive_buffers(receives, RECEIVE_BYTES)?;
        Ok(Self {
            ring,
            file,
            payload_bytes: settings.payload_bytes,
            groups_in_flight_max: settings.groups_in_flight,
            connections: sockets.into_iter().map(EchoConnection::new).collect(),
            gathering: Group::new(),
            in_flight: VecDeque::new(),
            oldest_in_flight: 0,
            spare: (0..settings.groups_in_flight).map(|_| Group::new()).collect(),
            position: 0,
            served: EchoServed::default(),
        })
    }

    fn serve(&mut self) -> Result<(), LimitError> {
        let mut completions = Vec::new();
        for connection in 0..self.connections.len() {
            self.receive(connection)?;
        }
        while self.has_work() {
            self.ring.turn(&mut completions).map_err(LimitError::io("waiting for the ring"))?;
            for completion in completions.drain(..) {
                self.handle(completion)?;
            }
            self.write_groups()?;
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        !self.in_flight.is_empty()
            || self.connections.iter().any(|connection| connection.receiving || connection.sending)
    }

    fn handle(&mut self, completion: Completion) -> Result<(), LimitError> {
        match completion {
            Completion::Received { token, bytes } => self.handle_received(token as usize, bytes),
            Completion::Sent { token, bytes, transferred } => {
                self.handle_sent(token as usize, bytes, transferred)
            }
            Completion::Block { token, buffer, transferred } => {
                self.handle_written(token, buffer, transferred)
            }
        }
    }

    fn handle_received(
        &mut self,
        index: usize,
        bytes: io::Result<Option<ReceivedBytes>>,
    ) -> Result<(), LimitError> {
        let connection = &mut self.connections[index];
        connection.receiving = false;
        match bytes {
            Ok(Some(bytes)) => {
                connection.pending.extend_from_slice(self.ring.received(&bytes));
                self.ring.give_back(bytes);
                self.gather(index)
            }
            Ok(None) => {
                connection.closed = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                connection.closed = true;
                Ok(())
            }
            Err(error) => Err(LimitError::io("receiving requests")(error)),
        }
    }

    fn handle_sent(
        &mut self,
        index: usize,
        mut bytes: Vec<u8>,
        transferred: io::Result<usize>,
    ) -> Result<(), LimitError> {
        let connection = &mut self.connections[index];
        connection.sending = false;
        match transferred {
            Ok(sent) => {
                bytes.drain(..sent);
                bytes.append(&mut connection.answers);
                connection.answers = bytes;
                self.send(index)
            }
            // A client that is gone needs no answers.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                connection.closed = true;
                Ok(())
            }
            Err(error) => Err(LimitError::io("sending answers")(error)),
        }
    }

    fn handle_written(
        &mut self,
        token: u32,
        buffer: AlignedBuffer,
        transferred: io::Result<usize>,
    ) -> Result<(), LimitError> {
        let group = &mut self.in_flight[token.wrapping_sub(self.oldest_in_flight) as usize];
        let written = transferred.map_err(self.file.error("writing a group"))?;
        if written != group.length() {
            return Err(self.file.error("writing a group")(io::ErrorKind::WriteZero.into()));
        }
        group.buffer = Some(buffer);
        group.durable = true;
        while self.in_flight.front().is_some_and(|group| group.durable) {
            let mut group = self.in_flight.pop_front().expect("there is a front");
            self.oldest_in_flight = self.oldest_in_flight.wrapping_add(1);
            for (index, answer) in group.answers.drain(..) {
                self.connections[index].answers.extend_from_slice(&answer);
                self.send(index)?;
            }
            group.filled = 0;
            group.durable = false;
            self.spare.push(group);
        }
        Ok(())
    }

    /// Moves whole requests of a connection into the group being gathered; receives more if all found room.
    fn gather(&mut self, index: usize) -> Result<(), LimitError> {
        let connection = &mut self.connections[index];
        let mut taken = 0;
        while connection.pending.len() - taken >= self.payload_bytes
            && self.gathering.filled + self.payload_bytes <= GROUP_BYTES_MAX
        {
            self.gathering.add(index, &connection.pending[taken..taken + self.payload_bytes]);
            taken += self.payload_bytes;
            self.served.requests += 1;
        }
        connection.pending.drain(..taken);
        if connection.pending.len() < self.payload_bytes { self.receive(index) } else { Ok(()) }
    }

    /// Sends groups on their way while fewer than K are.
    fn write_groups(&mut self) -> Result<(), LimitError> {
        while self.gathering.filled > 0 && self.in_flight.len() < self.groups_in_flight_max {
            let next = self.spare.pop().expect("there is a group for each in flight and one to gather");
            let mut group = mem::replace(&mut self.gathering, next);
            let (length, mut buffer) = (group.length(), group.buffer.take().expect("not in flight yet"));
            buffer[group.filled..length].fill(0);
            let place = self.file.place(self.position, length);
            let token = self.oldest_in_flight.wrapping_add(self.in_flight.len() as u32);
            self.ring
                .write_synced(self.file.descriptor(), buffer, length, place, token)
                .map_err(LimitError::io("submitting a group"))?;
            self.position = place + length as u64;
            self.in_flight.push_back(group);
            self.served.groups += 1;
            self.served.bytes_written += length as u64;
            for index in 0..self.connections.len() {
                if self.connections[index].pending.len() >= self.payload_bytes {
                    self.gather(index)?;
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), LimitError> {
        let connection = &mut self.connections[index];
        if connection.closed {
            return Ok(());
        }
        connection.receiving = true;
        let token = u32::try_from(index).expect("connections are bounded");
        let socket = connection.socket.as_fd();
        self.ring.receive(socket, token).map_err(LimitError::io("submitting a receive"))
    }

    fn send(&mut self, index: usize) -> Result<(), LimitError> {
        let connection = &mut self.connections[index];
        if connection.sending || connection.closed || connection.answers.is_empty() {
            return Ok(());
        }
        connection.sending = true;
        let token = u32::try_from(index).expect("connections are bounded");
        let answers = mem::take(&mut connection.answers);
        let socket = connection.socket.as_fd();
        self.ring.send(socket, answers, token).map_err(LimitError::io("submitting a send"))
    }
}

impl EchoConnection {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            pending: Vec::new(),
            answers: Vec::new(),
            sending: false,
            receiving: false,
            closed: false,
        }
    }
}

impl Group {
    fn new() -> Self {
        let buffer = Some(AlignedBuffer::zeroed(GROUP_BYTES_MAX));
        Self { buffer, filled: 0, answers: Vec::new(), durable: false }
    }

    fn add(&mut self, connection: usize, request: &[u8]) {
        let buffer = self.buffer.as_mut().expect("a group in flight takes no requests");
        buffer[self.filled..self.filled + request.len()].copy_from_slice(request);
        self.filled += request.len();
        let answer = request.first_chunk::<ANSWER_BYTES>().expect("a request is longer than its answer");
        self.answers.push((connection, *answer));
    }

    /// Bytes that its write has: whole blocks.
    fn length(&self) -> usize {
        self.filled.next_multiple_of(BLOCK_BYTES)
    }
}
