//! A process that runs out of descriptors. Alone in its file, because the limit is the whole process's.
#![cfg(not(loom))]

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ringmain_shard::effect::{Effect, Effects, StopReason};
use ringmain_shard::event::Event;
use ringmain_shard::host::Host;
use ringmain_shard::mailbox::mesh;
use ringmain_shard::ring::{BoundSocket, Doorbell, Rendezvous, RingConfig, ShardParts, Sockets, run};
use ringmain_shard::time::{Mono, Now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

/// Greets everybody.
struct Greeter;

impl Host for Greeter {
    type Mail = ();

    fn handle(&mut self, _: Now, event: Event<'_, ()>, effects: &mut Effects<()>) {
        match event {
            Event::Accepted { connection, .. } => {
                effects.push(Effect::Send { connection, segments: vec![Bytes::from_static(b"hello")] });
            }
            Event::Shutdown => effects.push(Effect::Stop { reason: StopReason::Shutdown }),
            _ => {}
        }
    }

    fn finish_turn(&mut self, _: Now, _: &mut Effects<()>) {}

    fn deadline(&self) -> Option<Mono> {
        None
    }
}

fn limit_descriptors(count: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).expect("below the maximum");
}

#[test]
fn accepting_goes_on_when_descriptors_are_free_again() {
    let before = getrlimit(Resource::Nofile).current.expect("limited");
    let directory = File::open(env!("CARGO_TARGET_TMPDIR")).expect("exists");
    let own = BoundSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let address = own.address();
    let doorbell = Doorbell::create().expect("descriptors are left");
    let parts = ShardParts {
        config: RingConfig::of(directory.into(), false),
        sockets: Sockets { shared: None, own: Some(own) },
        mailbox: mesh(1, 1).pop().expect("one"),
        doorbell: doorbell.clone(),
        rendezvous: Rendezvous::of(1),
    };
    let (listening, listens) = mpsc::channel();
    let thread = thread::spawn(move || {
        run(parts, || Ok::<_, Infallible>(Greeter), || listening.send(()).expect("waits"))
    });
    listens.recv().expect("listens");

    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    // What is open stays so, and nothing else can be opened: the numbers below are taken.
    limit_descriptors(3);
    client.connect(&address.into()).expect("the kernel connects by itself");
    thread::sleep(Duration::from_millis(250));
    limit_descriptors(before);
    let mut greeting = [0; 5];
    (&client).read_exact(&mut greeting).expect("accepted in the end");
    assert_eq!(&greeting, b"hello");

    doorbell.request_shutdown();
    let ended = thread.join().expect("no panic").expect("no failure");
    let pauses = ended.counters.accept_pauses;
    assert!((1..10).contains(&pauses), "tried now and then, not all the time: {pauses} pauses");
}
