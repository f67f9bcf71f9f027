//! `debug segment`: the batches of a segment file.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ringmain_wal::block::BLOCK_BYTES;
use ringmain_wal::names::{SegmentPart, parse_log_file_name, parse_segment_name};
use ringmain_wal::segment::{Scan, ScanEnd, SegmentDamage};
use ringmain_wire::batch::{BatchError, BatchHeader, Codec, HEADER_BYTES};
use ringmain_wire::ids::Offset;
use serde::Serialize;

use super::pieces::{PIECE_BYTES_MAX, Pieces};
use super::report::{Damage, Report, print_to_stdout};
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;

/// What to do about damage.
const DAMAGED: &str =
    "bytes behind the last settled batch do not count, and a start says which partitions are hit";

#[derive(Debug, Args)]
pub(in crate::cli) struct SegmentArguments {
    /// The segment: <data-dir>/partitions/<topic id>-<partition>/<base offset>.log.
    file: PathBuf,
}

/// Prints every batch.
pub(super) fn run(arguments: &SegmentArguments, format: Format) -> Result<(), Failure> {
    let path = &arguments.file;
    let mut pieces = Pieces::open(path)?;
    let base = base_offset(path)?;
    let index_exists = path.with_extension("index").exists();
    print_to_stdout(&mut pieces, format, DAMAGED, |pieces, report| print(pieces, base, index_exists, report))
}

/// The offset at which the segment begins, as its name says.
fn base_offset(path: &Path) -> Result<Offset, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hint = match parse_segment_name(&name) {
        Some((base, SegmentPart::Data | SegmentPart::Stray)) => return Ok(base),
        Some((_, SegmentPart::Index)) => "it is the index of one: name the .log file beside it".to_owned(),
        None if parse_log_file_name(&format!("logs/{name}")).is_some() => {
            format!("print a log file with: ringmain debug log {}", path.display())
        }
        None => "a segment's name is its base offset, such as 00000000000000004711.log".to_owned(),
    };
    Err(Failure::failed("not_a_segment", format!("{} is not a segment", path.display())).hint(hint))
}

/// A batch. Fields may only be added: programs read them.
#[derive(Serialize)]
#[serde(tag = "type", rename = "batch")]
struct BatchLine {
    position_bytes: u64,
    base_offset: i64,
    last_offset: i64,
    records: u32,
    length_bytes: u32,
    /// None when its bits name none.
    codec: Option<&'static str>,
    max_timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    crc_ok: bool,
}

/// How the segment ends. Fields may only be added: programs read them.
#[derive(Serialize)]
#[serde(tag = "type", rename = "end")]
struct EndLine {
    position_bytes: u64,
    how: &'static str,
    zero_bytes: u64,
    /// Why the end is damage.
    reason: Option<String>,
    batches: u64,
    damaged_batches: u64,
    records: u64,
    index_exists: bool,
}

/// Prints all batches and the end, and gives the first damage.
fn print(
    pieces: &mut Pieces,
    base: Offset,
    index_exists: bool,
    report: &mut Report<impl Write>,
) -> Result<Option<Damage>, Failure> {
    if report.is_text() {
        report.line(&Head)?;
    }
    let mut end = EndLine::new(index_exists);
    let mut damage = None;
    let (mut expected, mut needed_bytes) = (Some(base), HEADER_BYTES);
    loop {
        let start = end.position_bytes;
        let bytes = pieces.at(start, needed_bytes)?;
        let mut scan = Scan::new(bytes, start, expected);
        for batch in scan.by_ref() {
            let line = BatchLine::new(start + batch.range.start as u64, &batch.header, true);
            end.count(&line);
            report.line(&line)?;
        }
        let scan_end = scan.end().unwrap_or(ScanEnd::Done);
        let header = BatchHeader::parse(&bytes[scan.consumed_bytes()..]);
        expected = scan.expected();
        needed_bytes = HEADER_BYTES;
        let position = start + scan.consumed_bytes() as u64;
        end.position_bytes = position;
        let left_bytes = pieces.file_bytes().saturating_sub(position);
        match scan_end {
            ScanEnd::Done if left_bytes == 0 => break,
            ScanEnd::Done => continue,
            ScanEnd::Incomplete { needed_bytes: needed } if is_readable(needed, left_bytes) => {
                needed_bytes = needed;
                continue;
            }
            ScanEnd::Incomplete { .. } | ScanEnd::Damaged { .. } => {}
        }
        let is_zero = pieces.first_nonzero(position)?.is_none();
        if is_zero && left_bytes < BLOCK_BYTES as u64 {
            (end.how, end.zero_bytes) = ("zeroes", left_bytes);
            break;
        }
        let reason = if is_zero {
            format!("{left_bytes} bytes of zeroes, more than the padding of a block")
        } else {
            reason_of(scan_end, left_bytes)
        };
        damage.get_or_insert(Damage { position, reason: reason.clone() });
        match (scan_end, header) {
            // Where the next one begins is known, though nothing proves it; and then it may begin at any offset.
            (ScanEnd::Damaged { reason: SegmentDamage::Batch(BatchError::Crc { .. }), .. }, Ok(header)) => {
                let line = BatchLine::new(position, &header, false);
                end.count(&line);
                report.line(&line)?;
                end.position_bytes = position + u64::from(header.length);
                expected = None;
            }
            _ => {
                (end.how, end.reason) = ("damage", Some(reason));
                break;
            }
        }
    }
    report.line(&end)?;
    Ok(damage)
}

