use std::collections::BTreeMap;

use ringmain_wal::block::{BLOCK_BYTES, round_up};
use ringmain_wal::commit::{GroupCommit, GroupCommitConfig};
use ringmain_wal::group::{Generation, LogId, LogSalt, parse};
use ringmain_wal::names::{index_file_name, log_file_name, segment_file_name, stray_file_name};
use ringmain_wal::segment::{IndexBuilder, IndexFooter};
use ringmain_wal::state::{PartitionState, SegmentExtent};
use ringmain_wire::batch::{BatchBuilder, BatchHeader, Codec, stamp};
use ringmain_wire::ids::{NodeId, Offset, PartitionIndex, TimestampMs, TopicId};

use super::*;
use crate::boot::directory::Directory;
use crate::boot::{BootOptions, Entropy, boot};
use crate::host::catalog::Change;

const TOPIC: TopicId = TopicId([7; 16]);
const SALT: LogSalt = LogSalt(5);
const EPOCH: LeaderEpoch = LeaderEpoch(1);

const OPTIONS: BootOptions = BootOptions {
    node: NodeId(1),
    shards: 1,
    tail_bytes_max: usize::MAX,
    now: TimestampMs(0),
    entropy: Entropy { cluster_id: [1; 16], disk_id: [2; 16], salt: SALT },
};

/// A data directory in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl ReadDirectory for Memory {
    fn list(&mut self, path: &str) -> Result<Vec<String>, DirectoryError> {
        let inside = |name: &String| {
            let rest = if path.is_empty() { name } else { name.strip_prefix(path)?.strip_prefix('/')? };
            Some(rest.split('/').next().unwrap_or_default().to_owned())
        };
        let mut names: Vec<String> = self.0.keys().filter_map(inside).collect();
        names.dedup();
        Ok(names)
    }

    fn file_bytes(&mut self, path: &str) -> Result<Option<u64>, DirectoryError> {
        Ok(self.0.get(path).map(|bytes| bytes.len() as u64))
    }

    fn read(&mut self, path: &str, position: u64, buffer: &mut [u8]) -> Result<usize, DirectoryError> {
        let bytes = &self.0[path][self.0[path].len().min(position as usize)..];
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }
}

impl Directory for Memory {
    fn create_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn write(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        self.write_deferred(path, position, bytes)
    }

