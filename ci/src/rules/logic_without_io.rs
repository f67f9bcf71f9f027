//! Logic is told what happened and says what to do: it opens nothing, asks no clock and throws no dice.

use super::paths::NamedPath;
use super::tree::Tree;
use super::{Finding, Rule, paths};

pub(super) const RULE: Rule = Rule {
    name: "logic-without-io",
    text: "logic names no socket, file, thread, clock or randomness outside its tests",
    find,
};

/// Folders that hold logic alone.
const LOGIC: &[&str] = &["wire/src/", "wal/src/", "shard/src/", "client/src/core", "src/host"];
/// What carries the effects out.
const DRIVERS: &[&str] =
    &["shard/src/ring/", "shard/src/ring.rs", "shard/src/background/", "shard/src/background.rs"];

/// Modules of the standard library that reach the world outside.
const MODULES_BANNED: &[&str] =
    &["std::net", "std::fs", "std::thread", "std::process", "std::env", "std::os", "std::io::stdin"];
/// Names that are banned wherever they come from: both clocks, and maps whose order differs from run to run.
const NAMES_BANNED: &[&str] =
    &["time::Instant", "SystemTime", "RandomState", "collections::HashMap", "collections::HashSet"];
/// Crates that reach the world outside.
const CRATES_BANNED: &[&str] = &[
    "tokio",
    "mio",
    "glommio",
    "io_uring",
    "rustix",
    "libc",
    "nix",
    "socket2",
    "rand",
    "rand_core",
    "rand_chacha",
    "getrandom",
    "fastrand",
    "tempfile",
];

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, lexed) in tree.lexed().filter(|(path, _)| is_logic(path) && !tree.is_test(path)) {
        for named in paths::named(&lexed.product).iter().filter(|named| is_banned(named)) {
            findings.push(Finding::new(path, named.line, named.segments.join("::")));
        }
    }
    findings
}

fn is_logic(path: &str) -> bool {
    let in_any = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    in_any(LOGIC) && !in_any(DRIVERS)
}

fn is_banned(path: &NamedPath<'_>) -> bool {
    // A lone word such as `rand` is a name of our own, not a crate.
    MODULES_BANNED.iter().any(|module| path.is_within(module))
        || NAMES_BANNED.iter().any(|name| path.has(name))
        || path.segments.len() > 1 && CRATES_BANNED.contains(&path.segments[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        find(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn the_world_outside_is_found_in_logic() {
        assert_eq!(
            found("wal/src/commit.rs", "use std::{fs, time::{Duration, Instant}};"),
            ["std::fs", "std::time::Instant"]
        );
        assert_eq!(
            found("shard/src/partition/mod.rs", "fn a() { std::thread::yield_now() }"),
            ["std::thread::yield_now"]
        );
        assert_eq!(
            found("client/src/core/routes.rs", "use std::time; fn a() { time::Instant::now() }"),
            ["time::Instant::now"]
        );
        assert_eq!(
            found("src/host/topics.rs", "use std::collections::HashMap; use rand::Rng;"),
            ["std::collections::HashMap", "rand::Rng"]
        );
        assert_eq!(
            found("wire/src/ids.rs", "fn a() { libc::getpid(); tokio::spawn(b) }"),
            ["libc::getpid", "tokio::spawn"]
        );
    }

    #[test]
    fn tests_and_drivers_may() {
        assert_eq!(
            found("wal/src/commit.rs", "#[cfg(test)] mod tests { use std::fs; }"),
            Vec::<String>::new()
        );
        assert_eq!(found("wal/tests/disk.rs", "use std::fs;"), Vec::<String>::new());
        assert_eq!(found("shard/src/ring/clock.rs", "use std::time::Instant;"), Vec::<String>::new());
        assert_eq!(found("client/src/tokio_driver.rs", "use tokio::net::TcpStream;"), Vec::<String>::new());
        assert_eq!(found("src/serve.rs", "use std::fs;"), Vec::<String>::new());
    }

    #[test]
    fn comments_strings_and_names_of_our_own_pass() {
        let text = "// std::fs\nfn a(rand: u64) { b(rand, \"std::net\", core::time::Duration::ZERO) }";
        assert_eq!(found("wal/src/commit.rs", text), Vec::<String>::new());
    }
}