/// Whether so many bytes can be asked for and are there.
fn is_readable(needed_bytes: usize, left_bytes: u64) -> bool {
    needed_bytes <= PIECE_BYTES_MAX && needed_bytes as u64 <= left_bytes
}

fn reason_of(end: ScanEnd, left_bytes: u64) -> String {
    match end {
        ScanEnd::Damaged { reason, .. } => reason.to_string(),
        ScanEnd::Incomplete { needed_bytes } if needed_bytes > PIECE_BYTES_MAX => {
            format!("a batch of {needed_bytes} bytes, more than any has")
        }
        ScanEnd::Incomplete { needed_bytes } if needed_bytes == HEADER_BYTES => {
            format!("{left_bytes} bytes that are no whole header of a batch")
        }
        ScanEnd::Incomplete { needed_bytes } => {
            format!("a batch of {needed_bytes} bytes of which the file holds {left_bytes}")
        }
        ScanEnd::Done => "the file ends".to_owned(),
    }
}

impl BatchLine {
    fn new(position: u64, header: &BatchHeader, crc_ok: bool) -> Self {
        Self {
            position_bytes: position,
            base_offset: header.base_offset.get(),
            last_offset: header.last_offset().get(),
            records: header.records,
            length_bytes: header.length,
            codec: header.codec().ok().map(Codec::name),
            max_timestamp_ms: header.max_timestamp.get(),
            producer_id: header.producer.get(),
            producer_epoch: header.producer_epoch.get(),
            base_sequence: header.base_sequence.get(),
            crc_ok,
        }
    }
}

impl EndLine {
    const fn new(index_exists: bool) -> Self {
        Self {
            position_bytes: 0,
            how: "end",
            zero_bytes: 0,
            reason: None,
            batches: 0,
            damaged_batches: 0,
            records: 0,
            index_exists,
        }
    }

    /// Counts a batch: the records of one that is damaged are nobody's word.
    fn count(&mut self, batch: &BatchLine) {
        if batch.crc_ok {
            self.batches += 1;
            self.records += u64::from(batch.records);
        } else {
            self.damaged_batches += 1;
        }
    }
}

/// What stands over the batches. Columns are as wide as usual values: nothing waits until all batches are known.
#[derive(Serialize)]
struct Head;

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>10}  {:>12}  {:>12}  {:>7}  {:>8}  {:<6}  {:>13}  {:>8}  {:>5}  {:>8}  CRC",
            "POSITION",
            "BASE OFFSET",
            "LAST OFFSET",
            "RECORDS",
            "BYTES",
            "CODEC",
            "MAX TIME (MS)",
            "PRODUCER",
            "EPOCH",
            "SEQUENCE"
        )
    }
}

impl fmt::Display for BatchLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>10}  {:>12}  {:>12}  {:>7}  {:>8}  {:<6}  {:>13}  {:>8}  {:>5}  {:>8}  {}",
            self.position_bytes,
            self.base_offset,
            self.last_offset,
            self.records,
            self.length_bytes,
            self.codec.unwrap_or("?"),
            self.max_timestamp_ms,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            if self.crc_ok { "ok" } else { "DAMAGED" }
        )
    }
}

