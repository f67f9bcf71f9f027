//! A device whose writes end with EIO, at a moment that dice choose: the node stops and says where, and a restart on a device
//! that works again finds everything that was acknowledged.
//!
//! The device is a file with holes on a filesystem in memory that has less room than the device claims: once that is used up,
//! the loop device ends every write to a hole with EIO. More memory makes it sound again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::image::{Mounted, make_ext4};
use super::ledger::{Ledger, PARTITIONS, Sent};
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::clock::Stopwatch;
use crate::crash::dice::Dice;
use crate::crash::place;
use crate::crash::session::{Session, SessionError};
use crate::siege::client::create_topic;
use crate::siege::error::SiegeError;
use crate::siege::run::pause;

/// What the device claims to hold.
const DEVICE_BYTES: u64 = 256 << 20;
/// What it can take from the moment on at which the broker serves.
const SOUND_BYTES: (u64, u64) = (1 << 20, 64 << 20);
/// A node that goes on for longer does not meet its device.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Lets a device fail so many times.
///
/// # Errors
/// When a promise was broken, or the run could not go on.
pub fn run(directory: &Path, seed: u64, rounds: u64) -> Result<(), SiegeError> {
    for round in 0..rounds {
        let memory = Mounted::memory(DEVICE_BYTES, directory.join("memory"))?;
        let image = memory.path().join("failing.img");
        make_ext4(&image, DEVICE_BYTES)?;
        let log = directory.join("failing.log");
        fail_once(directory, &memory, &image, &log, &mut Dice::new(seed, 1_000 + round))?;
    }
    Ok(())
}

fn fail_once(
    directory: &Path,
    memory: &Mounted,
    image: &Path,
    log: &Path,
    dice: &mut Dice,
) -> Result<(), SiegeError> {
    let disk = Mounted::image(image, directory.join("failing"))?;
    let options =
        BrokerOptions { data_dir: disk.path().join("data"), native: place::free_address()?, shards: 2 };
    let broker = Broker::start(&options, log)?;
    let mut session = Session::connect(options.native)?.0;
    let topic = create_topic(&mut session, "orders", PARTITIONS)?;
    let mut ledger = Ledger::default();
    let told_before = fs::read_to_string(log).map_err(SiegeError::io("reading the broker's log"))?.len();
    memory.leave_memory(dice.between(SOUND_BYTES.0, SOUND_BYTES.1))?;

    let started = Stopwatch::start();
    while started.elapsed() < STOPS_WITHIN {
        match ledger.send(&mut session, topic) {
            Ok(Sent::Acknowledged) => {}
            Ok(Sent::Refused(_)) => pause(RETRY_PAUSE),
            // It has stopped, or is about to.
            Err(
                SiegeError::Broken { .. } | SiegeError::Session(SessionError::Lost(_) | SessionError::Silent),
            ) => break,
            Err(error) => return Err(error),
        }
    }
    broker.fail_within(STOPS_WITHIN)?;
    let told = fs::read_to_string(log).map_err(SiegeError::io("reading the broker's log"))?;
    let why = told[told_before..].lines().find(|line| is_named(line)).map(str::to_owned);
    let why = why.ok_or_else(|| {
        SiegeError::broken("a node that stops because a write failed names file, operation and error")
    })?;

    drop(disk);
    memory.resize(DEVICE_BYTES + (32 << 20))?;
    let _disk = Mounted::image(image, directory.join("failing"))?;
    let broker = Broker::start(&options, log)?;
    let mut session = Session::connect(options.native)?.0;
    ledger.read_back(&mut session)?;
    ledger.settle_doubt(&mut session, topic)?;
    let resumed = ledger.send(&mut session, topic)?;
    if resumed != Sent::Acknowledged {
        return Err(SiegeError::broken(format!("a sound device takes appends again: {resumed:?}")));
    }
    ledger.read_back(&mut session)?;
    println!("device failed after {} batches: {why}", ledger.acknowledged);
    broker.stop()?;
    Ok(())
}

/// Whether a line says what failed on which file, and that it was the device.
fn is_named(line: &str) -> bool {
    let names_file = line.contains("logs") || line.contains("partitions/") || line.contains("checkpoint");
    // EIO, and EROFS: ext4 takes no more once its own journal could not be written.
    let names_error =
        ["operating system error 5", "operating system error 30"].iter().any(|error| line.ends_with(error));
    names_file && names_error && line.contains(" failed: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_file_or_error_does_not_count() {
        assert!(is_named("write of log group 7 to logs/1-0-0.log failed: operating system error 5"));
        assert!(!is_named("closing a file failed: operating system error 5"));
        assert!(!is_named("settling into partitions/a/0.log failed: no room on the disk"));
    }
}
