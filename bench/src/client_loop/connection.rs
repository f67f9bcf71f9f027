//! One socket of the client loop: bytes on their way out, bytes that came in, requests that wait for answers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Room for incoming bytes at first; it doubles when an answer does not fit.
const INCOMING_BYTES: usize = 16 * 1024;

/// A non-blocking connection. Answers come in the order of the requests.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    /// When each unanswered request was due, oldest first.
    pub(super) waiting: VecDeque<u64>,
    /// Whether the poller reports when the socket takes bytes again.
    pub(super) watches_room: bool,
    outgoing: Vec<u8>,
    outgoing_sent: usize,
    incoming: Vec<u8>,
    incoming_filled: usize,
}

impl Connection {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            waiting: VecDeque::new(),
            watches_room: false,
            outgoing: Vec::new(),
            outgoing_sent: 0,
            incoming: vec![0; INCOMING_BYTES],
            incoming_filled: 0,
        })
    }

    /// Where the next request is to be appended.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Sends what the socket takes; whether that was everything.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.outgoing_sent < self.outgoing.len() {
            match self.socket.write(&self.outgoing[self.outgoing_sent..]) {
                Ok(sent) => self.outgoing_sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.outgoing_sent = 0;
        Ok(true)
    }

    /// Reads once; 0 means that the peer has closed, `None` that nothing was there.
    pub(super) fn fill(&mut self) -> io::Result<Option<usize>> {
        if self.incoming_filled == self.incoming.len() {
            self.incoming.resize(self.incoming.len() * 2, 0);
        }
        match self.socket.read(&mut self.incoming[self.incoming_filled..]) {
            Ok(read) => {
                self.incoming_filled += read;
                Ok(Some(read))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes received and not consumed.
    pub(super) fn received(&self) -> &[u8] {
        &self.incoming[..self.incoming_filled]
    }

    /// Forgets the first `length` of the received bytes.
    pub(super) fn consume(&mut self, length: usize) {
        assert!(length <= self.incoming_filled, "consumed more than was received");
        self.incoming.copy_within(length..self.incoming_filled, 0);
        self.incoming_filled -= length;
    }
}
