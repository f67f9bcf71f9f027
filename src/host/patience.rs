//! What is done about clients that hold memory which others wait for: those that send half a frame and those that never
//! take their answers.

use std::time::Duration;

use ringmain_shard::effect::Effects;
use ringmain_shard::event::ConnectionId;
use ringmain_shard::time::Mono;

use super::ShardHost;
use super::mail::Mail;

/// Between two looks for answers that nobody takes.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The patience of one shard with its clients.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When answers that nobody takes are looked for next; `None` while nothing is sent.
    next_look: Option<Mono>,
    /// Connections that were cut off so far.
    cut_off: u64,
}

impl Patience {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.next_look
    }

    /// How many connections were cut off.
    pub(super) fn cut_off(&self) -> u64 {
        self.cut_off
    }
}

impl ShardHost {
    /// Starts what a connection has to start.
    pub(super) fn poll_connection(&mut self, now: Mono, id: ConnectionId, effects: &mut Effects<Mail>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.poll(now, &mut self.frame_room, effects);
        if self.patience.next_look.is_none() && connection.is_sending() {
            self.patience.next_look = Some(now + LOOK_EVERY);
        }
    }

    /// Cuts off connections whose frames come too slowly while others wait, and those that have not taken an answer for
    /// long.
    pub(super) fn cut_the_slow(&mut self, now: Mono, effects: &mut Effects<Mail>) {
        while let Some(id) = self.frame_room.poll_overdue(now) {
            if let Some(connection) = self.connections.get_mut(&id) {
                tracing::debug!(?id, "cut off: a large frame stopped half-way while others wait for room");
                connection.abort(effects);
                self.patience.cut_off += 1;
            }
        }
        if self.patience.next_look.is_some_and(|due| due <= now) {
            let mut is_any_sending = false;
            for (id, connection) in &mut self.connections {
                if connection.is_untaken(now) {
                    tracing::debug!(?id, "cut off: its client does not take its answers");
                    connection.abort(effects);
                    self.patience.cut_off += 1;
                }
                is_any_sending |= connection.is_sending();
            }
            self.patience.next_look = is_any_sending.then_some(now + LOOK_EVERY);
        }
    }
}
