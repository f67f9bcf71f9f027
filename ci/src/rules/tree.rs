//! The files that rules look at, as text in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::lexer::{self, Lexed};

/// Folders without anything of ours in them.
const FOLDERS_PASSED_OVER: &[&str] = &["target", "ringmain-data"];

/// All files of the workspace that a rule may want, by path from the root.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
    test_modules: BTreeSet<String>,
}

impl Tree {
    /// Reads Rust sources, TOML and Markdown below `root`, and the server's entry.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        read_folder(root, "", &mut files)?;
        if let Ok(text) = fs::read_to_string(root.join(".ci/run")) {
            files.insert(".ci/run".to_owned(), text);
        }
        Ok(Self::new(files))
    }

    /// A small tree for tests.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self::new(files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect())
    }

    fn new(files: BTreeMap<String, String>) -> Self {
        let mut test_modules = BTreeSet::new();
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".rs")) {
            let folder = module_folder(path);
            test_modules.extend(lexer::lex(text).test_modules.iter().map(|name| format!("{folder}{name}")));
        }
        Self { files, test_modules }
    }

    /// The text of a file; empty if there is none.
    pub(super) fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("", String::as_str)
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// All Rust files with their text.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// All Rust files as tokens, tests included.
    pub(super) fn lexed(&self) -> impl Iterator<Item = (&str, Lexed<'_>)> {
        self.rust().map(|(path, text)| (path, lexer::lex(text)))
    }

    /// Whether a file is compiled for tests only.
    pub(super) fn is_test(&self, path: &str) -> bool {
        let mut folders = path.split('/').rev().skip(1);
        folders.any(|folder| folder == "tests" || folder == "benches")
            || self.test_modules.iter().any(|module| {
                path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
    }
}

/// Where the modules that a file declares lie: `a/mod.rs` in `a/`, `a/b.rs` in `a/b/`.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => format!("{folder}/"),
        _ => format!("{folder}/{}/", name.trim_end_matches(".rs")),
    }
}

fn read_folder(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !name.starts_with('.') && !FOLDERS_PASSED_OVER.contains(&name.as_str()) {
            read_folder(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && [".rs", ".toml", ".md"].iter().any(|ending| name.ends_with(ending)) {
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_test_modules_are_tests() {
        let tree = Tree::of(&[
            (
                "wire/src/frame.rs",
                "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod model;\nmod body;\n",
            ),
            ("wire/src/lib.rs", "mod frame;\n#[cfg(all(loom, test))]\nmod checked;\n"),
        ]);
        assert!(tree.is_test("wire/src/frame/tests.rs"));
        assert!(tree.is_test("wire/src/frame/model/deep.rs"));
        assert!(tree.is_test("wire/src/checked.rs"));
        assert!(tree.is_test("wire/tests/all.rs"));
        assert!(!tree.is_test("wire/src/frame/body.rs"));
        assert!(!tree.is_test("wire/src/frame.rs"));
        assert!(!tree.is_test("wire/src/checked_out.rs"));
    }
}
