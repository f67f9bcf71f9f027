//! What was acknowledged, and whether all of it is still there, byte for byte, at its offset.

use std::collections::BTreeMap;

use ringmain_wire::batch::{BatchBuilder, Batches, Codec, check};
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs, TopicId};
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::messages::FetchRequest;

use crate::crash::session::{Session, SessionError};
use crate::fuzz::dice::Dice;
use crate::siege::client::{fetch, fetch_part, produce};
use crate::siege::error::SiegeError;

pub(super) const PARTITIONS: u32 = 4;
const BATCH_RECORDS: i64 = 8;
const RECORD_WORDS: usize = 512;
const TIME: TimestampMs = TimestampMs(1_700_000_000_000);
const FETCH_BYTES: u32 = 1 << 20;
/// Bytes of a batch in front of those that are as they were produced: base offset, length and leader epoch.
const STAMPED_BYTES: usize = 16;

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Acknowledged,
    Refused(ErrorCode),
}

/// Numbers of the acknowledged batches, by topic and partition, in the order of their offsets.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    batches: BTreeMap<(TopicId, u32), Vec<u64>>,
    next: u64,
    pub(super) acknowledged: u64,
    pub(super) compared_bytes: u64,
}

impl Ledger {
    /// Sends the next batch. Which one it is decides its partition and its bytes.
    pub(super) fn send(&mut self, session: &mut Session, topic: TopicId) -> Result<Sent, SiegeError> {
        let number = self.next;
        self.next += 1;
        let partition = (number % u64::from(PARTITIONS)) as u32;
        let entry = self.batches.entry((topic, partition)).or_default();
        let due = Offset(entry.len() as i64 * BATCH_RECORDS);
        match produce(session, topic, PartitionIndex(partition), &batch(number)) {
            Ok(offset) if offset == due => {
                entry.push(number);
                self.acknowledged += 1;
                Ok(Sent::Acknowledged)
            }
            Ok(offset) => Err(SiegeError::broken(format!("a batch landed at {offset}, {due} was due"))),
            Err(SessionError::Refused { error, message }) => match ErrorCode::from_number(error) {
                Some(code @ (ErrorCode::DiskFull | ErrorCode::OverBudget)) => Ok(Sent::Refused(code)),
                _ => Err(SiegeError::broken(format!("a produce is refused with {error}: {message}"))),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// A topic is deleted.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.batches.retain(|&(id, _), _| id != topic);
    }

    /// Bytes that were acknowledged of a topic.
    pub(super) fn bytes_of(&self, topic: TopicId) -> u64 {
        let numbers =
            self.batches.iter().filter(|((id, _), _)| *id == topic).map(|(_, numbers)| numbers.len());
        numbers.sum::<usize>() as u64 * (BATCH_RECORDS as usize * RECORD_WORDS * 8) as u64
    }

    /// Reads all that was acknowledged. Where the outcome of a batch is not known, one more may be there.
    pub(super) fn read_back(&mut self, session: &mut Session) -> Result<(), SiegeError> {
        for (&(topic, partition), numbers) in &self.batches {
            let mut place = 0;
            while place < numbers.len() {
                let from = Offset(place as i64 * BATCH_RECORDS);
                let parts = vec![fetch_part(topic, PartitionIndex(partition), from, FETCH_BYTES)];
                let request = FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
                let found = fetch(session, &request)?.pop().unwrap_or_default();
                self.compared_bytes += found.len() as u64;
                let read = compare(place, &numbers[place..], &found)
                    .map_err(|problem| SiegeError::broken(format!("partition {partition}: {problem}")))?;
                place += read;
            }
        }
        Ok(())
    }

    /// The outcome of the last batch is not known: it is among the acknowledged if it is there.
    pub(super) fn settle_doubt(&mut self, session: &mut Session, topic: TopicId) -> Result<(), SiegeError> {
        let number = self.next - 1;
        let partition = (number % u64::from(PARTITIONS)) as u32;
        let entry = self.batches.entry((topic, partition)).or_default();
        let from = Offset(entry.len() as i64 * BATCH_RECORDS);
        let parts = vec![fetch_part(topic, PartitionIndex(partition), from, FETCH_BYTES)];
        let request = FetchRequest { wait_ms_max: 0, bytes_min: 1, bytes_max: FETCH_BYTES, parts };
        if !fetch(session, &request)?.pop().unwrap_or_default().is_empty() {
            entry.push(number);
        }
        Ok(())
    }
}

/// How many batches those are, each the one that is due.
fn compare(place: usize, due: &[u64], found: &[u8]) -> Result<usize, String> {
    let mut read = 0;
    for (found, &number) in Batches::new(found).zip(due) {
        let offset = Offset((place + read) as i64 * BATCH_RECORDS);
        let is_right = found.is_ok_and(|(header, bytes)| {
            header.base_offset == offset
                && check(bytes).is_ok()
                && bytes[STAMPED_BYTES..] == batch(number)[STAMPED_BYTES..]
        });
        if !is_right {
            return Err(format!("what stands at {offset} is not what was acknowledged"));
        }
        read += 1;
    }
    if read == 0 {
        return Err(format!("{} batches from {place} on were acknowledged and are gone", due.len()));
    }
    Ok(read)
}

/// The batch of that number, of values that no filesystem could shrink.
fn batch(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(1, number);
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..BATCH_RECORDS {
        let value: Vec<u8> = (0..RECORD_WORDS).flat_map(|_| dice.number().to_le_bytes()).collect();
        builder.append(TIME, None, Some(&value), &[]);
    }
    builder.finish().expect("a batch with records can be built").to_vec()
}

#[cfg(test)]
mod tests {
    use ringmain_wire::batch::stamp;
    use ringmain_wire::ids::LeaderEpoch;

    use super::*;

    #[test]
    fn a_lost_a_moved_and_a_changed_batch_are_told() {
        let stamped = |number, place: i64| {
            let mut bytes = batch(number);
            stamp(&mut bytes, Offset(place * BATCH_RECORDS), LeaderEpoch(2));
            bytes
        };
        let both = [stamped(7, 3), stamped(11, 4)].concat();
        assert_eq!(compare(3, &[7, 11, 15], &both), Ok(2));
        assert!(compare(3, &[7], &[]).unwrap_err().contains("gone"));
        assert!(compare(3, &[7], &stamped(7, 4)).is_err(), "moved");
        assert!(compare(3, &[7], &stamped(11, 3)).is_err(), "another");
        let mut changed = stamped(7, 3);
        let last = changed.len() - 1;
        changed[last] ^= 1;
        assert!(compare(3, &[7], &changed).is_err());
    }
}
