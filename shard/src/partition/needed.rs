//! How far back in the log a partition's entries are still needed.
//!
//! A partition rests on its last durable `State` entry and on everything behind it that matters: batches that lie in no
//! segment, and changes that the state does not know of. Log files wholly before that can go.

use ringmain_wire::ids::Offset;

use super::tail::LogPlace;

/// What a partition needs of the log apart from the batches of its tail.
#[derive(Clone, Debug, Default)]
pub(super) struct Needed {
    /// Its last durable state.
    state: Option<LogPlace>,
    /// The oldest entry that this state does not cover and no batch of the tail stands for.
    changed: Option<LogPlace>,
    /// A state that is in the log but not durable yet.
    logging: Option<Logging>,
}

#[derive(Clone, Debug)]
struct Logging {
    place: LogPlace,
    settled_end: Offset,
    /// The oldest entry that it does not cover.
    changed: Option<LogPlace>,
}

impl Needed {
    /// The oldest place that is needed.
    pub(super) fn oldest(&self) -> Option<LogPlace> {
        [self.state, self.changed].into_iter().flatten().min()
    }

    /// The last durable state.
    pub(super) fn state(&self) -> Option<LogPlace> {
        self.state
    }

    /// An entry at `place` changed something.
    pub(super) fn note(&mut self, place: LogPlace) {
        self.note_batch(place, Offset(i64::MAX));
    }

    /// A batch up to `next_offset` that stands at `place` has left the tail, and replay has to meet it all the same.
    pub(super) fn note_batch(&mut self, place: LogPlace, next_offset: Offset) {
        let oldest = |noted: Option<LogPlace>| Some(noted.map_or(place, |noted| noted.min(place)));
        self.changed = oldest(self.changed);
        if let Some(logging) = self.logging.as_mut().filter(|logging| next_offset > logging.settled_end) {
            logging.changed = oldest(logging.changed);
        }
    }

    /// A state of everything so far, settled to `settled_end`, was put into the log at `place`.
    pub(super) fn logging(&mut self, place: LogPlace, settled_end: Offset) {
        self.logging = Some(Logging { place, settled_end, changed: None });
    }

    /// The state being logged, or one met by replay, is durable.
    pub(super) fn logged(&mut self, place: LogPlace) {
        self.state = Some(place);
        self.changed = match self.logging.take() {
            Some(logging) if logging.place == place => logging.changed,
            _ => None,
        };
    }
}
