//! Everything the kernel can be asked to do that touches memory, each with the memory it touches.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bytes::{Bytes, BytesMut};
use io_uring::{opcode, squeue, types};

use super::buffers::BUFFER_GROUP;
use super::outgoing::Outgoing;
use crate::effect::{FileId, FileToken, WriteSync};
use crate::event::ConnectionId;

/// Wait for bytes before trying to read any (`IORING_RECVSEND_POLL_FIRST`, include/uapi/linux/io_uring.h).
const POLL_FIRST: u16 = 1 << 0;
/// The kernel reads and writes at most this many bytes at once (`MAX_RW_COUNT`).
const CALL_BYTES_MAX: usize = 0x7fff_f000;

/// One request. It owns all memory that the kernel reads or writes for it, except the provided receive buffers, and
/// stays where it was put until its completion has come. The descriptors belong to tables that close them only with
/// nothing under way on them.
#[derive(Debug)]
pub(super) enum Operation {
    /// Wait for a client.
    Accept { listener: usize, socket: RawFd },
    /// Receive into a buffer of the kernel's choice.
    ReceiveLent { connection: ConnectionId, socket: RawFd, poll_first: bool },
    /// Receive into the spare capacity of `buffer`.
    ReceiveInto { connection: ConnectionId, socket: RawFd, poll_first: bool, buffer: BytesMut },
    /// Send.
    Send { connection: ConnectionId, socket: RawFd, outgoing: Outgoing },
    /// Wait for the doorbell.
    Hear { doorbell: RawFd, count: Box<u64> },
    /// Open a file.
    Open { token: FileToken, file: FileId, directory: RawFd, path: CString, flags: i32 },
    /// Write to a file.
    Write { token: FileToken, file: RawFd, position: u64, bytes: Bytes, sync: WriteSync },
    /// Read from a file into the spare capacity of `buffer`, of which `length` bytes are wanted in all.
    Read { token: FileToken, file: RawFd, position: u64, length: usize, buffer: BytesMut },
    /// Make what was written to a file durable.
    Sync { token: FileToken, file: RawFd },
    /// Open a directory in order to sync it.
    OpenDirectory { token: FileToken, directory: RawFd, path: CString },
    /// Make the names in a directory durable, and close it.
    SyncDirectory { token: FileToken, directory: OwnedFd },
    /// Close a file.
    CloseFile { token: FileToken, file: RawFd },
    /// Remove the name of a file, or with `AT_REMOVEDIR` that of a directory.
    Remove { token: FileToken, directory: RawFd, path: CString, flags: i32 },
    /// Make a directory.
    CreateDirectory { token: FileToken, directory: RawFd, path: CString },
}

impl Operation {
    /// The request as the kernel wants it. Its pointers lead to the heap, so that moving the operation is harmless.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        match self {
            Self::Accept { socket, .. } => {
                opcode::Accept::new(types::Fd(*socket), core::ptr::null_mut(), core::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build()
            }
            // A length of 0 means the whole of the buffer that is picked.
            Self::ReceiveLent { socket, poll_first, .. } => {
                opcode::Recv::new(types::Fd(*socket), core::ptr::null_mut(), 0)
                    .buf_group(BUFFER_GROUP)
                    .ioprio(if *poll_first { POLL_FIRST } else { 0 })
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Self::ReceiveInto { socket, poll_first, buffer, .. } => {
                let spare = buffer.spare_capacity_mut();
                opcode::Recv::new(types::Fd(*socket), spare.as_mut_ptr().cast(), call_bytes(spare.len()))
                    .ioprio(if *poll_first { POLL_FIRST } else { 0 })
                    .build()
            }
            Self::Send { socket, outgoing, .. } => outgoing.entry(*socket),
            Self::Hear { doorbell, count } => {
                let bytes = u32::try_from(size_of::<u64>()).expect("eight");
                opcode::Read::new(types::Fd(*doorbell), (&raw mut **count).cast(), bytes).build()
            }
            Self::Open { directory, path, flags, .. } => {
                opcode::OpenAt::new(types::Fd(*directory), path.as_ptr()).flags(*flags).mode(0o640).build()
            }
            Self::Write { file, position, bytes, sync, .. } => write_entry(*file, *position, bytes, *sync),
            Self::Read { file, position, length, buffer, .. } => {
                let filled = buffer.len();
                let spare = &mut buffer.spare_capacity_mut()[..*length - filled];
                opcode::Read::new(types::Fd(*file), spare.as_mut_ptr().cast(), call_bytes(spare.len()))
                    .offset(*position + filled as u64)
                    .build()
            }
            Self::Sync { file, .. } => {
                opcode::Fsync::new(types::Fd(*file)).flags(types::FsyncFlags::DATASYNC).build()
            }
            Self::OpenDirectory { directory, path, .. } => {
                opcode::OpenAt::new(types::Fd(*directory), path.as_ptr())
                    .flags(libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC)
                    .build()
            }
            Self::SyncDirectory { directory, .. } => {
                opcode::Fsync::new(types::Fd(directory.as_raw_fd())).build()
            }
            // On a thread of the kernel's: the last close of a removed file frees its blocks, which takes a while.
            Self::CloseFile { file, .. } => {
                opcode::Close::new(types::Fd(*file)).build().flags(squeue::Flags::ASYNC)
            }
            Self::Remove { directory, path, flags, .. } => {
                opcode::UnlinkAt::new(types::Fd(*directory), path.as_ptr()).flags(*flags).build()
            }
            Self::CreateDirectory { directory, path, .. } => {
                opcode::MkDirAt::new(types::Fd(*directory), path.as_ptr()).mode(0o750).build()
            }
        }
    }
}

/// The only place where a write to a file is made.
///
/// # Panics
/// When a durable write does not carry `RWF_DSYNC`.
fn write_entry(file: RawFd, position: u64, bytes: &Bytes, sync: WriteSync) -> squeue::Entry {
    let flags = match sync {
        WriteSync::Durable => libc::RWF_DSYNC,
        WriteSync::Deferred => 0,
    };
    assert!(
        sync == WriteSync::Deferred || flags & libc::RWF_DSYNC != 0,
        "what is acknowledged rests on this flag"
    );
    assert!(bytes.len() <= CALL_BYTES_MAX, "a write is one call: {} bytes", bytes.len());
    opcode::Write::new(types::Fd(file), bytes.as_ptr(), call_bytes(bytes.len()))
        .offset(position)
        .rw_flags(flags)
        .build()
}

fn call_bytes(length: usize) -> u32 {
    u32::try_from(length.min(CALL_BYTES_MAX)).expect("bounded below 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where `rw_flags` lies in an entry (`struct io_uring_sqe`, include/uapi/linux/io_uring.h).
    const FLAGS_PLACE: usize = 28;

    #[expect(unsafe_code, reason = "an entry keeps its flags to itself")]
    fn flags_of(entry: squeue::Entry) -> i32 {
        // SAFETY: an entry is the kernel's 64 bytes of plain numbers.
        let bytes: [u8; 64] = unsafe { core::mem::transmute(entry) };
        i32::from_ne_bytes(bytes[FLAGS_PLACE..FLAGS_PLACE + 4].try_into().expect("four bytes"))
    }

    #[test]
    fn durable_writes_and_only_they_carry_the_sync_flag() {
        let bytes = Bytes::from_static(&[0; 4096]);
        assert_eq!(flags_of(write_entry(3, 0, &bytes, WriteSync::Durable)), libc::RWF_DSYNC);
        assert_eq!(flags_of(write_entry(3, 0, &bytes, WriteSync::Deferred)), 0);
    }
}
