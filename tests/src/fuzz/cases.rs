//! The inputs of one run by number: the corpus first, then its mutations.

use super::Target;
use super::corpus;
use super::dice::Dice;
use super::mutate::{Entry, mutate};

/// All inputs for one target under one seed.
#[derive(Debug)]
pub struct Cases {
    target: &'static Target,
    corpus: Vec<Entry>,
    seed: u64,
    mutations: u64,
}

impl Cases {
    /// The target's committed corpus and that many mutations of it.
    ///
    /// # Errors
    /// When the corpus cannot be read or is empty.
    pub fn new(target: &'static Target, seed: u64, mutations: u64) -> Result<Self, corpus::CorpusError> {
        let corpus = corpus::read(target)?.into_iter().map(Entry::new).collect();
        Ok(Self { target, corpus, seed, mutations })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.corpus.len() as u64 + self.mutations
    }

    /// One input; the same whenever it is asked for.
    pub fn input(&self, case: u64) -> Vec<u8> {
        if let Some(entry) = usize::try_from(case).ok().and_then(|case| self.corpus.get(case)) {
            return entry.bytes.clone();
        }
        let mut dice = Dice::new(self.seed, case);
        let mut input = mutate(&self.corpus, &mut dice);
        // Unsealed now and then: the checksum's own check is code too.
        if let Some(seal) = self.target.seal
            && !dice.once_in(4)
        {
            seal(&mut input);
        }
        input
    }
}
