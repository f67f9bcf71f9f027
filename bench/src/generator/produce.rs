//! Produce requests that are encoded once and sent many times, and what their answers acknowledge.

use std::collections::BTreeMap;

use ringmain_wire::ids::{Offset, PartitionIndex, TopicId};
use ringmain_wire::native::frame::{self, Api, FRAME_BYTES_MAX_DEFAULT};
use ringmain_wire::native::messages::{ProducePart, ProduceRequest, ProduceResponse};

use super::error::{ProduceAnswerError, error_name};
use super::{Acks, NativeLoadOptions};
use crate::client_loop::{Exchange, Parsed};

/// How long a broker may wait for replicas.
const TIMEOUT_MS: u32 = 30_000;

/// One connection a target, one batch a request.
pub(super) struct ProduceExchange {
    connections: Vec<ProduceConnection>,
    errors: BTreeMap<String, u64>,
}

/// What a run got acknowledged.
pub(super) struct Acknowledged {
    /// Base offsets by partition, in no order.
    pub(super) base_offsets: Vec<Vec<Offset>>,
    /// How often each error was answered.
    pub(super) errors: BTreeMap<String, u64>,
}

struct ProduceConnection {
    partition: PartitionIndex,
    correlation: u32,
    request: Vec<u8>,
    base_offsets: Vec<Offset>,
}

impl ProduceExchange {
    pub(super) fn new(
        topic: TopicId,
        targets: &[PartitionIndex],
        options: &NativeLoadOptions,
        batch: &[u8],
    ) -> Self {
        let connections = targets.iter().zip(1..);
        let connections = connections
            .map(|(&partition, correlation)| ProduceConnection {
                partition,
                correlation,
                request: encode_request(topic, partition, correlation, options.acks, batch),
                base_offsets: Vec::new(),
            })
            .collect();
        Self { connections, errors: BTreeMap::new() }
    }

    pub(super) fn into_acknowledged(self, partitions: usize) -> Acknowledged {
        let mut base_offsets = vec![Vec::new(); partitions];
        for mut connection in self.connections {
            base_offsets[connection.partition.get() as usize].append(&mut connection.base_offsets);
        }
        Acknowledged { base_offsets, errors: self.errors }
    }
}

impl Exchange for ProduceExchange {
    type Error = ProduceAnswerError;

    fn encode_request(&mut self, connection: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.connections[connection].request);
    }

    fn parse_answer(&mut self, connection: usize, bytes: &[u8]) -> Result<Parsed, ProduceAnswerError> {
        let split = frame::split(bytes, FRAME_BYTES_MAX_DEFAULT).map_err(ProduceAnswerError::Frame)?;
        let Some((answer, length)) = split else { return Ok(Parsed::Incomplete) };
        let mismatch = ProduceAnswerError::Mismatch { connection };
        let state = &mut self.connections[connection];
        let header = answer.header;
        if !header.answer || header.api != Api::Produce.number() || header.correlation != state.correlation {
            return Err(mismatch);
        }
        let mut error = header.error;
        if error == 0 {
            let body = frame::access::<ProduceResponse>(answer.body).map_err(ProduceAnswerError::Frame)?;
            let part = body.parts.first().ok_or(mismatch)?;
            error = part.error.to_native();
            if error == 0 {
                state.base_offsets.push(Offset(part.base_offset.0.to_native()));
            }
        }
        if error != 0 {
            *self.errors.entry(error_name(error)).or_default() += 1;
        }
        Ok(Parsed::Answer { length, accepted: error == 0 })
    }
}

/// Every request of a connection carries the same correlation: answers come in order, so nothing else is needed to
/// tell them apart, and the frame is encoded once.
fn encode_request(
    topic: TopicId,
    partition: PartitionIndex,
    correlation: u32,
    acks: Acks,
    batch: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(batch.len()).expect("batches are bounded");
    let body = ProduceRequest {
        acks: match acks {
            Acks::Leader => 1,
            Acks::All => -1,
        },
        timeout_ms: TIMEOUT_MS,
        parts: vec![ProducePart { topic, partition, length }],
    };
    let head = frame::encode(Api::Produce.number(), false, 0, correlation, &body, length);
    [&head[..], batch].concat()
}
