//! A tree of directories: names as the next look sees them, and as they are on stable storage.

use std::collections::{BTreeMap, BTreeSet};

use ringmain_shard::event::FileError;

use super::{EEXIST, EISDIR, ENOENT, ENOTDIR, Inode};
use crate::sim::random::Random;

/// All names.
#[derive(Debug)]
pub(super) struct Names {
    /// Every directory that ever was; the first is the root. One that is made again under the name of another is another.
    directories: Vec<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    cached: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

/// What a sync of a directory that is started makes durable.
#[derive(Debug)]
pub(in crate::sim) struct UnsyncedNames {
    place: usize,
    names: BTreeMap<String, Node>,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(Inode),
    /// By its place.
    Directory(usize),
}

impl Default for Names {
    fn default() -> Self {
        Self { directories: vec![Directory::default()] }
    }
}

impl Names {
    /// Names in a directory; none if it does not exist.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let directory = self.directory(path).map(|place| &self.directories[place]);
        directory.into_iter().flat_map(|directory| directory.cached.keys().cloned()).collect()
    }

    /// The file of that name.
    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        match self.node(path)? {
            Node::File(inode) => Some(inode),
            Node::Directory(_) => None,
        }
    }

    /// Whether there is a directory of that name.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.directory(path).is_some()
    }

    /// Names a file that was made.
    pub(super) fn add_file(&mut self, path: &str, inode: Inode) -> Result<(), FileError> {
        self.add(path, Node::File(inode))
    }

    /// Makes a directory.
    pub(super) fn create_directory(&mut self, path: &str) -> Result<(), FileError> {
        self.add(path, Node::Directory(self.directories.len()))?;
        self.directories.push(Directory::default());
        Ok(())
    }

    /// Takes the name of a file away.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), FileError> {
        match self.node(path) {
            None => Err(FileError::Failed(ENOENT)),
            Some(Node::Directory(_)) => Err(FileError::Failed(EISDIR)),
            Some(Node::File(_)) => self.take(path),
        }
    }

    /// Takes the name of an empty directory away.
    pub(super) fn remove_directory(&mut self, path: &str) -> Result<(), FileError> {
        match self.node(path) {
            None => Err(FileError::Failed(ENOENT)),
            Some(Node::File(_)) => Err(FileError::Failed(ENOTDIR)),
            Some(Node::Directory(place)) if !self.directories[place].cached.is_empty() => {
                Err(FileError::NotEmpty)
            }
            Some(Node::Directory(_)) => self.take(path),
        }
    }

    /// What a sync of a directory started now makes durable.
    pub(super) fn unsynced(&self, path: &str) -> Result<UnsyncedNames, FileError> {
        let place = self.directory(path).ok_or(FileError::Failed(ENOENT))?;
        Ok(UnsyncedNames { place, names: self.directories[place].cached.clone() })
    }

    /// A sync of a directory completes; names that were changed meanwhile it may have missed.
    pub(super) fn finish_sync(&mut self, unsynced: &UnsyncedNames) {
        let Directory { cached, durable } = &mut self.directories[unsynced.place];
        let stays = |name: &str| unsynced.names.get(name) == cached.get(name);
        durable.retain(|name, _| cached.contains_key(name) || !stays(name));
        let stayed = cached.iter().filter(|(name, _)| stays(name));
        durable.extend(stayed.map(|(name, node)| (name.clone(), *node)));
    }

    /// Power is gone: each name that was not durable is as before or as after, and one that leads to a directory takes
    /// all that is in it along.
    pub(super) fn handle_power_loss(&mut self, random: &mut Random) {
        self.settle(0, random);
    }

    fn settle(&mut self, place: usize, random: &mut Random) {
        let Directory { cached, durable } = core::mem::take(&mut self.directories[place]);
        let names: BTreeSet<&String> = cached.keys().chain(durable.keys()).collect();
        let mut left = BTreeMap::new();
        for name in names {
            let (after, before) = (cached.get(name), durable.get(name));
            let kept = if after == before || random.chance(500) { before } else { after };
            let Some(&node) = kept else { continue };
            if let Node::Directory(below) = node {
                self.settle(below, random);
            }
            left.insert(name.clone(), node);
        }
        self.directories[place] = Directory { cached: left.clone(), durable: left };
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), FileError> {
        let (parent, name) = split(path);
        let place = self.directory(parent).ok_or(FileError::Failed(ENOENT))?;
        let names = &mut self.directories[place].cached;
        if names.contains_key(name) {
            return Err(FileError::Failed(EEXIST));
        }
        names.insert(name.to_owned(), node);
        Ok(())
    }

    fn take(&mut self, path: &str) -> Result<(), FileError> {
        let (parent, name) = split(path);
        let place = self.directory(parent).ok_or(FileError::Failed(ENOENT))?;
        self.directories[place].cached.remove(name);
        Ok(())
    }

    fn node(&self, path: &str) -> Option<Node> {
        let (parent, name) = split(path);
        self.directories[self.directory(parent)?].cached.get(name).copied()
    }

    /// The directory of that path; the root's is empty.
    fn directory(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(0, |place, part| {
            match self.directories[place].cached.get(part)? {
                Node::File(_) => None,
                Node::Directory(below) => Some(*below),
            }
        })
    }
}

/// A path's directory, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
