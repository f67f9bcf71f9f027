//! Filesystems of the run's own: an ext4 in a file, mounted through a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::crash::clock::Stopwatch;
use crate::siege::error::SiegeError;
use crate::siege::run::pause;

/// A filesystem that is in use for longer, after the broker on it has ended, is used by somebody else.
const RELEASED_WITHIN: Duration = Duration::from_secs(20);

/// Mounted; no longer when dropped.
#[derive(Debug)]
pub(super) struct Mounted {
    point: PathBuf,
}

/// Why filesystems cannot be made and mounted here, if they cannot.
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting a filesystem needs root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices: /dev/loop-control is missing".to_owned());
    }
    let works = Command::new("mkfs.ext4").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match works {
        Ok(status) if status.success() => None,
        _ => Some("there is no mkfs.ext4".to_owned()),
    }
}

/// Makes an ext4 of as many bytes in the file `image`. What ext4 needs for itself is written now; all other blocks are taken
/// only when they are written.
pub(super) fn make_ext4(image: &Path, bytes: u64) -> Result<(), SiegeError> {
    let made = File::create(image).and_then(|file| file.set_len(bytes));
    made.map_err(SiegeError::io("making an image"))?;
    // Nothing is kept for root, who runs this.
    run(Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(image))
}

impl Mounted {
    /// The filesystem in the file `image`.
    pub(super) fn image(image: &Path, point: PathBuf) -> Result<Self, SiegeError> {
        fs::create_dir_all(&point).map_err(SiegeError::io("making a mount point"))?;
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(&point))?;
        Ok(Self { point })
    }

    /// A filesystem in memory that holds as many bytes.
    pub(super) fn memory(bytes: u64, point: PathBuf) -> Result<Self, SiegeError> {
        fs::create_dir_all(&point).map_err(SiegeError::io("making a mount point"))?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&point))?;
        Ok(Self { point })
    }

    /// From now on a filesystem in memory holds as many bytes.
    pub(super) fn resize(&self, bytes: u64) -> Result<(), SiegeError> {
        run(Command::new("mount").args(["-o", &format!("remount,size={bytes}")]).arg(&self.point))
    }

    pub(super) fn path(&self) -> &Path {
        &self.point
    }

    /// Bytes that files can still take.
    pub(super) fn free_bytes(&self) -> Result<u64, SiegeError> {
        let found = statvfs(&self.point).map_err(|error| SiegeError::io("looking for room")(error.into()))?;
        Ok(found.f_bavail * found.f_frsize)
    }

    /// Bytes that are in use.
    pub(super) fn used_bytes(&self) -> Result<u64, SiegeError> {
        let found = statvfs(&self.point).map_err(|error| SiegeError::io("looking for room")(error.into()))?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    }

    /// From now on a filesystem in memory takes so many bytes more.
    pub(super) fn leave_memory(&self, bytes: u64) -> Result<(), SiegeError> {
        let started = Stopwatch::start();
        loop {
            // What is being written meanwhile may need more than that already.
            match self.resize(self.used_bytes()? + bytes) {
                Err(_) if started.elapsed() < RELEASED_WITHIN => {}
                resized => return resized,
            }
        }
    }

    /// Takes room away until so much is left, with a file that is none of the broker's.
    pub(super) fn leave(&self, free_bytes: u64) -> Result<(), SiegeError> {
        let bytes = self.free_bytes()?.saturating_sub(free_bytes);
        if bytes == 0 {
            return Ok(());
        }
        let file = File::create(self.ballast()).map_err(SiegeError::io("making the ballast"))?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .map_err(|error| SiegeError::io("making the ballast")(error.into()))
    }

    /// Gives it back.
    pub(super) fn clear(&self) -> Result<(), SiegeError> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(SiegeError::io("removing the ballast")),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The ring of a broker that has ended holds its files for a moment longer.
        let started = Stopwatch::start();
        while run(Command::new("umount").arg(&self.point)).is_err() {
            if started.elapsed() > RELEASED_WITHIN {
                eprintln!("{} stays mounted", self.point.display());
                return;
            }
            pause(Duration::from_millis(50));
        }
    }
}

fn run(command: &mut Command) -> Result<(), SiegeError> {
    let output = command.stdin(Stdio::null()).output().map_err(SiegeError::io("running mkfs or mount"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SiegeError::io("running mkfs or mount")(std::io::Error::other(said)))
}
