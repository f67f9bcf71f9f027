//! `debug verify`: proves what a stopped data directory holds.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ringmain_wire::ids::PartitionId;
use serde::Serialize;

use super::report::Report;
use crate::boot::directory::{DirectoryError, ReadDirectory};
use crate::boot::disk::StoppedDirectory;
use crate::boot::verify::{Finding, Stopped, Summary, verify};
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output::Progress;
use crate::serve::ServeError;

/// What to do about damage.
const DAMAGED: &str =
    "what is damaged is never served; restore the whole directory from one copy to have it back";
/// Bytes read between two lines of progress.
const SHOWN_EVERY_BYTES: u64 = 16 << 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Reads all that a start reads, and every segment; writes nothing. The broker must be stopped.
Exit code 0: all is sound, 1: something is damaged. What a crash leaves behind and a start puts in order, torn ends of
logs and files that nobody names, is told and is no damage.")]
pub(in crate::cli) struct VerifyArguments {
    /// The data directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Looks through it, and fails if anything is damaged.
pub(super) fn run(arguments: &VerifyArguments, format: Format) -> Result<(), Failure> {
    let path = &arguments.directory;
    let directory = lock(path)?;
    let progress = RefCell::new(Progress::new(true));
    let mut watched = Watched { directory, progress: &progress, read_bytes: 0, shown_bytes: 0 };
    let summary = report(&mut watched, &mut Report::new(io::stdout().lock(), format), &progress)?;
    if summary.is_sound() {
        return Ok(());
    }
    let places = if summary.damages == 1 { "place" } else { "places" };
    let message = format!("{} is damaged in {} {places}", path.display(), summary.damages);
    Err(Failure::failed("damaged", message).hint(DAMAGED))
}

fn lock(path: &Path) -> Result<StoppedDirectory, Failure> {
    let mut directory = StoppedDirectory::lock(path).map_err(|error| {
        let error = ServeError::locking(path, error);
        let failure = Failure::failed("verify_failed", error.to_string());
        match error {
            ServeError::Locked { .. } => failure.hint("stop that broker, or verify a copy"),
            _ => failure
                .hint("name the data directory of a broker, and run it as the user that the broker runs as"),
        }
    })?;
    let names = directory.list("").unwrap_or_default();
    let is_brokers =
        |name: &String| ["superblock", "checkpoint", "logs", "partitions"].contains(&name.as_str());
    if names.iter().any(is_brokers) {
        return Ok(directory);
    }
    let message = format!("{} is not a data directory", path.display());
    Err(Failure::failed("not_a_data_directory", message).hint("name the one given to serve as --data-dir"))
}

/// Prints all findings and the summary.
fn report(
    directory: &mut dyn ReadDirectory,
    report: &mut Report<impl Write>,
    progress: &RefCell<Progress>,
) -> Result<Summary, Failure> {
    let mut failed = None;
    let verified = verify(directory, &mut |finding| {
        progress.borrow_mut().show("");
        report.line(&FindingLine::new(&finding)).map_err(|failure| {
            failed = Some(failure);
            Stopped
        })
    });
    match (verified, failed) {
        (Ok(summary), _) => {
            progress.borrow_mut().show("");
            report.line(&SummaryLine::new(&summary))?;
            Ok(summary)
        }
        (Err(Stopped), Some(failure)) => Err(failure),
        (Err(Stopped), None) => unreachable!("it is stopped by a failure alone"),
    }
}

/// Shows how much of a directory has been read.
struct Watched<'a, D> {
    directory: D,
    progress: &'a RefCell<Progress>,
    read_bytes: u64,
    shown_bytes: u64,
}

impl<D: ReadDirectory> ReadDirectory for Watched<'_, D> {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        self.directory.list(path)
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        self.directory.file_bytes(path)
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let read = self.directory.read(path, position, buffer)?;
        self.read_bytes += read as u64;
        if self.read_bytes >= self.shown_bytes + SHOWN_EVERY_BYTES {
            self.shown_bytes = self.read_bytes;
            self.progress.borrow_mut().show(&format!("{} MiB read, now {path}", self.read_bytes >> 20));
        }
        Ok(read)
    }
}

/// Something found. Fields may only be added: programs read them.
#[derive(Serialize)]
#[serde(tag = "type", rename = "finding")]
struct FindingLine<'a> {
    kind: &'static str,
    is_damage: bool,
    file: &'a str,
    position_bytes: Option<u64>,
    topic: Option<&'a str>,
    topic_id: Option<String>,
    partition: Option<u32>,
    meaning: &'a str,
}

impl<'a> FindingLine<'a> {
    fn new(finding: &'a Finding) -> Self {
        let Finding { kind, path, position, partition, topic, meaning } = finding;
        Self {
            kind: kind.name(),
            is_damage: kind.is_damage(),
            file: path,
            position_bytes: *position,
            topic: topic.as_deref(),
            topic_id: partition.map(|partition| partition.topic.to_string()),
            partition: partition.map(|partition| partition.index.get()),
            meaning,
        }
    }
}

impl fmt::Display for FindingLine<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", if self.is_damage { "DAMAGE" } else { "note" }, self.file)?;
        if let Some(position) = self.position_bytes {
            write!(out, " at byte {position}")?;
        }
        match (self.partition, self.topic, &self.topic_id) {
            (Some(partition), Some(topic), _) => write!(out, ", topic {topic} partition {partition}")?,
            (Some(_), None, Some(id)) if *id == PartitionId::METADATA.topic.to_string() => {
                out.write_str(", the topics' own log")?;
            }
            (Some(partition), None, Some(id)) => write!(out, ", topic id {id} partition {partition}")?,
            _ => {}
        }
        write!(out, ": {}", self.meaning)
    }
}

