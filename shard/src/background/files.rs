//! Carries the file operations of one inspection out through glommio.

use std::io;
use std::path::Path;

use bytes::Bytes;
use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};

use crate::effect::{FileOperation, OpenMode};
use crate::event::{FileError, FileOutcome};

/// As of all files of a data directory.
const FILE_MODE: libc::mode_t = 0o640;

/// The one file of an inspection that may be open.
#[derive(Debug, Default)]
pub(super) struct OneFile {
    open: Option<DmaFile>,
}

impl OneFile {
    /// Does it.
    pub(super) async fn perform(
        &mut self,
        data_directory: &Path,
        operation: FileOperation,
    ) -> Result<FileOutcome, FileError> {
        match operation {
            FileOperation::Open { path, mode, .. } => {
                assert!(self.open.is_none(), "an inspection has one file at a time");
                let path = data_directory.join(path);
                let opened = match mode {
                    OpenMode::Read => DmaFile::open(&path).await,
                    OpenMode::Replace => {
                        OpenOptions::new()
                            .write(true)
                            .create(true)
                            .truncate(true)
                            .mode(FILE_MODE)
                            .dma_open(&path)
                            .await
                    }
                    OpenMode::Write | OpenMode::Create => {
                        unreachable!("inspections write nothing but whole indexes")
                    }
                };
                self.open = Some(opened.map_err(|error| reason(&error))?);
                Ok(FileOutcome::Done)
            }
            FileOperation::Read { position, length, .. } => {
                let read = self.file().read_at_aligned(position, length as usize).await;
                let read = read.map_err(|error| reason(&error))?;
                Ok(FileOutcome::Read(Bytes::copy_from_slice(&read)))
            }
            FileOperation::Write { position, bytes, .. } => {
                let file = self.file();
                let mut buffer = file.alloc_dma_buffer(bytes.len());
                buffer.as_bytes_mut().copy_from_slice(&bytes);
                let written = file.write_at(buffer, position).await.map_err(|error| reason(&error))?;
                if written == bytes.len() { Ok(FileOutcome::Done) } else { Err(FileError::Short) }
            }
            FileOperation::Sync { .. } => {
                self.file().fdatasync().await.map_err(|error| reason(&error))?;
                Ok(FileOutcome::Done)
            }
            FileOperation::Close { .. } => {
                let file = self.open.take().expect("what is closed is open");
                file.close().await.map_err(|error| reason(&error))?;
                Ok(FileOutcome::Done)
            }
            other => unreachable!("no inspection does {other:?}"),
        }
    }

    fn file(&self) -> &DmaFile {
        self.open.as_ref().expect("what is read or written is open")
    }
}

/// What logic knows of an error.
fn reason<T>(error: &GlommioError<T>) -> FileError {
    let errno = match error {
        GlommioError::IoError(error) => error.raw_os_error(),
        GlommioError::EnhancedIoError { source, .. } => source.raw_os_error(),
        _ => None,
    };
    match errno {
        Some(libc::ENOSPC | libc::EDQUOT) => FileError::Full,
        Some(errno) => FileError::Failed(errno),
        None => FileError::Failed(libc::EIO),
    }
}

/// A reason for people.
pub(super) fn described(error: GlommioError<()>) -> io::Error {
    error.into()
}
