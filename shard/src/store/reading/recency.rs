//! Things in the order in which they were last used, for caches that give up the oldest.

use std::collections::BTreeMap;

/// Keys, the one used longest ago first.
#[derive(Debug)]
pub(super) struct Recency<K> {
    /// Counts uses.
    clock: u64,
    uses: BTreeMap<K, u64>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Copy + Ord> Recency<K> {
    pub(super) const fn new() -> Self {
        Self { clock: 0, uses: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    /// `key` is used now, perhaps for the first time.
    pub(super) fn touch(&mut self, key: K) {
        self.clock += 1;
        if let Some(before) = self.uses.insert(key, self.clock) {
            self.by_use.remove(&before);
        }
        self.by_use.insert(self.clock, key);
    }

    /// Forgets `key`, if it is known.
    pub(super) fn remove(&mut self, key: K) {
        if let Some(used) = self.uses.remove(&key) {
            self.by_use.remove(&used);
        }
    }

    /// The key used longest ago.
    pub(super) fn oldest(&self) -> Option<K> {
        self.oldest_first().next()
    }

    /// All keys, the one used longest ago first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = K> {
        self.by_use.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_moves_a_key_behind_all_others() {
        let mut recency = Recency::new();
        for key in [1, 2, 3, 1] {
            recency.touch(key);
        }
        assert_eq!(recency.oldest_first().collect::<Vec<_>>(), [2, 3, 1]);
        recency.remove(3);
        recency.remove(9);
        assert_eq!(recency.oldest_first().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(recency.oldest(), Some(2));
    }
}
