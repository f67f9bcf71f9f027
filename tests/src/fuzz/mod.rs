//! Every parser that meets bytes from outside as a plain function in a registry, and what throws damaged bytes at it.
//!
//! A target runs over a committed corpus and over mutations of it. A case is a number: seed and case give the same input
//! every time, so a failure is replayed by naming both. Cases run in a process of their own whose memory is limited; a
//! panic, an abort, a stack that overflows, an allocation that no input deserves and a loop without end all show
//! themselves in how that process ends. Canaries with a planted bug of each kind prove that this is so.

pub mod cases;
pub mod corpus;
pub mod inside;
pub mod registry;
pub mod supervise;

mod canaries;
pub(crate) mod dice;
pub(crate) mod mutate;
pub(crate) mod targets;

/// One parser, or one way into several.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What the command line and the corpus call it.
    pub name: &'static str,
    /// Parses the bytes and checks what must hold of the outcome.
    pub run: fn(&[u8]) -> Verdict,
    /// Valid encodings: what the corpus is made of.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes the checksums within the bytes right again, so that mutations reach the code behind them.
    pub seal: Option<fn(&mut [u8])>,
    /// How the bug that is planted in it shows itself: not finding it, or anything else, is the failure then.
    pub planted: Option<Ending>,
}

/// How a process ended that ran into a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It panicked.
    Panicked,
    /// A signal ended it: it aborted because memory was refused, or its stack overflowed.
    Killed,
    /// It did not end by itself.
    Hung,
    /// It gave up, or nothing was accepted.
    Failed,
}

/// What a parser made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken, whole or in part.
    Accepted,
    /// It was refused with an error.
    Refused,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8]) -> Verdict, seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, run, seeds, seal: None, planted: None }
    }

    const fn sealed(self, seal: fn(&mut [u8])) -> Self {
        Self { seal: Some(seal), ..self }
    }

    const fn planted(self, ending: Ending) -> Self {
        Self { planted: Some(ending), ..self }
    }
}

impl Verdict {
    /// Accepted if it went well.
    pub(crate) const fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}
