//! A data directory that is started on without being changed: what is written stays in memory.

use std::collections::BTreeMap;
use std::path::Path;

use ringmain::boot::directory::{Directory, DirectoryError, ReadDirectory};
use ringmain::boot::disk::StoppedDirectory;

use super::error::RotError;

const BLOCK_BYTES: u64 = 4096;

/// The directory, and what has been written since.
#[derive(Debug)]
pub(crate) struct Overlay {
    below: StoppedDirectory,
    /// Size of a file that was written, cut or removed; none if it is gone.
    sizes: BTreeMap<String, Option<u64>>,
    /// Blocks that were written, by file and number.
    blocks: BTreeMap<(String, u64), Vec<u8>>,
}

impl Overlay {
    /// Over the directory `root`.
    pub(crate) fn over(root: &Path) -> Result<Self, RotError> {
        let below = StoppedDirectory::lock(root)
            .map_err(|error| RotError::Unsound(format!("it cannot be read: {error:?}")))?;
        Ok(Self { below, sizes: BTreeMap::new(), blocks: BTreeMap::new() })
    }
}

impl ReadDirectory for Overlay {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        let mut names = self.below.list(path)?;
        for (file, size) in &self.sizes {
            let Some((directory, name)) = file.rsplit_once('/') else { continue };
            if directory == path {
                names.retain(|other| other != name);
                names.extend(size.map(|_| name.to_owned()));
            }
        }
        Ok(names)
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        match self.sizes.get(path) {
            Some(size) => Ok(*size),
            None => self.below.file_bytes(path),
        }
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        if !self.sizes.contains_key(path) {
            return self.below.read(path, position, buffer);
        }
        let size = self.file_bytes(path)?.unwrap_or(0);
        let length = usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..length];
        buffer.fill(0);
        if self.below.file_bytes(path)?.is_some() {
            self.below.read(path, position, buffer)?;
        }
        let (first, last) = (position / BLOCK_BYTES, (position + length as u64) / BLOCK_BYTES);
        for ((_, number), block) in self.blocks.range((path.to_owned(), first)..=(path.to_owned(), last)) {
            let start = number * BLOCK_BYTES;
            for (place, byte) in (start..).zip(block) {
                if let Some(at) = place.checked_sub(position)
                    && let Some(slot) = usize::try_from(at).ok().and_then(|at| buffer.get_mut(at))
                {
                    *slot = *byte;
                }
            }
        }
        Ok(length)
    }
}

impl Directory for Overlay {
    fn create_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        self.write_deferred(path, position, bytes)
    }

    fn write_deferred(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let size = self.file_bytes(path)?.unwrap_or(0).max(position + bytes.len() as u64);
        self.sizes.insert(path.to_owned(), Some(size));
        for (number, block) in (position / BLOCK_BYTES..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
            self.blocks.insert((path.to_owned(), number), block.to_vec());
        }
        Ok(())
    }

    fn sync(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn sync_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError> {
        self.sizes.insert(path.to_owned(), Some(bytes));
        self.blocks.retain(|(file, number), _| file != path || number * BLOCK_BYTES < bytes);
        Ok(())
    }

    fn link(&mut self, path: &str, second: &str) -> Result<(), DirectoryError> {
        if self.file_bytes(second)?.is_some() {
            return Ok(());
        }
        let bytes = self.file_bytes(path)?.unwrap_or(0);
        let mut content = vec![0; usize::try_from(bytes).expect("files of a test fit memory")];
        self.read(path, 0, &mut content)?;
        self.write_deferred(second, 0, &content)?;
        self.truncate(second, bytes)
    }

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.sizes.insert(path.to_owned(), None);
        self.blocks.retain(|(file, _), _| file != path);
        Ok(())
    }

    fn remove_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_directory_stays_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("logs")).unwrap();
        let path = root.path().join("logs/a");
        fs::write(&path, [7; 10_000]).unwrap();
        let mut overlay = Overlay::over(root.path()).unwrap();
        overlay.write("logs/a", 4096, &[1; 4096]).unwrap();
        let mut buffer = [0; 12_000];
        assert_eq!(overlay.read("logs/a", 4000, &mut buffer), Ok(6_000));
        assert_eq!(buffer[..97], [[7; 96].as_slice(), &[1]].concat());
        assert_eq!((buffer[96 + 4095], buffer[96 + 4096]), (1, 7));
        overlay.truncate("logs/a", 5000).unwrap();
        assert_eq!(overlay.read("logs/a", 0, &mut buffer), Ok(5000));
        overlay.write("logs/b", 0, &[2; 4096]).unwrap();
        overlay.remove("logs/a").unwrap();
        assert_eq!(overlay.list("logs"), Ok(vec!["b".to_owned()]));
        assert_eq!(overlay.file_bytes("logs/a"), Ok(None));
        assert_eq!(fs::read(path).unwrap(), [7; 10_000]);
        assert_eq!(fs::read_dir(root.path().join("logs")).unwrap().count(), 1);
    }
}
