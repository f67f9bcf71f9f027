//! Stdin or files, read by a thread of its own so that an interrupt is heard while nothing comes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::cli::failure::Failure;

/// Room for one read.
const READ_BYTES: usize = 64 * 1024;
/// Reads that wait to be taken.
const READS_WAITING_MAX: usize = 4;

/// What the thread has read.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// One of the files ends here, and so does its last record.
    EndOfFile,
    /// A file cannot be read.
    Failed(Failure),
}

/// The pieces as they come; `None` after the last.
pub(super) type Input = mpsc::Receiver<Piece>;

/// Opens all of `files` (`-` is stdin; none at all, too) and begins to read them in turn.
///
/// # Errors
/// Which of them cannot be opened.
pub(super) fn open(files: &[PathBuf]) -> Result<Input, Failure> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    let mut sources: Vec<(PathBuf, Box<dyn Read + Send>)> = Vec::with_capacity(files.len());
    for path in files {
        let source: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)
        };
        sources.push((path.clone(), source));
    }
    let (sender, receiver) = mpsc::channel(READS_WAITING_MAX);
    let started = std::thread::Builder::new().name("ringmain-input".to_owned()).spawn(move || {
        for (path, source) in sources {
            let end = match read_all(source, &sender) {
                Ok(()) => Piece::EndOfFile,
                Err(error) => Piece::Failed(unreadable(&path, &error)),
            };
            if sender.blocking_send(end).is_err() {
                return;
            }
        }
    });
    started.map_err(|error| Failure::failed("environment", format!("cannot start a thread: {error}")))?;
    Ok(receiver)
}

/// Until the end, or until nobody listens any more.
fn read_all(mut source: impl Read, sender: &mpsc::Sender<Piece>) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; READ_BYTES];
        match source.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                bytes.truncate(length);
                if sender.blocking_send(Piece::Bytes(bytes)).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    Failure::failed("input", format!("cannot read {name}: {error}"))
}
