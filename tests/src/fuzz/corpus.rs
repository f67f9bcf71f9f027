//! The committed corpus: what the seeds of each target encode, and inputs that once found something.

use core::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Target;

/// Files with this beginning are made by [`renew`]; all others were put there by people and stay.
const SEED_PREFIX: &str = "seed-";

/// The corpus of a target cannot be used.
#[derive(Debug)]
pub struct CorpusError {
    folder: PathBuf,
    error: io::Error,
}

impl fmt::Display for CorpusError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "corpus {}: {}", self.folder.display(), self.error)
    }
}

impl core::error::Error for CorpusError {}

/// Every input in the target's corpus, ordered by file name.
///
/// # Errors
/// When it cannot be read or is empty.
pub fn read(target: &Target) -> Result<Vec<Vec<u8>>, CorpusError> {
    let folder = folder(target);
    let inputs = file_names(&folder).and_then(|names| {
        names.into_iter().map(|name| fs::read(folder.join(name))).collect::<io::Result<Vec<_>>>()
    });
    match inputs {
        Ok(inputs) if inputs.is_empty() => Err(CorpusError { folder, error: io::ErrorKind::NotFound.into() }),
        Ok(inputs) => Ok(inputs),
        Err(error) => Err(CorpusError { folder, error }),
    }
}

/// Writes the target's seeds as they are encoded today, in the place of those committed.
///
/// # Errors
/// When the folder cannot be written.
pub fn renew(target: &Target) -> Result<(), CorpusError> {
    let folder = folder(target);
    write_seeds(target, &folder).map_err(|error| CorpusError { folder, error })
}

fn write_seeds(target: &Target, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in file_names(folder)?.iter().filter(|name| name.starts_with(SEED_PREFIX)) {
        fs::remove_file(folder.join(name))?;
    }
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(seed_name(number)), seed)?;
    }
    Ok(())
}

fn seed_name(number: usize) -> String {
    format!("{SEED_PREFIX}{number:02}")
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Verdict;
    use super::super::registry::TARGETS;
    use super::*;

    #[test]
    fn every_seed_is_accepted_as_it_is_and_sealed() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seed", target.name);
            for (number, seed) in seeds.into_iter().enumerate() {
                assert_eq!((target.run)(&seed), Verdict::Accepted, "{} {}", target.name, seed_name(number));
                let mut sealed = seed.clone();
                target.seal.inspect(|seal| seal(&mut sealed));
                assert!(sealed == seed, "{} {}: sealing changes it", target.name, seed_name(number));
            }
        }
    }

    #[test]
    fn the_committed_corpus_is_what_is_encoded_today() {
        for target in TARGETS {
            let folder = folder(target);
            let seeds = (target.seeds)();
            for (number, seed) in seeds.iter().enumerate() {
                let committed = fs::read(folder.join(seed_name(number))).ok();
                assert!(
                    committed.as_ref() == Some(seed),
                    "{}: renew with cargo fuzzing --renew-corpus",
                    target.name
                );
            }
            let names = file_names(&folder).unwrap();
            let seed_files = names.iter().filter(|name| name.starts_with(SEED_PREFIX)).count();
            assert_eq!(seed_files, seeds.len(), "{}: renew with cargo fuzzing --renew-corpus", target.name);
        }
    }

    #[test]
    fn every_folder_belongs_to_a_target() {
        let folders = file_names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")).unwrap();
        let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), TARGETS.len(), "a name stands there twice");
        assert_eq!(folders.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
    }
}
