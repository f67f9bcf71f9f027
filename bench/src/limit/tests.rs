//! The echo under the client loop, on a real file.

use std::io::{Read, Write};
use std::path::Path;

use super::*;

/// Where the test itself lies, because the system's temporary directory may be in memory.
fn directory() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn options() -> LimitOptions {
    LimitOptions { file_bytes: 8 << 20, ..LimitOptions::new(directory()) }
}

fn settings(connections: usize) -> EchoSettings {
    EchoSettings { connections, payload_bytes: 1024, groups_in_flight: 4, spin: None, cpu: None }
}

#[test]
fn every_request_is_on_disk_once_and_in_order_when_its_answer_arrives() {
    let file = ProbeFile::create(&directory(), 8 << 20).unwrap();
    let (server, mut sockets) = EchoServer::start(settings(1), file.try_clone().unwrap()).unwrap();
    // Three at once: the buffer of their group comes back for a smaller one, which must not carry their rest along.
    sockets[0].write_all(&[200; 3 * 1024]).unwrap();
    sockets[0].read_exact(&mut [0; 3 * ANSWER_BYTES]).unwrap();
    let mut written = 4096;
    for number in 0..50_u8 {
        let request = [number + 1; 1024];
        // In two pieces, so that the server has to put requests together.
        sockets[0].write_all(&request[..300]).unwrap();
        sockets[0].write_all(&request[300..]).unwrap();
        let mut answer = [0; ANSWER_BYTES];
        sockets[0].read_exact(&mut answer).unwrap();
        assert_eq!(answer, [number + 1; ANSWER_BYTES]);
        let mut block = aligned::AlignedBuffer::zeroed(aligned::BLOCK_BYTES);
        rustix::io::pread(file.descriptor(), &mut *block, written).unwrap();
        assert_eq!(block[..1024], request);
        assert_eq!(block[1024..], [0; 3072]);
        written += 4096;
    }
    drop(sockets);
    let served = server.join().unwrap();
    assert_eq!(served, EchoServed { requests: 53, groups: 51, bytes_written: 51 * 4096 });
}

#[test]
fn requests_that_arrive_together_share_writes_and_lose_no_byte() {
    let file = ProbeFile::create(&directory(), 8 << 20).unwrap();
    let settings = EchoSettings { groups_in_flight: 1, ..settings(1) };
    let (server, mut sockets) = EchoServer::start(settings, file).unwrap();
    let requests = 3_000_u32;
    // More than a group holds, far more than one receive: the server has to stop reading and go on.
    let mut client = sockets.remove(0);
    let mut sender = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..requests {
            let mut request = [0; 1024];
            request[..4].copy_from_slice(&number.to_le_bytes());
            sender.write_all(&request).unwrap();
        }
    });
    for number in 0..requests {
        let mut answer = [0; ANSWER_BYTES];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], number.to_le_bytes());
    }
    sending.join().unwrap();
    drop(client);
    let served = server.join().unwrap();
    assert_eq!(served.requests, u64::from(requests));
    assert!(served.groups < u64::from(requests) / 4, "{} groups", served.groups);
    assert!(served.bytes_written >= u64::from(requests) * 1024);
}

#[test]
fn the_client_loop_gets_every_answer_in_both_paces() {
    let file = ProbeFile::create(&directory(), 8 << 20).unwrap();
    let measured = Duration::from_millis(200);
    for spin in [None, Some(Duration::from_millis(1))] {
        let open = Pace::OpenLoop { requests_per_second: 1_000.0 };
        let load = Load { pace: open, warm_up: Duration::from_millis(50), measured, drain: DRAIN };
        let (ledger, served) = echo_under_load(&options(), spin, &file, 3, &load).unwrap();
        assert_eq!((ledger.sent, ledger.accepted, served.requests), (250, 250, 250));
        assert_eq!(ledger.latency.summary().samples, 200);
        assert_eq!(ledger.lateness.summary().samples, 200);

        let closed = Pace::ClosedLoop { unanswered_per_connection: 2 };
        let load = Load { pace: closed, ..load };
        let (ledger, served) = echo_under_load(&options(), spin, &file, 8, &load).unwrap();
        assert!(ledger.sent > 16);
        assert_eq!(ledger.sent, ledger.accepted);
        assert_eq!(ledger.sent, served.requests);
    }
}

#[test]
fn a_client_that_leaves_ends_the_server_without_an_error() {
    let file = ProbeFile::create(&directory(), 8 << 20).unwrap();
    let (server, mut sockets) = EchoServer::start(settings(2), file).unwrap();
    sockets[0].write_all(&[1; 1500]).unwrap();
    drop(sockets);
    assert_eq!(server.join().unwrap().requests, 1);
}

#[test]
fn the_probe_file_has_no_name() {
    let file = ProbeFile::create(&directory(), 8 << 20).unwrap();
    assert_eq!(file.length(), 8 << 20);
    let links = rustix::fs::fstat(file.descriptor()).unwrap().st_nlink;
    assert_eq!(links, 0);
}

#[test]
fn memory_is_refused_as_a_disk() {
    let refused = ProbeFile::create(Path::new("/dev/shm"), 8 << 20);
    assert!(matches!(refused, Err(LimitError::NotDurable { .. })), "{refused:?}");
}

#[test]
fn options_that_make_no_sense_are_named() {
    let refuse = |options: LimitOptions| match run(&options, &mut |_| {}) {
        Err(LimitError::Option { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(refuse(LimitOptions { budget: Duration::from_secs(60), ..options() }), "budget");
    assert_eq!(refuse(LimitOptions { connections: vec![8, 0], ..options() }), "connections");
    assert_eq!(refuse(LimitOptions { payload_bytes: 63, ..options() }), "payload bytes");
    assert_eq!(refuse(LimitOptions { groups_in_flight: 0, ..options() }), "groups in flight");
    assert_eq!(refuse(LimitOptions { file_bytes: 5 << 20, ..options() }), "file bytes");
}
