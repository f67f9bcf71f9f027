//! Files: what is written, synced, read and refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;

use bytes::{Buf, Bytes, BytesMut};
use ringmain_shard::effect::{
    Effect, Effects, FileId, FileOperation, FileToken, OpenMode, StopReason, WriteSync,
};
use ringmain_shard::event::{Event, FileError, FileOutcome};
use ringmain_shard::host::Host;
use ringmain_shard::ring::probe_direct_io;
use ringmain_shard::time::{Mono, Now};

use crate::harness::{PATIENCE, Running, directory};

const BLOCK: usize = 4096;
const FILE: FileId = FileId(7);

type Outcome = Result<FileOutcome, FileError>;

/// Works through batches of operations, each batch at once and after the one before, and tells the outcomes of all.
struct Batches {
    waiting: std::vec::IntoIter<Vec<FileOperation>>,
    under_way: usize,
    outcomes: BTreeMap<FileToken, Outcome>,
    tell: mpsc::Sender<Vec<Outcome>>,
    /// Stops with the last batch just started.
    stop_early: bool,
}

impl Batches {
    fn go_on(&mut self, effects: &mut Effects<()>) {
        let Some(batch) = self.waiting.next() else {
            let outcomes = std::mem::take(&mut self.outcomes);
            self.tell.send(outcomes.into_values().collect()).expect("listens");
            return;
        };
        for operation in batch {
            let token = FileToken((self.outcomes.len() + self.under_way) as u64);
            self.under_way += 1;
            effects.push(Effect::File { token, operation });
        }
        if self.stop_early && self.waiting.len() == 0 {
            effects.push(Effect::Stop { reason: StopReason::StorageFailed { message: "a test".to_owned() } });
        }
    }
}

impl Host for Batches {
    type Mail = ();

    fn handle(&mut self, _: Now, event: Event<'_, ()>, effects: &mut Effects<()>) {
        match event {
            Event::File { token, result } => {
                assert!(self.outcomes.insert(token, result).is_none(), "an outcome comes once");
                self.under_way -= 1;
                if self.under_way == 0 {
                    self.go_on(effects);
                }
            }
            Event::Accepted { .. } => self.go_on(effects),
            Event::Shutdown => effects.push(Effect::Stop { reason: StopReason::Shutdown }),
            _ => panic!("not asked for"),
        }
    }

    fn finish_turn(&mut self, _: Now, _: &mut Effects<()>) {}

    fn deadline(&self) -> Option<Mono> {
        None
    }
}

fn start(
    directory: tempfile::TempDir,
    batches: Vec<Vec<FileOperation>>,
    direct_io: bool,
) -> (Running, mpsc::Receiver<Vec<Outcome>>) {
    let (tell, told) = mpsc::channel();
    let host = Batches {
        waiting: batches.into_iter(),
        under_way: 0,
        outcomes: BTreeMap::new(),
        tell,
        stop_early: false,
    };
    let running = Running::start_in(directory, host, |config| config.direct_io &= direct_io);
    // The first connection sets it going.
    drop(running.connect());
    (running, told)
}

/// Outcomes of `batches` below `directory`, and nothing left open.
fn outcomes(directory: tempfile::TempDir, batches: Vec<Vec<FileOperation>>, direct_io: bool) -> Vec<Outcome> {
    let (running, told) = start(directory, batches, direct_io);
    let outcomes = told.recv_timeout(PATIENCE).expect("all batches end");
    running.shut_down();
    outcomes
}

/// `blocks` blocks at an aligned address, filled with `fill`.
fn aligned(blocks: usize, fill: u8) -> Bytes {
    let mut bytes = BytesMut::with_capacity((blocks + 1) * BLOCK);
    let start = bytes.as_ptr().addr();
    bytes.resize(start.next_multiple_of(BLOCK) - start, 0);
    bytes.advance(bytes.len());
    bytes.resize(blocks * BLOCK, fill);
    bytes.freeze()
}

