//! Newtypes for every number that could be swapped for another.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Declares a number that is only ever compared with its own kind.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
        )]
        #[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number, for arithmetic and formatting.
            #[inline]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    };
}

number! {
    /// Position of a record within its partition; the first is 0. View: cluster.
    Offset(i64)
}
number! {
    /// Number of a leader's reign over a partition; never falls. View: cluster.
    LeaderEpoch(i32)
}
number! {
    /// Index of a partition within its topic, from 0. View: cluster.
    PartitionIndex(u32)
}
number! {
    /// A core of one node, from 0. View: node.
    ShardId(u16)
}
number! {
    /// A broker of the cluster. View: cluster.
    NodeId(u32)
}
number! {
    /// Names an idempotent producer; allocated by the cluster, never reused.
    ProducerId(i64)
}
number! {
    /// Incarnation of a producer id; a higher one fences the lower ones.
    ProducerEpoch(i16)
}
number! {
    /// Place of a record in the stream of one producer incarnation to one partition; wraps to 0 after `i32::MAX`.
    ProducerSequence(i32)
}
number! {
    /// Milliseconds since the Unix epoch, as record timestamps carry them. Never used for a decision about safety.
    TimestampMs(i64)
}

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The offset `records` further on.
    ///
    /// # Panics
    /// When the sum leaves `i64`; offsets are bounded far below by what a disk holds.
    #[inline]
    #[must_use]
    pub const fn plus(self, records: u32) -> Self {
        match self.0.checked_add(records as i64) {
            Some(sum) => Self(sum),
            None => panic!("offset overflow"),
        }
    }
}

impl ProducerSequence {
    /// The sequence `records` further on, wrapping from `i32::MAX` to 0 (KIP-98).
    #[inline]
    #[must_use]
    pub const fn plus(self, records: u32) -> Self {
        let sum = self.0 as i64 + records as i64;
        Self((sum & 0x7fff_ffff) as i32)
    }
}

/// Names a topic for its whole life: a topic deleted and created again under the same name has another id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The log of topic metadata itself, kept by shard 0.
    pub const METADATA: Self = Self([0xff; 16]);
}

impl fmt::Display for TopicId {
    /// Hyphenated UUID.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                out.write_str("-")?;
            }
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TopicId({self})")
    }
}

/// A partition by the identity that survives renaming and re-creation of its topic.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize,
)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// Which of its partitions.
    pub index: PartitionIndex,
}

impl PartitionId {
    /// The single partition of the topic-metadata log.
    pub const METADATA: Self = Self { topic: TopicId::METADATA, index: PartitionIndex(0) };

    /// Partition `index` of `topic`.
    pub const fn new(topic: TopicId, index: PartitionIndex) -> Self {
        Self { topic, index }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.topic, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producer_sequence_wraps_to_zero_after_the_largest() {
        assert_eq!(ProducerSequence(i32::MAX).plus(1), ProducerSequence(0));
        assert_eq!(ProducerSequence(i32::MAX - 1).plus(3), ProducerSequence(1));
        assert_eq!(ProducerSequence(7).plus(5), ProducerSequence(12));
    }

    #[test]
    fn topic_id_prints_as_a_hyphenated_uuid() {
        let id = TopicId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
