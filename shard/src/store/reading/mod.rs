//! Reads old records from segment files: finds them, proves them, and reads ahead of whoever reads on.
//!
//! Owned by the store; view: core. A read looks through a [window](window) of its segment, asks for pieces of the file
//! until it has found what it is for, and leaves a [stream](ahead) behind, so that the fetch that continues it begins
//! where it ended. Logic without IO: what is to be read goes out as effects, what came of it comes in through
//! [`Reading::handle_file`].

mod ahead;
mod descriptors;
mod index_files;
mod indexes;
mod job;
mod operations;
mod recency;
mod request;
mod token;
mod window;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ringmain_wal::block::is_whole_blocks;
use ringmain_wal::segment::{Index, IndexEntry};
use ringmain_wire::ids::{Offset, PartitionId};

use crate::effect::Effects;
use crate::event::{FileError, FileOutcome};

pub(super) use request::{Purpose, ReadDone, ReadError, ReadRequest, ReadResult, ReadingConfig};
pub(super) use token::ReadToken;

use ahead::{StreamId, Streams};
use index_files::{IndexFiles, Loaded};
use indexes::Indexes;
use job::{Job, Step};
use operations::{Finished, Operations, Owner, Piece};
use request::{JobId, SegmentId};

/// All reads of one shard from its segments.
#[derive(Debug)]
pub(super) struct Reading {
    config: ReadingConfig,
    indexes: Indexes,
    index_files: IndexFiles,
    streams: Streams,
    operations: Operations,
    started: u64,
    /// Waiting for a piece: their own or that of the stream that they joined.
    jobs: BTreeMap<JobId, Job>,
    done: VecDeque<ReadDone>,
    /// Whose index file is missing, or cannot be relied on.
    unindexed: Vec<(PartitionId, Offset)>,
    /// Index files that could be relied on.
    indexes_loaded: u64,
}

/// When a read gets the piece that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// A piece of its own has just come: in that one's place.
    Next,
    /// After all who wait.
    Last,
}

impl Reading {
    /// Nothing is read yet.
    ///
    /// # Panics
    /// When the limits contradict each other.
    pub(super) fn new(config: ReadingConfig) -> Self {
        assert!(config.reads_in_flight_max > 0, "no read could ever start");
        assert!(config.open_files_max >= config.reads_in_flight_max, "every read under way has a file");
        assert!(config.read_bytes > 0 && is_whole_blocks(config.read_bytes as u64));
        assert!(config.batch_bytes_max <= 1 << 30, "the longest read must fit its 32 bits");
        Self {
            indexes: Indexes::new(config.index_entries_max),
            index_files: IndexFiles::default(),
            streams: Streams::new(config.read_ahead_bytes_max),
            operations: Operations::new(&config),
            started: 0,
            jobs: BTreeMap::new(),
            done: VecDeque::new(),
            unindexed: Vec::new(),
            indexes_loaded: 0,
            config,
        }
    }

    /// Memory held, in bytes: by what was read ahead, and by reads under way.
    pub(super) fn held_bytes(&self) -> usize {
        let windows: usize = self.jobs.values().map(|job| job.window.buffer_bytes()).sum();
        windows + self.streams.held_bytes() + self.operations.held_bytes() + self.index_files.held_bytes()
    }

    /// The most that [`held_bytes`](Self::held_bytes) comes to unless single batches are longer than a read.
    pub(super) fn held_bytes_max(&self) -> usize {
        let ReadingConfig { reads_in_flight_max, read_ahead_bytes_max, read_bytes, .. } = self.config;
        read_ahead_bytes_max + 2 * reads_in_flight_max * read_bytes + IndexFiles::HELD_BYTES_MAX
    }

    /// Memory held by what is known of where batches lie, in bytes.
    pub(super) fn index_bytes(&self) -> usize {
        self.indexes.entries() * size_of::<IndexEntry>()
    }

    /// The most that this comes to.
    pub(super) fn index_bytes_max(&self) -> usize {
        self.config.index_entries_max * size_of::<IndexEntry>()
    }

    /// Index files that spared a scan so far.
    pub(super) fn indexes_loaded(&self) -> u64 {
        self.indexes_loaded
    }

    /// A segment whose index file was looked for in vain.
    pub(super) fn poll_unindexed(&mut self) -> Option<(PartitionId, Offset)> {
        self.unindexed.pop()
    }

