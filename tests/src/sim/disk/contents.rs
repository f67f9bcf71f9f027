//! What one file holds: as the next read sees it, and as it is on stable storage.

use super::SECTOR_BYTES;
use super::rot::Rot;
use crate::sim::random::Random;

/// The contents of a file. What is durable is never longer than what is cached.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The name it was made under.
    name: String,
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// By sector: whether the durable contents are older than the cached ones and the disk still knows it.
    dirty: Vec<bool>,
    /// What was durable when the file was emptied, until anything of it is made durable again: a crash may bring it
    /// back. Nothing is durable beside it.
    emptied: Option<Vec<u8>>,
    /// How often it was emptied.
    emptied_count: u64,
    rot: Rot,
}

/// What a sync that is started makes durable.
#[derive(Debug)]
pub(in crate::sim) struct Unsynced {
    sectors: Vec<usize>,
    bytes: usize,
    emptied_count: u64,
}

impl Contents {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// As much of that range as there is.
    pub(super) fn read(&self, position: usize, length: usize) -> &[u8] {
        let from = self.cached.len().min(position);
        &self.cached[from..self.cached.len().min(from + length)]
    }

    /// Puts bytes into the cache.
    pub(super) fn put(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
            self.dirty.resize(end.div_ceil(SECTOR_BYTES), false);
        }
        self.rot.handle_put(position, &self.cached[position..end], bytes);
        self.cached[position..end].copy_from_slice(bytes);
        self.dirty[position / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)].fill(true);
    }

    /// Puts bytes on stable storage.
    pub(super) fn put_durably(&mut self, position: usize, bytes: &[u8]) {
        self.put(position, bytes);
        for sector in sectors(position, bytes.len()) {
            self.harden(sector);
        }
    }

    /// Puts `keep` in a thousand of the bytes' sectors on stable storage, and says how many.
    pub(super) fn put_some(
        &mut self,
        position: usize,
        bytes: &[u8],
        keep: u64,
        random: &mut Random,
    ) -> usize {
        let mut kept = 0;
        for (sector, piece) in sectors(position, bytes.len()).zip(bytes.chunks(SECTOR_BYTES)) {
            if random.chance(keep) {
                kept += 1;
                self.put_durably(sector * SECTOR_BYTES, piece);
            }
        }
        kept
    }

    /// Nothing is in it any more.
    pub(super) fn empty(&mut self) {
        let durable = core::mem::take(&mut self.durable);
        self.rot.empty(self.emptied.is_none());
        self.emptied.get_or_insert(durable);
        self.emptied_count += 1;
        self.cached.clear();
        self.dirty.clear();
    }

    /// Cuts it, durably.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.emptied = None;
        self.cached.truncate(bytes);
        self.durable.truncate(bytes);
        self.rot.truncate(bytes);
        self.dirty.truncate(bytes.div_ceil(SECTOR_BYTES));
    }

    /// What a sync started now makes durable.
    pub(super) fn unsynced(&self) -> Unsynced {
        let dirty = self.dirty.iter().enumerate().filter(|(_, dirty)| **dirty);
        Unsynced {
            sectors: dirty.map(|(sector, _)| sector).collect(),
            bytes: self.cached.len(),
            emptied_count: self.emptied_count,
        }
    }

    /// A sync completes.
    pub(super) fn finish_sync(&mut self, unsynced: &Unsynced) {
        if self.emptied_count != unsynced.emptied_count {
            return;
        }
        self.emptied = None;
        for &sector in &unsynced.sectors {
            if self.dirty.get(sector) == Some(&true) {
                self.harden(sector);
            }
        }
        let bytes = unsynced.bytes.min(self.cached.len());
        if self.durable.len() < bytes {
            self.durable.resize(bytes, 0);
        }
    }

    /// A sync fails: some sectors are taken for clean although they are not durable, and no later sync writes them.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        for dirty in &mut self.dirty {
            *dirty &= random.chance(500);
        }
    }

    /// Power is about to go, and nobody has made sure that the file was emptied: it may hold what it held.
    pub(super) fn decide_emptied(&mut self, random: &mut Random) {
        if let Some(former) = self.emptied.take()
            && random.chance(500)
        {
            self.durable = former;
            self.rot.restore_emptied();
        }
    }

    /// Whether a crash takes anything from it.
    pub(super) fn has_unsynced(&self) -> bool {
        self.dirty.contains(&true) || self.durable != self.cached
    }

    /// Power is gone: of the dirty sectors some have reached the disk, and so may have the length. A sector that was
    /// never durable and is lost shows zeroes, or what `stale` has there.
    pub(super) fn handle_power_loss(&mut self, stale: Option<&[u8]>, random: &mut Random) {
        let before = self.durable.len();
        let keep = *random.pick(&[0, 0, 300, 700, 1000]);
        for sector in 0..self.dirty.len() {
            let from = sector * SECTOR_BYTES;
            if !self.dirty[sector] {
                continue;
            }
            if random.chance(keep) {
                self.harden(sector);
            } else if let Some(piece) = stale.and_then(|stale| stale.get(from..from + SECTOR_BYTES))
                && self.durable.len() <= from
            {
                self.put_durably(from, piece);
            }
        }
        let reached = self.durable.len();
        if before != reached || reached != self.cached.len() {
            let bytes = *random.pick(&[before, reached, self.cached.len()]);
            self.durable.resize(bytes, 0);
        }
        self.cached.clone_from(&self.durable);
        self.rot.handle_power_loss(self.durable.len());
        self.dirty.clear();
        self.dirty.resize(self.cached.len().div_ceil(SECTOR_BYTES), false);
    }

    /// Flips bits of a byte, wherever it is kept.
    pub(super) fn flip(&mut self, place: usize, bits: u8) {
        self.cached[place] ^= bits;
        let durable = self.durable.get_mut(place);
        self.rot.flip(place, bits, durable.is_some());
        if let Some(byte) = durable {
            *byte ^= bits;
        }
    }

    /// The bytes that read otherwise than they were written.
    pub(super) fn rotten(&self) -> impl Iterator<Item = usize> {
        self.rot.places()
    }

    /// All of it as it was written.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut bytes = self.cached.clone();
        self.rot.undo(0, &mut bytes);
        bytes
    }

    /// Makes a sector durable as it is in the cache, and with it that the file was emptied before.
    fn harden(&mut self, sector: usize) {
        self.emptied = None;
        let from = sector * SECTOR_BYTES;
        let end = self.cached.len().min(from + SECTOR_BYTES);
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[from..end].copy_from_slice(&self.cached[from..end]);
        self.rot.harden(from..end);
        self.dirty[sector] = false;
    }
}

fn sectors(position: usize, bytes: usize) -> core::ops::Range<usize> {
    let first = position / SECTOR_BYTES;
    first..first + bytes.div_ceil(SECTOR_BYTES)
}
