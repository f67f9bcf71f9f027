//! Runs loops on threads of their own, and hosts that the tests have in common.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use ringmain_shard::effect::{Effect, Effects, StopReason};
use ringmain_shard::event::{Event, Received};
use ringmain_shard::host::Host;
use ringmain_shard::mailbox::mesh;
use ringmain_shard::ring::{
    BoundSocket, Doorbell, Ended, Rendezvous, RingConfig, RunError, ShardParts, Sockets, probe_direct_io, run,
};
use ringmain_shard::time::{Mono, Now};
use tempfile::TempDir;

/// Nothing in these tests takes longer unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory on the disk that the build is on; `/tmp` may be memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory is writable")
}

pub(crate) fn config(directory: &Path) -> RingConfig {
    let direct_io = probe_direct_io(directory).expect("writable");
    RingConfig::of(OwnedFd::from(std::fs::File::open(directory).expect("exists")), direct_io)
}

/// One shard on its own thread.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) doorbell: Doorbell,
    thread: JoinHandle<Result<Ended, RunError<Infallible>>>,
    directory: TempDir,
}

impl Running {
    /// Runs `host`, with the configuration as `adjust` leaves it, and returns when it listens.
    pub(crate) fn start<H>(host: H, adjust: impl FnOnce(&mut RingConfig)) -> Self
    where
        H: Host + Send + 'static,
    {
        Self::start_in(directory(), host, adjust)
    }

    pub(crate) fn start_in<H>(directory: TempDir, host: H, adjust: impl FnOnce(&mut RingConfig)) -> Self
    where
        H: Host + Send + 'static,
    {
        let mut config = config(directory.path());
        adjust(&mut config);
        let own = BoundSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
        let address = own.address();
        let doorbell = Doorbell::create().expect("descriptors are left");
        let parts = ShardParts {
            config,
            sockets: Sockets { shared: None, own: Some(own) },
            mailbox: mesh(1, 1).pop().expect("one"),
            doorbell: doorbell.clone(),
            rendezvous: Rendezvous::of(1),
        };
        let (listening, listens) = mpsc::channel();
        let thread = thread::spawn(move || {
            run(parts, || Ok(host), || listening.send(()).expect("the test waits for it"))
        });
        listens.recv_timeout(PATIENCE).expect("listens");
        Self { address, doorbell, thread, directory }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Asks for the end.
    pub(crate) fn shut_down(self) -> Ended {
        self.doorbell.request_shutdown();
        self.join_and(|ended, _| ended)
    }

    /// Waits for an end that its host brings about by a panic.
    pub(crate) fn join_panic(self) {
        assert!(self.thread.join().is_err(), "the host panics");
    }

    /// Waits for an end that comes by itself, and looks at the data directory before it is removed.
    pub(crate) fn join_and<T>(self, look: impl FnOnce(Ended, &Path) -> T) -> T {
        let ended = self.thread.join().expect("the loop does not panic").expect("the loop does not fail");
        look(ended, self.directory.path())
    }
}

/// A host made of one function. Stops when asked to shut down.
pub(crate) struct Reacting<F> {
    react: F,
    /// When to stop by itself, counted from the first turn.
    pub(crate) stop_after: Option<Duration>,
    deadline: Option<Mono>,
}

impl<F: FnMut(Event<'_, ()>, &mut Effects<()>)> Reacting<F> {
    pub(crate) fn with(react: F) -> Self {
        Self { react, stop_after: None, deadline: None }
    }
}

impl<F: FnMut(Event<'_, ()>, &mut Effects<()>)> Host for Reacting<F> {
    type Mail = ();

    fn handle(&mut self, _: Now, event: Event<'_, ()>, effects: &mut Effects<()>) {
        if let Event::Shutdown = event {
            effects.push(Effect::StopAccepting);
            effects.push(Effect::Stop { reason: StopReason::Shutdown });
        } else {
            (self.react)(event, effects);
        }
    }

    fn finish_turn(&mut self, now: Now, effects: &mut Effects<()>) {
        if let Some(span) = self.stop_after.take() {
            self.deadline = Some(now.mono + span);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now.mono) {
            effects.push(Effect::Stop { reason: StopReason::Shutdown });
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.deadline
    }
}

/// Sends back what it receives, and closes when the peer does.
pub(crate) fn echo(event: Event<'_, ()>, effects: &mut Effects<()>) {
    match event {
        Event::Accepted { connection, .. } | Event::Sent { connection, .. } => {
            effects.push(Effect::Receive { connection, into: None });
        }
        Event::Received { connection, data: Received::Lent(&[]) } => {
            effects.push(Effect::Close { connection });
        }
        Event::Received { connection, data: Received::Lent(bytes) } => {
            effects.push(Effect::Send { connection, segments: vec![Bytes::copy_from_slice(bytes)] });
        }
        Event::Closed { unsent, .. } => assert!(unsent.is_empty(), "all was sent before"),
        Event::Received { .. }
        | Event::File { .. }
        | Event::Inspected { .. }
        | Event::Mail { .. }
        | Event::Shutdown => {
            panic!("not asked for")
        }
    }
}
