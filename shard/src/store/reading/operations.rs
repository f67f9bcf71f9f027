//! Pieces of segment files on their way into memory: a few at a time, the others in a queue.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::Bytes;

use super::ahead::StreamId;
use super::descriptors::{Acquired, Descriptors, FileNumber};
use super::request::{JobId, ReadingConfig, SegmentId};
use super::token::{ReadToken, token};
use super::window::Span;
use crate::effect::{Effect, Effects, FileOperation};
use crate::event::{FileError, FileOutcome};

/// A piece under way; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct PieceId(pub(super) u64);

/// Whole blocks of a segment that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) owner: Owner,
    pub(super) segment: SegmentId,
    pub(super) span: Span,
}

/// Who wants a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A read.
    Job(JobId),
    /// Read-ahead.
    Stream(StreamId),
}

/// A piece and what came of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) piece: Piece,
    pub(super) result: Result<Bytes, FileError>,
}

/// The file operations of reading.
#[derive(Debug)]
pub(super) struct Operations {
    under_way_max: usize,
    queue: VecDeque<Piece>,
    /// Started: being read, or waiting for its file to be opened.
    under_way: BTreeMap<PieceId, Piece>,
    reading: BTreeMap<PieceId, FileNumber>,
    started: u64,
    descriptors: Descriptors,
}

impl Operations {
    pub(super) fn new(config: &ReadingConfig) -> Self {
        Self {
            under_way_max: config.reads_in_flight_max,
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            reading: BTreeMap::new(),
            started: 0,
            descriptors: Descriptors::new(config.open_files_max),
        }
    }

    /// Memory that pieces under way will fill for reads, in bytes; read-ahead counts its own.
    pub(super) fn held_bytes(&self) -> usize {
        let of_jobs = self.under_way.values().filter(|piece| matches!(piece.owner, Owner::Job(_)));
        of_jobs.map(|piece| piece.span.length as usize).sum()
    }

    /// Whether a piece asked for now would start with the next [`start_queued`](Self::start_queued).
    pub(super) fn is_room(&self) -> bool {
        self.under_way.len() + self.queue.len() < self.under_way_max
    }

    /// Asks for a piece; it starts with a later [`start_queued`](Self::start_queued).
    pub(super) fn queue(&mut self, piece: Piece) {
        self.queue.push_back(piece);
    }

    /// The same, before all that wait: for who holds memory, and has just been given a piece.
    pub(super) fn queue_first(&mut self, piece: Piece) {
        self.queue.push_front(piece);
    }

    /// Starts as many pieces as may be under way, in the order of the queue.
    pub(super) fn start_queued<M>(&mut self, effects: &mut Effects<M>) {
        while self.under_way.len() < self.under_way_max
            && let Some(piece) = self.queue.pop_front()
        {
            self.started += 1;
            let id = PieceId(self.started);
            self.under_way.insert(id, piece);
            if let Acquired::Open(file) = self.descriptors.acquire(piece.segment, id, effects) {
                self.read(id, file, effects);
            }
        }
    }

    /// An operation ended: the pieces that ended with it.
    pub(super) fn handle<M>(
        &mut self,
        token: ReadToken,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) -> Vec<Finished> {
        match token {
            ReadToken::Open(file) => self.opened(file, result.err(), effects),
            ReadToken::Read(id) => {
                let file = self.reading.remove(&id).expect("a piece is read once");
                self.descriptors.release(file, effects);
                let piece = self.under_way.remove(&id).expect("a piece that is read is under way");
                let result = result.map(|outcome| match outcome {
                    FileOutcome::Read(bytes) => bytes,
                    FileOutcome::Done => unreachable!("a read gives bytes"),
                });
                vec![Finished { piece, result }]
            }
            ReadToken::Close(file) => {
                // Nothing was written through it, so that nothing can be lost by a close that failed.
                self.descriptors.closed(file);
                Vec::new()
            }
            ReadToken::Index(_) => unreachable!("index files have operations of their own"),
        }
    }

    /// Drops the queued pieces of these segments; files that are open for them are used for no further one.
    pub(super) fn forget<M>(&mut self, segments: &RangeInclusive<SegmentId>, effects: &mut Effects<M>) {
        self.queue.retain(|piece| !segments.contains(&piece.segment));
        self.descriptors.forget(segments, effects);
    }

    fn opened<M>(
        &mut self,
        file: FileNumber,
        error: Option<FileError>,
        effects: &mut Effects<M>,
    ) -> Vec<Finished> {
        let opened = self.descriptors.opened(file, error.is_none(), effects);
        let mut failed = Vec::new();
        for id in opened.waiting {
            if opened.is_usable {
                self.read(id, file, effects);
                continue;
            }
            let piece = self.under_way.remove(&id).expect("a piece that waits for its file is under way");
            if let Some(error) = error {
                failed.push(Finished { piece, result: Err(error) });
            }
        }
        failed
    }

    fn read<M>(&mut self, id: PieceId, file: FileNumber, effects: &mut Effects<M>) {
        let Span { position, length } = self.under_way[&id].span;
        let operation = FileOperation::Read { file: file.id(), position, length };
        effects.push(Effect::File { token: token(ReadToken::Read(id)), operation });
        self.reading.insert(id, file);
    }
}
