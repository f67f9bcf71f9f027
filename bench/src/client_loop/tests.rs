//! The client loop against small servers that misbehave.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use super::*;

const REQUEST_BYTES: usize = 8;

/// Requests of 8 bytes; answers of any length, whose first byte says whether they accept.
struct Plain {
    answer_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct BadAnswer;

impl fmt::Display for BadAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("bad answer")
    }
}

impl std::error::Error for BadAnswer {}

impl Exchange for Plain {
    type Error = BadAnswer;

    fn encode_request(&mut self, _connection: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&[7; REQUEST_BYTES]);
    }

    fn parse_answer(&mut self, _connection: usize, bytes: &[u8]) -> Result<Parsed, BadAnswer> {
        match bytes {
            [0 | 1, ..] if bytes.len() >= self.answer_bytes => {
                Ok(Parsed::Answer { length: self.answer_bytes, accepted: bytes[0] == 1 })
            }
            [] | [0 | 1, ..] => Ok(Parsed::Incomplete),
            _ => Err(BadAnswer),
        }
    }
}

/// A thread that serves one connection until it is closed: `answer` makes the answer to each request by number.
fn server(mut answer: impl FnMut(usize) -> Vec<u8> + Send + 'static) -> (TcpStream, JoinHandle<usize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_nodelay(true).unwrap();
    let thread = std::thread::spawn(move || {
        let mut request = [0; REQUEST_BYTES];
        let mut served = 0;
        while socket.read_exact(&mut request).is_ok() {
            let bytes = answer(served);
            if bytes.is_empty() || socket.write_all(&bytes).is_err() {
                break;
            }
            served += 1;
        }
        served
    });
    (client, thread)
}

fn server_that_stalls(at: usize, stall: Duration) -> (TcpStream, JoinHandle<usize>) {
    server(move |number| {
        if number == at {
            std::thread::sleep(stall);
        }
        vec![1; 16]
    })
}

fn load(pace: Pace, measured_ms: u64) -> Load {
    Load {
        pace,
        warm_up: Duration::ZERO,
        measured: Duration::from_millis(measured_ms),
        drain: Duration::from_secs(5),
    }
}

#[test]
fn a_stall_is_charged_to_every_request_that_was_due_meanwhile() {
    let (client, thread) = server_that_stalls(20, Duration::from_millis(100));
    let load = load(Pace::OpenLoop { requests_per_second: 1_000.0 }, 300);
    let ledger = run(vec![client], &load, &mut Plain { answer_bytes: 16 }, &Stop::default()).unwrap();
    assert_eq!((ledger.sent, ledger.accepted), (300, 300));
    assert_eq!(thread.join().unwrap(), 300);
    // 100 of the 300 were due during the stall; had the client waited with them, one latency would be long.
    let p90 = ledger.latency.summary().p90_us.unwrap();
    assert!(p90 > 50_000.0, "p90 {p90} µs");
}

/// So long a stall that the connection may take no more requests: they leave late, and their wait is charged all the same.
#[test]
fn requests_that_the_client_had_to_hold_back_are_charged_from_when_they_were_due() {
    let (client, thread) = server_that_stalls(0, Duration::from_millis(300));
    let load = load(Pace::OpenLoop { requests_per_second: 50_000.0 }, 300);
    let ledger = run(vec![client], &load, &mut Plain { answer_bytes: 16 }, &Stop::default()).unwrap();
    assert_eq!(thread.join().unwrap(), ledger.accepted as usize);
    assert_eq!((ledger.sent, ledger.unsent), (15_000, 0));
    let (latency, lateness) = (ledger.latency.summary(), ledger.lateness.summary());
    assert_eq!((latency.samples, lateness.samples), (15_000, 15_000));
    assert!(lateness.p50_us > Some(20_000.0), "{lateness:?}");
    assert!(latency.p50_us >= lateness.p50_us, "{latency:?} {lateness:?}");
}

#[test]
fn answers_larger_than_the_buffer_and_refusals_are_told_apart_from_acceptances() {
    let answer_bytes = 100_000;
    let (client, thread) = server(move |number| vec![u8::from(number % 3 != 0); answer_bytes]);
    let load = load(Pace::ClosedLoop { unanswered_per_connection: 4 }, 100);
    let ledger = run(vec![client], &load, &mut Plain { answer_bytes }, &Stop::default()).unwrap();
    let served = thread.join().unwrap() as u64;
    assert!(served >= 8);
    assert_eq!(ledger.refused, served.div_ceil(3));
    assert_eq!(ledger.accepted + ledger.refused, served);
    assert_eq!(ledger.unanswered(), 0);
}

#[test]
fn a_server_that_does_not_read_leaves_requests_unanswered_and_does_not_block_the_client() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _deaf = listener.accept().unwrap();
    let load = Load {
        drain: Duration::from_millis(50),
        ..load(Pace::OpenLoop { requests_per_second: 100_000.0 }, 100)
    };
    let began = Stopwatch::start();
    let ledger = run(vec![client], &load, &mut Plain { answer_bytes: 16 }, &Stop::default()).unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(ledger.unanswered(), ledger.sent);
    assert_eq!(ledger.sent, UNANSWERED_PER_CONNECTION_MAX as u64);
    assert_eq!(ledger.sent + ledger.unsent, 10_000);
}

#[test]
fn a_closed_connection_and_a_bad_answer_end_the_run() {
    let (client, thread) = server(|number| if number < 5 { vec![1; 16] } else { Vec::new() });
    let pace = Pace::ClosedLoop { unanswered_per_connection: 1 };
    let ended = run(vec![client], &load(pace, 1_000), &mut Plain { answer_bytes: 16 }, &Stop::default());
    assert!(matches!(ended, Err(LoopError::Closed { connection: 0, unanswered: 1 })), "{ended:?}");
    thread.join().unwrap();

    let (client, thread) = server(|_| vec![9; 16]);
    let ended = run(vec![client], &load(pace, 1_000), &mut Plain { answer_bytes: 16 }, &Stop::default());
    assert!(matches!(ended, Err(LoopError::Answer(BadAnswer))), "{ended:?}");
    thread.join().unwrap();
}

#[test]
fn an_answer_too_many_ends_the_run() {
    let (client, thread) = server(|_| vec![1; 32]);
    let pace = Pace::OpenLoop { requests_per_second: 20.0 };
    let ended = run(vec![client], &load(pace, 200), &mut Plain { answer_bytes: 16 }, &Stop::default());
    assert!(matches!(ended, Err(LoopError::Unasked { connection: 0 })), "{ended:?}");
    thread.join().unwrap();
}

#[test]
fn a_run_that_is_told_to_stop_ends_its_window_there() {
    let (client, _server) = server(|_| vec![0; 16]);
    let pace = Pace::OpenLoop { requests_per_second: 100.0 };
    let (stop, other) = (Stop::default(), Stop::default());
    assert!(!other.is_requested());
    stop.request();
    let ledger = run(vec![client], &load(pace, 60_000), &mut Plain { answer_bytes: 16 }, &stop).unwrap();
    assert_eq!((ledger.unsent, ledger.unanswered()), (0, 0));
    assert!(ledger.measured_seconds() < 30.0, "{} s", ledger.measured_seconds());
}
