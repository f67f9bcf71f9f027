//! `--report`: a line for each acknowledged record, in one write, as soon as it is acknowledged.

use std::fs::File;
use std::io::Write;

use ringmain_client::Delivered;
use serde::Serialize;

use crate::cli::arguments::Format;
use crate::cli::failure::Failure;
use crate::cli::output::{JsonBytes, unbuffered_stdout};

/// Writes the lines to stdout.
#[derive(Debug)]
pub(super) struct Report {
    stdout: File,
    format: Format,
    line: Vec<u8>,
}

impl Report {
    /// # Errors
    /// When there is no standard output.
    pub(super) fn new(format: Format) -> Result<Self, Failure> {
        Ok(Self { stdout: unbuffered_stdout()?, format, line: Vec::new() })
    }

    /// Writes the line of one record.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn write(&mut self, delivered: &Delivered, value: Option<&[u8]>) -> Result<(), Failure> {
        self.line.clear();
        render(self.format, delivered, value, &mut self.line);
        self.stdout.write_all(&self.line)?;
        Ok(())
    }
}

fn render(format: Format, delivered: &Delivered, value: Option<&[u8]>, line: &mut Vec<u8>) {
    /// Fields may only be added: programs read them.
    #[derive(Serialize)]
    struct Document<'a> {
        partition: u32,
        offset: Option<i64>,
        value: JsonBytes<'a>,
    }

    let (partition, offset) = (delivered.partition.get(), delivered.offset.map(|offset| offset.get()));
    match format {
        Format::Json => {
            let document = Document { partition, offset, value: JsonBytes(value) };
            serde_json::to_writer(&mut *line, &document).expect("writing to memory does not fail");
        }
        Format::Text => {
            // A duplicate so old that the broker has forgotten its offset.
            let offset = offset.unwrap_or(-1);
            line.extend_from_slice(format!("{partition} {offset} ").as_bytes());
            line.extend_from_slice(value.unwrap_or_default());
        }
    }
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};

    use super::*;

    fn line(format: Format, value: Option<&[u8]>) -> Vec<u8> {
        let delivered = Delivered {
            partition: PartitionIndex(3),
            offset: Some(Offset(70)),
            timestamp: TimestampMs(1),
            duplicate: false,
        };
        let mut line = Vec::new();
        render(format, &delivered, value, &mut line);
        line
    }

    #[test]
    fn a_line_ends_with_the_value_as_it_was_sent() {
        assert_eq!(line(Format::Text, Some(b" a\xff ")), b"3 70  a\xff \n");
        assert_eq!(line(Format::Text, Some(b"")), b"3 70 \n");
        assert_eq!(line(Format::Text, None), b"3 70 \n");
        assert_eq!(line(Format::Json, Some(b"a")), b"{\"partition\":3,\"offset\":70,\"value\":\"a\"}\n");
        assert_eq!(
            line(Format::Json, Some(b"\xff")),
            b"{\"partition\":3,\"offset\":70,\"value\":{\"base64\":\"/w==\"}}\n"
        );
        assert_eq!(line(Format::Json, None), b"{\"partition\":3,\"offset\":70,\"value\":null}\n");
    }
}
