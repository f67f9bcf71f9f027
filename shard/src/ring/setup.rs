//! Making a ring, and saying precisely why it cannot be made.

use std::{fs, io};

use io_uring::{IoUring, Probe, opcode};

use super::error::RingError;

/// Entries between two submissions; when they are used up, the ring submits without waiting.
const SUBMISSION_ENTRIES: u32 = 512;
/// Completions kept before the kernel has to put more aside in memory of its own.
const COMPLETION_ENTRIES: u32 = 4096;
/// Switches io_uring off for some or all (Linux 6.6, `Documentation/admin-guide/sysctl/kernel.rst`).
const DISABLED_SETTING: &str = "/proc/sys/kernel/io_uring_disabled";

/// An operation by its code and its name, and the first Linux version that has it.
type Needed = (u8, &'static str, &'static str);

/// What the loop does.
const NEEDED: &[Needed] = &[
    (opcode::Accept::CODE, "IORING_OP_ACCEPT", "5.5"),
    (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL", "5.5"),
    (opcode::Close::CODE, "IORING_OP_CLOSE", "5.6"),
    (opcode::Fsync::CODE, "IORING_OP_FSYNC", "5.1"),
    (opcode::MkDirAt::CODE, "IORING_OP_MKDIRAT", "5.15"),
    (opcode::MsgRingData::CODE, "IORING_OP_MSG_RING", "5.18"),
    (opcode::OpenAt::CODE, "IORING_OP_OPENAT", "5.6"),
    (opcode::Read::CODE, "IORING_OP_READ", "5.6"),
    (opcode::Recv::CODE, "IORING_OP_RECV", "5.6"),
    (opcode::Send::CODE, "IORING_OP_SEND", "5.6"),
    (opcode::SendMsg::CODE, "IORING_OP_SENDMSG", "5.3"),
    (opcode::UnlinkAt::CODE, "IORING_OP_UNLINKAT", "5.11"),
    (opcode::Write::CODE, "IORING_OP_WRITE", "5.6"),
];

/// What the executor beside the loop insists on, whether we use it or not (`GLOMMIO_URING_OPS`).
const NEEDED_BESIDE: &[Needed] = &[
    (opcode::Nop::CODE, "IORING_OP_NOP", "5.1"),
    (opcode::Readv::CODE, "IORING_OP_READV", "5.1"),
    (opcode::Writev::CODE, "IORING_OP_WRITEV", "5.1"),
    (opcode::Fsync::CODE, "IORING_OP_FSYNC", "5.1"),
    (opcode::ReadFixed::CODE, "IORING_OP_READ_FIXED", "5.1"),
    (opcode::WriteFixed::CODE, "IORING_OP_WRITE_FIXED", "5.1"),
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD", "5.1"),
    (opcode::PollRemove::CODE, "IORING_OP_POLL_REMOVE", "5.1"),
    (opcode::SendMsg::CODE, "IORING_OP_SENDMSG", "5.3"),
    (opcode::RecvMsg::CODE, "IORING_OP_RECVMSG", "5.3"),
    (opcode::Timeout::CODE, "IORING_OP_TIMEOUT", "5.4"),
    (opcode::TimeoutRemove::CODE, "IORING_OP_TIMEOUT_REMOVE", "5.5"),
    (opcode::Accept::CODE, "IORING_OP_ACCEPT", "5.5"),
    (opcode::LinkTimeout::CODE, "IORING_OP_LINK_TIMEOUT", "5.5"),
    (opcode::Connect::CODE, "IORING_OP_CONNECT", "5.5"),
    (opcode::Fallocate::CODE, "IORING_OP_FALLOCATE", "5.6"),
    (opcode::OpenAt::CODE, "IORING_OP_OPENAT", "5.6"),
    (opcode::Close::CODE, "IORING_OP_CLOSE", "5.6"),
    (opcode::Statx::CODE, "IORING_OP_STATX", "5.6"),
    (opcode::Read::CODE, "IORING_OP_READ", "5.6"),
    (opcode::Write::CODE, "IORING_OP_WRITE", "5.6"),
    (opcode::Send::CODE, "IORING_OP_SEND", "5.6"),
    (opcode::Recv::CODE, "IORING_OP_RECV", "5.6"),
];

/// A ring for the calling thread alone: only this thread may submit to it and only its own waits run completions.
pub(super) fn create() -> Result<IoUring, RingError> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        // Tells a spinning loop, without a system call, that completions wait to be run.
        .setup_taskrun_flag()
        // One bad request must not hold back the others of the same turn.
        .setup_submit_all()
        .setup_cqsize(COMPLETION_ENTRIES)
        .build(SUBMISSION_ENTRIES)
        .map_err(|error| setup_error(&error, disabled_level()))?;
    check_features(&ring)?;
    check_operations(&ring, NEEDED)?;
    Ok(ring)
}

