//! ListOffsets: the ends of partitions, and the first record of a time.

use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::store::{Found, TimeWanted};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, ShardId, TimestampMs};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{
    ListOffsetsRequest, ListOffsetsResponse, ListedOffset, TIMESTAMP_END, TIMESTAMP_START,
};

use super::dispatch::Flow;
use super::mail::{Mail, REQUESTS_MAX, RequestNumber};
use super::peers::Asking;
use super::requests::{Asker, TimeSearch, Waiting, ticket};
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
            let asked = u16::try_from(part).expect("requests have fewer parts");
            if shard == self.identity.shard {
                let asker = Asker { shard, request: number, part: asked };
                self.list_offset_here(asker, partition, timestamp, effects);
            } else {
                self.peers.handle_asked(shard, Asking::Request);
                let mail = Mail::ListOffset { request: number, part: asked, partition, timestamp };
                effects.push(Effect::Mail { to: shard, mail });
            }
        }
        Flow::Next
    }

    /// Looks into a partition of this shard, and tells who asked.
    pub(super) fn list_offset_here(
        &mut self,
        asker: Asker,
        id: PartitionId,
        timestamp: TimestampMs,
        effects: &mut Effects<Mail>,
    ) {
        let Some(partition) = self.catalog.topic_of(id).and_then(|_| self.store.partition(id)) else {
            return self.tell_offset(asker, failed(ErrorCode::UnknownTopicOrPartition), effects);
        };
        let none = TimestampMs(-1);
        let listed = match timestamp {
            TIMESTAMP_END => self.listed(id, Some((partition.high_watermark(), none))),
            TIMESTAMP_START => self.listed(id, Some((partition.log_start(), none))),
            timestamp if timestamp.get() < 0 => failed(ErrorCode::InvalidRequest),
            timestamp => {
                return self.search_time(TimeSearch { asker, partition: id, timestamp }, None, effects);
            }
        };
        self.tell_offset(asker, listed, effects);
    }

    /// Looks for the first record of a time: in segments behind the one based at `behind`, then in memory.
    pub(super) fn search_time(
        &mut self,
        search: TimeSearch,
        behind: Option<Offset>,
        effects: &mut Effects<Mail>,
    ) {
        let TimeSearch { asker, partition: id, timestamp } = search;
        let number = self.requests.insert(Waiting::TimeSearch(search));
        let wanted = TimeWanted { timestamp, behind, decompressed_bytes_max: DECOMPRESSED_BYTES_MAX };
        let listed = match self.store.find_timestamp_in_segment(ticket(number, 0), id, wanted, effects) {
            Ok(true) => return,
            Ok(false) => {
                let partition = self.store.partition(id);
                let found = partition
                    .and_then(|partition| partition.find_timestamp(timestamp, DECOMPRESSED_BYTES_MAX));
                self.listed(id, found)
            }
            Err(code) => failed(code),
        };
        self.requests.remove(number);
        self.tell_offset(asker, listed, effects);
    }

    /// A segment was looked through.
    pub(super) fn handle_time_found(
        &mut self,
        number: RequestNumber,
        base: Offset,
        result: Result<Found, ErrorCode>,
        effects: &mut Effects<Mail>,
    ) {
        let Some(Waiting::TimeSearch(search)) = self.requests.remove(number) else { return };
        match result {
            Ok(Found::Time(None)) => self.search_time(search, Some(base), effects),
            Ok(Found::Time(found)) => {
                let listed = self.listed(search.partition, found);
                self.tell_offset(search.asker, listed, effects);
            }
            // Retention took the segment, or a cut did: the records that are left are looked through anew.
            Ok(Found::Moved) => self.search_time(search, None, effects),
            Ok(other) => unreachable!("looked for a time and found {other:?}"),
            Err(code) => self.tell_offset(search.asker, failed(code), effects),
        }
    }

    fn listed(&self, id: PartitionId, found: Option<(Offset, TimestampMs)>) -> ListedOffset {
        // No record is that late: not an error.
        let (offset, timestamp) = found.unwrap_or((Offset(-1), TimestampMs(-1)));
        let epoch = self.store.partition(id).and_then(|partition| partition.epochs().at(offset));
        ListedOffset { error: 0, offset, timestamp, leader_epoch: epoch.unwrap_or(LeaderEpoch(-1)) }
    }

    fn tell_offset(&mut self, asker: Asker, listed: ListedOffset, effects: &mut Effects<Mail>) {
        let Asker { shard, request, part } = asker;
        if shard == self.identity.shard {
            self.handle_listed_offset(request, usize::from(part), listed);
        } else {
            effects.push(Effect::Mail { to: shard, mail: Mail::ListedOffset { request, part, listed } });
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