    /// Starts a read. Its end is told by [`poll_done`](Self::poll_done), at once if all that it needs was read ahead.
    pub(super) fn start<M>(&mut self, request: ReadRequest, effects: &mut Effects<M>) {
        self.started += 1;
        let id = JobId(self.started);
        if let Purpose::Fetch { offset, bytes_max } = request.purpose
            && let Some(stream) = self.streams.find(&request, offset)
        {
            self.continue_stream(id, request, stream, bytes_max);
        } else {
            let known = self.indexes.take(request.segment());
            let needs_index = request.needs_index() && known.is_worth_looking_for();
            self.indexes.put(request.segment(), known);
            if needs_index {
                self.index_files.await_index(id, request);
            } else {
                self.begin(id, request, false);
            }
        }
        self.start_queued(effects);
    }

    fn start_queued<M>(&mut self, effects: &mut Effects<M>) {
        self.index_files.start_queued(effects);
        self.operations.start_queued(effects);
    }

    fn begin(&mut self, id: JobId, request: ReadRequest, was_index_sought: bool) {
        let known = self.indexes.take(request.segment());
        let mut job = Job::new(request, &known);
        job.was_index_sought = was_index_sought;
        self.indexes.put(job.request.segment(), known);
        self.run(id, job, Turn::Last);
    }

    /// A file operation ended.
    pub(super) fn handle_file<M>(
        &mut self,
        token: ReadToken,
        result: Result<FileOutcome, FileError>,
        effects: &mut Effects<M>,
    ) {
        if let ReadToken::Index(number) = token {
            if let Some(loaded) = self.index_files.handle(number, result, effects) {
                self.index_loaded(loaded);
            }
            self.start_queued(effects);
            return;
        }
        for Finished { piece, result } in self.operations.handle(token, result, effects) {
            match piece.owner {
                Owner::Job(id) => self.job_read(id, piece, result),
                Owner::Stream(id) => self.stream_read(id, result),
            }
        }
        self.start_queued(effects);
    }

    /// The reads go on that waited for an index file.
    fn index_loaded(&mut self, loaded: Loaded) {
        let Loaded { segment, index, waiting } = loaded;
        match &index {
            Some(_) => self.indexes_loaded += 1,
            None => self.unindexed.push((segment.partition, segment.base)),
        }
        self.indexes.handle_looked_for(segment, index);
        for (id, request) in waiting {
            self.begin(id, request, true);
        }
    }

    /// The next read that has ended.
    pub(super) fn poll_done(&mut self) -> Option<ReadDone> {
        self.done.pop_front()
    }

    /// The file of one segment, or of all segments of the partition, will be removed, or was cut: nothing kept of it is
    /// used any more. Reads under way end as [`ReadError::Forgotten`]; the file is closed as soon as no read uses it.
    pub(super) fn forget<M>(
        &mut self,
        partition: PartitionId,
        base: Option<Offset>,
        effects: &mut Effects<M>,
    ) {
        let segments = SegmentId::range(partition, base);
        self.indexes.forget(&segments);
        self.streams.forget(&segments);
        self.operations.forget(&segments, effects);
        for request in self.index_files.forget(&segments) {
            self.done.push_back(request.done(Err(ReadError::Forgotten)));
        }
        for (_, job) in self.jobs.extract_if(.., |_, job| segments.contains(&job.request.segment())) {
            self.done.push_back(job.request.done(Err(ReadError::Forgotten)));
        }
    }

    /// The index file of a segment was written.
    pub(super) fn handle_index_written(&mut self, partition: PartitionId, base: Offset) {
        self.indexes.handle_written(SegmentId { partition, base });
    }

    /// A settle job knows where batches lie: kept instead of being found out by scans.
    pub(super) fn learn(&mut self, partition: PartitionId, base: Offset, index: Index) {
        self.indexes.learn(SegmentId { partition, base }, index);
    }

    /// Begins a fetch where one before it ended.
    fn continue_stream(&mut self, id: JobId, request: ReadRequest, stream_id: StreamId, bytes_max: usize) {
        let stream = self.streams.get(stream_id).expect("the stream was just found");
        if stream.has_enough(bytes_max.min(self.config.read_bytes)) {
            let job = Job::continuing(request, stream.window.clone(), Some(stream_id));
            self.run(id, job, Turn::Last);
        } else {
            self.wait_for_stream(id, request, stream_id, 0);
        }
    }

