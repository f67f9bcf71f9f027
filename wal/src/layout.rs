//! Little-endian fields at fixed places, and a bounded reader for lists of them.

use ringmain_wire::ids::{Offset, TimestampMs};

/// Writes `field` at `place` of `bytes`.
#[inline]
pub(crate) fn put(bytes: &mut [u8], place: usize, field: &[u8]) {
    bytes[place..place + field.len()].copy_from_slice(field);
}

/// Appends the number of items of a list, as [`Reader::list`] takes it.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("lists are far below 4 billion items");
    out.extend_from_slice(&count.to_le_bytes());
}

/// The `N` bytes at `place`; the caller has checked the length.
#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], place: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[place..place + N]);
    field
}

/// The `u16` at `place`.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], place: usize) -> u16 {
    u16::from_le_bytes(array(bytes, place))
}

/// The `u32` at `place`.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_le_bytes(array(bytes, place))
}

/// The `u64` at `place`.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(array(bytes, place))
}

/// Takes fields from the front of `bytes`; what is not there is `None`, never a panic.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(crate) fn offset(&mut self) -> Option<Offset> {
        self.i64().map(Offset)
    }

    pub(crate) fn timestamp(&mut self) -> Option<TimestampMs> {
        self.i64().map(TimestampMs)
    }

    /// A count of items of at least `item_bytes` each; `None` when what remains cannot hold as many.
    fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count.checked_mul(item_bytes)? <= self.bytes.len()).then_some(count)
    }

    /// A counted list of items of at least `item_bytes` each, every one of which `item` takes.
    pub(crate) fn list<T>(
        &mut self,
        item_bytes: usize,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        (0..self.count(item_bytes)?).map(|_| item(self)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
