//! What operators do: cut suffixes and let prefixes go, on whichever shard owns the partition.

use std::collections::BTreeMap;

use ringmain_client::core::RecordTag;
use ringmain_shard::effect::Effects;
use ringmain_wire::ids::{Offset, PartitionId};
use ringmain_wire::native::errors::ErrorCode;

use super::MILLISECOND;
use super::checker::Violation;
use super::plan::Ending;
use super::queue::Happening;
use super::stored;
use super::world::{Phase, Step, World};

/// Records of a partition, with their offsets.
pub(super) type Contents = Vec<(Offset, RecordTag)>;

impl World {
    /// An operator does something to a partition.
    pub(super) fn operate(&mut self) -> Step {
        if self.phase != Phase::Active {
            return Ok(());
        }
        if let Some((shard, id)) = self.any_partition() {
            let truncates = match (self.plan.truncations, self.plan.log_starts) {
                (true, true) => self.random.workload.chance(600),
                (truncations, _) => truncations,
            };
            if truncates {
                self.truncate(shard, id)?;
            } else {
                self.move_log_start(shard, id);
            }
            self.wake_shard(shard);
        }
        let gap = self.random.workload.between(2, 60) * MILLISECOND;
        self.after(gap, Happening::Operate);
        Ok(())
    }

    /// Lets all records go, so that there is memory for more.
    pub(super) fn make_room(&mut self) {
        for shard in 0..self.node.shards().len() as u16 {
            let host = &mut self.node.shard(shard).host;
            let full: Vec<(PartitionId, Offset)> = host
                .store()
                .partitions()
                .filter(|partition| partition.id() != PartitionId::METADATA)
                .filter(|partition| partition.high_watermark() > partition.log_start())
                .map(|partition| (partition.id(), partition.high_watermark()))
                .collect();
            for (id, offset) in full {
                if host.move_log_start(id, offset).is_ok() {
                    self.checker.handle_log_start(id, offset);
                }
            }
            self.wake_shard(shard);
        }
    }

    fn any_partition(&mut self) -> Option<(u16, PartitionId)> {
        let shards = self.node.shards().len() as u64;
        if shards == 0 {
            return None;
        }
        let shard = self.random.workload.below(shards) as u16;
        let host = &self.node.shard(shard).host;
        let partitions: Vec<PartitionId> = host
            .store()
            .partitions()
            .filter(|partition| partition.end() > Offset::ZERO && partition.id() != PartitionId::METADATA)
            .map(|partition| partition.id())
            .collect();
        (!partitions.is_empty()).then(|| (shard, *self.random.workload.pick(&partitions)))
    }

    fn truncate(&mut self, shard: u16, id: PartitionId) -> Step {
        let contents = self.contents(shard, id)?;
        let Some(partition) = self.node.shard(shard).host.store().partition(id) else { return Ok(()) };
        let (log_start, end) = (partition.log_start(), partition.end());
        let settled_end = partition.settled_end();
        let stored = (end.get() - log_start.get()) as u64;
        let reach = if self.random.workload.chance(700) { stored.min(8) } else { stored };
        let offset = Offset(end.get() - self.random.workload.below(reach + 1) as i64);
        let mut effects = Effects::new();
        let shard_here = self.node.shard(shard);
        let cut = shard_here.host.truncate(id, offset, &mut effects);
        shard_here.unasked.append(&mut effects);
        match cut {
            Ok(Some(cut)) => self.truncated(shard, id, cut, cut < end, contents),
            // Where it really cuts has to be found out first.
            Ok(None) => {
                shard_here.cuts_wanted.push(id);
                self.met.truncations_in_segments += 1;
            }
            Err(_) => return Ok(()),
        }
        self.met.truncations_below_settled += u64::from(offset < settled_end);
        if self.random.workload.chance(150) {
            let ending = if self.random.workload.chance(500) { Ending::Kill } else { Ending::PowerLoss };
            self.node.arm(ending);
        }
        Ok(())
    }

    /// What partitions hold of which a suffix may be cut in the shard's next turn.
    pub(super) fn contents_before_cuts(
        &mut self,
        shard: u16,
    ) -> Result<BTreeMap<PartitionId, Contents>, Violation> {
        let wanted = self.node.shard(shard).cuts_wanted.clone();
        wanted.into_iter().map(|id| Ok((id, self.contents(shard, id)?))).collect()
    }

    /// Cuts that took a while.
    pub(super) fn hear_of_truncations(
        &mut self,
        shard: u16,
        before: &BTreeMap<PartitionId, Contents>,
    ) -> Step {
        while let Some((id, cut)) = self.node.shard(shard).host.poll_truncated() {
            let wanted = &mut self.node.shard(shard).cuts_wanted;
            if let Some(place) = wanted.iter().position(|wanted| *wanted == id) {
                wanted.remove(place);
            }
            match cut {
                Ok(cut) => {
                    self.truncated(shard, id, cut, true, before.get(&id).cloned().unwrap_or_default());
                }
                Err(ErrorCode::PartitionDamaged) => self.judge_truncation_refused(id)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Everything that a partition holds, shown or about to be.
    pub(super) fn contents(&mut self, shard: u16, id: PartitionId) -> Result<Contents, Violation> {
        let Some(partition) = self.node.shards()[usize::from(shard)].host.store().partition(id) else {
            return Ok(Contents::new());
        };
        let batches = stored::batches(&self.disk, partition, partition.end())?;
        self.checker.records_in(id, &batches)
    }

    fn truncated(&mut self, shard: u16, id: PartitionId, cut: Offset, cuts: bool, contents: Contents) {
        self.checker.handle_truncation(id, cut, contents);
        self.met.truncations += u64::from(cuts);
        self.node.truncating = Some(shard);
        self.note("truncate", [u64::from(shard), cut.get() as u64, 0]);
    }

    fn move_log_start(&mut self, shard: u16, id: PartitionId) {
        let host = &mut self.node.shard(shard).host;
        let Some(partition) = host.store().partition(id) else { return };
        let (log_start, high_watermark) = (partition.log_start(), partition.high_watermark());
        if high_watermark < log_start {
            return;
        }
        let stored = (high_watermark.get() - log_start.get()) as u64;
        let offset = Offset(log_start.get() + self.random.workload.below(stored + 1) as i64);
        if host.move_log_start(id, offset).is_ok() {
            self.checker.handle_log_start(id, offset);
            self.met.log_starts += 1;
            self.note("move log start", [u64::from(shard), offset.get() as u64, 0]);
        }
    }
}
