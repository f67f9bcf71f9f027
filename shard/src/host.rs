//! The one seam between logic and whatever carries its effects out.

use crate::effect::Effects;
use crate::event::Event;
use crate::time::{Mono, Now};

/// The logic of one shard. The ring loop drives it in production, the simulator in tests; neither knows what it does.
///
/// A turn is: any number of [`handle`](Self::handle), then one [`finish_turn`](Self::finish_turn). Effects may be
/// started after either.
pub trait Host {
    /// What travels between shards.
    type Mail: Send + 'static;

    /// Something happened.
    fn handle(&mut self, now: Now, event: Event<'_, Self::Mail>, effects: &mut Effects<Self::Mail>);

    /// Everything that had happened is handled: let gathered work go, and act on deadlines that have passed.
    fn finish_turn(&mut self, now: Now, effects: &mut Effects<Self::Mail>);

    /// When `finish_turn` is wanted next if nothing happens before.
    fn deadline(&self) -> Option<Mono>;
}
