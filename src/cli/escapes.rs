//! Backslash escapes in delimiters and templates.

/// Reads `\n`, `\t`, `\r`, `\\` and `\xNN`; everything else stands for itself.
///
/// # Errors
/// Which escape is not known.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (byte, length) = read_escape(&rest[at..])?;
        bytes.push(byte);
        rest = &rest[at + length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// The byte of the escape that `text` begins with, and the escape's length.
///
/// # Errors
/// Which escape is not known.
pub(super) fn read_escape(text: &str) -> Result<(u8, usize), String> {
    let known = r"known are \n \t \r \\ \xNN";
    match text.as_bytes() {
        [b'\\', b'n', ..] => Ok((b'\n', 2)),
        [b'\\', b't', ..] => Ok((b'\t', 2)),
        [b'\\', b'r', ..] => Ok((b'\r', 2)),
        [b'\\', b'\\', ..] => Ok((b'\\', 2)),
        [b'\\', b'x', high, low, ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(format!(r"\x takes two hexadecimal digits; {known}"));
            };
            Ok(((high * 16 + low) as u8, 4))
        }
        _ => {
            let escape: String = text.chars().take(2).collect();
            Err(format!("escape {escape} is not known; {known}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes_and_the_rest_stands_for_itself() {
        assert_eq!(unescape(r"a\tb\n\\\xFf\x00"), Ok(b"a\tb\n\\\xff\x00".to_vec()));
        assert_eq!(unescape("\u{e4}:"), Ok("\u{e4}:".as_bytes().to_vec()));
        assert_eq!(unescape(""), Ok(Vec::new()));
        for wrong in [r"\", r"\q", r"\x", r"\x1", r"\xg0", "\\\u{e4}", "\\x\u{e4}"] {
            assert!(unescape(wrong).is_err(), "{wrong:?}");
        }
    }
}
