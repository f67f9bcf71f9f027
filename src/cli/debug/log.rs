//! `debug log`: the groups of a log file with their entries.

mod lines;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ringmain_shard::store::LOG_DIRECTORY;
use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::group::{
    GROUP_HEADER_BYTES, Generation, GroupDamage, GroupHeader, LogId, LogSalt, Sequence, parse_directory,
};
use ringmain_wal::names::{parse_log_file_name, parse_segment_name};
use ringmain_wal::superblock::{self, SLOT_BYTES};

use self::lines::{EndLine, EntryLine, GroupLine, NextGroup};
use super::pieces::{PIECE_BYTES_MAX, Pieces};
use super::report::{Damage, Report, print_to_stdout};
use crate::boot::SUPERBLOCK;
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;

/// What to do about damage.
const DAMAGED: &str =
    "at the log's end this may be a write under way or cut short: a start of the broker tells it from rot";

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArguments {
    /// The log file: <data-dir>/logs/<generation>-<shard>-<number>.log.
    file: PathBuf,
}

/// Which file of which log is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogFile {
    generation: Generation,
    log: LogId,
    number: u32,
    salt: LogSalt,
}

/// Prints every group.
pub(super) fn run(arguments: &LogArguments, format: Format) -> Result<(), Failure> {
    let path = &arguments.file;
    let mut pieces = Pieces::open(path)?;
    let (generation, log, number) = parse_name(path)?;
    let file = LogFile { generation, log, number, salt: read_salt(path)? };
    print_to_stdout(&mut pieces, format, DAMAGED, |pieces, report| print(pieces, file, report))
}

fn parse_name(path: &Path) -> Result<(Generation, LogId, u32), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(parsed) = parse_log_file_name(&format!("{LOG_DIRECTORY}/{name}")) {
        return Ok(parsed);
    }
    let hint = if parse_segment_name(&name).is_some() {
        format!("print a segment with: ringmain debug segment {}", path.display())
    } else {
        "a log file's name is generation, shard and number, such as 0000000007-0003-000012.log".to_owned()
    };
    Err(Failure::failed("not_a_log_file", format!("{} is not a log file", path.display())).hint(hint))
}

/// The secret of the data directory that a log file lies in: without it no group can be told from a record's bytes.
fn read_salt(path: &Path) -> Result<LogSalt, Failure> {
    let failed = |message: String| {
        Failure::failed("superblock", message).hint(
            "groups can only be told by the superblock of their data directory: name the file where it lies",
        )
    };
    let whole = fs::canonicalize(path)
        .map_err(|error| failed(format!("cannot tell where {} lies: {error}", path.display())))?;
    let logs = whole.parent().filter(|logs| logs.ends_with(LOG_DIRECTORY));
    let Some(data_directory) = logs.and_then(Path::parent) else {
        return Err(failed(format!(
            "{} does not lie in {LOG_DIRECTORY}/ of a data directory",
            path.display()
        )));
    };
    let place = data_directory.join(SUPERBLOCK);
    let unusable =
        |reason: String| failed(format!("cannot read the superblock {}: {reason}", place.display()));
    let mut pieces =
        Pieces::open(&place).map_err(|_| unusable("it does not exist or may not be read".to_owned()))?;
    let mut slots = vec![0; 2 * SLOT_BYTES];
    let bytes = pieces.at(0, 2 * SLOT_BYTES)?;
    let length = bytes.len().min(slots.len());
    slots[..length].copy_from_slice(&bytes[..length]);
    let (first, second) = slots.split_at(SLOT_BYTES);
    let superblock = superblock::choose(first, second).map_err(|error| unusable(error.to_string()))?;
    Ok(superblock.log_salt)
}

/// Prints all groups and the end, and gives the first damage.
fn print(
    pieces: &mut Pieces,
    file: LogFile,
    report: &mut Report<impl Write>,
) -> Result<Option<Damage>, Failure> {
    let mut end = EndLine::default();
    let mut damage = None;
    // The first file begins with the first group; what a later one goes on from stands in the file before it.
    let mut previous = (file.number == 0).then_some((Sequence::ZERO, 0));
    loop {
        let position = end.position_bytes;
        let bytes = pieces.at(position, BLOCK_BYTES)?;
        if bytes.is_empty() {
            break;
        }
        let decoded = GroupHeader::decode(bytes, file.salt);
        let left_bytes = pieces.file_bytes().saturating_sub(position);
        let header = match check(decoded, file, previous, left_bytes) {
            Ok(header) => header,
            Err(reason) => {
                if pieces.first_nonzero(position)?.is_none() {
                    (end.how, end.zero_bytes) = ("zeroes", left_bytes);
                    break;
                }
                damage.get_or_insert(Damage { position, reason: reason.clone() });
                (end.how, end.reason) = ("damage", Some(reason));
                end.next_group = find_behind(pieces, file, position)?;
                break;
            }
        };
        let bytes = pieces.at(position, header.length as usize)?;
        let line = describe(position, &header, bytes);
        if let Some(reason) = line.reason() {
            damage.get_or_insert(Damage { position, reason });
        }
        end.count(&line);
        end.closed = header.closed;
        end.position_bytes += u64::from(header.length);
        previous = Some((header.sequence, header.encode(file.salt, &mut [0; GROUP_HEADER_BYTES])));
        report.line(&line)?;
    }
    report.line(&end)?;
    Ok(damage)
}

/// The header, if it is one that could follow `previous`, the group before and its header's CRC; else why not.
fn check(
    decoded: Result<GroupHeader, GroupDamage>,
    file: LogFile,
    previous: Option<(Sequence, u32)>,
    left_bytes: u64,
) -> Result<GroupHeader, String> {
    let header = decoded.map_err(|damage| damage.to_string())?;
    let GroupHeader { generation, log, sequence, length, .. } = header;
    if (generation, log) != (file.generation, file.log) {
        return Err(format!("the group is of shard {log} in generation {generation}"));
    }
    if let Some((before, crc)) = previous {
        if sequence != before.next() {
            return Err(format!("group {sequence} where {} should be", before.next()));
        }
        if header.previous_crc != crc {
            return Err(format!("group {sequence} does not follow the group before it, but another"));
        }
    }
    if u64::from(length) > left_bytes {
        return Err(format!("group {sequence} of {length} bytes, of which the file holds {left_bytes}"));
    }
    if length as usize > PIECE_BYTES_MAX {
        return Err(format!("group {sequence} of {length} bytes, more than any has"));
    }
    Ok(header)
}

/// What is printed of the group in `bytes`, damaged or not.
fn describe(position: u64, header: &GroupHeader, bytes: &[u8]) -> GroupLine {
    match parse_directory(header, bytes) {
        Ok(heads) => {
            let entries = heads.iter().map(|head| EntryLine::new(head, head.matches(bytes))).collect();
            GroupLine::new(position, header, entries, None)
        }
        Err(damage) => GroupLine::new(position, header, Vec::new(), Some(damage.to_string())),
    }
}

/// The first group of this log behind damage: it says that the log went on once.
fn find_behind(pieces: &mut Pieces, file: LogFile, position: u64) -> Result<Option<NextGroup>, Failure> {
    let mut position = position - position % BLOCK_BYTES as u64;
    loop {
        position += BLOCK_BYTES as u64;
        let bytes = pieces.at(position, BLOCK_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Ok(header) = GroupHeader::decode(bytes, file.salt)
            && (header.generation, header.log) == (file.generation, file.log)
        {
            return Ok(Some(NextGroup { position_bytes: position, sequence: header.sequence.0 }));
        }
    }
}

#[cfg(test)]
mod tests;
