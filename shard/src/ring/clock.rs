//! The one place where a shard reads the time.
#![expect(unsafe_code, reason = "clock_gettime: the standard library hides the monotonic clock's value")]

use ringmain_wire::ids::TimestampMs;

use crate::time::{Mono, Now};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Both clocks.
pub(super) fn now() -> Now {
    let wall = read(libc::CLOCK_REALTIME);
    let wall_ms = wall.tv_sec * 1_000 + wall.tv_nsec / 1_000_000;
    Now { mono: monotonic(), wall: TimestampMs(wall_ms) }
}

/// The clock that never goes back; the same for all threads of the machine.
pub(super) fn monotonic() -> Mono {
    let time = read(libc::CLOCK_MONOTONIC);
    let seconds = u64::try_from(time.tv_sec).expect("the monotonic clock starts at boot");
    let nanos = u64::try_from(time.tv_nsec).expect("a part of a second is not negative");
    Mono(seconds * NANOS_PER_SECOND + nanos)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call may overwrite.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(outcome, 0, "both clocks exist on every Linux");
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_with_the_standard_library() {
        let earlier = monotonic();
        #[expect(clippy::disallowed_methods, reason = "the judge of this module's clock")]
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let now = now();
        assert!(now.mono >= earlier);
        let wall_ms = i64::try_from(wall.as_millis()).expect("before the year 292 million");
        assert!((now.wall.get() - wall_ms).abs() < 1_000, "{} and {wall_ms}", now.wall);
    }
}