fn open(path: &str, mode: OpenMode) -> FileOperation {
    FileOperation::Open { file: FILE, path: path.to_owned(), mode }
}

fn write(block: usize, blocks: usize, fill: u8) -> FileOperation {
    let position = (block * BLOCK) as u64;
    FileOperation::Write { file: FILE, position, bytes: aligned(blocks, fill), sync: WriteSync::Durable }
}

fn read(block: usize, blocks: usize) -> FileOperation {
    let length = u32::try_from(blocks * BLOCK).expect("small");
    FileOperation::Read { file: FILE, position: (block * BLOCK) as u64, length }
}

fn remove(path: &str) -> FileOperation {
    FileOperation::Remove { path: path.to_owned() }
}

fn create_directory(path: &str) -> FileOperation {
    FileOperation::CreateDirectory { path: path.to_owned() }
}

fn remove_directory(path: &str) -> FileOperation {
    FileOperation::RemoveDirectory { path: path.to_owned() }
}

fn sync_directory(path: &str) -> FileOperation {
    FileOperation::SyncDirectory { path: path.to_owned() }
}

const CLOSE: FileOperation = FileOperation::Close { file: FILE };

fn done() -> Outcome {
    Ok(FileOutcome::Done)
}

fn failed(errno: i32) -> Outcome {
    Err(FileError::Failed(errno))
}

