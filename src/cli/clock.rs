//! The only place where the command line reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ringmain_wire::ids::TimestampMs;

/// Now, as records carry it.
#[expect(clippy::disallowed_methods, reason = "records carry the time at which they were read")]
pub(super) fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// Now, to measure from.
#[expect(clippy::disallowed_methods, reason = "the demo shows latencies as its own client sees them")]
pub(super) fn instant() -> Instant {
    Instant::now()
}
