//! The only place where the command line reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use ringmain_wire::ids::TimestampMs;

/// Now, as records carry it.
#[expect(clippy::disallowed_methods, reason = "records carry the time at which they were read")]
pub(super) fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
