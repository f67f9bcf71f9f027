//! When settling begins, and in what pieces it works.

/// How a store settles.
#[derive(Clone, Debug)]
pub struct SettleConfig {
    /// Bytes appended since the last window began that begin the next one.
    pub start_bytes: usize,
    /// A tail smaller than this, in bytes, is put into the log again instead of into a file.
    pub small_tail_bytes: usize,
    /// Memory that one window may carry so.
    pub carried_bytes_max: usize,
    /// Bytes of one run, which is synced once; a batch that begins within them goes whole.
    pub run_bytes_max: usize,
    /// Batches of one run.
    pub run_batches_max: usize,
    /// Runs under way at a time.
    pub jobs_max: usize,
    /// How fast settling writes while nothing is appended and neither memory nor log press it, in bytes a second.
    pub bytes_per_second: u64,
    /// Bytes that it may write beside that for each byte appended: more than one, so that a window is over before the next
    /// is due, and not many more, because what waits in the disk's cache is in the way of the next log group.
    pub bytes_per_byte: u64,
}

impl SettleConfig {
    /// The defaults for a store that may keep `tail_bytes_max` in memory and whose log may be `log_bytes_max` long.
    #[must_use]
    pub fn within(tail_bytes_max: usize, log_bytes_max: u64) -> Self {
        let start_bytes = (tail_bytes_max / 4).min(usize::try_from(log_bytes_max / 4).unwrap_or(usize::MAX));
        Self {
            start_bytes,
            small_tail_bytes: 64 * 1024,
            carried_bytes_max: start_bytes / 4,
            run_bytes_max: 8 << 20,
            run_batches_max: 8_192,
            jobs_max: 4,
            bytes_per_second: 32 << 20,
            bytes_per_byte: 2,
        }
    }
}
