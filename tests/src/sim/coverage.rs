//! What a run met, counted: a simulator that never met a thing says nothing about it.

/// Declares the counters with their names.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Counts of what was met.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Coverage {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Coverage {
            /// The counters with their names.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$name)),*]
            }

            /// Adds those of another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Kills of the process.
    kills = "kills",
    /// Losses of power.
    power_losses = "losses of power",
    /// Ends with log groups being written.
    crash_with_groups_in_flight = "crash with groups in flight",
    /// Ends of the process after which what it had begun to write could not be written back.
    write_backs_failed = "cache not written back",
    /// Groups of which the disk kept a part.
    torn_groups = "torn group",
    /// Files that show what files of older generations held.
    stale_files = "stale sectors in a file",
    /// Crashes while starting.
    boot_crashes = "crash while starting",
    /// Starts.
    starts = "starts",
    /// Starts with another number of shards.
    shard_changes = "restart with another shard count",
    /// Stops in order.
    shutdowns = "stop in order",
    /// Records acknowledged.
    acknowledged = "records acknowledged",
    /// Records consumed.
    consumed = "records consumed",
    /// Batches recognised that a former start had stored.
    dedup_after_restart = "deduplication after restart",
    /// Batches recognised within a start.
    dedup = "deduplication",
    /// Truncations that cut something.
    truncations = "truncation",
    /// Truncations below what was settled.
    truncations_below_settled = "truncation below what was settled",
    /// Those whose batch had to be looked for in a segment.
    truncations_in_segments = "truncation looked for in a segment",
    /// Bytes put into segments.
    settled_bytes = "bytes settled",
    /// Batches put into the log again.
    carried = "batch carried",
    /// Log files given back.
    log_files_recycled = "log file recycled",
    /// Inspections that found a segment sound.
    segments_inspected = "segment inspected",
    /// Index files written.
    index_files_written = "index file written",
    /// Index files that spared a reader a scan.
    index_files_read = "index file read",
    /// Inspections that were cancelled.
    inspections_cancelled = "inspection cancelled",
    /// Reads from segments.
    segment_reads = "read from a segment",
    /// Starts that settled while they replayed.
    boots_relieved = "start settled while replaying",
    /// Crashes before a truncation was durable.
    truncations_interrupted = "truncation interrupted by a crash",
    /// Log starts moved.
    log_starts = "log start moved",
    /// Torn tails reported.
    cuts = "cut reported",
    /// Rot reported.
    rot = "rot reported",
    /// Bits flipped.
    flips = "bits flipped",
    /// Bits flipped in batches of segments.
    segment_flips = "bit flipped in a segment",
    /// Bits flipped in index files.
    index_flips = "bit flipped in an index file",
    /// Reads refused because of a bit flipped in a segment.
    rot_refusals = "read refused for rot",
    /// Inspections that found rot.
    rot_inspected = "rot found by an inspection",
    /// Index files with a flipped bit that were made again.
    indexes_mended = "rotten index file made again",
    /// Reads of segments that failed.
    segment_reads_failed = "read of a segment failed",
    /// Reads of index files that failed.
    index_reads_failed = "read of an index file failed",
    /// Reads refused because the disk failed.
    failure_refusals = "read refused for a failing disk",
    /// Inspections that ended because the disk failed.
    inspections_failed = "inspection ended by a failing disk",
    /// Starts that ended because the disk failed.
    boots_failed = "start ended by a failing disk",
    /// Flips within a group that was durable for certain.
    rot_expected = "bit flipped below a mark",
    /// Stops because the disk failed.
    storage_stops = "stop after a disk error",
    /// Operations refused by a full disk.
    disk_full = "disk full",
    /// Files and directories for which there was no descriptor.
    shortages = "no descriptor left",
    /// Produces refused because the disk was full.
    disk_full_refusals = "produce refused, disk full",
    /// Produces refused for want of memory.
    budget = "budget reached",
    /// Batches sent to another shard.
    cross_shard_produce = "produce across shards",
    /// Fetches sent to another shard.
    cross_shard_fetch = "fetch across shards",
    /// Fetches that waited until others had given memory back.
    fetches_held_back = "fetch held back for memory",
    /// Connections whose client did not read.
    stalled = "stalled connection",
    /// Connections cut with bytes under way.
    cut_connections = "connection cut with bytes under way",
    /// Groups in a later file than the first.
    file_rolls = "file roll",
    /// Groups that only carry a mark.
    mark_groups = "mark-only group",
    /// Large frames received into a buffer of their own.
    large_receives = "large frame received in place",
    /// Topics created.
    topics_created = "topic created",
    /// Topics deleted.
    topics_deleted = "topic deleted",
    /// Topics created again under a name that was deleted.
    topics_recreated = "topic created again",
    /// Partitions added.
    partitions_added = "partitions added",
    /// Partitions found damaged.
    damaged = "partition opened read-only",
    /// Standstills of a shard.
    pauses = "shard paused",
    /// Jumps of the wall clock.
    clock_jumps = "clock jump",
}
