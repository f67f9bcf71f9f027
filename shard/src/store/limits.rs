//! How long the segments of one partition may grow, how long records are kept, and when they count as stored.

use ringmain_wal::commit::FlushBound;

/// Limits of one partition, as its topic sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Bytes after which a segment takes no further batch (`segment.bytes`).
    pub segment_bytes: u64,
    /// Milliseconds after which it does not either (`segment.ms`).
    pub segment_ms: u64,
    /// Age in milliseconds at which records may go (`retention.ms`); `None` keeps them for ever.
    pub retention_ms: Option<u64>,
    /// Bytes of segments beyond which the oldest may go (`retention.bytes`); `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// `None`: records are shown and acknowledged when they are on stable storage. With a bound already when they are
    /// written, which no end of the process takes back; a loss of power takes what the bound lets wait for a sync
    /// (`flush.messages`, `flush.ms`).
    pub flush: Option<FlushBound>,
}

impl Default for PartitionLimits {
    /// 1 GiB, 7 days, nothing ever goes, and all is synced.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            retention_ms: None,
            retention_bytes: None,
            flush: None,
        }
    }
}