/// What there is of everything. Fields may only be added: programs read them.
#[derive(Serialize)]
#[serde(tag = "type", rename = "summary")]
struct SummaryLine {
    sound: bool,
    topics: u64,
    partitions: u64,
    segments: u64,
    segment_batches: u64,
    segment_records: u64,
    segment_bytes: u64,
    logs: u64,
    log_groups: u64,
    log_batches: u64,
    log_bytes: u64,
    torn_tails: u64,
    segments_missing: u64,
    unnamed: u64,
    damages: u64,
}

impl SummaryLine {
    const fn new(summary: &Summary) -> Self {
        Self {
            sound: summary.is_sound(),
            topics: summary.topics,
            partitions: summary.partitions,
            segments: summary.segments,
            segment_batches: summary.segment_batches,
            segment_records: summary.segment_records,
            segment_bytes: summary.segment_bytes,
            logs: summary.logs,
            log_groups: summary.log_groups,
            log_batches: summary.log_batches,
            log_bytes: summary.log_bytes,
            torn_tails: summary.torn_tails,
            segments_missing: summary.segments_missing,
            unnamed: summary.unnamed,
            damages: summary.damages,
        }
    }
}

impl fmt::Display for SummaryLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "topics: {}, partitions: {}", self.topics, self.partitions)?;
        writeln!(
            out,
            "segments: {}, batches in them: {}, records: {}, bytes: {}",
            self.segments, self.segment_batches, self.segment_records, self.segment_bytes
        )?;
        writeln!(
            out,
            "logs: {}, groups in them: {}, batches: {}, bytes: {}",
            self.logs, self.log_groups, self.log_batches, self.log_bytes
        )?;
        writeln!(
            out,
            "torn ends of logs: {}, segments missing: {}, files nobody names: {}",
            self.torn_tails, self.segments_missing, self.unnamed
        )?;
        match self.damages {
            0 => out.write_str("all is sound"),
            damages => write!(out, "damages: {damages}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ringmain_wal::group::LogSalt;
    use ringmain_wire::ids::{NodeId, TimestampMs};

    use super::*;
    use crate::boot::disk::DataDirectory;
    use crate::boot::{BootOptions, Entropy, boot};

    /// A directory that a broker was started on once.
    fn started() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mut directory = DataDirectory::lock(root.path()).unwrap();
        let entropy = Entropy { cluster_id: [1; 16], disk_id: [2; 16], salt: LogSalt(3) };
        let options =
            BootOptions { node: NodeId(1), shards: 1, tail_bytes_max: 0, now: TimestampMs(0), entropy };
        boot(&mut directory, options, &mut |_| ()).unwrap();
        root
    }

    fn told(root: &Path, format: Format) -> (Vec<String>, Summary) {
        let mut directory = lock(root).unwrap();
        let mut out = Vec::new();
        let progress = RefCell::new(Progress::new(false));
        let summary = report(&mut directory, &mut Report::new(&mut out, format), &progress).unwrap();
        (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), summary)
    }

    #[test]
    fn the_last_line_is_the_summary() {
        let root = started();
        let (lines, summary) = told(root.path(), Format::Json);
        assert_eq!((lines.len(), summary.damages), (1, 0));
        assert!(lines[0].starts_with("{\"type\":\"summary\",\"sound\":true,\"topics\":0,"), "{}", lines[0]);
        let (lines, _) = told(root.path(), Format::Text);
        assert_eq!(lines.last().map(String::as_str), Some("all is sound"));
    }

    #[test]
    fn damage_has_its_line_and_its_place() {
        let root = started();
        let path = root.path().join("superblock");
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096 + 30] ^= 4;
        fs::write(&path, bytes).unwrap();
        let (lines, summary) = told(root.path(), Format::Json);
        assert_eq!((lines.len(), summary.damages), (2, 1));
        let expected = "{\"type\":\"finding\",\"kind\":\"copy_damaged\",\"is_damage\":true,\"file\":\"superblock\",\
                        \"position_bytes\":4096,\"topic\":null,\"topic_id\":null,\"partition\":null,\"meaning\":\"";
        assert!(lines[0].starts_with(expected), "{}", lines[0]);
        let (lines, _) = told(root.path(), Format::Text);
        assert!(lines[0].starts_with("DAMAGE: superblock at byte 4096: one of"), "{}", lines[0]);
        let failure = run(&VerifyArguments { directory: root.path().to_owned() }, Format::Json).unwrap_err();
        assert!(format!("{failure:?}").contains("is damaged in 1 place\""), "{failure:?}");
    }

    #[test]
    fn a_running_broker_and_a_foreign_directory_are_refused() {
        let root = started();
        let running = DataDirectory::lock(root.path()).unwrap();
        let refused = |path: &Path| format!("{:?}", lock(path).map(|_| ()).unwrap_err());
        assert!(refused(root.path()).contains("is in use by another broker (process "));
        drop(running);
        let empty = tempfile::tempdir().unwrap();
        assert!(refused(empty.path()).contains("not_a_data_directory"));
        assert!(refused(&empty.path().join("missing")).contains("verify_failed"));
    }
}
