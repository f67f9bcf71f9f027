//! Records to stdout: in large writes while there are many, at once when there are no more.

use std::fs::File;
use std::io::Write;

use ringmain_client::Record;
use serde::Serialize;

use super::template::Template;
use crate::cli::failure::Failure;
use crate::cli::output::{JsonBytes, unbuffered_stdout};

/// Written as soon as that much has gathered.
const BUFFER_BYTES: usize = 64 * 1024;

/// The form of each record.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// Its value and a newline.
    Value,
    /// As the template says.
    Template(Template),
    /// An object a line.
    Json,
}

/// Writes records to stdout.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    stdout: File,
    buffer: Vec<u8>,
}

impl Printer {
    /// # Errors
    /// When there is no standard output.
    pub(super) fn new(form: Form) -> Result<Self, Failure> {
        Ok(Self { form, stdout: unbuffered_stdout()?, buffer: Vec::with_capacity(2 * BUFFER_BYTES) })
    }

    /// Takes one record.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn print(&mut self, record: &Record) -> Result<(), Failure> {
        render(&self.form, record, &mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let written = self.stdout.write_all(&self.buffer);
        self.buffer.clear();
        Ok(written?)
    }
}

fn render(form: &Form, record: &Record, out: &mut Vec<u8>) {
    match form {
        Form::Value => {
            out.extend_from_slice(record.value.as_deref().unwrap_or_default());
            out.push(b'\n');
        }
        Form::Template(template) => template.render(record, out),
        Form::Json => {
            serde_json::to_writer(&mut *out, &RecordDocument::new(record))
                .expect("writing to memory does not fail");
            out.push(b'\n');
        }
    }
}

/// A record for programs. Fields may only be added.
#[derive(Serialize)]
struct RecordDocument<'a> {
    topic: &'a str,
    partition: u32,
    offset: i64,
    timestamp_ms: i64,
    key: JsonBytes<'a>,
    value: JsonBytes<'a>,
    headers: Vec<HeaderDocument<'a>>,
}

#[derive(Serialize)]
struct HeaderDocument<'a> {
    name: JsonBytes<'a>,
    value: JsonBytes<'a>,
}

impl<'a> RecordDocument<'a> {
    fn new(record: &'a Record) -> Self {
        let header = |(name, value): &'a (bytes::Bytes, Option<bytes::Bytes>)| HeaderDocument {
            name: JsonBytes(Some(name)),
            value: JsonBytes(value.as_deref()),
        };
        Self {
            topic: &record.topic,
            partition: record.partition.get(),
            offset: record.offset.get(),
            timestamp_ms: record.timestamp.get(),
            key: JsonBytes(record.key.as_deref()),
            value: JsonBytes(record.value.as_deref()),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::tests::records;
    use super::*;

    fn rendered(form: &Form) -> String {
        let mut out = Vec::new();
        for record in records() {
            render(form, &record, &mut out);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_record_is_an_object_a_line() {
        assert_eq!(
            rendered(&Form::Json),
            "{\"topic\":\"orders\",\"partition\":3,\"offset\":70,\"timestamp_ms\":1700000000123,\"key\":\"k\",\
             \"value\":{\"base64\":\"dv8=\"},\"headers\":[{\"name\":\"a\",\"value\":\"1\"},\
             {\"name\":\"b\",\"value\":null}]}\n\
             {\"topic\":\"orders\",\"partition\":3,\"offset\":70,\"timestamp_ms\":1700000000123,\"key\":null,\
             \"value\":null,\"headers\":[]}\n"
        );
    }

    #[test]
    fn only_the_plain_form_appends_a_newline() {
        assert_eq!(rendered(&Form::Value), "v\u{fffd}\n\n");
        let template = Template::parse("%o").expect("a template");
        assert_eq!(rendered(&Form::Template(template)), "7070");
    }
}
