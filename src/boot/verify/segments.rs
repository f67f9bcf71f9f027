//! Every segment that a living partition names, read in pieces, each batch in it proved.

use ringmain_shard::partition::Partition;
use ringmain_wal::names::{index_file_name, segment_file_name};
use ringmain_wal::segment::{INDEX_FILE_BYTES_MAX, Index, Scan, ScanEnd, SegmentDamage};
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::{BatchError, BatchHeader, HEADER_BYTES};
use ringmain_wire::ids::Offset;

use super::{Finding, FindingKind, Stopped, Verifier, describe_place};
use crate::boot::directory::{DirectoryError, ReadDirectory};

/// Bytes read at a time, unless a single batch is larger.
const PIECE_BYTES: usize = 1 << 20;
/// The longest batch there can be: one that claims more is damaged.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Memory for a piece of a segment, used for one after the other.
#[derive(Debug, Default)]
pub(super) struct SegmentReader {
    piece: Vec<u8>,
}

/// A segment that is proved.
struct Segment<'a> {
    partition: &'a Partition,
    extent: &'a SegmentExtent,
    path: &'a str,
}

/// A piece of it.
struct Piece<'a> {
    bytes: &'a [u8],
    /// Nothing that counts stands behind it.
    is_last: bool,
}

/// Where in a segment the proof is.
#[derive(Clone, Copy, Debug)]
struct Place {
    position: u64,
    /// The offset due next; none behind damage.
    expected: Option<Offset>,
    /// Bytes that the next piece needs at least.
    needed_bytes: usize,
    /// CRC-32C of everything before; none behind damage.
    crc: Option<u32>,
}

/// How far a piece has brought the proof.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// It goes on there.
    GoesOn(Place),
    /// All that counts is proved: so many bytes, with that CRC-32C.
    Whole { bytes: u64, crc: u32 },
    /// It has come to its end past damage, or cannot go on.
    Over,
}

impl SegmentReader {
    /// So many bytes from `position` on; fewer only where the file ends.
    fn read(
        &mut self,
        directory: &mut dyn ReadDirectory,
        path: &str,
        position: u64,
        wanted: usize,
    ) -> Result<&[u8], DirectoryError> {
        self.piece.resize(wanted, 0);
        let read = directory.read(path, position, &mut self.piece)?;
        Ok(&self.piece[..read])
    }
}

