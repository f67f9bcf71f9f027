//! A real broker on a directory with a rotten bit, asked for everything.

use std::fs;
use std::path::Path;

use ringmain_wire::ids::Offset;

use super::error::RotError;
use super::judge::Outcome;
use super::make::SHARDS;
use super::reader::Reader;
use super::workload::{Written, WrittenPartition};
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::error::CrashError;
use crate::crash::place;

/// Records between two places at which reading begins: at least one in every large segment.
const HERE_AND_THERE: i64 = 500;
/// What the broker's log says of damage, whatever it is.
const NAMED_AS: &[&str] = &["damaged", "rotted", "is gone"];

/// What a broker made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Everything that was acknowledged.
    All,
    /// Less, and its log or an answer names the damage.
    Part,
    /// It does not start, and says why.
    Nothing,
}

impl Served {
    /// Whether that is what was found without a broker.
    pub(super) fn check(self, outcome: Outcome) -> Result<(), RotError> {
        let expected = match outcome {
            Outcome::MeansNothing | Outcome::ToldAllServed => Self::All,
            Outcome::ToldPartRefused => Self::Part,
            Outcome::ToldStartRefused => Self::Nothing,
        };
        if self == expected {
            return Ok(());
        }
        Err(RotError::Unsound(format!("a broker serves {self:?} where {expected:?} was expected")))
    }
}

/// Starts a broker and reads everything from it; stops it.
pub(super) fn serve_and_read(data_dir: &Path, log: &Path, written: &Written) -> Result<Served, RotError> {
    let native = place::free_address()?;
    let options = BrokerOptions { data_dir: data_dir.to_owned(), native, shards: SHARDS };
    let broker = match Broker::start(&options, log) {
        Ok(broker) => broker,
        Err(CrashError::Broker { problem: "ended while starting", .. }) if is_named(log)? => {
            return Ok(Served::Nothing);
        }
        Err(error) => return Err(error.into()),
    };
    let mut reader = Reader::connect(native)?;
    let mut refused = false;
    for partition in &written.partitions {
        refused |= read_partition(&mut reader, partition)?;
    }
    broker.stop()?;
    match refused {
        false => Ok(Served::All),
        true if is_named(log)? => Ok(Served::Part),
        true => {
            Err(RotError::Unsound("records are not served, and the broker's log does not say why".to_owned()))
        }
    }
}

pub(super) fn is_named(log: &Path) -> Result<bool, RotError> {
    let text = fs::read_to_string(log).map_err(RotError::io("reading the broker's log"))?;
    Ok(NAMED_AS.iter().any(|word| text.contains(word)))
}

/// Reads a partition, here and there and then from its start to its end; says whether anything of it is refused.
pub(super) fn read_partition(reader: &mut Reader, expected: &WrittenPartition) -> Result<bool, RotError> {
    let mut reader = reader.open(expected.topic.name, expected.index)?;
    let mut check = |offset, content| expected.check(offset, &content);
    let (_, end) = reader.ends()?;
    let mut refused = false;
    // Index files are looked into only by who begins somewhere.
    for place in (HERE_AND_THERE / 2..end.get()).step_by(HERE_AND_THERE as usize) {
        reader.next = Offset(place);
        refused |= !reader.fetch(&mut check)?;
    }
    reader.next = Offset::ZERO;
    let mut goes_on = true;
    while reader.next < end && goes_on {
        goes_on = reader.fetch(&mut check)?;
    }
    refused |= !goes_on;
    let served = u64::try_from(reader.next.get()).unwrap_or(0);
    if refused || reader.damaged && served < expected.records {
        return Ok(true);
    }
    if served >= expected.records {
        return Ok(false);
    }
    let what = format!("{expected} ends at {served} as if {} had not been acknowledged", expected.records);
    Err(RotError::Unsound(what))
}

/// Asks for the records from one of them on; says whether that is refused.
pub(super) fn is_refused(
    reader: &mut Reader,
    expected: &WrittenPartition,
    next: Offset,
) -> Result<bool, RotError> {
    let mut reader = reader.open(expected.topic.name, expected.index)?;
    reader.next = next;
    Ok(!reader.fetch(&mut |offset, content| expected.check(offset, &content))?)
}
