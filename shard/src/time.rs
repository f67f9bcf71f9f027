//! Time as an argument: logic is told what time it is and never asks.

use core::ops::Add;
use core::time::Duration;

use ringmain_wire::ids::TimestampMs;

/// Nanoseconds on a clock that never goes back; its zero means nothing. Everything that can expire is measured on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Time since `earlier`; zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    /// Saturates at the end of time, some five hundred years away.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read once a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For record timestamps and retention, never for safety.
    pub wall: TimestampMs,
}
