//! The node's process: how it starts on what the disk holds, and the ways in which it ends.

use std::collections::BTreeSet;

use ringmain::boot::verify::{FindingKind, verify};
use ringmain::boot::{BootError, BootOptions, Booted, Entropy, boot};
use ringmain::host::{HostConfig, Identity, ShardHost};
use ringmain_shard::effect::StopReason;
use ringmain_shard::partition::Partition;
use ringmain_shard::store::StoreConfig;
use ringmain_wal::commit::GroupCommitConfig;
use ringmain_wal::group::{LogId, LogSalt};
use ringmain_wire::ids::{LeaderEpoch, NodeId, PartitionId, ShardId, TopicId};
use ringmain_wire::native::messages::ShardEndpoint;

use super::MILLISECOND;
use super::carrier::{Arrival, Shard};
use super::checker::Violation;
use super::directory::{SimDirectory, Trouble};
use super::disk::Loss;
use super::log_image::{Group, LogImage, oldest_needed_generation};
use super::plan::Ending;
use super::queue::Happening;
use super::stored;
use super::world::{Phase, Step, World};

/// Port that all shards share.
pub(super) const SHARED_PORT: u16 = 7092;
/// Port of shard 0; the others follow.
pub(super) const SHARD_PORT: u16 = 7100;
/// Shards of a node that nobody gave another number.
const SHARDS: u16 = 2;

/// The one node.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// None while it is down.
    shards: Vec<Shard>,
    starts: u64,
    shards_before: Option<u16>,
    salt: LogSalt,
    /// Ends at one of the next effects.
    armed: Option<Ending>,
    stopping: bool,
    given_up: bool,
    /// Bits were flipped.
    flipped: bool,
    /// In these groups, which were durable for certain: no start may take that for a torn tail.
    rotten: Vec<Group>,
    /// A start since the node last served has told of a cut.
    cut_told: bool,
    /// An operation on the disk has failed in this start.
    pub(super) disk_failed: bool,
    /// A truncation of that shard may not be durable.
    pub(super) truncating: Option<u16>,
    /// Partitions whose records this start found in the logs, with the end it found.
    recovered: Vec<(PartitionId, i64)>,
}

impl Node {
    /// A shard of the node, which is up.
    pub(super) fn shard(&mut self, index: u16) -> &mut Shard {
        &mut self.shards[usize::from(index)]
    }

    /// All shards; none while it is down.
    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Whether it runs.
    pub(super) fn has_shards(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Whether it does not run.
    pub(super) fn is_down(&self) -> bool {
        self.shards.is_empty()
    }

    /// Whether that start still runs.
    pub(super) fn is_up(&self, start: u64) -> bool {
        self.has_shards() && self.starts == start
    }

    /// Number of this start.
    pub(super) fn start(&self) -> u64 {
        self.starts
    }

    /// Whether it can never start again, and has said so.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Whether it accepts connections.
    pub(super) fn is_serving(&self) -> bool {
        self.has_shards() && self.shards.iter().all(|shard| shard.host.is_ready() && shard.stopped.is_none())
    }

    /// The data directory's secret.
    pub(super) fn salt(&self) -> LogSalt {
        self.salt
    }

    /// It will end at one of its next effects.
    pub(super) fn arm(&mut self, ending: Ending) {
        self.armed = Some(ending);
    }

    /// No more faults.
    pub(super) fn heal(&mut self) {
        self.armed = None;
    }

    /// Whether that offset was there when the node started.
    pub(super) fn had_recovered(&self, partition: PartitionId, offset: i64) -> bool {
        self.recovered.iter().any(|&(id, end)| id == partition && offset < end)
    }

    /// A partition on whichever shard owns it.
    pub(super) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.shards.iter().find_map(|shard| shard.host.store().partition(id))
    }

    /// The topics, as shard 0 knows them.
    pub(super) fn topics(&self) -> BTreeSet<TopicId> {
        let catalog = self.shards.first().map(|shard| shard.host.catalog());
        catalog.into_iter().flat_map(|catalog| catalog.topics()).map(|topic| topic.id).collect()
    }
}

