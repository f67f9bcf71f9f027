//! What survives which sync.

use std::collections::BTreeSet;

use bytes::{Buf, BytesMut};
use ringmain_shard::effect::WriteSync::{Deferred, Durable};

use super::*;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Enough for every outcome that a test waits for.
const SEEDS: u64 = 400;

/// `blocks` blocks of `fill` at an aligned address.
fn aligned(blocks: usize, fill: u8) -> Bytes {
    let mut bytes = BytesMut::with_capacity((blocks + 1) * BLOCK);
    let start = bytes.as_ptr().addr();
    bytes.resize(start.next_multiple_of(BLOCK) - start, 0);
    bytes.advance(bytes.len());
    bytes.resize(blocks * BLOCK, fill);
    bytes.freeze()
}

fn write(disk: &mut Disk, inode: Inode, block: u64, blocks: usize, fill: u8, sync: WriteSync) {
    let write = disk.start_write(inode, block * BLOCK_BYTES, aligned(blocks, fill), sync).unwrap();
    disk.finish_write(write).unwrap().unwrap();
}

fn sync(disk: &mut Disk, inode: Inode) {
    let unsynced = disk.unsynced(inode);
    disk.finish_sync(inode, &unsynced);
}

fn contents(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    let inode = disk.find(path)?;
    let mut buffer = vec![0; disk.file_bytes(inode) as usize];
    disk.read(inode, 0, &mut buffer);
    Some(buffer)
}

/// A file of one durable block of ones, under a durable name.
fn durable_file(disk: &mut Disk, path: &str) -> Inode {
    let inode = disk.create(path).unwrap();
    write(disk, inode, 0, 1, 1, Durable);
    disk.sync_directory(path.rsplit_once('/').map_or("", |(parent, _)| parent)).unwrap();
    inode
}

/// What `look` sees after losses of power under many seeds, each after the same preparation.
fn outcomes<P, T: Ord>(prepare: impl Fn(&mut Disk) -> P, look: impl Fn(&Disk) -> T) -> BTreeSet<T> {
    let after = |seed| {
        let mut disk = Disk::default();
        prepare(&mut disk);
        let mut random = Random::new(seed, 0);
        disk.handle_power_loss(&mut random);
        let seen = look(&disk);
        disk.handle_power_loss(&mut random);
        assert!(seen == look(&disk), "what was left once is left for good");
        seen
    };
    (0..SEEDS).map(after).collect()
}

/// The different bytes in a file, and how many blocks it has.
fn fills(disk: &Disk) -> Option<(BTreeSet<u8>, usize)> {
    let bytes = contents(disk, "file")?;
    Some((bytes.iter().copied().collect(), bytes.len().div_ceil(BLOCK)))
}

fn filled(fills: &[u8], blocks: usize) -> Option<(BTreeSet<u8>, usize)> {
    Some((fills.iter().copied().collect(), blocks))
}

#[test]
fn a_durable_write_is_there_and_a_deferred_one_may_be() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            write(disk, file, 1, 1, 2, Durable);
            write(disk, file, 0, 1, 3, Deferred);
        },
        |disk| contents(disk, "file").unwrap(),
    );
    assert!(seen.iter().all(|bytes| bytes.len() == 2 * BLOCK && bytes[BLOCK..] == [2; BLOCK]));
    let whole = |fill: u8| seen.iter().any(|bytes| bytes[..BLOCK] == vec![fill; BLOCK]);
    assert!(whole(1) && whole(3) && seen.len() > 2, "as before, as after, and mixed");
}

#[test]
fn a_sync_keeps_what_was_written_before_it_began() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            write(disk, file, 1, 1, 2, Deferred);
            let unsynced = disk.unsynced(file);
            write(disk, file, 2, 1, 3, Deferred);
            disk.finish_sync(file, &unsynced);
        },
        |disk| contents(disk, "file").unwrap(),
    );
    assert!(seen.iter().all(|bytes| bytes[..BLOCK] == [1; BLOCK] && bytes[BLOCK..2 * BLOCK] == [2; BLOCK]));
    let lengths: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert!(lengths.contains(&(2 * BLOCK)) && lengths.contains(&(3 * BLOCK)), "{lengths:?}");
}

