//! Bytes to records: cut at a delimiter, however the bytes come in pieces.

use std::ops::Range;

/// Cuts a stream at a delimiter. Holds one record at most.
#[derive(Debug)]
pub(super) struct Splitter {
    delimiter: Vec<u8>,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    /// Before it everything was given.
    start: usize,
    /// Before it no delimiter begins that was not given.
    searched: usize,
}

/// A record without its delimiter would be longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Splitter {
    /// # Panics
    /// When the delimiter is empty.
    pub(super) fn new(delimiter: Vec<u8>, record_bytes_max: usize) -> Self {
        assert!(!delimiter.is_empty(), "a stream is cut at something");
        Self { delimiter, record_bytes_max, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record that is whole.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let found = self.find();
        let end = found.unwrap_or(self.buffer.len());
        if end - self.start > self.record_bytes_max {
            return Err(TooLong);
        }
        let Some(end) = found else {
            // A delimiter may have begun in the last bytes.
            self.searched = (self.buffer.len() + 1).saturating_sub(self.delimiter.len()).max(self.start);
            return Ok(None);
        };
        let record = self.start..end;
        self.start = end + self.delimiter.len();
        self.searched = self.start;
        Ok(Some(&self.buffer[record]))
    }

    /// What is left at the end of the stream: a last record without a delimiter, if it is not empty.
    pub(super) fn finish(&mut self) -> Option<&[u8]> {
        let rest: Range<usize> = self.start..self.buffer.len();
        self.start = rest.end;
        self.searched = rest.end;
        (!rest.is_empty()).then_some(&self.buffer[rest])
    }

    fn find(&self) -> Option<usize> {
        let (&first, delimiter) = (self.delimiter.first()?, &self.delimiter);
        let mut from = self.searched;
        loop {
            let at = from + self.buffer[from..].iter().position(|&byte| byte == first)?;
            if self.buffer[at..].starts_with(delimiter) {
                return Some(at);
            }
            from = at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(delimiter: &[u8], pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::new(delimiter.to_vec(), 1000);
        let mut records = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            while let Some(record) = splitter.next().expect("short") {
                records.push(record.to_vec());
            }
        }
        records.extend(splitter.finish().map(<[u8]>::to_vec));
        records
    }

    #[test]
    fn empty_lines_are_records_and_the_last_needs_no_delimiter() {
        assert_eq!(split(b"\n", &[b"a\n\nb\n"]), [&b"a"[..], b"", b"b"]);
        assert_eq!(split(b"\n", &[b"a\nb"]), [b"a", b"b"]);
        assert_eq!(split(b"\n", &[]), Vec::<Vec<u8>>::new());
        assert_eq!(split(b"\n", &[b"\n"]), [b""]);
        assert_eq!(split(b"||", &[b"a|", b"|b|", b"c||"]), [&b"a"[..], b"b|c"]);
    }

    #[test]
    fn a_record_that_never_ends_is_refused_before_it_fills_the_memory() {
        let mut splitter = Splitter::new(vec![b'\n'], 4);
        splitter.push(b"1234\n123");
        assert_eq!(splitter.next(), Ok(Some(&b"1234"[..])));
        assert_eq!(splitter.next(), Ok(None));
        splitter.push(b"4");
        assert_eq!(splitter.next(), Ok(None));
        splitter.push(b"5");
        assert_eq!(splitter.next(), Err(TooLong));
    }

    /// Every text of up to six letters, cut into three pieces in every way.
    #[test]
    fn pieces_make_no_difference() {
        for length in 0..=6 {
            for number in 0..3usize.pow(length) {
                let text: Vec<u8> = (0..length).map(|place| b"a|;"[number / 3usize.pow(place) % 3]).collect();
                for delimiter in [&b"|"[..], b"||", b"|;|"] {
                    let whole = split(delimiter, &[&text]);
                    for (first, second) in (0..=text.len())
                        .flat_map(|first| (first..=text.len()).map(move |second| (first, second)))
                    {
                        let pieces = [&text[..first], &text[first..second], &text[second..]];
                        assert_eq!(split(delimiter, &pieces), whole, "{text:?} at {first} and {second}");
                    }
                    // What was cut can be put together again, but for a last delimiter.
                    let joined = whole.join(delimiter);
                    let ended = [&joined[..], delimiter].concat();
                    assert!(text == joined || text == ended, "{text:?} cut into {whole:?}");
                }
            }
        }
    }
}