impl World {
    /// The node starts.
    pub(super) fn boot(&mut self) -> Step {
        if self.node.has_shards() || self.node.given_up {
            return Ok(());
        }
        let active = self.phase == Phase::Active;
        if self.plan.rot && active && self.node.starts > 0 {
            self.flip_bits();
        }
        if self.plan.segment_rot && active && self.node.starts > 0 && self.random.disk.chance(500) {
            self.flip_in_segments();
        }
        let vary = self.plan.shards_vary && self.random.process.chance(600);
        let before = self.node.shards_before.unwrap_or(SHARDS);
        let shards = if vary { self.random.process.between(1, 3) as u16 } else { before };
        let ends_in = active && self.plan.boot_crashes && self.random.process.chance(350);
        let steps_left = ends_in.then(|| self.random.process.below(10));
        let errors = if active { self.plan.disk_errors } else { 0 };
        let options = BootOptions {
            node: NodeId(1),
            shards,
            tail_bytes_max: self.plan.boot_tail_bytes_max,
            now: self.wall(),
            entropy: Entropy {
                cluster_id: self.random.process.bytes(),
                disk_id: self.random.process.bytes(),
                salt: LogSalt(self.random.process.number()),
            },
        };
        let oldest = oldest_needed_generation(&self.disk);
        let rot_expected = self.node.rotten.iter().any(|group| group.generation() >= oldest);
        self.verify()?;
        let mut directory = SimDirectory::new(&mut self.disk, &mut self.random.disk, steps_left, errors);
        let mut cut_told = false;
        let booted = boot(&mut directory, options, &mut |report| cut_told = !report.cuts.is_empty());
        let trouble = directory.trouble;
        self.node.cut_told |= cut_told;
        self.note(
            "boot",
            [u64::from(shards), u64::from(booted.is_ok()), trouble.map_or(9, |trouble| trouble as u64)],
        );
        match booted {
            Ok(booted) => self.serve(booted, shards, rot_expected),
            Err(error) => self.boot_failed(&error, trouble),
        }
    }

    /// What a look through the directory tells before the start: where nothing rotted, nothing is damaged but what a loss of
    /// power leaves of a copy that was being written.
    fn verify(&mut self) -> Step {
        self.rot.forget_told();
        if self.node.flipped || self.has_metadata_rotted() {
            return Ok(());
        }
        let read_errors = core::mem::take(&mut self.disk.read_errors);
        let mut directory = SimDirectory::new(&mut self.disk, &mut self.random.disk, None, 0);
        let mut damage = None;
        let verified = verify(&mut directory, &mut |finding| {
            if finding.kind == FindingKind::SegmentDamaged && self.rot.has_hit_file(&finding.path) {
                self.rot.handle_told(&finding.path);
            } else if finding.kind.is_damage() && finding.kind != FindingKind::CopyDamaged {
                damage.get_or_insert(finding);
            }
            Ok(())
        });
        self.disk.read_errors = read_errors;
        match damage {
            None if verified.is_ok() => Ok(()),
            damage => {
                let what = format!("damage is told where nothing rotted: {damage:?}");
                Err(Violation { invariant: "I14", what })
            }
        }
    }

    fn boot_failed(&mut self, error: &BootError, trouble: Option<Trouble>) -> Step {
        match trouble {
            Some(Trouble::Ended) => {
                self.met.boot_crashes += 1;
                if self.random.process.chance(500) {
                    self.lose_power();
                }
            }
            Some(Trouble::Failed) => self.met.boots_failed += 1,
            Some(Trouble::Full) => {}
            None if self.node.flipped && matches!(error, BootError::MetadataDamaged)
                || self.has_metadata_rotted() && matches!(error, BootError::MetadataSegment(_)) =>
            {
                self.met.rot += 1;
                self.node.given_up = true;
                return Ok(());
            }
            None => {
                let what = format!("the node does not start: {error}");
                return Err(Violation { invariant: "liveness", what });
            }
        }
        self.start_again();
        Ok(())
    }