#[test]
fn a_length_survives_with_and_without_what_was_written() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            write(disk, file, 1, 2, 2, Deferred);
        },
        fills,
    );
    for expected in [filled(&[1], 1), filled(&[0, 1], 3), filled(&[0, 1, 2], 3), filled(&[1, 2], 3)] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
}

#[test]
fn a_failed_sync_is_not_made_good_by_a_later_one() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            write(disk, file, 0, 1, 2, Deferred);
            disk.fail_sync(file, &mut Random::new(7, 0));
            sync(disk, file);
        },
        fills,
    );
    assert_eq!(seen, BTreeSet::from([filled(&[1, 2], 1)]));
}

#[test]
fn a_name_is_kept_by_its_directory_and_by_nothing_else() {
    let prepare = |disk: &mut Disk| {
        disk.create_directory("logs").unwrap();
        disk.sync_directory("").unwrap();
        durable_file(disk, "logs/kept");
        durable_file(disk, "logs/removed");
        let file = disk.create("logs/made").unwrap();
        write(disk, file, 0, 1, 1, Durable);
        sync(disk, file);
        disk.remove("logs/removed").unwrap();
    };
    let seen = outcomes(prepare, |disk| disk.list("logs"));
    assert_eq!(seen.len(), 4, "each may have got there or not: {seen:?}");
    assert!(seen.iter().all(|names| names.contains(&"kept".to_owned())));
    let prepare = |disk: &mut Disk| {
        prepare(disk);
        disk.sync_directory("logs").unwrap();
    };
    assert_eq!(
        outcomes(prepare, |disk| disk.list("logs").join(" ")),
        BTreeSet::from(["kept made".to_owned()])
    );
}

#[test]
fn a_sync_of_a_directory_keeps_what_was_done_before_it_began() {
    let seen = outcomes(
        |disk| {
            durable_file(disk, "removed before");
            durable_file(disk, "removed after");
            disk.create("made before").unwrap();
            disk.remove("removed before").unwrap();
            let unsynced = disk.unsynced_names("").unwrap();
            disk.create("made after").unwrap();
            disk.remove("removed after").unwrap();
            disk.finish_sync_directory(&unsynced);
        },
        |disk| disk.list("").join(", "),
    );
    let expected = [
        "made after, made before",
        "made after, made before, removed after",
        "made before",
        "made before, removed after",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}

#[test]
fn a_directory_that_vanishes_takes_along_what_is_in_it() {
    let prepare = |disk: &mut Disk| {
        disk.create_directory("a").unwrap();
        disk.create_directory("a/b").unwrap();
        durable_file(disk, "a/b/file");
        disk.sync_directory("a").unwrap();
    };
    let look = |disk: &Disk| (disk.list(""), disk.list("a"), disk.find("a/b/file").is_some());
    let (a, b) = (vec!["a".to_owned()], vec!["b".to_owned()]);
    assert_eq!(
        outcomes(prepare, look),
        BTreeSet::from([(Vec::new(), Vec::new(), false), (a.clone(), b.clone(), true)])
    );
    let prepare = |disk: &mut Disk| {
        prepare(disk);
        disk.sync_directory("").unwrap();
    };
    assert_eq!(outcomes(prepare, look), BTreeSet::from([(a, b, true)]));
}

#[test]
fn a_directory_made_again_is_another() {
    let seen = outcomes(
        |disk| {
            disk.create_directory("a").unwrap();
            disk.sync_directory("").unwrap();
            durable_file(disk, "a/old");
            disk.remove("a/old").unwrap();
            disk.remove_directory("a").unwrap();
            disk.create_directory("a").unwrap();
            durable_file(disk, "a/new");
        },
        |disk| (disk.list("").len(), disk.list("a").join(" ")),
    );
    let expected = ["", "old", "new"].map(|names| (1, names.to_owned()));
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn an_emptied_file_comes_back_until_it_is_synced() {
    let empty = |disk: &mut Disk| {
        let file = durable_file(disk, "file");
        write(disk, file, 1, 2, 1, Durable);
        disk.open("file", OpenMode::Replace).unwrap()
    };
    let seen = outcomes(empty, fills);
    assert_eq!(seen, BTreeSet::from([filled(&[], 0), filled(&[1], 3)]), "not written since");

    let write_one = |disk: &mut Disk| {
        let file = empty(disk);
        write(disk, file, 0, 1, 2, Deferred);
        file
    };
    let seen = outcomes(write_one, fills);
    for expected in [
        filled(&[], 0),
        filled(&[0], 1),
        filled(&[0, 2], 1),
        filled(&[2], 1),
        filled(&[1], 3),
        filled(&[1], 1),
        filled(&[1, 2], 1),
        filled(&[1, 2], 3),
    ] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }

    let seen = outcomes(
        |disk| {
            let file = write_one(disk);
            sync(disk, file);
        },
        fills,
    );
    assert_eq!(seen, BTreeSet::from([filled(&[2], 1)]));
}

#[test]
fn an_emptied_file_stays_so_once_it_is_written_durably() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            write(disk, file, 1, 2, 1, Durable);
            disk.open("file", OpenMode::Replace).unwrap();
            write(disk, file, 1, 1, 2, Durable);
        },
        |disk| contents(disk, "file").unwrap(),
    );
    let expected = [vec![0; BLOCK], vec![2; BLOCK]].concat();
    assert!(seen == BTreeSet::from([expected]));
}

