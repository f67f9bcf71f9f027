//! A token bucket: how fast settling may write while nobody presses it. It fills as time passes and as records come in.

use crate::time::Mono;

/// Bytes that may be written now.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_second: u64,
    /// Most that gathers while nothing is taken.
    burst_bytes: u64,
    bytes: u64,
    refilled: Mono,
}

impl Bucket {
    pub(super) fn full(bytes_per_second: u64, burst_bytes: u64) -> Self {
        assert!(bytes_per_second > 0, "a bucket that never fills");
        Self { bytes_per_second, burst_bytes, bytes: burst_bytes, refilled: Mono::default() }
    }

    /// Lets so many more bytes be written, as far as they gather.
    pub(super) fn earn(&mut self, bytes: u64) {
        self.bytes = self.burst_bytes.min(self.bytes.saturating_add(bytes));
    }

    /// Takes `bytes`, or says when they will be there at the latest. More than the burst is never asked for.
    pub(super) fn take(&mut self, now: Mono, bytes: u64) -> Result<(), Mono> {
        assert!(bytes <= self.burst_bytes, "more than ever gathers");
        let passed_ns = now.0.saturating_sub(self.refilled.0);
        let gained = u128::from(passed_ns) * u128::from(self.bytes_per_second) / 1_000_000_000;
        if gained > 0 {
            self.bytes =
                self.burst_bytes.min(self.bytes.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)));
            self.refilled = now;
        }
        if bytes <= self.bytes {
            self.bytes -= bytes;
            return Ok(());
        }
        let wait_ns = u128::from(bytes - self.bytes) * 1_000_000_000 / u128::from(self.bytes_per_second) + 1;
        Err(Mono(self.refilled.0.saturating_add(u64::try_from(wait_ns).unwrap_or(u64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_taken_comes_back_with_time_and_no_faster() {
        let mut bucket = Bucket::full(1_000, 500);
        assert_eq!(bucket.take(Mono(SECOND), 500), Ok(()));
        let due = bucket.take(Mono(SECOND), 250).unwrap_err();
        assert!(due > Mono(SECOND + SECOND / 4) && due < Mono(SECOND + SECOND / 3), "{due:?}");
        assert_eq!(bucket.take(due, 250), Ok(()));
        assert!(bucket.take(due, 1).is_err());
        assert_eq!(bucket.take(Mono(100 * SECOND), 500), Ok(()));
        assert!(bucket.take(Mono(100 * SECOND), 1).is_err(), "no more than the burst gathers");
        bucket.earn(300);
        assert_eq!(bucket.take(Mono(100 * SECOND), 300), Ok(()), "what is earned need not be waited for");
        bucket.earn(1_000);
        assert_eq!(bucket.take(Mono(100 * SECOND), 500), Ok(()));
        assert!(bucket.take(Mono(100 * SECOND), 1).is_err(), "of it, too, no more than the burst gathers");
    }
}
