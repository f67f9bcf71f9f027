//! What is written: records that follow from their place alone.

use ringmain_wire::batch::Codec;
use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};

use super::stored::Content;

/// A topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicPlan {
    pub(super) name: &'static str,
    pub(super) partitions: u32,
    pub(super) codec: Codec,
    /// Most bytes of a value's filler.
    pub(super) filler_bytes_max: u64,
    /// Records that each partition gets in each start of the broker.
    pub(super) records: &'static [u64],
}

/// All topics. What the first two starts write is settled in part; what the last one writes stays in its logs.
pub(super) const TOPICS: &[TopicPlan] = &[
    TopicPlan {
        name: "orders",
        partitions: 3,
        codec: Codec::None,
        filler_bytes_max: 900,
        records: &[3_000, 1_500, 60],
    },
    TopicPlan {
        name: "payments",
        partitions: 2,
        codec: Codec::Lz4,
        filler_bytes_max: 300,
        records: &[500, 300, 40],
    },
    TopicPlan { name: "rare", partitions: 2, codec: Codec::None, filler_bytes_max: 40, records: &[3, 0, 2] },
];
/// Of every topic: segments so small that some are full, and nothing that goes because it is old.
pub(super) const SETTINGS: &[(&str, &str)] = &[("segment.bytes", "1048576"), ("retention.ms", "-1")];
/// Starts of the broker.
pub(super) const STARTS: usize = 3;

/// What was acknowledged: in each partition the records from 0 up to a number, each at the offset that is its number.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) partitions: Vec<WrittenPartition>,
}

/// One partition of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenPartition {
    pub(super) topic: TopicPlan,
    pub(super) index: PartitionIndex,
    /// Records acknowledged.
    pub(super) records: u64,
}

impl Written {
    /// Records acknowledged.
    pub(super) fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.records).sum()
    }
}

impl WrittenPartition {
    /// Record `number`.
    pub(super) fn content(&self, number: u64) -> Content {
        let Self { topic, index, .. } = self;
        let mixed = (number ^ u64::from(index.get()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut value = format!("{}-{index}-{number}-", topic.name).into_bytes();
        let filler_bytes = mixed % topic.filler_bytes_max;
        value.extend((0..filler_bytes).map(|place| b'a' + ((number + place) % 26) as u8));
        let timestamp = TimestampMs(1_000_000 + i64::try_from(number).unwrap_or(i64::MAX));
        let key = (!number.is_multiple_of(3)).then(|| format!("key-{}", mixed % 100).into_bytes());
        Content { timestamp, key, value: Some(value), headers: Vec::new() }
    }

    /// Whether the record found at an offset is the one that was acknowledged there.
    pub(super) fn check(&self, offset: Offset, found: &Content) -> Result<(), String> {
        let expected = u64::try_from(offset.get()).ok().filter(|number| *number < self.records);
        match expected.map(|number| self.content(number)) {
            Some(expected) if expected == *found => Ok(()),
            Some(_) => Err(format!("{self} holds another record at {offset} than was acknowledged there")),
            None => Err(format!("{self} holds a record at {offset} that nobody wrote")),
        }
    }
}

impl core::fmt::Display for WrittenPartition {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(out, "{}-{}", self.topic.name, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_at_its_own_place_only() {
        let partition = |topic: usize, index| WrittenPartition {
            topic: TOPICS[topic],
            index: PartitionIndex(index),
            records: 10,
        };
        let content = partition(0, 1).content(7);
        assert_eq!(partition(0, 1).check(Offset(7), &content), Ok(()));
        for (place, offset) in
            [(partition(0, 1), 8), (partition(0, 2), 7), (partition(1, 1), 7), (partition(0, 1), 10)]
        {
            assert!(place.check(Offset(offset), &content).is_err(), "{place} at {offset}");
        }
        let rotten = Content { timestamp: TimestampMs(1), ..content };
        assert!(partition(0, 1).check(Offset(7), &rotten).is_err());
    }
}
