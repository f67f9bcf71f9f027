//! Where the demo's broker keeps its data and listens, so that nothing of it is left behind and nothing else is in the way.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::boot::disk::DataDirectory;
use crate::cli::failure::Failure;
use crate::cli::serve::{NATIVE_DEFAULT, NATIVE_SHARDS_DEFAULT, failure_of};
use crate::serve::ServeError;

/// Where data lies unless the user says where.
const DIRECTORY: &str = "./.ringmain-demo";

/// The data directory; what nobody chose is removed in the end, also when the demo fails.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    is_chosen: bool,
}

impl Place {
    /// `chosen`, or an empty directory of the demo's own.
    ///
    /// # Errors
    /// When another demo is running there, or the directory holds something else.
    pub(super) fn choose(chosen: Option<&Path>) -> Result<Self, Failure> {
        let place = match chosen {
            Some(directory) => Self { directory: directory.to_owned(), is_chosen: true },
            None => Self { directory: PathBuf::from(DIRECTORY), is_chosen: false },
        };
        if !place.is_chosen && place.directory.exists() {
            // Left behind by a demo that was killed, or in use by one that runs.
            let lock = DataDirectory::lock(&place.directory)
                .map_err(|error| failure_of(&ServeError::locking(&place.directory, error)));
            match lock {
                Ok(lock) => drop(lock),
                Err(failure) => {
                    // Not ours to remove.
                    std::mem::forget(place);
                    return Err(failure);
                }
            }
            place.clear()?;
        }
        Ok(place)
    }

    /// The data directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The nearest directory around it that exists: on the same disk.
    pub(super) fn existing(&self) -> PathBuf {
        let named = self.directory.ancestors().filter(|path| !path.as_os_str().is_empty());
        named.into_iter().find(|path| path.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned)
    }

    /// Whether the data stays there.
    pub(super) fn is_kept(&self) -> bool {
        self.is_chosen
    }

    fn clear(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.directory).map_err(|error| {
            let directory = self.directory.display();
            Failure::failed("environment", format!("cannot remove {directory}: {error}"))
                .hint("remove it, or use --data-dir DIR")
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_chosen {
            // What is left is removed by the next demo.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Where the broker listens, and its shards: the usual ports, or any where these are taken.
pub(super) fn free_ports() -> (SocketAddr, Option<u16>) {
    match TcpListener::bind(NATIVE_DEFAULT) {
        Ok(_) => (NATIVE_DEFAULT, Some(NATIVE_SHARDS_DEFAULT)),
        Err(_) => (SocketAddr::new(NATIVE_DEFAULT.ip(), 0), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_directory_stays_and_its_disk_is_found_before_it_is_made() {
        let root = tempfile::tempdir().unwrap();
        let chosen = root.path().join("a/b");
        let place = Place::choose(Some(&chosen)).unwrap();
        assert_eq!(place.existing(), root.path());
        fs::create_dir_all(&chosen).unwrap();
        assert_eq!(place.existing(), chosen);
        assert!(place.is_kept());
        drop(place);
        assert!(chosen.exists());
    }

    #[test]
    fn a_directory_of_its_own_is_gone_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("demo");
        fs::create_dir_all(directory.join("logs")).unwrap();
        drop(Place { directory: directory.clone(), is_chosen: false });
        assert!(!directory.exists());
    }
}
