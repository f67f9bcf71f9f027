//! What replay does to a partition. Nothing is judged again: what the log holds is what happened.

use bytes::Bytes;
use ringmain_wal::state::{PartitionState, SegmentExtent};
use ringmain_wire::batch::BatchHeader;
use ringmain_wire::ids::{LeaderEpoch, Offset};

use super::Partition;
use super::epochs::EpochTable;
use super::producers::ProducerTable;
use super::segments::Segments;
use super::tail::{LogPlace, TailBatch};

impl Partition {
    /// A batch at the end. It was acknowledged or would have been.
    pub(crate) fn replayed(
        &mut self,
        header: &BatchHeader,
        leader_epoch: LeaderEpoch,
        bytes: Bytes,
        charge: usize,
        place: LogPlace,
    ) {
        let base_offset = self.end;
        self.epochs.record(leader_epoch, base_offset);
        self.producers.record(header, base_offset);
        self.end = base_offset.plus(header.records);
        self.high_watermark = self.end;
        self.tail.push(TailBatch {
            base_offset,
            next_offset: self.end,
            max_timestamp: header.max_timestamp,
            bytes,
            charge,
            place,
        });
        // A state may have moved the log start before the batches that were carried behind it.
        self.let_go_below_log_start();
    }

    /// Everything below the state's end lies in segments. Batches that the log gave so far go on from there, or are below.
    pub(crate) fn replayed_state(&mut self, state: PartitionState, place: LogPlace) {
        let PartitionState { log_start, settled_end, end: _, segments, epochs, producers, is_read_only } =
            state;
        while self.tail.pop_below(settled_end).is_some() {}
        // The log start may have passed what the state does not know of yet.
        self.end = self.end.max(settled_end);
        let settled_upto = self.tail.start().unwrap_or(self.end);
        let newer: Vec<_> =
            self.epochs.rows().iter().copied().filter(|&(_, start)| start >= settled_end).collect();
        self.epochs = EpochTable::default();
        for (epoch, start) in epochs.into_iter().chain(newer) {
            if self.epochs.last().is_none_or(|last| last < epoch) {
                self.epochs.record(epoch, start);
            }
        }
        self.epochs.truncate(self.end);
        self.high_watermark = self.end;
        // An entry before it may have moved the log start while the state was made.
        self.log_start = self.log_start.max(log_start);
        self.settled_end = settled_upto;
        self.settled_durably = settled_upto;
        self.segments = Segments::closed(segments);
        self.segments.drop_below(self.log_start);
        self.producers_settled = ProducerTable::restored(producers);
        self.producers_settled.absorb(&self.producers, settled_end..settled_upto);
        self.rebuild_producers();
        self.needed.logged(place);
        self.let_go_below_log_start();
        self.damaged = is_read_only;
    }

    /// A batch of the tail that stands in the log once more, at `place`.
    pub(crate) fn replayed_again(&mut self, offset: Offset, bytes: Bytes, charge: usize, place: LogPlace) {
        self.tail.carry(offset, super::tail::Carried { bytes, charge, place });
    }

    /// Its oldest batches, up to the segment's end, were put into a segment while replay goes on, to give memory back. No
    /// log says so yet: their entries are needed until one does.
    pub fn settled_by_replay(&mut self, extent: SegmentExtent) {
        while let Some(batch) = self.tail.pop_below(extent.end) {
            self.needed.note(batch.place);
            super::remember(&mut self.producers_settled, &batch);
        }
        self.segments.settle(extent);
        self.segments.close();
        self.settled_end = extent.end;
        self.settled_durably = extent.end;
    }

    /// Something of it that should be stored is not there: it opens read-only.
    pub fn mark_incomplete(&mut self) {
        self.damaged = true;
    }

    /// Files with these bases lie aside and are none of its segments; they go when the partition does.
    pub fn note_strays(&mut self, strays: Vec<Offset>) {
        self.segments.note_strays(strays);
    }

    /// Replay is over: appends from now on carry `leader_epoch`.
    pub(crate) fn lead(&mut self, leader_epoch: LeaderEpoch) {
        assert!(
            self.epochs.last().is_none_or(|last| last < leader_epoch),
            "leader epoch must rise with every start"
        );
        self.leader_epoch = leader_epoch;
        self.segments.close();
    }

    /// Opens it read-only: not proven continuous.
    pub(crate) fn mark_damaged(&mut self) {
        self.damaged = true;
    }
}
