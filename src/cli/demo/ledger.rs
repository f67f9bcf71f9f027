//! What the demo has sent, what was acknowledged, and what came back: nothing acknowledged may be missing or come twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmain_bench::latency::Latencies;
use ringmain_wire::ids::{Offset, PartitionIndex};

/// Orders whose fate is not known yet are remembered by number; of all others only how many.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    sent: u64,
    acknowledged: u64,
    failed: u64,
    consumed: u64,
    duplicated: u64,
    /// Records of others in the same topic.
    others: u64,
    /// Sent, and not both acknowledged and consumed yet.
    open: BTreeMap<u64, Open>,
    /// Where each partition has been read to.
    positions: BTreeMap<PartitionIndex, Offset>,
    to_acknowledged: Latencies,
    to_consumed: Latencies,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    sent: Instant,
    acknowledged: bool,
    consumed: bool,
}

impl Ledger {
    /// An order is on its way.
    pub(super) fn send(&mut self, order: u64, at: Instant) {
        self.sent += 1;
        self.open.insert(order, Open { sent: at, acknowledged: false, consumed: false });
    }

    /// It was acknowledged.
    pub(super) fn acknowledge(&mut self, order: u64, at: Instant) {
        self.acknowledged += 1;
        let after = self.advance(order, at, |open| open.acknowledged = true);
        self.to_acknowledged.record(nanoseconds(after));
    }

    /// It may or may not be stored.
    pub(super) fn fail(&mut self, order: u64) {
        self.failed += 1;
        self.open.remove(&order);
    }

    /// It came back.
    pub(super) fn consume(&mut self, order: u64, at: Instant) {
        let is_new = self.open.get(&order).is_some_and(|open| !open.consumed);
        if !is_new {
            // One that failed may well be stored, and come once; nobody was told that it would not.
            self.duplicated += u64::from(self.failed == 0);
            return;
        }
        self.consumed += 1;
        let after = self.advance(order, at, |open| open.consumed = true);
        self.to_consumed.record(nanoseconds(after));
    }

    /// A record came that is none of these.
    pub(super) fn meet_other(&mut self) {
        self.others += 1;
    }

    /// A partition has been read up to the record before `next`.
    pub(super) fn read_to(&mut self, partition: PartitionIndex, next: Offset) {
        self.positions.insert(partition, next);
    }

    /// Whether every order that was sent has its fate, and those acknowledged came back.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Notes a step of an order; gives how long after its sending that was.
    fn advance(&mut self, order: u64, at: Instant, step: impl FnOnce(&mut Open)) -> Duration {
        let Some(open) = self.open.get_mut(&order) else { return Duration::ZERO };
        step(open);
        let (after, is_over) = (at - open.sent, open.acknowledged && open.consumed);
        if is_over {
            self.open.remove(&order);
        }
        after
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    pub(super) fn others(&self) -> u64 {
        self.others
    }

    /// Acknowledged, and not come back: lost, once nothing is on its way any more.
    pub(super) fn missing(&self) -> u64 {
        self.open.values().filter(|open| open.acknowledged && !open.consumed).count() as u64
    }

    /// Where each partition has been read to.
    pub(super) fn positions(&self) -> &BTreeMap<PartitionIndex, Offset> {
        &self.positions
    }

    /// From send to acknowledgement.
    pub(super) fn to_acknowledged(&self) -> &Latencies {
        &self.to_acknowledged
    }

    /// From send to consumption.
    pub(super) fn to_consumed(&self) -> &Latencies {
        &self.to_consumed
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::clock::instant;

    const AFTER: Duration = Duration::from_millis(30);

    /// That many orders sent at once, and a moment after that.
    fn sent(orders: u64) -> (Ledger, Instant) {
        let (mut ledger, at) = (Ledger::default(), instant());
        (0..orders).for_each(|order| ledger.send(order, at));
        (ledger, at + AFTER)
    }

    #[test]
    fn what_was_acknowledged_and_did_not_come_back_is_missing() {
        let (mut ledger, later) = sent(3);
        ledger.acknowledge(0, later);
        ledger.consume(0, later + AFTER);
        // In the other order: a reader may see it first.
        ledger.consume(1, later);
        ledger.acknowledge(1, later);
        ledger.acknowledge(2, later);
        assert_eq!((ledger.sent(), ledger.acknowledged(), ledger.consumed()), (3, 3, 2));
        assert_eq!((ledger.missing(), ledger.is_settled()), (1, false));
        ledger.consume(2, later);
        assert_eq!((ledger.missing(), ledger.duplicated(), ledger.is_settled()), (0, 0, true));
        let longest_ms = |latencies: &Latencies| (latencies.summary().max_us.unwrap_or(0.0) / 1e3).round();
        assert_eq!([ledger.to_acknowledged(), ledger.to_consumed()].map(longest_ms), [30.0, 60.0]);
    }

    #[test]
    fn what_comes_twice_is_a_duplicate() {
        let (mut ledger, later) = sent(2);
        ledger.acknowledge(0, later);
        for order in [0, 0, 1, 1] {
            ledger.consume(order, later);
        }
        assert_eq!((ledger.consumed(), ledger.duplicated()), (2, 2));
    }

    #[test]
    fn what_failed_is_neither_missing_nor_a_duplicate() {
        let (mut ledger, later) = sent(1);
        ledger.fail(0);
        ledger.consume(0, later);
        assert_eq!((ledger.failed(), ledger.missing(), ledger.duplicated()), (1, 0, 0));
        assert!(ledger.is_settled());
    }
}
