//! Fetch: each shard that owns partitions reads its share, at once or when there is enough; the client's shard gathers.
//!
//! A connection has one fetch at a time, begun only when its socket has taken everything before, so what a fetch holds is
//! bounded by one answer a connection, and a socket that nobody reads holds no more than that. What all of them hold is
//! bounded by what a shard lends (`lending`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::partition::Partition;
use ringmain_shard::store::Read;
use ringmain_shard::time::Mono;
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, ShardId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{FetchPart, FetchRequest, FetchResponse, FetchedPart};

use super::connection::Segment;
use super::dispatch::Flow;
use super::lending::Allowance;
use super::lifecycle::Life;
use super::mail::{Mail, RequestNumber};
use super::peers::Asking;
use super::requests::{FetchGather, FetchHere, FetchedParts, PARTS_MAX, Waiting, ticket};
use super::{ShardHost, placement};

/// Longest wait of a fetch.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);
/// Most bytes of one answer, whatever is asked for.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Partitions of which one share reads segments; the others have their turn with the next fetch.
const SEGMENT_READS_MAX: usize = 4;
/// For every so many bytes that a share may be given it reads segments of one partition: each gives a batch at least.
const SEGMENT_READ_BYTES: usize = 64 * 1024;

impl ShardHost {
    pub(super) fn fetch(
        &mut self,
        now: Mono,
        id: ConnectionId,
        frame: &Frame<'_>,
        effects: &mut Effects<Mail>,
    ) -> Flow {
        let Some(connection) = self.connections.get(&id) else { return Flow::Next };
        if !connection.is_idle() {
            // Resumed when what is due is out.
            return Flow::Wait;
        }
        let header = frame.header;
        let Some(request) = self.decode::<FetchRequest>(id, frame) else { return Flow::Next };
        if request.parts.is_empty() || request.parts.len() >= PARTS_MAX {
            let problem = "a fetch has 1 to 16,383 parts";
            self.refuse(id, header.api, header.correlation, ErrorCode::InvalidRequest, problem);
            return Flow::Next;
        }
        let mut shares: BTreeMap<ShardId, Vec<(u16, FetchPart)>> = BTreeMap::new();
        let parts_asked = request.parts.len();
        for (place, part) in (0_u16..).zip(request.parts) {
            let owner = placement::owner(PartitionId::new(part.topic, part.partition), self.identity.shards);
            shares.entry(owner).or_default().push((place, part));
        }
        let others = shares.keys().filter(|&&shard| shard != self.identity.shard);
        if let Some(&full) = others.clone().find(|&&shard| !self.peers.has_room(shard, Asking::Fetch, 1)) {
            self.peers.stall(full, Asking::Fetch, id);
            return Flow::Wait;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let deadline = now + Duration::from_millis(u64::from(request.wait_ms_max)).min(WAIT_AT_MOST);
        let (bytes_min, bytes_max) =
            (request.bytes_min as usize, (request.bytes_max as usize).min(ANSWER_BYTES_MAX));
        let number = self.requests.insert(Waiting::Fetch(FetchGather {
            answer: connection.reserve_answer(),
            correlation: header.correlation,
            parts: vec![(FetchedPart::default(), Vec::new()); parts_asked],
            shards: shares.keys().copied().collect(),
            cancelled: false,
        }));
        connection.set_fetch(Some(number));
        // If the whole has enough, one of its n shares has at least an nth of it.
        let shards = shares.len();
        let (bytes_min, bytes_max) = (bytes_min.div_ceil(shards), bytes_max / shards);
        let own = shares.remove(&self.identity.shard);
        for (shard, parts) in shares {
            self.peers.handle_asked(shard, Asking::Fetch);
            let mail = Mail::Fetch { request: number, parts, bytes_min, bytes_max, deadline };
            effects.push(Effect::Mail { to: shard, mail });
        }
        // Last: served at once, it may call the others off, and that must not overtake what it calls off.
        if let Some(parts) = own {
            let here = FetchHere {
                shard: self.identity.shard,
                request: number,
                parts,
                bytes_min,
                bytes_max,
                deadline,
            };
            self.fetch_here(now, here, effects);
        }
        Flow::Next
    }

    /// This shard's share of a fetch: served now, or when there is enough.
    pub(super) fn fetch_here(&mut self, now: Mono, here: FetchHere, effects: &mut Effects<Mail>) {
        if self.is_enough(&here) || here.deadline <= now || self.life != Life::Serving {
            self.serve_fetch(here, effects);
            return;
        }
        let partitions: Vec<PartitionId> = here.partitions().collect();
        let deadline = here.deadline;
        let number = self.requests.insert(Waiting::FetchHere(here));
        self.requests.set_deadline(deadline, number);
        for partition in partitions {
            self.store.watch(partition, ticket(number, 0));
        }
    }

    /// A partition that a share waits on has moved.
    pub(super) fn retry_fetch_here(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        let Some(Waiting::FetchHere(here)) = self.requests.get_mut(number) else { return };
        let partitions: Vec<PartitionId> = here.partitions().collect();
        let Some(Waiting::FetchHere(here)) = self.requests.remove(number) else { return };
        if self.is_enough(&here) {
            self.end_wait(number, &here);
            self.serve_fetch(here, effects);
        } else {
            self.requests.put_back(number, Waiting::FetchHere(here));
            for partition in partitions {
                // The one that moved has forgotten its watchers; the others must not be told twice.
                self.store.unwatch(partition, ticket(number, 0));
                self.store.watch(partition, ticket(number, 0));
            }
        }
    }

    /// A share has waited long enough.
    pub(super) fn finish_fetch_here(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        if let Some(Waiting::FetchHere(here)) = self.requests.remove(number) {
            self.end_wait(number, &here);
            self.serve_fetch(here, effects);
        }
    }

    /// A share is no longer waited for: it is served with what there is, and with nothing if that is memory.
    pub(super) fn call_off_fetch_here(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        if let Some(Waiting::FetchHere(here)) = self.requests.remove(number) {
            self.end_wait(number, &here);
            self.lending.call_off(number);
            self.serve_without_waiting(here, effects);
        }
    }

    fn serve_without_waiting(&mut self, mut here: FetchHere, effects: &mut Effects<Mail>) {
        match self.lending.allowance() {
            Allowance::Bytes(bytes) => self.serve_within(here, bytes, effects),
            Allowance::Wait => {
                here.parts.iter_mut().for_each(|(_, part)| part.bytes_max = 0);
                self.hand_over(&here, &BTreeMap::new(), effects);
            }
        }
    }

    /// Another shard wants its answer now.
    pub(super) fn cancel_fetch_here(
        &mut self,
        shard: ShardId,
        request: RequestNumber,
        effects: &mut Effects<Mail>,
    ) {
        if let Some(number) = self.requests.fetch_here_of(shard, request) {
            self.call_off_fetch_here(number, effects);
        }
    }

    /// A share has arrived at the shard that gathers.
    pub(super) fn handle_fetched(
        &mut self,
        from: ShardId,
        number: RequestNumber,
        fetched: FetchedParts,
        effects: &mut Effects<Mail>,
    ) {
        let foreign = from != self.identity.shard;
        if foreign && fetched.iter().all(|(.., batches)| batches.is_empty()) {
            // Nothing has to go back, so the request is over now.
            self.handle_peer_answered(from, Asking::Fetch);
        }
        let Some(Waiting::Fetch(gather)) = self.requests.get_mut(number) else {
            // The client is gone.
            let segments =
                fetched.into_iter().flat_map(|(.., batches)| batches).map(|bytes| (Some(from), bytes));
            self.release(segments, effects);
            return;
        };
        for (place, part, batches) in fetched {
            let segments = batches.into_iter().map(|bytes| Segment { bytes, owner: Some(from) }).collect();
            gather.parts[usize::from(place)] = (part, segments);
        }
        gather.shards.remove(&from);
        if gather.shards.is_empty() {
            self.answer_fetch(number, effects);
        } else if gather.has_something() {
            self.hurry_fetch(number, effects);
        }
    }

    /// Calls in the missing shares of a fetch as they are.
    pub(super) fn hurry_fetch(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        if let Some(Waiting::Fetch(gather)) = self.requests.get_mut(number)
            && !gather.cancelled
        {
            gather.cancelled = true;
            let missing = gather.shards.clone();
            self.cancel_shares(number, missing, effects);
        }
    }

    /// The client of a fetch is gone.
    pub(super) fn give_up_fetch(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        if let Some(Waiting::Fetch(gather)) = self.requests.remove(number) {
            let held = gather.parts.into_iter().flat_map(|(_, segments)| segments);
            self.release(held.map(|segment| (segment.owner, segment.bytes)), effects);
            if !gather.cancelled {
                self.cancel_shares(number, gather.shards, effects);
            }
        }
    }

    fn cancel_shares(
        &mut self,
        number: RequestNumber,
        shards: impl IntoIterator<Item = ShardId>,
        effects: &mut Effects<Mail>,
    ) {
        for shard in shards {
            if shard == self.identity.shard {
                self.cancel_fetch_here(shard, number, effects);
            } else {
                effects.push(Effect::Mail { to: shard, mail: Mail::FetchCancel { request: number } });
            }
        }
    }

    fn answer_fetch(&mut self, number: RequestNumber, effects: &mut Effects<Mail>) {
        let Some(Waiting::Fetch(gather)) = self.requests.remove(number) else { return };
        let FetchGather { answer, correlation, parts, .. } = gather;
        let (parts, segments): (Vec<FetchedPart>, Vec<Vec<Segment>>) = parts.into_iter().unzip();
        let payload: u64 = parts.iter().map(|part| u64::from(part.length)).sum();
        let payload = u32::try_from(payload).expect("answers are bounded far below 4 GiB");
        let head =
            frame::encode(Api::Fetch.number(), true, 0, correlation, &FetchResponse { parts }, payload);
        let head = Segment { bytes: head, owner: None };
        let segments = core::iter::once(head).chain(segments.into_iter().flatten()).collect();
        if let Some(connection) = self.connections.get_mut(&answer.connection) {
            connection.set_fetch(None);
        }
        self.answer(answer, segments, effects);
    }

    fn end_wait(&mut self, number: RequestNumber, here: &FetchHere) {
        self.requests.clear_deadline(here.deadline, number);
        for partition in here.partitions() {
            self.store.unwatch(partition, ticket(number, 0));
        }
    }

    /// Whether a share can be served without waiting: enough bytes, or an error to tell.
    fn is_enough(&self, here: &FetchHere) -> bool {
        let mut readable = 0;
        for (_, part) in &here.parts {
            match self.readable(part) {
                Ok(partition) => {
                    readable +=
                        partition.readable_bytes(part.offset, here.bytes_min - readable.min(here.bytes_min));
                }
                Err(_) => return true,
            }
        }
        readable >= here.bytes_min
    }

    /// Whether there is something to read for a share.
    fn has_records(&self, here: &FetchHere) -> bool {
        here.parts.iter().any(|(_, part)| {
            self.readable(part).is_ok_and(|partition| partition.readable_bytes(part.offset, 1) > 0)
        })
    }

    /// Reads a share and hands it to the shard that gathers; first out of segments what lies only there. Waits if too
    /// much of this shard's memory is out.
    fn serve_fetch(&mut self, here: FetchHere, effects: &mut Effects<Mail>) {
        match self.lending.allowance() {
            Allowance::Bytes(bytes) => self.serve_within(here, bytes, effects),
            // Where nothing is to be given nothing is waited for, and who stops must not wait for clients that do not read.
            Allowance::Wait if self.life != Life::Serving || !self.has_records(&here) => {
                self.serve_without_waiting(here, effects);
            }
            Allowance::Wait => {
                let number = self.requests.insert(Waiting::FetchHere(here));
                self.lending.wait(number);
            }
        }
    }

    /// Serves the shares of fetches that waited for memory, as far as it has come back. Whether there was one.
    pub(super) fn poll_lending(&mut self, effects: &mut Effects<Mail>) -> bool {
        let mut has_served = false;
        while let Some((number, bytes)) = self.lending.poll_admitted() {
            let Some(Waiting::FetchHere(here)) = self.requests.remove(number) else {
                unreachable!("a share that waits for memory waits for nothing else")
            };
            self.serve_within(here, bytes, effects);
            has_served = true;
        }
        has_served
    }

    fn serve_within(&mut self, mut here: FetchHere, bytes: usize, effects: &mut Effects<Mail>) {
        here.bytes_max = here.bytes_max.min(bytes);
        let reads_max = (here.bytes_max / SEGMENT_READ_BYTES).clamp(1, SEGMENT_READS_MAX);
        let in_segments: Vec<usize> = (0..here.parts.len())
            .filter(|&place| self.lies_in_segment(&here.parts[place].1))
            .take(reads_max)
            .collect();
        if in_segments.is_empty() {
            self.hand_over(&here, &BTreeMap::new(), effects);
        } else {
            self.read_segments(here, &in_segments, effects);
        }
    }

    /// Gathers what was `found` in segments, by place in the share, and what lies in memory, and hands it over.
    pub(super) fn hand_over(
        &mut self,
        here: &FetchHere,
        found: &BTreeMap<usize, Result<Bytes, ErrorCode>>,
        effects: &mut Effects<Mail>,
    ) {
        let mut fetched: FetchedParts = Vec::with_capacity(here.parts.len());
        let mut total = found.values().flatten().map(Bytes::len).sum();
        for (index, (place, part)) in here.parts.iter().enumerate() {
            let room = here.bytes_max.saturating_sub(total).min(part.bytes_max as usize);
            let mut batches: Vec<Bytes> = Vec::new();
            let read = match found.get(&index) {
                Some(Ok(bytes)) => {
                    batches.extend(Some(bytes.clone()).filter(|bytes| !bytes.is_empty()));
                    Ok(bytes.len())
                }
                Some(Err(code)) => Err(*code),
                None => {
                    let one_at_least = total == 0 && part.bytes_max > 0;
                    self.read_memory(part, room, one_at_least, &mut batches).inspect(|bytes| total += bytes)
                }
            };
            let marks = read.and_then(|bytes| self.readable(part).map(|partition| (bytes, partition)));
            let fetched_part = match marks {
                Ok((bytes, partition)) => FetchedPart {
                    error: 0,
                    high_watermark: partition.high_watermark(),
                    log_start: partition.log_start(),
                    length: u32::try_from(bytes).expect("answers are bounded far below 4 GiB"),
                },
                Err(code) => {
                    batches.clear();
                    self.fetch_error(PartitionId::new(part.topic, part.partition), code)
                }
            };
            self.lending.lend(batches.iter().map(Bytes::len).sum());
            fetched.push((*place, fetched_part, batches));
        }
        if here.shard == self.identity.shard {
            self.handle_fetched(here.shard, here.request, fetched, effects);
        } else {
            let mail = Mail::Fetched { request: here.request, parts: fetched };
            effects.push(Effect::Mail { to: here.shard, mail });
        }
    }

    /// What lies in memory; nothing of what would have to be read out of a segment.
    fn read_memory(
        &self,
        part: &FetchPart,
        room: usize,
        one_at_least: bool,
        batches: &mut Vec<Bytes>,
    ) -> Result<usize, ErrorCode> {
        self.readable(part)?;
        let id = PartitionId::new(part.topic, part.partition);
        match self.store.read(id, part.offset, room, one_at_least, batches)? {
            Read::Given(bytes) => Ok(bytes),
            Read::InSegment => Ok(0),
        }
    }

    fn fetch_error(&self, id: PartitionId, code: ErrorCode) -> FetchedPart {
        let (high_watermark, log_start) =
            self.store.partition(id).map_or((Offset(-1), Offset(-1)), |partition| {
                (partition.high_watermark(), partition.log_start())
            });
        FetchedPart { error: code.number(), high_watermark, log_start, length: 0 }
    }

    /// The partition, if the client may read it where it wants to (KIP-320).
    pub(super) fn readable(&self, part: &FetchPart) -> Result<&Partition, ErrorCode> {
        let id = PartitionId::new(part.topic, part.partition);
        self.catalog.topic_of(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let partition = self.store.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if part.leader_epoch > partition.leader_epoch() {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if part.leader_epoch >= LeaderEpoch(0) && part.leader_epoch < partition.leader_epoch() {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if part.offset < partition.log_start() || part.offset > partition.high_watermark() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(partition)
    }
}

impl FetchGather {
    /// Whether a share came with more than nothing: then it had its part of what was wanted, and the rest are not
    /// waited for.
    fn has_something(&self) -> bool {
        self.parts.iter().any(|(part, _)| part.error != 0 || part.length > 0)
    }
}
