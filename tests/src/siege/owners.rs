//! What the broker itself tells: its memory, by owner, each of which must keep to its bound, and what it has counted.

use core::fmt;
use std::collections::BTreeMap;

use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{Counter, MemoryUse, StatsRequest, StatsResponse};

use super::error::SiegeError;
use crate::crash::session::Session;

/// What an owner may have beyond its bound, on each shard: one largest batch or answer.
const EXCESS_BYTES_MAX: u64 = 9 << 20;

/// What each owner holds, and may hold, on all shards together.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    memory: BTreeMap<String, (u64, Option<u64>)>,
    counters: BTreeMap<String, u64>,
}

impl Owners {
    /// Asks the broker; every owner must keep to its bound on every shard.
    pub(super) fn ask(session: &mut Session) -> Result<Self, SiegeError> {
        let (told, _): (StatsResponse, _) = session.request(Api::Stats, &StatsRequest { shards: None })?;
        let mut owners = Self::default();
        for Counter { name, value } in told.shards.iter().flat_map(|shard| shard.counters.clone()) {
            *owners.counters.entry(name).or_default() += value;
        }
        for MemoryUse { owner, bytes, bytes_max } in told.shards.into_iter().flat_map(|shard| shard.memory) {
            if bytes_max.is_some_and(|bytes_max| bytes > bytes_max + EXCESS_BYTES_MAX) {
                return Err(SiegeError::broken(format!(
                    "every owner of memory keeps to its bound: {owner} holds {bytes} bytes of {bytes_max:?}"
                )));
            }
            owners.add(owner, bytes, bytes_max);
        }
        Ok(owners)
    }

    /// What all owners together may hold.
    pub(super) fn bytes_max(&self) -> u64 {
        self.memory.values().filter_map(|&(_, bytes_max)| bytes_max).sum()
    }

    /// What one of them holds.
    pub(super) fn held_bytes(&self, owner: &str) -> u64 {
        self.memory.get(owner).map_or(0, |&(bytes, _)| bytes)
    }

    /// A counter of all shards together.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, owner: String, bytes: u64, bytes_max: Option<u64>) {
        let (held, held_max) = self.memory.entry(owner).or_default();
        *held += bytes;
        *held_max = bytes_max.map(|bytes_max| held_max.unwrap_or(0) + bytes_max);
    }
}

impl fmt::Display for Owners {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("owners:")?;
        for (place, (owner, &(bytes, bytes_max))) in self.memory.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(out, "{separator} {owner} {}", bytes >> 20)?;
            if let Some(bytes_max) = bytes_max {
                write!(out, " of {}", bytes_max >> 20)?;
            }
        }
        out.write_str(" MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_all_shards_are_summed() {
        let mut owners = Owners::default();
        owners.add("tails".to_owned(), 3 << 20, Some(32 << 20));
        owners.add("tails".to_owned(), 4 << 20, Some(32 << 20));
        owners.add("connections".to_owned(), 1 << 20, None);
        assert_eq!(owners.to_string(), "owners: connections 1, tails 7 of 64 MiB");
        assert_eq!((owners.bytes_max(), owners.held_bytes("tails")), (64 << 20, 7 << 20));
    }
}
