//! Many rotten bits at a time, and one broker that is asked for everything: a batch with one is never served, and one in an
//! index changes nothing.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringmain_wire::batch::HEADER_BYTES;

use super::error::RotError;
use super::files::{FileKind, Flip, copy_directory};
use super::judge::{Judge, SegmentBatch};
use super::make::{SHARDS, await_files};
use super::reader::Reader;
use super::served::{is_named, is_refused, read_partition};
use super::workload::Written;
use crate::crash::broker::{Broker, BrokerOptions};
use crate::crash::dice::Dice;
use crate::crash::place;

/// What rots in a sweep.
pub(super) struct Sweep<'a> {
    /// The directory as it was made.
    pub(super) made: &'a Path,
    /// Where the run keeps its data.
    pub(super) directory: &'a Path,
    pub(super) judge: &'a Judge,
    pub(super) written: &'a Written,
}

/// A broker on a rotten copy.
struct Serving {
    broker: Broker,
    reader: Reader,
    copy: PathBuf,
    log: PathBuf,
}

impl Sweep<'_> {
    /// Lets a bit rot in one of every `one_in` batches, and asks a broker for each of them. Says how many those were.
    pub(super) fn batches(&self, one_in: u64, dice: &mut Dice) -> Result<u64, RotError> {
        let batches = self.judge.segment_batches()?;
        let mut rotten = Vec::new();
        for batch in &batches {
            if dice.once_in(one_in) {
                rotten.push((batch, choose(batch, dice)));
            }
        }
        self.serve(rotten.iter().map(|(_, flip)| flip), |serving| {
            let reader = &mut serving.reader;
            for (batch, flip) in &rotten {
                if !is_refused(reader, &batch.partition, batch.base).map_err(|error| error.after(flip))? {
                    return Err(RotError::Unsound("a broker serves the batch".to_owned()).after(flip));
                }
            }
            for partition in &self.written.partitions {
                read_partition(reader, partition)?;
            }
            match is_named(&serving.log)? {
                true => Ok(()),
                false => Err(RotError::Unsound("the broker's log says nothing of all the damage".to_owned())),
            }
        })?;
        Ok(rotten.len() as u64)
    }

    /// Lets a bit that counts rot in every index: a broker serves everything, and makes them again as they were. Says how
    /// many indexes those were.
    pub(super) fn indexes(&self, dice: &mut Dice) -> Result<u64, RotError> {
        let flips = self.judge.indexes().map(|(path, bytes)| flip(FileKind::Index, path, 0..bytes, dice));
        let flips: Vec<Flip> = flips.collect();
        self.serve(flips.iter(), |serving| {
            for partition in &self.written.partitions {
                if read_partition(&mut serving.reader, partition)? {
                    let what = format!("{partition} is not served where only indexes rot: {flips:?}");
                    return Err(RotError::Unsound(what));
                }
            }
            await_files(&serving.broker, || {
                let read = |root: &Path, path: &String| fs::read(root.join(path)).ok();
                let is_rotten = |path: &&String| read(&serving.copy, path) != read(self.made, path);
                flips.iter().map(|flip| &flip.path).find(is_rotten).cloned()
            })
        })?;
        Ok(flips.len() as u64)
    }

    /// Starts a broker on a copy with all these bits flipped.
    fn serve<'f>(
        &self,
        flips: impl Iterator<Item = &'f Flip>,
        read: impl FnOnce(&mut Serving) -> Result<(), RotError>,
    ) -> Result<(), RotError> {
        let copy = self.directory.join("swept");
        copy_directory(self.made, &copy)?;
        for flip in flips {
            // It stays rotten.
            drop(flip.apply(&copy)?);
        }
        let log = self.directory.join("swept.log");
        fs::write(&log, []).map_err(RotError::io("emptying the broker's log"))?;
        let native = place::free_address()?;
        let options = BrokerOptions { data_dir: copy.clone(), native, shards: SHARDS };
        let broker = Broker::start(&options, &log)?;
        let mut serving = Serving { broker, reader: Reader::connect(native)?, copy, log };
        read(&mut serving)?;
        serving.broker.stop()?;
        let copy = serving.copy;
        fs::remove_dir_all(&copy).map_err(RotError::io("removing a copy"))
    }
}

/// A bit of a batch: every second time of its header.
fn choose(batch: &SegmentBatch, dice: &mut Dice) -> Flip {
    let Range { start, end } = batch.range;
    let end = if dice.once_in(2) { start + HEADER_BYTES as u64 } else { end };
    flip(FileKind::Segment, &batch.path, start..end, dice)
}

fn flip(kind: FileKind, path: &str, within: Range<u64>, dice: &mut Dice) -> Flip {
    let position = dice.between(within.start, within.end - 1);
    let bit = u32::try_from(dice.between(0, 7)).expect("below 8");
    Flip { kind, path: path.to_owned(), position, bit }
}
