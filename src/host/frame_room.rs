//! Room for large frames while they are received: a shard has so much of it, and connections beyond that are not read
//! until some is given back.
//!
//! A frame holds room for all that it announces, from its beginning until it is dealt with, so that frames that stop
//! half-way never take more memory than there is room. While others wait for room, a frame has to arrive at a pace that
//! any network has; otherwise its connection is cut. Largest frames and those of usual produce requests wait apart: a few
//! of the former cannot keep the latter out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ringmain_shard::event::ConnectionId;
use ringmain_shard::store::MemoryOwner;
use ringmain_shard::time::Mono;

/// Room for frames of up to [`MIDDLING_FRAME_BYTES`].
const MIDDLING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Room for larger ones, unless a single one may be larger still.
const LARGE_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Kafka's default for the largest batch is 1 MiB and a little.
const MIDDLING_FRAME_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// What a frame has besides a second for each [`PACE_BYTES`].
const GRACE: Duration = Duration::from_secs(1);
/// What arrives in a second at the least.
const PACE_BYTES: usize = 1024 * 1024;

/// The room of one shard.
#[derive(Debug)]
pub struct FrameRoom {
    middling: Class,
    large: Class,
}

/// Frames that wait for each other.
#[derive(Debug)]
struct Class {
    bytes_max: usize,
    bytes: usize,
    holders: BTreeMap<ConnectionId, Holder>,
    /// In the order of their coming, with the bytes they need.
    waiting: VecDeque<(ConnectionId, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    bytes: usize,
    /// When the frame has to be whole if others wait; `None` once it is, or once its connection is being cut.
    due: Option<Mono>,
}

impl FrameRoom {
    /// All of it, for frames of up to `frame_bytes_max`.
    pub fn new(frame_bytes_max: u32) -> Self {
        Self {
            middling: Class::of(MIDDLING_BYTES_MAX),
            large: Class::of(LARGE_BYTES_MAX.max(frame_bytes_max as usize)),
        }
    }

    /// `connection` receives a frame of `bytes`. False: it has to wait, and [`poll_admitted`](Self::poll_admitted) tells
    /// when it no longer has to.
    pub fn ask(&mut self, connection: ConnectionId, bytes: usize, now: Mono) -> bool {
        let class = if bytes <= MIDDLING_FRAME_BYTES { &mut self.middling } else { &mut self.large };
        class.ask(connection, bytes, now)
    }

    /// The frame that `connection` has room for is whole: that it still waits is not its client's fault.
    pub fn handle_whole(&mut self, connection: ConnectionId) {
        for class in [&mut self.middling, &mut self.large] {
            class.holders.entry(connection).and_modify(|holder| holder.due = None);
        }
    }

    /// `connection` neither has nor wants room any more.
    pub fn give_back(&mut self, connection: ConnectionId) {
        for class in [&mut self.middling, &mut self.large] {
            match class.holders.remove(&connection) {
                Some(holder) => class.bytes -= holder.bytes,
                None => class.waiting.retain(|(waiting, _)| *waiting != connection),
            }
        }
    }

    /// Whether `connection` has room.
    pub fn is_held_by(&self, connection: ConnectionId) -> bool {
        [&self.middling, &self.large].iter().any(|class| class.holders.contains_key(&connection))
    }

    /// What frames hold, for what they announce.
    pub fn memory(&self) -> MemoryOwner {
        let [middling, large] = [&self.middling, &self.large];
        MemoryOwner {
            name: "frames",
            bytes: middling.bytes + large.bytes,
            bytes_max: Some(middling.bytes_max + large.bytes_max),
        }
    }

    /// The next connection that waited and has room now.
    pub fn poll_admitted(&mut self, now: Mono) -> Option<ConnectionId> {
        self.middling.poll_admitted(now).or_else(|| self.large.poll_admitted(now))
    }

    /// The next connection that is to be cut: its frame comes too slowly, and others wait.
    pub fn poll_overdue(&mut self, now: Mono) -> Option<ConnectionId> {
        self.middling.poll_overdue(now).or_else(|| self.large.poll_overdue(now))
    }

    /// When the next one may have to be cut.
    pub fn deadline(&self) -> Option<Mono> {
        [self.middling.deadline(), self.large.deadline()].into_iter().flatten().min()
    }
}

impl Class {
    const fn of(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, holders: BTreeMap::new(), waiting: VecDeque::new() }
    }

