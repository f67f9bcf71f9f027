//! The files that logic has open, and what its file operations become.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use bytes::{Buf, BytesMut};

use super::operations::Operation;
use crate::effect::{FileId, FileOperation, FileToken, OpenMode};
use crate::event::FileError;

/// Unit of position, length and memory alignment of everything read and written.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Open files by the number that logic chose.
#[derive(Debug)]
pub(super) struct Files {
    /// The data directory; all paths are relative to it.
    directory: OwnedFd,
    direct_io: bool,
    open: BTreeMap<FileId, OwnedFd>,
}

impl Files {
    pub(super) const fn below(directory: OwnedFd, direct_io: bool) -> Self {
        Self { directory, direct_io, open: BTreeMap::new() }
    }

    /// What the kernel is asked for so that `operation` happens.
    ///
    /// # Panics
    /// On a file that is not open, and on memory, positions or lengths that are not whole blocks.
    pub(super) fn operation(&mut self, token: FileToken, operation: FileOperation) -> Operation {
        let directory = self.directory.as_raw_fd();
        match operation {
            FileOperation::Open { file, path, mode } => {
                assert!(!self.open.contains_key(&file), "{file:?} is open");
                Operation::Open { token, file, directory, path: relative(path), flags: self.flags(mode) }
            }
            FileOperation::Write { file, position, bytes, sync } => {
                assert!(!bytes.is_empty(), "a write has at least a block");
                assert_blocks(position, bytes.len());
                assert!(bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES), "written memory is aligned");
                Operation::Write { token, file: self.descriptor(file), position, bytes, sync }
            }
            FileOperation::Read { file, position, length } => {
                assert!(length > 0, "a read has at least a block");
                let length = length as usize;
                assert_blocks(position, length);
                let buffer = aligned_buffer(length);
                Operation::Read { token, file: self.descriptor(file), position, length, buffer }
            }
            FileOperation::Sync { file } => Operation::Sync { token, file: self.descriptor(file) },
            FileOperation::SyncDirectory { path } => {
                let path = if path.is_empty() { ".".to_owned() } else { path };
                Operation::OpenDirectory { token, directory, path: relative(path) }
            }
            FileOperation::Close { file } => {
                let descriptor = self.open.remove(&file).unwrap_or_else(|| panic!("{file:?} is not open"));
                Operation::CloseFile { token, file: descriptor.into_raw_fd() }
            }
            FileOperation::Remove { path } => {
                Operation::Remove { token, directory, path: relative(path), flags: 0 }
            }
            FileOperation::CreateDirectory { path } => {
                Operation::CreateDirectory { token, directory, path: relative(path) }
            }
            FileOperation::RemoveDirectory { path } => {
                Operation::Remove { token, directory, path: relative(path), flags: libc::AT_REMOVEDIR }
            }
        }
    }

    /// `file` was opened.
    pub(super) fn opened(&mut self, file: FileId, descriptor: OwnedFd) {
        let before = self.open.insert(file, descriptor);
        assert!(before.is_none(), "{file:?} was opened twice");
    }

    fn descriptor(&self, file: FileId) -> RawFd {
        self.open.get(&file).unwrap_or_else(|| panic!("{file:?} is not open")).as_raw_fd()
    }

    fn flags(&self, mode: OpenMode) -> i32 {
        let access = match mode {
            OpenMode::Read => libc::O_RDONLY,
            OpenMode::Write => libc::O_RDWR,
            OpenMode::Create => libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
            OpenMode::Replace => libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC,
        };
        access | libc::O_CLOEXEC | if self.direct_io { libc::O_DIRECT } else { 0 }
    }
}

/// What it means to logic that nothing could be opened, or read.
pub(crate) const fn opening_error(errno: i32) -> FileError {
    match errno {
        libc::EMFILE | libc::ENFILE | libc::ENOMEM => FileError::Exhausted,
        _ => file_error(errno),
    }
}

/// What any other failed file operation means to logic. After a write or a sync that failed for want of memory nobody
/// knows what is on the disk.
pub(crate) const fn file_error(errno: i32) -> FileError {
    match errno {
        libc::ENOSPC | libc::EDQUOT => FileError::Full,
        libc::ENOTEMPTY => FileError::NotEmpty,
        _ => FileError::Failed(errno),
    }
}

/// Whether a read that gave fewer bytes than asked for has to go on. A device never stops within a block, so that a
/// count of whole blocks may be a read that the kernel cut short, and anything else is the end of the file.
pub(crate) const fn read_goes_on(filled: usize, length: usize, last: usize) -> bool {
    last > 0 && filled < length && filled.is_multiple_of(BLOCK_BYTES)
}

/// An empty buffer with spare capacity for `length` bytes that begins at a block boundary in memory.
fn aligned_buffer(length: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(length + BLOCK_BYTES);
    let address = buffer.as_ptr().addr();
    let skip = address.next_multiple_of(BLOCK_BYTES) - address;
    buffer.resize(skip, 0);
    buffer.advance(skip);
    assert!(buffer.spare_capacity_mut().as_ptr().addr().is_multiple_of(BLOCK_BYTES), "skipped to a boundary");
    buffer
}

fn assert_blocks(position: u64, length: usize) {
    assert!(position.is_multiple_of(BLOCK_BYTES as u64), "position {position} is not at a block");
    assert!(length.is_multiple_of(BLOCK_BYTES), "{length} bytes are not whole blocks");
}

fn relative(path: String) -> CString {
    assert!(!path.starts_with('/'), "paths are relative to the data directory: {path}");
    CString::new(path).expect("logic makes paths without zero bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_buffers_are_aligned_and_large_enough() {
        for blocks in [1, 2, 3, 64] {
            let mut buffer = aligned_buffer(blocks * BLOCK_BYTES);
            assert!(buffer.is_empty());
            assert!(buffer.spare_capacity_mut().len() >= blocks * BLOCK_BYTES);
        }
    }

    #[test]
    fn a_full_disk_and_a_directory_that_is_not_empty_have_names_of_their_own() {
        assert_eq!(file_error(libc::ENOSPC), FileError::Full);
        assert_eq!(file_error(libc::EDQUOT), FileError::Full);
        assert_eq!(file_error(libc::ENOTEMPTY), FileError::NotEmpty);
        assert_eq!(file_error(libc::EIO), FileError::Failed(libc::EIO));
    }

    #[test]
    fn want_of_descriptors_or_memory_is_waited_for_where_nothing_is_written() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            assert_eq!(opening_error(errno), FileError::Exhausted);
            assert_eq!(file_error(errno), FileError::Failed(errno));
        }
        assert_eq!(opening_error(libc::ENOSPC), FileError::Full);
        assert_eq!(opening_error(libc::ENOENT), FileError::Failed(libc::ENOENT));
    }

    #[test]
    fn only_whole_blocks_before_the_end_are_read_on() {
        assert!(read_goes_on(4096, 8192, 4096));
        assert!(!read_goes_on(4096, 8192, 0), "the end of the file at a block");
        assert!(!read_goes_on(5000, 8192, 5000), "the end of the file within a block");
        assert!(!read_goes_on(8192, 8192, 8192), "all of it");
    }
}
