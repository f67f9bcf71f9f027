//! What the user of a consumer decides.

use core::time::Duration;

/// How a consumer fetches ahead and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// What may be held fetched and not yet taken, over all partitions. Exceeded by at most one batch a shard.
    pub prefetch_bytes_max: u32,
    /// How long the broker waits for `fetch_bytes_min` before it answers.
    pub fetch_wait: Duration,
    /// The broker answers as soon as it has that much.
    pub fetch_bytes_min: u32,
    /// The largest decompressed batch accepted.
    pub decompressed_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            prefetch_bytes_max: 16 * 1024 * 1024,
            fetch_wait: Duration::from_millis(500),
            fetch_bytes_min: 1,
            decompressed_bytes_max: 64 * 1024 * 1024,
        }
    }
}
