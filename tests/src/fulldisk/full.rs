//! A disk that fills up, at a moment that dice choose, and has room again.
//!
//! Every round: appends until they are refused for want of room, everything acknowledged read back, topics listed, created
//! and deleted; a restart on the full disk; then room again, by a deletion or from outside, upon which appends go on without
//! a restart.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ringmain_wire::ids::TopicId;
use ringmain_wire::native::errors::ErrorCode;
use ringmain_wire::native::frame::Api;
use ringmain_wire::native::messages::{
    DeleteTopicRequest, DeleteTopicResponse, DescribeTopicRequest, ListTopicsRequest, ListTopicsResponse,
    StatsRequest, StatsResponse, TopicDescription,
};

use super::image::{Mounted, make_ext4};
use super::ledger::{Ledger, PARTITIONS, Sent};
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::clock::Stopwatch;
use crate::crash::dice::Dice;
use crate::crash::place;
use crate::crash::session::Session;
use crate::siege::client::create_topic;
use crate::siege::error::SiegeError;
use crate::siege::run::pause;

const DISK_BYTES: u64 = 160 << 20;
/// Room at the beginning of a round: less than a log file, and more than several.
const ROOM_BYTES: (u64, u64) = (1 << 20, 64 << 20);
/// A disk is full when nothing was taken for so long: more than the broker waits before it asks for room again.
const FULL_AFTER: Duration = Duration::from_millis(2_500);
/// A full disk is told as such so soon; before that the broker may hope to make room.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// Appends go on so soon after there is room.
const RESUMED_WITHIN: Duration = Duration::from_secs(20);
/// Before a batch is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A topic that holds as much gives back room enough for the log to go on.
const DELETED_BYTES: u64 = 48 << 20;

/// Fills the disk so many times.
///
/// # Errors
/// When a promise was broken, or the run could not go on.
pub fn run(directory: &Path, seed: u64, rounds: u64) -> Result<(), SiegeError> {
    let image = directory.join("full.img");
    make_ext4(&image, DISK_BYTES)?;
    let disk = Mounted::image(&image, directory.join("full"))?;
    let options =
        BrokerOptions { data_dir: disk.path().join("data"), native: place::free_address()?, shards: 2 };
    let log = directory.join("full.log");
    let mut seen = Seen::default();
    let mut ledger = Ledger::default();
    let mut broker = Broker::start(&options, &log)?;
    for round in 0..rounds {
        let mut dice = Dice::new(seed, round);
        let mut session = Session::connect(options.native)?.0;
        let name = format!("round-{round}");
        let topic = create_topic(&mut session, &name, PARTITIONS)?;
        disk.leave(dice.between(ROOM_BYTES.0, ROOM_BYTES.1))?;
        fill(&mut session, &mut ledger, topic)?;
        ledger.read_back(&mut session)?;
        administer(&mut session, &name)?;

        let is_killed = dice.once_in(2);
        drop(session);
        if is_killed {
            broker.kill()?;
        } else {
            broker.stop()?;
        }
        seen.kills += u64::from(is_killed);
        seen.stops += u64::from(!is_killed);
        broker = Broker::start(&options, &log)?;
        let mut session = Session::connect(options.native)?.0;
        ledger.read_back(&mut session)?;
        // What the start found in log files beyond their end is room again.
        fill(&mut session, &mut ledger, topic)?;
        administer(&mut session, &name)?;
        let left_bytes = disk.free_bytes()?;

        let is_deleted = ledger.bytes_of(topic) >= DELETED_BYTES && dice.once_in(2);
        let next = if is_deleted {
            delete(&mut session, &name)?;
            ledger.forget(topic);
            create_topic(&mut session, &format!("{name}-again"), PARTITIONS)?
        } else {
            disk.clear()?;
            topic
        };
        let waited = resume(&mut session, &mut ledger, next)?;
        ledger.read_back(&mut session)?;
        println!(
            "round {round}: full with {} KiB left, {} restarted, room by {}: appends went on after {} ms",
            left_bytes >> 10,
            if is_killed { "killed and" } else { "stopped and" },
            if is_deleted { "deleting the topic" } else { "removing a file" },
            waited.as_millis()
        );
        seen.deletions += u64::from(is_deleted);
        disk.clear()?;
        let names = if is_deleted { vec![format!("{name}-again")] } else { vec![name] };
        for name in names {
            delete(&mut session, &name)?;
        }
        ledger.forget(next);
    }
    broker.stop()?;
    let told = fs::read_to_string(&log).map_err(SiegeError::io("reading the broker's log"))?;
    for words in ["the disk is full", "the disk has room again"] {
        if !told.contains(words) {
            return Err(SiegeError::broken(format!("the broker's log says that {words}: {}", log.display())));
        }
    }
    println!(
        "{rounds} times full: {} batches acknowledged, {} MiB compared; {} kills, {} stops, {} deletions made room",
        ledger.acknowledged,
        ledger.compared_bytes >> 20,
        seen.kills,
        seen.stops,
        seen.deletions
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Seen {
    kills: u64,
    stops: u64,
    deletions: u64,
}

/// Appends until the disk is full: nothing is taken for a while, and the broker says why. Until it has tried to settle what it
/// has, it may say that it is busy instead.
fn fill(session: &mut Session, ledger: &mut Ledger, topic: TopicId) -> Result<(), SiegeError> {
    let mut refused_since = Stopwatch::start();
    let mut last = None;
    while refused_since.elapsed() < TOLD_WITHIN {
        match ledger.send(session, topic)? {
            Sent::Acknowledged => refused_since = Stopwatch::start(),
            Sent::Refused(ErrorCode::DiskFull) if refused_since.elapsed() >= FULL_AFTER => return Ok(()),
            Sent::Refused(code) => {
                last = Some(code);
                pause(RETRY_PAUSE);
            }
        }
    }
    Err(SiegeError::broken(format!("a full disk is told as disk_full, not as {last:?}")))
}

/// Appends until one is taken; gives how long that took.
fn resume(session: &mut Session, ledger: &mut Ledger, topic: TopicId) -> Result<Duration, SiegeError> {
    let started = Stopwatch::start();
    let mut last = None;
    while started.elapsed() < RESUMED_WITHIN {
        match ledger.send(session, topic)? {
            Sent::Acknowledged => return Ok(started.elapsed()),
            Sent::Refused(code) => last = Some(code),
        }
        pause(RETRY_PAUSE);
    }
    Err(SiegeError::broken(format!("there is room again, and appends are still refused, {last:?}")))
}

/// Topics are listed, described, created and deleted, and the node tells of itself.
fn administer(session: &mut Session, name: &str) -> Result<(), SiegeError> {
    let (_, _): (StatsResponse, _) = session.request(Api::Stats, &StatsRequest { shards: None })?;
    let (listed, _): (ListTopicsResponse, _) =
        session.request(Api::ListTopics, &ListTopicsRequest { internal: false })?;
    if !listed.topics.iter().any(|topic| topic.name == name) {
        return Err(SiegeError::broken(format!("{name} is not listed")));
    }
    let describe = DescribeTopicRequest { name: name.to_owned() };
    let (_, _): (TopicDescription, _) = session.request(Api::DescribeTopic, &describe)?;
    create_topic(session, "made-when-full", 1)?;
    delete(session, "made-when-full")
}

fn delete(session: &mut Session, name: &str) -> Result<(), SiegeError> {
    let request = DeleteTopicRequest { name: name.to_owned() };
    let (_, _): (DeleteTopicResponse, _) = session.request(Api::DeleteTopic, &request)?;
    Ok(())
}