    fn write_deferred(&mut self, path: &str, position: u64, bytes: &[u8]) -> Result<(), DirectoryError> {
        let file = self.0.entry(path.to_owned()).or_default();
        let end = position as usize + bytes.len();
        file.resize(file.len().max(end), 0);
        file[position as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn sync_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn truncate(&mut self, path: &str, bytes: u64) -> Result<(), DirectoryError> {
        self.0.get_mut(path).unwrap().truncate(bytes as usize);
        Ok(())
    }

    fn link(&mut self, path: &str, second: &str) -> Result<(), DirectoryError> {
        let bytes = self.0[path].clone();
        self.0.entry(second.to_owned()).or_insert(bytes);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DirectoryError> {
        self.0.remove(path);
        Ok(())
    }

    fn remove_directory(&mut self, _: &str) -> Result<(), DirectoryError> {
        Ok(())
    }
}

fn partition(index: u32) -> PartitionId {
    PartitionId::new(TOPIC, PartitionIndex(index))
}

fn batch(base: i64, records: u32, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in 0..records {
        builder.append(TimestampMs(i64::from(record)), None, Some(value), &[]);
    }
    let mut batch = builder.finish().unwrap().to_vec();
    stamp(&mut batch, Offset(base), EPOCH);
    batch
}

fn log_path() -> String {
    log_file_name(Generation(1), LogId(0), 0)
}

fn segment_path() -> String {
    segment_file_name(partition(0), Offset(0))
}

/// A directory that was stopped well: a topic `orders` of two partitions, the first with records 0 to 4 in a segment and
/// 5 to 6 in the log, the second with record 0 in the log.
fn sample() -> Memory {
    sample_of(1)
}

/// The same of a node with so many shards; all but the first have had nothing to log.
fn sample_of(shards: u16) -> Memory {
    let mut memory = Memory::default();
    let booted = boot(&mut memory, BootOptions { shards, ..OPTIONS }, &mut |_| ()).unwrap();
    let former = booted.former_logs;
    memory.write(&former.checkpoint_path, former.checkpoint_position, &former.checkpoint).unwrap();
    let mut commit = GroupCommit::new(GroupCommitConfig::new(Generation(1), LogId(0), SALT));
    let mut log = vec![0; 16 * BLOCK_BYTES];
    let mut drain = |commit: &mut GroupCommit| {
        while let Some(file) = commit.poll_prepare() {
            commit.file_ready(file.number, file.bytes);
        }
        while let Some(group) = commit.poll_group(0) {
            let place = group.position as usize;
            log[place..place + group.bytes.len()].copy_from_slice(&group.bytes);
            commit.handle_written(group.sequence);
        }
    };
    let create = Change::CreateTopic {
        id: TOPIC,
        name: "orders".to_owned(),
        partitions: 2,
        replication_factor: 1,
        configs: Vec::new(),
    };
    let mut append = |commit: &mut GroupCommit, id, bytes: &[u8]| {
        let header = BatchHeader::parse(bytes).unwrap();
        commit.append_batch(id, EPOCH, header.base_offset, header.records, bytes).unwrap();
        drain(commit);
    };
    append(&mut commit, PartitionId::METADATA, &batch(0, 1, &create.encode()));
    let settled = [batch(0, 3, b"settled"), batch(3, 2, b"settled too")];
    for bytes in &settled {
        append(&mut commit, partition(0), bytes);
    }
    let mut segment = settled.concat();
    let bytes = segment.len() as u64;
    segment.resize(round_up(segment.len()), 0);
    memory.write(&segment_path(), 0, &segment).unwrap();
    let extent = SegmentExtent {
        base: Offset(0),
        end: Offset(5),
        bytes,
        created: TimestampMs(0),
        max_timestamp: TimestampMs(2),
    };
    let state = PartitionState {
        settled_end: Offset(5),
        end: Offset(5),
        segments: vec![extent],
        epochs: vec![(EPOCH, Offset(0))],
        ..PartitionState::default()
    };
    commit.append_state(partition(0), Offset(5), &state.encode()).unwrap();
    append(&mut commit, partition(0), &batch(5, 2, b"in the log"));
    append(&mut commit, partition(1), &batch(0, 1, b"in the log"));
    commit.close();
    drain(&mut commit);
    assert!(commit.is_drained());
    memory.write(&log_path(), 0, &log).unwrap();
    for shard in 1..shards {
        memory.write(&log_file_name(Generation(1), LogId(shard), 0), 0, &[0; BLOCK_BYTES]).unwrap();
    }
    memory
}

fn verified(memory: &Memory) -> (Vec<Finding>, Summary) {
    let mut findings = Vec::new();
    let mut directory = memory.clone();
    let summary = verify(&mut directory, &mut |finding| {
        findings.push(finding);
        Ok(())
    });
    assert_eq!(directory, *memory);
    (findings, summary.unwrap())
}

/// The first finding, which is damage.
fn damage(memory: &Memory) -> Finding {
    let (findings, summary) = verified(memory);
    assert!(!summary.is_sound(), "{findings:?}");
    findings.into_iter().next().unwrap()
}

#[test]
fn what_is_sound_is_counted() {
    let (findings, summary) = verified(&sample());
    assert_eq!(findings, []);
    assert!(summary.is_sound());
    let expected = Summary {
        topics: 1,
        partitions: 2,
        segments: 1,
        segment_batches: 2,
        segment_records: 5,
        segment_bytes: (batch(0, 3, b"settled").len() + batch(3, 2, b"settled too").len()) as u64,
        logs: 1,
        log_groups: 6,
        log_batches: 5,
        log_bytes: 6 * BLOCK_BYTES as u64,
        ..Summary::default()
    };
    assert_eq!(summary, expected);
}

#[test]
fn an_empty_directory_is_sound_and_one_without_its_superblock_is_not() {
    assert_eq!(verified(&Memory::default()), (Vec::new(), Summary::default()));
    let mut memory = sample();
    memory.0.remove(SUPERBLOCK);
    assert_eq!(damage(&memory).kind, FindingKind::HeadUnusable);
}

#[test]
fn without_the_log_of_its_topics_no_start_is_made_and_nothing_is_removed() {
    let mut memory = sample();
    memory.0.remove(&log_path());
    let (findings, _) = verified(&memory);
    let kinds: Vec<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
    assert!(
        kinds.contains(&FindingKind::LogDamaged) && kinds.contains(&FindingKind::TopicsUnknown),
        "{kinds:?}"
    );
    for _ in 0..2 {
        let refused = boot(&mut memory, OPTIONS, &mut |_| ()).map(drop);
        assert!(matches!(refused, Err(BootError::MetadataDamaged)), "{refused:?}");
    }
    assert!(memory.0.contains_key(&segment_path()));
}

#[test]
fn with_the_log_of_a_shard_its_partitions_are_not_taken_for_empty_and_their_files_stay() {
    let mut memory = sample_of(2);
    assert_eq!(verified(&memory).0, []);
    memory.0.remove(&log_file_name(Generation(1), LogId(1), 0));
    assert_eq!(damage(&memory).kind, FindingKind::LogDamaged);
    let unnamed = segment_file_name(partition(1), Offset(9));
    memory.write(&unnamed, 0, b"first").unwrap();
    memory.write(&index_file_name(partition(1), Offset(9)), 0, b"index").unwrap();
    // The second start comes before the first has logged anything, but not before it has settled.
    for _ in 0..2 {
        let mut booted = boot(&mut memory, BootOptions { shards: 2, ..OPTIONS }, &mut |_| ()).unwrap();
        assert!(booted.damaged.contains(&partition(1)), "{:?}", booted.damaged);
        let damaged = booted.partitions.iter_mut().flatten().find(|found| found.id() == partition(1));
        assert_eq!(damaged.unwrap().segments().strays(), [Offset(9)]);
        let left: Vec<&String> = memory.0.keys().filter(|path| path.starts_with("partitions/")).collect();
        let stray = stray_file_name(partition(1), Offset(9));
        assert_eq!(left, [&segment_path(), &stray], "out of the way of a segment that may come");
        assert_eq!(memory.0[&stray], b"first");
        memory.write(&unnamed, 0, b"second").unwrap();
    }
    assert_eq!(verified(&memory).0.iter().filter(|finding| finding.kind == FindingKind::Unnamed).count(), 2);
}

#[test]
fn a_directory_with_data_is_not_taken_for_a_new_one() {
    for (lost, left) in [(SUPERBLOCK, "logs/"), (SUPERBLOCK, "partitions/"), (CHECKPOINT, "")] {
        let mut memory = sample();
        memory.0.remove(lost);
        memory.0.retain(|path, _| path.starts_with(left) || !path.contains('/'));
        let before = memory.clone();
        assert_eq!(damage(&memory).kind, FindingKind::HeadUnusable, "{lost} {left}");
        assert!(boot(&mut memory, OPTIONS, &mut |_| ()).is_err(), "{lost} {left}");
        assert_eq!(memory, before);
    }
}

#[test]
fn every_byte_of_a_segment_that_counts_is_proved() {
    let memory = sample();
    let bytes = verified(&memory).1.segment_bytes as usize;
    let second = batch(0, 3, b"settled").len();
    for place in 0..memory.0[&segment_path()].len() {
        let mut flipped = memory.clone();
        flipped.0.get_mut(&segment_path()).unwrap()[place] ^= 1;
        if place >= bytes {
            assert!(verified(&flipped).1.is_sound(), "byte {place} is padding");
            continue;
        }
        let Finding { kind, path, position, partition: hit, topic, .. } = damage(&flipped);
        assert_eq!((kind, path), (FindingKind::SegmentDamaged, segment_path()), "byte {place}");
        let start = if place < second { 0 } else { second };
        assert_eq!((position, hit), (Some(start as u64), Some(partition(0))), "byte {place}");
        assert_eq!(topic.as_deref(), Some("orders"));
    }
}

#[test]
fn an_index_file_is_told_that_is_damaged_or_disagrees_with_intact_batches() {
    let mut memory = sample();
    let path = index_file_name(partition(0), Offset(0));
    let bytes = verified(&memory).1.segment_bytes as usize;
    let segment_crc = crc32c::crc32c(&memory.0[&segment_path()][..bytes]);
    let footer = IndexFooter {
        segment_bytes: bytes as u64,
        end: Offset(5),
        max_timestamp: TimestampMs(2),
        segment_crc,
    };
    let encoded = |footer| IndexBuilder::new().index().encode(footer);
    memory.0.insert(path.clone(), encoded(footer));
    assert_eq!(verified(&memory).0, []);
    for place in 0..48 {
        let mut flipped = memory.clone();
        flipped.0.get_mut(&path).unwrap()[place] ^= 1;
        let (findings, summary) = verified(&flipped);
        let [Finding { kind: FindingKind::IndexUnusable, path: told, partition: hit, .. }] = &findings[..]
        else {
            panic!("byte {place}: {findings:?}")
        };
        assert_eq!((told, *hit), (&path, Some(partition(0))));
        assert!(summary.is_sound(), "nothing is lost with it");
    }
    memory.0.insert(path, encoded(IndexFooter { segment_crc: segment_crc ^ 1, ..footer }));
    let Finding { kind, path, position, .. } = damage(&memory);
    assert_eq!((kind, path, position), (FindingKind::SegmentDamaged, segment_path(), Some(0)));
}

#[test]
fn every_byte_of_a_log_that_counts_is_proved() {
    let memory = sample();
    let log = &memory.0[&log_path()];
    let mut counted = 0;
    for (number, block) in log.chunks(BLOCK_BYTES).enumerate() {
        let used_bytes = match parse(block, SALT) {
            Ok(group) => group.header.directory_position as usize + group.header.entries as usize * 56,
            Err(_) => 0,
        };
        for place in (0..used_bytes).chain([used_bytes, BLOCK_BYTES - 1]) {
            let mut flipped = memory.clone();
            flipped.0.get_mut(&log_path()).unwrap()[number * BLOCK_BYTES + place] ^= 1;
            let (findings, _) = verified(&flipped);
            if place >= used_bytes {
                assert_eq!(findings, [], "byte {place} of block {number} means nothing");
                continue;
            }
            counted += 1;
            let first = &findings[0];
            assert!(matches!(first.kind, FindingKind::LogDamaged | FindingKind::TornTail), "{first:?}");
            assert_eq!(first.path, log_path());
            let block_of = first.position.map(|position| position as usize / BLOCK_BYTES);
            assert_eq!(block_of, Some(number), "byte {place} of block {number}: {first:?}");
        }
    }
    assert!(counted > 500, "{counted}");
}

#[test]
fn a_batch_lost_from_the_log_is_told_with_its_partition() {
    let mut memory = sample();
    let log = memory.0.get_mut(&log_path()).unwrap();
    let needle = b"in the log";
    let place = log.windows(needle.len()).rposition(|window| window == needle).unwrap();
    log[place] ^= 1;
    let (findings, summary) = verified(&memory);
    let of = Some(partition(1));
    assert_eq!((findings[0].kind, findings[0].partition), (FindingKind::LogDamaged, of));
    assert_eq!((findings[1].kind, findings[1].partition), (FindingKind::PartitionReadOnly, of));
    assert!(findings[0].meaning.contains("ends at offset 0"), "{}", findings[0].meaning);
    assert_eq!((findings.len(), summary.damages), (2, 2));
}

#[test]
fn a_damaged_copy_is_told_although_the_other_one_serves() {
    let mut memory = sample();
    // One more start notes where the log ends: both copies of the checkpoint are written then.
    boot(&mut memory, OPTIONS, &mut |_| ()).unwrap();
    assert_eq!(verified(&memory).0, []);
    let slot = crate::boot::logs::CHECKPOINT_SLOT_BYTES;
    for (path, slot) in [(SUPERBLOCK, 0), (SUPERBLOCK, BLOCK_BYTES), (CHECKPOINT, 0), (CHECKPOINT, slot)] {
        let mut flipped = memory.clone();
        flipped.0.get_mut(path).unwrap()[slot + 20] ^= 1;
        let finding = damage(&flipped);
        assert_eq!((finding.kind, finding.path.as_str()), (FindingKind::CopyDamaged, path));
        assert_eq!(finding.position, Some(slot as u64));
    }
}

#[test]
fn files_that_are_gone_cut_or_nobodys_are_told() {
    let mut gone = sample();
    gone.0.remove(&segment_path());
    let (findings, summary) = verified(&gone);
    assert_eq!(summary.segments_missing, 1);
    assert!(findings.iter().any(|finding| finding.kind == FindingKind::SegmentMissing));
    assert!(findings.iter().any(|finding| finding.kind == FindingKind::PartitionReadOnly));

    let mut cut = sample();
    let second = batch(0, 3, b"settled").len();
    cut.0.get_mut(&segment_path()).unwrap().truncate(second + 10);
    let finding = damage(&cut);
    assert_eq!((finding.kind, finding.position), (FindingKind::SegmentDamaged, Some(second as u64)));
    cut.0.get_mut(&segment_path()).unwrap().truncate(second);
    let finding = damage(&cut);
    assert_eq!((finding.kind, finding.position), (FindingKind::SegmentDamaged, Some(second as u64)));

    let mut strays = sample();
    let stray = segment_file_name(partition(1), Offset(9));
    let deleted = segment_file_name(PartitionId::new(TopicId([9; 16]), PartitionIndex(0)), Offset(0));
    for path in [stray.as_str(), deleted.as_str(), "notes.txt"] {
        strays.write(path, 0, b"bytes").unwrap();
    }
    let (findings, summary) = verified(&strays);
    assert!(summary.is_sound() && summary.unnamed == 3, "{findings:?}");
    strays.write("partitions/notes.txt", 0, b"bytes").unwrap();
    assert_eq!(verified(&strays).0.last().unwrap().kind, FindingKind::Refused);
    strays.write("logs/notes.txt", 0, b"bytes").unwrap();
    let refused = verified(&strays).0.pop().unwrap();
    assert_eq!((refused.kind, refused.path.as_str()), (FindingKind::Refused, "logs/notes.txt"));
}

#[test]
fn records_between_segments_are_missed() {
    let extent = |base: i64, end: i64| SegmentExtent {
        base: Offset(base),
        end: Offset(end),
        bytes: 1,
        created: TimestampMs(0),
        max_timestamp: TimestampMs(0),
    };
    let mut partition = Partition::new(partition(0), EPOCH);
    partition.settled_by_replay(extent(2, 4));
    partition.settled_by_replay(extent(6, 8));
    let mut directory = Memory::default();
    let mut missing = Vec::new();
    let mut tell = |finding: Finding| {
        if finding.kind == FindingKind::RecordsMissing {
            missing.push(finding.meaning);
        }
        Ok(())
    };
    let mut verifier = Verifier {
        directory: &mut directory,
        tell: &mut tell,
        catalog: Catalog::default(),
        summary: Summary::default(),
    };
    verifier.check_partition(&partition, &mut SegmentReader::default()).unwrap();
    assert_eq!(missing.len(), 2);
    assert!(missing[0].starts_with("the records 0 to 1 ") && missing[1].starts_with("the records 4 to 5 "));
}

#[test]
fn whoever_has_heard_enough_ends_it() {
    let mut memory = sample();
    memory.0.get_mut(SUPERBLOCK).unwrap()[20] ^= 1;
    let mut told = 0;
    let stopped = verify(&mut memory, &mut |_| {
        told += 1;
        Err(Stopped)
    });
    assert_eq!((stopped, told), (Err(Stopped), 1));
}