    /// What the logs gave is judged before anybody is served.
    fn serve(&mut self, booted: Booted, shards: u16, rot_expected: bool) -> Step {
        self.met.starts += 1;
        self.met.boots_relieved += u64::from(booted.report.settled);
        self.met.cuts += booted.report.cuts.len() as u64;
        self.met.rot += booted.report.rot.len() as u64;
        self.met.damaged += booted.damaged.len() as u64;
        self.met.shard_changes += u64::from(self.node.shards_before.is_some_and(|before| before != shards));
        if rot_expected && booted.report.rot.is_empty() {
            let what = format!("rot below a mark is not reported; cut instead: {:?}", booted.report.cuts);
            return Err(Violation { invariant: "I14", what });
        }
        if self.node.flipped && self.node.cut_told {
            // What rotted may have been above the last mark on disk: gone, and said so.
            self.node.given_up = true;
            return Ok(());
        }
        if !self.node.flipped && !booted.report.rot.is_empty() {
            let what = format!("rot is reported where nothing rotted: {:?}", booted.report.rot);
            return Err(Violation { invariant: "I14", what });
        }
        let epoch = booted.leader_epoch();
        self.checker.handle_started(epoch)?;
        self.checker.check_topics(&booted.catalog.topics().map(|topic| topic.id).collect())?;
        self.node.cut_told = false;
        let rot_reported = !booted.report.rot.is_empty();
        self.node.recovered.clear();
        for partition in booted.partitions.iter().flatten() {
            self.node.recovered.push((partition.id(), partition.end().get()));
            if !self.node.flipped && !self.has_metadata_rotted() {
                self.check_rot_told(partition)?;
            }
            match stored::batches(&self.disk, partition, partition.high_watermark()) {
                Ok(stored) => self.checker.check_contents(partition, &stored, true, rot_reported)?,
                Err(_) if partition.is_damaged() && rot_reported => self.checker.handle_unreadable(partition),
                Err(gone) => return Err(gone),
            }
        }
        if matches!(self.phase, Phase::Stopping { .. }) {
            self.phase = Phase::Done;
            return Ok(());
        }
        self.node.starts += 1;
        self.node.shards_before = Some(shards);
        self.node.salt = booted.superblock.log_salt;
        self.node.disk_failed = false;
        self.node.stopping = false;
        self.node.truncating = None;
        self.rot.handle_started();
        self.make_shards(booted, epoch, shards);
        for shard in 0..shards {
            self.wake_shard(shard);
        }
        Ok(())
    }

    fn make_shards(&mut self, booted: Booted, leader_epoch: LeaderEpoch, shards: u16) {
        let port = |shard| if self.plan.shared_port { SHARED_PORT } else { SHARD_PORT + shard };
        let endpoints: Vec<ShardEndpoint> =
            (0..shards).map(|shard| ShardEndpoint { shard: ShardId(shard), port: port(shard) }).collect();
        let seed = self.random.process.number();
        let mut former_logs = Some(booted.former_logs);
        for (index, partitions) in (0..shards).zip(booted.partitions) {
            let identity = Identity {
                cluster_id: booted.superblock.cluster_id,
                node: NodeId(1),
                shard: ShardId(index),
                shards,
                endpoints: endpoints.clone(),
                frame_bytes_max: 1 << 20,
                seed,
            };
            let commit = GroupCommitConfig {
                group_bytes_max: 32 << 10,
                entry_bytes_max: 64 << 10,
                groups_in_flight_max: self.plan.groups_in_flight_max,
                chunk_bytes: 64 << 10,
                first_file_bytes: 32 << 10,
                file_bytes: 128 << 10,
                log_bytes_max: self.plan.log_bytes_max,
                ..GroupCommitConfig::new(
                    booted.superblock.generation,
                    LogId(index),
                    booted.superblock.log_salt,
                )
            };
            let store = StoreConfig {
                commit,
                leader_epoch,
                tail_bytes_max: self.plan.tail_bytes_max,
                gathered_bytes_max: 1 << 20,
                settle: self.plan.settle.clone(),
                upkeep: self.plan.upkeep.clone(),
            };
            let host = ShardHost::new(HostConfig {
                identity,
                store,
                lent_bytes_max: self.plan.lent_bytes_max,
                catalog: booted.catalog.clone(),
                partitions,
                damaged: booted.damaged.clone(),
                former_logs: former_logs.take(),
            });
            self.node.shards.push(Shard::new(host, shards));
        }
    }

