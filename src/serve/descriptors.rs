//! How many files and connections the process may have open, and how the shards share that.

use ringmain_shard::ring::CONNECTIONS_MAX;
use ringmain_shard::store::SEGMENT_FILES_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// What a shard keeps for its files whatever its clients do: segments being read, and beside them its log, segments being
/// written, index files, directories, rings, sockets that listen, and the executor beside its loop.
const FILES_PER_SHARD: u64 = 128;
/// What the process has open beside its shards.
const FILES_OF_PROCESS: u64 = 64;
/// Clients are served even where the limit leaves no room for them: what finds no descriptor waits.
const CONNECTIONS_MIN: u64 = 16;
/// A shard that can take fewer is worth a word.
const CONNECTIONS_EXPECTED: usize = 1_000;

const _: () = assert!(FILES_PER_SHARD >= SEGMENT_FILES_MAX as u64 + 48);

/// Raises the limit of open files as far as the process may, and says what it is then; `u64::MAX` where there is none.
pub(super) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return limit(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => limit(maximum),
        Err(error) => {
            warn!(%error, "the limit of open files cannot be raised from {}", limit(current));
            limit(current)
        }
    }
}

fn limit(files: Option<u64>) -> u64 {
    files.unwrap_or(u64::MAX)
}

/// Connections that each of the shards may have.
pub(super) fn connections_max(limit: u64, shards: u16) -> usize {
    let share = limit.saturating_sub(FILES_OF_PROCESS) / u64::from(shards.max(1));
    let connections = share.saturating_sub(FILES_PER_SHARD).max(CONNECTIONS_MIN);
    usize::try_from(connections).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// Tells people who may want to raise it.
pub(super) fn tell_if_low(limit: u64, connections_max: usize) {
    if connections_max < CONNECTIONS_EXPECTED {
        warn!(
            limit,
            "the limit of open files is low: each shard takes {connections_max} connections; raise the hard limit \
             (ulimit -Hn 65536, or LimitNOFILE=65536 of a systemd unit)"
        );
    } else if connections_max < CONNECTIONS_MAX {
        info!(limit, "open files are limited: each shard takes {connections_max} connections");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_share_before_connections_do() {
        assert_eq!(connections_max(u64::MAX, 64), CONNECTIONS_MAX);
        assert_eq!(connections_max(1 << 20, 4), CONNECTIONS_MAX);
        assert_eq!(connections_max(1024, 1), 1024 - 64 - 128);
        assert_eq!(connections_max(1024, 4), 240 - 128);
        for (limit, shards) in [(1024, 16), (64, 1), (0, 1), (1024, 0)] {
            let all = u64::from(shards) * connections_max(limit, shards) as u64;
            assert!(all <= limit.max(u64::from(shards) * CONNECTIONS_MIN), "{limit} for {shards}: {all}");
        }
    }

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let before = getrlimit(Resource::Nofile);
        let raised = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        assert_eq!(raised, limit(before.maximum));
    }
}
