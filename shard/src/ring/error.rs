//! Why a ring loop could not start or go on; each says which call failed and what to do about it.

use core::error::Error;
use core::fmt;
use std::io;
use std::net::SocketAddr;

/// What the environment refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingError {
    /// `io_uring_setup` does not exist here (`ENOSYS`): an old kernel, or a sandbox that hides it.
    Missing,
    /// The system setting `kernel.io_uring_disabled` forbids it.
    Disabled {
        /// The setting: 1 for all but a privileged group, 2 for everybody.
        level: u8,
    },
    /// Something else forbids it (`EPERM`, `EACCES`): a seccomp profile, as containers have, or a security module.
    Forbidden,
    /// The memory for it was refused (`ENOMEM`): the locked-memory or control-group limit is too low.
    MemoryLimit,
    /// The kernel has io_uring but lacks a part that this program needs.
    Unsupported {
        /// The part, by its name in the kernel's interface.
        feature: &'static str,
        /// The first Linux version that has it.
        linux: &'static str,
    },
    /// A call failed that never should.
    Call {
        /// Its name.
        name: &'static str,
        /// The operating system's error number.
        errno: i32,
    },
    /// The thread could not be bound to its core.
    Pin {
        /// The core.
        core: usize,
        /// The operating system's error number.
        errno: i32,
    },
    /// A bound socket could not start to listen.
    Listen {
        /// Where.
        address: SocketAddr,
        /// The operating system's error number.
        errno: i32,
    },
    /// Another shard could not start, so this one did not either.
    PeerFailed,
}

impl RingError {
    /// `name` failed with `error`.
    pub(super) fn call(name: &'static str, error: &io::Error) -> Self {
        Self::Call { name, errno: error.raw_os_error().unwrap_or(0) }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = |errno: &i32| io::Error::from_raw_os_error(*errno);
        match self {
            Self::Missing => out.write_str("io_uring is missing: Linux 6.1 or newer is needed, outside sandboxes that hide it"),
            Self::Disabled { level } => write!(
                out,
                "io_uring is disabled: kernel.io_uring_disabled is {level}; set it to 0 (sysctl -w kernel.io_uring_disabled=0)"
            ),
            Self::Forbidden => out.write_str(
                "io_uring is forbidden here, usually by a container's seccomp profile: allow io_uring_setup, io_uring_enter and io_uring_register",
            ),
            Self::MemoryLimit => {
                out.write_str("io_uring was refused memory: raise the locked-memory limit (ulimit -l) or the memory limit of the control group")
            }
            Self::Unsupported { feature, linux } => {
                write!(out, "the kernel lacks {feature}: Linux {linux} or newer is needed")
            }
            Self::Call { name, errno } => write!(out, "{name} failed: {}", message(errno)),
            Self::Pin { core, errno } => {
                write!(out, "cannot run on core {core}: {}; is it online and allowed for this process?", message(errno))
            }
            Self::Listen { address, errno } => write!(out, "cannot listen on {address}: {}", message(errno)),
            Self::PeerFailed => out.write_str("another shard could not start"),
        }
    }
}

impl Error for RingError {}

/// Why `run` gave up before or in its loop: the ring's reason or the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError<E> {
    /// The ring could not be set up or entered.
    Ring(RingError),
    /// The host could not be made.
    Host(E),
}

impl<E> From<RingError> for RunError<E> {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => fmt::Display::fmt(error, out),
            Self::Host(error) => fmt::Display::fmt(error, out),
        }
    }
}

impl<E: Error> Error for RunError<E> {}
