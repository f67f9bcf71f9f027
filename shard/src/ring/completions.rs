//! Completions become events.
#![expect(unsafe_code, reason = "taking over what the kernel made: bytes in buffers, and descriptors")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bytes::BytesMut;
use io_uring::cqueue;
use ringmain_wire::ids::ShardId;

use super::carrier::Carrier;
use super::connections::{Phase, Receive};
use super::files::{file_error, opening_error, read_goes_on};
use super::operations::Operation;
use super::outgoing::Outgoing;
use super::tokens::Token;
use crate::background::Background;
use crate::effect::FileToken;
use crate::event::{ConnectionId, Event, FileError, FileOutcome, Received};
use crate::host::Host;

impl<H: Host> Carrier<H> {
    pub(super) fn complete(&mut self, completion: &cqueue::Entry) {
        let id = match Token::decode(completion.user_data()) {
            Token::Operation(id) => id,
            // The mail that it announces is looked at in every turn.
            Token::Woken | Token::CancelFailed => return,
            Token::WakeFailed(shard) => return self.wake_failed(shard, completion.result()),
        };
        let result = outcome(completion.result());
        match self.in_flight.finish(id) {
            Operation::Accept { listener, .. } => self.accepted(listener, result),
            Operation::ReceiveLent { connection, .. } => {
                self.received_lent(connection, result, completion.flags());
            }
            Operation::ReceiveInto { connection, buffer, .. } => {
                self.received_into(connection, buffer, result, completion.flags());
            }
            Operation::Send { connection, outgoing, .. } => self.sent(connection, outgoing, result),
            Operation::Hear { .. } => self.heard(),
            Operation::Open { token, file, .. } => {
                let opened = result.map(|descriptor| self.files.opened(file, adopt(descriptor)));
                self.file_done(token, opened.map_err(opening_error));
            }
            Operation::Write { token, bytes, .. } => {
                let written = match result {
                    Ok(written) if written == bytes.len() => Ok(()),
                    Ok(_) => Err(FileError::Short),
                    Err(errno) => Err(file_error(errno)),
                };
                self.file_done(token, written);
            }
            Operation::Read { token, file, position, length, buffer } => {
                let filled = result.map(|count| (count, filled(buffer, count)));
                match filled {
                    Ok((count, buffer)) if read_goes_on(buffer.len(), length, count) => {
                        self.in_flight.start(Operation::Read { token, file, position, length, buffer });
                    }
                    Ok((_, buffer)) => self.file_event(token, Ok(FileOutcome::Read(buffer.freeze()))),
                    Err(errno) => self.file_event(token, Err(opening_error(errno))),
                }
            }
            Operation::OpenDirectory { token, .. } => match result {
                Ok(descriptor) => {
                    let directory = adopt(descriptor);
                    self.in_flight.start(Operation::SyncDirectory { token, directory });
                }
                Err(errno) => self.file_done(token, Err(opening_error(errno))),
            },
            Operation::Sync { token, .. }
            | Operation::SyncDirectory { token, .. }
            | Operation::CloseFile { token, .. } => {
                self.file_done(token, result.map(|_| ()).map_err(file_error));
            }
            Operation::Remove { token, .. } => {
                self.file_done(token, unless(libc::ENOENT, result).map_err(file_error));
            }
            Operation::CreateDirectory { token, .. } => {
                self.file_done(token, unless(libc::EEXIST, result).map_err(file_error));
            }
        }
    }

    fn event(&mut self, event: Event<'_, H::Mail>) {
        self.host.handle(self.now, event, &mut self.effects);
    }

    fn file_event(&mut self, token: FileToken, result: Result<FileOutcome, FileError>) {
        self.event(Event::File { token, result });
    }

    fn file_done(&mut self, token: FileToken, result: Result<(), FileError>) {
        self.file_event(token, result.map(|()| FileOutcome::Done));
    }

    fn accepted(&mut self, listener: usize, result: Result<usize, i32>) {
        let socket = result.map(adopt);
        let Some(protocol) = self.listeners.completed(listener, socket.is_ok()) else { return };
        match socket {
            Ok(socket) => match self.connections.insert(socket) {
                Some(connection) => self.event(Event::Accepted { connection, listener: protocol }),
                None => self.in_flight.counters.connections_refused += 1,
            },
            // This client is gone; the next one may be there.
            Err(libc::ECONNABORTED | libc::EINTR) => {}
            Err(errno) => {
                self.in_flight.counters.accept_pauses += 1;
                if self.listeners.pause(listener, self.now.mono) {
                    let error = std::io::Error::from_raw_os_error(errno);
                    tracing::warn!(%error, "cannot accept connections until descriptors or memory are free");
                }
            }
        }
    }

