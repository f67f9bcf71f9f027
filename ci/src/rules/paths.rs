//! Reads the paths that source code names, with groups such as `use std::{fs, io}` taken apart.

use super::lexer::{Kind, Token};

/// A path as written, its segments and the line it begins on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPath<'text> {
    /// `std::fs::File` as `["std", "fs", "File"]`.
    pub(super) segments: Vec<&'text str>,
    /// From 1.
    pub(super) line: usize,
}

impl NamedPath<'_> {
    /// Whether it lies in or is `module`, given as `std::fs`.
    pub(super) fn is_within(&self, module: &str) -> bool {
        let mut segments = self.segments.iter();
        module.split("::").all(|wanted| segments.next() == Some(&wanted))
    }

    /// Whether these segments stand in it one after the other, given as `time::Instant`.
    pub(super) fn has(&self, part: &str) -> bool {
        let part: Vec<&str> = part.split("::").collect();
        self.segments.windows(part.len()).any(|window| window == part)
    }
}

/// All paths in `tokens`; a lone word is a path of one segment.
pub(super) fn named<'text>(tokens: &[Token<'text>]) -> Vec<NamedPath<'text>> {
    let mut found = Vec::new();
    let mut reader = Reader { tokens, at: 0 };
    while let Some(token) = tokens.get(reader.at) {
        match token.kind {
            Kind::Word("use") => {
                reader.at += 1;
                reader.use_tree(&[], &mut found);
            }
            Kind::Word(_) => {
                let segments = reader.segments();
                found.push(NamedPath { segments, line: token.line });
            }
            _ => reader.at += 1,
        }
    }
    found
}

struct Reader<'tokens, 'text> {
    tokens: &'tokens [Token<'text>],
    at: usize,
}

impl<'text> Reader<'_, 'text> {
    fn peek(&self) -> Option<Kind<'text>> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    /// Words with separators between them; a separator behind the last word is taken too.
    fn segments(&mut self) -> Vec<&'text str> {
        let mut segments = Vec::new();
        while let Some(Kind::Word(word)) = self.peek() {
            segments.push(word);
            self.at += 1;
            if self.peek() != Some(Kind::PathSeparator) {
                break;
            }
            self.at += 1;
        }
        segments
    }

    fn use_tree(&mut self, prefix: &[&'text str], found: &mut Vec<NamedPath<'text>>) {
        let Some(line) = self.tokens.get(self.at).map(|token| token.line) else { return };
        if self.peek() == Some(Kind::PathSeparator) {
            self.at += 1;
        }
        let mut segments = prefix.to_vec();
        segments.extend(self.segments());
        if self.peek() == Some(Kind::Mark('{')) {
            self.at += 1;
            while !matches!(self.peek(), None | Some(Kind::Mark('}' | ';'))) {
                let before = self.at;
                self.use_tree(&segments, found);
                let stuck = self.at == before;
                if stuck || self.peek() == Some(Kind::Mark(',')) {
                    self.at += 1;
                }
            }
            self.at += 1;
            return;
        }
        if segments.last() == Some(&"self") && segments.len() > 1 {
            segments.pop();
        }
        if self.peek() == Some(Kind::Mark('*')) {
            self.at += 1;
        }
        if self.peek() == Some(Kind::Word("as")) {
            self.at += 2;
        }
        found.push(NamedPath { segments, line });
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        named(&lex(text).all).iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn groups_are_taken_apart() {
        assert_eq!(
            paths("use std::{fs::{self, File}, io as stdio, net::*};"),
            ["std::fs", "std::fs::File", "std::io", "std::net"]
        );
        assert_eq!(paths("use ::std::time; use a;"), ["std::time", "a"]);
    }

    #[test]
    fn expressions_and_types_are_read() {
        assert_eq!(paths("std::fs::File::open(a)"), ["std::fs::File::open", "a"]);
        assert_eq!(paths("Vec::<std::net::IpAddr>::new()"), ["Vec", "std::net::IpAddr", "new"]);
    }

    #[test]
    fn modules_match_whole_segments() {
        let path = NamedPath { segments: vec!["std", "fs", "File"], line: 1 };
        assert!(path.is_within("std::fs"));
        assert!(!path.is_within("std::f"));
        assert!(path.has("fs::File"));
        assert!(!path.has("std::File"));
    }

    #[test]
    fn broken_source_ends() {
        for text in ["use", "use a::{", "use {;}", "use a::{b c}", "a::", "use <'a>"] {
            drop(paths(text));
        }
    }
}
