//! Says whether what was observed keeps the promises. Knows nothing of workload and faults but what it is told.
//!
//! The invariants are those of a single node: an acknowledged record is there once, with the same bytes, at its
//! acknowledged offset, after every start (I1); offsets are dense (I7); what was shown never changes (I8); a batch of an
//! idempotent producer lands once and in order (I11); marks and epochs never fall; deleted topics stay deleted;
//! a batch has its time from whom its topic says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ringmain_client::core::RecordTag;
use ringmain_shard::partition::Partition;
use ringmain_wire::batch::{self, BatchHeader, RecordReader, TimestampType};
use ringmain_wire::ids::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerSequence, TopicId,
};

use super::records::{Values, tag_of};
use super::wishes::TIMED_TOPIC;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: &'static str,
    /// How it was broken.
    pub what: String,
}

/// Fails with an invariant and a message.
macro_rules! ensure {
    ($holds:expr, $invariant:literal, $($what:tt)*) => {
        if !$holds {
            return Err(Violation { invariant: $invariant, what: format!($($what)*) });
        }
    };
}

mod power_loss;

/// What the checker is told before a record is given to a producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent {
    /// Where to.
    pub(super) partition: PartitionId,
    /// By which producer, over all clients.
    pub(super) producer: u64,
    /// Whether it may land once only.
    pub(super) idempotent: bool,
    /// Bytes of its value.
    pub(super) value_bytes: usize,
}

#[derive(Debug)]
struct Sent {
    intent: Intent,
    acknowledged: bool,
    /// Acknowledged without an offset: it is there, wherever.
    somewhere: bool,
}

/// What is known of one partition.
#[derive(Debug, Default)]
struct History {
    /// What was shown, acknowledged or recovered: it has to stay.
    shown: BTreeMap<Offset, RecordTag>,
    /// What could be read until a cut took it: answers from before the cut may still arrive, long after it.
    cut: BTreeSet<(Offset, RecordTag)>,
    /// Records below may be gone.
    log_start_asked: Offset,
    log_start: Offset,
    high_watermark: Offset,
    /// Whether anything was ever cut, so that gaps in a producer's sequence are explained.
    ever_truncated: bool,
    /// Reported as damaged: what is lost, is.
    damaged: bool,
    /// What it held when its node ended.
    held_at_end: Vec<(Offset, RecordTag)>,
    /// Power was lost since it was last served.
    lost_power: bool,
}

#[derive(Clone, Debug, Default)]
struct TopicLife {
    name: String,
    created: bool,
    gone: bool,
}

/// The checker of one run.
#[derive(Debug)]
pub(super) struct Checker {
    values: Values,
    records: Vec<Sent>,
    histories: BTreeMap<PartitionId, History>,
    topics: BTreeMap<TopicId, TopicLife>,
    /// By name: deletions asked for whose outcome is not known.
    deletions_open: BTreeMap<String, u64>,
    leader_epoch: Option<LeaderEpoch>,
}

type Checked = Result<(), Violation>;

impl Checker {
    pub(super) fn new() -> Self {
        Self {
            values: Values::new(),
            records: Vec::new(),
            histories: BTreeMap::new(),
            topics: BTreeMap::new(),
            deletions_open: BTreeMap::new(),
            leader_epoch: None,
        }
    }

    /// Where values come from.
    pub(super) fn values(&self) -> &Values {
        &self.values
    }

    /// The tag of the next record.
    pub(super) fn next_tag(&self) -> RecordTag {
        RecordTag(self.records.len() as u64)
    }

    /// The record with the next tag was given to a producer.
    pub(super) fn handle_sent(&mut self, intent: Intent) {
        self.records.push(Sent { intent, acknowledged: false, somewhere: false });
    }

    /// A record was acknowledged. Gives the partition it was sent to.
    pub(super) fn handle_acknowledged(
        &mut self,
        tag: RecordTag,
        offset: Option<Offset>,
    ) -> Result<PartitionId, Violation> {
        let sent = &mut self.records[tag.0 as usize];
        ensure!(!sent.acknowledged, "I1", "record {} was acknowledged twice", tag.0);
        sent.acknowledged = true;
        let partition = sent.intent.partition;
        match offset {
            Some(offset) => self.show(partition, offset, tag, "acknowledged")?,
            None => sent.somewhere = true,
        }
        Ok(partition)
    }

    /// A producer was told that its sequence does not fit.
    pub(super) fn handle_sequence_refused(&mut self, tag: RecordTag) -> Checked {
        let partition = self.records[tag.0 as usize].intent.partition;
        let history = self.histories.entry(partition).or_default();
        ensure!(
            history.ever_truncated || history.damaged,
            "I11",
            "record {} for {partition} was refused for its sequence, though nothing was ever cut there",
            tag.0
        );
        Ok(())
    }

