//! How shards talk: a bounded queue between every ordered pair of them, and a wake-up that is sent only to a sleeper.
//!
//! Nothing here blocks or enters the kernel. Whoever carries a shard's effects out sends the wake-ups that
//! [`Mailbox::next_wake`] asks for, by whatever means it sleeps with.

mod mesh;
mod sleep;

pub use mesh::{Mailbox, SendError, mesh};
pub use sleep::SleepFlag;
