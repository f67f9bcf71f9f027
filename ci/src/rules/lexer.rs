//! Splits Rust source into the words that mean something: no comments, no text in quotes.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'text> {
    /// An identifier or keyword, a raw one without its `r#`.
    Word(&'text str),
    /// `::`
    PathSeparator,
    /// Any other character that is not white space.
    Mark(char),
    /// A string, character or number.
    Literal,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'text> {
    /// What it is.
    pub(super) kind: Kind<'text>,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// A source file in tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lexed<'text> {
    /// All of them.
    pub(super) all: Vec<Token<'text>>,
    /// Those outside items marked `#[cfg(test)]`.
    pub(super) product: Vec<Token<'text>>,
    /// Modules in files of their own that are declared under `#[cfg(test)]`.
    pub(super) test_modules: Vec<&'text str>,
}

/// Lexes a whole file. Source that does not compile gives some tokens, never a panic.
pub(super) fn lex(text: &str) -> Lexed<'_> {
    let all = Lexer { text, at: 0, line: 1 }.tokens();
    let (product, test_modules) = without_tests(&all);
    Lexed { all, product, test_modules }
}

/// Whether `tokens` begin with these kinds.
pub(super) fn starts_with(tokens: &[Token<'_>], kinds: &[Kind<'_>]) -> bool {
    tokens.len() >= kinds.len() && tokens.iter().zip(kinds).all(|(token, kind)| token.kind == *kind)
}

struct Lexer<'text> {
    text: &'text str,
    at: usize,
    line: usize,
}

impl<'text> Lexer<'text> {
    fn tokens(mut self) -> Vec<Token<'text>> {
        let mut tokens = Vec::new();
        while let Some(first) = self.rest().chars().next() {
            let line = self.line;
            if let Some(kind) = self.next_kind(first) {
                tokens.push(Token { kind, line });
            }
        }
        tokens
    }

    /// Takes at least one character.
    fn next_kind(&mut self, first: char) -> Option<Kind<'text>> {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.take(rest.find('\n').unwrap_or(rest.len()));
            None
        } else if rest.starts_with("/*") {
            self.take(block_comment_bytes(rest));
            None
        } else if let Some(bytes) = string_bytes(rest) {
            self.take(bytes);
            Some(Kind::Literal)
        } else if first == '\'' {
            self.take(quote_bytes(rest));
            Some(Kind::Literal)
        } else if first.is_ascii_digit() {
            self.take(word_bytes(rest));
            Some(Kind::Literal)
        } else if is_word(first) {
            let raw = rest.strip_prefix("r#").filter(|name| name.starts_with(is_word));
            self.take(if raw.is_some() { 2 } else { 0 });
            Some(Kind::Word(self.take(word_bytes(self.rest()))))
        } else if rest.starts_with("::") {
            self.take(2);
            Some(Kind::PathSeparator)
        } else {
            self.take(first.len_utf8());
            (!first.is_whitespace()).then_some(Kind::Mark(first))
        }
    }

    fn rest(&self) -> &'text str {
        &self.text[self.at..]
    }

    fn take(&mut self, bytes: usize) -> &'text str {
        let taken = &self.rest()[..bytes];
        self.line += taken.matches('\n').count();
        self.at += bytes;
        taken
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn word_bytes(text: &str) -> usize {
    text.find(|character| !is_word(character)).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment_bytes(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the string that `text` begins with, its prefix and hashes included.
fn string_bytes(text: &str) -> Option<usize> {
    let prefix = ["", "b", "c", "r", "br", "cr"].into_iter().rfind(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"') || prefix.ends_with('r') && rest.trim_start_matches('#').starts_with('"')
        })
    })?;
    let body = &text[prefix.len()..];
    if !prefix.ends_with('r') {
        return Some(prefix.len() + quoted_bytes(body, b'"'));
    }
    let hashes = body.len() - body.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = prefix.len() + hashes + 1;
    Some(text[opening..].find(&end).map_or(text.len(), |at| opening + at + end.len()))
}

/// Length up to and with the next `quote` that no backslash escapes.
fn quoted_bytes(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of the character literal or lifetime that `text` begins with.
fn quote_bytes(text: &str) -> usize {
    let mut characters = text.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => quoted_bytes(text, b'\''),
        (Some(character), Some('\'')) => character.len_utf8() + 2,
        _ => 1 + word_bytes(&text[1..]),
    }
}

/// Leaves out what is compiled for tests only, and names the modules among it that lie in files of their own.
fn without_tests<'text>(tokens: &[Token<'text>]) -> (Vec<Token<'text>>, Vec<&'text str>) {
    let mut product = Vec::new();
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if starts_with(rest, &[Kind::Mark('#'), Kind::Mark('!'), Kind::Mark('[')]) && is_test_only(&rest[3..])
        {
            return (Vec::new(), modules);
        }
        if starts_with(rest, &[Kind::Mark('#'), Kind::Mark('[')]) && is_test_only(&rest[2..]) {
            let mut item = at + 1 + group_tokens(&rest[1..]);
            while starts_with(&tokens[item..], &[Kind::Mark('#'), Kind::Mark('[')]) {
                item += 1 + group_tokens(&tokens[item + 1..]);
            }
            at = item + item_tokens(&tokens[item..]);
            modules.extend(declared_module(&tokens[item..at]));
        } else {
            product.push(rest[0]);
            at += 1;
        }
    }
    (product, modules)
}

