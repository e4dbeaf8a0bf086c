//! JSON by value, and a reader of it that shares nothing with the one under test.

use std::fmt::Write;

/// JSON as it is written: words, strings with their quotes and escapes, and what holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Scalar(String),
    Array(Vec<Json>),
    /// Members in order, twins included; keys with their quotes and escapes.
    Object(Vec<(String, Json)>),
}

/// What JSON means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Word(String),
    Number(Number),
    /// UTF-16, as JSON's escapes are: half a pair is a value of its own.
    Text(Vec<u16>),
    Array(Vec<Value>),
    /// Sorted: equal if the multisets of members are.
    Object(Vec<(Vec<u16>, Value)>),
}

/// `0.digits` times ten to the power of `exponent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number {
    is_negative: bool,
    digits: String,
    exponent: i128,
}

impl Json {
    /// Reads a text that holds one value and nothing else.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let json = reader.value()?;
        reader.space();
        match &text[reader.at..] {
            "" => Ok(json),
            rest => Err(format!("expected the end, got `{rest}`")),
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Scalar(quoted(text))
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Array(elements) => Value::Array(elements.iter().map(Self::value).collect()),
            Self::Object(members) => {
                let members = members.iter();
                let mut members: Vec<_> = members
                    .map(|(key, json)| (units(key), json.value()))
                    .collect();
                members.sort();
                Value::Object(members)
            }
            Self::Scalar(text) => match text.as_bytes()[0] {
                b'"' => Value::Text(units(text)),
                b't' | b'f' | b'n' => Value::Word(text.clone()),
                _ => Value::Number(Number::parse(text)),
            },
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scalar(text) => f.write_str(text),
            Self::Array(elements) => {
                f.write_char('[')?;
                for (index, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if index > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                f.write_char('{')?;
                for (index, (key, json)) in members.iter().enumerate() {
                    write!(f, "{}{key}:{json}", if index > 0 { ", " } else { "" })?;
                }
                f.write_char('}')
            }
        }
    }
}

impl Number {
    fn parse(text: &str) -> Self {
        let (mantissa, power) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse().unwrap()),
            None => (text, 0_i128),
        };
        let is_negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches('-');
        let whole_digits = mantissa.find('.').unwrap_or(mantissa.len());
        let digits = mantissa.replace('.', "");
        let significant = digits.trim_start_matches('0');
        let exponent = power + whole_digits as i128 - (digits.len() - significant.len()) as i128;
        let significant = significant.trim_end_matches('0');
        if significant.is_empty() {
            return Self {
                is_negative: false,
                digits: String::new(),
                exponent: 0,
            };
        }
        Self {
            is_negative,
            digits: significant.to_owned(),
            exponent,
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a string with its quotes and escapes says.
fn units(raw: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut chars = raw[1..raw.len() - 1].chars();
    while let Some(char) = chars.next() {
        let plain = match char {
            '\\' => match chars.next().unwrap() {
                'u' => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).unwrap());
                    continue;
                }
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                same => same,
            },
            plain => plain,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    units
}

/// Reads what is JSON; of what is not, it refuses most.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Json, String> {
        self.space();
        match self.next() {
            Some('{') => {
                let mut members = Vec::new();
                self.items('}', |reader| {
                    let key = reader.string()?;
                    reader.space();
                    reader.expect(':')?;
                    members.push((key, reader.value()?));
                    Ok(())
                })?;
                Ok(Json::Object(members))
            }
            Some('[') => {
                let mut elements = Vec::new();
                self.items(']', |reader| {
                    elements.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Json::Array(elements))
            }
            Some('"') => self.string().map(Json::Scalar),
            _ => {
                let rest = &self.text[self.at..];
                let is_part = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
                let end = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
                let word = &rest[..end];
                self.at += end;
                let is_number = || serde_json::from_str::<serde_json::Number>(word).is_ok();
                // serde_json knows the grammar; it refuses what no double holds, which JSON does not.
                let is_huge = || serde_json::from_str::<&serde_json::value::RawValue>(word).is_ok();
                if !word.is_empty() && (is_number() || is_huge()) {
                    return Ok(Json::Scalar(word.to_owned()));
                }
                Err(format!("expected a value, got `{word}`"))
            }
        }
    }

    /// Reads `item`s up to `close`, with commas between them.
    fn items(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.at += 1;
        self.space();
        if self.next() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.next() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        self.expect('"')?;
        loop {
            match self.next() {
                None => return Err("expected the end of a string".to_owned()),
                Some('"') => break,
                Some('\\') => self.at += 2,
                Some(char) => self.at += char.len_utf8(),
            }
        }
        self.at += 1;
        let raw = &self.text[start..self.at];
        serde_json::from_str::<&serde_json::value::RawValue>(raw)
            .map(|_| raw.to_owned())
            .map_err(|error| error.to_string())
    }

    fn expect(&mut self, expected: char) -> Result<(), String> {
        if self.next() != Some(expected) {
            return Err(format!("expected `{expected}` at byte {}", self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn next(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }
}

#[test]
fn values_are_told_apart_and_spellings_are_not() {
    let value = |text: &str| Json::parse(text).unwrap().value();
    for (a, b) in [
        ("1", "1.0"),
        ("-0", "0e9"),
        ("1200", "12e+2"),
        ("0.05", "5E-2"),
        (r#""\u0041\/""#, r#""A/""#),
        (r#""\ud83d\ude00""#, "\"😀\""),
        (r#"{"a":1,"b":[2]}"#, r#"{ "b" : [ 2 ], "\u0061" : 1 }"#),
    ] {
        assert_eq!(value(a), value(b), "{a} {b}");
    }
    for (a, b) in [
        ("1", "-1"),
        ("1", "10"),
        ("1e400", "1e401"),
        ("0.1", "0.10000000000000000001"),
        ("1", "\"1\""),
        ("null", "\"null\""),
        ("[]", "{}"),
        ("[1,2]", "[2,1]"),
        (r#"{"a":1}"#, r#"{"a":1,"a":1}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":1}"#),
        (r#""\ud800""#, r#""\ufffd""#),
    ] {
        assert_ne!(value(a), value(b), "{a} {b}");
    }
    for text in ["", "[1,]", "{\"a\"}", "[1", "nul", "01", "\"\\x\"", "1 2"] {
        assert!(Json::parse(text).is_err(), "{text}");
    }
}
