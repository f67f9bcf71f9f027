//! Books what a run sent and got back, and decides which of it counts.

use crate::latency::Latencies;

/// Counts of a whole run, latencies of its measured window. Times are nanoseconds since the run began.
#[derive(Clone, Debug)]
pub struct Ledger {
    measured_from: u64,
    measured_until: u64,
    /// Requests sent, warm-up included.
    pub sent: u64,
    /// Requests that were due and could not be sent before the run was over, because too many were unanswered.
    pub unsent: u64,
    /// Answers that said yes, warm-up and drain included.
    pub accepted: u64,
    /// Answers that said no, warm-up and drain included.
    pub refused: u64,
    /// Accepting answers that arrived within the measured window: what throughput is counted from.
    pub accepted_in_window: u64,
    /// From when a request was due to when its accepting answer was read, for requests due within the window.
    pub latency: Latencies,
    /// From when a request was due to when it was sent, for requests due within the window: the generator's own part
    /// of the latency. Empty in a closed loop, where a request is due when it is sent.
    pub lateness: Latencies,
}

impl Ledger {
    /// Nothing booked; the window is `measured_from..measured_until`.
    pub fn new(measured_from: u64, measured_until: u64) -> Self {
        Self {
            measured_from,
            measured_until,
            sent: 0,
            unsent: 0,
            accepted: 0,
            refused: 0,
            accepted_in_window: 0,
            latency: Latencies::new(),
            lateness: Latencies::new(),
        }
    }

    /// A request of a schedule leaves.
    pub fn sent_on_schedule(&mut self, due: u64, now: u64) {
        self.sent += 1;
        if self.measures(due) {
            self.lateness.record(now.saturating_sub(due));
        }
    }

    /// A request leaves because an answer made room for it.
    pub fn sent_on_answer(&mut self) {
        self.sent += 1;
    }

    /// The answer to the request that was due at `due` was read.
    pub fn answered(&mut self, due: u64, now: u64, accepted: bool) {
        if !accepted {
            self.refused += 1;
            return;
        }
        self.accepted += 1;
        if self.measures(now) {
            self.accepted_in_window += 1;
        }
        if self.measures(due) {
            self.latency.record(now.saturating_sub(due));
        }
    }

    /// Requests that have no answer.
    pub fn unanswered(&self) -> u64 {
        self.sent - self.accepted - self.refused
    }

    /// The window ends at `now` instead of later; what was booked stays.
    pub fn cut_window(&mut self, now: u64) {
        self.measured_until = self.measured_until.min(now).max(self.measured_from);
    }

    /// Length of the measured window.
    pub fn measured_seconds(&self) -> f64 {
        (self.measured_until - self.measured_from) as f64 / 1e9
    }

    /// Accepting answers a second, over the measured window; 0 where it is empty.
    pub fn accepted_per_second(&self) -> f64 {
        match self.measured_seconds() {
            0.0 => 0.0,
            seconds => self.accepted_in_window as f64 / seconds,
        }
    }

    fn measures(&self, at: u64) -> bool {
        (self.measured_from..self.measured_until).contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// A server that stalls for 100 ms: the schedule goes on, and every request that was due meanwhile is charged for
    /// its wait although it was sent only when the stall was over.
    #[test]
    fn latency_counts_from_when_the_request_was_due() {
        let mut schedule = Schedule::new(1_000.0);
        let mut ledger = Ledger::new(0, 200 * MILLISECOND);
        let stall_ends = 100 * MILLISECOND;
        while let Some(due) = schedule.take_due(stall_ends, u64::MAX) {
            ledger.sent_on_schedule(due, stall_ends);
            ledger.answered(due, stall_ends + MILLISECOND, true);
        }
        let latency = ledger.latency.summary();
        assert_eq!(latency.samples, 101);
        assert!((latency.max_us.unwrap_or(0.0) / 101_000.0 - 1.0).abs() < 0.01, "{latency:?}");
        assert!((latency.p50_us.unwrap_or(0.0) / 51_000.0 - 1.0).abs() < 0.05, "{latency:?}");
        let lateness = ledger.lateness.summary();
        assert!((lateness.max_us.unwrap_or(0.0) / 100_000.0 - 1.0).abs() < 0.01, "{lateness:?}");
    }

    #[test]
    fn warm_up_and_drain_are_counted_but_not_measured() {
        let mut ledger = Ledger::new(10, 20);
        for due in [5, 15, 19] {
            ledger.sent_on_schedule(due, due);
        }
        ledger.answered(5, 12, true);
        ledger.answered(15, 18, true);
        ledger.answered(19, 25, true);
        assert_eq!((ledger.sent, ledger.accepted, ledger.unanswered()), (3, 3, 0));
        assert_eq!(ledger.accepted_in_window, 2, "answers at 12 and 18");
        assert_eq!(ledger.latency.summary().samples, 2, "requests due at 15 and 19");
    }

    #[test]
    fn a_window_that_is_cut_counts_what_it_had() {
        let second = 1_000 * MILLISECOND;
        let mut ledger = Ledger::new(second, 11 * second);
        ledger.sent_on_answer();
        ledger.answered(second, 2 * second, true);
        ledger.cut_window(3 * second);
        assert_eq!((ledger.measured_seconds(), ledger.accepted_per_second()), (2.0, 0.5));
        ledger.cut_window(5 * second);
        assert_eq!(ledger.measured_seconds(), 2.0, "it does not grow again");
        let mut in_warm_up = Ledger::new(second, 2 * second);
        in_warm_up.cut_window(1);
        assert_eq!((in_warm_up.measured_seconds(), in_warm_up.accepted_per_second()), (0.0, 0.0));
    }

    #[test]
    fn a_refusal_is_no_latency_and_no_throughput() {
        let mut ledger = Ledger::new(0, 1_000_000_000);
        ledger.sent_on_answer();
        ledger.sent_on_answer();
        ledger.answered(1, 2, false);
        assert_eq!((ledger.refused, ledger.accepted, ledger.unanswered()), (1, 0, 1));
        assert_eq!(ledger.latency.summary().samples, 0);
        assert_eq!(ledger.accepted_per_second(), 0.0);
    }
}
