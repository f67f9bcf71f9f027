use ringmain_wal::commit::{GroupCommit, GroupCommitConfig};
use ringmain_wal::superblock::Superblock;
use ringmain_wire::batch::{BatchBuilder, Codec};
use ringmain_wire::ids::{LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId};
use tempfile::TempDir;

use super::*;

const SALT: LogSalt = LogSalt(0x5a17);
const NAME: &str = "0000000007-0003-000000.log";
const FILE_BYTES: usize = 65_536;

/// A log file of three groups: a batch, a batch and a floor, and the one that closes the log; and where each begins.
fn log_file() -> (Vec<u8>, Vec<usize>) {
    let mut commit = GroupCommit::new(GroupCommitConfig::new(Generation(7), LogId(3), SALT));
    let prepared = commit.poll_prepare().unwrap();
    commit.file_ready(prepared.number, prepared.bytes);
    let (mut bytes, mut starts) = (vec![0; FILE_BYTES], Vec::new());
    let mut write = |commit: &mut GroupCommit| {
        let group = commit.poll_group(0).unwrap();
        let start = group.position as usize;
        starts.push(start);
        bytes[start..start + group.bytes.len()].copy_from_slice(&group.bytes);
        commit.handle_written(group.sequence);
    };
    append(&mut commit, 77, 3);
    write(&mut commit);
    append(&mut commit, 80, 2);
    commit.append_floor(4).unwrap();
    write(&mut commit);
    commit.close();
    write(&mut commit);
    (bytes, starts)
}

fn append(commit: &mut GroupCommit, offset: i64, records: u32) {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in 0..records {
        builder.append(TimestampMs(record.into()), None, Some(&[7; 20]), &[]);
    }
    let batch = builder.finish().unwrap();
    let partition = PartitionId::new(TopicId([1; 16]), PartitionIndex(2));
    commit.append_batch(partition, LeaderEpoch(5), Offset(offset), records, &batch).unwrap();
}

/// A data directory with a superblock and that file; and the file's path.
fn data_directory(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let superblock = Superblock {
        cluster_id: [7; 16],
        node_id: NodeId(1),
        disk_id: [9; 16],
        log_salt: SALT,
        generation: Generation(7),
        shards: 4,
        write_number: 2,
    };
    fs::write(directory.path().join(SUPERBLOCK), superblock.encode()).unwrap();
    fs::create_dir(directory.path().join(LOG_DIRECTORY)).unwrap();
    let path = directory.path().join(LOG_DIRECTORY).join(NAME);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// What is printed of such a file, and its damage.
fn printed(bytes: &[u8], format: Format) -> (Vec<String>, Option<Damage>) {
    let (_directory, path) = data_directory(bytes);
    let (generation, log, number) = parse_name(&path).unwrap();
    let file = LogFile { generation, log, number, salt: read_salt(&path).unwrap() };
    let mut out = Vec::new();
    let mut pieces = Pieces::open(&path).unwrap();
    let damage = print(&mut pieces, file, &mut Report::new(&mut out, format)).unwrap();
    (String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), damage)
}

#[test]
fn every_group_is_printed_with_its_entries_and_zeroes_are_no_damage() {
    let (bytes, starts) = log_file();
    assert_eq!(starts, [0, 4096, 8192]);
    let (lines, damage) = printed(&bytes, Format::Text);
    assert_eq!(damage, None);
    let topic = "01010101-0101-0101-0101-010101010101";
    assert_eq!(lines[0], "0: group 1, generation 7, shard 3, durable up to 0, 4096 bytes, entries: 1");
    let append = format!("  append          {topic}/2  offset 77, epoch 5, records: 3, ");
    assert!(lines[1].starts_with(&append), "{}", lines[1]);
    assert_eq!(lines[2], "4096: group 2, generation 7, shard 3, durable up to 1, 4096 bytes, entries: 2");
    assert!(lines[3].contains("offset 80, epoch 5, records: 2"), "{}", lines[3]);
    assert_eq!(lines[4], "  floor           log files before number 4 say nothing any more");
    let closing =
        "8192: group 3, generation 7, shard 3, durable up to 2, 4096 bytes, entries: 0, closes the log";
    assert_eq!(lines[5], closing);
    assert_eq!(lines[6], "zeroes from byte 12288 to the end of the file: 53248 bytes");
    assert_eq!(lines[7], "groups: 3, damaged: 0, entries: 3, closed in order");

    let (lines, damage) = printed(&bytes[..8192], Format::Text);
    assert_eq!((lines[5].as_str(), damage), ("end of the file at byte 8192", None));
    assert_eq!(lines[6], "groups: 2, damaged: 0, entries: 3");
}

