//! Records that can be told apart: a tag names each, and key and value follow from it.

use ringmain_client::core::RecordTag;

/// Largest value, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 40 * 1024;

/// Where every value is a slice of.
#[derive(Debug)]
pub(super) struct Values {
    bytes: Vec<u8>,
}

impl Values {
    /// The same for every seed.
    pub(super) fn new() -> Self {
        let mut state = 0x1234_5678_9abc_def0_u64;
        let words = (0..VALUE_BYTES_MAX / 4).flat_map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 16).to_le_bytes()
        });
        Self { bytes: words.collect() }
    }

    /// The value of `length` bytes, at most [`VALUE_BYTES_MAX`], of a record.
    pub(super) fn of(&self, tag: RecordTag, length: usize) -> &[u8] {
        let from = (tag.0 as usize).wrapping_mul(37) % (self.bytes.len() - length + 1);
        &self.bytes[from..from + length]
    }
}

/// The key of a record.
pub(super) fn key_of(tag: RecordTag) -> [u8; 8] {
    tag.0.to_be_bytes()
}

/// The record that has this key.
pub(super) fn tag_of(key: Option<&[u8]>) -> Option<RecordTag> {
    Some(RecordTag(u64::from_be_bytes(key?.try_into().ok()?)))
}
