//! How much memory a node may use for records.

use std::fs;

/// What `statfs` calls a filesystem in memory (`linux/magic.h`).
pub(super) const TMPFS: i64 = 0x0102_1994;

/// More would only lengthen the log that a start replays.
const BUDGET_BYTES_MAX: usize = 2 << 30;

/// Where there is no telling.
const FALLBACK_BYTES: usize = 1 << 30;

/// A quarter of the memory that is free when the node starts, for all its shards together, but no more than they have a
/// use for.
pub(super) fn budget_bytes() -> usize {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text));
    available.map_or(FALLBACK_BYTES, |bytes| bytes / 4).min(BUDGET_BYTES_MAX)
}

fn available_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "MemTotal:       24000 kB\nMemFree:         100 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("MemTotal: 1 kB\n"), None);
    }
}
