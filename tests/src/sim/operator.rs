//! What operators do: cut suffixes and let prefixes go, on whichever shard owns the partition.

use ringmain_wire::ids::{Offset, PartitionId};

use super::MILLISECOND;
use super::plan::Ending;
use super::queue::Happening;
use super::world::{Phase, Step, World};

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
        let host = &mut self.node.shard(shard).host;
        let Some(partition) = host.store().partition(id) else { return Ok(()) };
        let readable = self.checker.read(partition)?;
        let (log_start, end) = (partition.log_start(), partition.end());
        let stored = (end.get() - log_start.get()) as u64;
        let reach = if self.random.workload.chance(700) { stored.min(8) } else { stored };
        let offset = Offset(end.get() - self.random.workload.below(reach + 1) as i64);
        let Ok(cut) = host.truncate(id, offset) else { return Ok(()) };
        self.checker.handle_truncation(id, cut, readable);
        self.met.truncations += u64::from(cut < end);
        self.node.truncating = Some(shard);
        self.note("truncate", [u64::from(shard), cut.get() as u64, end.get() as u64]);
        if self.random.workload.chance(150) {
            let ending = if self.random.workload.chance(500) { Ending::Kill } else { Ending::PowerLoss };
            self.node.arm(ending);
        }
        Ok(())
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
