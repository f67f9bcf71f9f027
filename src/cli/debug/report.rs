//! What is printed of a file: a line for each thing found in it, for people or for programs.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::pieces::Pieces;
use crate::cli::arguments::Format;
use crate::cli::failure::Failure;

/// Lines on their way out.
pub(super) struct Report<W: Write> {
    out: W,
    format: Format,
}

/// Damage in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where what is damaged begins, in bytes from the start of the file.
    pub(super) position: u64,
    /// Why it is called damaged.
    pub(super) reason: String,
}

impl<W: Write> Report<W> {
    /// A report to `out`.
    pub(super) const fn new(out: W, format: Format) -> Self {
        Self { out, format }
    }

    /// Whether people read it.
    pub(super) fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// Writes what `line` displays, or its fields as one JSON object.
    ///
    /// # Errors
    /// When nothing more can be written.
    pub(super) fn line(&mut self, line: &(impl Serialize + Display)) -> Result<(), Failure> {
        match self.format {
            Format::Text => writeln!(self.out, "{line}")?,
            Format::Json => {
                let document = serde_json::to_string(line).expect("documents have text for keys");
                writeln!(self.out, "{document}")?;
            }
        }
        Ok(())
    }
}

/// Prints a file to stdout, and fails with the damage that was found, if any.
pub(super) fn print_to_stdout(
    pieces: &mut Pieces,
    format: Format,
    hint: &str,
    print: impl FnOnce(
        &mut Pieces,
        &mut Report<BufWriter<io::StdoutLock<'static>>>,
    ) -> Result<Option<Damage>, Failure>,
) -> Result<(), Failure> {
    let mut report = Report::new(BufWriter::new(io::stdout().lock()), format);
    let damage = print(pieces, &mut report)?;
    report.out.flush()?;
    match damage {
        None => Ok(()),
        Some(Damage { position, reason }) => {
            let message = format!("{} is damaged at byte {position}: {reason}", pieces.name());
            Err(Failure::failed("damaged", message).hint(hint))
        }
    }
}
