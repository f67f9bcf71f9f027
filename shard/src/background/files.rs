//! Carries the file operations of one inspection out through glommio.

use core::ops::Deref;
use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use glommio::GlommioError;
use glommio::io::{BufferedFile, DmaFile, OpenOptions, ReadResult};

use crate::effect::{FileOperation, OpenMode};
use crate::event::{FileError, FileOutcome};
use crate::ring::{file_error, opening_error, read_goes_on};

/// As of all files of a data directory.
const FILE_MODE: libc::mode_t = 0o640;

/// The one file of an inspection that may be open.
#[derive(Debug)]
pub(super) struct OneFile {
    direct_io: bool,
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    Direct(DmaFile),
    Buffered(BufferedFile),
}

impl OneFile {
    /// None is open. With `direct_io` the page cache is bypassed.
    pub(super) const fn new(direct_io: bool) -> Self {
        Self { direct_io, open: None }
    }

    /// Does it.
    pub(super) async fn perform(
        &mut self,
        data_directory: &Path,
        operation: FileOperation,
    ) -> Result<FileOutcome, FileError> {
        match operation {
            FileOperation::Open { path, mode, .. } => {
                assert!(self.open.is_none(), "an inspection has one file at a time");
                let opened = open(&data_directory.join(path), mode, self.direct_io).await;
                self.open = Some(opened.map_err(|error| reason(&error, opening_error))?);
                Ok(FileOutcome::Done)
            }
            FileOperation::Read { position, length, .. } => {
                let file = self.file();
                let read = async |position, length| file.read(position, length).await;
                Ok(FileOutcome::Read(read_whole(position, length as usize, read).await?))
            }
            FileOperation::Write { position, bytes, .. } => {
                let written = self.file().write(position, &bytes).await?;
                if written == bytes.len() { Ok(FileOutcome::Done) } else { Err(FileError::Short) }
            }
            FileOperation::Sync { .. } => {
                let synced = match self.file() {
                    Open::Direct(file) => file.fdatasync().await,
                    Open::Buffered(file) => file.fdatasync().await,
                };
                synced.map_err(|error| reason(&error, file_error))?;
                Ok(FileOutcome::Done)
            }
            FileOperation::Close { .. } => {
                let closed = match self.open.take().expect("what is closed is open") {
                    Open::Direct(file) => file.close().await,
                    Open::Buffered(file) => file.close().await,
                };
                closed.map_err(|error| reason(&error, file_error))?;
                Ok(FileOutcome::Done)
            }
            other => unreachable!("no inspection does {other:?}"),
        }
    }

    fn file(&self) -> &Open {
        self.open.as_ref().expect("what is read or written is open")
    }
}

impl Open {
    async fn read(&self, position: u64, length: usize) -> Result<ReadResult, FileError> {
        let read = match self {
            Self::Direct(file) => file.read_at_aligned(position, length).await,
            Self::Buffered(file) => file.read_at(position, length).await,
        };
        read.map_err(|error| reason(&error, opening_error))
    }

    async fn write(&self, position: u64, bytes: &[u8]) -> Result<usize, FileError> {
        let written = match self {
            Self::Direct(file) => {
                let mut buffer = file.alloc_dma_buffer(bytes.len());
                buffer.as_bytes_mut().copy_from_slice(bytes);
                file.write_at(buffer, position).await
            }
            Self::Buffered(file) => file.write_at(bytes.to_vec(), position).await,
        };
        written.map_err(|error| reason(&error, file_error))
    }
}

async fn open(path: &Path, mode: OpenMode, direct_io: bool) -> Result<Open, GlommioError<()>> {
    let mut options = OpenOptions::new();
    match mode {
        OpenMode::Read => options.read(true),
        OpenMode::Replace => options.write(true).create(true).truncate(true).mode(FILE_MODE),
        OpenMode::Write | OpenMode::Create => unreachable!("inspections write nothing but whole indexes"),
    };
    if direct_io && !(mode == OpenMode::Read && is_empty(path)) {
        options.dma_open(path).await.map(Open::Direct)
    } else {
        options.buffered_open(path).await.map(Open::Buffered)
    }
}

/// Such a file must not be the first one that glommio opens of a device: it reads from that one to find out whether the
/// device can be polled, and where there is nothing to read that seems to work on every device. Then no later read does.
fn is_empty(path: &Path) -> bool {
    // What else is wrong with a file shows when it is opened.
    path.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Reads until there are `length` bytes or the file ends: the kernel may give fewer at a time.
async fn read_whole<Piece: Deref<Target = [u8]>>(
    position: u64,
    length: usize,
    read: impl AsyncFn(u64, usize) -> Result<Piece, FileError>,
) -> Result<Bytes, FileError> {
    let mut whole = BytesMut::with_capacity(length);
    loop {
        let piece = read(position + whole.len() as u64, length - whole.len()).await?;
        whole.extend_from_slice(&piece);
        if !read_goes_on(whole.len(), length, piece.len()) {
            return Ok(whole.freeze());
        }
    }
}

/// What logic knows of an error; `meaning` is what the operating system's numbers say there.
fn reason<T>(error: &GlommioError<T>, meaning: impl Fn(i32) -> FileError) -> FileError {
    let errno = match error {
        GlommioError::IoError(error) => error.raw_os_error(),
        GlommioError::EnhancedIoError { source, .. } => source.raw_os_error(),
        _ => None,
    };
    meaning(errno.unwrap_or(libc::EIO))
}

/// A reason for people.
pub(super) fn described(error: GlommioError<()>) -> io::Error {
    error.into()
}

#[cfg(test)]
mod tests {
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_read_that_the_kernel_cuts_short_goes_on_until_the_file_ends() {
        let file: Vec<u8> = (0..20_000_u32).map(|place| place as u8).collect();
        for (length, given_at_most) in [(8192, 4096), (16_384, 4096), (24_576, 8192), (24_576, 24_576)] {
            let give = async |position: u64, length: usize| {
                let from = file.len().min(position as usize);
                Ok(file[from..file.len().min(from + length.min(given_at_most))].to_vec())
            };
            let mut whole = pin!(read_whole(0, length, give));
            let Poll::Ready(whole) = whole.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("nothing is waited for")
            };
            assert_eq!(whole.unwrap(), file[..length.min(file.len())], "{length} by {given_at_most}");
        }
    }
}
