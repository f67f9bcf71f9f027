//! Read-ahead: where fetches ended, what was read behind that place already, and what is being read behind it now.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use ringmain_wal::state::SegmentExtent;
use ringmain_wire::ids::Offset;

use super::recency::Recency;
use super::request::{JobId, ReadRequest, SegmentId};
use super::window::{Span, Window};

/// What keeping a stream counts beside its bytes, so that their number is bounded too.
const STREAM_BYTES: usize = 512;

/// A stream; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(u64);

/// Streams by the place where their next fetch is expected.
#[derive(Debug)]
pub(super) struct Streams {
    bytes_max: usize,
    bytes: usize,
    made: u64,
    streams: BTreeMap<StreamId, Stream>,
    places: BTreeMap<(SegmentId, Offset), StreamId>,
    recency: Recency<StreamId>,
}

/// One reader's way through a segment.
#[derive(Debug)]
pub(super) struct Stream {
    segment: SegmentId,
    extent: SegmentExtent,
    truncations: u64,
    /// What lies behind the fetch before.
    pub(super) window: Window,
    /// What is being read behind the window.
    reading: Option<Span>,
    /// Whether a piece arrived since the fetch before: the window is as long as pieces are.
    is_filled: bool,
    /// Fetches that wait for what is being read, all from the same offset.
    pub(super) waiting: Vec<JobId>,
}

impl Streams {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            made: 0,
            streams: BTreeMap::new(),
            places: BTreeMap::new(),
            recency: Recency::new(),
        }
    }

    /// Memory held, in bytes: what was read ahead and what is being read.
    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// The stream that a fetch from `offset` continues.
    pub(super) fn find(&mut self, request: &ReadRequest, offset: Offset) -> Option<StreamId> {
        let id = *self.places.get(&(request.segment(), offset))?;
        let stream = &self.streams[&id];
        if stream.is_of(request) {
            return Some(id);
        }
        if !stream.is_reading() {
            self.remove(id);
        }
        None
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// Lets a fetch wait for what is being read.
    pub(super) fn join(&mut self, id: StreamId, job: JobId) {
        let stream = self.streams.get_mut(&id).expect("only a stream that was found is joined");
        assert!(stream.reading.is_some(), "nothing would end the wait");
        stream.waiting.push(job);
    }

    /// A fetch ended where `window` begins: the stream goes on from there. None if it is not worth being kept.
    pub(super) fn insert(&mut self, request: &ReadRequest, mut window: Window) -> Option<StreamId> {
        let place = (request.segment(), window.expected());
        if let Some(&there) = self.places.get(&place) {
            let stream = &self.streams[&there];
            if stream.is_of(request) {
                return Some(there);
            }
            if stream.is_reading() {
                return None;
            }
            self.remove(there);
        }
        if STREAM_BYTES + window.buffer_bytes() > self.bytes_max {
            window.empty();
        }
        if !self.make_room(STREAM_BYTES + window.buffer_bytes(), None) {
            return None;
        }
        self.made += 1;
        let id = StreamId(self.made);
        let stream = Stream {
            segment: place.0,
            extent: request.extent,
            truncations: request.truncations,
            window,
            reading: None,
            is_filled: false,
            waiting: Vec::new(),
        };
        self.bytes += stream.charge();
        self.streams.insert(id, stream);
        self.places.insert(place, id);
        self.recency.touch(id);
        Some(id)
    }

    /// A fetch was served from the stream's window, which begins at `window` now. None if another stream is there already.
    pub(super) fn advance(&mut self, id: StreamId, window: Window) -> Option<StreamId> {
        let stream = self.streams.get_mut(&id).expect("a stream stays while it is fetched from");
        assert!(stream.waiting.is_empty(), "a stream does not move away from who waits for it");
        let (before, after) = (stream.window.expected(), window.expected());
        let segment = stream.segment;
        if self.places.contains_key(&(segment, after)) {
            self.remove(id);
            return None;
        }
        self.bytes -= stream.charge();
        stream.window = window;
        stream.is_filled = false;
        self.bytes += stream.charge();
        self.places.remove(&(segment, before));
        self.places.insert((segment, after), id);
        self.recency.touch(id);
        Some(id)
    }

    /// Begins to read behind the window if less than half a piece is left of it, and if there is memory for that.
    pub(super) fn read_ahead(&mut self, id: StreamId, read_bytes: usize) -> Option<(SegmentId, Span)> {
        let stream = &self.streams[&id];
        let left_bytes = stream.window.bytes().len();
        if stream.reading.is_some() || stream.window.is_last(&stream.extent) || left_bytes >= read_bytes / 2 {
            return None;
        }
        let span = stream.window.next_read(&stream.extent, read_bytes - left_bytes, 0);
        if !self.make_room(span.length as usize, Some(id)) {
            return None;
        }
        let stream = self.streams.get_mut(&id).expect("room is not made at its own cost");
        stream.reading = Some(span);
        self.bytes += span.length as usize;
        Some((stream.segment, span))
    }

    /// What was being read is there. False if nobody knows of the stream any more.
    pub(super) fn filled(&mut self, id: StreamId, read: Bytes) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        self.bytes -= stream.charge();
        let span = stream.reading.take().expect("a piece is asked for once");
        stream.window.fill(&stream.extent, span, read);
        stream.is_filled = true;
        self.bytes += stream.charge();
        true
    }

    /// Takes a stream out, with all who wait for it.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.bytes -= stream.charge();
        self.places.remove(&(stream.segment, stream.window.expected()));
        self.recency.remove(id);
        Some(stream)
    }

    /// Drops the streams through these segments.
    pub(super) fn forget(&mut self, segments: &RangeInclusive<SegmentId>) {
        let places = (*segments.start(), Offset::ZERO)..=(*segments.end(), Offset(i64::MAX));
        let gone: Vec<_> = self.places.range(places).map(|(_, &id)| id).collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// Drops what was used longest ago until `bytes` more may be held. False if too much of the rest is in use.
    fn make_room(&mut self, bytes: usize, except: Option<StreamId>) -> bool {
        while self.bytes + bytes > self.bytes_max {
            let is_free = |id: &StreamId| Some(*id) != except && !self.streams[id].is_reading();
            let Some(oldest) = self.recency.oldest_first().find(is_free) else { return false };
            self.remove(oldest);
        }
        true
    }
}

impl Stream {
    /// Whether a fetch of up to `bytes` can be served from the window, if a whole batch is there.
    pub(super) fn has_enough(&self, bytes: usize) -> bool {
        let is_enough =
            self.is_filled || self.window.bytes().len() >= bytes || self.window.is_last(&self.extent);
        is_enough && self.waiting.is_empty()
    }

    /// Whether a piece is on its way. Only then may somebody wait for it.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    fn is_of(&self, request: &ReadRequest) -> bool {
        self.extent.end == request.extent.end
            && self.extent.bytes == request.extent.bytes
            && self.truncations == request.truncations
    }

    /// What it counts, in bytes.
    fn charge(&self) -> usize {
        STREAM_BYTES + self.window.buffer_bytes() + self.reading.map_or(0, |span| span.length as usize)
    }
}
