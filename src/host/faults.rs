//! What is wrong on the disk, told to people: the first time at once, then as seldom as it can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_shard::store::StorageFault;
use ringmain_shard::time::Mono;
use ringmain_wire::ids::{PartitionId, ShardId};

/// Between two lines about one file.
const REPEAT_EVERY: Duration = Duration::from_secs(60);
/// Files that are remembered; each further one waits until one of these was not met for [`REPEAT_EVERY`].
const PLACES_MAX: usize = 1024;

/// The faults of one shard. Readers may meet one as often as they like; lines are written to people, and from the loop.
#[derive(Debug, Default)]
pub(super) struct Faults {
    places: BTreeMap<String, Place>,
    /// Of files that there was no room to remember, since the last line.
    untold: u64,
    met: u64,
    /// It was told that the disk is full, and not yet that it is no longer.
    is_full: bool,
}

/// One file with something wrong.
#[derive(Debug)]
struct Place {
    told_at: Mono,
    /// Met since, and not told.
    again: u64,
}

/// What is to be told of a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Telling {
    partition: PartitionId,
    path: String,
    problem: String,
    /// Faults of the same file since it was told last.
    again: u64,
    /// Faults of other files that were never told.
    untold: u64,
}

impl Faults {
    /// Faults met since the start.
    pub(super) fn met(&self) -> u64 {
        self.met
    }

    /// Tells when the disk turns out to be full, and when there is room again.
    pub(super) fn note_room(&mut self, shard: ShardId, is_full: bool) {
        if core::mem::replace(&mut self.is_full, is_full) == is_full {
            return;
        }
        if is_full {
            tracing::error!(
                %shard,
                "the disk is full: records are refused until there is room; reads and deletions go on"
            );
        } else {
            tracing::info!(%shard, "the disk has room again: records are taken");
        }
    }

    /// A fault was met: what is to be told now, if anything.
    pub(super) fn handle(&mut self, now: Mono, fault: StorageFault) -> Option<Telling> {
        let StorageFault { partition, path, problem } = fault;
        self.met += 1;
        let is_due = |place: &Place| now.since(place.told_at) >= REPEAT_EVERY;
        let again = match self.places.get_mut(&path) {
            Some(place) if !is_due(place) => {
                place.again += 1;
                return None;
            }
            Some(place) => place.again,
            None => {
                if self.places.len() >= PLACES_MAX {
                    self.places.retain(|_, place| !is_due(place) || place.again > 0);
                }
                if self.places.len() >= PLACES_MAX {
                    self.untold += 1;
                    return None;
                }
                0
            }
        };
        self.places.insert(path.clone(), Place { told_at: now, again: 0 });
        let untold = core::mem::take(&mut self.untold);
        Some(Telling { partition, path, problem, again, untold })
    }
}

impl Telling {
    /// Writes the line.
    pub(super) fn tell(&self) {
        let Self { partition, path, problem, again, untold } = self;
        if *again > 0 {
            tracing::error!(%partition, path, again, "{problem}; met {again} more times since this was told last");
        } else {
            tracing::error!(%partition, path, "{problem}");
        }
        if *untold > 0 {
            tracing::error!(
                untold,
                "more files have faults than are told apart: {untold} faults were not told"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(7_000_000_000);

    fn fault(path: &str) -> StorageFault {
        let (path, problem) = (path.to_owned(), "damaged at byte 9".to_owned());
        StorageFault { partition: PartitionId::METADATA, path, problem }
    }

    fn told(telling: Option<Telling>) -> Option<(u64, u64)> {
        telling.map(|telling| (telling.again, telling.untold))
    }

    #[test]
    fn a_fault_is_told_at_once_and_then_once_a_while_with_how_often_it_was_met() {
        let mut faults = Faults::default();
        assert_eq!(told(faults.handle(START, fault("a"))), Some((0, 0)));
        for _ in 0..5 {
            assert_eq!(faults.handle(START + REPEAT_EVERY / 2, fault("a")), None);
        }
        assert_eq!(told(faults.handle(START + REPEAT_EVERY / 2, fault("b"))), Some((0, 0)), "another file");
        assert_eq!(told(faults.handle(START + REPEAT_EVERY, fault("a"))), Some((5, 0)));
        assert_eq!(faults.met(), 8);
    }

    #[test]
    fn of_more_files_than_are_remembered_the_number_of_faults_is_told() {
        let mut faults = Faults::default();
        for place in 0..PLACES_MAX {
            assert!(faults.handle(START, fault(&place.to_string())).is_some());
        }
        assert_eq!(faults.handle(START, fault("one more")), None);
        assert_eq!(faults.handle(START, fault("another")), None);
        assert_eq!(faults.places.len(), PLACES_MAX);
        assert_eq!(told(faults.handle(START + REPEAT_EVERY, fault("later"))), Some((0, 2)));
        assert_eq!(faults.places.len(), 1, "the others were not met for a while");
    }
}
