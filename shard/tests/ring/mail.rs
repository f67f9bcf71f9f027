//! Shards that talk and sleep.

use std::convert::Infallible;
use std::thread;
use std::time::Duration;

use ringmain_shard::effect::{Effect, Effects, StopReason};
use ringmain_shard::event::Event;
use ringmain_shard::host::Host;
use ringmain_shard::mailbox::mesh;
use ringmain_shard::ring::{Doorbell, Ended, Rendezvous, RunError, ShardParts, Sockets, run};
use ringmain_shard::time::{Mono, Now};
use ringmain_wire::ids::ShardId;

use crate::harness::{PATIENCE, config, directory};

/// Answers each number with the next one, until `last`.
struct Player {
    shard: ShardId,
    other: ShardId,
    /// Balls to be served.
    serves: u64,
    /// Ends the game.
    last: u64,
    /// When mail came last.
    heard: Mono,
}

impl Host for Player {
    type Mail = u64;

    fn handle(&mut self, now: Now, event: Event<'_, u64>, effects: &mut Effects<u64>) {
        let Event::Mail { from, mail } = event else { panic!("nothing else happens here") };
        assert_eq!(from, self.other, "shard {}", self.shard);
        self.heard = now.mono;
        if mail < self.last {
            effects.push(Effect::Mail { to: self.other, mail: mail + 1 });
        }
        if mail + 1 >= self.last {
            effects.push(Effect::Stop { reason: StopReason::Shutdown });
        }
    }

    fn finish_turn(&mut self, now: Now, effects: &mut Effects<u64>) {
        if self.heard == Mono::default() {
            self.heard = now.mono;
        }
        assert!(now.mono.since(self.heard) < PATIENCE, "shard {} heard nothing more", self.shard);
        for _ in 0..std::mem::take(&mut self.serves) {
            effects.push(Effect::Mail { to: self.other, mail: 0 });
        }
    }

    fn deadline(&self) -> Option<Mono> {
        Some(self.heard + PATIENCE)
    }
}

/// Two players on two threads, `serves` balls in play at once.
fn play(serves: u64, last: u64, spin: Duration) -> Vec<Ended> {
    let directory = directory();
    let rendezvous = Rendezvous::of(2);
    let threads: Vec<_> = mesh::<u64>(2, 64)
        .into_iter()
        .map(|mailbox| {
            let mut config = config(directory.path());
            config.spin = spin;
            let shard = mailbox.shard();
            let other = ShardId(1 - shard.get());
            let serves = if shard == ShardId(0) { serves } else { 0 };
            let parts = ShardParts {
                config,
                sockets: Sockets::default(),
                mailbox,
                doorbell: Doorbell::create().expect("descriptors are left"),
                rendezvous: rendezvous.clone(),
            };
            let host = Player { shard, other, serves, last, heard: Mono::default() };
            thread::spawn(move || run(parts, || Ok(host), || ()))
        })
        .collect();
    let ended = |thread: thread::JoinHandle<Result<Ended, RunError<Infallible>>>| {
        thread.join().expect("no panic").expect("no failure")
    };
    threads.into_iter().map(ended).collect()
}

#[test]
fn no_wake_is_lost_in_a_hundred_thousand_messages_between_sleepers() {
    let last = 100_000;
    let ended = play(1, last, Duration::ZERO);
    let wakes: u64 = ended.iter().map(|ended| ended.counters.wakes_sent).sum();
    assert!(wakes > last / 10, "they slept: {wakes} wakes");
}

#[test]
fn nor_with_many_in_flight_or_spinning_now_and_then() {
    play(20, 10_000, Duration::ZERO);
    play(3, 10_000, Duration::from_micros(20));
}
