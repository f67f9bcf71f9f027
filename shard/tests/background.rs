//! Inspections on a real disk, beside nobody.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ringmain_shard::background::{Background, BackgroundConfig};
use ringmain_shard::inspection::{Inspected, InspectionKind, InspectionRequest, Sound, Unsound};
use ringmain_shard::partition::epochs::EpochTable;
use ringmain_shard::ring::Doorbell;
use ringmain_wal::block::round_up;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::batch::{BatchBuilder, Codec, stamp};
use ringmain_wire::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// `SCHED_IDLE` of `sched(7)`.
const IDLE_POLICY: &str = "5";

/// Writes a segment of some MiB, and asks for it to be inspected.
fn segment(directory: &Path, base: i64, bytes_per_second: u64) -> InspectionRequest {
    let mut file = Vec::new();
    let mut end = Offset(base);
    for _ in 0..40 {
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..100 {
            builder.append(TimestampMs(7), None, Some(&[3; 1000]), &[]);
        }
        let mut batch = builder.finish().expect("small").to_vec();
        stamp(&mut batch, end, LeaderEpoch(1));
        end = end.plus(100);
        file.extend_from_slice(&batch);
    }
    let bytes = file.len() as u64;
    file.resize(round_up(file.len()), 0);
    let created = TimestampMs(0);
    let extent = SegmentExtent { base: Offset(base), end, bytes, created, max_timestamp: TimestampMs(7) };
    let partition = PartitionId::default();
    let epochs = EpochTable::default();
    let request =
        InspectionRequest { kind: InspectionKind::Seal, partition, extent, epochs, bytes_per_second };
    let path = directory.join(request.path());
    fs::create_dir_all(path.parent().expect("a partition's directory")).expect("writable");
    fs::write(path, file).expect("writable");
    request
}

fn spawn(directory: &Path, direct_io: bool, name: &str) -> Background {
    let data_directory = directory.to_owned();
    let config = BackgroundConfig { data_directory, direct_io, core: None, name: name.to_owned() };
    Background::new(config, Doorbell::create().expect("descriptors are left"))
}

fn wait(background: &mut Background) -> Inspected {
    look_for("the end of an inspection", || background.poll())
}

/// Looks for something until it is there.
fn look_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} never comes");
}

/// With which flags this process has the file open.
fn open_flags(path: &Path) -> Option<i32> {
    let is_it = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target == path);
    let entry = fs::read_dir("/proc/self/fd").expect("/proc is there").flatten().find(is_it)?;
    let information = fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).ok()?;
    let flags = information.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is writable")
}

/// The scheduling policies of this process's threads of that name.
fn policies(name: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (before, after) = stat.rsplit_once(')').expect("a name in parentheses");
        if before.ends_with(&format!("({name}")) {
            // Field 41; the first behind the name is the third.
            found.extend(after.split_whitespace().nth(38).map(str::to_owned));
        }
    }
    Ok(found)
}

#[test]
fn a_segment_is_sealed_scrubbed_and_found_damaged_at_idle_priority() {
    let directory = directory();
    let mut background = spawn(directory.path(), true, "upkeep-a");
    let request = segment(directory.path(), 0, u64::MAX);
    background.inspect(request.clone());
    let written = Ok(Sound { index_was_written: true, index_damage: None });
    assert_eq!(wait(&mut background), Inspected { request: request.clone(), result: written });
    assert!(directory.path().join(request.index_path()).exists());
    let policies = policies("upkeep-a").expect("/proc is there");
    assert!(!policies.is_empty() && policies.iter().all(|policy| policy == IDLE_POLICY), "{policies:?}");

    let scrub = InspectionRequest { kind: InspectionKind::Scrub, ..request.clone() };
    background.inspect(scrub.clone());
    let agrees = Ok(Sound { index_was_written: false, index_damage: None });
    assert_eq!(wait(&mut background), Inspected { request: scrub.clone(), result: agrees });

    let path = directory.path().join(request.path());
    let mut file = fs::read(&path).expect("readable");
    file[2_000_000] ^= 1;
    fs::write(&path, file).expect("writable");
    background.inspect(scrub.clone());
    let Inspected { result: Err(Unsound::Damaged { position, .. }), .. } = wait(&mut background) else {
        panic!("a flipped bit is called sound")
    };
    assert!((1_800_000..2_000_000).contains(&position), "{position}");
    fs::remove_file(&path).expect("it is there");
    background.inspect(scrub);
    assert!(matches!(wait(&mut background).result, Err(Unsound::Failed { .. })));
}

/// As a crash may leave it: made, and never written.
#[test]
fn an_empty_index_file_is_the_first_file_that_is_opened() {
    let directory = directory();
    let mut background = spawn(directory.path(), true, "upkeep-e");
    let request = segment(directory.path(), 0, u64::MAX);
    fs::write(directory.path().join(request.index_path()), []).expect("writable");
    background.inspect(request.clone());
    let written = Ok(Sound { index_was_written: true, index_damage: None });
    assert_eq!(wait(&mut background), Inspected { request, result: written });
}

#[test]
fn both_kinds_run_at_a_time_and_a_cancelled_one_ends_early() {
    let directory = directory();
    let mut background = spawn(directory.path(), true, "upkeep-b");
    let slow = segment(directory.path(), 0, 1 << 20);
    let fast = InspectionRequest { kind: InspectionKind::Scrub, ..segment(directory.path(), 4000, u64::MAX) };
    background.inspect(slow.clone());
    background.inspect(fast.clone());
    assert_eq!(wait(&mut background).request, fast, "four seconds are left of the other one");
    background.cancel(InspectionKind::Seal);
    assert_eq!(wait(&mut background), Inspected { request: slow.clone(), result: Err(Unsound::Cancelled) });
    background.inspect(InspectionRequest { bytes_per_second: u64::MAX, ..slow });
    assert!(wait(&mut background).result.is_ok(), "a cancellation concerns what was under way");
}

#[test]
fn files_go_through_the_page_cache_where_the_filesystem_has_nothing_else() {
    let directory = directory();
    let mut background = spawn(directory.path(), false, "upkeep-d");
    let request = segment(directory.path(), 0, 1 << 20);
    let path = fs::canonicalize(directory.path().join(request.path())).expect("it is there");
    background.inspect(request.clone());
    let flags = look_for("a descriptor of the segment", || open_flags(&path));
    assert_eq!(flags & libc::O_DIRECT, 0);
    background.cancel(InspectionKind::Seal);
    assert_eq!(wait(&mut background).result, Err(Unsound::Cancelled));
    let request = InspectionRequest { bytes_per_second: u64::MAX, ..request };
    background.inspect(request.clone());
    let written = Ok(Sound { index_was_written: true, index_damage: None });
    assert_eq!(wait(&mut background).result, written);
    background.inspect(request);
    let agrees = Ok(Sound { index_was_written: false, index_damage: None });
    assert_eq!(wait(&mut background).result, agrees);
}

#[test]
fn its_owner_may_go_while_it_works() {
    let directory = directory();
    let mut background = spawn(directory.path(), true, "upkeep-c");
    background.inspect(segment(directory.path(), 0, 1 << 10));
    std::thread::sleep(Duration::from_millis(20));
    drop(background);
}
