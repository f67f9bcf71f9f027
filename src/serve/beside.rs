//! A broker beside what else a process does, on threads of its own.

use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::stop::{StopWish, StopWishes};
use super::{ServeError, ServeOptions, run};

/// A broker that serves. Dropped, it is stopped and waited for.
#[derive(Debug)]
pub struct Beside {
    native: SocketAddr,
    stop: UnboundedSender<StopWish>,
    /// None once it has been waited for.
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Beside {
    /// Starts a broker, and waits until it serves.
    ///
    /// # Errors
    /// When it cannot start; each says what to do about it.
    pub fn start(options: ServeOptions) -> Result<Self, ServeError> {
        let (stop, wishes) = unbounded_channel();
        let (sender, listening) = mpsc::channel();
        let serve = move || {
            run(
                &options,
                || Ok(StopWishes::Told(wishes)),
                |native| {
                    // The other end waits for it.
                    let _ = sender.send(native);
                },
            )
        };
        let thread = Builder::new().name("ringmain-node".to_owned()).spawn(serve);
        let thread = thread.map_err(ServeError::Runtime)?;
        match listening.recv() {
            Ok(native) => Ok(Self { native, stop, thread: Some(thread) }),
            Err(mpsc::RecvError) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(ServeError::Runtime(io::Error::other("it stopped without being told to"))),
                Err(panic) => resume_unwind(panic),
            },
        }
    }

    /// Where native clients connect.
    #[must_use]
    pub fn native(&self) -> SocketAddr {
        self.native
    }

    /// Whether it has ended by itself; [`stop`](Self::stop) says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// Why it had ended, or could not do so in order.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.end().map_or(Ok(()), |outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    fn end(&mut self) -> Option<std::thread::Result<Result<(), ServeError>>> {
        // One that has ended hears nothing any more.
        let _ = self.stop.send(StopWish::Terminate);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.end();
    }
}
