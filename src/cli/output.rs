//! Results on stdout: documents, tables, and bytes as they appear in JSON.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::failure::Failure;

/// How soon a reader that has gone away is noticed while there is nothing to write.
const STDOUT_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);

/// Standard output without the buffer of the standard library: each write is one system call.
///
/// # Errors
/// When there is no standard output.
pub(super) fn unbuffered_stdout() -> Result<File, Failure> {
    let duplicate = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(File::from(duplicate))
}

/// Writes text that ends in a newline.
///
/// # Errors
/// When stdout takes no more.
pub(super) fn write_text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes one JSON document as a line.
///
/// # Errors
/// When stdout takes no more.
pub(super) fn write_document(document: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_string(document).expect("documents have text for keys");
    line.push('\n');
    write_text(&line)
}

/// Columns as wide as their widest cell, two spaces apart; numbers are to be aligned by the caller's choice of `right`.
pub(super) struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with that head; a name that begins with `>` heads a column aligned to the right.
    pub(super) fn new(head: &[&str]) -> Self {
        let right = head.iter().map(|name| name.starts_with('>')).collect();
        let names = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        Self { right, rows: vec![names] }
    }

    /// Adds a line.
    ///
    /// # Panics
    /// When it has other columns than the head.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.right.len(), "a row has as many cells as the head");
        self.rows.push(cells);
    }

    /// The lines, without spaces at their ends.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&self.right).map(|((cell, &width), &right)| {
                if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Bytes as they stand in JSON: a string where they are UTF-8, `{"base64": …}` where not, null where there are none.
pub(super) struct JsonBytes<'a>(pub(super) Option<&'a [u8]>);

impl Serialize for JsonBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else { return serializer.serialize_none() };
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &base64(bytes))?;
                map.end()
            }
        }
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, place| bits << 8 | u32::from(*group.get(place).unwrap_or(&0)));
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 0x3f) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// One line on stderr that changes while something long goes on, and is gone at its end.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shows something only where `wanted`, and where stderr is a terminal.
    pub(super) fn new(wanted: bool) -> Self {
        Self { shown: wanted && io::stderr().is_terminal() }
    }

    /// Puts that line into the place of the one before.
    pub(super) fn show(&self, line: &str) {
        if self.shown {
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}

/// Ends when the last reader of stdout is gone, also while there is nothing to write. A file has none to lose.
pub(super) async fn stdout_closed() {
    loop {
        tokio::time::sleep(STDOUT_LOOKED_AT_EVERY).await;
        let stdout = io::stdout();
        // An error of the descriptor is told whether it is asked for or not; nothing else is of interest.
        let mut look = [PollFd::new(&stdout, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut look, Some(&at_once)).is_ok() && look[0].revents().contains(PollFlags::ERR) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (bytes, text) in vectors {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }

    #[test]
    fn bytes_in_json_are_text_or_base64_or_null() {
        let json = |bytes| serde_json::to_string(&JsonBytes(bytes)).expect("written");
        assert_eq!(json(None), "null");
        assert_eq!(json(Some(b"")), "\"\"");
        assert_eq!(json(Some("a\"\u{e4}\n".as_bytes())), "\"a\\\"\u{e4}\\n\"");
        assert_eq!(json(Some(b"\xff")), "{\"base64\":\"/w==\"}");
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let mut table = Table::new(&["NAME", ">PARTITIONS", "ID"]);
        table.row(vec!["\u{e4}\u{f6}".to_owned(), "4".to_owned(), "x".to_owned()]);
        table.row(vec!["orders".to_owned(), "12".to_owned(), "yy".to_owned()]);
        let wanted = "NAME    PARTITIONS  ID\n\u{e4}\u{f6}               4  x\norders          12  yy\n";
        assert_eq!(table.render(), wanted);
    }
}
