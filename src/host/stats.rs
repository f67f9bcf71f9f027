//! What the shards of this node hold and have done: asked of any of them, gathered from all.

use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::ConnectionId;
use ringmain_shard::store::{MemoryOwner, StoreCounters};
use ringmain_wire::ids::ShardId;
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::{self, Api, Frame};
use ringmain_wire::native::messages::{Counter, MemoryUse, ShardStats, StatsRequest, StatsResponse};

use super::ShardHost;
use super::connection::AnswerKey;
use super::dispatch::Flow;
use super::mail::{Mail, RequestNumber};
use super::peers::Asking;
use super::requests::Waiting;

/// A question about several shards, on its way through them.
#[derive(Debug)]
pub(super) struct StatsGather {
    answer: AnswerKey,
    correlation: u32,
    /// Told so far.
    shards: Vec<ShardStats>,
    missing: usize,
}

impl ShardHost {
    pub(super) fn stats(&mut self, id: ConnectionId, frame: &Frame<'_>, effects: &mut Effects<Mail>) -> Flow {
        let Some(request) = self.decode::<StatsRequest>(id, frame) else { return Flow::Next };
        let all = (0..self.identity.shards).map(ShardId);
        let wanted: Vec<ShardId> = match request.shards {
            None => all.collect(),
            Some(shards) => all.filter(|shard| shards.contains(shard)).collect(),
        };
        let header = frame.header;
        if wanted.is_empty() {
            let problem =
                format!("none of the shards asked for is one of this node's {}", self.identity.shards);
            self.refuse(id, header.api, header.correlation, ErrorCode::InvalidRequest, &problem);
            return Flow::Next;
        }
        let others: Vec<ShardId> =
            wanted.iter().copied().filter(|&shard| shard != self.identity.shard).collect();
        for &shard in &others {
            if !self.peers.has_room(shard, Asking::Request, 1) {
                self.peers.stall(shard, Asking::Request, id);
                return Flow::Wait;
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Flow::Next };
        let number = self.requests.insert(Waiting::Stats(StatsGather {
            answer: connection.reserve_answer(),
            correlation: header.correlation,
            shards: Vec::new(),
            missing: wanted.len(),
        }));
        for &shard in &others {
            self.peers.handle_asked(shard, Asking::Request);
            effects.push(Effect::Mail { to: shard, mail: Mail::AskStats { request: number } });
        }
        if others.len() < wanted.len() {
            let here = self.stats_here();
            self.handle_stats(number, here);
        }
        Flow::Next
    }

    /// A shard has told; answers when it was the last.
    pub(super) fn handle_stats(&mut self, number: RequestNumber, stats: ShardStats) {
        let Some(Waiting::Stats(gather)) = self.requests.get_mut(number) else {
            unreachable!("a shard told twice");
        };
        gather.shards.push(stats);
        gather.missing -= 1;
        if gather.missing > 0 {
            return;
        }
        if let Some(Waiting::Stats(mut gather)) = self.requests.remove(number) {
            gather.shards.sort_by_key(|stats| stats.shard);
            let response = StatsResponse {
                cluster_id: self.identity.cluster_id,
                node: self.identity.node,
                broker_version: env!("CARGO_PKG_VERSION").to_owned(),
                shards: gather.shards,
            };
            let bytes = frame::encode(Api::Stats.number(), true, 0, gather.correlation, &response, 0);
            self.answer_own(gather.answer, bytes);
        }
    }

    /// What this shard holds and has done.
    pub(super) fn stats_here(&self) -> ShardStats {
        let owners = [self.connection_memory(), self.frame_room.memory(), self.lending.memory()];
        let memory = self.store.memory().into_iter().chain(owners).map(|owner| MemoryUse {
            owner: owner.name.to_owned(),
            bytes: owner.bytes as u64,
            bytes_max: owner.bytes_max.map(|bytes| bytes as u64),
        });
        ShardStats { shard: self.identity.shard, memory: memory.collect(), counters: self.counters() }
    }

    /// What connections hold that is counted nowhere else: small frames, and answers that carry no records.
    fn connection_memory(&self) -> MemoryOwner {
        let held = self.connections.iter().map(|(&id, connection)| {
            let is_in_room = self.frame_room.is_held_by(id);
            connection.made_bytes() + if is_in_room { 0 } else { connection.received_bytes() }
        });
        MemoryOwner { name: "connections", bytes: held.sum(), bytes_max: None }
    }

    fn counters(&self) -> Vec<Counter> {
        let segments = || self.store.partitions().map(|partition| partition.segments());
        let StoreCounters {
            batches,
            batch_bytes,
            duplicates,
            groups,
            group_bytes,
            log_syncs,
            settled_bytes,
            carried,
            log_files_recycled,
            segment_reads,
            segments_inspected,
            segments_damaged,
            scrub_passes,
            inspections_failed,
            inspections_unavailable,
            index_files_written,
            index_files_read,
        } = self.store.counters();
        let counters = [
            ("connections", self.connections.len() as u64),
            ("connections_cut_off_total", self.patience.cut_off()),
            ("storage_faults_total", self.faults.met()),
            ("fetches_held_back_total", self.lending.waits()),
            ("partitions", self.store.partitions().count() as u64),
            (
                "partitions_damaged",
                self.store.partitions().filter(|partition| partition.is_damaged()).count() as u64,
            ),
            ("disk_full", u64::from(self.store.is_disk_full())),
            ("log_bytes", self.store.log_bytes()),
            ("log_bytes_max", self.store.log_bytes_max()),
            ("segments", segments().map(|segments| segments.extents().len() as u64).sum()),
            ("segment_bytes", segments().map(|segments| segments.bytes()).sum()),
            ("batches_appended_total", batches),
            ("batch_bytes_appended_total", batch_bytes),
            ("batches_duplicate_total", duplicates),
            ("log_groups_total", groups),
            ("log_group_bytes_total", group_bytes),
            ("log_syncs_total", log_syncs),
            ("settled_bytes_total", settled_bytes),
            ("batches_carried_total", carried),
            ("log_files_recycled_total", log_files_recycled),
            ("segment_reads_total", segment_reads),
            ("segments_inspected_total", segments_inspected),
            ("segments_damaged_total", segments_damaged),
            ("scrub_passes_total", scrub_passes),
            ("inspections_failed_total", inspections_failed),
            ("inspections_unavailable_total", inspections_unavailable),
            ("index_files_written_total", index_files_written),
            ("index_files_read_total", index_files_read),
        ];
        counters.into_iter().map(|(name, value)| Counter { name: name.to_owned(), value }).collect()
    }
}