    /// Something wants the node to end.
    pub(super) fn end_wanted(&mut self, index: usize) -> Step {
        let (_, ending) = self.plan.endings[index];
        if self.phase != Phase::Active {
            return Ok(());
        }
        match ending {
            Ending::PowerLoss if self.node.is_down() => {
                self.lose_power();
            }
            _ if self.node.is_down() => {}
            Ending::Shutdown => self.ask_to_stop(),
            ending => self.node.arm(ending),
        }
        Ok(())
    }

    /// Asks every shard to stop.
    pub(super) fn ask_to_stop(&mut self) {
        self.note("stop asked for", [0; 3]);
        self.node.stopping = true;
        for shard in 0..self.node.shards.len() as u16 {
            self.arrived(shard, Arrival::Shutdown);
        }
    }

    /// Whether the node ends here, before its next effect; more likely while something is being written.
    pub(super) fn ends_here(&mut self) -> Result<bool, Violation> {
        let Some(ending) = self.node.armed else { return Ok(false) };
        let chance = if self.disk.durable_writes_in_flight() > 0 { 200 } else { 10 };
        let ends = self.random.process.chance(chance);
        if ends {
            self.end_node(ending);
        }
        Ok(ends)
    }

    /// A shard has left its loop.
    pub(super) fn shard_stopped(&mut self, index: u16, reason: StopReason) -> Step {
        self.note("shard stopped", [u64::from(index), u64::from(reason == StopReason::Shutdown), 0]);
        match &reason {
            StopReason::StorageFailed { message } if !self.node.disk_failed => {
                let what = format!("shard {index} stopped for its storage, which had not failed: {message}");
                return Err(Violation { invariant: "liveness", what });
            }
            StopReason::StorageFailed { .. } => {
                self.met.storage_stops += 1;
                self.end_node(Ending::Kill);
                return Ok(());
            }
            StopReason::Shutdown if !self.node.stopping => {
                let what = format!("shard {index} stopped unasked");
                return Err(Violation { invariant: "liveness", what });
            }
            StopReason::Shutdown => self.node.shard(index).stopped = Some(reason),
        }
        if self.node.shards.iter().all(|shard| shard.stopped.is_some()) {
            if self.disk.durable_writes_in_flight() > 0 {
                let what = "the node stopped in order with log groups being written".to_owned();
                return Err(Violation { invariant: "I14", what });
            }
            self.met.shutdowns += 1;
            self.end_node(Ending::Shutdown);
        }
        Ok(())
    }

    fn end_node(&mut self, ending: Ending) {
        self.note("node ends", [ending as u64, self.disk.durable_writes_in_flight() as u64, 0]);
        self.node.armed = None;
        self.disk_work.clear();
        self.note_relaxed();
        let loss = match ending {
            Ending::Kill | Ending::Shutdown => self.disk.handle_kill(),
            Ending::PowerLoss => self.lose_power(),
        };
        match ending {
            Ending::Kill => self.met.kills += 1,
            Ending::PowerLoss => self.met.power_losses += 1,
            Ending::Shutdown => {}
        }
        self.met.torn_groups += loss.torn;
        self.met.stale_files += loss.stale;
        self.met.crash_with_groups_in_flight += u64::from(loss.in_flight > 0);
        if ending == Ending::Kill
            && loss.in_flight > 0
            && self.random.process.chance(self.plan.write_back_errors)
        {
            self.disk.fail_write_back(&mut self.random.disk);
            self.met.write_backs_failed += 1;
        }
        self.met.truncations_interrupted += u64::from(self.node.truncating.is_some());
        for shard in &self.node.shards {
            let counters = shard.host.store().counters();
            self.met.fetches_held_back += shard.host.fetches_held_back();
            self.met.settled_bytes += counters.settled_bytes;
            self.met.carried += counters.carried;
            self.met.log_files_recycled += counters.log_files_recycled;
            self.met.segment_reads += counters.segment_reads;
            self.met.segments_inspected += counters.segments_inspected;
            self.met.index_files_written += counters.index_files_written;
            self.met.index_files_read += counters.index_files_read;
        }
        self.node.shards.clear();
        self.reset_links();
        let is_last = matches!(self.phase, Phase::Stopping { .. });
        if is_last || (ending == Ending::Kill && self.random.process.chance(150)) {
            self.lose_power();
        }
        self.start_again();
    }

