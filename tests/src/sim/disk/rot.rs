//! Which bits of a file are not what was written there: in the cache, and on stable storage.

use std::collections::BTreeMap;
use std::ops::Range;

/// Flipped bits by the place of their byte.
type Bits = BTreeMap<usize, u8>;

/// The flipped bits of one file. Follows its bytes wherever they go, so that what was written is known whatever rots.
#[derive(Clone, Debug, Default)]
pub(super) struct Rot {
    cached: Bits,
    durable: Bits,
    /// Of what was durable when the file was emptied.
    emptied: Bits,
}

impl Rot {
    /// Bits of a byte flip in the cache, and on stable storage if it is there.
    pub(super) fn flip(&mut self, place: usize, bits: u8, is_durable: bool) {
        let durable = is_durable.then_some(&mut self.durable);
        for kept in [&mut self.cached].into_iter().chain(durable) {
            let flipped = kept.remove(&place).unwrap_or_default() ^ bits;
            if flipped != 0 {
                kept.insert(place, flipped);
            }
        }
    }

    /// Bytes are put into the cache where `before` was: what rotted stays so only where the same is written again.
    pub(super) fn handle_put(&mut self, position: usize, before: &[u8], bytes: &[u8]) {
        if !self.cached.is_empty() {
            let at = |bytes: &[u8], place: usize| bytes.get(place - position).copied();
            let is_written = |place: usize| (position..position + bytes.len()).contains(&place);
            self.cached.retain(|&place, _| !is_written(place) || at(before, place) == at(bytes, place));
        }
    }

    /// What the cache holds of some bytes is durable.
    pub(super) fn harden(&mut self, places: Range<usize>) {
        if !self.cached.is_empty() || !self.durable.is_empty() {
            self.durable.retain(|place, _| !places.contains(place));
            self.durable.extend(self.cached.range(places).map(|(&place, &bits)| (place, bits)));
        }
    }

    /// The file was emptied: `is_first` since anything of it was made durable.
    pub(super) fn empty(&mut self, is_first: bool) {
        let durable = core::mem::take(&mut self.durable);
        if is_first {
            self.emptied = durable;
        }
        self.cached.clear();
    }

    /// The file is again what it was before it was emptied.
    pub(super) fn restore_emptied(&mut self) {
        self.durable = core::mem::take(&mut self.emptied);
    }

    /// Only so many bytes are left.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.cached.split_off(&bytes);
        self.durable.split_off(&bytes);
    }

    /// Power is gone: so many bytes are left, as they were durable.
    pub(super) fn handle_power_loss(&mut self, bytes: usize) {
        self.durable.split_off(&bytes);
        self.cached.clone_from(&self.durable);
    }

    /// The bytes that read otherwise than they were written.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.cached.keys().copied()
    }

    /// Makes bytes from `position` on those that were written.
    pub(super) fn undo(&self, position: usize, bytes: &mut [u8]) {
        for (&place, &bits) in self.cached.range(position..position + bytes.len()) {
            bytes[place - position] ^= bits;
        }
    }
}