impl fmt::Display for EndLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position_bytes, zero_bytes, batches, damaged_batches, records, .. } = self;
        match &self.reason {
            Some(reason) => write!(out, "damage at byte {position_bytes}: {reason}")?,
            None if *zero_bytes > 0 => write!(
                out,
                "{zero_bytes} bytes of zeroes from byte {position_bytes} to the end of the file: padding of the last block"
            )?,
            None => write!(out, "end of the file at byte {position_bytes}")?,
        }
        write!(
            out,
            "\nintact batches: {batches}, records in them: {records}, damaged batches: {damaged_batches}"
        )?;
        write!(out, "\nindex beside it: {}", if self.index_exists { "yes" } else { "no" })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ringmain_wire::batch::{BatchBuilder, stamp};
    use ringmain_wire::ids::{LeaderEpoch, TimestampMs};

    use super::*;

    /// Batches of so many records each from offset 10 on, and where each begins.
    fn segment(batches: &[u32]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts, mut offset) = (Vec::new(), Vec::new(), 10);
        for &records in batches {
            let mut builder = BatchBuilder::new(Codec::Lz4);
            for record in 0..records {
                builder.append(TimestampMs(1000 + i64::from(record)), None, Some(&[7; 20]), &[]);
            }
            let mut batch = builder.finish().unwrap().to_vec();
            stamp(&mut batch, Offset(offset), LeaderEpoch(1));
            offset += i64::from(records);
            starts.push(bytes.len());
            bytes.extend(batch);
        }
        (bytes, starts)
    }

    /// What is printed of a segment with these bytes, and its damage.
    fn printed(bytes: &[u8], format: Format) -> (Vec<String>, Option<Damage>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("00000000000000000010.log");
        fs::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        let base = base_offset(&path).unwrap();
        let mut pieces = Pieces::open(&path).unwrap();
        let damage = print(&mut pieces, base, true, &mut Report::new(&mut out, format)).unwrap();
        let lines = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
        (lines, damage)
    }

    #[test]
    fn every_batch_has_its_line_and_padding_is_no_damage() {
        let (mut bytes, starts) = segment(&[3, 2]);
        let end = bytes.len();
        bytes.resize(4096, 0);
        let (lines, damage) = printed(&bytes, Format::Json);
        assert_eq!(damage, None);
        assert_eq!(lines.len(), 3);
        let length = end - starts[1];
        assert_eq!(
            lines[1],
            format!(
                "{{\"type\":\"batch\",\"position_bytes\":{},\"base_offset\":13,\"last_offset\":14,\"records\":2,\
                 \"length_bytes\":{length},\"codec\":\"lz4\",\"max_timestamp_ms\":1001,\"producer_id\":-1,\
                 \"producer_epoch\":-1,\"base_sequence\":-1,\"crc_ok\":true}}",
                starts[1]
            )
        );
        assert_eq!(
            lines[2],
            format!(
                "{{\"type\":\"end\",\"position_bytes\":{end},\"how\":\"zeroes\",\"zero_bytes\":{},\"reason\":null,\
                 \"batches\":2,\"damaged_batches\":0,\"records\":5,\"index_exists\":true}}",
                4096 - end
            )
        );

        let (lines, _) = printed(&bytes, Format::Text);
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        let length = starts[1].to_string();
        assert_eq!(cells, ["0", "10", "12", "3", &length, "lz4", "1002", "-1", "-1", "-1", "ok"]);
        assert!(lines[3].ends_with("padding of the last block"), "{}", lines[3]);
        assert_eq!(lines[4], "intact batches: 2, records in them: 5, damaged batches: 0");
        assert_eq!(lines[5], "index beside it: yes");
        let (lines, damage) = printed(&bytes[..end], Format::Text);
        assert_eq!((lines[3].as_str(), damage), (format!("end of the file at byte {end}").as_str(), None));
    }

    #[test]
    fn a_batch_that_rotted_is_named_and_those_behind_it_are_printed() {
        let (mut bytes, starts) = segment(&[3, 2, 1]);
        bytes[starts[1] + 70] ^= 1;
        let (lines, damage) = printed(&bytes, Format::Text);
        let damage = damage.unwrap();
        assert_eq!(damage.position, starts[1] as u64);
        assert!(damage.reason.starts_with("batch checksum"), "{}", damage.reason);
        assert!(lines[2].ends_with("DAMAGED"), "{}", lines[2]);
        assert!(lines[3].ends_with("ok"), "{}", lines[3]);
        assert_eq!(lines[5], "intact batches: 2, records in them: 4, damaged batches: 1");
    }

    #[test]
    fn what_is_no_batch_ends_the_walk_with_its_place_and_reason() {
        let (bytes, starts) = segment(&[3, 2]);
        let damage = |bytes: &[u8]| {
            let (lines, damage) = printed(bytes, Format::Text);
            let damage = damage.unwrap();
            let line = format!("damage at byte {}: {}", damage.position, damage.reason);
            assert!(lines.contains(&line), "{lines:?}");
            (damage.position as usize, damage.reason)
        };
        let (place, reason) = damage(&bytes[..bytes.len() - 1]);
        assert_eq!(place, starts[1]);
        assert!(reason.contains("of which the file holds"), "{reason}");

        let mut moved = bytes.clone();
        moved[starts[1] + 7] ^= 1;
        let (place, reason) = damage(&moved);
        assert_eq!(place, starts[1]);
        assert!(reason.contains("base offset"), "{reason}");

        let mut endless = bytes.clone();
        endless[starts[1] + 8] = 0x7f;
        let (place, reason) = damage(&endless);
        assert_eq!(place, starts[1]);
        assert!(reason.contains("more than any has"), "{reason}");

        let mut zeroes = bytes.clone();
        zeroes.resize(bytes.len() + BLOCK_BYTES, 0);
        assert_eq!(damage(&zeroes).0, bytes.len());
        zeroes.push(1);
        assert_eq!(damage(&zeroes).0, bytes.len());
    }

    #[test]
    fn names_that_are_no_segment_are_refused_with_what_they_are() {
        assert_eq!(base_offset(Path::new("a/00000000000000004711.log")), Ok(Offset(4711)));
        for (name, hint) in [
            ("a/00000000000000004711.index", "the .log file beside it"),
            ("a/0000000007-0003-000012.log", "ringmain debug log a/0000000007-0003-000012.log"),
            ("superblock", "00000000000000004711.log"),
        ] {
            let told = format!("{:?}", base_offset(Path::new(name)).unwrap_err());
            assert!(told.contains("not_a_segment") && told.contains(hint), "{told}");
        }
    }
}
