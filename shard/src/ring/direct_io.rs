//! Whether a filesystem lets files bypass the page cache.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::files::BLOCK_BYTES;

/// Name of the file that is made for the question, and removed again.
const PROBE_NAME: &str = ".direct-io-probe";

/// Whether files in `directory` can be opened with `O_DIRECT` and written in blocks of 4,096 bytes. Where they cannot,
/// writes go through the page cache and are still synced before they complete, only more slowly.
///
/// # Errors
/// When no file can be made or written there at all.
pub fn probe_direct_io(directory: &Path) -> io::Result<bool> {
    let path = directory.join(PROBE_NAME);
    let outcome = fs::write(&path, b"").and_then(|()| write_block(&path));
    let removed = fs::remove_file(&path);
    match outcome {
        Ok(()) => removed.map(|()| true),
        // A full disk says nothing against it, and has to be served: what it holds can still be read and deleted.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_block(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path)?;
    let memory = vec![0_u8; 2 * BLOCK_BYTES];
    let start = memory.as_ptr().addr();
    let skip = start.next_multiple_of(BLOCK_BYTES) - start;
    file.write_all_at(&memory[skip..skip + BLOCK_BYTES], 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_asked_and_left_clean() {
        let directory = tempfile::tempdir().expect("writable");
        assert!(probe_direct_io(directory.path()).is_ok());
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
        let missing = probe_direct_io(&directory.path().join("missing")).expect_err("no such directory");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
