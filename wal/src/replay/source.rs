//! What replay reads from: the files of one log, a bounded piece at a time.

use core::fmt;

use bytes::{Bytes, BytesMut};

use super::ReplayError;
use crate::block::BLOCK_BYTES;

/// A read failed; the number is the operating system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFailed {
    /// The error's number (`errno`).
    pub errno: i32,
}

impl fmt::Display for ReadFailed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error {}", self.errno)
    }
}

impl core::error::Error for ReadFailed {}

/// The files of one (generation, log), as their owner has them.
pub trait LogSource {
    /// Reads from `position` of file `file` into `buffer` and gives how many bytes there were; 0 only at the end.
    ///
    /// # Errors
    /// When the device or the filesystem refuses.
    fn read_at(&mut self, file: u32, position: u64, buffer: &mut [u8]) -> Result<usize, ReadFailed>;

    /// The size of file `file` in bytes; `None` when it does not exist.
    fn file_bytes(&mut self, file: u32) -> Option<u64>;
}

/// The whole blocks of file `file`, in bytes.
pub(super) fn usable_bytes(source: &mut dyn LogSource, file: u32) -> Result<u64, ReplayError> {
    let bytes = source.file_bytes(file).ok_or(ReplayError::FileMissing { file })?;
    Ok(bytes - bytes % BLOCK_BYTES as u64)
}

/// A piece of one file, moved forward as it is consumed.
#[derive(Debug)]
pub(super) struct ReadWindow {
    /// Bytes read at a time, unless more are asked for.
    window_bytes: usize,
    file: u32,
    /// Where `bytes` start in the file.
    position: u64,
    bytes: BytesMut,
}

impl ReadWindow {
    pub(super) fn new(window_bytes: usize) -> Self {
        Self { window_bytes, file: 0, position: 0, bytes: BytesMut::new() }
    }

    /// The `length` bytes at `position` of `file`; fewer where the file ends.
    pub(super) fn peek(
        &mut self,
        source: &mut dyn LogSource,
        file: u32,
        position: u64,
        length: usize,
    ) -> Result<&[u8], ReplayError> {
        self.move_to(file, position);
        if self.bytes.len() < length {
            let left = usable_bytes(source, file)?.saturating_sub(position);
            let wanted = length.max(self.window_bytes).min(usize::try_from(left).unwrap_or(usize::MAX));
            if self.bytes.len() < wanted {
                self.read(source, wanted)?;
            }
        }
        Ok(&self.bytes[..length.min(self.bytes.len())])
    }

    /// Consumes the `length` bytes just peeked at.
    pub(super) fn take(&mut self, length: usize) -> Bytes {
        self.position += length as u64;
        self.bytes.split_to(length).freeze()
    }

    fn move_to(&mut self, file: u32, position: u64) {
        let ahead = position.checked_sub(self.position).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead {
            Some(ahead) if file == self.file && ahead <= self.bytes.len() => drop(self.bytes.split_to(ahead)),
            _ => self.bytes.clear(),
        }
        (self.file, self.position) = (file, position);
    }

    /// Fills a fresh buffer, as slices of the former one may have been given away.
    fn read(&mut self, source: &mut dyn LogSource, wanted: usize) -> Result<(), ReplayError> {
        let mut filled = self.bytes.len();
        let mut bytes = BytesMut::zeroed(wanted);
        bytes[..filled].copy_from_slice(&self.bytes);
        while filled < wanted {
            let position = self.position + filled as u64;
            match source.read_at(self.file, position, &mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) => return Err(ReplayError::Read { file: self.file, position, error }),
            }
        }
        bytes.truncate(filled);
        self.bytes = bytes;
        Ok(())
    }
}
