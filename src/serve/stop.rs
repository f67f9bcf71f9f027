//! Who wishes a broker to stop: signals of its process, or what else runs in it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

/// A wish.
#[derive(Clone, Copy, Debug)]
pub(super) enum StopWish {
    /// Finish what was accepted.
    Terminate,
    /// The same; a second one is from somebody who does not want to wait for it.
    Interrupt,
}

/// Where they come from.
pub(super) enum StopWishes {
    /// SIGTERM and SIGINT.
    Signals { terminate: Signal, interrupt: Signal },
    /// Whoever holds the other end.
    Told(UnboundedReceiver<StopWish>),
}

impl StopWishes {
    /// Catches the signals from now on; must be called within a runtime.
    pub(super) fn signals() -> io::Result<Self> {
        Ok(Self::Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next wish.
    pub(super) async fn next(&mut self) -> StopWish {
        match self {
            Self::Signals { terminate, interrupt } => tokio::select! {
                _ = terminate.recv() => StopWish::Terminate,
                _ = interrupt.recv() => StopWish::Interrupt,
            },
            Self::Told(wishes) => match wishes.recv().await {
                Some(wish) => wish,
                // Nobody is left who could have another one.
                None => std::future::pending().await,
            },
        }
    }
}