#[test]
fn programs_get_an_object_a_line() {
    let (bytes, _) = log_file();
    let (lines, _) = printed(&bytes, Format::Json);
    assert_eq!(lines.len(), 4);
    let group: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((&group["type"], &group["position_bytes"]), (&"group".into(), &4096.into()));
    assert_eq!((&group["sequence"], &group["durable_upto"]), (&2.into(), &1.into()));
    let entry = &group["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["offset"], &entry["records"]),
        (&"append".into(), &80.into(), &2.into())
    );
    assert_eq!((&entry["partition"], &entry["crc_ok"]), (&2.into(), &true.into()));
    assert_eq!(
        lines[3],
        "{\"type\":\"end\",\"position_bytes\":12288,\"how\":\"zeroes\",\"zero_bytes\":53248,\"reason\":null,\
         \"next_group\":null,\"closed\":true,\"groups\":3,\"damaged_groups\":0,\"entries\":3}"
    );
}

#[test]
fn a_rotten_entry_is_named_and_what_follows_is_printed() {
    let (mut bytes, starts) = log_file();
    bytes[starts[1] + GROUP_HEADER_BYTES + 70] ^= 1;
    let (lines, damage) = printed(&bytes, Format::Text);
    let reason = "group 2: the CRC of entry 0 does not match".to_owned();
    assert_eq!(damage, Some(Damage { position: 4096, reason }));
    assert!(lines[3].ends_with("DAMAGED: the CRC does not match"), "{}", lines[3]);
    assert!(lines[5].starts_with("8192: group 3"), "{}", lines[5]);
    assert_eq!(lines[7], "groups: 3, damaged: 1, entries: 3, closed in order");
}

#[test]
fn a_rotten_header_ends_the_walk_and_the_group_behind_it_is_told() {
    let (bytes, starts) = log_file();
    let mut rotten = bytes.clone();
    rotten[starts[1] + 20] ^= 1;
    let (lines, damage) = printed(&rotten, Format::Text);
    assert_eq!(damage.map(|damage| damage.position), Some(4096));
    assert_eq!(lines[2], "damage at byte 4096: the CRC of the group's header does not match");
    assert_eq!(lines[3], "behind it: group 3 at byte 8192");

    let mut holed = bytes.clone();
    holed[starts[1]..starts[2]].fill(0);
    let (_, damage) = printed(&holed, Format::Text);
    assert_eq!(damage.map(|damage| damage.position), Some(4096), "zeroes with a group behind them");

    let mut moved = bytes.clone();
    moved.copy_within(starts[2]..starts[2] + BLOCK_BYTES, starts[1]);
    let (_, damage) = printed(&moved, Format::Text);
    assert_eq!(damage.map(|damage| damage.reason).as_deref(), Some("group 3 where 2 should be"));
    let (_, damage) = printed(&bytes[..10_000], Format::Text);
    let cut = "group 3 of 4096 bytes, of which the file holds 1808";
    assert_eq!(damage.map(|damage| damage.reason).as_deref(), Some(cut));
}

#[test]
fn the_secret_comes_from_the_data_directory_and_without_it_nothing_is_guessed() {
    let (bytes, _) = log_file();
    let (directory, path) = data_directory(&bytes);
    assert_eq!(read_salt(&path), Ok(SALT));
    fs::write(directory.path().join(SUPERBLOCK), [1; 8192]).unwrap();
    let told = format!("{:?}", read_salt(&path).unwrap_err());
    assert!(told.contains("the file is not a superblock") && told.contains("hint: Some"), "{told}");
    fs::remove_file(directory.path().join(SUPERBLOCK)).unwrap();
    let told = format!("{:?}", read_salt(&path).unwrap_err());
    assert!(told.contains("does not exist"), "{told}");
    let elsewhere = directory.path().join(NAME);
    fs::copy(&path, &elsewhere).unwrap();
    let told = format!("{:?}", read_salt(&elsewhere).unwrap_err());
    assert!(told.contains("does not lie in logs/"), "{told}");
}

#[test]
fn names_that_are_no_log_file_are_refused_with_what_they_are() {
    assert_eq!(parse_name(Path::new(NAME)), Ok((Generation(7), LogId(3), 0)));
    for (name, hint) in [
        ("a/00000000000000004711.log", "ringmain debug segment a/00000000000000004711.log"),
        ("superblock", "0000000007-0003-000012.log"),
    ] {
        let told = format!("{:?}", parse_name(Path::new(name)).unwrap_err());
        assert!(told.contains("not_a_log_file") && told.contains(hint), "{told}");
    }
}
