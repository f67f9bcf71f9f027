//! A client for the length of one command, with a thread of its own that carries its connections: they live on while
//! the command waits for a pipe.

use std::io::{self, stderr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ringmain_client::{Client, ClientConfig, ClientError};
use rustix::io::Errno;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::arguments::BrokerArguments;
use super::failure::{EXIT_FAILED, Failure};

/// How long a command waits for an answer unless told otherwise.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long establishing a connection may take, at most.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Connects, and does `work` on this thread.
///
/// # Errors
/// When no broker can be reached, and those of `work`.
pub(super) fn with_client<T>(
    arguments: &BrokerArguments,
    work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    check_descriptors()?;
    let refused = |error: io::Error| Failure::from(ClientError::Environment { reason: error.to_string() });
    let runtime = Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let carrier = std::thread::Builder::new()
        .name("ringmain-client".to_owned())
        .spawn(move || {
            // Dropped when the work is done.
            let _ = runtime.block_on(stopped);
            // A name server that does not answer must not keep the command from ending.
            runtime.shutdown_background();
        })
        .map_err(refused)?;
    let outcome = handle.block_on(async {
        let client = connect(arguments).await?;
        work(client).await
    });
    drop(stop);
    // A panic of the carrier was printed when it happened.
    drop(carrier.join());
    outcome
}

/// Whether this process may open what a runtime needs, which would panic instead of saying so.
///
/// # Errors
/// When it may not.
pub(super) fn check_descriptors() -> Result<(), Failure> {
    /// Those of tokio and of the first connection, with room to spare.
    const NEEDED: usize = 12;
    let copies = (0..NEEDED).map(|_| stderr().as_fd().try_clone_to_owned());
    match copies.collect::<io::Result<Vec<OwnedFd>>>() {
        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            let words = format!("this process may not open enough files and sockets: {error}");
            Err(Failure::passed_on(EXIT_FAILED, "environment", &words))
        }
        // Without a stderr nothing can be said about the rest.
        _ => Ok(()),
    }
}

async fn connect(arguments: &BrokerArguments) -> Result<Client, Failure> {
    let timeout = arguments.timeout.unwrap_or(TIMEOUT_DEFAULT);
    let config = ClientConfig {
        client_name: concat!("ringmain-cli/", env!("CARGO_PKG_VERSION")).to_owned(),
        connect_timeout: timeout.min(CONNECT_TIMEOUT_MAX),
        request_timeout: timeout.min(TIMEOUT_DEFAULT),
    };
    let connected = tokio::time::timeout(timeout, Client::connect(&arguments.broker, config)).await;
    let waited_for = || format!("a connection to {}", arguments.broker);
    Ok(connected.unwrap_or_else(|_| Err(ClientError::TimedOut { waited_for: waited_for() }))?)
}

/// Ctrl-C and SIGTERM, for commands that end in order.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Catches them from now on; must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed("environment", format!("cannot catch signals: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
