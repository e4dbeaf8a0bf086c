//! A reader of JSON text that goes over a record once: it checks the grammar (RFC 8259), hands out each value as a
//! slice of the input, and hashes it by value on the way.
//!
//! It is ours, and not a parser from elsewhere, for three reasons that no parser meets together: a value must stay
//! available as the text it was (`extra` keeps numbers, escapes and duplicate keys that no typed value can hold), the
//! hash of every record is taken over values that are mostly looked at once, and the long texts must not be copied
//! more often than into their column.

use std::borrow::Cow;
use std::ops::Range;

use crate::digest::{ArrayHash, Hash, ObjectHash, hash_literal, hash_number, hash_text};

/// How deep arrays and objects may nest in a record.
pub(crate) const MAX_DEPTH: u32 = 128;

/// How many members and elements a record may have, at all levels: some 300 times what the vendor shows. Each may cost
/// a hundred bytes of memory, however few it has in the text.
const MAX_VALUES: u32 = 250_000;

/// Stands for the hash of what is passed over.
pub(crate) const UNHASHED: Hash = Hash(0);

/// What is wrong with a text, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub(crate) at: usize,
    pub(crate) expected: &'static str,
}

/// One value: what it is, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// The value as it stands in the input, quotes and brackets included; empty when it is absent.
    pub(crate) raw: &'a str,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no such member.
    Absent,
    Null,
    Bool(bool),
    Number,
    /// A string without escapes: its content is `raw` without the quotes.
    Text,
    /// A string with escapes: its content stands in the arena.
    Unescaped(Span),
    /// A string that holds half a surrogate pair, which no UTF-8 can: the arena has U+FFFD in its place.
    Lossy(Span),
    Array,
    Object,
}

/// A range of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl<'a> Value<'a> {
    pub(crate) const ABSENT: Self = Self {
        raw: "",
        kind: Kind::Absent,
    };

    pub(crate) fn is_absent(&self) -> bool {
        self.kind == Kind::Absent
    }

    /// The content of a string; `None` for every other value.
    pub(crate) fn text<'s>(&self, arena: &'s Arena) -> Option<&'s str>
    where
        'a: 's,
    {
        match self.kind {
            Kind::Text => Some(&self.raw[1..self.raw.len() - 1]),
            Kind::Unescaped(span) | Kind::Lossy(span) => Some(arena.text(span)),
            _ => None,
        }
    }

    /// The same, and `None` too where the content is not exactly what the input says.
    pub(crate) fn exact_text<'s>(&self, arena: &'s Arena) -> Option<&'s str>
    where
        'a: 's,
    {
        if matches!(self.kind, Kind::Lossy(_)) {
            None
        } else {
            self.text(arena)
        }
    }
}

/// Where strings with escapes are put once they are unescaped; emptied from record to record.
#[derive(Debug, Default)]
pub(crate) struct Arena(String);

impl Arena {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn text(&self, span: Span) -> &str {
        &self.0[Range::from(span)]
    }

    fn mark(&self) -> u32 {
        u32::try_from(self.0.len())
            .expect("a record is far smaller than 4 GiB, and unescaping never makes it larger")
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start as usize..span.end as usize
    }
}

/// Reads one text from the front to the back.
pub(crate) struct Parser<'a, 'b> {
    text: &'a str,
    at: usize,
    depth: u32,
    /// How many more members and elements may come, at all levels.
    values_left: u32,
    arena: &'b mut Arena,
}

