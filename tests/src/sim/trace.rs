//! What happened, as a hash over all of it and as the last few lines for people.

use core::fmt;
use std::collections::VecDeque;

/// Lines kept.
const LINES_MAX: usize = 60;

/// The trace of one run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    lines: VecDeque<Line>,
}

/// One thing that happened: what, and up to three numbers that tell it from its like.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: u64,
    what: &'static str,
    numbers: [u64; 3],
}

impl Trace {
    /// Takes note.
    pub(super) fn note(&mut self, at: u64, what: &'static str, numbers: [u64; 3]) {
        self.events += 1;
        for number in
            [at, what.len() as u64, u64::from(what.as_bytes()[0]), numbers[0], numbers[1], numbers[2]]
        {
            self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at, what, numbers });
    }

    /// Same seed, same hash.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many things happened.
    pub(super) fn events(&self) -> u64 {
        self.events
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { at, what, numbers: [a, b, c] } in &self.lines {
            writeln!(out, "  {:>10.3} ms  {what} {a} {b} {c}", *at as f64 / 1e6)?;
        }
        Ok(())
    }
}
