//! Which shard of a node owns a partition.

use ringmain_wire::ids::{PartitionId, ShardId};

/// The shard that owns `partition` on a node of `shards` shards.
///
/// The partitions of a topic go round the shards; where a topic begins follows from its id, so that many small topics
/// spread too. The metadata log is always shard 0's.
///
/// # Panics
/// When `shards` is 0.
pub fn owner(partition: PartitionId, shards: u16) -> ShardId {
    if partition == PartitionId::METADATA {
        return ShardId(0);
    }
    let first = u64::from_le_bytes(first_half(partition.topic.0))
        ^ u64::from_be_bytes(second_half(partition.topic.0));
    let place = (first % u64::from(shards) + u64::from(partition.index.get())) % u64::from(shards);
    ShardId(u16::try_from(place).expect("less than the number of shards"))
}

fn first_half(id: [u8; 16]) -> [u8; 8] {
    core::array::from_fn(|place| id[place])
}

fn second_half(id: [u8; 16]) -> [u8; 8] {
    core::array::from_fn(|place| id[place + 8])
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_topics_partitions_spread_evenly_and_topics_begin_anywhere() {
        let mut begins = [0; 4];
        for topic in 0..200_u8 {
            // As random as a version 4 UUID: the bytes of a multiplicative hash.
            let hash = (u128::from(topic) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let id = TopicId(hash.to_be_bytes());
            let mut owned = [0; 4];
            for index in 0..8 {
                owned[usize::from(owner(PartitionId::new(id, PartitionIndex(index)), 4).get())] += 1;
            }
            assert_eq!(owned, [2; 4]);
            begins[usize::from(owner(PartitionId::new(id, PartitionIndex(0)), 4).get())] += 1;
        }
        assert!(begins.iter().all(|&topics| topics > 20), "topics begin at {begins:?}");
        assert_eq!(owner(PartitionId::METADATA, 4), ShardId(0));
    }
}