    fn ask(&mut self, connection: ConnectionId, bytes: usize, now: Mono) -> bool {
        if self.holders.contains_key(&connection) {
            return true;
        }
        if self.waiting.is_empty() && self.bytes + bytes <= self.bytes_max {
            self.admit(connection, bytes, now);
            return true;
        }
        if self.waiting.iter().all(|(waiting, _)| *waiting != connection) {
            self.waiting.push_back((connection, bytes));
        }
        false
    }

    fn admit(&mut self, connection: ConnectionId, bytes: usize, now: Mono) {
        self.bytes += bytes;
        let pace = Duration::from_secs(bytes.div_ceil(PACE_BYTES) as u64);
        self.holders.insert(connection, Holder { bytes, due: Some(now + GRACE + pace) });
    }

    fn poll_admitted(&mut self, now: Mono) -> Option<ConnectionId> {
        let &(connection, bytes) = self.waiting.front()?;
        if self.bytes + bytes > self.bytes_max {
            return None;
        }
        self.waiting.pop_front();
        self.admit(connection, bytes, now);
        Some(connection)
    }

    fn poll_overdue(&mut self, now: Mono) -> Option<ConnectionId> {
        if self.deadline()? > now {
            return None;
        }
        let mut holders = self.holders.iter_mut();
        let (connection, holder) = holders.find(|(_, holder)| holder.due.is_some_and(|due| due <= now))?;
        holder.due = None;
        Some(*connection)
    }

    fn deadline(&self) -> Option<Mono> {
        if self.waiting.is_empty() {
            return None;
        }
        self.holders.values().filter_map(|holder| holder.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_BYTES_MAX: u32 = 17 << 20;
    const LARGE: usize = 8 << 20;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 0 }
    }

    /// Room that six large frames have taken.
    fn full(now: Mono) -> FrameRoom {
        let mut room = FrameRoom::new(FRAME_BYTES_MAX);
        assert!((0..6).all(|slot| room.ask(id(slot), LARGE, now)));
        room
    }

    #[test]
    fn frames_never_hold_more_than_there_is_room_and_wait_in_order() {
        let mut room = full(Mono(0));
        assert!(room.ask(id(0), LARGE, Mono(0)), "it has its room already");
        for slot in 6..100 {
            assert!(!room.ask(id(slot), LARGE, Mono(0)));
            assert!(!room.ask(id(slot), LARGE, Mono(0)), "asking twice is waiting once");
        }
        assert!(room.large.bytes <= LARGE_BYTES_MAX);
        assert_eq!(room.poll_admitted(Mono(0)), None);
        room.give_back(id(7));
        room.give_back(id(3));
        assert_eq!(room.poll_admitted(Mono(0)), Some(id(6)));
        assert_eq!(room.poll_admitted(Mono(0)), None);
        room.give_back(id(0));
        assert!(!room.ask(id(200), LARGE, Mono(0)), "others came first");
        assert_eq!(room.poll_admitted(Mono(0)), Some(id(8)), "7 has gone");
    }

    #[test]
    fn large_frames_do_not_keep_usual_ones_out() {
        let mut room = full(Mono(0));
        assert!(!room.ask(id(6), LARGE, Mono(0)));
        assert!(room.ask(id(7), 64 * 1024, Mono(0)));
        assert!(room.ask(id(8), MIDDLING_FRAME_BYTES, Mono(0)));
    }

    #[test]
    fn a_frame_that_stops_is_cut_off_only_when_others_wait() {
        let mut room = full(Mono(0));
        let late = Mono(0) + GRACE + Duration::from_secs(8);
        assert_eq!((room.deadline(), room.poll_overdue(late)), (None, None));
        assert!(!room.ask(id(6), LARGE, Mono(0)));
        room.handle_whole(id(0));
        assert_eq!(room.deadline(), Some(late));
        assert_eq!(room.poll_overdue(Mono(late.0 - 1)), None);
        let cut: Vec<_> = core::iter::from_fn(|| room.poll_overdue(late)).collect();
        assert_eq!(cut, [1, 2, 3, 4, 5].map(id), "each once, and not the one that is whole");
        assert_eq!(room.deadline(), None);
        room.give_back(id(1));
        assert_eq!(room.poll_admitted(late), Some(id(6)));
    }

    #[test]
    fn the_largest_frame_always_fits_an_empty_room() {
        let mut room = FrameRoom::new(u32::MAX);
        assert!(room.ask(id(0), u32::MAX as usize, Mono(0)));
    }
}
