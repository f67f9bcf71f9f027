//! The mesh of queues against a simple model, and over real threads.
#![cfg(not(loom))]

use std::collections::VecDeque;

use proptest::prelude::*;
use ringmain_shard::mailbox::{SendError, SleepFlag, mesh};
use ringmain_wire::ids::ShardId;

const SHARDS: usize = 3;
const CAPACITY: usize = 4;

/// One step against three mailboxes.
#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: usize },
    Receive { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..SHARDS, 1..SHARDS).prop_map(|(from, ahead)| Step::Send { from, to: (from + ahead) % SHARDS }),
        (0..SHARDS).prop_map(|at| Step::Receive { at }),
    ]
}

fn id(shard: usize) -> ShardId {
    ShardId(u16::try_from(shard).expect("small"))
}

proptest! {
    #[test]
    fn queues_are_bounded_and_keep_the_order_of_each_pair(steps in prop::collection::vec(step(), 0..200)) {
        let mut mailboxes = mesh::<usize>(SHARDS, CAPACITY);
        let mut model = vec![vec![VecDeque::new(); SHARDS]; SHARDS];
        for (mail, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send { from, to } => {
                    prop_assert_eq!(mailboxes[from].room(id(to)), CAPACITY - model[from][to].len());
                    let sent = mailboxes[from].send(id(to), mail);
                    if model[from][to].len() == CAPACITY {
                        prop_assert_eq!(sent, Err(SendError::Full(mail)));
                    } else {
                        prop_assert_eq!(sent, Ok(()));
                        model[from][to].push_back(mail);
                    }
                }
                Step::Receive { at } => {
                    let waiting = (0..SHARDS).any(|from| !model[from][at].is_empty());
                    prop_assert_eq!(mailboxes[at].has_mail(), waiting);
                    match mailboxes[at].receive() {
                        Some((from, mail)) => {
                            let expected = model[usize::from(from.get())][at].pop_front();
                            prop_assert_eq!(Some(mail), expected);
                        }
                        None => prop_assert!(!waiting),
                    }
                }
            }
        }
    }
}

#[test]
fn a_busy_sender_does_not_starve_another() {
    let mut mailboxes = mesh::<&str>(3, 8);
    for _ in 0..8 {
        mailboxes[0].send(ShardId(2), "busy").expect("room");
    }
    mailboxes[1].send(ShardId(2), "rare").expect("room");
    let first_two = [mailboxes[2].receive(), mailboxes[2].receive()];
    assert!(first_two.contains(&Some((ShardId(1), "rare"))), "{first_two:?}");
}

#[test]
fn only_a_sleeper_is_woken_and_only_once() {
    let mut mailboxes = mesh::<u8>(3, 8);
    mailboxes[0].send(ShardId(2), 1).expect("room");
    assert_eq!(mailboxes[0].next_wake(), None, "awake");

    mailboxes[2].prepare_sleep();
    mailboxes[0].send(ShardId(2), 2).expect("room");
    mailboxes[0].send(ShardId(2), 3).expect("room");
    mailboxes[1].send(ShardId(2), 4).expect("room");
    assert_eq!(mailboxes[0].next_wake(), Some(ShardId(2)));
    assert_eq!(mailboxes[0].next_wake(), None, "named once");
    assert_eq!(mailboxes[1].next_wake(), None, "already being woken");

    mailboxes[2].prepare_sleep();
    mailboxes[2].stay_awake();
    mailboxes[1].send(ShardId(2), 5).expect("room");
    assert_eq!(mailboxes[1].next_wake(), None, "did not sleep after all");
}

#[test]
fn mail_to_a_shard_that_ended_comes_back() {
    let mut mailboxes = mesh::<u8>(2, 8);
    drop(mailboxes.pop());
    assert_eq!(mailboxes[0].send(ShardId(1), 7), Err(SendError::Gone(7)));
}

#[test]
fn sleep_flags_do_not_share_cache_lines() {
    assert!(align_of::<SleepFlag>() >= 128);
}