    /// What relaxed partitions hold: a loss of power may take some of it, and answers from before may still arrive.
    fn note_relaxed(&mut self) {
        for shard in 0..self.node.shards.len() as u16 {
            let partitions = self.node.shards[usize::from(shard)].host.store().partitions();
            let ids: Vec<PartitionId> =
                partitions.map(Partition::id).filter(|id| self.checker.may_be_relaxed(*id)).collect();
            for id in ids {
                // What cannot be read is judged where it is served.
                if let Ok(held) = self.contents(shard, id) {
                    self.checker.handle_ending(id, held);
                }
            }
        }
    }

    fn lose_power(&mut self) -> Loss {
        self.checker.handle_power_loss();
        if self.node.rotten.is_empty() {
            return self.disk.handle_power_loss(&mut self.random.disk);
        }
        let before = LogImage::of(&self.disk, self.node.salt);
        let loss = self.disk.handle_power_loss(&mut self.random.disk);
        let after = LogImage::of(&self.disk, self.node.salt);
        // A mark that stood in the cache only is gone with it, and nothing is left that tells the rot from a torn tail.
        self.node.rotten.retain(|group| !before.tells_durable(group) || after.tells_durable(group));
        loss
    }

    fn start_again(&mut self) {
        let pause = match self.phase {
            Phase::Active => self.random.process.between(1, 60) * MILLISECOND,
            _ => MILLISECOND,
        };
        self.after(pause, Happening::Boot);
    }

    fn flip_bits(&mut self) {
        if !self.random.disk.chance(600) {
            return;
        }
        let before = LogImage::of(&self.disk, self.node.salt);
        let mut hit = Vec::new();
        for _ in 0..self.random.disk.between(1, 3) {
            if let Some((path, position)) = self.disk.flip_in_log(&mut self.random.disk) {
                self.note("bit flips", [position, 0, 0]);
                self.met.flips += 1;
                self.node.flipped = true;
                hit.push((path, position));
            }
        }
        let after = LogImage::of(&self.disk, self.node.salt);
        self.node.rotten.extend(before.rotten(&after, &hit));
        self.met.rot_expected += u64::from(!self.node.rotten.is_empty());
    }

    /// One shard stands still for a while.
    pub(super) fn pause(&mut self) {
        if self.phase != Phase::Active {
            return;
        }
        if self.node.has_shards() {
            let shard = self.random.process.below(self.node.shards.len() as u64) as u16;
            let until = self.now + self.random.process.between(1, 80) * MILLISECOND;
            self.node.shard(shard).paused_until = until;
            self.met.pauses += 1;
            self.note("shard pauses", [u64::from(shard), until, 0]);
        }
        let gap = self.random.process.between(10, 150) * MILLISECOND;
        self.after(gap, Happening::Pause);
    }

    /// All partitions, when all is at rest.
    pub(super) fn check_all_partitions(&mut self) -> Step {
        self.checker.check_topics(&self.node.topics())?;
        for shard in &self.node.shards {
            for partition in shard.host.store().partitions() {
                match stored::batches(&self.disk, partition, partition.high_watermark()) {
                    Ok(stored) => {
                        self.checker.check_contents(partition, &stored, false, self.node.flipped)?;
                    }
                    Err(_) if partition.is_damaged() && self.node.flipped => {}
                    Err(gone) => return Err(gone),
                }
            }
        }
        Ok(())
    }
}