/// What a read gave.
fn bytes_of(outcome: &Outcome) -> &[u8] {
    match outcome {
        Ok(FileOutcome::Read(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

fn write_and_read(direct_io: bool) {
    let batches = vec![
        vec![open("log", OpenMode::Create)],
        (0..8).map(|number| write(number * 2, 2, number as u8 + 1)).collect(),
        vec![FileOperation::Sync { file: FILE }, FileOperation::SyncDirectory { path: String::new() }],
        vec![read(0, 16), read(5, 1), read(14, 4), read(16, 1)],
        vec![CLOSE],
    ];
    let outcomes = outcomes(directory(), batches, direct_io);
    let expected: Vec<u8> = (0..16).flat_map(|block| [block / 2 + 1; BLOCK]).collect();
    assert_eq!(outcomes[..11], vec![done(); 11]);
    let reads: Vec<&[u8]> = outcomes[11..15].iter().map(bytes_of).collect();
    assert!(reads[0] == expected, "the whole file");
    assert!(reads[1] == [3; BLOCK], "a block of it");
    assert!(reads[2] == [8; 2 * BLOCK], "less than asked for, at the end");
    assert!(reads[3].is_empty(), "nothing behind the end");
    assert_eq!(outcomes[15..], [done()]);
}

#[test]
fn what_was_written_durably_is_read_back() {
    write_and_read(true);
}

#[test]
fn what_was_written_through_the_page_cache_is_read_back() {
    write_and_read(false);
}

#[test]
fn a_file_that_ends_within_a_block_is_read_to_its_end() {
    let directory = directory();
    fs::write(directory.path().join("odd"), [9; BLOCK + 5]).expect("writable");
    let outcomes =
        outcomes(directory, vec![vec![open("odd", OpenMode::Read)], vec![read(0, 4)], vec![CLOSE]], true);
    assert_eq!(outcomes[1], Ok(FileOutcome::Read(Bytes::from(vec![9; BLOCK + 5]))));
}

#[test]
fn more_operations_than_the_queues_of_the_ring_hold_all_complete() {
    let count = 5_000;
    let batches = vec![
        vec![open("log", OpenMode::Create)],
        vec![write(0, 1, 6)],
        (0..count).map(|_| read(0, 1)).collect(),
        vec![CLOSE],
    ];
    let outcomes = outcomes(directory(), batches, true);
    assert_eq!(outcomes.len(), count + 3);
    let expected = Ok(FileOutcome::Read(Bytes::from(vec![6; BLOCK])));
    assert!(outcomes[2..count + 2].iter().all(|outcome| *outcome == expected));
}

#[test]
fn names_are_created_once_and_removed() {
    let directory = directory();
    fs::create_dir(directory.path().join("below")).expect("writable");
    let batches = vec![
        vec![open("below/missing", OpenMode::Read)],
        vec![open("nowhere/file", OpenMode::Create)],
        vec![open("below/file", OpenMode::Create)],
        vec![CLOSE],
        vec![open("below/file", OpenMode::Create)],
        vec![open("below/file", OpenMode::Write)],
        vec![CLOSE],
        vec![sync_directory("below")],
        vec![remove("below/file")],
        vec![remove("below/file")],
        vec![open("below/file", OpenMode::Read)],
        vec![sync_directory("below")],
        vec![sync_directory("nowhere")],
    ];
    let expected = [
        failed(libc::ENOENT),
        failed(libc::ENOENT),
        done(),
        done(),
        failed(libc::EEXIST),
        done(),
        done(),
        done(),
        done(),
        done(),
        failed(libc::ENOENT),
        done(),
        failed(libc::ENOENT),
    ];
    assert_eq!(outcomes(directory, batches, true), expected);
}

#[test]
fn directories_are_created_and_removed_as_often_as_one_likes() {
    let batches = vec![
        vec![create_directory("a/b")],
        vec![create_directory("a")],
        vec![create_directory("a"), create_directory("a")],
        vec![create_directory("a/b")],
        vec![sync_directory("a")],
        vec![open("a/b/file", OpenMode::Create)],
        vec![CLOSE],
        vec![remove_directory("a/b")],
        vec![remove_directory("a/b/file")],
        vec![remove("a/b")],
        vec![remove("a/b/file")],
        vec![remove_directory("a/b")],
        vec![remove_directory("a/b")],
        vec![remove("a/b/file")],
        vec![sync_directory("a/b")],
    ];
    let expected = [
        failed(libc::ENOENT),
        done(),
        done(),
        done(),
        done(),
        done(),
        done(),
        done(),
        Err(FileError::NotEmpty),
        failed(libc::ENOTDIR),
        failed(libc::EISDIR),
        done(),
        done(),
        done(),
        done(),
        failed(libc::ENOENT),
    ];
    assert_eq!(outcomes(directory(), batches, true), expected);
}

#[test]
fn a_file_is_replaced_whether_it_exists_or_not() {
    let batches = vec![
        vec![open("segment", OpenMode::Replace)],
        vec![write(0, 4, 1)],
        vec![CLOSE],
        vec![open("segment", OpenMode::Replace)],
        vec![read(0, 4)],
        vec![write(1, 1, 2)],
        vec![read(0, 4)],
        vec![CLOSE],
    ];
    let outcomes = outcomes(directory(), batches, true);
    assert_eq!(outcomes[..4], vec![done(); 4]);
    assert!(bytes_of(&outcomes[4]).is_empty(), "nothing is left of what it held");
    assert!(bytes_of(&outcomes[6])[..BLOCK] == [0; BLOCK], "not written since");
    assert!(bytes_of(&outcomes[6])[BLOCK..] == [2; BLOCK], "written since, and the end");
}

#[test]
fn a_file_grows_by_deferred_writes_while_it_is_read() {
    let deferred = |block: usize, fill| FileOperation::Write {
        file: FILE,
        position: (block * BLOCK) as u64,
        bytes: aligned(2, fill),
        sync: WriteSync::Deferred,
    };
    // Each write repeats the last block of the one before, as settling does.
    let mut batches = vec![vec![open("segment", OpenMode::Replace)], vec![deferred(0, 7)]];
    batches.extend((1..9).map(|block| vec![deferred(block, 7), read(block - 1, 2), read(block, 1)]));
    batches.push(vec![FileOperation::Sync { file: FILE }, read(0, 16)]);
    let outcomes = outcomes(directory(), batches, true);
    assert_eq!(outcomes[..2], [done(), done()]);
    for written in outcomes[2..26].chunks(3) {
        assert_eq!(written[0], done());
        assert!(bytes_of(&written[1]) == [7; 2 * BLOCK], "written before, and again meanwhile");
        assert!(bytes_of(&written[2]) == [7; BLOCK], "written before, and again meanwhile");
    }
    assert_eq!(outcomes[26], done());
    assert!(bytes_of(&outcomes[27]) == [7; 10 * BLOCK], "all of it, and its end");
}

#[test]
fn a_read_that_the_device_fails_says_so() {
    let directory = directory();
    // Nothing is mapped at address 0, which the kernel reports as it does a broken device.
    std::os::unix::fs::symlink("/proc/self/mem", directory.path().join("broken")).expect("writable");
    let batches = vec![vec![open("broken", OpenMode::Read)], vec![read(0, 1)], vec![CLOSE]];
    assert_eq!(outcomes(directory, batches, false), [done(), failed(libc::EIO), done()]);
}

#[test]
fn writing_to_a_file_opened_for_reading_fails() {
    let directory = directory();
    fs::write(directory.path().join("file"), []).expect("writable");
    let outcomes = outcomes(directory, vec![vec![open("file", OpenMode::Read)], vec![write(0, 1, 1)]], true);
    assert_eq!(outcomes[1], failed(libc::EBADF));
}

#[test]
fn a_full_disk_is_told_as_such() {
    let full = Path::new("/dev/full");
    let directory = directory();
    std::os::unix::fs::symlink(full, directory.path().join("full")).expect("writable");
    let outcomes =
        outcomes(directory, vec![vec![open("full", OpenMode::Write)], vec![write(0, 1, 1)]], false);
    assert_eq!(outcomes[1], Err(FileError::Full));
}

/// The flags of the open file at `path`, as the kernel tells them.
fn open_flags(path: &Path) -> i32 {
    for entry in fs::read_dir("/proc/self/fd").expect("mounted") {
        let entry = entry.expect("readable");
        if fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
            let info = fs::read_to_string(info).expect("open");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("listed");
            return i32::from_str_radix(flags.trim(), 8).expect("octal");
        }
    }
    panic!("{} is not open", path.display());
}

#[test]
fn files_bypass_the_page_cache_where_the_filesystem_can() {
    let directory = directory();
    let direct_io = probe_direct_io(directory.path()).expect("writable");
    let path = directory.path().canonicalize().expect("exists").join("log");
    let (running, told) = start(directory, vec![vec![open("log", OpenMode::Create)]], true);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(vec![done()]));
    let flags = open_flags(&path);
    assert_eq!(flags & libc::O_DIRECT != 0, direct_io, "{flags:o}");
    assert_ne!(flags & libc::O_CLOEXEC, 0, "{flags:o}");
    running.shut_down();
}

#[test]
fn a_loop_that_stops_waits_for_its_writes() {
    let (tell, _told) = mpsc::channel();
    let writes = (0..16).map(|number| write(number * 16, 16, number as u8 + 1)).collect();
    let host = Batches {
        waiting: vec![vec![open("log", OpenMode::Create)], writes].into_iter(),
        under_way: 0,
        outcomes: BTreeMap::new(),
        tell,
        stop_early: true,
    };
    let running = Running::start(host, |_| ());
    drop(running.connect());
    let (ended, written) =
        running.join_and(|ended, directory| (ended, fs::read(directory.join("log")).expect("written")));
    assert_eq!(ended.reason, StopReason::StorageFailed { message: "a test".to_owned() });
    let expected: Vec<u8> = (0..16).flat_map(|number| [number + 1; 16 * BLOCK]).collect();
    assert!(written == expected, "{} bytes are written", written.len());
}
