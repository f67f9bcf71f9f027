//! What a seed may do: a random few of the faults and habits there are, so that each meets the others in many mixtures.

use core::time::Duration;

use ringmain::host::LENT_BYTES_MAX_DEFAULT;
use ringmain_shard::store::UpkeepConfig;
use ringmain_shard::store::settle::SettleConfig;

use super::random::Random;
use super::{MICROSECOND, MILLISECOND};

/// The faults and habits of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How long faults and work go on, in nanoseconds.
    pub(super) active: u64,
    /// Mean time between two wishes of one client.
    pub(super) wish_gap: u64,
    /// Times at which the node is to be ended, and how.
    pub(super) endings: Vec<(u64, Ending)>,
    /// The node comes back with other shard counts.
    pub(super) shards_vary: bool,
    /// Power may also fail while the node starts.
    pub(super) boot_crashes: bool,
    /// Per thousand deliveries: the connection is cut.
    pub(super) cuts: u64,
    /// Some connections are slow or move bytes in crumbs.
    pub(super) slow_links: bool,
    /// Some clients stop reading for a while.
    pub(super) slow_clients: bool,
    /// Per thousand writes and syncs that fail.
    pub(super) disk_errors: u64,
    /// Per thousand kills after which what was being written cannot be written back.
    pub(super) write_back_errors: u64,
    /// Times at which the disk is full, until when.
    pub(super) disk_full: Option<(u64, u64)>,
    /// Per thousand files and directories opened for which there is no descriptor.
    pub(super) shortages: u64,
    /// Bits rot while the node is down. Loss is allowed then, but has to be reported.
    pub(super) rot: bool,
    /// Bits of segments and index files rot. What was not hit is served all the same.
    pub(super) segment_rot: bool,
    /// Per thousand reads of segments and index files that fail, and succeed when they are done again.
    pub(super) read_errors: u64,
    /// Longest ordinary disk operation.
    pub(super) disk_latency_max: u64,
    /// Per thousand disk operations that take much longer.
    pub(super) disk_spikes: u64,
    /// One shard stands still from time to time.
    pub(super) pauses: bool,
    /// The wall clock jumps.
    pub(super) clock_jumps: bool,
    /// Suffixes are cut.
    pub(super) truncations: bool,
    /// Prefixes are let go.
    pub(super) log_starts: bool,
    /// Memory for batches, in bytes.
    pub(super) tail_bytes_max: usize,
    /// The same while a start replays.
    pub(super) boot_tail_bytes_max: usize,
    /// Bytes of each log.
    pub(super) log_bytes_max: u64,
    /// How batches get into segments.
    pub(super) settle: SettleConfig,
    /// How often segments are inspected.
    pub(super) upkeep: UpkeepConfig,
    /// Clients cannot choose the shard they connect to.
    pub(super) shared_port: bool,
    /// Topics are deleted, too.
    pub(super) deletions: bool,
    /// Log groups in flight.
    pub(super) groups_in_flight_max: usize,
    /// Memory that a shard lends to answers.
    pub(super) lent_bytes_max: usize,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process is killed; what it gave to the disk stays in the disk's cache.
    Kill,
    /// So that the cache is gone, too.
    PowerLoss,
    /// It is asked to stop.
    Shutdown,
}

/// Memory for batches that is soon used up, but not by metadata alone.
const TAIL_BYTES_TIGHT: usize = 512 << 10;
/// Memory for batches where it is to be no matter.
const TAIL_BYTES_AMPLE: usize = 64 << 20;

impl Plan {
    /// The plan of a seed; `random` is the stream of process faults.
    pub(super) fn draw(random: &mut Random) -> Self {
        let active = random.between(150, 600) * MILLISECOND;
        let endings = if random.chance(850) { random.between(1, 4) } else { 0 };
        let only_kills = random.chance(250);
        let endings = (0..endings)
            .map(|_| {
                let how = match random.below(10) {
                    0 => Ending::Shutdown,
                    1..=4 => Ending::Kill,
                    _ if only_kills => Ending::Kill,
                    _ => Ending::PowerLoss,
                };
                (random.below(active), how)
            })
            .collect();
        let disk_full = random.chance(150).then(|| {
            let from = random.below(active);
            (from, from + random.between(20, 400) * MILLISECOND)
        });
        let is_tight = random.chance(80);
        let rot = random.chance(120);
        let wish_gap = *random.pick(&[MILLISECOND, 3 * MILLISECOND, 8 * MILLISECOND, 25 * MILLISECOND]);
        Self {
            active,
            wish_gap: if is_tight { 3 * MILLISECOND } else { wish_gap },
            endings,
            shards_vary: random.chance(300),
            boot_crashes: random.chance(200),
            cuts: if random.chance(300) { random.between(1, 15) } else { 0 },
            slow_links: random.chance(300),
            slow_clients: random.chance(200),
            disk_errors: if random.chance(150) { random.between(1, 8) } else { 0 },
            write_back_errors: if random.chance(150) { 500 } else { 0 },
            disk_full,
            rot,
            disk_latency_max: *random.pick(&[300 * MICROSECOND, MILLISECOND, 5 * MILLISECOND]),
            disk_spikes: if random.chance(300) { 20 } else { 0 },
            pauses: random.chance(200),
            clock_jumps: random.chance(200),
            truncations: random.chance(350),
            log_starts: random.chance(350),
            tail_bytes_max: if is_tight { TAIL_BYTES_TIGHT } else { TAIL_BYTES_AMPLE },
            boot_tail_bytes_max: *random.pick(&[16 << 10, 128 << 10, 64 << 20]),
            log_bytes_max: *random.pick(&[768 << 10, 2 << 20, 64 << 20]),
            settle: draw_settling(random),
            upkeep: UpkeepConfig {
                scrub_after: Duration::from_millis(*random.pick(&[1, 20, 60_000])),
                scrub_every: Some(Duration::from_millis(*random.pick(&[10, 200, 60_000]))),
                ..UpkeepConfig::default()
            },
            shared_port: random.chance(300),
            deletions: random.chance(400),
            groups_in_flight_max: random.between(1, 4) as usize,
            lent_bytes_max: *random.pick(&[1, 16 << 10, 64 << 10, LENT_BYTES_MAX_DEFAULT]),
            shortages: if random.chance(200) { random.between(5, 100) } else { 0 },
            // What rots in logs may take more than can be told apart from this.
            segment_rot: random.chance(150) && !rot,
            read_errors: if random.chance(150) { random.between(20, 400) } else { 0 },
        }
    }

    /// Whether memory for batches is scarce.
    pub(super) fn is_tight(&self) -> bool {
        self.tail_bytes_max < TAIL_BYTES_AMPLE
    }
}

/// From a store that settles all the time, a batch at a time, to one that hardly ever does.
fn draw_settling(random: &mut Random) -> SettleConfig {
    SettleConfig {
        start_bytes: *random.pick(&[32 << 10, 96 << 10, 256 << 10, 16 << 20]),
        small_tail_bytes: *random.pick(&[0, 1 << 10, 64 << 10]),
        carried_bytes_max: *random.pick(&[16 << 10, 64 << 10]),
        run_bytes_max: *random.pick(&[4 << 10, 64 << 10]),
        run_batches_max: *random.pick(&[2, 8_192]),
        jobs_max: random.between(1, 3) as usize,
        bytes_per_second: 64 << 20,
        bytes_per_byte: 2,
    }
}