impl<'a, 'b> Parser<'a, 'b> {
    pub(crate) fn new(text: &'a str, arena: &'b mut Arena) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            values_left: MAX_VALUES,
            arena,
        }
    }

    /// Reads JSON that was made here out of a record, and so may have a few values more than one.
    pub(crate) fn of_own(text: &'a str, arena: &'b mut Arena) -> Self {
        Self {
            values_left: u32::MAX,
            ..Self::new(text, arena)
        }
    }

    pub(crate) fn arena(&self) -> &Arena {
        self.arena
    }

    /// The first byte of the next value, white space passed over; `None` at the end.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.skip_white_space();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Ends the reading: nothing but white space may follow.
    pub(crate) fn finish(mut self) -> Result<(), JsonError> {
        if self.peek().is_none() {
            Ok(())
        } else {
            self.fail("the end of the record")
        }
    }

    /// Reads the next value, whatever it is.
    pub(crate) fn value(&mut self) -> Result<(Value<'a>, Hash), JsonError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(|parser, _| Ok(parser.nested_value()?.1)),
            Some(b'[') => self.array(|parser, _| Ok(parser.nested_value()?.1)),
            Some(b't') => self.literal("true", Kind::Bool(true)),
            Some(b'f') => self.literal("false", Kind::Bool(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                self.at = start;
                self.fail("a value")
            }
        }
    }

    /// Passes over the next value: it is checked and neither hashed nor unescaped. Gives it as it stands.
    pub(crate) fn skip(&mut self) -> Result<&'a str, JsonError> {
        let (value, _) = match self.peek() {
            Some(b'"') => return self.skip_string(),
            Some(b'{') => self.object(|parser, _| parser.skip().map(|_| UNHASHED))?,
            Some(b'[') => self.array(|parser, _| parser.skip().map(|_| UNHASHED))?,
            _ => self.value()?,
        };
        Ok(value.raw)
    }

    fn skip_string(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.at = self.plain_end(start + 1)?;
        while !self.ends_string() {
            self.escape()?;
            self.at = self.plain_end(self.at)?;
        }
        Ok(&self.text[start..self.at])
    }

    /// A value inside one that is kept as text only: what it unescapes is needed for its hash alone.
    pub(crate) fn nested_value(&mut self) -> Result<(Value<'a>, Hash), JsonError> {
        let mark = self.arena.0.len();
        let value = self.value();
        self.arena.0.truncate(mark);
        value
    }

    /// Reads an object; `member` reads the value of each key and gives its hash.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Value<'a>) -> Result<Hash, JsonError>,
    ) -> Result<(Value<'a>, Hash), JsonError> {
        let start = self.open(b'{', "an object")?;
        let mut hash = ObjectHash::new();
        if self.peek() != Some(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return self.fail("a key in quotes");
                }
                self.count()?;
                let (key, key_hash) = self.string()?;
                self.expect(b':', "`:` after a key")?;
                hash.add(key_hash, member(self, key)?);
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return self.fail("`,` or `}` in an object"),
                }
            }
        }
        Ok((self.close(start, Kind::Object), hash.finish()))
    }

    /// Reads an array; `element` reads each value, whose index it is given, and gives its hash.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<Hash, JsonError>,
    ) -> Result<(Value<'a>, Hash), JsonError> {
        let start = self.open(b'[', "an array")?;
        let mut hash = ArrayHash::new();
        if self.peek() != Some(b']') {
            for index in 0.. {
                self.count()?;
                hash.add(element(self, index)?);
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return self.fail("`,` or `]` in an array"),
                }
            }
        }
        Ok((self.close(start, Kind::Array), hash.finish()))
    }

    fn count(&mut self) -> Result<(), JsonError> {
        let Some(left) = self.values_left.checked_sub(1) else {
            return self.fail("at most 250000 members and elements in a record");
        };
        self.values_left = left;
        Ok(())
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<usize, JsonError> {
        let start = {
            self.skip_white_space();
            self.at
        };
        self.expect(bracket, expected)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("at most 128 levels of arrays and objects");
        }
        Ok(start)
    }

    fn close(&mut self, start: usize, kind: Kind) -> Value<'a> {
        self.at += 1;
        self.depth -= 1;
        Value {
            raw: &self.text[start..self.at],
            kind,
        }
    }

    fn literal(&mut self, word: &'static str, kind: Kind) -> Result<(Value<'a>, Hash), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("a value");
        }
        let raw = &self.text[self.at..self.at + word.len()];
        self.at += word.len();
        Ok((Value { raw, kind }, hash_literal(word)))
    }

    fn number(&mut self) -> Result<(Value<'a>, Hash), JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start + usize::from(bytes[start] == b'-');
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let whole = digits(at);
        if whole == at || (bytes[at] == b'0' && whole > at + 1) {
            self.at = at;
            return self.fail("a number as JSON writes it");
        }
        at = whole;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            if fraction == at + 1 {
                self.at = fraction;
                return self.fail("a digit after the decimal point");
            }
            at = fraction;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at + 1 + sign);
            if exponent == at + 1 + sign {
                self.at = exponent;
                return self.fail("a digit in the exponent");
            }
            at = exponent;
        }
        self.at = at;
        let raw = &self.text[start..at];
        Ok((
            Value {
                raw,
                kind: Kind::Number,
            },
            hash_number(raw),
        ))
    }

    fn string(&mut self) -> Result<(Value<'a>, Hash), JsonError> {
        let start = self.at;
        let content = start + 1;
        self.at = self.plain_end(content)?;
        if self.text.as_bytes()[self.at] == b'"' {
            let text = &self.text[content..self.at];
            self.at += 1;
            let value = Value {
                raw: &self.text[start..self.at],
                kind: Kind::Text,
            };
            return Ok((value, hash_text(text.as_bytes())));
        }
        self.string_with_escapes(start)
    }

    /// Goes on with a string at its first backslash.
    fn string_with_escapes(&mut self, start: usize) -> Result<(Value<'a>, Hash), JsonError> {
        let mark = self.arena.mark();
        self.arena.0.push_str(&self.text[start + 1..self.at]);
        // Half a surrogate pair has no UTF-8: such a string is hashed from a copy in the generalised form (WTF-8).
        let mut generalised: Option<Vec<u8>> = None;
        loop {
            let before = self.arena.0.len();
            match self.escape()? {
                Escape::Char(char) => self.arena.0.push(char),
                Escape::LoneSurrogate(unit) => {
                    let bytes = generalised
                        .get_or_insert_with(|| self.arena.0.as_bytes()[mark as usize..].to_vec());
                    bytes.extend([
                        0xE0 | (unit >> 12) as u8,
                        0x80 | (unit >> 6 & 0x3F) as u8,
                        0x80 | (unit & 0x3F) as u8,
                    ]);
                    self.arena.0.push(char::REPLACEMENT_CHARACTER);
                    let plain = self.plain_stretch()?;
                    bytes.extend_from_slice(plain.as_bytes());
                    self.arena.0.push_str(plain);
                    if self.ends_string() { break } else { continue }
                }
            }
            let plain = self.plain_stretch()?;
            self.arena.0.push_str(plain);
            if let Some(bytes) = &mut generalised {
                bytes.extend_from_slice(&self.arena.0.as_bytes()[before..]);
            }
            if self.ends_string() {
                break;
            }
        }
        let span = Span {
            start: mark,
            end: self.arena.mark(),
        };
        let raw = &self.text[start..self.at];
        Ok(match generalised {
            Some(bytes) => (
                Value {
                    raw,
                    kind: Kind::Lossy(span),
                },
                hash_text(&bytes),
            ),
            None => (
                Value {
                    raw,
                    kind: Kind::Unescaped(span),
                },
                hash_text(self.arena.text(span).as_bytes()),
            ),
        })
    }

    /// The text up to the next quote or backslash.
    fn plain_stretch(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.at = self.plain_end(start)?;
        Ok(&self.text[start..self.at])
    }

    /// Whether the string ends here; if so, passes over its quote.
    fn ends_string(&mut self) -> bool {
        // Spelled with a branch: `self.at += usize::from(ends)` loses the addition in optimised builds of rustc 1.95.0
        // (LLVM 22.1.2), which the tests below show when they run with `--release`.
        if self.text.as_bytes()[self.at] != b'"' {
            return false;
        }
        self.at += 1;
        true
    }

    /// Where the next quote or backslash stands; everything before it is checked to be allowed in a string.
    fn plain_end(&mut self, start: usize) -> Result<usize, JsonError> {
        // Most strings are short keys and ids: for them a loop is quicker than setting up a search.
        const SHORT: usize = 16;
        let bytes = self.text.as_bytes();
        let mut at = start;
        let short_end = bytes.len().min(start + SHORT);
        while at < short_end {
            match bytes[at] {
                b'"' | b'\\' => return Ok(at),
                0..0x20 => return self.fail_at(at, "no control character in a string"),
                _ => at += 1,
            }
        }
        let Some(length) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else {
            return self.fail_at(bytes.len(), "the end of a string");
        };
        let stretch = &bytes[at..at + length];
        if stretch.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
            let offset = stretch.iter().position(|byte| *byte < 0x20).unwrap_or(0);
            return self.fail_at(at + offset, "no control character in a string");
        }
        Ok(at + length)
    }

    fn escape(&mut self) -> Result<Escape, JsonError> {
        let escape = self.text.as_bytes().get(self.at + 1).copied();
        let char = match escape {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return self.fail("an escape that JSON knows"),
        };
        self.at += 2;
        Ok(Escape::Char(char))
    }

    fn unicode_escape(&mut self) -> Result<Escape, JsonError> {
        let Some(unit) = self.code_unit(self.at) else {
            return self.fail("four hexadecimal digits after `\\u`");
        };
        self.at += 6;
        if let Some(char) = char::from_u32(unit) {
            return Ok(Escape::Char(char));
        }
        let low = if unit < 0xDC00 {
            self.code_unit(self.at)
        } else {
            None
        };
        match low {
            Some(low @ 0xDC00..=0xDFFF) => {
                self.at += 6;
                let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                Ok(Escape::Char(
                    char::from_u32(code).expect("a pair of surrogates is a character"),
                ))
            }
            _ => Ok(Escape::LoneSurrogate(unit)),
        }
    }

    /// The value of the escape `\uXXXX` at `at`; `None` when none stands there.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let escape = self.text.as_bytes().get(at..at + 6)?;
        if !escape.starts_with(b"\\u") || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(expected)
        }
    }

    fn skip_white_space(&mut self) {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    pub(crate) fn fail<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        self.fail_at(self.at, expected)
    }

    fn fail_at<T>(&self, at: usize, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at, expected })
    }
}