/// Whether the executor beside the loop would find what it needs. It has to be asked: where an operation is missing it ends
/// the process, and where it gets no ring it panics, and does so for ever after.
pub(crate) fn check_beside() -> Result<(), RingError> {
    let ring = IoUring::new(2).map_err(|error| setup_error(&error, disabled_level()))?;
    check_operations(&ring, NEEDED_BESIDE)
}

/// What a failed `io_uring_setup` means.
fn setup_error(error: &io::Error, disabled_level: u8) -> RingError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => RingError::Missing,
        Some(libc::EPERM | libc::EACCES) if disabled_level > 0 => {
            RingError::Disabled { level: disabled_level }
        }
        Some(libc::EPERM | libc::EACCES) => RingError::Forbidden,
        Some(libc::ENOMEM) => RingError::MemoryLimit,
        // All arguments are valid where the flags are known.
        Some(libc::EINVAL) => RingError::Unsupported { feature: "IORING_SETUP_DEFER_TASKRUN", linux: "6.1" },
        _ => RingError::call("io_uring_setup", error),
    }
}

/// 0 where the setting does not exist.
fn disabled_level() -> u8 {
    fs::read_to_string(DISABLED_SETTING).ok().and_then(|level| level.trim().parse().ok()).unwrap_or(0)
}

fn check_features(ring: &IoUring) -> Result<(), RingError> {
    let parameters = ring.params();
    let needed = [
        (parameters.is_feature_nodrop(), "IORING_FEAT_NODROP", "5.5"),
        (parameters.is_feature_submit_stable(), "IORING_FEAT_SUBMIT_STABLE", "5.5"),
        (parameters.is_feature_fast_poll(), "IORING_FEAT_FAST_POLL", "5.7"),
        (parameters.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG", "5.11"),
        (parameters.is_feature_skip_cqe_on_success(), "IORING_FEAT_CQE_SKIP", "5.17"),
    ];
    match needed.into_iter().find(|(supported, ..)| !supported) {
        Some((_, feature, linux)) => Err(RingError::Unsupported { feature, linux }),
        None => Ok(()),
    }
}

fn check_operations(ring: &IoUring, needed: &[Needed]) -> Result<(), RingError> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| RingError::call("io_uring_register(IORING_REGISTER_PROBE)", &error))?;
    match needed.iter().find(|(code, ..)| !probe.is_supported(*code)) {
        Some(&(_, feature, linux)) => Err(RingError::Unsupported { feature, linux }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_setup_says_why() {
        let cases = [
            (libc::ENOSYS, 0, RingError::Missing),
            (libc::EPERM, 2, RingError::Disabled { level: 2 }),
            (libc::EPERM, 0, RingError::Forbidden),
            (libc::ENOMEM, 0, RingError::MemoryLimit),
            (libc::EINVAL, 0, RingError::Unsupported { feature: "IORING_SETUP_DEFER_TASKRUN", linux: "6.1" }),
            (libc::EMFILE, 0, RingError::Call { name: "io_uring_setup", errno: libc::EMFILE }),
        ];
        for (errno, disabled_level, expected) in cases {
            assert_eq!(setup_error(&io::Error::from_raw_os_error(errno), disabled_level), expected);
        }
    }

    #[test]
    fn this_machine_has_all_that_is_needed() {
        let ring = create().expect("the tests of this package need io_uring");
        assert!(ring.params().is_setup_single_issuer());
        assert_eq!(ring.params().cq_entries(), COMPLETION_ENTRIES);
        assert_eq!(check_beside(), Ok(()));
    }

    #[test]
    fn a_missing_operation_is_named() {
        let ring = create().expect("the tests of this package need io_uring");
        let missing = (254, "IORING_OP_OF_NO_KERNEL", "9.9");
        let expected = RingError::Unsupported { feature: missing.1, linux: missing.2 };
        assert_eq!(check_operations(&ring, &[NEEDED[0], missing]), Err(expected));
    }
}
