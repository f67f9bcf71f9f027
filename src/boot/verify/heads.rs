//! Superblock and checkpoint, both copies of each.

use core::fmt::Display;

use ringmain_wal::checkpoint::{self, Checkpoint, CheckpointError};
use ringmain_wal::superblock::{self, SLOT_BYTES, Superblock, SuperblockError};

use super::{Finding, FindingKind, Stopped, Verifier};
use crate::boot::SUPERBLOCK;
use crate::boot::identity;
use crate::boot::logs::{CHECKPOINT, CHECKPOINT_SLOT_BYTES, read_checkpoint_slots};

impl Verifier<'_> {
    /// The superblock; none where it cannot be had, or where the directory is as good as new.
    pub(super) fn read_superblock(&mut self) -> Result<Option<Superblock>, Stopped> {
        let slots = match identity::read_slots(self.directory) {
            Ok(slots) => slots,
            Err(error) => return self.tell_unreadable(SUPERBLOCK, &error).map(|()| None),
        };
        match identity::find(&slots) {
            Ok(superblock) => {
                for (place, slot) in slots.iter().enumerate() {
                    match superblock::decode(slot, place) {
                        Ok(_) | Err(SuperblockError::Empty) => {}
                        Err(_) => self.tell_copy(SUPERBLOCK, place * SLOT_BYTES)?,
                    }
                }
                Ok(Some(superblock))
            }
            Err(SuperblockError::Empty) => {
                match identity::find_data(self.directory) {
                    Ok(None) => {}
                    Ok(Some(path)) => {
                        self.tell_unusable(SUPERBLOCK, format!("there is {path}, but no superblock"))?;
                    }
                    Err(error) => self.tell_unreadable("", &error)?,
                }
                Ok(None)
            }
            Err(error) => self.tell_unusable(SUPERBLOCK, error).map(|()| None),
        }
    }

    /// The checkpoint; none where it cannot be had.
    pub(super) fn read_checkpoint(&mut self) -> Result<Option<Checkpoint>, Stopped> {
        let slots = match read_checkpoint_slots(self.directory) {
            Ok(slots) => slots,
            Err(error) => return self.tell_unreadable(CHECKPOINT, &error).map(|()| None),
        };
        match checkpoint::choose(&slots[0], &slots[1]) {
            Ok(checkpoint) => {
                for (place, slot) in slots.iter().enumerate() {
                    match checkpoint::decode(slot, place) {
                        Ok(_) | Err(CheckpointError::Empty) => {}
                        Err(_) => self.tell_copy(CHECKPOINT, place * CHECKPOINT_SLOT_BYTES)?,
                    }
                }
                Ok(Some(checkpoint))
            }
            // It was there before the superblock was.
            Err(error) => self.tell_unusable(CHECKPOINT, error).map(|()| None),
        }
    }

    fn tell_copy(&mut self, path: &str, position: usize) -> Result<(), Stopped> {
        let meaning = format!(
            "one of the two copies of the {path} is damaged, by a write cut short or by rot: the other one is used"
        );
        self.tell(Finding::new(FindingKind::CopyDamaged, path, meaning).at(position as u64))
    }

    fn tell_unusable(&mut self, path: &str, error: impl Display) -> Result<(), Stopped> {
        let meaning = format!("{error}: a start refuses the directory, and nothing more of it can be read");
        self.tell(Finding::new(FindingKind::HeadUnusable, path, meaning).at(0))
    }
}
