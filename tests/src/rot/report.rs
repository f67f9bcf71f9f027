//! What a run found.

use core::fmt;
use std::collections::BTreeMap;
use std::time::Duration;

use super::RotOptions;
use super::error::RotError;
use super::files::{DataFiles, FileKind, KINDS};
use super::judge::{OUTCOMES, Outcome};
use super::served::Served;
use super::workload::Written;

/// From so many flips on, every kind of file must have been hit where it counts.
const PROVES_SOMETHING: u64 = 100;

/// So many rotten batches of segments have to be asked for.
const SWEEPS_ENOUGH: u64 = 50;

/// How many bits of which files became what.
#[derive(Debug)]
pub struct RotReport {
    options: RotOptions,
    records: u64,
    partitions: u64,
    /// Files of each kind, and their bytes.
    files: BTreeMap<FileKind, (u64, u64)>,
    flips: BTreeMap<(FileKind, Outcome), u64>,
    served_all: u64,
    served_part: u64,
    served_nothing: u64,
    swept_batches: u64,
    swept_indexes: u64,
    elapsed: Duration,
}

impl RotReport {
    pub(super) fn new(options: &RotOptions, written: &Written, files: &DataFiles) -> Self {
        Self {
            options: options.clone(),
            records: written.records(),
            partitions: written.partitions.len() as u64,
            files: KINDS.iter().map(|kind| (*kind, files.count(*kind))).collect(),
            flips: BTreeMap::new(),
            served_all: 0,
            served_part: 0,
            served_nothing: 0,
            swept_batches: 0,
            swept_indexes: 0,
            elapsed: Duration::ZERO,
        }
    }

    pub(super) fn count(&mut self, kind: FileKind, outcome: Outcome) {
        *self.flips.entry((kind, outcome)).or_default() += 1;
    }

    pub(super) fn count_served(&mut self, served: Served) {
        *match served {
            Served::All => &mut self.served_all,
            Served::Part => &mut self.served_part,
            Served::Nothing => &mut self.served_nothing,
        } += 1;
    }

    pub(super) const fn count_swept(&mut self, batches: u64, indexes: u64) {
        (self.swept_batches, self.swept_indexes) = (batches, indexes);
    }

    pub(super) fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    fn flips(&self, kind: FileKind, outcome: Outcome) -> u64 {
        self.flips.get(&(kind, outcome)).copied().unwrap_or(0)
    }

    /// Whether enough was hit to prove something.
    pub(super) fn check_proof(&self) -> Result<(), RotError> {
        if self.options.flips < PROVES_SOMETHING {
            return Ok(());
        }
        let told = |kind| OUTCOMES[1..].iter().map(|&outcome| self.flips(kind, outcome)).sum::<u64>();
        let too_little = |what: &str| Err(RotError::ProvesTooLittle(what.to_owned()));
        if let Some(kind) = KINDS.into_iter().find(|kind| told(*kind) == 0) {
            return too_little(&format!("no bit of a {kind} was told"));
        }
        if self.swept_batches < SWEEPS_ENOUGH {
            return too_little(&format!(
                "only {} rotten batches of segments were asked for",
                self.swept_batches
            ));
        }
        if self.flips(FileKind::Log, Outcome::MeansNothing) == 0 {
            return too_little("no bit of a log meant nothing");
        }
        let refused = KINDS.iter().map(|kind| self.flips(*kind, Outcome::ToldPartRefused)).sum::<u64>();
        if refused == 0 { too_little("no bit took anything") } else { Ok(()) }
    }

    /// As one JSON document.
    #[must_use]
    pub fn to_json(&self) -> String {
        let flips = KINDS.iter().map(|&kind| {
            let counts =
                OUTCOMES.iter().map(|&outcome| (name(outcome).to_owned(), self.flips(kind, outcome).into()));
            (kind.to_string(), serde_json::Value::Object(counts.collect()))
        });
        serde_json::json!({
            "seed": self.options.seed,
            "flips": self.options.flips,
            "records": self.records,
            "partitions": self.partitions,
            "outcomes": serde_json::Value::Object(flips.collect()),
            "brokers_served_all": self.served_all,
            "brokers_served_part": self.served_part,
            "brokers_refused_to_start": self.served_nothing,
            "rotten_batches_refused": self.swept_batches,
            "rotten_indexes_harmless": self.swept_indexes,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
        .to_string()
    }
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::MeansNothing => "means_nothing",
        Outcome::ToldAllServed => "told_all_served",
        Outcome::ToldPartRefused => "told_part_refused",
        Outcome::ToldStartRefused => "told_start_refused",
    }
}

impl fmt::Display for RotReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} records in {} partitions, seed {}",
            self.records, self.partitions, self.options.seed
        )?;
        writeln!(
            out,
            "{:<11} {:>5} {:>9}  {:>13} {:>15} {:>17} {:>18}",
            "FILE", "FILES", "KIB", "MEANS NOTHING", "TOLD, ALL READ", "TOLD, PART READ", "TOLD, NO START"
        )?;
        for kind in KINDS {
            let (files, bytes) = self.files.get(&kind).copied().unwrap_or_default();
            write!(out, "{:<11} {files:>5} {:>9}  ", kind.to_string(), bytes / 1024)?;
            let [nothing, all, part, start] = OUTCOMES.map(|outcome| self.flips(kind, outcome));
            writeln!(out, "{nothing:>13} {all:>15} {part:>17} {start:>18}")?;
        }
        writeln!(
            out,
            "brokers started on a rotten copy: {} served all, {} part, {} refused to start",
            self.served_all, self.served_part, self.served_nothing
        )?;
        writeln!(
            out,
            "one broker on many rotten bits: {} batches all refused; one on {} rotten indexes: all served",
            self.swept_batches, self.swept_indexes
        )?;
        write!(
            out,
            "{} bits flipped in {:.1} s, none of them unnoticed",
            self.options.flips,
            self.elapsed.as_secs_f64()
        )
    }
}
