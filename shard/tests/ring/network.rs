//! Connections: bytes in and out, and every way in which they end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ringmain_shard::effect::{Effect, Effects};
use ringmain_shard::event::{Event, Received};

use crate::harness::{PATIENCE, Reacting, Running, echo};

/// Long enough for anything wrong to happen.
const WHILE: Duration = Duration::from_millis(200);

/// Bytes that differ from place to place, so that a mix-up shows.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|place| (place / 251 + place * 7 + seed) as u8).collect()
}

fn expect_echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("open");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("open");
    assert!(back == bytes, "{} bytes came back changed", bytes.len());
}

fn expect_end(stream: &mut TcpStream) {
    let end = stream.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
}

#[test]
fn an_echo_takes_two_enters_and_idleness_none() {
    let running = Running::start(Reacting::with(echo), |_| ());
    let mut stream = running.connect();
    let rounds = 500;
    for round in 0..rounds {
        expect_echo(&mut stream, &pattern(64, round as usize));
    }
    thread::sleep(WHILE);
    let counters = running.shut_down().counters;
    // Accept, first receive, shutdown and the end take a few more.
    assert!(counters.enters <= 2 * rounds + 10, "{counters:?}");
}

#[test]
fn many_connections_at_once_are_kept_apart() {
    let running = Running::start(Reacting::with(echo), |_| ());
    thread::scope(|scope| {
        for client in 0..16 {
            let mut stream = running.connect();
            scope.spawn(move || {
                for round in 0..50 {
                    expect_echo(&mut stream, &pattern(1 + round * 997, client));
                }
            });
        }
    });
    running.shut_down();
}

#[test]
fn spinning_serves_as_sleeping_does() {
    let running = Running::start(Reacting::with(echo), |config| config.spin = Duration::from_millis(20));
    let mut stream = running.connect();
    for round in 0..20 {
        expect_echo(&mut stream, &pattern(100, round));
        if round % 5 == 0 {
            thread::sleep(Duration::from_millis(40));
        }
    }
    running.shut_down();
}

#[test]
fn a_thousand_idle_connections_stay_usable() {
    let running = Running::start(Reacting::with(echo), |config| config.receive_buffers = 8);
    let mut streams: Vec<_> = (0..1000).map(|_| running.connect()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        expect_echo(stream, &pattern(10, number));
    }
    for (number, stream) in streams.iter_mut().enumerate().rev() {
        expect_echo(stream, &pattern(10, number));
    }
    running.shut_down();
}

#[test]
fn receives_that_find_no_buffer_are_not_lost() {
    let (go_on, wait) = mpsc::channel();
    let mut waited = false;
    let host = Reacting::with(move |event: Event<'_, ()>, effects: &mut Effects<()>| {
        if !waited && matches!(event, Event::Received { .. }) {
            waited = true;
            wait.recv_timeout(PATIENCE).expect("told to go on");
        }
        echo(event, effects);
    });
    let running = Running::start(host, |config| config.receive_buffers = 2);
    let mut streams: Vec<_> = (0..32).map(|_| running.connect()).collect();
    // While the host stands still, bytes arrive on all the others.
    thread::sleep(WHILE);
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&pattern(100, number)).expect("open");
    }
    thread::sleep(WHILE);
    go_on.send(()).expect("waits");
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut back = vec![0; 100];
        stream.read_exact(&mut back).expect("open");
        assert_eq!(back, pattern(100, number));
    }
    let counters = running.shut_down().counters;
    assert!(counters.receives_without_buffer > 0, "{counters:?}");
}

/// Gathers frames of a fixed length in one buffer each, and sends them back in segments of 1,000 bytes.
fn reframe(length: usize) -> impl FnMut(Event<'_, ()>, &mut Effects<()>) {
    move |event, effects| match event {
        Event::Accepted { connection, .. } => {
            effects.push(Effect::Receive { connection, into: None });
        }
        Event::Received { connection, data: Received::Lent(bytes) } => {
            let mut frame = BytesMut::with_capacity(length);
            frame.extend_from_slice(bytes);
            effects.push(Effect::Receive { connection, into: Some(frame) });
        }
        Event::Received { connection, data: Received::Filled(frame) } if frame.len() < length => {
            effects.push(Effect::Receive { connection, into: Some(frame) });
        }
        Event::Received { connection, data: Received::Filled(frame) } => {
            let mut frame = frame.freeze();
            let mut segments = Vec::new();
            while !frame.is_empty() {
                segments.push(frame.split_to(frame.len().min(1_000)));
            }
            effects.push(Effect::Send { connection, segments });
        }
        Event::Sent { connection, segments } => {
            assert_eq!(segments.iter().map(Bytes::len).sum::<usize>(), length);
            effects.push(Effect::Close { connection });
        }
        Event::Closed { unsent, .. } => assert!(unsent.is_empty()),
        Event::File { .. } | Event::Inspected { .. } | Event::Mail { .. } | Event::Shutdown => {
            panic!("not asked for")
        }
    }
}

