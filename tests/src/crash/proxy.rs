//! A proxy before the broker that cuts connections after random numbers of bytes, in either direction: within a request,
//! within an answer, and between a write and its acknowledgement.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::dice::Dice;
use super::error::CrashError;

/// A running proxy; it lives as long as the process.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: SocketAddr,
    cuts: Arc<Cuts>,
}

/// Connections cut, by what was on its way.
#[derive(Debug, Default)]
struct Cuts {
    requests: AtomicU64,
    answers: AtomicU64,
}

impl Proxy {
    /// Starts a proxy before `broker`, which need not be up.
    pub(super) fn start(broker: SocketAddr, mut dice: Dice) -> Result<Self, CrashError> {
        let failed = "starting the proxy";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(CrashError::io(failed))?;
        let address = listener.local_addr().map_err(CrashError::io(failed))?;
        let cuts = Arc::new(Cuts::default());
        let counting = cuts.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A broker that is down: the client is hung up on, as it would be without the proxy.
                if let Ok(broker) = TcpStream::connect(broker) {
                    let limits = Limits::draw(&mut dice);
                    // As above, when there are no more descriptors.
                    let _ = relay(client, broker, limits, &counting);
                }
            }
        });
        Ok(Self { address, cuts })
    }

    /// Connections cut within requests, and within or before answers.
    pub(super) fn cuts(&self) -> (u64, u64) {
        (self.cuts.requests.load(Ordering::Relaxed), self.cuts.answers.load(Ordering::Relaxed))
    }
}

/// After how many bytes a connection is cut.
#[derive(Clone, Copy, Debug)]
struct Limits {
    requests: u64,
    answers: u64,
}

impl Limits {
    const NEVER: u64 = u64::MAX;

    /// One direction has a limit: from within the greeting to a long life, every order of magnitude alike.
    fn draw(dice: &mut Dice) -> Self {
        let magnitude = dice.between(5, 17);
        let limit = dice.between(1 << (magnitude - 1), 1 << magnitude);
        if dice.once_in(2) {
            Self { requests: limit, answers: Self::NEVER }
        } else {
            // An answer is a fraction of its request.
            Self { requests: Self::NEVER, answers: limit / 4 }
        }
    }
}

/// Relays both ways until a limit is reached or either side hangs up.
fn relay(client: TcpStream, broker: TcpStream, limits: Limits, cuts: &Arc<Cuts>) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (client_too, broker_too) = (client.try_clone()?, broker.try_clone()?);
    let (cuts_of_requests, cuts_of_answers) = (cuts.clone(), cuts.clone());
    thread::spawn(move || {
        if copy(&client, &broker, limits.requests) == Ended::Cut {
            cuts_of_requests.requests.fetch_add(1, Ordering::Relaxed);
        }
    });
    thread::spawn(move || {
        if copy(&broker_too, &client_too, limits.answers) == Ended::Cut {
            cuts_of_answers.answers.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Why a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The limit was reached.
    Cut,
    /// A side hung up.
    HungUp,
}

/// Copies up to `limit` bytes, then hangs up on both.
fn copy(mut from: &TcpStream, mut to: &TcpStream, limit: u64) -> Ended {
    let mut left = limit;
    let mut buffer = [0; 16 * 1024];
    let ended = loop {
        let Ok(read @ 1..) = from.read(&mut buffer) else { break Ended::HungUp };
        let allowed = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        if to.write_all(&buffer[..allowed]).is_err() {
            break Ended::HungUp;
        }
        left -= allowed as u64;
        if left == 0 {
            break Ended::Cut;
        }
    };
    // Either may be down already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_cut_at_the_byte_and_in_both_directions() {
        let (mut client, client_side) = pair();
        let (broker_side, mut broker) = pair();
        let limits = Limits { requests: 5, answers: Limits::NEVER };
        let cuts = Arc::new(Cuts::default());
        relay(client_side, broker_side, limits, &cuts).unwrap();
        client.write_all(b"requests").unwrap();
        let mut requests = Vec::new();
        broker.read_to_end(&mut requests).unwrap();
        assert_eq!(requests, b"reque");
        // Reset, as bytes were lost, or closed.
        let answers = client.read(&mut [0; 8]);
        assert!(answers.is_err() || answers.is_ok_and(|read| read == 0));
    }

    #[test]
    fn an_answer_is_dropped_after_its_request_was_forwarded_whole() {
        let (mut client, client_side) = pair();
        let (broker_side, mut broker) = pair();
        let limits = Limits { requests: Limits::NEVER, answers: 2 };
        let cuts = Arc::new(Cuts::default());
        relay(client_side, broker_side, limits, &cuts).unwrap();
        client.write_all(b"request").unwrap();
        let mut request = [0; 7];
        broker.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"request");
        broker.write_all(b"answer").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"an");
    }
}