    fn received_lent(&mut self, id: ConnectionId, result: Result<usize, i32>, flags: u32) {
        let buffer = cqueue::buffer_select(flags);
        if self.receive_ended(id, flags) {
            match result {
                Ok(0) => {
                    let data = Received::Lent(&[]);
                    self.event(Event::Received { connection: id, data });
                }
                Ok(length) => {
                    let buffer = buffer.expect("bytes come in a buffer");
                    let data = Received::Lent(self.in_flight.lent(buffer, length));
                    let event = Event::Received { connection: id, data };
                    self.host.handle(self.now, event, &mut self.effects);
                }
                Err(libc::ENOBUFS) => {
                    self.in_flight.counters.receives_without_buffer += 1;
                    self.connections.starve(id);
                }
                Err(_) => self.fail(id),
            }
        }
        // However it ended, and whoever it was for: a buffer that was picked goes back.
        if let Some(buffer) = buffer {
            self.in_flight.give_back(buffer);
        }
        self.connections.settle(id);
    }

    fn received_into(&mut self, id: ConnectionId, buffer: BytesMut, result: Result<usize, i32>, flags: u32) {
        if self.receive_ended(id, flags) {
            match result {
                Ok(count) => {
                    let data = Received::Filled(filled(buffer, count));
                    self.event(Event::Received { connection: id, data });
                }
                Err(_) => self.fail(id),
            }
        }
        self.connections.settle(id);
    }

    /// No receive is under way any more. Whether its outcome matters to anybody.
    fn receive_ended(&mut self, id: ConnectionId, flags: u32) -> bool {
        let connection = self.connections.get(id);
        connection.receive = Receive::Idle;
        connection.receive_emptied = !cqueue::sock_nonempty(flags);
        connection.phase == Phase::Open
    }

    fn sent(&mut self, id: ConnectionId, mut outgoing: Outgoing, result: Result<usize, i32>) {
        let connection = self.connections.get(id);
        connection.send = None;
        match result {
            Ok(count) if outgoing.advance(count) => {
                let segments = outgoing.into_segments();
                self.event(Event::Sent { connection: id, segments });
            }
            Ok(count) if count > 0 => self.send_on(id, outgoing),
            Ok(_) | Err(_) => {
                connection.unsent.extend(outgoing.into_segments());
                self.fail(id);
            }
        }
        self.connections.settle(id);
    }

    /// The rest of a send that was cut short.
    fn send_on(&mut self, id: ConnectionId, outgoing: Outgoing) {
        let connection = self.connections.get(id);
        let socket = connection.as_raw_fd();
        connection.send = Some(self.in_flight.start(Operation::Send { connection: id, socket, outgoing }));
    }

    /// The peer or the network has ended a connection.
    fn fail(&mut self, id: ConnectionId) {
        let connection = self.connections.get(id);
        if connection.phase == Phase::Open {
            connection.phase = Phase::Failed;
        }
        connection.shut();
    }

    fn heard(&mut self) {
        if self.doorbell.shutdown_requested() && !self.shutdown_told {
            self.shutdown_told = true;
            self.event(Event::Shutdown);
        }
        while let Some(inspected) = self.background.as_mut().and_then(Background::poll) {
            self.event(Event::Inspected { inspected });
        }
        self.hear_doorbell();
    }

    /// A shard that has ended needs no waking; any other must be woken, or its mail lies there for good.
    fn wake_failed(&mut self, shard: ShardId, result: i32) {
        match -result {
            libc::EOWNERDEAD | libc::EBADFD | libc::ECANCELED => {}
            libc::ENOMEM | libc::EAGAIN | libc::EOVERFLOW => {
                let ring = self.rings[usize::from(shard.get())].as_raw_fd();
                self.in_flight.wake(shard, ring);
            }
            errno => panic!("waking shard {shard} failed with error {errno}, which it never should"),
        }
    }
}

/// A count or descriptor, or the operating system's error number.
fn outcome(result: i32) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| -result)
}

/// What came of a step that may have been taken before: `already` is the error that says so.
fn unless(already: i32, result: Result<usize, i32>) -> Result<(), i32> {
    match result {
        Err(errno) if errno != already => Err(errno),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Takes over a descriptor that a completion gave.
pub(super) fn adopt(descriptor: usize) -> OwnedFd {
    let descriptor = i32::try_from(descriptor).expect("a completion's result has 31 bits");
    // SAFETY: an accept or open that succeeded made this descriptor for us, and each completion is taken once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// `buffer` with the `count` bytes that the kernel has put behind its contents.
fn filled(mut buffer: BytesMut, count: usize) -> BytesMut {
    let length = buffer.len() + count;
    assert!(length <= buffer.capacity(), "the kernel writes within the spare capacity that it was given");
    // SAFETY: within capacity, as asserted; a completion with `count` says that the kernel has written as many bytes
    // from the start of the spare capacity, which is where the operation pointed it.
    unsafe { buffer.set_len(length) };
    buffer
}
