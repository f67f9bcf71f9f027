//! Idle priority: the kernel runs such a thread only where nothing else wants the core.
#![expect(unsafe_code, reason = "sched_setscheduler has no safe wrapper among our crates")]

use std::io;

/// Gives the calling thread, and those that it will start, idle priority (`sched(7)`).
///
/// # Errors
/// When the kernel refuses.
pub(super) fn become_idle() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters`, which lives through it, and concerns the calling thread alone.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