#[test]
fn a_sync_that_began_before_a_file_was_emptied_says_nothing_of_it() {
    let seen = outcomes(
        |disk| {
            let file = durable_file(disk, "file");
            let unsynced = disk.unsynced(file);
            disk.open("file", OpenMode::Replace).unwrap();
            disk.finish_sync(file, &unsynced);
        },
        fills,
    );
    assert_eq!(seen, BTreeSet::from([filled(&[], 0), filled(&[1], 1)]));
}

#[test]
fn a_read_sees_what_is_written_meanwhile_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut random = Random::new(seed, 0);
        let mut disk = Disk::default();
        let file = durable_file(&mut disk, "file");
        write(&mut disk, file, 1, 1, 1, Durable);
        let read = disk.start_read(file, 0, 4 * BLOCK).unwrap();
        write(&mut disk, file, 2, 1, 2, Durable);
        write(&mut disk, file, 0, 1, 2, Durable);
        let in_flight = disk.start_write(file, BLOCK_BYTES, aligned(2, 3), Durable).unwrap();
        let bytes = disk.finish_read(&read, &mut random);
        disk.finish_write(in_flight).unwrap().unwrap();
        assert!(bytes.len() == 2 * BLOCK || bytes.len() == 3 * BLOCK);
        let blocks: Vec<BTreeSet<u8>> =
            bytes.chunks(BLOCK).map(|block| block.iter().copied().collect()).collect();
        seen.extend(blocks.into_iter().enumerate());
    }
    let expected = [(0, BTreeSet::from([1, 2])), (1, BTreeSet::from([1, 3])), (2, BTreeSet::from([2, 3]))];
    for (block, fills) in &seen {
        assert!(fills.is_subset(&expected[*block].1), "block {block} shows {fills:?}");
    }
    assert!(expected.iter().all(|mixed| seen.contains(mixed)), "{seen:?}");
}

#[test]
fn a_read_that_meets_no_write_sees_what_is_there() {
    let mut disk = Disk::default();
    let file = durable_file(&mut disk, "file");
    write(&mut disk, file, 1, 1, 2, Deferred);
    let read = |block: u64, blocks| {
        let read = disk.start_read(file, block * BLOCK_BYTES, blocks * BLOCK).unwrap();
        disk.finish_read(&read, &mut Random::new(1, 0))
    };
    assert!(read(0, 2) == [[1; BLOCK], [2; BLOCK]].concat());
    assert!(read(1, 4) == [2; BLOCK]);
    assert!(read(2, 1).is_empty() && read(9, 1).is_empty());
    assert!(disk.start_read(file, 512, BLOCK).is_err() && disk.start_read(file, 0, 0).is_err());
}

#[test]
fn names_are_made_and_removed_as_on_a_filesystem() {
    let mut disk = Disk::default();
    let errno = |result: Result<(), FileError>| match result {
        Err(FileError::Failed(errno)) => errno,
        other => panic!("{other:?}"),
    };
    assert_eq!(errno(disk.create_directory("a/b")), ENOENT);
    disk.create_directory("a").unwrap();
    disk.create_directory("a").unwrap();
    assert_eq!(errno(disk.open("b/file", OpenMode::Replace).map(drop)), ENOENT);
    assert_eq!(errno(disk.open("a/file", OpenMode::Write).map(drop)), ENOENT);
    disk.open("a/file", OpenMode::Create).unwrap();
    assert_eq!(errno(disk.open("a/file", OpenMode::Create).map(drop)), EEXIST);
    assert_eq!(disk.remove_directory("a"), Err(FileError::NotEmpty));
    assert_eq!(errno(disk.remove_directory("a/file")), ENOTDIR);
    assert_eq!(errno(disk.remove("a")), EISDIR);
    for _ in 0..2 {
        disk.remove("a/file").unwrap();
    }
    for _ in 0..2 {
        disk.remove_directory("a").unwrap();
    }
    assert_eq!(errno(disk.sync_directory("a")), ENOENT);
    assert_eq!(disk.list(""), Vec::<String>::new());
}

