//! When each request of an open loop is due: a fixed schedule that no slow answer can move.

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// Hands out due times, in nanoseconds since the run began. Request `n` is due at `n / rate`, however late the ones
/// before it were sent or answered; that is what keeps a stalled server from hiding (coordinated omission).
#[derive(Clone, Debug)]
pub struct Schedule {
    requests_per_second: f64,
    taken: u64,
}

impl Schedule {
    /// A request every `1 / requests_per_second`, the first at 0.
    ///
    /// # Panics
    /// Unless the rate is a finite number above 0.
    pub fn new(requests_per_second: f64) -> Self {
        assert!(
            requests_per_second.is_finite() && requests_per_second > 0.0,
            "a rate of {requests_per_second} requests per second has no schedule"
        );
        Self { requests_per_second, taken: 0 }
    }

    /// When the next request is due.
    pub fn next_due(&self) -> u64 {
        // Multiplied, not summed up: an error of a fraction of a nanosecond would otherwise grow with the run.
        (self.taken as f64 * NANOSECONDS_PER_SECOND / self.requests_per_second) as u64
    }

    /// How many requests were handed out.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many requests that are due before `until` were not handed out.
    pub fn remaining(&self, until: u64) -> u64 {
        let mut rest = self.clone();
        std::iter::from_fn(|| rest.take_due(u64::MAX, until)).fold(0, |count, _| count + 1)
    }

    /// Hands out the next due time if it lies before `until` and is not after `now`.
    pub fn take_due(&mut self, now: u64, until: u64) -> Option<u64> {
        let due = self.next_due();
        if due > now || due >= until {
            return None;
        }
        self.taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn requests_are_due_at_their_rate_and_not_before() {
        let mut schedule = Schedule::new(500.0);
        assert_eq!(schedule.take_due(0, u64::MAX), Some(0));
        assert_eq!(schedule.take_due(2 * MILLISECOND - 1, u64::MAX), None);
        assert_eq!(schedule.take_due(2 * MILLISECOND, u64::MAX), Some(2 * MILLISECOND));
    }

    #[test]
    fn a_stall_leaves_the_due_times_where_they_were() {
        let mut schedule = Schedule::new(500.0);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take_due(9 * MILLISECOND, u64::MAX)).collect();
        assert_eq!(due, [0, 2, 4, 6, 8].map(|at| at * MILLISECOND));
    }

    #[test]
    fn nothing_is_due_at_or_after_the_end() {
        let mut schedule = Schedule::new(1_000.0);
        let taken = std::iter::from_fn(|| schedule.take_due(u64::MAX, 5 * MILLISECOND)).count();
        assert_eq!(taken, 5);
        assert_eq!(schedule.remaining(5 * MILLISECOND), 0);
        assert_eq!(schedule.remaining(7 * MILLISECOND), 2);
    }

    #[test]
    fn an_uneven_rate_does_not_drift() {
        let mut schedule = Schedule::new(3_333.0);
        let taken = std::iter::from_fn(|| schedule.take_due(u64::MAX, 1_000_000 * MILLISECOND)).count();
        assert_eq!(taken, 3_333_000);
    }
}
