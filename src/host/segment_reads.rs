//! What waits for segments to be read, and what becomes of it when they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use ringmain_shard::effect::Effects;
use ringmain_shard::store::{Found, Read, ReadCompletion};
use ringmain_wire::ids::PartitionId;
use ringmain_wire::native::messages::FetchPart;

use super::ShardHost;
use super::mail::Mail;
use super::requests::{FetchHere, FetchReading, Waiting, of_ticket, ticket};

/// Set aside for a read at the least: what it gives is a batch, however little is wanted.
const SET_ASIDE_BYTES_MIN: usize = 1024 * 1024;

impl FetchReading {
    /// What is set aside of the memory that may be lent, until it is known how much was found.
    fn set_aside_bytes(&self) -> usize {
        self.here.bytes_max.max(SET_ASIDE_BYTES_MIN)
    }
}

impl ShardHost {
    /// Whether the records that a part of a fetch wants next lie only in a segment.
    pub(super) fn lies_in_segment(&self, part: &FetchPart) -> bool {
        let id = PartitionId::new(part.topic, part.partition);
        self.readable(part).is_ok()
            && self.store.read(id, part.offset, 0, false, &mut Vec::new()) == Ok(Read::InSegment)
    }

    /// Reads the given parts of a share out of segments, each its part of what the answer may hold.
    pub(super) fn read_segments(&mut self, here: FetchHere, places: &[usize], effects: &mut Effects<Mail>) {
        let room = here.bytes_max / places.len();
        let wanted: Vec<(usize, FetchPart)> =
            places.iter().map(|&place| (place, here.parts[place].1.clone())).collect();
        let reading = FetchReading { here, found: BTreeMap::new(), missing: 0 };
        self.lending.lend(reading.set_aside_bytes());
        let number = self.requests.insert(Waiting::FetchReading(reading));
        for (place, part) in wanted {
            let id = PartitionId::new(part.topic, part.partition);
            let bytes_max = room.min(part.bytes_max as usize);
            let started = self.store.read_segment(ticket(number, place), id, part.offset, bytes_max, effects);
            if let Some(Waiting::FetchReading(reading)) = self.requests.get_mut(number) {
                match started {
                    Ok(()) => reading.missing += 1,
                    Err(code) => drop(reading.found.insert(place, Err(code))),
                }
            }
        }
        self.finish_fetch_reading(number, effects);
    }

    /// A read has ended.
    pub(super) fn handle_segment_read(&mut self, read: ReadCompletion, effects: &mut Effects<Mail>) {
        let ReadCompletion { ticket, base, result } = read;
        let (number, place) = of_ticket(ticket);
        match self.requests.get_mut(number) {
            Some(Waiting::FetchReading(reading)) => {
                reading.missing -= 1;
                let found = result.map(|found| match found {
                    Found::Batches(bytes) => bytes,
                    // Whether the offset is still there is asked before anything is answered.
                    Found::Moved => Bytes::new(),
                    other => unreachable!("wanted batches and found {other:?}"),
                });
                reading.found.insert(place, found);
                self.finish_fetch_reading(number, effects);
            }
            Some(Waiting::TimeSearch(_)) => self.handle_time_found(number, base, result, effects),
            Some(Waiting::Truncation { .. }) => self.handle_batch_found(number, result, effects),
            other => unreachable!("a read ended that nobody waits for: {other:?}"),
        }
    }

    fn finish_fetch_reading(&mut self, number: super::mail::RequestNumber, effects: &mut Effects<Mail>) {
        let is_over = matches!(self.requests.get_mut(number), Some(Waiting::FetchReading(reading)) if reading.missing == 0);
        if is_over && let Some(Waiting::FetchReading(reading)) = self.requests.remove(number) {
            self.lending.give_back(reading.set_aside_bytes());
            self.hand_over(&reading.here, &reading.found, effects);
        }
    }
}
