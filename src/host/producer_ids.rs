//! Producer ids: each shard hands them out from a block that the controller set aside for it.

use std::collections::VecDeque;
use std::ops::Range;

use ringmain_shard::effect::Effects;
use ringmain_shard::event::ConnectionId;
use ringmain_wire::ids::{ProducerEpoch, ProducerId, ShardId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{InitProducerRequest, InitProducerResponse};

use super::ShardHost;
use super::connection::AnswerKey;
use super::controller::{Command, Decided, Decision, Refusal};
use super::dispatch::Flow;
use super::mail::Mail;
use super::peers::Asking;
use super::requests::Waiting;

/// Ids asked for at a time. What a stopped shard had left of its block is never used.
const BLOCK: u32 = 1_000;

/// The ids of one shard.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    left: Range<i64>,
    /// A block is on its way.
    asked: bool,
    /// Clients that wait for it, with their correlations.
    waiting: VecDeque<(AnswerKey, u32)>,
}

impl ShardHost {
    pub(super) fn init_producer(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<InitProducerRequest>(id, frame) else { return Flow::Next };
        if request.transactional_id.is_some() {
            let problem = "transactions are not in this version; leave the transactional id out";
            self.refuse(id, frame.header.api, frame.header.correlation, ErrorCode::Unsupported, problem);
            return Flow::Next;
        }
        let needs_block = self.producer_ids.left.is_empty() && !self.producer_ids.asked;
        if needs_block
            && self.identity.shard != ShardId(0)
            && !self.peers.has_room(ShardId(0), Asking::Request, 1)
        {
            self.peers.stall(ShardId(0), Asking::Request, id);
            return Flow::Wait;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let key = connection.reserve_answer();
        self.producer_ids.waiting.push_back((key, frame.header.correlation));
        if needs_block {
            self.ask_block(effects);
        }
        self.hand_out();
        Flow::Next
    }

    fn ask_block(&mut self, effects: &mut Effects<Mail>) {
        self.producer_ids.asked = true;
        let number = self.requests.insert(Waiting::ProducerIds);
        self.send_command(number, Command::ProducerIds { count: BLOCK }, effects);
    }

    /// A block has come, or cannot be had.
    pub(super) fn handle_producer_ids(&mut self, decision: Decision, effects: &mut Effects<Mail>) {
        self.producer_ids.asked = false;
        match decision {
            Ok(Decided::ProducerIds(block)) => {
                self.producer_ids.left = block;
                self.hand_out();
                if !self.producer_ids.waiting.is_empty() {
                    // The answer that brought this block has made room for asking again.
                    self.ask_block(effects);
                }
            }
            Ok(other) => unreachable!("asked for producer ids, got {other:?}"),
            Err(Refusal { code, message }) => {
                for (key, correlation) in core::mem::take(&mut self.producer_ids.waiting) {
                    self.answer_error(key, Api::InitProducer.number(), correlation, code, &message);
                }
            }
        }
    }

    fn hand_out(&mut self) {
        while !self.producer_ids.waiting.is_empty()
            && let Some(id) = self.producer_ids.left.next()
            && let Some((key, correlation)) = self.producer_ids.waiting.pop_front()
        {
            let response = InitProducerResponse { producer: ProducerId(id), epoch: ProducerEpoch(0) };
            let bytes = frame::encode(Api::InitProducer.number(), true, 0, correlation, &response, 0);
            self.answer_own(key, bytes);
        }
    }
}
