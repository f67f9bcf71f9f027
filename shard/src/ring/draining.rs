//! The end of a loop: what is under way ends, nothing new starts, and nobody is told any more.

use super::carrier::Carrier;
use super::clock;
use super::completions::adopt;
use super::error::RingError;
use super::operations::Operation;
use super::tokens::{OperationId, Token};
use crate::host::Host;
use crate::time::Mono;

impl<H: Host> Carrier<H> {
    /// Returns when nothing is under way. Waits for work on files however long it takes, for sends as long as a
    /// closing connection lingers, and for nothing else.
    pub(super) fn drain(&mut self) -> Result<(), RingError> {
        self.listeners.close();
        for id in self.waiting_operations() {
            self.in_flight.cancel(id);
        }
        let mut cut = Some(clock::monotonic() + self.linger);
        while self.in_flight.under_way() > 0 {
            let timeout = cut.map(|time| time.since(clock::monotonic()));
            self.in_flight.submit_and_wait(timeout)?;
            while let Some(completion) = self.in_flight.completion() {
                if let Token::Operation(id) = Token::decode(completion.user_data()) {
                    self.abandon(id, completion.result());
                }
            }
            if cut.is_some_and(|time: Mono| time <= clock::monotonic()) {
                cut = None;
                self.cut_sends();
            }
        }
        // Wake-ups that were decided on are on their way even if nothing else was.
        self.in_flight.submit()
    }

    /// Those that may wait for ever: for clients, for bytes, for the doorbell.
    fn waiting_operations(&self) -> Vec<OperationId> {
        let waits = |operation: &Operation| match operation {
            Operation::Accept { .. }
            | Operation::ReceiveLent { .. }
            | Operation::ReceiveInto { .. }
            | Operation::Hear { .. } => true,
            Operation::Send { .. }
            | Operation::Open { .. }
            | Operation::Write { .. }
            | Operation::Read { .. }
            | Operation::Sync { .. }
            | Operation::OpenDirectory { .. }
            | Operation::SyncDirectory { .. }
            | Operation::CloseFile { .. }
            | Operation::Remove { .. }
            | Operation::CreateDirectory { .. } => false,
        };
        let waiting = self.in_flight.operations().filter(|(_, operation)| waits(operation));
        waiting.map(|(id, _)| id).collect()
    }

    /// Takes an operation back. Only a send that was cut short goes on; descriptors that were made are closed.
    fn abandon(&mut self, id: OperationId, result: i32) {
        let made = usize::try_from(result);
        match self.in_flight.finish(id) {
            Operation::Send { connection, socket, mut outgoing } => {
                let goes_on = made.is_ok_and(|count| count > 0 && !outgoing.advance(count));
                if goes_on {
                    self.in_flight.start(Operation::Send { connection, socket, outgoing });
                }
            }
            Operation::Accept { .. } | Operation::Open { .. } | Operation::OpenDirectory { .. } => {
                drop(made.map(adopt));
            }
            _ => {}
        }
    }

    fn cut_sends(&mut self) {
        let mut sending = Vec::new();
        for (_, operation) in self.in_flight.operations() {
            if let Operation::Send { connection, .. } = operation {
                sending.push(*connection);
            }
        }
        for connection in sending {
            self.connections.get(connection).shut();
        }
    }
}
