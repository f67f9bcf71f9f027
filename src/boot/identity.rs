//! The superblock: whose directory this is, and a new generation for every start.

use ringmain_wal::group::Generation;
use ringmain_wal::superblock::{SLOT_BYTES, Superblock, SuperblockError, choose};

use super::directory::{Directory, DirectoryError, ReadDirectory};
use super::logs::create_checkpoint;
use super::{BootError, BootOptions};

/// The file in the data directory.
pub(crate) const SUPERBLOCK: &str = "superblock";
/// Directories that shards expect to exist.
const DIRECTORIES: &[&str] =
    &[ringmain_shard::store::LOG_DIRECTORY, ringmain_wal::names::PARTITIONS_DIRECTORY];

/// The superblock as the last start left it; generation 0 for a new directory.
pub(super) fn load(directory: &mut dyn Directory, options: BootOptions) -> Result<Superblock, BootError> {
    match find(&read_slots(directory)?) {
        Ok(superblock) if superblock.node_id != options.node => Err(BootError::Identity(format!(
            "the data directory belongs to node {}, not {}; start it with --node-id {} or use another --data-dir",
            superblock.node_id, options.node, superblock.node_id
        ))),
        Ok(superblock) => Ok(superblock),
        Err(SuperblockError::Empty) => create(directory, options),
        Err(error) => Err(BootError::Identity(format!(
            "the data directory cannot be used: {error}; use another --data-dir, or the version that wrote it"
        ))),
    }
}

/// Both slots as they stand in the file; zeroes where it ends or does not exist.
pub(super) fn read_slots(directory: &mut dyn ReadDirectory) -> Result<[[u8; SLOT_BYTES]; 2], DirectoryError> {
    let mut slots = [[0; SLOT_BYTES]; 2];
    if directory.file_bytes(SUPERBLOCK)?.is_some() {
        for (place, slot) in slots.iter_mut().enumerate() {
            directory.read(SUPERBLOCK, (place * SLOT_BYTES) as u64, slot)?;
        }
    }
    Ok(slots)
}

/// The superblock that they hold; [`SuperblockError::Empty`] for a new directory.
pub(super) fn find(slots: &[[u8; SLOT_BYTES]; 2]) -> Result<Superblock, SuperblockError> {
    match choose(&slots[0], &slots[1]) {
        Err(_) if is_first_write_cut_short(slots) => Err(SuperblockError::Empty),
        chosen => chosen,
    }
}

/// Whether a directory's very first write was cut short, which leaves some sectors of its first slot. Nothing was logged
/// before it was whole, so the directory is as good as new; where there are logs all the same, creating it refuses.
fn is_first_write_cut_short(slots: &[[u8; SLOT_BYTES]; 2]) -> bool {
    /// Nothing is in between the fields at the front and the checksum at the end.
    const SECTOR_BYTES: usize = 512;
    let between = &slots[0][SECTOR_BYTES..SLOT_BYTES - SECTOR_BYTES];
    between.iter().chain(&slots[1]).all(|&byte| byte == 0)
}

/// Starts a generation: durable before anything is written under it.
pub(super) fn begin_generation(
    directory: &mut dyn Directory,
    before: &Superblock,
    shards: u16,
) -> Result<Superblock, BootError> {
    let generation = before.generation.0.checked_add(1).ok_or_else(|| {
        BootError::Identity("the data directory was started four thousand million times".to_owned())
    })?;
    let superblock = Superblock { generation: Generation(generation), shards, ..before.successor() };
    write(directory, &superblock)?;
    Ok(superblock)
}

/// A log, or a partition's directory: there is none in a directory that is as good as new.
pub(super) fn find_data(directory: &mut dyn ReadDirectory) -> Result<Option<String>, DirectoryError> {
    for path in DIRECTORIES {
        if let Some(name) = directory.list(path)?.first() {
            return Ok(Some(format!("{path}/{name}")));
        }
    }
    Ok(None)
}

fn create(directory: &mut dyn Directory, options: BootOptions) -> Result<Superblock, BootError> {
    if let Some(path) = find_data(directory)? {
        return Err(BootError::Identity(format!(
            "the data directory holds data ({path}) but no superblock; restore it, or use another --data-dir"
        )));
    }
    for path in DIRECTORIES {
        directory.create_directory(path)?;
    }
    create_checkpoint(directory)?;
    let superblock = Superblock {
        cluster_id: options.entropy.cluster_id,
        node_id: options.node,
        disk_id: options.entropy.disk_id,
        log_salt: options.entropy.salt,
        generation: Generation(0),
        shards: options.shards,
        write_number: 0,
    };
    write(directory, &superblock)?;
    Ok(superblock)
}

fn write(directory: &mut dyn Directory, superblock: &Superblock) -> Result<(), BootError> {
    let position = superblock.slot() * SLOT_BYTES;
    Ok(directory.write(SUPERBLOCK, position as u64, &superblock.encode())?)
}
