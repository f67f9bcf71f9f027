//! The little language of `-f`, as in kcat and rpk: a text with fields of the record in it.

use ringmain_client::Record;

use crate::cli::escapes::read_escape;

/// A template, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    TimestampMs,
    Headers,
    KeyLength,
    ValueLength,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Which field or escape is not known.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '%' => {
                    let name = rest[1..].chars().next();
                    let part = field(name).ok_or_else(|| {
                        let name = name.map_or_else(|| "at the end".to_owned(), String::from);
                        format!("field %{name} is not known; known are %t %p %o %k %v %s %T %h %K %S %%")
                    })?;
                    match part {
                        Part::Literal(bytes) => append(&mut parts, &bytes),
                        part => parts.push(part),
                    }
                    2
                }
                '\\' => {
                    let (byte, length) = read_escape(rest)?;
                    append(&mut parts, &[byte]);
                    length
                }
                other => {
                    append(&mut parts, other.encode_utf8(&mut [0; 4]).as_bytes());
                    other.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        Ok(Self { parts })
    }

    /// Appends one record to `out`. Null keys and values are empty, and their lengths -1.
    pub(super) fn render(&self, record: &Record, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Topic => out.extend_from_slice(record.topic.as_bytes()),
                Part::Partition => append_number(i64::from(record.partition.get()), out),
                Part::Offset => append_number(record.offset.get(), out),
                Part::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
                Part::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
                Part::TimestampMs => append_number(record.timestamp.get(), out),
                Part::Headers => append_headers(record, out),
                Part::KeyLength => append_number(length(record.key.as_deref()), out),
                Part::ValueLength => append_number(length(record.value.as_deref()), out),
            }
        }
    }
}

fn field(name: Option<char>) -> Option<Part> {
    Some(match name? {
        't' => Part::Topic,
        'p' => Part::Partition,
        'o' => Part::Offset,
        'k' => Part::Key,
        'v' | 's' => Part::Value,
        'T' => Part::TimestampMs,
        'h' => Part::Headers,
        'K' => Part::KeyLength,
        'S' => Part::ValueLength,
        '%' => Part::Literal(b"%".to_vec()),
        _ => return None,
    })
}

fn append(parts: &mut Vec<Part>, bytes: &[u8]) {
    match parts.last_mut() {
        Some(Part::Literal(literal)) => literal.extend_from_slice(bytes),
        _ => parts.push(Part::Literal(bytes.to_vec())),
    }
}

/// `NAME=VALUE,NAME=VALUE`; a null value as `NAME`.
fn append_headers(record: &Record, out: &mut Vec<u8>) {
    for (place, (name, value)) in record.headers.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

fn append_number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

#[cfg(test)]
pub(super) mod tests {
    use ringmain_wire::ids::{Offset, PartitionIndex, TimestampMs};

    use super::*;

    /// A record with everything in it, and one with nothing.
    pub(in super::super) fn records() -> [Record; 2] {
        let full = Record {
            topic: "orders".into(),
            partition: PartitionIndex(3),
            offset: Offset(70),
            timestamp: TimestampMs(1_700_000_000_123),
            key: Some("k".into()),
            value: Some(b"v\xff".to_vec().into()),
            headers: vec![("a".into(), Some("1".into())), ("b".into(), None)],
        };
        let empty = Record { key: None, value: None, headers: Vec::new(), ..full.clone() };
        [full, empty]
    }

    fn rendered(template: &str, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        Template::parse(template).expect("a template").render(record, &mut out);
        out
    }

    #[test]
    fn every_field_and_escape_is_rendered() {
        let [full, empty] = records();
        assert_eq!(rendered("%t/%p@%o", &full), b"orders/3@70");
        assert_eq!(rendered(r"%k:%v|%s\n", &full), b"k:v\xff|v\xff\n");
        assert_eq!(rendered("%T %h %K %S 100%%", &full), b"1700000000123 a=1,b 1 2 100%");
        assert_eq!(rendered(r"\t\r\\\x00\xFf", &full), b"\t\r\\\0\xff");
        assert_eq!(rendered("%k,%v,%h,%K,%S", &empty), b",,,-1,-1");
        assert_eq!(rendered("\u{e4}", &full), "\u{e4}".as_bytes());
        assert_eq!(rendered("", &full), b"");
    }

    #[test]
    fn neighbouring_text_is_one_part() {
        let template = Template::parse(r"a\tb%%c%o").expect("a template");
        assert_eq!(template.parts, [Part::Literal(b"a\tb%c".to_vec()), Part::Offset]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let refused = |text| Template::parse(text).expect_err("not a template");
        assert!(refused("%q").contains("%q"));
        assert!(refused("%\u{e4}").contains('\u{e4}'));
        assert!(refused("100%").contains("at the end"));
        assert!(refused(r"\q").contains(r"\q"));
    }
}
