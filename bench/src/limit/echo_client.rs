//! The echo's protocol, if it deserves the name: requests of one size, answers of 64 bytes that repeat their start.

use std::collections::VecDeque;
use std::fmt;

use super::echo::ANSWER_BYTES;
use crate::client_loop::{Exchange, Parsed};

/// Requests that differ, and a check that every answer is that of the oldest unanswered one.
pub(super) struct EchoExchange {
    request: Vec<u8>,
    sent: u64,
    expected: Vec<VecDeque<u64>>,
}

impl EchoExchange {
    pub(super) fn new(connections: usize, payload_bytes: usize) -> Self {
        assert!(payload_bytes >= ANSWER_BYTES, "an answer repeats the start of its request");
        // Bytes that differ from place to place, so that an answer cut at the wrong place is noticed.
        let request = (0..payload_bytes).map(|place| (place % 251) as u8).collect();
        Self { request, sent: 0, expected: vec![VecDeque::new(); connections] }
    }
}

impl Exchange for EchoExchange {
    type Error = EchoAnswerError;

    fn encode_request(&mut self, connection: usize, out: &mut Vec<u8>) {
        self.sent += 1;
        self.request[..8].copy_from_slice(&self.sent.to_le_bytes());
        self.expected[connection].push_back(self.sent);
        out.extend_from_slice(&self.request);
    }

    fn parse_answer(&mut self, connection: usize, bytes: &[u8]) -> Result<Parsed, EchoAnswerError> {
        let Some((answer, _)) = bytes.split_first_chunk::<ANSWER_BYTES>() else {
            return Ok(Parsed::Incomplete);
        };
        let oldest = self.expected[connection].pop_front();
        let number = oldest.ok_or(EchoAnswerError { connection })?;
        if answer[..8] != number.to_le_bytes() || answer[8..] != self.request[8..ANSWER_BYTES] {
            return Err(EchoAnswerError { connection });
        }
        Ok(Parsed::Answer { length: ANSWER_BYTES, accepted: true })
    }
}

/// An answer that does not repeat the start of the oldest unanswered request of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoAnswerError {
    /// The connection, from 0.
    pub connection: usize,
}

impl fmt::Display for EchoAnswerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an answer on connection {} is not that of its oldest request", self.connection)
    }
}

impl std::error::Error for EchoAnswerError {}
