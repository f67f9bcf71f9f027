//! The files of a data directory, and bits in them that rot.

use core::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::RotError;
use crate::crash::dice::Dice;

/// Blocks that are zero are left out of copies.
const BLOCK_BYTES: usize = 4096;
/// Bytes of a stretch of a file: where not all of them are zero, something was written.
const STRETCH_BYTES: usize = 64;

/// The kinds of files that can rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    Log,
    Segment,
    Index,
    Checkpoint,
    Superblock,
}

/// All of them, for one that is chosen.
pub(super) const KINDS: [FileKind; 5] =
    [FileKind::Log, FileKind::Segment, FileKind::Index, FileKind::Checkpoint, FileKind::Superblock];

/// The files of a data directory.
#[derive(Debug)]
pub(super) struct DataFiles(Vec<DataFile>);

#[derive(Debug)]
struct DataFile {
    kind: FileKind,
    /// Relative to the data directory.
    path: String,
    bytes: u64,
    /// Where the stretches begin that are not zero.
    written: Vec<u64>,
}

/// A bit that rots.
#[derive(Clone, Debug)]
pub(super) struct Flip {
    pub(super) kind: FileKind,
    /// Relative to the data directory.
    pub(super) path: String,
    pub(super) position: u64,
    /// 0 to 7.
    pub(super) bit: u32,
}

/// A file with a bit that has rotted.
#[derive(Debug)]
pub(super) struct Rotten {
    file: File,
    position: u64,
    before: u8,
}

impl DataFiles {
    /// Those in `root`.
    pub(super) fn of(root: &Path) -> Result<Self, RotError> {
        let mut files = Vec::new();
        for (path, kind) in list(root).map_err(RotError::io("listing the data directory"))? {
            let bytes = fs::read(root.join(&path)).map_err(RotError::io("reading a file"))?;
            let stretches = (0_u64..).step_by(STRETCH_BYTES).zip(bytes.chunks_exact(STRETCH_BYTES));
            let is_written = |stretch: &[u8]| stretch.iter().any(|&byte| byte != 0);
            let written =
                stretches.filter(|(_, stretch)| is_written(stretch)).map(|(place, _)| place).collect();
            files.push(DataFile { kind, path, bytes: bytes.len() as u64, written });
        }
        files.retain(|file| file.bytes > 0);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for kind in KINDS {
            if !files.iter().any(|file| file.kind == kind && !file.written.is_empty()) {
                return Err(RotError::ProvesTooLittle(format!("there is no {kind} with anything in it")));
            }
        }
        Ok(Self(files))
    }

    /// How many there are of a kind, and their bytes.
    pub(super) fn count(&self, kind: FileKind) -> (u64, u64) {
        let of_kind = || self.0.iter().filter(|file| file.kind == kind);
        (of_kind().count() as u64, of_kind().map(|file| file.bytes).sum())
    }

    /// A bit of any file, every kind as often.
    pub(super) fn choose(&self, dice: &mut Dice) -> Flip {
        self.choose_of(KINDS[pick(dice, KINDS.len())], dice)
    }

    /// A bit of a file of that kind, three times out of four where something was written.
    pub(super) fn choose_of(&self, kind: FileKind, dice: &mut Dice) -> Flip {
        let anywhere = dice.once_in(4);
        let is_choice = |file: &&DataFile| file.kind == kind && (anywhere || !file.written.is_empty());
        let choices: Vec<&DataFile> = self.0.iter().filter(is_choice).collect();
        let file = choices[pick(dice, choices.len())];
        let position = if anywhere {
            dice.between(0, file.bytes - 1)
        } else {
            let stretch = file.written[pick(dice, file.written.len())];
            stretch + dice.between(0, STRETCH_BYTES as u64 - 1)
        };
        let bit = u32::try_from(dice.between(0, 7)).expect("below 8");
        Flip { kind, path: file.path.clone(), position, bit }
    }
}

impl Flip {
    /// Lets it rot.
    pub(super) fn apply(&self, root: &Path) -> Result<Rotten, RotError> {
        let flip = || {
            let file = OpenOptions::new().read(true).write(true).open(root.join(&self.path))?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, self.position)?;
            file.write_all_at(&[byte[0] ^ 1 << self.bit], self.position)?;
            Ok(Rotten { file, position: self.position, before: byte[0] })
        };
        flip().map_err(RotError::io("flipping a bit"))
    }
}

impl Rotten {
    /// As it was before.
    pub(super) fn restore(self) -> Result<(), RotError> {
        let restored = self.file.write_all_at(&[self.before], self.position);
        restored.map_err(RotError::io("flipping a bit back"))
    }
}

