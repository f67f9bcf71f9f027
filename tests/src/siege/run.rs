//! What every siege begins and ends with: a directory on a real disk, a broker in it, and ports to reach it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::broker::{Broker, BrokerOptions};
use super::error::SiegeError;
use crate::crash::place;
use crate::crash::session::Session;

/// Shards of the besieged broker, unless a siege says otherwise.
pub(super) const SHARDS: u16 = 2;
/// Memory for records, a shard: the least that the command line allows.
pub(super) const MEMORY_BYTES: usize = 32 << 20;
/// Bytes of each shard's log, unless a siege says otherwise.
pub(super) const LOG_BYTES: u64 = 256 << 20;

/// Where a run has its broker.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Whether the directory was chosen, and so stays.
    chosen: bool,
    pub(super) options: BrokerOptions,
}

impl Place {
    /// A directory and a free port for a siege called `name`.
    pub(super) fn make(chosen: Option<&Path>, name: &str) -> Result<Self, SiegeError> {
        let directory = place::make_directory(chosen, &format!("siege-{name}-{}", std::process::id()))?;
        let options = BrokerOptions {
            data_dir: directory.join("data"),
            native: place::free_address()?,
            shards: SHARDS,
            memory_bytes: MEMORY_BYTES,
            log_bytes: LOG_BYTES,
        };
        Ok(Self { directory, chosen: chosen.is_some(), options })
    }

    /// Starts the broker there.
    pub(super) fn start(&self) -> Result<Broker, SiegeError> {
        Broker::start(&self.options, &self.directory.join("broker.log"))
    }

    /// All is well: what was stored is removed, unless the directory was chosen.
    pub(super) fn remove(self) -> Result<(), SiegeError> {
        if self.chosen {
            return Ok(());
        }
        fs::remove_dir_all(&self.directory).map_err(SiegeError::io("removing the run's directory"))
    }
}

/// Every native port: the one that all shards share, and then each shard's own.
pub(super) fn ports(native: SocketAddr) -> Result<Vec<SocketAddr>, SiegeError> {
    let (_, greeting) = Session::connect(native)?;
    let own = greeting.shards.iter().map(|endpoint| SocketAddr::new(native.ip(), endpoint.port));
    Ok([native].into_iter().chain(own).collect())
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    let (_nobody_sends, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}
