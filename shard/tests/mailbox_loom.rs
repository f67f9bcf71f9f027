//! Sleep and wake under every interleaving and every reordering that the memory model allows.
//!
//! Run it with a target directory of its own, because the flag rebuilds everything:
//! `RUSTFLAGS="--cfg loom" cargo test -p ringmain-shard --release --test mailbox_loom --target-dir target/loom`
#![cfg(loom)]

// The standard library's: dropping one of loom's while a found deadlock unwinds would abort the whole test.
use std::sync::Arc;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;
use ringmain_shard::mailbox::SleepFlag;

/// The protocol, so that broken ones can be tried beside the real one.
trait Protocol: Send + Sync + 'static {
    /// Whether the sleeper looks at its queues again after announcing sleep.
    const LOOKS_AGAIN: bool = true;

    fn awake() -> Self;
    fn prepare_sleep(&self);
    fn stay_awake(&self);
    fn should_wake(&self) -> bool;
}

impl Protocol for SleepFlag {
    fn awake() -> Self {
        SleepFlag::awake()
    }
    fn prepare_sleep(&self) {
        self.prepare_sleep();
    }
    fn stay_awake(&self) {
        self.stay_awake();
    }
    fn should_wake(&self) -> bool {
        self.should_wake()
    }
}

/// The same with any of its three parts left out.
struct Broken<const SLEEPER_FENCE: bool, const LOOKS_AGAIN: bool, const SENDER_FENCE: bool>(AtomicBool);

impl<const SLEEPER_FENCE: bool, const LOOKS_AGAIN: bool, const SENDER_FENCE: bool> Protocol
    for Broken<SLEEPER_FENCE, LOOKS_AGAIN, SENDER_FENCE>
{
    const LOOKS_AGAIN: bool = LOOKS_AGAIN;

    fn awake() -> Self {
        Self(AtomicBool::new(false))
    }
    fn prepare_sleep(&self) {
        self.0.store(true, Ordering::Relaxed);
        if SLEEPER_FENCE {
            fence(Ordering::SeqCst);
        }
    }
    fn stay_awake(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
    fn should_wake(&self) -> bool {
        if SENDER_FENCE {
            fence(Ordering::SeqCst);
        }
        self.0.load(Ordering::Relaxed)
            && self.0.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// One sleeper, and as many senders as `messages` has entries, each pushing that many messages. A lost wake-up leaves
/// the sleeper waiting for good, which loom reports as a deadlock.
fn everything_arrives<P: Protocol>(messages: &'static [usize]) {
    let mut model = loom::model::Builder::new();
    // Three threads interleave in millions of ways; the protocol's races need no more than two preemptions.
    model.preemption_bound = (messages.len() > 1).then_some(3);
    model.check(move || {
        let flag = Arc::new(P::awake());
        let kernel = Arc::new(Notify::new());
        // A queue is modelled by its tail alone: released by the push, acquired by the look.
        let tails: Arc<Vec<AtomicUsize>> = Arc::new(messages.iter().map(|_| AtomicUsize::new(0)).collect());

        let senders: Vec<_> = messages
            .iter()
            .enumerate()
            .map(|(sender, &count)| {
                let (flag, kernel, tails) = (Arc::clone(&flag), Arc::clone(&kernel), Arc::clone(&tails));
                thread::spawn(move || {
                    for tail in 1..=count {
                        tails[sender].store(tail, Ordering::Release);
                        if flag.should_wake() {
                            kernel.notify();
                        }
                    }
                })
            })
            .collect();

        let arrived = || tails.iter().map(|tail| tail.load(Ordering::Acquire)).sum::<usize>();
        let mut handled = arrived();
        while handled < messages.iter().sum() {
            flag.prepare_sleep();
            if !P::LOOKS_AGAIN || arrived() == handled {
                kernel.wait();
            }
            flag.stay_awake();
            handled = arrived();
        }

        for sender in senders {
            sender.join().expect("a sender never panics");
        }
    });
}

#[test]
fn no_wake_is_lost_from_one_sender() {
    everything_arrives::<SleepFlag>(&[2]);
}

#[test]
fn no_wake_is_lost_from_two_senders() {
    everything_arrives::<SleepFlag>(&[1, 1]);
}

#[test]
fn the_copy_that_is_broken_below_is_right_when_whole() {
    everything_arrives::<Broken<true, true, true>>(&[2]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_without_its_fence_misses_mail() {
    everything_arrives::<Broken<false, true, true>>(&[1]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_that_does_not_look_again_misses_mail() {
    everything_arrives::<Broken<true, false, true>>(&[1]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sender_without_its_fence_misses_the_sleeper() {
    everything_arrives::<Broken<true, true, false>>(&[1]);
}