/// Copies a data directory, blocks of zeroes aside: they are holes in the copy.
pub(super) fn copy_directory(from: &Path, to: &Path) -> Result<(), RotError> {
    let copy = || -> io::Result<()> {
        for directory in ["logs", "partitions"] {
            fs::create_dir_all(to.join(directory))?;
        }
        for (path, _) in list(from)? {
            let target = to.join(&path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            let bytes = fs::read(from.join(&path))?;
            let file = File::create(target)?;
            file.set_len(bytes.len() as u64)?;
            for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                if block.iter().any(|&byte| byte != 0) {
                    file.write_all_at(block, (number * BLOCK_BYTES) as u64)?;
                }
            }
        }
        Ok(())
    };
    copy().map_err(RotError::io("copying the data directory"))
}

/// All files but the lock.
pub(crate) fn list(root: &Path) -> io::Result<Vec<(String, FileKind)>> {
    let names = |directory: String| -> io::Result<Vec<String>> {
        let entries = fs::read_dir(root.join(&directory))?;
        entries.map(|entry| Ok(format!("{directory}/{}", entry?.file_name().to_string_lossy()))).collect()
    };
    let mut files = vec![
        ("superblock".to_owned(), FileKind::Superblock),
        ("checkpoint".to_owned(), FileKind::Checkpoint),
    ];
    files.extend(names("logs".to_owned())?.into_iter().map(|path| (path, FileKind::Log)));
    for directory in names("partitions".to_owned())? {
        files.extend(names(directory)?.into_iter().map(|path| {
            let kind = if path.ends_with(".index") { FileKind::Index } else { FileKind::Segment };
            (path, kind)
        }));
    }
    Ok(files)
}

fn pick(dice: &mut Dice, choices: usize) -> usize {
    usize::try_from(dice.between(0, choices as u64 - 1)).expect("it is an index")
}

impl fmt::Display for FileKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Log => "log",
            Self::Segment => "segment",
            Self::Index => "index",
            Self::Checkpoint => "checkpoint",
            Self::Superblock => "superblock",
        })
    }
}

impl fmt::Display for Flip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "bit {} of byte {} of {}", self.bit, self.position, self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn directory() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in ["logs", "partitions/a-0"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let mut log = vec![0; 5 * BLOCK_BYTES];
        log[2 * BLOCK_BYTES + 7] = 1;
        for (path, bytes) in [
            ("logs/a", &*log),
            ("superblock", b"a"),
            ("checkpoint", b"b"),
            ("partitions/a-0/0.log", b"c"),
            ("partitions/a-0/0.index", b"d"),
        ] {
            fs::write(root.path().join(path), bytes.repeat(STRETCH_BYTES)).unwrap();
        }
        root
    }

    #[test]
    fn a_bit_is_flipped_in_the_copy_alone_and_flipped_back() {
        let (root, copy) = (directory(), tempfile::tempdir().unwrap());
        copy_directory(root.path(), copy.path()).unwrap();
        let read = |root: &Path| fs::read(root.join("superblock")).unwrap();
        let flip = Flip { kind: FileKind::Superblock, path: "superblock".to_owned(), position: 3, bit: 1 };
        let rotten = flip.apply(copy.path()).unwrap();
        assert_eq!((read(root.path())[3], read(copy.path())[3]), (b'a', b'a' ^ 2));
        rotten.restore().unwrap();
        for (path, _) in list(root.path()).unwrap() {
            assert_eq!(
                fs::read(root.path().join(&path)).unwrap(),
                fs::read(copy.path().join(&path)).unwrap()
            );
        }
    }

    #[test]
    fn every_kind_of_file_is_hit_and_mostly_where_something_was_written() {
        let root = directory();
        let files = DataFiles::of(root.path()).unwrap();
        let mut dice = Dice::new(1, 0);
        let flips: Vec<Flip> = (0..400).map(|_| files.choose(&mut dice)).collect();
        let kinds: BTreeSet<FileKind> = flips.iter().map(|flip| flip.kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
        let bytes = fs::read(root.path().join("logs/a")).unwrap();
        let is_written = |flip: &&Flip| {
            let start = flip.position as usize / STRETCH_BYTES * STRETCH_BYTES;
            flip.kind == FileKind::Log && bytes[start..start + STRETCH_BYTES].iter().any(|&byte| byte != 0)
        };
        let logs = flips.iter().filter(|flip| flip.kind == FileKind::Log).count();
        let written = flips.iter().filter(is_written).count();
        assert!(logs / 2 < written && written < logs, "{written} of {logs}");
    }
}