#[test]
fn large_frames_are_gathered_in_place_and_sent_in_thousands_of_segments() {
    // More segments than one system call takes, and more bytes than a socket holds.
    let length = 6_000_123;
    let running = Running::start(Reacting::with(reframe(length)), |_| ());
    let mut stream = running.connect();
    let frame = pattern(length, 3);
    stream.write_all(&frame).expect("open");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("closed when all is sent");
    assert!(back == frame, "{} bytes came back", back.len());
    running.shut_down();
}

#[test]
fn a_peer_that_sends_no_more_still_gets_everything() {
    let running = Running::start(Reacting::with(echo), |_| ());
    let mut stream = running.connect();
    let bytes = pattern(300_000, 5);
    let mut writer = stream.try_clone().expect("a socket");
    let written = bytes.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&written).expect("open");
        writer.shutdown(Shutdown::Write).expect("open");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("closed in order");
    assert!(back == bytes, "{} bytes came back", back.len());
    writing.join().expect("no panic");
    running.shut_down();
}

/// What a [`flood`] tells.
#[derive(Debug, PartialEq, Eq)]
enum Flood {
    Sent(usize),
    Closed { unsent: usize },
}

const FLOOD_SEGMENTS: usize = 64;

/// Sends 64 MiB to whoever connects, with a receive under way, and closes at once if `close`.
fn flood(tell: mpsc::Sender<Flood>, close: bool) -> impl FnMut(Event<'_, ()>, &mut Effects<()>) {
    let segment = Bytes::from(pattern(1 << 20, 9));
    move |event, effects| match event {
        Event::Accepted { connection, .. } => {
            effects.push(Effect::Receive { connection, into: None });
            effects.push(Effect::Send { connection, segments: vec![segment.clone(); FLOOD_SEGMENTS] });
            if close {
                effects.push(Effect::Close { connection });
            }
        }
        Event::Received { connection, .. } => effects.push(Effect::Close { connection }),
        Event::Sent { segments, .. } => tell.send(Flood::Sent(segments.len())).expect("listens"),
        Event::Closed { unsent, .. } => {
            tell.send(Flood::Closed { unsent: unsent.len() }).expect("listens");
        }
        Event::File { .. } | Event::Inspected { .. } | Event::Mail { .. } | Event::Shutdown => {
            panic!("not asked for")
        }
    }
}

#[test]
fn a_send_completes_only_when_a_slow_peer_has_room_for_all_of_it() {
    let (tell, told) = mpsc::channel();
    let running = Running::start(Reacting::with(flood(tell, false)), |_| ());
    let mut stream = running.connect();
    assert!(told.recv_timeout(WHILE).is_err(), "64 MiB do not fit into a socket");
    let mut left = FLOOD_SEGMENTS << 20;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let count = stream.read(&mut buffer).expect("open");
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Sent(FLOOD_SEGMENTS)));
    drop(stream);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Closed { unsent: 0 }));
    running.shut_down();
}

#[test]
fn a_reset_during_a_send_gives_the_segments_back() {
    let (tell, told) = mpsc::channel();
    let running = Running::start(Reacting::with(flood(tell, false)), |_| ());
    let stream = running.connect();
    thread::sleep(Duration::from_millis(50));
    // Bytes that were never read make this a reset.
    drop(stream);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Closed { unsent: FLOOD_SEGMENTS }));
    assert!(told.recv_timeout(WHILE).is_err(), "closed is the last event");
    running.shut_down();
}

#[test]
fn a_closing_connection_sends_what_it_was_given_before() {
    let (tell, told) = mpsc::channel();
    let running = Running::start(Reacting::with(flood(tell, true)), |config| config.linger = 3 * PATIENCE);
    let mut stream = running.connect();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("closed in order");
    assert_eq!(all.len(), FLOOD_SEGMENTS << 20);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Sent(FLOOD_SEGMENTS)));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Closed { unsent: 0 }));
    running.shut_down();
}

