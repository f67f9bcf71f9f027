//! A start that fails before it stores anything leaves no directory behind that it made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::boot::disk::DataDirectory;

/// What a start puts into a new data directory before its ports are bound.
const BEFORE_ANYTHING_IS_STORED: &[&str] = &["lock", ".direct-io-probe"];

/// A data directory that is still to be made, behind it those of its parents that are: deepest first.
#[derive(Debug)]
pub(super) struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    /// Those that a start on `data_dir` has to make.
    pub(super) fn expect(data_dir: &Path) -> Self {
        let named = data_dir.ancestors().filter(|path| !path.as_os_str().is_empty());
        // What cannot be looked at is not ours.
        let missing = named.take_while(|path| matches!(path.try_exists(), Ok(false)));
        Self(missing.map(Path::to_owned).collect())
    }

    /// Removes them again, unless something is stored there, or another start is using them.
    pub(super) fn remove_unused(self) {
        let Some(data_dir) = self.0.first() else { return };
        // The start's own failure is what has to be told.
        let _ = remove_unused(data_dir);
        for made in &self.0 {
            if fs::remove_dir(made).is_err() {
                return;
            }
        }
    }
}

/// Empties the data directory under its lock.
fn remove_unused(data_dir: &Path) -> io::Result<()> {
    if !data_dir.try_exists()? {
        return Ok(());
    }
    let Ok(_lock) = DataDirectory::lock(data_dir) else { return Ok(()) };
    let names = fs::read_dir(data_dir)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let is_unused =
        names.iter().all(|name| BEFORE_ANYTHING_IS_STORED.iter().any(|expected| name == *expected));
    if is_unused {
        for name in names {
            fs::remove_file(data_dir.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_and_not_used_is_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let kept = root.path().join("kept");
        fs::create_dir(&kept).expect("a directory");
        let data_dir = kept.join("a/b");

        let made = MadeDirectories::expect(&data_dir);
        drop(DataDirectory::lock(&data_dir).expect("a new directory"));
        made.remove_unused();
        assert!(kept.exists() && !kept.join("a").exists());

        let made = MadeDirectories::expect(&data_dir);
        drop(DataDirectory::lock(&data_dir).expect("a new directory"));
        fs::create_dir(data_dir.join("logs")).expect("a directory");
        made.remove_unused();
        assert!(data_dir.join("logs").exists() && data_dir.join("lock").exists());

        // It was there before, however empty.
        let empty = root.path().join("empty");
        fs::create_dir(&empty).expect("a directory");
        let made = MadeDirectories::expect(&empty);
        drop(DataDirectory::lock(&empty).expect("a directory"));
        made.remove_unused();
        assert!(empty.join("lock").exists());
    }

    #[test]
    fn what_another_start_uses_is_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let data_dir = root.path().join("data");
        let made = MadeDirectories::expect(&data_dir);
        let other = DataDirectory::lock(&data_dir).expect("a new directory");
        made.remove_unused();
        assert!(data_dir.join("lock").exists());
        drop(other);
    }
}
