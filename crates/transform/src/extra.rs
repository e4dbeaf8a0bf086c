//! What the columns of a row do not hold exactly: the `extra` column, format version 1.
//!
//! A JSON object. A name that begins with `/` is a JSON Pointer (RFC 6901) from the row's object, and its value is what
//! stands there, as it was written. Two names that no pointer can have say the rest:
//!
//! - `"absent": [pointer, …]`: members that the columns would suggest, and that are not there;
//! - `"verbatim": {pointer: text, …}`: objects in which a key stands twice, or is no Unicode, as text.
//!
//! Null for a row that the columns hold wholly, as they do for records shaped as the vendor documents them.

use crate::json::compact;
use crate::record::Verbatim;

/// Collects one row's `extra`; used for row after row.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    values: String,
    absent: String,
    verbatim: String,
    whole: String,
}

impl Extra {
    /// Keeps the value at `pointer`, which stands in the record as `raw`.
    pub(crate) fn set(&mut self, pointer: &str, raw: &str) {
        push_name(&mut self.values, pointer);
        self.values.push_str(&compact(raw));
    }

    /// Says that nothing stands at `pointer`.
    pub(crate) fn set_absent(&mut self, pointer: &str) {
        separate(&mut self.absent);
        push_json_string(&mut self.absent, pointer);
    }

    /// Keeps an object as text.
    pub(crate) fn set_verbatim(&mut self, verbatim: &Verbatim<'_>) {
        push_name(&mut self.verbatim, verbatim.pointer);
        push_json_string(&mut self.verbatim, verbatim.raw);
    }

    /// Forgets what was kept.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.absent.clear();
        self.verbatim.clear();
    }

    /// The row's `extra`, if there is any; the next row starts empty.
    pub(crate) fn take(&mut self) -> Option<&str> {
        if self.values.is_empty() && self.absent.is_empty() && self.verbatim.is_empty() {
            return None;
        }
        self.whole.clear();
        self.whole.push('{');
        self.whole.push_str(&self.values);
        for (name, content, open, close) in [
            ("absent", &self.absent, '[', ']'),
            ("verbatim", &self.verbatim, '{', '}'),
        ] {
            if !content.is_empty() {
                if self.whole.len() > 1 {
                    self.whole.push(',');
                }
                push_json_string(&mut self.whole, name);
                self.whole.push(':');
                self.whole.push(open);
                self.whole.push_str(content);
                self.whole.push(close);
            }
        }
        self.whole.push('}');
        self.clear();
        Some(&self.whole)
    }
}

fn push_name(json: &mut String, name: &str) {
    separate(json);
    push_json_string(json, name);
    json.push(':');
}

fn separate(json: &mut String) {
    if !json.is_empty() {
        json.push(',');
    }
}

fn push_json_string(json: &mut String, text: &str) {
    json.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_object_and_then_empty() {
        let mut extra = Extra::default();
        assert_eq!(extra.take(), None);
        extra.set("/a", "[ 1, 2 ]");
        extra.set_absent("/b");
        extra.set_verbatim(&Verbatim {
            node: 0,
            pointer: "",
            raw: r#"{"c":1,"c":2}"#,
        });
        assert_eq!(
            extra.take(),
            Some(r#"{"/a":[1,2],"absent":["/b"],"verbatim":{"":"{\"c\":1,\"c\":2}"}}"#)
        );
        assert_eq!(extra.take(), None);
        extra.set_absent("/b");
        assert_eq!(extra.take(), Some(r#"{"absent":["/b"]}"#));
    }
}