/// Whether an attribute, from its first word on, is `cfg(test)` or `cfg(all(…, test, …))`.
fn is_test_only(attribute: &[Token<'_>]) -> bool {
    if !starts_with(attribute, &[Kind::Word("cfg"), Kind::Mark('(')]) {
        return false;
    }
    let condition = &attribute[2..1 + group_tokens(&attribute[1..])];
    match condition.first().map(|token| token.kind) {
        Some(Kind::Word("test")) => true,
        Some(Kind::Word("all")) => {
            let has = |word| condition.iter().any(|token| token.kind == Kind::Word(word));
            has("test") && !has("not") && !has("any")
        }
        _ => false,
    }
}

/// Number of tokens from an opening bracket to the one that closes it.
fn group_tokens(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place + 1;
        }
    }
    tokens.len()
}

/// Number of tokens of an item, field, variant, arm or statement: to its `;`, its body's `}`, or, where it has no
/// keyword, its `,`.
fn item_tokens(tokens: &[Token<'_>]) -> usize {
    const ITEMS: &[&str] = &[
        "fn", "mod", "impl", "struct", "enum", "use", "const", "static", "trait", "type", "unsafe", "extern",
        "let",
    ];
    let has_keyword = tokens
        .iter()
        .take_while(|token| !matches!(token.kind, Kind::Mark(':' | ',' | ';' | '{' | '=')))
        .any(|token| matches!(token.kind, Kind::Word(word) if ITEMS.contains(&word)));
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Mark(';') => return at + 1,
            Kind::Mark(',') if !has_keyword => return at + 1,
            Kind::Mark(')' | ']' | '}') => return at,
            Kind::Mark('{') => return at + group_tokens(&tokens[at..]),
            Kind::Mark('(' | '[') => at += group_tokens(&tokens[at..]),
            _ => at += 1,
        }
    }
    tokens.len()
}

/// The name in `mod name;`.
fn declared_module<'text>(item: &[Token<'text>]) -> Option<&'text str> {
    match item {
        [.., Token { kind: Kind::Word("mod"), .. }, Token { kind: Kind::Word(name), .. }, end]
            if end.kind == Kind::Mark(';') =>
        {
            Some(name)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'text>(tokens: &[Token<'text>]) -> Vec<&'text str> {
        let word = |token: &Token<'text>| match token.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        };
        tokens.iter().filter_map(word).collect()
    }

    fn all(text: &str) -> Vec<&str> {
        words(&lex(text).all)
    }

    fn product(text: &str) -> Vec<&str> {
        words(&lex(text).product)
    }

    #[test]
    fn comments_vanish() {
        assert_eq!(all("a // b\n/// c\nd /* e /* f */ g */ h /* open"), ["a", "d", "h"]);
    }

    #[test]
    fn text_in_quotes_vanishes() {
        assert_eq!(all(r#"a("b \" c", 'd', '\'', b"e", c"f") g"#), ["a", "g"]);
        assert_eq!(all("a(r\"b\\\", r#\"c \" d\"#, br##\"e \"# f\"##) g"), ["a", "g"]);
    }

    #[test]
    fn lifetimes_and_raw_words_are_told_from_literals() {
        assert_eq!(
            all("fn a<'b>(c: &'b str, r#type: char) { 'é'; '{' }"),
            ["fn", "a", "c", "str", "type", "char"]
        );
        assert_eq!(all("1_000u64 0xffu8 b'x'"), ["b"]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let lexed = lex("/* a\n */ b \"c\n\" d\ne");
        let lines: Vec<usize> =
            lexed.all.iter().filter(|token| token.kind != Kind::Literal).map(|token| token.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn test_modules_and_items_are_left_out() {
        assert_eq!(
            product("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { if c { } } }\nfn d() {}"),
            ["fn", "a", "fn", "d"]
        );
        assert_eq!(product("#[cfg(test)] #[path = \"x\"] use a::{b, c}; fn d() {}"), ["fn", "d"]);
        assert_eq!(product("#[cfg(test)] fn a<B, C>() -> [u8; 4] { d } e"), ["e"]);
        assert_eq!(product("#![cfg(test)]\nfn a() {}"), Vec::<&str>::new());
        assert_eq!(
            product("#[cfg(all(test, not(loom)))] fn a() {} b"),
            ["cfg", "all", "test", "not", "loom", "fn", "a", "b"]
        );
    }

    #[test]
    fn test_fields_end_at_their_comma() {
        assert_eq!(product("struct A { #[cfg(test)] b: C, d: E }"), ["struct", "A", "d", "E"]);
        assert_eq!(product("struct A { d: E, #[cfg(test)] b: C } f"), ["struct", "A", "d", "E", "f"]);
    }

    #[test]
    fn product_code_under_other_conditions_stays() {
        assert_eq!(product("#[cfg(not(test))] fn a() {}"), ["cfg", "not", "test", "fn", "a"]);
        assert_eq!(product("#[cfg(any(test, loom))] b"), ["cfg", "any", "test", "loom", "b"]);
    }

    #[test]
    fn modules_for_tests_are_named() {
        let lexed = lex("#[cfg(test)]\npub(crate) mod model;\n#[cfg(test)]\nmod tests { }\nmod body;");
        assert_eq!(lexed.test_modules, ["model"]);
    }

    #[test]
    fn broken_source_gives_tokens_and_no_panic() {
        for text in ["\"open", "'", "r#\"open", "/* open", "#[cfg(test)", "#[cfg(", "}}}", "b'", "\"\\"] {
            drop(lex(text));
        }
    }
}
