//! The simulator's own test: known mistakes, as patches, each made in a copy of the workspace that must then be caught.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What of the workspace a mutant is built from.
const SOURCES: &[&str] =
    &["Cargo.toml", "Cargo.lock", "src", "wire", "client", "wal", "shard", "bench", "tests", "ci"];

/// Builds every mutant, or the one of that name, and runs its seeds until one fails. Prints how many that took; says
/// whether all were caught.
#[must_use]
pub fn run_all(only: Option<&str>, from: u64, seeds: u64, jobs: u64) -> bool {
    match try_run_all(only, from, seeds, jobs) {
        Ok(fine) => fine,
        Err(error) => {
            println!("the mutants cannot be made: {error}");
            false
        }
    }
}

fn try_run_all(only: Option<&str>, from: u64, seeds: u64, jobs: u64) -> io::Result<bool> {
    let workspace = workspace()?;
    let mut patches = patches(&workspace)?;
    patches.retain(|path| only.is_none_or(|name| name_of(path) == name));
    let copy = workspace.join("target/mutants");
    let mut fine = !patches.is_empty();
    for patch in patches {
        copy_sources(&workspace, &copy)?;
        let caught = make(&copy, &patch, from, seeds, jobs)?;
        println!("{:<40} {}", name_of(&patch), caught.text);
        fine &= caught.is_caught;
    }
    Ok(fine)
}

fn workspace() -> io::Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()
}

/// All mutations, by name.
fn patches(workspace: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(workspace.join("tests/sim/mutations"))?;
    let mut patches: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    Ok(patches)
}

struct Caught {
    is_caught: bool,
    text: String,
}

fn make(copy: &Path, patch: &Path, from: u64, seeds: u64, jobs: u64) -> io::Result<Caught> {
    let failed = |what: &str, output: &Output| Caught {
        is_caught: false,
        text: format!("{what}: {}", String::from_utf8_lossy(&output.stderr)),
    };
    let applied =
        Command::new("git").args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(copy).output()?;
    if !applied.status.success() {
        return Ok(failed("the patch does not apply", &applied));
    }
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "ringmain-tests", "--bin", "sim"])
        .env("CARGO_TARGET_DIR", copy.join("target"))
        // Mutants are built once and run for seconds.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .current_dir(copy)
        .output()?;
    if !built.status.success() {
        return Ok(failed("it does not compile", &built));
    }
    let run = Command::new(copy.join("target/release/sim"))
        .args(["--seeds", &seeds.to_string(), "--from", &from.to_string(), "--jobs", &jobs.to_string()])
        .output()?;
    let printed = String::from_utf8_lossy(&run.stdout);
    let seed = printed.lines().find_map(|line| line.strip_prefix("seed ")?.strip_suffix(" broke a promise"));
    let how = printed.lines().last().unwrap_or_default();
    Ok(match seed {
        Some(seed) => Caught { is_caught: true, text: format!("caught by seed {seed}: {how}") },
        None => Caught { is_caught: false, text: format!("NOT CAUGHT by {seeds} seeds") },
    })
}

/// Makes the copy's sources those of the workspace. What has not changed keeps its time, so that little is built again.
fn copy_sources(workspace: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir_all(copy)?;
    for source in SOURCES {
        let from = workspace.join(source);
        if from.exists() {
            copy_changed(&from, &copy.join(source))?;
        }
    }
    if !copy.join(".git").exists() {
        // Patches are applied to this folder, not to whatever repository it lies in.
        let made = Command::new("git").args(["init", "--quiet"]).current_dir(copy).output()?;
        if !made.status.success() {
            return Err(io::Error::other("git init failed"));
        }
    }
    Ok(())
}

fn copy_changed(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        let wanted = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&wanted) {
            fs::write(to, wanted)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            remove(&entry.path())?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_changed(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn name_of(patch: &Path) -> String {
    patch.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_can_be_made_of_the_sources_as_they_are() {
        let workspace = workspace().unwrap();
        let patches = patches(&workspace).unwrap();
        assert!(patches.len() > 20, "only {} mutations", patches.len());
        for patch in patches {
            let check =
                Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(&workspace).output();
            let check = check.unwrap();
            assert!(
                check.status.success(),
                "{}: {}",
                name_of(&patch),
                String::from_utf8_lossy(&check.stderr)
            );
        }
    }
}
