//! Files in memory that carry out what reading asks for, completing it in an order of the test's choosing.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::*;
use crate::effect::{Effect, FileId, FileOperation, OpenMode};
use crate::store::token::StoreToken;

/// What the operating system says of a missing file.
pub(super) const MISSING: FileError = FileError::Failed(2);

/// Reading, its files, and all that is under way between them.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) reading: Reading,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) open: BTreeMap<FileId, String>,
    pub(super) pending: Vec<(ReadToken, FileOperation)>,
    /// Bytes of all reads.
    pub(super) read_bytes: usize,
    pub(super) opens: usize,
    random: ChaCha8Rng,
}

impl Disk {
    pub(super) fn new(config: ReadingConfig, seed: u64) -> Self {
        Self {
            reading: Reading::new(config),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            pending: Vec::new(),
            read_bytes: 0,
            opens: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    pub(super) fn start(&mut self, request: ReadRequest) {
        let mut effects: Effects<()> = Vec::new();
        self.reading.start(request, &mut effects);
        self.carry(effects);
    }

    pub(super) fn forget(&mut self, partition: PartitionId, base: Option<Offset>) {
        let mut effects: Effects<()> = Vec::new();
        self.reading.forget(partition, base, &mut effects);
        self.carry(effects);
    }

    /// A random number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random.next_u64() as usize % bound
    }

    /// Ends any one operation. False if there is none.
    pub(super) fn complete_one(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let place = self.below(self.pending.len());
        self.complete(place);
        true
    }

    /// Ends the operation in this place.
    pub(super) fn complete(&mut self, place: usize) {
        let (token, operation) = self.pending.remove(place);
        let result = self.carried_out(operation);
        self.end(token, result);
    }

    /// Ends the operation in this place as the device fails.
    pub(super) fn fail(&mut self, place: usize, error: FileError) {
        let (token, _) = self.pending.remove(place);
        self.end(token, Err(error));
    }

    /// Ends everything; what came of a single read.
    pub(super) fn result(&mut self) -> Result<ReadResult, ReadError> {
        while self.complete_one() {}
        let done = self.reading.poll_done().expect("every read ends");
        assert!(self.reading.poll_done().is_none(), "a read ends once");
        done.result
    }

    fn end(&mut self, token: ReadToken, result: Result<FileOutcome, FileError>) {
        let mut effects: Effects<()> = Vec::new();
        self.reading.handle_file(token, result, &mut effects);
        self.carry(effects);
    }

    fn carry(&mut self, effects: Effects<()>) {
        for effect in effects {
            let Effect::File { token, operation } = effect else { panic!("{effect:?}") };
            let StoreToken::Read(token) = StoreToken::decode(token) else { panic!("{token:?}") };
            match &operation {
                FileOperation::Open { file, mode, .. } => {
                    assert!(!self.open.contains_key(file), "{file:?} is open");
                    assert_eq!(*mode, OpenMode::Read);
                    self.opens += 1;
                }
                FileOperation::Read { file, position, length } => {
                    assert!(self.open.contains_key(file), "{file:?} is not open");
                    assert!(is_whole_blocks(*position) && is_whole_blocks((*length).into()) && *length > 0);
                    self.read_bytes += *length as usize;
                }
                FileOperation::Close { file } => {
                    assert!(self.open.remove(file).is_some(), "{file:?} is not open");
                    let is_read = |read: &(ReadToken, FileOperation)| matches!(read.1, FileOperation::Read { file: read, .. } if read == *file);
                    assert!(!self.pending.iter().any(is_read), "{file:?} is closed while it is read");
                }
                other => panic!("{other:?}"),
            }
            self.pending.push((ReadToken::decode(token), operation));
        }
        self.check_bounds();
    }

    fn carried_out(&mut self, operation: FileOperation) -> Result<FileOutcome, FileError> {
        match operation {
            FileOperation::Open { file, path, .. } => {
                if !self.files.contains_key(&path) {
                    return Err(MISSING);
                }
                self.open.insert(file, path);
                Ok(FileOutcome::Done)
            }
            FileOperation::Read { file, position, length } => {
                let bytes = &self.files[&self.open[&file]];
                let start = bytes.len().min(position as usize);
                let end = bytes.len().min(start + length as usize);
                Ok(FileOutcome::Read(Bytes::copy_from_slice(&bytes[start..end])))
            }
            _ => Ok(FileOutcome::Done),
        }
    }

    fn check_bounds(&self) {
        let config = &self.reading.config;
        let is_counted =
            |(_, operation): &&(ReadToken, FileOperation)| !matches!(operation, FileOperation::Close { .. });
        assert!(self.pending.iter().filter(is_counted).count() <= config.reads_in_flight_max);
        let opening = self.pending.iter().filter(|(token, _)| matches!(token, ReadToken::Open(_))).count();
        assert!(self.open.len() + opening <= config.open_files_max);
        assert!(self.reading.streams.held_bytes() <= config.read_ahead_bytes_max);
        let holding = self.reading.jobs.values().filter(|job| job.window.buffer_bytes() > 0).count();
        assert!(holding <= config.reads_in_flight_max, "{holding} reads hold memory at once");
        assert!(self.reading.indexes.entries() <= config.index_entries_max);
    }
}