    /// A producer was told that the partition is damaged.
    pub(super) fn handle_refused_as_damaged(&mut self, tag: RecordTag) -> Checked {
        let partition = self.records[tag.0 as usize].intent.partition;
        ensure!(
            self.is_damaged(partition),
            "I14",
            "record {} for {partition} was refused as if that were damaged",
            tag.0
        );
        Ok(())
    }

    /// Whether a start has ever called a partition damaged.
    pub(super) fn is_damaged(&self, partition: PartitionId) -> bool {
        self.histories.get(&partition).is_some_and(|history| history.damaged)
    }

    /// A consumer was given a record.
    pub(super) fn handle_consumed(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Checked {
        let tag = self.recognise(partition, offset, key, value)?;
        self.show(partition, offset, tag, "consumed")
    }

    /// A cut was asked for: records of the partition from `end` on may be gone, or come back after a crash. `readable` is
    /// what could be read just before.
    pub(super) fn handle_truncation(
        &mut self,
        partition: PartitionId,
        end: Offset,
        readable: Vec<(Offset, RecordTag)>,
    ) {
        let history = self.histories.entry(partition).or_default();
        history.cut.extend(readable.into_iter().filter(|&(offset, _)| offset >= end));
        history.shown.split_off(&end);
        history.ever_truncated = true;
        history.high_watermark = history.high_watermark.min(end);
    }

    /// Records below `offset` are no longer wanted.
    pub(super) fn handle_log_start(&mut self, partition: PartitionId, offset: Offset) {
        let history = self.histories.entry(partition).or_default();
        history.log_start_asked = history.log_start_asked.max(offset);
    }

    /// A topic was created.
    pub(super) fn handle_created(&mut self, topic: TopicId, name: &str) -> Checked {
        let life = self.topics.entry(topic).or_default();
        ensure!(!life.created, "topics", "topic {topic} was created twice");
        *life = TopicLife { name: name.to_owned(), created: true, gone: life.gone };
        Ok(())
    }

    /// Somebody wants the topic of that name deleted, whichever it will be.
    pub(super) fn handle_deletion_asked(&mut self, name: &str) {
        *self.deletions_open.entry(name.to_owned()).or_default() += 1;
    }

    /// The broker answered a deletion: this topic is gone, or none.
    pub(super) fn handle_deletion_answered(&mut self, name: &str, topic: Option<TopicId>) {
        *self.deletions_open.entry(name.to_owned()).or_default() -= 1;
        if let Some(topic) = topic {
            self.topics.entry(topic).or_default().gone = true;
        }
    }

    /// Whether a topic of that name was deleted.
    pub(super) fn was_deleted(&self, name: &str) -> bool {
        self.topics.values().any(|life| life.gone && life.name == name)
    }

    /// The marks of a partition as its shard has them at any time.
    pub(super) fn check_marks(&mut self, partition: &Partition) -> Checked {
        let id = partition.id();
        let (log_start, high_watermark, end) =
            (partition.log_start(), partition.high_watermark(), partition.end());
        let history = self.histories.entry(id).or_default();
        ensure!(
            history.high_watermark <= high_watermark,
            "I6",
            "the high watermark of {id} fell from {} to {high_watermark}",
            history.high_watermark
        );
        ensure!(
            history.log_start <= log_start,
            "I6",
            "the log start of {id} fell from {} to {log_start}",
            history.log_start
        );
        ensure!(
            log_start <= high_watermark && high_watermark <= end,
            "I7",
            "the marks of {id} are out of order: log start {log_start}, high watermark {high_watermark}, end {end}"
        );
        ensure!(
            log_start <= history.log_start_asked,
            "I1",
            "the log start of {id} is {log_start}, and only {} was asked for",
            history.log_start_asked
        );
        history.high_watermark = high_watermark;
        history.log_start = log_start;
        Ok(())
    }

    /// A node has started, and leads under this epoch.
    pub(super) fn handle_started(&mut self, epoch: LeaderEpoch) -> Checked {
        ensure!(
            self.leader_epoch.is_none_or(|before| before < epoch),
            "I5",
            "a start leads under {epoch}, the one before did under {:?}",
            self.leader_epoch
        );
        self.leader_epoch = Some(epoch);
        Ok(())
    }

    /// The topics that a node knows while no change is on its way.
    pub(super) fn check_topics(&mut self, topics: &BTreeSet<TopicId>) -> Checked {
        for (topic, life) in &mut self.topics {
            let there = topics.contains(topic);
            let may_be_gone = self.deletions_open.get(&life.name).is_some_and(|&open| open > 0);
            ensure!(!(life.gone && there), "topics", "topic {topic} was deleted and is there");
            ensure!(
                there || !life.created || life.gone || may_be_gone,
                "topics",
                "topic {topic} ({}) was created and is gone",
                life.name
            );
            life.gone |= !there;
        }
        for &topic in topics {
            self.topics.entry(topic).or_default();
        }
        Ok(())
    }

    /// The whole of a partition, with all its shown batches, as a start has recovered it or as it is when all is at rest.
    pub(super) fn check_contents(
        &mut self,
        partition: &Partition,
        stored: &[Bytes],
        recovered: bool,
        rot_reported: bool,
    ) -> Checked {
        let id = partition.id();
        let found = self.read(partition, stored)?;
        if recovered && !partition.is_damaged() {
            self.forgive_loss(id, partition.high_watermark())?;
        }
        let mut history = self.histories.remove(&id).unwrap_or_default();
        ensure!(
            !partition.is_damaged() || rot_reported || history.damaged,
            "I14",
            "{id} is read-only though nothing rotted"
        );
        history.damaged |= partition.is_damaged();
        if rot_reported {
            // The entry that moved the log start may be what rotted; no append can prove that there was none.
            history.log_start = history.log_start.min(partition.log_start());
        }
        let checked = self.compare(&history, partition, &found);
        if recovered {
            history.shown = found.into_iter().collect();
            history.high_watermark = partition.high_watermark();
            history.log_start = partition.log_start();
        }
        self.histories.insert(id, history);
        checked
    }

    /// Segments of a damaged partition are gone: what let them go may be what rotted.
    pub(super) fn handle_unreadable(&mut self, partition: &Partition) {
        let history = self.histories.entry(partition.id()).or_default();
        history.damaged = true;
        history.log_start = history.log_start.min(partition.log_start());
        history.high_watermark = history.high_watermark.min(partition.high_watermark());
    }

    fn compare(&self, history: &History, partition: &Partition, found: &[(Offset, RecordTag)]) -> Checked {
        let id = partition.id();
        if history.damaged {
            return Ok(());
        }
        let end = partition.high_watermark();
        ensure!(
            end >= history.high_watermark,
            "I6",
            "{id} has recovered to {end}, and {} was shown",
            history.high_watermark
        );
        ensure!(
            partition.log_start() >= history.log_start && partition.log_start() <= history.log_start_asked,
            "I6",
            "{id} begins at {}, it began at {} and {} was asked for",
            partition.log_start(),
            history.log_start,
            history.log_start_asked
        );
        let by_offset: BTreeMap<Offset, RecordTag> = found.iter().copied().collect();
        for (&offset, &tag) in &history.shown {
            let holds = by_offset.get(&offset) == Some(&tag);
            ensure!(
                holds || history.may_lack(offset),
                "I1",
                "record {} was shown or acknowledged at offset {offset} of {id}, and {:?} is there; log start {}, end {end}",
                tag.0,
                by_offset.get(&offset).map(|tag| tag.0),
                partition.log_start()
            );
        }
        let tags: BTreeSet<RecordTag> = found.iter().map(|&(_, tag)| tag).collect();
        for (number, sent) in self.records.iter().enumerate().filter(|(_, sent)| sent.somewhere) {
            let tag = RecordTag(number as u64);
            ensure!(
                sent.intent.partition != id
                    || tags.contains(&tag)
                    || history.ever_truncated
                    || partition.log_start() > Offset::ZERO,
                "I1",
                "record {number} was acknowledged without an offset, and {id} does not hold it"
            );
        }
        self.check_order(id, found)
    }

    /// Idempotent producers: each record once, acknowledged ones in the order in which they were given.
    fn check_order(&self, id: PartitionId, found: &[(Offset, RecordTag)]) -> Checked {
        let mut seen = BTreeMap::new();
        let mut newest: BTreeMap<u64, RecordTag> = BTreeMap::new();
        for &(offset, tag) in found {
            let sent = &self.records[tag.0 as usize];
            if !sent.intent.idempotent {
                continue;
            }
            let before = seen.insert(tag, offset);
            ensure!(
                before.is_none(),
                "I11",
                "record {} of an idempotent producer is at offsets {before:?} and {offset} of {id}",
                tag.0
            );
            if sent.acknowledged {
                let before = newest.insert(sent.intent.producer, tag);
                ensure!(
                    before.is_none_or(|before| before < tag),
                    "I11",
                    "records {before:?} and {tag:?} of one producer are in the wrong order in {id}"
                );
            }
        }
        Ok(())
    }

    /// The records in some batches of a partition.
    pub(super) fn records_in(
        &self,
        id: PartitionId,
        batches: &[Bytes],
    ) -> Result<Vec<(Offset, RecordTag)>, Violation> {
        let mut found = Vec::new();
        for batch in batches {
            let unreadable = |error| Violation {
                invariant: "I8",
                what: format!("{id} holds an unreadable batch: {error}"),
            };
            let mut records = RecordReader::new(batch, 1 << 20).map_err(unreadable)?;
            while let Some(record) = records.next() {
                let record = record.map_err(unreadable)?;
                found.push((record.offset, self.recognise(id, record.offset, record.key, record.value)?));
            }
        }
        Ok(found)
    }

    /// Reads a partition's shown records, and checks the format's rules on the way.
    fn read(&self, partition: &Partition, stored: &[Bytes]) -> Result<Vec<(Offset, RecordTag)>, Violation> {
        let id = partition.id();
        let mut found = Vec::new();
        let mut batches: BTreeSet<(ProducerId, ProducerEpoch, ProducerSequence)> = BTreeSet::new();
        let (mut next, mut epoch) = (None, LeaderEpoch(0));
        for stored in stored {
            let header = batch::check(stored).map_err(|error| Violation {
                invariant: "I8",
                what: format!("{id} holds a bad batch: {error}"),
            })?;
            let base = header.base_offset;
            ensure!(
                next.is_none_or(|next| next == base) && (next.is_some() || base <= partition.log_start()),
                "I7",
                "{id} has a gap before offset {base}: expected {next:?}, log start {}",
                partition.log_start()
            );
            next = Some(header.next_offset());
            ensure!(
                header.leader_epoch >= epoch,
                "I7",
                "the leader epoch of {id} falls from {epoch} to {} at {base}",
                header.leader_epoch
            );
            epoch = header.leader_epoch;
            let once = (header.producer, header.producer_epoch, header.base_sequence);
            ensure!(
                !header.is_idempotent() || batches.insert(once),
                "I11",
                "{id} holds the batch {once:?} twice, the second time at {base}"
            );
            if id == PartitionId::METADATA {
                continue;
            }
            self.check_time(id, header)?;
            let records = self.records_in(id, core::slice::from_ref(stored))?;
            found.extend(records.into_iter().filter(|&(offset, _)| offset >= partition.log_start()));
        }
        ensure!(
            next.unwrap_or(partition.log_start()) == partition.high_watermark(),
            "I7",
            "{id} ends at {} and holds records to {next:?}, log start {}",
            partition.high_watermark(),
            partition.log_start()
        );
        Ok(found)
    }

    /// Whose clock gave a batch its time, where the topic's name is known.
    fn check_time(&self, id: PartitionId, header: BatchHeader) -> Checked {
        let Some(TopicLife { name, created: true, .. }) = self.topics.get(&id.topic) else { return Ok(()) };
        let is_timed = header.timestamp_type() == TimestampType::LogAppendTime;
        ensure!(
            is_timed == (name == TIMED_TOPIC),
            "times",
            "the batch at {} of {id} ({name}) has times of the {:?} kind",
            header.base_offset,
            header.timestamp_type()
        );
        Ok(())
    }

    /// Which record it is; it must be one that was sent there, with the bytes it was sent with.
    fn recognise(
        &self,
        partition: PartitionId,
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<RecordTag, Violation> {
        let tag = tag_of(key).filter(|tag| tag.0 < self.records.len() as u64);
        let Some(tag) = tag else {
            let what = format!("{partition} holds something that nobody sent at offset {offset}");
            return Err(Violation { invariant: "I8", what });
        };
        let intent = self.records[tag.0 as usize].intent;
        ensure!(
            intent.partition == partition,
            "I8",
            "record {} was sent to {} and is in {partition}",
            tag.0,
            intent.partition
        );
        ensure!(
            value == Some(self.values.of(tag, intent.value_bytes)),
            "I8",
            "record {} has other bytes than it was sent with, at offset {offset} of {partition}",
            tag.0
        );
        Ok(tag)
    }

    /// A record was shown at an offset.
    fn show(&mut self, partition: PartitionId, offset: Offset, tag: RecordTag, how: &str) -> Checked {
        let history = self.histories.remove(&partition).unwrap_or_default();
        let outcome = match history.shown.get(&offset) {
            Some(before) if *before == tag => Ok(false),
            // The answer was on its way since before the cut; it says nothing of what the node holds now.
            _ if history.cut.contains(&(offset, tag)) => Ok(false),
            None => Ok(true),
            Some(_) if history.may_lack(offset) => Ok(false),
            Some(before) => Err(Violation {
                invariant: "I8",
                what: format!(
                    "record {} was {how} at offset {offset} of {partition}, where record {} was shown before",
                    tag.0, before.0
                ),
            }),
        };
        let entry = self.histories.entry(partition).or_insert(history);
        if outcome? {
            entry.shown.insert(offset, tag);
        }
        Ok(())
    }
}

impl History {
    /// Whether what was shown at an offset may be gone although nothing cut it.
    fn may_lack(&self, offset: Offset) -> bool {
        offset < self.log_start_asked || self.damaged
    }
}

#[cfg(test)]
mod tests;