    /// Lets a fetch wait for what its stream reads; if that is nothing, the fetch reads on by itself.
    fn wait_for_stream(&mut self, id: JobId, request: ReadRequest, stream_id: StreamId, needed_bytes: usize) {
        let stream = self.streams.get(stream_id).expect("a stream stays while it is fetched from");
        if stream.is_reading() {
            let mut window = stream.window.clone();
            window.empty();
            self.jobs.insert(id, Job::continuing(request, window, None));
            self.streams.join(stream_id, id);
        } else if let Some(stream) = self.streams.remove(stream_id) {
            self.read_on(id, Job::continuing(request, stream.window, None), needed_bytes, Turn::Last);
        }
    }

    /// The piece that a read asked for has come, or has not.
    fn job_read(&mut self, id: JobId, piece: Piece, result: Result<Bytes, FileError>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        match result {
            Ok(read) => {
                job.window.fill(&job.request.extent, piece.span, read);
                self.run(id, job, Turn::Next);
            }
            Err(error) => self.fail(&job, error),
        }
    }

    /// The piece read ahead has come, or has not.
    fn stream_read(&mut self, id: StreamId, result: Result<Bytes, FileError>) {
        let error = match result {
            Ok(read) => {
                let is_awaited = |stream: &ahead::Stream| !stream.waiting.is_empty();
                if !self.streams.filled(id, read) || !self.streams.get(id).is_some_and(is_awaited) {
                    return;
                }
                None
            }
            Err(error) => Some(error),
        };
        // Without waiting fetches an error is told to the next one, which meets it itself.
        let Some(stream) = self.streams.remove(id) else { return };
        for id in stream.waiting {
            let mut job = self.jobs.remove(&id).expect("a fetch that waits is known");
            job.window = stream.window.clone();
            match error {
                None => self.run(id, job, Turn::Last),
                Some(error) => self.fail(&job, error),
            }
        }
    }

    /// Looks for what the read is for, and asks for more of the file if that is not there.
    fn run(&mut self, id: JobId, mut job: Job, turn: Turn) {
        let segment = job.request.segment();
        let mut known = self.indexes.take(segment);
        let step = job.step(&mut known, self.config.batch_bytes_max);
        let may_lead_past_damage = !job.was_index_sought && known.may_lead_past_damage();
        self.indexes.put(segment, known);
        match (step, job.stream) {
            // Small segments, and those that a scan knows to some place, are read without their index file.
            (Step::Done(Err(ReadError::Damaged { .. })), stream) if may_lead_past_damage => {
                if let Some(stream) = stream {
                    self.streams.remove(stream);
                }
                self.index_files.await_index(id, job.request);
            }
            (Step::Done(result), _) => self.finish(job, result),
            (Step::Read { needed_bytes }, Some(stream)) => {
                self.wait_for_stream(id, job.request, stream, needed_bytes);
            }
            (Step::Read { needed_bytes }, None) => self.read_on(id, job, needed_bytes, turn),
        }
    }

    /// Asks for more of the file. Who has to wait for that holds nothing meanwhile: what it had is read again.
    fn read_on(&mut self, id: JobId, mut job: Job, needed_bytes: usize, turn: Turn) {
        if turn == Turn::Last && !self.operations.is_room() {
            job.window.empty();
        }
        let span = job.next_read(needed_bytes, &self.config);
        let piece = Piece { owner: Owner::Job(id), segment: job.request.segment(), span };
        match turn {
            Turn::Next => self.operations.queue_first(piece),
            Turn::Last => self.operations.queue(piece),
        }
        self.jobs.insert(id, job);
    }

    fn finish(&mut self, job: Job, result: Result<ReadResult, ReadError>) {
        let is_going_on = matches!(&result, Ok(ReadResult::Batches(batches)) if !batches.is_empty())
            && job.window.expected() < job.request.extent.end;
        self.done.push_back(job.request.done(result));
        let stream = match job.stream {
            Some(stream) if is_going_on => self.streams.advance(stream, job.window),
            Some(stream) => {
                self.streams.remove(stream);
                None
            }
            None if is_going_on => self.streams.insert(&job.request, job.window),
            None => None,
        };
        if let Some(stream) = stream
            && job.is_sequential
            && let Some((segment, span)) = self.streams.read_ahead(stream, self.config.read_bytes)
        {
            self.operations.queue(Piece { owner: Owner::Stream(stream), segment, span });
        }
    }

    fn fail(&mut self, job: &Job, error: FileError) {
        let path = job.request.segment().path();
        self.done.push_back(job.request.done(Err(ReadError::Failed { path, error })));
    }
}

#[cfg(test)]
mod tests;