#[test]
fn a_closing_connection_is_cut_when_its_peer_does_not_read() {
    let (tell, told) = mpsc::channel();
    let running =
        Running::start(Reacting::with(flood(tell, true)), |config| config.linger = Duration::from_millis(50));
    let stream = running.connect();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Flood::Closed { unsent: FLOOD_SEGMENTS }));
    drop(stream);
    running.shut_down();
}

#[test]
fn a_loop_stops_although_a_peer_does_not_read() {
    let (tell, told) = mpsc::channel();
    let running = Running::start(Reacting::with(flood(tell, false)), |config| {
        config.linger = Duration::from_millis(50);
    });
    let stream = running.connect();
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    running.shut_down();
    drop(stream);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_make_room_when_they_go() {
    let running = Running::start(Reacting::with(echo), |config| config.connections_max = 2);
    let mut first = running.connect();
    let mut second = running.connect();
    expect_echo(&mut first, b"one");
    expect_echo(&mut second, b"two");
    let mut third = running.connect();
    expect_end(&mut third);

    first.shutdown(Shutdown::Write).expect("open");
    expect_end(&mut first);
    let mut fourth = running.connect();
    expect_echo(&mut fourth, b"four");
    let counters = running.shut_down().counters;
    assert_eq!(counters.connections_refused, 1);
}

#[test]
fn a_loop_that_takes_no_new_connections_serves_those_it_has() {
    let host = Reacting::with(|event: Event<'_, ()>, effects: &mut Effects<()>| {
        if let Event::Received { data: Received::Lent(b"stop"), .. } = event {
            effects.push(Effect::StopAccepting);
        }
        echo(event, effects);
    });
    let running = Running::start(host, |_| ());
    let mut stream = running.connect();
    expect_echo(&mut stream, b"stop");
    let refused = TcpStream::connect(running.address).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    expect_echo(&mut stream, b"still here");
    running.shut_down();
}

#[test]
fn what_was_asked_of_a_connection_that_failed_meanwhile_comes_back() {
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let mut victim = None;
    let host = Reacting::with(move |event: Event<'_, ()>, effects: &mut Effects<()>| match event {
        Event::Accepted { connection, .. } => {
            victim.get_or_insert(connection);
            effects.push(Effect::Receive { connection, into: None });
        }
        Event::Received { data: Received::Lent(b"wait"), .. } => {
            wait.recv_timeout(PATIENCE).expect("told to go on");
        }
        Event::Received { data: Received::Lent(b"send"), .. } => {
            let connection = victim.expect("the first");
            effects.push(Effect::Send { connection, segments: vec![Bytes::from_static(b"late")] });
        }
        Event::Closed { connection, unsent } if Some(connection) == victim => {
            tell.send(unsent.len()).expect("listens");
        }
        _ => panic!("not asked for: {event:?}"),
    });
    let running = Running::start(host, |_| ());
    let victim = running.connect();
    let mut other = running.connect();
    let mut third = running.connect();
    // While the host stands still, one connection fails and another gives it a reason to send there.
    thread::sleep(WHILE);
    other.write_all(b"wait").expect("open");
    thread::sleep(WHILE);
    third.write_all(b"send").expect("open");
    socket2::SockRef::from(&victim).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(victim);
    thread::sleep(WHILE);
    go_on.send(()).expect("waits");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(1));
    assert!(told.recv_timeout(WHILE).is_err(), "closed is the last event");
    running.shut_down();
}

#[test]
fn a_host_that_panics_takes_only_its_own_loop_down() {
    let host = Reacting::with(|event: Event<'_, ()>, effects: &mut Effects<()>| {
        assert!(!matches!(event, Event::Received { data: Received::Lent(b"panic"), .. }), "as asked");
        echo(event, effects);
    });
    let running = Running::start(host, |_| ());
    // The kernel holds receives, an accept and a read while everything around them goes away.
    let mut streams: Vec<_> = (0..8).map(|_| running.connect()).collect();
    for stream in &mut streams {
        expect_echo(stream, b"hello");
    }
    streams[3].write_all(b"panic").expect("open");
    for stream in &mut streams {
        expect_end(stream);
    }
    running.join_panic();
}
