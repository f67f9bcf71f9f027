//! What a store has done so far, in numbers.

/// Counts since the start, for tests and figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Batches appended.
    pub batches: u64,
    /// Bytes of these batches.
    pub batch_bytes: u64,
    /// Batches recognised as sent before.
    pub duplicates: u64,
    /// Log groups written.
    pub groups: u64,
    /// Bytes of these groups.
    pub group_bytes: u64,
    /// Syncs of log files, for groups that were written without.
    pub log_syncs: u64,
    /// Bytes put into segments.
    pub settled_bytes: u64,
    /// Batches put into the log again.
    pub carried: u64,
    /// Log files given back.
    pub log_files_recycled: u64,
    /// Reads from segments.
    pub segment_reads: u64,
    /// Segments found sound by an inspection.
    pub segments_inspected: u64,
    /// Segments found damaged by an inspection.
    pub segments_damaged: u64,
    /// Times that the scrub has come to the end of all segments.
    pub scrub_passes: u64,
    /// Inspections that failed because of a file.
    pub inspections_failed: u64,
    /// Inspections for which there was no executor.
    pub inspections_unavailable: u64,
    /// Index files written.
    pub index_files_written: u64,
    /// Index files that spared a reader a scan.
    pub index_files_read: u64,
}
