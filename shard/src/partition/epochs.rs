//! Where each leader's reign began: what truncation by epoch and clients' truncation detection rest on (KIP-101, KIP-320).

use ringmain_wire::ids::{LeaderEpoch, Offset};

/// (leader epoch, offset of its first record), both rising. Rebuilt from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochTable {
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl EpochTable {
    /// Its rows, oldest first.
    pub fn rows(&self) -> &[(LeaderEpoch, Offset)] {
        &self.starts
    }

    /// The newest epoch with a record.
    pub fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|&(epoch, _)| epoch)
    }

    /// The epoch under which the record at `offset` was appended.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|place| self.starts[place].0)
    }

    /// As much of it as says who led from `base` to below `end`.
    #[must_use]
    pub fn within(&self, base: Offset, end: Offset) -> Self {
        let before = self.starts.partition_point(|&(_, start)| start <= base);
        let after = self.starts.partition_point(|&(_, start)| start < end);
        Self { starts: self.starts[before.saturating_sub(1)..after.max(before)].to_vec() }
    }

    /// Takes note of an append.
    ///
    /// # Panics
    /// When `epoch` is older than the newest: an outdated leader must have been fenced before it reached the log.
    pub fn record(&mut self, epoch: LeaderEpoch, offset: Offset) {
        match self.last() {
            Some(last) if last == epoch => {}
            last => {
                assert!(last.is_none_or(|last| last < epoch), "leader epoch fell from {last:?} to {epoch}");
                self.starts.push((epoch, offset));
            }
        }
    }

    /// Forgets epochs that began at or above `end`.
    pub fn truncate(&mut self, end: Offset) {
        self.starts.retain(|&(_, start)| start < end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_epoch_of_an_offset_and_forgets_what_is_cut() {
        let mut table = EpochTable::default();
        table.record(LeaderEpoch(1), Offset(0));
        table.record(LeaderEpoch(1), Offset(5));
        table.record(LeaderEpoch(4), Offset(9));
        assert_eq!(table.at(Offset(8)), Some(LeaderEpoch(1)));
        assert_eq!(table.at(Offset(9)), Some(LeaderEpoch(4)));
        table.record(LeaderEpoch(5), Offset(20));
        for (base, end, epochs) in
            [(0, 9, 0..1), (3, 10, 0..2), (9, 20, 1..2), (19, 21, 1..3), (30, 40, 2..3)]
        {
            let within = table.within(Offset(base), Offset(end));
            assert_eq!(within.rows(), &table.rows()[epochs], "{base} to {end}");
            let mut offsets = (base..end).map(Offset);
            assert!(offsets.all(|offset| within.at(offset) == table.at(offset)));
        }
        assert_eq!(EpochTable::default().within(Offset(0), Offset(9)), EpochTable::default());
        table.truncate(Offset(9));
        assert_eq!(table.last(), Some(LeaderEpoch(1)));
        assert_eq!(EpochTable::default().at(Offset(0)), None);
    }
}
