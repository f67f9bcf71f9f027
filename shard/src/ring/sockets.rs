//! Listening sockets: bound by the main thread, so that ports are known and errors are early, listening only when served.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::error::RingError;
use super::tokens::OperationId;
use crate::event::Listener;
use crate::time::Mono;

/// Connections that the kernel keeps ready to be accepted, on each socket.
const BACKLOG: i32 = 1024;
/// How long accepting pauses when the process or the system has no descriptor or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a port in use is asked for again, and after which pause.
const IN_USE_RETRIES: u32 = 60;
const IN_USE_PAUSE: Duration = Duration::from_millis(25);

/// A socket that is bound but does not listen: clients are refused until its shard serves.
#[derive(Debug)]
pub struct BoundSocket {
    socket: Socket,
    address: SocketAddr,
}

impl BoundSocket {
    /// Binds `address` for one shard alone.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt` and `bind`; `AddrInUse` when another program has the port.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_with(address, false)
    }

    /// Binds `address` once for each of `shards` shards (`SO_REUSEPORT`): the kernel spreads clients over those that
    /// listen. For port 0 the first gets any free port, and the others get the same one.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt` and `bind`; `AddrInUse` when another program listens on the port.
    pub fn bind_shared(address: SocketAddr, shards: usize) -> io::Result<Vec<Self>> {
        // A stranger who shares its port as well would be let in by SO_REUSEPORT, and would get half of our clients.
        let alone = Self::bind_alone(address)?;
        let address = alone.address;
        drop(alone);
        (0..shards).map(|_| Self::bind_with(address, true)).collect()
    }

    /// Where clients connect; the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the port a while if it is in use: the kernel gives the sockets of a killed broker back only when its
    /// ring's last operation has ended.
    fn bind_alone(address: SocketAddr) -> io::Result<Self> {
        for _ in 0..IN_USE_RETRIES {
            match Self::bind_with(address, false) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    std::thread::park_timeout(IN_USE_PAUSE);
                }
                bound => return bound,
            }
        }
        Self::bind_with(address, false)
    }

    fn bind_with(address: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Accepted connections inherit this from their listener.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, address })
    }
}

/// The sockets that one shard listens on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Its share of the port that all shards have in common.
    pub shared: Option<BoundSocket>,
    /// Its own port.
    pub own: Option<BoundSocket>,
}

/// The listening sockets of a shard, and the accept under way on each.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listening>,
    closed: bool,
}

#[derive(Debug)]
struct Listening {
    socket: Socket,
    protocol: Listener,
    state: Accepting,
    /// The last accept failed: the next failure is no news.
    failing: bool,
}

/// What a listening socket is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// Waits to be started.
    Idle,
    /// The kernel has an accept.
    UnderWay(OperationId),
    /// Descriptors or memory ran out.
    PausedUntil(Mono),
}

impl Listeners {
    /// Starts to listen.
    pub(super) fn listen(sockets: Sockets) -> Result<Self, RingError> {
        let mut all = Vec::new();
        for bound in [sockets.shared, sockets.own].into_iter().flatten() {
            bound.socket.listen(BACKLOG).map_err(|error| RingError::Listen {
                address: bound.address,
                errno: error.raw_os_error().unwrap_or(0),
            })?;
            all.push(Listening {
                socket: bound.socket,
                protocol: Listener::Native,
                state: Accepting::Idle,
                failing: false,
            });
        }
        Ok(Self { all, closed: false })
    }

    /// A socket on which an accept is to be started now, for [`started`](Self::started).
    pub(super) fn poll_start(&self, now: Mono) -> Option<(usize, RawFd)> {
        if self.closed {
            return None;
        }
        let ready = |listening: &Listening| match listening.state {
            Accepting::Idle => true,
            Accepting::UnderWay(_) => false,
            Accepting::PausedUntil(end) => end <= now,
        };
        let place = self.all.iter().position(ready)?;
        Some((place, self.all[place].socket.as_raw_fd()))
    }

    pub(super) fn started(&mut self, listener: usize, operation: OperationId) {
        self.all[listener].state = Accepting::UnderWay(operation);
    }

