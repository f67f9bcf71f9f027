//! The partition of a key, as Kafka's default partitioner chooses it, so that every client agrees.

use crate::ids::PartitionIndex;

/// The partition of `key` among `partitions`: Kafka's `toPositive(murmur2(key)) % partitions`.
///
/// # Panics
/// When `partitions` is 0.
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has at least one partition");
    let positive = murmur2(key) as u32 & 0x7fff_ffff;
    PartitionIndex(positive % partitions)
}

/// The 32-bit MurmurHash2 of `bytes`, with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks();
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let mixed = (mixed ^ mixed >> 24).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed;
    }
    if !tail.is_empty() {
        for (place, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MULTIPLIER);
    (hash ^ hash >> 15) as i32
}

const MULTIPLIER: u32 = 0x5bd1_e995;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_test() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (bytes, hash) in cases {
            assert_eq!(murmur2(bytes), hash, "{bytes:?}");
        }
    }

    #[test]
    fn keys_go_where_other_clients_send_them() {
        assert_eq!(partition_for_key(b"order_123", 10), PartitionIndex(9));
        assert_eq!(partition_for_key(b"user-123", 100), PartitionIndex(68));
        assert_eq!(partition_for_key(b"sale-item-123", 100), PartitionIndex(38));
    }

    #[test]
    #[should_panic(expected = "at least one partition")]
    fn no_partitions_is_a_bug_of_the_caller() {
        partition_for_key(b"key", 0);
    }
}
