//! Effects become operations.

use std::os::fd::AsRawFd;

use bytes::{Bytes, BytesMut};
use ringmain_wire::ids::ShardId;

use super::carrier::Carrier;
use super::connections::{Phase, Receive};
use super::operations::Operation;
use super::outgoing::Outgoing;
use crate::effect::{Effect, Effects};
use crate::event::{ConnectionId, Event};
use crate::host::Host;
use crate::inspection::{Inspected, InspectionRequest, Unsound};
use crate::mailbox::SendError;

impl<H: Host> Carrier<H> {
    /// Starts what the host asked for, in order. What it asked for after `Stop` is dropped.
    pub(super) fn start_effects(&mut self) {
        let mut effects: Effects<H::Mail> = core::mem::take(&mut self.effects);
        while !effects.is_empty() {
            for effect in effects.drain(..) {
                if self.stopping.is_none() {
                    self.start(effect);
                }
            }
            // What could not be started was told at once, and may have been answered.
            effects.append(&mut self.effects);
        }
        // Its memory serves the next turn.
        self.effects = effects;
    }

    fn start(&mut self, effect: Effect<H::Mail>) {
        match effect {
            Effect::Receive { connection, into } => self.receive(connection, into),
            Effect::Send { connection, segments } => self.send(connection, segments),
            Effect::Close { connection } => self.close(connection),
            Effect::StopAccepting => {
                for accept in self.listeners.close() {
                    self.in_flight.cancel(accept);
                }
            }
            Effect::File { token, operation } => {
                let operation = self.files.operation(token, operation);
                self.in_flight.start(operation);
            }
            Effect::Inspect { request } => self.inspect(request),
            Effect::CancelInspection { kind } => {
                if let Some(background) = &mut self.background {
                    background.cancel(kind);
                }
            }
            Effect::Mail { to, mail } => self.mail(to, mail),
            Effect::Stop { reason } => self.stopping = Some(reason),
        }
    }

    fn receive(&mut self, id: ConnectionId, into: Option<BytesMut>) {
        let connection = self.connections.get(id);
        match connection.phase {
            Phase::Open => {}
            Phase::Closing => panic!("a receive on {id:?}, which is closing"),
            Phase::Failed => return,
        }
        assert_eq!(connection.receive, Receive::Idle, "one receive at a time on {id:?}");
        let socket = connection.as_raw_fd();
        let poll_first = connection.receive_emptied;
        let operation = match into {
            None => Operation::ReceiveLent { connection: id, socket, poll_first },
            Some(buffer) => {
                assert!(buffer.capacity() > buffer.len(), "a receive on {id:?} into a full buffer");
                Operation::ReceiveInto { connection: id, socket, poll_first, buffer }
            }
        };
        connection.receive = Receive::UnderWay(self.in_flight.start(operation));
    }

    fn send(&mut self, id: ConnectionId, segments: Vec<Bytes>) {
        let connection = self.connections.get(id);
        match connection.phase {
            Phase::Open => {}
            Phase::Closing => panic!("a send on {id:?}, which is closing"),
            Phase::Failed => {
                connection.unsent.extend(segments);
                return;
            }
        }
        assert!(connection.send.is_none(), "one send at a time on {id:?}");
        let socket = connection.as_raw_fd();
        let outgoing = Outgoing::whole(segments);
        connection.send = Some(self.in_flight.start(Operation::Send { connection: id, socket, outgoing }));
    }

    fn close(&mut self, id: ConnectionId) {
        let connection = self.connections.get(id);
        if connection.phase != Phase::Open {
            return;
        }
        connection.phase = Phase::Closing;
        if let Receive::UnderWay(receive) = connection.receive {
            self.in_flight.cancel(receive);
        }
        self.connections.linger(id, self.now.mono);
        self.connections.settle(id);
    }

    fn mail(&mut self, to: ShardId, mail: H::Mail) {
        match self.mailbox.send(to, mail) {
            Ok(()) => {}
            // It stopped; the node is stopping with it, and nobody waits for an answer.
            Err(SendError::Gone(_)) => {}
            Err(SendError::Full(_)) => panic!("mail to shard {to}, which has no room for it"),
        }
    }

    fn inspect(&mut self, request: InspectionRequest) {
        match &mut self.background {
            Some(background) => background.inspect(request),
            None => {
                let inspected = Inspected { request, result: Err(Unsound::Unavailable) };
                self.host.handle(self.now, Event::Inspected { inspected }, &mut self.effects);
            }
        }
    }

    /// Starts the receives again that found no buffer: those lent this turn are back.
    pub(super) fn start_starved(&mut self) {
        for id in self.connections.take_starved() {
            let connection = self.connections.get(id);
            let socket = connection.as_raw_fd();
            let again = Operation::ReceiveLent { connection: id, socket, poll_first: false };
            connection.receive = Receive::UnderWay(self.in_flight.start(again));
        }
    }

    /// Keeps an accept under way on every socket that listens.
    pub(super) fn start_accepts(&mut self) {
        while let Some((listener, socket)) = self.listeners.poll_start(self.now.mono) {
            let accept = self.in_flight.start(Operation::Accept { listener, socket });
            self.listeners.started(listener, accept);
        }
    }
}
