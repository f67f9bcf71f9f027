//! Reads a topic back and looks for what was acknowledged.

use std::net::SocketAddr;

use ringmain_wire::batch::{self, Batches};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{FetchPart, FetchRequest, FetchResponse};

use super::error::LoadError;
use super::produce::Acknowledged;
use super::report::Verification;
use super::session::Session;
use super::{CONTROL_TIMEOUT, end_offset};

const FETCH_BYTES_MAX: u32 = 4 * 1024 * 1024;
const FETCH_WAIT_MS: u32 = 1_000;

/// Reads each partition from `begins` to its end. Every acknowledged batch has to stand at its offset, whole; no
/// offset may have been acknowledged twice.
pub(super) fn read_back(
    owners: &[SocketAddr],
    topic: TopicId,
    begins: &[Offset],
    acknowledged: &Acknowledged,
    records_per_request: u32,
) -> Result<Verification, LoadError> {
    let mut found = Verification::default();
    for (index, &address) in owners.iter().enumerate() {
        let (mut session, _) = Session::connect(address, CONTROL_TIMEOUT)?;
        let partition = PartitionIndex(u32::try_from(index).expect("partitions are counted in 32 bits"));
        let stored = read_partition(&mut session, topic, partition, begins[index])?;
        found.add_partition(&stored, &acknowledged.base_offsets[index], records_per_request);
    }
    Ok(found)
}

/// Base offset and number of records of a stored batch.
type StoredBatch = (Offset, u32);

fn read_partition(
    session: &mut Session,
    topic: TopicId,
    partition: PartitionIndex,
    begin: Offset,
) -> Result<Vec<StoredBatch>, LoadError> {
    let end = end_offset(session, topic, partition)?;
    let mut next = begin;
    let mut stored = Vec::new();
    while next < end {
        let part = FetchPart {
            topic,
            partition,
            offset: next,
            bytes_max: FETCH_BYTES_MAX,
            leader_epoch: LeaderEpoch(-1),
        };
        let request = FetchRequest {
            wait_ms_max: FETCH_WAIT_MS,
            bytes_min: 1,
            bytes_max: FETCH_BYTES_MAX,
            parts: vec![part],
        };
        let (answer, payload) = session.request::<_, FetchResponse>(Api::Fetch, &request)?;
        let part = answer.parts.first().ok_or(LoadError::WrongAnswer { api: Api::Fetch })?;
        if part.error != 0 {
            return Err(LoadError::refused(Api::Fetch, part.error, String::new()));
        }
        let before = next;
        for batch in Batches::new(&payload) {
            let (_, bytes) = batch.map_err(LoadError::Batch)?;
            let header = batch::check(bytes).map_err(LoadError::Batch)?;
            stored.push((header.base_offset, header.records));
            next = header.base_offset.plus(header.records);
        }
        if next <= before {
            // Nothing there although the end says so: what is missing shows when the acknowledgements are looked up.
            break;
        }
    }
    Ok(stored)
}

impl Verification {
    fn add_partition(&mut self, stored: &[StoredBatch], acknowledged: &[Offset], records_per_request: u32) {
        let mut acknowledged = acknowledged.to_vec();
        acknowledged.sort_unstable();
        let acknowledgements = acknowledged.len();
        acknowledged.dedup();
        let records = u64::from(records_per_request);
        self.acknowledged_records += acknowledgements as u64 * records;
        self.acknowledged_twice_records += (acknowledgements - acknowledged.len()) as u64 * records;
        self.stored_records += stored.iter().map(|&(_, records)| u64::from(records)).sum::<u64>();
        let is_stored = |offset: &Offset| {
            // Sorted by offset: a partition is read forwards, and an offset out of order is found missing here.
            stored.binary_search(&(*offset, records_per_request)).is_ok()
        };
        let lost = acknowledged.iter().filter(|offset| !is_stored(offset)).count();
        self.lost_records += lost as u64 * records;
        self.out_of_order_batches += stored.windows(2).filter(|pair| pair[1].0 <= pair[0].0).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(stored: &[(i64, u32)], acknowledged: &[i64]) -> Verification {
        let stored: Vec<StoredBatch> =
            stored.iter().map(|&(offset, records)| (Offset(offset), records)).collect();
        let acknowledged: Vec<Offset> = acknowledged.iter().copied().map(Offset).collect();
        let mut verification = Verification::default();
        verification.add_partition(&stored, &acknowledged, 2);
        verification
    }

    #[test]
    fn all_that_was_acknowledged_is_there() {
        let verification = verified(&[(0, 2), (2, 2), (4, 2)], &[4, 0, 2]);
        assert!(verification.holds());
        assert_eq!((verification.acknowledged_records, verification.stored_records), (6, 6));
    }

    #[test]
    fn an_unacknowledged_batch_may_be_there() {
        assert!(verified(&[(0, 2), (2, 2)], &[2]).holds());
    }

    #[test]
    fn a_missing_or_shortened_batch_is_a_loss() {
        let missing = verified(&[(0, 2), (4, 2)], &[0, 2, 4]);
        assert_eq!((missing.lost_records, missing.holds()), (2, false));
        let shortened = verified(&[(0, 1)], &[0]);
        assert_eq!((shortened.lost_records, shortened.holds()), (2, false));
    }

    #[test]
    fn an_offset_given_twice_or_out_of_order_is_noticed() {
        let twice = verified(&[(0, 2)], &[0, 0]);
        assert_eq!((twice.acknowledged_twice_records, twice.holds()), (2, false));
        let unordered = verified(&[(2, 2), (0, 2)], &[]);
        assert_eq!((unordered.out_of_order_batches, unordered.holds()), (1, false));
    }
}
