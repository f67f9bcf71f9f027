//! Reads the members' manifests for the rules about dependencies.

use toml::{Table, Value};

use super::tree::Tree;

/// A member's `Cargo.toml`.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Where it lies.
    pub(super) path: String,
    /// Name of the package.
    pub(super) package: String,
    /// Every dependency in it.
    pub(super) dependencies: Vec<Dependency>,
}

/// A dependency of a member.
#[derive(Debug)]
pub(super) struct Dependency {
    /// Its key.
    pub(super) name: String,
    /// Line of the key, as far as a search in the text tells.
    pub(super) line: usize,
    /// Whether it takes everything from the root table.
    pub(super) from_root_table: bool,
    /// Whether only tests see it.
    pub(super) tests_only: bool,
}

/// Folders of all members, the root package as the empty string; a folder inside ends in `/`.
pub(super) fn member_folders(tree: &Tree) -> Vec<String> {
    let root: Table = tree.text("Cargo.toml").parse().unwrap_or_default();
    let members =
        root.get("workspace").and_then(|workspace| workspace.get("members")).and_then(Value::as_array);
    let mut folders = vec![String::new()];
    folders
        .extend(members.into_iter().flatten().filter_map(Value::as_str).map(|member| format!("{member}/")));
    folders
}

/// Manifests of all members. One that does not parse has no dependencies here: cargo refuses it anyway.
pub(super) fn manifests(tree: &Tree) -> Vec<Manifest> {
    member_folders(tree).into_iter().map(|folder| read(tree, format!("{folder}Cargo.toml"))).collect()
}

fn read(tree: &Tree, path: String) -> Manifest {
    let text = tree.text(&path);
    let table: Table = text.parse().unwrap_or_default();
    let package = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let package = package.unwrap_or_default().to_owned();
    let mut dependencies = Vec::new();
    push_dependencies(&table, text, &mut dependencies);
    for target in table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
        if let Some(table) = target.as_table() {
            push_dependencies(table, text, &mut dependencies);
        }
    }
    Manifest { path, package, dependencies }
}

fn push_dependencies(table: &Table, text: &str, dependencies: &mut Vec<Dependency>) {
    for (section, tests_only) in
        [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            let from_root_table = value.get("workspace").and_then(Value::as_bool) == Some(true);
            let place = text.lines().position(|line| line.trim_start().starts_with(name.as_str()));
            let line = place.map_or(1, |place| place + 1);
            dependencies.push(Dependency { name: name.clone(), line, from_root_table, tests_only });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_read() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"wal\"]\n[package]\nname = \"ringmain\"\n"),
            (
                "wal/Cargo.toml",
                "[package]\nname = \"ringmain-wal\"\n[dependencies]\nbytes.workspace = true\n\
                 [dev-dependencies]\nproptest = \"1\"\n\
                 [target.'cfg(unix)'.dependencies]\nlibc = { workspace = true, features = [\"a\"] }\n",
            ),
        ]);
        let manifests = manifests(&tree);
        assert_eq!(manifests[0].package, "ringmain");
        assert_eq!(
            (manifests[1].package.as_str(), manifests[1].path.as_str()),
            ("ringmain-wal", "wal/Cargo.toml")
        );
        let seen: Vec<(&str, usize, bool, bool)> = manifests[1]
            .dependencies
            .iter()
            .map(|it| (it.name.as_str(), it.line, it.from_root_table, it.tests_only))
            .collect();
        assert_eq!(seen, [("bytes", 4, true, false), ("proptest", 6, false, true), ("libc", 8, true, false)]);
    }
}
