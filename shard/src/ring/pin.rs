//! Binding a shard's thread to its core.

use rustix::thread::{CpuSet, sched_setaffinity};

use super::error::RingError;

/// Lets the calling thread run on `core` only.
///
/// # Errors
/// When the core is offline, or not among those that the process may use.
pub(super) fn pin(core: usize) -> Result<(), RingError> {
    if core >= CpuSet::MAX_CPU {
        return Err(RingError::Pin { core, errno: libc::EINVAL });
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|errno| RingError::Pin { core, errno: errno.raw_os_error() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_bound_to_its_core_or_told_why_not() {
        let allowed = rustix::thread::sched_getaffinity(None).expect("readable");
        let core = (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).expect("runs somewhere");
        std::thread::spawn(move || {
            assert_eq!(pin(core), Ok(()));
            assert_eq!(rustix::thread::sched_getaffinity(None).expect("readable").count(), 1);
            let offline = CpuSet::MAX_CPU - 1;
            assert_eq!(pin(offline), Err(RingError::Pin { core: offline, errno: libc::EINVAL }));
            assert_eq!(pin(usize::MAX), Err(RingError::Pin { core: usize::MAX, errno: libc::EINVAL }));
        })
        .join()
        .expect("no panic");
    }
}
