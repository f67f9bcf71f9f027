//! How much of a shard's memory is in answers to fetches that have not been taken yet, and who waits for it to come back.

use std::collections::VecDeque;

use ringmain_shard::store::MemoryOwner;

use super::mail::RequestNumber;

/// What a shard lends at the most, unless it was given another bound; a single batch may exceed it.
pub const LENT_BYTES_MAX_DEFAULT: usize = 128 * 1024 * 1024;
/// Up to half of the bound a fetch is given what it asks for; beyond, this part of it: 64 KiB by default. Clients that
/// never read what they asked for cannot keep others from reading on.
const LITTLE_OF_BOUND: usize = 2048;

/// What a share of a fetch may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// So many bytes at most, but one batch if there is one.
    Bytes(usize),
    /// Nothing yet.
    Wait,
}

/// The lending of one shard: by the shard whose memory it is, not the one whose client reads.
#[derive(Debug)]
pub(super) struct Lending {
    lent_bytes: usize,
    lent_bytes_max: usize,
    /// In the order of their coming.
    waiting: VecDeque<RequestNumber>,
    /// How many have had to wait.
    waits: u64,
}

impl Lending {
    /// At most `lent_bytes_max` bytes, and one batch.
    pub(super) fn within(lent_bytes_max: usize) -> Self {
        Self { lent_bytes: 0, lent_bytes_max, waiting: VecDeque::new(), waits: 0 }
    }

    /// What a share may be given that comes now.
    pub(super) fn allowance(&self) -> Allowance {
        if self.waiting.is_empty() { self.allowance_of_first() } else { Allowance::Wait }
    }

    /// How many shares have had to wait.
    pub(super) fn waits(&self) -> u64 {
        self.waits
    }

    /// What is out, or set aside for what is being read.
    pub(super) fn memory(&self) -> MemoryOwner {
        MemoryOwner { name: "lent", bytes: self.lent_bytes, bytes_max: Some(self.lent_bytes_max) }
    }

    /// Whether all of it is back.
    pub(super) fn is_settled(&self) -> bool {
        self.lent_bytes == 0
    }

    /// A share waits, behind those that do already.
    pub(super) fn wait(&mut self, request: RequestNumber) {
        self.waiting.push_back(request);
        self.waits += 1;
    }

    /// A share waits no longer, if it did.
    pub(super) fn call_off(&mut self, request: RequestNumber) {
        self.waiting.retain(|&waiting| waiting != request);
    }

    /// The next share that no longer has to wait, and the bytes it may be given.
    pub(super) fn poll_admitted(&mut self) -> Option<(RequestNumber, usize)> {
        match self.allowance_of_first() {
            Allowance::Bytes(bytes) => self.waiting.pop_front().map(|request| (request, bytes)),
            Allowance::Wait => None,
        }
    }

    /// Memory goes out, or is set aside for what is being read.
    pub(super) fn lend(&mut self, bytes: usize) {
        self.lent_bytes += bytes;
    }

    /// It is back.
    ///
    /// # Panics
    /// When more comes back than went out.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.lent_bytes = self.lent_bytes.checked_sub(bytes).expect("what comes back was lent");
    }

    fn allowance_of_first(&self) -> Allowance {
        if self.lent_bytes < self.lent_bytes_max / 2 {
            Allowance::Bytes(usize::MAX)
        } else if self.lent_bytes < self.lent_bytes_max {
            Allowance::Bytes(self.lent_bytes_max / LITTLE_OF_BOUND)
        } else {
            Allowance::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = LENT_BYTES_MAX_DEFAULT;
    const LITTLE: usize = 64 * 1024;

    #[test]
    fn the_more_is_out_the_less_is_given_and_who_waits_comes_first() {
        let mut lending = Lending::within(MAX);
        assert_eq!(lending.allowance(), Allowance::Bytes(usize::MAX));
        lending.lend(MAX / 2);
        assert_eq!(lending.allowance(), Allowance::Bytes(LITTLE));
        lending.lend(MAX / 2);
        assert_eq!(lending.allowance(), Allowance::Wait);
        lending.wait(7);
        lending.wait(8);
        lending.wait(9);
        assert_eq!(lending.poll_admitted(), None);
        lending.give_back(1);
        assert_eq!(lending.allowance(), Allowance::Wait, "others came first");
        assert_eq!(lending.poll_admitted(), Some((7, LITTLE)));
        lending.lend(1);
        assert_eq!(lending.poll_admitted(), None);
        lending.call_off(8);
        lending.give_back(MAX);
        assert_eq!(lending.poll_admitted(), Some((9, usize::MAX)));
        assert!(lending.is_settled());
        assert_eq!((lending.poll_admitted(), lending.waits()), (None, 3));
    }
}
