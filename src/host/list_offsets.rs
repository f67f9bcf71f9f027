//! ListOffsets: the ends of partitions, and the first record of a time.

use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, ShardId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{
    ListOffsetsRequest, ListOffsetsResponse, ListedOffset, TIMESTAMP_END, TIMESTAMP_START,
};

use super::dispatch::Flow;
use super::mail::{Mail, REQUESTS_MAX, RequestNumber};
use super::peers::Asking;
use super::requests::Waiting;
use super::{ShardHost, placement};

/// Memory that looking into one batch for a time may take.
const DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

impl ShardHost {
    pub(super) fn list_offsets(
        &mut self,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(request) = self.decode::<ListOffsetsRequest>(id, frame) else { return Flow::Next };
        let header = frame.header;
        if request.parts.is_empty() || request.parts.len() > REQUESTS_MAX {
            let problem = "a list-offsets request has 1 to 256 parts";
            self.refuse(id, header.api, header.correlation, ErrorCode::InvalidRequest, problem);
            return Flow::Next;
        }
        let asked: Vec<(ShardId, PartitionId, TimestampMs)> = request
            .parts
            .iter()
            .map(|part| {
                let partition = PartitionId::new(part.topic, part.partition);
                (placement::owner(partition, self.identity.shards), partition, part.timestamp)
            })
            .collect();
        for shard in (0..self.identity.shards).map(ShardId).filter(|&shard| shard != self.identity.shard) {
            let times = asked.iter().filter(|(owner, ..)| *owner == shard).count();
            if !self.peers.has_room(shard, Asking::Request, times) {
                self.peers.stall(shard, Asking::Request, id);
                return Flow::Wait;
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let number = self.requests.insert(Waiting::ListOffsets {
            answer: connection.reserve_answer(),
            correlation: header.correlation,
            parts: vec![ListedOffset::default(); asked.len()],
            missing: asked.len(),
        });
        for (part, (shard, partition, timestamp)) in asked.into_iter().enumerate() {
            if shard == self.identity.shard {
                let listed = self.list_offset_here(partition, timestamp);
                self.handle_listed_offset(number, part, listed);
            } else {
                self.peers.handle_asked(shard, Asking::Request);
                let part = u16::try_from(part).expect("requests have fewer parts");
                let mail = Mail::ListOffset { request: number, part, partition, timestamp };
                effects.push(Effect::Mail { to: shard, mail });
            }
        }
        Flow::Next
    }

    /// Looks into a partition of this shard.
    pub(super) fn list_offset_here(&self, id: PartitionId, timestamp: TimestampMs) -> ListedOffset {
        let Some(partition) = self.catalog.topic_of(id).and_then(|_| self.store.partition(id)) else {
            return failed(ErrorCode::UnknownTopicOrPartition);
        };
        let none = TimestampMs(-1);
        let found = match timestamp {
            TIMESTAMP_END => Some((partition.high_watermark(), none)),
            TIMESTAMP_START => Some((partition.log_start(), none)),
            timestamp if timestamp.get() < 0 => return failed(ErrorCode::InvalidRequest),
            timestamp => partition.find_timestamp(timestamp, DECOMPRESSED_BYTES_MAX),
        };
        match found {
            Some((offset, timestamp)) => {
                let leader_epoch = partition.epochs().at(offset).unwrap_or(LeaderEpoch(-1));
                ListedOffset { error: 0, offset, timestamp, leader_epoch }
            }
            // No record is that late: not an error.
            None => {
                ListedOffset { error: 0, offset: Offset(-1), timestamp: none, leader_epoch: LeaderEpoch(-1) }
            }
        }
    }

    /// One partition was looked into; answers when it was the last.
    pub(super) fn handle_listed_offset(&mut self, number: RequestNumber, part: usize, listed: ListedOffset) {
        let Some(Waiting::ListOffsets { parts, missing, .. }) = self.requests.get_mut(number) else {
            unreachable!("a partition was looked into twice");
        };
        parts[part] = listed;
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        if let Some(Waiting::ListOffsets { answer, correlation, parts, .. }) = self.requests.remove(number) {
            let response = ListOffsetsResponse { parts };
            let bytes = frame::encode(Api::ListOffsets.number(), true, 0, correlation, &response, 0);
            self.answer_own(answer, bytes);
        }
    }
}

fn failed(code: ErrorCode) -> ListedOffset {
    ListedOffset {
        error: code.number(),
        offset: Offset(-1),
        timestamp: TimestampMs(-1),
        leader_epoch: LeaderEpoch(-1),
    }
}
