//! Where runs keep their data: beside the build, on a real disk, and never in memory.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::error::CrashError;

/// A new directory `name` in `target/`, or `chosen`, which must not exist or be empty.
pub(crate) fn make_directory(chosen: Option<&Path>, name: &str) -> Result<PathBuf, CrashError> {
    let path = match chosen {
        Some(path) => path.to_owned(),
        None => beside_the_build().map_err(CrashError::io("looking for the target directory"))?.join(name),
    };
    fs::create_dir_all(&path).map_err(CrashError::io("making the run's directory"))?;
    let mut entries = fs::read_dir(&path).map_err(CrashError::io("listing the run's directory"))?;
    if entries.next().is_some() {
        return Err(CrashError::DirectoryInUse { path });
    }
    Ok(path)
}

/// The `target/` that this program was built into.
fn beside_the_build() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent);
    Ok(target.ok_or(io::ErrorKind::NotFound)?.join("crash-data"))
}

/// A free port of the loopback for a broker that will be down again and again.
///
/// It lies below those that the kernel gives to outgoing connections: a client that keeps dialling a port where nobody
/// listens could otherwise be given that very port and reach itself.
pub(crate) fn free_address() -> Result<SocketAddr, CrashError> {
    const CANDIDATES: std::ops::Range<u16> = 20_000..30_000;
    let spread = u16::try_from(std::process::id() % 5_000).expect("below 5,000");
    for port in CANDIDATES.skip(usize::from(spread)) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(CrashError::Io { during: "looking for a free port", error }),
        }
    }
    Err(CrashError::Io { during: "looking for a free port", error: io::ErrorKind::AddrInUse.into() })
}
