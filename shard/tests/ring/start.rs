//! How loops begin, and how they do not.

use std::convert::Infallible;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringmain_shard::effect::{Effects, StopReason};
use ringmain_shard::event::Event;
use ringmain_shard::mailbox::mesh;
use ringmain_shard::ring::{
    BoundSocket, Doorbell, Rendezvous, RingError, RunError, ShardParts, Sockets, run,
};

use crate::harness::{PATIENCE, Reacting, config, directory, echo};

/// A host that could not be made.
#[derive(Debug, PartialEq, Eq)]
struct Unrecovered;

impl fmt::Display for Unrecovered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("unrecovered")
    }
}

/// Parts of all shards of a node, and where they listen.
fn node(directory: &std::path::Path, shards: usize) -> (Vec<ShardParts<()>>, SocketAddr) {
    let sockets = BoundSocket::bind_shared(SocketAddr::from(([127, 0, 0, 1], 0)), shards).expect("free");
    let address = sockets[0].address();
    let rendezvous = Rendezvous::of(shards);
    let parts = mesh(shards, 1).into_iter().zip(sockets).map(|(mailbox, socket)| ShardParts {
        config: config(directory),
        sockets: Sockets { shared: Some(socket), own: None },
        mailbox,
        doorbell: Doorbell::create().expect("descriptors are left"),
        rendezvous: rendezvous.clone(),
    });
    (parts.collect(), address)
}

#[test]
fn no_shard_listens_before_all_hosts_are_made() {
    let directory = directory();
    let (parts, address) = node(directory.path(), 2);
    let doorbells: Vec<_> = parts.iter().map(|parts| parts.doorbell.clone()).collect();
    let (listening, listens) = mpsc::channel();
    let (recover, recovering) = mpsc::channel();
    let mut recovering = Some(recovering);
    let threads: Vec<_> = parts
        .into_iter()
        .map(|parts| {
            let (listening, recovering) = (listening.clone(), recovering.take());
            thread::spawn(move || {
                let make_host = || {
                    if let Some(recovering) = recovering {
                        recovering.recv_timeout(PATIENCE).expect("told to go on");
                    }
                    Ok::<_, Infallible>(Reacting::with(echo))
                };
                run(parts, make_host, || listening.send(()).expect("waits"))
            })
        })
        .collect();

    assert!(listens.recv_timeout(Duration::from_millis(100)).is_err());
    assert!(TcpStream::connect(address).is_err(), "one shard still recovers");
    recover.send(()).expect("waits");
    for _ in 0..2 {
        listens.recv_timeout(PATIENCE).expect("listens");
    }
    TcpStream::connect(address).expect("listens");

    for doorbell in doorbells {
        doorbell.request_shutdown();
        doorbell.request_shutdown();
    }
    for thread in threads {
        let ended = thread.join().expect("no panic").expect("no failure");
        assert_eq!(ended.reason, StopReason::Shutdown);
    }
}

#[test]
fn one_host_that_cannot_be_made_stops_all_shards() {
    let directory = directory();
    let (mut parts, _) = node(directory.path(), 2);
    let failing = parts.pop().expect("two");
    let other = parts.pop().expect("two");
    let other = thread::spawn(move || run(other, || Ok::<_, Unrecovered>(Reacting::with(echo)), || ()));
    let failing = thread::spawn(move || {
        run(failing, || Err::<Reacting<fn(Event<'_, ()>, &mut Effects<()>)>, _>(Unrecovered), || ())
    });
    assert_eq!(failing.join().expect("no panic"), Err(RunError::Host(Unrecovered)));
    assert_eq!(other.join().expect("no panic"), Err(RunError::Ring(RingError::PeerFailed)));
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let directory = directory();
    let (mut parts, _) = node(directory.path(), 1);
    parts[0].config.core = Some(1_023);
    let parts = parts.pop().expect("one");
    let failed = thread::spawn(move || run(parts, || Ok::<_, Infallible>(Reacting::with(echo)), || ()))
        .join()
        .expect("no panic")
        .expect_err("there are fewer cores");
    assert_eq!(
        failed.to_string(),
        "cannot run on core 1023: Invalid argument (os error 22); is it online and allowed for this process?"
    );
}

#[test]
fn deadlines_are_kept_asleep_and_spinning() {
    for spin in [Duration::ZERO, Duration::from_millis(5), PATIENCE] {
        let directory = directory();
        let (mut parts, _) = node(directory.path(), 1);
        parts[0].config.spin = spin;
        let parts = parts.pop().expect("one");
        let mut host = Reacting::with(echo);
        host.stop_after = Some(Duration::from_millis(30));
        let ended = thread::spawn(move || run(parts, || Ok::<_, Infallible>(host), || ()));
        let ended = ended.join().expect("no panic").expect("no failure");
        assert_eq!(ended.reason, StopReason::Shutdown);
        assert!(ended.counters.enters < 20, "{:?}", ended.counters);
    }
}