impl Verifier<'_> {
    /// Whether its segments hold all that they should.
    pub(super) fn check_partition(
        &mut self,
        partition: &Partition,
        reader: &mut SegmentReader,
    ) -> Result<(), Stopped> {
        let mut covered = partition.log_start();
        for extent in partition.segments().extents() {
            self.check_covered(partition, covered, extent.base)?;
            covered = covered.max(extent.end);
            self.check_segment(partition, extent, reader)?;
        }
        self.check_covered(partition, covered, partition.settled_end())
    }

    /// Whether nothing is due between the end of one segment and the beginning of what follows it.
    fn check_covered(&mut self, partition: &Partition, from: Offset, to: Offset) -> Result<(), Stopped> {
        if from >= to || partition.is_damaged() {
            return Ok(());
        }
        let meaning = format!("the records {from} to {} lie in no segment and in no log", to.get() - 1);
        let finding = Finding::new(FindingKind::RecordsMissing, describe_place(partition), meaning);
        self.tell(finding.of(partition.id()))
    }

    fn check_segment(
        &mut self,
        partition: &Partition,
        extent: &SegmentExtent,
        reader: &mut SegmentReader,
    ) -> Result<(), Stopped> {
        let path = segment_file_name(partition.id(), extent.base);
        match self.directory.file_bytes(&path) {
            Ok(Some(_)) => self.summary.segments += 1,
            Ok(None) => {
                let meaning = format!(
                    "the segment is not there: the records {} to {} are lost",
                    extent.base,
                    extent.end.get() - 1
                );
                return self
                    .tell(Finding::new(FindingKind::SegmentMissing, path, meaning).of(partition.id()));
            }
            Err(error) => return self.tell_unreadable(&path, &error),
        }
        let mut place =
            Place { position: 0, expected: Some(extent.base), needed_bytes: HEADER_BYTES, crc: Some(0) };
        let segment = Segment { partition, extent, path: &path };
        loop {
            let left = usize::try_from(extent.bytes.saturating_sub(place.position)).unwrap_or(usize::MAX);
            let wanted = place.needed_bytes.max(PIECE_BYTES).min(left);
            let bytes = match reader.read(self.directory, &path, place.position, wanted) {
                Ok(bytes) => bytes,
                Err(error) => return self.tell_unreadable(&path, &error),
            };
            let piece = Piece { bytes, is_last: wanted == left || bytes.len() < wanted };
            match self.check_piece(&segment, &piece, place)? {
                Progress::GoesOn(next) => place = next,
                Progress::Whole { bytes, crc } => return self.check_index(&segment, bytes, crc),
                Progress::Over => return Ok(()),
            }
        }
    }

    /// What the index file says of a segment of so many bytes, all of them proved, with that CRC-32C.
    fn check_index(&mut self, segment: &Segment<'_>, bytes: u64, crc: u32) -> Result<(), Stopped> {
        let Segment { partition, extent, path } = segment;
        let index_path = index_file_name(partition.id(), extent.base);
        let mut file = match self.directory.file_bytes(&index_path) {
            Ok(Some(bytes)) => vec![
                0;
                usize::try_from(bytes)
                    .map_or(INDEX_FILE_BYTES_MAX, |bytes| bytes.min(INDEX_FILE_BYTES_MAX))
            ],
            // One is written when the broker finds the time.
            Ok(None) => return Ok(()),
            Err(error) => return self.tell_unreadable(&index_path, &error),
        };
        let read = match self.directory.read(&index_path, 0, &mut file) {
            Ok(read) => read,
            Err(error) => return self.tell_unreadable(&index_path, &error),
        };
        let finding = match Index::decode(&file[..read]) {
            Err(damage) => {
                let meaning = format!("{damage}: the broker makes it again from its segment");
                Finding::new(FindingKind::IndexUnusable, index_path, meaning)
            }
            Ok((_, footer)) if (footer.segment_bytes, footer.end) != (bytes, extent.end) => return Ok(()),
            Ok((_, footer)) if footer.segment_crc == crc => return Ok(()),
            Ok((_, footer)) => {
                let meaning = format!(
                    "segment checksum {crc:#010x} where its index file says {:#010x}: what no batch's checksum \
                     covers has changed",
                    footer.segment_crc
                );
                Finding::new(FindingKind::SegmentDamaged, *path, meaning).at(0)
            }
        };
        self.tell(finding.of(partition.id()))
    }

    /// Proves the batches at the front of a piece. Says where to go on; nowhere at the segment's end, or where it cannot.
    fn check_piece(
        &mut self,
        segment: &Segment<'_>,
        piece: &Piece<'_>,
        place: Place,
    ) -> Result<Progress, Stopped> {
        let mut scan = Scan::new(piece.bytes, place.position, place.expected);
        let mut before = place.crc;
        // What stands behind the end, where a truncation has cut the segment, is void.
        while scan.expected().is_none_or(|expected| expected < segment.extent.end) {
            let Some(batch) = scan.next() else { break };
            if batch.header.base_offset >= segment.extent.end {
                return Ok(Progress::Over);
            }
            let position = place.position + batch.range.start as u64;
            match segment.why_misplaced(&batch.header) {
                Some(reason) => {
                    before = None;
                    self.tell_batch(segment, position, &batch.header, &reason)?;
                }
                None => {
                    self.summary.segment_batches += 1;
                    self.summary.segment_records += u64::from(batch.header.records);
                    self.summary.segment_bytes += batch.range.len() as u64;
                }
            }
        }
        let position = place.position + scan.consumed_bytes() as u64;
        let crc = before.map(|crc| crc32c::crc32c_append(crc, &piece.bytes[..scan.consumed_bytes()]));
        let next = Place { position, expected: scan.expected(), needed_bytes: HEADER_BYTES, crc };
        let rest = &piece.bytes[scan.consumed_bytes()..];
        let reason = match scan.end() {
            None => {
                return Ok(crc.map_or(Progress::Over, |crc| Progress::Whole { bytes: position, crc }));
            }
            Some(ScanEnd::Done) if !piece.is_last => return Ok(Progress::GoesOn(next)),
            Some(ScanEnd::Incomplete { needed_bytes })
                if !piece.is_last && needed_bytes <= BATCH_BYTES_MAX =>
            {
                return Ok(Progress::GoesOn(Place { needed_bytes, ..next }));
            }
            Some(ScanEnd::Incomplete { needed_bytes }) => {
                format!("a batch of {needed_bytes} bytes begins where the segment has {} left", rest.len())
            }
            Some(ScanEnd::Done) => format!("the segment ends before offset {}", segment.extent.end),
            Some(ScanEnd::Damaged {
                reason: reason @ SegmentDamage::Batch(BatchError::Crc { .. }), ..
            }) => {
                // Where the next one begins is known, though nothing proves it; and then it may begin at any offset.
                if let Ok(header) = BatchHeader::parse(rest) {
                    self.tell_batch(segment, position, &header, &reason.to_string())?;
                    let position = position + u64::from(header.length);
                    let next = Place { position, expected: None, needed_bytes: HEADER_BYTES, crc: None };
                    let goes_on = position < segment.extent.bytes;
                    return Ok(if goes_on { Progress::GoesOn(next) } else { Progress::Over });
                }
                reason.to_string()
            }
            Some(ScanEnd::Damaged { reason, .. }) => reason.to_string(),
        };
        let meaning = format!("{reason}: from here on nothing in it can be served");
        let finding = Finding::new(FindingKind::SegmentDamaged, segment.path, meaning);
        self.tell(finding.at(position).of(segment.partition.id()))?;
        Ok(Progress::Over)
    }

    fn tell_batch(
        &mut self,
        segment: &Segment<'_>,
        position: u64,
        header: &BatchHeader,
        reason: &str,
    ) -> Result<(), Stopped> {
        let (first, last) = (header.base_offset, header.last_offset());
        let meaning = format!("{reason}: what calls itself the records {first} to {last} cannot be served");
        let finding = Finding::new(FindingKind::SegmentDamaged, segment.path, meaning);
        self.tell(finding.at(position).of(segment.partition.id()))
    }
}

impl Segment<'_> {
    /// Why an intact batch cannot be the one that was put here, if so: no checksum covers where it belongs.
    fn why_misplaced(&self, header: &BatchHeader) -> Option<String> {
        let Self { partition, extent, .. } = self;
        if header.next_offset() > extent.end {
            return Some(format!("the batch goes on behind offset {}, where the segment ends", extent.end));
        }
        let led = partition.epochs().at(header.base_offset).filter(|_| !partition.is_damaged())?;
        let found = header.leader_epoch;
        (found != led).then(|| format!("the batch names leader epoch {found}, but epoch {led} led there"))
    }
}
