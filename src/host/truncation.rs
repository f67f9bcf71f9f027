//! Cuts the suffix of a partition, as a new leader makes a follower do. Where the batch that is cut lies only in a
//! segment, it is looked for first.

use ringmain_shard::effect::Effects;
use ringmain_shard::store::Found;
use ringmain_wire::ids::{Offset, PartitionId};
use ringmain_wire::native::errors::ErrorCode;

use super::ShardHost;
use super::mail::Mail;
use super::mail::RequestNumber;
use super::requests::{Waiting, ticket};

/// The end of a truncation that took a while: the partition and where it was cut, if it was.
pub type Truncated = (PartitionId, Result<Offset, ErrorCode>);

impl ShardHost {
    /// Cuts a partition of this shard at `offset`, or where the batch begins that holds it, and says where that was. None
    /// when that has to be found out first: [`poll_truncated`](Self::poll_truncated) tells.
    ///
    /// # Errors
    /// When the partition is unknown or the log takes no more.
    pub fn truncate(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        effects: &mut Effects<Mail>,
    ) -> Result<Option<Offset>, ErrorCode> {
        if let Some(end) = self.store.cut_at(partition, offset)? {
            self.store.truncate(partition, end, None, effects)?;
            return Ok(Some(end));
        }
        let number = self.requests.insert(Waiting::Truncation { partition });
        if let Err(code) = self.store.find_batch(ticket(number, 0), partition, offset, effects) {
            self.requests.remove(number);
            return Err(code);
        }
        Ok(None)
    }

    /// The next truncation that took a while and has ended.
    pub fn poll_truncated(&mut self) -> Option<Truncated> {
        self.truncated.pop_front()
    }

    /// The batch was found, or not.
    pub(super) fn handle_batch_found(
        &mut self,
        number: RequestNumber,
        result: Result<Found, ErrorCode>,
        effects: &mut Effects<Mail>,
    ) {
        let Some(Waiting::Truncation { partition }) = self.requests.remove(number) else { return };
        let result = match result {
            Ok(Found::Batch(Some(base))) => {
                let log_start =
                    self.store.partition(partition).map_or(base, |partition| partition.log_start());
                let end = base.max(log_start);
                self.store.truncate(partition, end, None, effects).map(|()| end)
            }
            Ok(_) => Err(ErrorCode::OffsetOutOfRange),
            Err(code) => Err(code),
        };
        self.truncated.push_back((partition, result));
    }
}
