//! Writes JSON with its keys in the order they are given, compact or indented as the vendor's sample is.
//!
//! Records are written by hand and not through `serde_json`: the long texts are drawn from a corpus that keeps
//! them escaped, so most of a record is copied, which is what makes a gigabyte of records cheap.

use serde_json::Value;

/// Writer of one JSON text into a growing buffer.
#[derive(Debug)]
pub(crate) struct JsonWriter {
    out: Vec<u8>,
    pretty: bool,
    level: usize,
    /// Whether nothing stands yet in the object or array that is open.
    empty: bool,
}

impl JsonWriter {
    pub(crate) fn new(pretty: bool) -> Self {
        Self {
            out: Vec::new(),
            pretty,
            level: 0,
            empty: true,
        }
    }

    /// What is written and not taken out yet; it may be emptied at any time.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn begin_object(&mut self) {
        self.begin(b'{');
    }

    pub(crate) fn end_object(&mut self) {
        self.end(b'}');
    }

    pub(crate) fn begin_array(&mut self) {
        self.begin(b'[');
    }

    pub(crate) fn end_array(&mut self) {
        self.end(b']');
    }

    /// Starts the next element of an array; its value follows.
    pub(crate) fn element(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.new_line();
    }

    /// Starts the next member of an object; its value follows.
    pub(crate) fn key(&mut self, key: &str) {
        self.element();
        self.string(key);
        self.out
            .extend_from_slice(if self.pretty { b": " } else { b":" });
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.out.push(b'"');
        escape_into(text, &mut self.out);
        self.out.push(b'"');
    }

    /// Writes a string that is escaped already, given in pieces.
    pub(crate) fn escaped(&mut self, pieces: &[&str]) {
        self.out.push(b'"');
        for piece in pieces {
            self.out.extend_from_slice(piece.as_bytes());
        }
        self.out.push(b'"');
    }

    /// Writes a token that needs no quotes: a number, `true`, `null`.
    pub(crate) fn token(&mut self, token: &str) {
        self.out.extend_from_slice(token.as_bytes());
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Array(elements) => {
                self.begin_array();
                for element in elements {
                    self.element();
                    self.value(element);
                }
                self.end_array();
            }
            Value::Object(members) => {
                self.begin_object();
                for (key, member) in members {
                    self.key(key);
                    self.value(member);
                }
                self.end_object();
            }
            Value::String(text) => self.string(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.token(&value.to_string()),
        }
    }

    /// Writes a member whose value is a string.
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.string(text);
    }

    /// Writes a member whose value is a token.
    pub(crate) fn plain(&mut self, key: &str, token: &str) {
        self.key(key);
        self.token(token);
    }

    pub(crate) fn flag(&mut self, key: &str, flag: bool) {
        self.plain(key, if flag { "true" } else { "false" });
    }

    pub(crate) fn empty_array(&mut self, key: &str) {
        self.plain(key, "[]");
    }

    fn begin(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.level += 1;
        self.empty = true;
    }

    fn end(&mut self, bracket: u8) {
        self.level -= 1;
        if !self.empty {
            self.new_line();
        }
        self.out.push(bracket);
        self.empty = false;
    }

    fn new_line(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 4 * self.level, b' ');
        }
    }
}

/// Escapes a text as the vendor does: what JSON demands, and nothing else.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    escape_into(text, &mut out);
    String::from_utf8(out).expect("escaping adds ASCII to valid UTF-8")
}

fn escape_into(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indents_as_the_vendor_does() {
        let mut writer = JsonWriter::new(true);
        writer.value(&json!([{"a": [], "b": {"c": [1, null]}}, "x\"\n\u{1}’"]));
        let text = String::from_utf8(writer.into_bytes()).unwrap();
        assert_eq!(
            text,
            r#"[
    {
        "a": [],
        "b": {
            "c": [
                1,
                null
            ]
        }
    },
    "x\"\n\u0001’"
]"#
        );
    }

    #[test]
    fn writes_compact_text_that_parses_back() {
        let value = json!({"a": [true, 1.5, {"b": "\t\\"}], "c": {}});
        let mut writer = JsonWriter::new(false);
        writer.value(&value);
        let bytes = writer.into_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        assert!(!bytes.contains(&b'\n'));
    }
}
