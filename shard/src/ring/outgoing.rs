//! A send of many segments, continued until the last byte is out.

use bytes::Bytes;
use io_uring::{opcode, squeue, types};
use libc::{iovec, msghdr};
use std::os::fd::RawFd;

/// Segments that one system call takes (`UIO_MAXIOV`).
const SEGMENTS_MAX: usize = 1024;
/// Bytes that one system call takes (`MAX_RW_COUNT`), rounded down.
const CALL_BYTES_MAX: usize = 0x7fff_0000;

/// Segments on their way out, and how far they are.
#[derive(Debug)]
pub(super) struct Outgoing {
    segments: Vec<Bytes>,
    /// The first segment that is not out whole.
    next: usize,
    /// Bytes of it that are out.
    next_bytes: usize,
    gather: Option<Box<Gather>>,
}

/// What the kernel reads beside the segments; boxed, because it must not move while a send is under way.
struct Gather {
    message: msghdr,
    vectors: Vec<iovec>,
}

impl Outgoing {
    /// # Panics
    /// When there is nothing to send, or an empty segment.
    pub(super) fn whole(segments: Vec<Bytes>) -> Self {
        assert!(!segments.is_empty(), "a send has at least one segment");
        assert!(segments.iter().all(|segment| !segment.is_empty()), "no segment of a send is empty");
        Self { segments, next: 0, next_bytes: 0, gather: None }
    }

    /// `sent` more bytes are out. Whether that was the last of them.
    pub(super) fn advance(&mut self, sent: usize) -> bool {
        let mut left = sent;
        while left > 0 {
            let segment_left = self.segments[self.next].len() - self.next_bytes;
            if left < segment_left {
                self.next_bytes += left;
                return false;
            }
            left -= segment_left;
            self.next += 1;
            self.next_bytes = 0;
        }
        self.next == self.segments.len()
    }

    /// The segments, out or not.
    pub(super) fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// Sends what is left, or as much of it as one call takes.
    pub(super) fn entry(&mut self, socket: RawFd) -> squeue::Entry {
        // The kernel itself goes on after a short send, without a turn of the loop in between.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let first = &self.segments[self.next][self.next_bytes..];
        if self.next + 1 == self.segments.len() {
            let length = u32::try_from(first.len().min(CALL_BYTES_MAX)).expect("bounded");
            return opcode::Send::new(types::Fd(socket), first.as_ptr(), length).flags(flags).build();
        }
        let gather = self.gather.get_or_insert_with(Gather::empty);
        gather.fill(first, &self.segments[self.next + 1..]);
        opcode::SendMsg::new(types::Fd(socket), &raw const gather.message)
            .flags(flags.cast_unsigned())
            .build()
    }
}

impl Gather {
    #[expect(unsafe_code, reason = "msghdr has private padding on some targets and no constructor")]
    fn empty() -> Box<Self> {
        // SAFETY: all fields of msghdr are integers and pointers, for which zero is a value: no address, no vectors.
        let message = unsafe { core::mem::zeroed() };
        Box::new(Self { message, vectors: Vec::new() })
    }

    fn fill(&mut self, first: &[u8], rest: &[Bytes]) {
        self.vectors.clear();
        let mut bytes = 0;
        for segment in core::iter::once(first).chain(rest.iter().map(Bytes::as_ref)).take(SEGMENTS_MAX) {
            let length = segment.len().min(CALL_BYTES_MAX - bytes);
            if length == 0 {
                break;
            }
            bytes += length;
            self.vectors.push(iovec { iov_base: segment.as_ptr().cast_mut().cast(), iov_len: length });
        }
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
    }
}

impl core::fmt::Debug for Gather {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_struct("Gather").field("vectors", &self.vectors.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let segments = [&b"abc"[..], b"d", b"efgh"].map(Bytes::from_static).to_vec();
        let mut outgoing = Outgoing::whole(segments.clone());
        assert!(!outgoing.advance(2));
        assert_eq!((outgoing.next, outgoing.next_bytes), (0, 2));
        assert!(!outgoing.advance(2));
        assert_eq!((outgoing.next, outgoing.next_bytes), (2, 0));
        assert!(!outgoing.advance(3));
        assert_eq!((outgoing.next, outgoing.next_bytes), (2, 3));
        assert!(outgoing.advance(1));
        assert_eq!(outgoing.into_segments(), segments);
    }

    #[test]
    fn one_call_takes_a_bounded_number_of_segments() {
        let mut outgoing = Outgoing::whole(vec![Bytes::from_static(b"xy"); SEGMENTS_MAX + 5]);
        outgoing.advance(1);
        outgoing.entry(0);
        let gather = outgoing.gather.as_ref().expect("many segments are gathered");
        assert_eq!(gather.vectors.len(), SEGMENTS_MAX);
        assert_eq!(gather.vectors[0].iov_len, 1);
        assert_eq!(gather.vectors[1].iov_len, 2);
    }

    #[test]
    #[should_panic(expected = "no segment of a send is empty")]
    fn an_empty_segment_is_a_bug() {
        Outgoing::whole(vec![Bytes::from_static(b"x"), Bytes::new()]);
    }
}
