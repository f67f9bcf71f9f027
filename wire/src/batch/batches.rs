//! The batches that lie one after another in a log, a segment or an answer.

use core::iter::FusedIterator;

use super::{BatchError, BatchHeader};

/// Walks concatenated batches by their headers; neither checksums nor records are looked at.
///
/// The first error is the last item: behind it no batch boundary is known. A batch that is cut short is
/// [`BatchError::Truncated`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take_batch(&mut self) -> Result<(BatchHeader, &'a [u8]), BatchError> {
        let header = BatchHeader::parse(self.rest)?;
        let batch_bytes = header.length as usize;
        let Some((batch, rest)) = self.rest.split_at_checked(batch_bytes) else {
            return Err(BatchError::Truncated { needed_bytes: batch_bytes, given_bytes: self.rest.len() });
        };
        self.rest = rest;
        Ok((header, batch))
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = self.take_batch();
        if batch.is_err() {
            self.rest = &[];
        }
        Some(batch)
    }
}

impl FusedIterator for Batches<'_> {}
