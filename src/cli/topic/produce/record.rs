//! A line to a record: where the key ends, which values are null.

use ringmain_client::ProduceRecord;
use ringmain_wire::ids::{PartitionIndex, TimestampMs};

/// How every line becomes a record.
#[derive(Debug)]
pub(super) struct RecordRules {
    /// What stands between key and value.
    pub(super) key_delimiter: Option<Vec<u8>>,
    /// The key of every record.
    pub(super) key: Option<Vec<u8>>,
    /// The partition of every record.
    pub(super) partition: Option<PartitionIndex>,
    /// The headers of every record.
    pub(super) headers: Vec<Header>,
    /// Whether an empty value is null.
    pub(super) empty_is_null: bool,
}

/// `NAME=VALUE` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    name: String,
    value: String,
}

impl Header {
    /// Reads `NAME=VALUE`; the value may be empty and may hold further equals signs.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected NAME=VALUE, such as source=nginx".to_owned()),
        }
    }
}

/// Headers as a record borrows them.
pub(super) type BorrowedHeaders<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

impl RecordRules {
    /// The headers of every record.
    pub(super) fn borrow_headers(&self) -> BorrowedHeaders<'_> {
        self.headers.iter().map(|header| (header.name.as_bytes(), Some(header.value.as_bytes()))).collect()
    }

    /// The record of one line.
    pub(super) fn record<'a>(
        &'a self,
        line: &'a [u8],
        headers: &'a [(&'a [u8], Option<&'a [u8]>)],
        timestamp: TimestampMs,
    ) -> ProduceRecord<'a> {
        let (key, value) = match &self.key_delimiter {
            Some(delimiter) => match find(line, delimiter) {
                Some(at) => (Some(&line[..at]), &line[at + delimiter.len()..]),
                None => (None, line),
            },
            None => (self.key.as_deref(), line),
        };
        let value = (!(self.empty_is_null && value.is_empty())).then_some(value);
        ProduceRecord { partition: self.partition, timestamp, key, value, headers }
    }
}

fn find(line: &[u8], delimiter: &[u8]) -> Option<usize> {
    line.windows(delimiter.len()).position(|window| window == delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RecordRules {
        RecordRules {
            key_delimiter: None,
            key: None,
            partition: None,
            headers: Vec::new(),
            empty_is_null: false,
        }
    }

    fn parts(rules: &RecordRules, line: &'static [u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let record = rules.record(line, &[], TimestampMs(7));
        (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
    }

    #[test]
    fn the_first_delimiter_ends_the_key() {
        let rules = RecordRules { key_delimiter: Some(b"::".to_vec()), ..rules() };
        assert_eq!(parts(&rules, b"k::v::w"), (Some(b"k".to_vec()), Some(b"v::w".to_vec())));
        assert_eq!(parts(&rules, b"::"), (Some(Vec::new()), Some(Vec::new())));
        assert_eq!(parts(&rules, b"k:v"), (None, Some(b"k:v".to_vec())));
        assert_eq!(parts(&rules, b""), (None, Some(Vec::new())));
    }

    #[test]
    fn an_empty_value_is_null_only_where_asked_for() {
        assert_eq!(parts(&rules(), b""), (None, Some(Vec::new())));
        let rules = RecordRules { key_delimiter: Some(b":".to_vec()), empty_is_null: true, ..rules() };
        assert_eq!(parts(&rules, b""), (None, None));
        assert_eq!(parts(&rules, b"\xff:"), (Some(b"\xff".to_vec()), None));
        assert_eq!(parts(&rules, b":\0"), (Some(Vec::new()), Some(b"\0".to_vec())));
    }

    #[test]
    fn a_fixed_key_leaves_the_line_whole() {
        let rules = RecordRules { key: Some(b"k".to_vec()), partition: Some(PartitionIndex(3)), ..rules() };
        assert_eq!(parts(&rules, b"a:b"), (Some(b"k".to_vec()), Some(b"a:b".to_vec())));
        assert_eq!(rules.record(b"a", &[], TimestampMs(7)).partition, Some(PartitionIndex(3)));
    }

    #[test]
    fn headers_are_divided_at_the_first_equals_sign() {
        let header = |text| Header::parse(text).map(|header| (header.name, header.value));
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("a="), Ok(("a".to_owned(), String::new())));
        assert!(header("a").is_err() && header("=b").is_err());
    }
}