    /// The accept on `listener` has completed. What its clients speak, unless it was closed meanwhile.
    pub(super) fn completed(&mut self, listener: usize, succeeded: bool) -> Option<Listener> {
        let listening = &mut self.all[listener];
        listening.state = Accepting::Idle;
        listening.failing &= !succeeded;
        (!self.closed).then_some(listening.protocol)
    }

    /// Nothing can be accepted on `listener` for a while. Whether that is news.
    pub(super) fn pause(&mut self, listener: usize, now: Mono) -> bool {
        let listening = &mut self.all[listener];
        listening.state = Accepting::PausedUntil(now + ACCEPT_PAUSE);
        !core::mem::replace(&mut listening.failing, true)
    }

    /// When a pause ends.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let pauses = self.all.iter().filter_map(|listening| match listening.state {
            Accepting::PausedUntil(end) if !self.closed => Some(end),
            _ => None,
        });
        pauses.min()
    }

    /// Accepts no more. Gives the accepts under way, to be cancelled.
    pub(super) fn close(&mut self) -> Vec<OperationId> {
        self.closed = true;
        let under_way = self.all.iter().filter_map(|listening| match listening.state {
            Accepting::UnderWay(operation) => Some(operation),
            _ => None,
        });
        let under_way = under_way.collect();
        for listening in &self.all {
            // Clients in the backlog are refused at once instead of waiting for the cancellation. The descriptor stays
            // until the shard ends, because the accept may still name it.
            let _ = listening.socket.shutdown(std::net::Shutdown::Both);
        }
        under_way
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn shards_share_a_port_that_refuses_clients_until_they_listen() {
        let sockets = BoundSocket::bind_shared(loopback(), 3).expect("a port is free");
        let address = sockets[0].address();
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|socket| socket.address() == address));

        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let shared = sockets.into_iter().next();
        let listeners = Listeners::listen(Sockets { shared, own: None }).expect("bound");
        TcpStream::connect(address).expect("somebody listens");
        drop(listeners);
    }

    #[test]
    fn a_port_in_use_is_told_even_if_its_owner_shares_it() {
        let stranger = BoundSocket::bind_shared(loopback(), 1).expect("a port is free");
        let address = stranger[0].address();
        let shared = stranger.into_iter().next();
        let listeners = Listeners::listen(Sockets { shared, own: None }).expect("bound");
        let refused = BoundSocket::bind_shared(address, 2).expect_err("in use");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
    }

    #[test]
    fn accepted_connections_do_not_wait_to_fill_packets() {
        let own = BoundSocket::bind(loopback()).expect("a port is free");
        let address = own.address();
        let listeners = Listeners::listen(Sockets { shared: None, own: Some(own) }).expect("bound");
        let client = TcpStream::connect(address).expect("listens");
        let (accepted, _) = listeners.all[0].socket.accept().expect("connected");
        assert!(accepted.tcp_nodelay().expect("readable"));
        drop(client);
    }

    #[test]
    fn accepting_pauses_when_descriptors_run_out() {
        let own = Some(BoundSocket::bind(loopback()).expect("a port is free"));
        let mut listeners = Listeners::listen(Sockets { shared: None, own }).expect("bound");
        let now = Mono(1_000);
        let (listener, _) = listeners.poll_start(now).expect("idle");
        listeners.started(listener, OperationId { slot: 0, generation: 0 });
        assert_eq!(listeners.poll_start(now), None);

        assert_eq!(listeners.completed(listener, false), Some(Listener::Native));
        assert!(listeners.pause(listener, now), "news");
        assert!(!listeners.pause(listener, now), "no news");
        assert_eq!(listeners.poll_start(now), None);
        let end = listeners.deadline().expect("paused");
        assert_eq!(end.since(now), ACCEPT_PAUSE);
        assert!(listeners.poll_start(end).is_some());

        listeners.close();
        assert_eq!(listeners.poll_start(end), None);
        assert_eq!(listeners.deadline(), None);
    }
}
