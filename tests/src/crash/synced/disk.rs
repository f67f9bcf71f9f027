//! The disk under a directory and what it counts (Documentation/block/stat.rst, queue-sysfs.rst).

use core::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Fields of `stat`, from 0.
const WRITES_COMPLETED: usize = 4;
/// Since Linux 5.5; counted for whole disks only.
const FLUSHES_COMPLETED: usize = 15;

/// A whole disk.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    evidence: Evidence,
}

/// What a disk has completed since it was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) writes: u64,
    /// `None` where the kernel does not count them.
    pub(super) flushes: Option<u64>,
}

/// What the counters of a disk can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It has a volatile cache, and every synced write is followed by a flush.
    Flushes,
    /// It has a volatile cache that single writes can pass (FUA): the counters cannot tell those from others.
    ForcedWrites,
    /// It has no volatile cache: a write that is complete is durable.
    Writes,
}

impl Disk {
    /// The disk that `directory` is on, or why nothing can be counted there.
    pub(super) fn of(directory: &Path) -> io::Result<Result<Self, &'static str>> {
        let device = fs::metadata(directory)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let Ok(block) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
            return Ok(Err("the directory is on no block device"));
        };
        let whole = match block.parent() {
            Some(parent) if block.join("partition").exists() => parent.to_owned(),
            _ => block,
        };
        let read = |name: &str| fs::read_to_string(whole.join("queue").join(name));
        let evidence = match (read("write_cache")?.trim(), read("fua")?.trim()) {
            ("write back", "0") => Evidence::Flushes,
            ("write back", _) => Evidence::ForcedWrites,
            _ => Evidence::Writes,
        };
        let disk = Self { path: whole, evidence };
        if evidence == Evidence::Flushes && disk.counters()?.flushes.is_none() {
            return Ok(Err("this kernel does not count flushes"));
        }
        Ok(Ok(disk))
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) const fn evidence(&self) -> Evidence {
        self.evidence
    }

    pub(super) fn counters(&self) -> io::Result<Counters> {
        let text = fs::read_to_string(self.path.join("stat"))?;
        Counters::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Counters {
    /// How far they rose since they were `before`.
    pub(super) fn since(self, before: Self) -> Self {
        let flushes = self.flushes.zip(before.flushes).map(|(now, before)| now - before);
        Self { writes: self.writes - before.writes, flushes }
    }

    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
        Some(Self { writes: *fields.get(WRITES_COMPLETED)?, flushes: fields.get(FLUSHES_COMPLETED).copied() })
    }
}

impl Evidence {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Flushes => "flushes",
            Self::ForcedWrites => "forced_writes",
            Self::Writes => "writes",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Flushes => "the disk has a volatile cache and no FUA: each synced write must be followed by a flush",
            Self::ForcedWrites => {
                "the disk has FUA: its counters show the writes, but not whether each was forced past the cache"
            }
            Self::Writes => "the disk has no volatile cache: a completed write is durable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_with_and_without_flushes() {
        let stat = "  572782    32493 21839018   987068  1176551    80335 60273720   193887        0    70188 \
                    1207318    43553       19 28105680     8430   523461    17931\n";
        assert_eq!(Counters::parse(stat), Some(Counters { writes: 1_176_551, flushes: Some(523_461) }));
        let old = "1 2 3 4 5 6 7 8 9 10 11\n";
        assert_eq!(Counters::parse(old), Some(Counters { writes: 5, flushes: None }));
        assert_eq!(Counters::parse("1 2 3\n"), None);
    }
}