#[test]
fn a_full_disk_takes_nothing_more_and_gives_all_back() {
    let mut disk = Disk::default();
    disk.create_directory("a").unwrap();
    let file = durable_file(&mut disk, "a/file");
    disk.full = true;
    assert_eq!(disk.open("a/other", OpenMode::Create), Err(FileError::Full));
    assert_eq!(disk.open("a/other", OpenMode::Replace), Err(FileError::Full));
    assert_eq!(disk.create_directory("b"), Err(FileError::Full));
    disk.create_directory("a").unwrap();
    assert_eq!(disk.open("a/file", OpenMode::Replace), Ok(file));
    let longer = disk.start_write(file, 0, aligned(1, 2), Deferred).unwrap();
    assert_eq!(disk.finish_write(longer), Ok(Err(FileError::Full)));
    disk.remove("a/file").unwrap();
    disk.remove_directory("a").unwrap();
}

#[test]
fn a_lost_sector_of_a_segment_may_show_what_another_held() {
    let seen = outcomes(
        |disk| {
            disk.create_directory("partitions").unwrap();
            disk.sync_directory("").unwrap();
            let older = durable_file(disk, "partitions/older");
            write(disk, older, 1, 1, 9, Durable);
            let file = durable_file(disk, "partitions/file");
            write(disk, file, 0, 1, 2, Durable);
            disk.open("partitions/file", OpenMode::Replace).unwrap();
            write(disk, file, 0, 1, 3, Durable);
            write(disk, file, 1, 1, 4, Deferred);
        },
        |disk| contents(disk, "partitions/file").unwrap(),
    );
    assert!(seen.iter().all(|bytes| bytes[..BLOCK] == [3; BLOCK]), "what was written durably stays");
    let shown: BTreeSet<u8> = seen.iter().flat_map(|bytes| bytes[BLOCK..].iter().copied()).collect();
    assert_eq!(shown, BTreeSet::from([0, 4, 9]), "nothing, what was written, and what another held");
}

/// Flips a bit of a file of ones, writes the ones again, and loses power. Says whether the file is mended.
fn is_mended_by_writing_it_again(seed: u64) -> bool {
    const BYTES: usize = 2 * BLOCK;
    let mut random = Random::new(seed, 0);
    let mut disk = Disk::default();
    let file = disk.create("a").unwrap();
    disk.sync_directory("").unwrap();
    disk.write_now(file, 0, &[1; BYTES], 1000, &mut random);
    let place = disk.flip(file, &mut random).unwrap();
    let rotten = |disk: &Disk| disk.rotten(file).collect::<Vec<u64>>();
    assert_eq!((disk.written(file), rotten(&disk)), (vec![1; BYTES], vec![place]));
    let as_read = contents(&disk, "a").unwrap();
    assert_ne!(as_read, vec![1; BYTES]);
    disk.write_cached(file, 0, &as_read);
    assert_eq!(rotten(&disk), [place], "the same wrong bytes are written again");
    disk.write_cached(file, 0, &[1; BYTES]);
    assert_eq!((contents(&disk, "a").unwrap(), rotten(&disk)), (vec![1; BYTES], vec![]));
    disk.handle_power_loss(&mut random);
    assert_eq!(disk.written(file), vec![1; BYTES]);
    let is_mended = contents(&disk, "a").unwrap() == [1; BYTES];
    assert_eq!(rotten(&disk), if is_mended { vec![] } else { vec![place] });
    is_mended
}

#[test]
fn what_was_written_is_known_whatever_rots_and_wherever_it_goes() {
    let outcomes: BTreeSet<bool> = (0..SEEDS).map(is_mended_by_writing_it_again).collect();
    assert_eq!(outcomes.len(), 2, "what was written over may have reached the disk or not");
}
