//! Where the workspace lies and where its products go.

use core::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// The folders that steps work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the environment put it.
    pub(crate) target: PathBuf,
    /// Our own folder below it: logs of the steps and the README's sandbox.
    pub(crate) scratch: PathBuf,
}

/// Why the workspace was not found.
#[derive(Debug)]
pub(crate) enum WorkspaceError {
    /// `cargo metadata` could not be started.
    Start(io::Error),
    /// `cargo metadata` failed and said this.
    Cargo(String),
    /// `cargo metadata` printed something that lacks this field.
    Field(&'static str),
    /// The scratch folder could not be made.
    Scratch(PathBuf, io::Error),
}

impl Workspace {
    /// Asks cargo, from the current folder upwards.
    pub(crate) fn locate() -> Result<Self, WorkspaceError> {
        let output = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(WorkspaceError::Start)?;
        if !output.status.success() {
            return Err(WorkspaceError::Cargo(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let (root, target) = folders(&output.stdout)?;
        let scratch = target.join("ci");
        fs::create_dir_all(&scratch).map_err(|error| WorkspaceError::Scratch(scratch.clone(), error))?;
        Ok(Self { root, target, scratch })
    }

    /// The folder with the `ringmain` binary that users build.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }
}

/// Root and target folder out of `cargo metadata`.
fn folders(metadata: &[u8]) -> Result<(PathBuf, PathBuf), WorkspaceError> {
    let metadata: serde_json::Value =
        serde_json::from_slice(metadata).map_err(|_| WorkspaceError::Field("a JSON document"))?;
    let folder = |field| metadata[field].as_str().map(PathBuf::from).ok_or(WorkspaceError::Field(field));
    Ok((folder("workspace_root")?, folder("target_directory")?))
}

impl fmt::Display for WorkspaceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(out, "cargo metadata did not start: {error}; is cargo on PATH?"),
            Self::Cargo(said) => write!(out, "cargo metadata failed: {}", said.trim_end()),
            Self::Field(field) => write!(out, "cargo metadata printed no {field}"),
            Self::Scratch(path, error) => write!(out, "cannot create {}: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_from_metadata() {
        let text = br#"{"packages":[],"workspace_root":"/w","target_directory":"/t"}"#;
        let (root, target) = folders(text).unwrap();
        assert_eq!((root, target), (PathBuf::from("/w"), PathBuf::from("/t")));
    }

    #[test]
    fn a_missing_field_is_named() {
        assert!(matches!(
            folders(br#"{"workspace_root":"/w"}"#),
            Err(WorkspaceError::Field("target_directory"))
        ));
        assert!(matches!(folders(b"error: no"), Err(WorkspaceError::Field("a JSON document"))));
    }
}