/// The text of a value without the white space between its tokens.
pub(crate) fn compact(raw: &str) -> Cow<'_, str> {
    let mut in_string = false;
    let mut escaped = false;
    let keep = move |char: char| {
        let kept = in_string || !matches!(char, ' ' | '\n' | '\r' | '\t');
        let ends_or_starts = char == '"' && !escaped;
        escaped = in_string && char == '\\' && !escaped;
        in_string ^= ends_or_starts;
        kept
    };
    if raw.chars().all(keep) {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(
        raw.chars()
            .filter({
                let mut keep = keep;
                move |char| keep(*char)
            })
            .collect(),
    )
}

enum Escape {
    Char(char),
    LoneSurrogate(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Hash, JsonError> {
        let mut arena = Arena::default();
        let mut parser = Parser::new(text, &mut arena);
        let (_, hash) = parser.value()?;
        parser.finish()?;
        Ok(hash)
    }

    fn text_of(json: &str) -> String {
        let mut arena = Arena::default();
        let (value, _) = Parser::new(json, &mut arena).value().unwrap();
        value.text(&arena).unwrap().to_owned()
    }

    #[test]
    fn strings_are_unescaped() {
        assert_eq!(
            text_of(r#""a\"\\\/\b\f\n\r\tz""#),
            "a\"\\/\u{8}\u{c}\n\r\tz"
        );
        assert_eq!(text_of(r#""\u00e9\ud83d\ude00 and 👉""#), "é😀 and 👉");
        assert_eq!(text_of(r#""x\ud800y""#), "x\u{FFFD}y");
        assert_eq!(
            text_of(r#""\udc00\ud800\ud800""#),
            "\u{FFFD}\u{FFFD}\u{FFFD}"
        );
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_stands() {
        let error = |text| {
            let JsonError { at, expected } = parse(text).unwrap_err();
            format!("{at}: {expected}")
        };
        assert_eq!(error("NaN"), "0: a value");
        assert_eq!(error("01"), "0: a number as JSON writes it");
        assert_eq!(error("1."), "2: a digit after the decimal point");
        assert_eq!(error("1e+"), "3: a digit in the exponent");
        assert_eq!(error("tru"), "0: a value");
        assert_eq!(error("{\"a\" 1}"), "5: `:` after a key");
        assert_eq!(error("{a: 1}"), "1: a key in quotes");
        assert_eq!(error("[1 2]"), "3: `,` or `]` in an array");
        assert_eq!(error("[1,]"), "3: a value");
        assert_eq!(error("{\"a\":1,}"), "7: a key in quotes");
        assert_eq!(error("\"abc"), "4: the end of a string");
        assert_eq!(error("\"a\nb\""), "2: no control character in a string");
        assert_eq!(
            error("\"0123456789012345678\u{1}\""),
            "20: no control character in a string"
        );
        assert_eq!(error(r#""\x""#), "1: an escape that JSON knows");
        assert_eq!(
            error(r#""\u12g4""#),
            "1: four hexadecimal digits after `\\u`"
        );
        assert_eq!(error("1 2"), "2: the end of the record");
        assert_eq!(
            error(&"[".repeat(200)),
            "129: at most 128 levels of arrays and objects"
        );
    }

    #[test]
    fn equal_values_have_equal_hashes_however_they_are_written() {
        let same = |a, b| assert_eq!(parse(a), parse(b), "{a} {b}");
        same(
            r#"{"a":1,"b":[true,null]}"#,
            "{ \"b\" : [ true , null ],\n \"a\" : 1.0 }",
        );
        same(r#""\u0041\n""#, r#""A\u000a""#);
        same(r#""\ud83d\ude00""#, "\"😀\"");
        same("1e2", "100");
        same("-0", "0.0e9");
        same("12.50", "1.25E+1");
    }

    #[test]
    fn other_values_have_other_hashes() {
        let texts = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "10",
            "0.1",
            "1e400",
            "1e401",
            "\"\"",
            "\"0\"",
            "\"null\"",
            "[]",
            "{}",
            "[[]]",
            "[null]",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "[1,[2]]",
            r#"{"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#""\ud800""#,
            r#""\ud801""#,
            "\"\u{FFFD}\"",
            "12345678901234567890123",
            "12345678901234567890124",
        ];
        let hashes: std::collections::HashSet<_> =
            texts.iter().map(|text| parse(text).unwrap()).collect();
        assert_eq!(hashes.len(), texts.len());
    }

    #[test]
    fn compacting_leaves_strings_alone() {
        assert_eq!(compact("{ \"a b\" : [ 1,\n 2 ] }"), "{\"a b\":[1,2]}");
        assert_eq!(compact(r#"{"a \" b \\": " x "}"#), r#"{"a \" b \\":" x "}"#);
        assert!(matches!(compact(r#"{"a":" "}"#), Cow::Borrowed(_)));
    }

    proptest! {
        /// serde_json, which is another hand's work, is the judge of what is JSON.
        #[test]
        fn accepts_what_serde_json_accepts(text in r#"[\[\]{}:,"\\u0-9a-f.eE+\-tnul \n]{0,24}"#) {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(parse(&text).is_ok(), theirs, "{}", text);
            let mut arena = Arena::default();
            let mut parser = Parser::new(&text, &mut arena);
            let skipped = parser.skip().and_then(|raw| parser.finish().map(|()| raw));
            prop_assert_eq!(skipped.clone().err(), parse(&text).err());
            prop_assert!(skipped.is_err() || skipped == Ok(text.trim()));
        }

        #[test]
        fn any_string_comes_back(content in any::<String>()) {
            let json = serde_json::to_string(&content).unwrap();
            prop_assert_eq!(text_of(&json), content.clone());
            let escaped: String = content.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{escaped}\"");
            prop_assert_eq!(text_of(&escaped), content);
            prop_assert_eq!(parse(&json), parse(&escaped));
        }
    }
}
