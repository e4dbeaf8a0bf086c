//! What the columns of a row do not hold exactly: the `extra` column, whose format [`crate::restore`] documents.
//!
//! Null for a row that the columns hold wholly, as they do for records shaped as the vendor documents them.

use answerlake_model::JsonType;

use crate::digest::Hash;
use crate::drift::DriftNotes;
use crate::json::{Arena, JsonError, Kind, Parser, compact};
use crate::record::Verbatim;

/// Collects one row's `extra`; used for row after row.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    values: String,
    absent: String,
    verbatim: String,
    rows: String,
    whole: String,
    /// Where and as what things were put here.
    pub(crate) drift: DriftNotes,
}

impl Extra {
    /// Keeps the value at `pointer`, which stands in the record as `raw`.
    pub(crate) fn set(&mut self, pointer: &str, raw: &str) {
        self.drift.add(pointer, JsonType::of(raw));
        push_name(&mut self.values, pointer);
        self.values.push_str(&compact(raw));
    }

    /// Says that nothing stands at `pointer`.
    pub(crate) fn set_absent(&mut self, pointer: &str) {
        self.drift.add(pointer, JsonType::Absent);
        separate(&mut self.absent);
        push_json_string(&mut self.absent, pointer);
    }

    /// Keeps an object as text.
    pub(crate) fn set_verbatim(&mut self, verbatim: &Verbatim<'_>) {
        self.drift.add(verbatim.pointer, JsonType::Object);
        push_name(&mut self.verbatim, verbatim.pointer);
        push_json_string(&mut self.verbatim, verbatim.raw);
    }

    /// Says how many rows belong to the record.
    pub(crate) fn set_rows(&mut self, rows: RowCounts) {
        self.rows = format!(r#""chunks":{},"llm_calls":{}"#, rows.chunks, rows.llm_calls);
    }

    /// Forgets what was kept.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.absent.clear();
        self.verbatim.clear();
        self.rows.clear();
    }

    /// The row's `extra`, if there is any; the next row starts empty.
    pub(crate) fn take(&mut self) -> Option<&str> {
        let parts = [&self.values, &self.absent, &self.verbatim, &self.rows];
        if parts.iter().all(|part| part.is_empty()) {
            return None;
        }
        self.whole.clear();
        self.whole.push('{');
        self.whole.push_str(&self.values);
        for (name, content, open, close) in [
            ("absent", &self.absent, '[', ']'),
            ("verbatim", &self.verbatim, '{', '}'),
            ("rows", &self.rows, '{', '}'),
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

/// How many rows of the tables that do not count them belong to one search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowCounts {
    pub(crate) chunks: u64,
    pub(crate) llm_calls: u64,
}

/// One row's `extra`, read back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept<'a> {
    /// What stands at each pointer, as JSON.
    pub(crate) values: Vec<(String, &'a str)>,
    /// Where nothing stands.
    pub(crate) absent: Vec<String>,
    /// Objects as text, by pointer.
    pub(crate) verbatim: Vec<(String, String)>,
    pub(crate) rows: Option<RowCounts>,
}

impl<'a> Kept<'a> {
    /// Reads an `extra`; fails with what is wrong with it.
    pub(crate) fn read(json: &'a str) -> Result<Self, String> {
        let mut kept = Self::default();
        let mut arena = Arena::default();
        let mut unknown = None;
        let mut parser = Parser::of_own(json, &mut arena);
        parser
            .object(|parser, name| {
                let name = name.text(parser.arena()).unwrap_or_default().to_owned();
                match name.as_str() {
                    "absent" => kept.read_absent(parser),
                    "verbatim" => kept.read_verbatim(parser),
                    "rows" => kept.read_rows(parser),
                    _ => {
                        let (value, hash) = parser.nested_value()?;
                        if name.starts_with('/') {
                            kept.values.push((name, value.raw));
                        } else {
                            unknown = Some(name);
                        }
                        Ok(hash)
                    }
                }
            })
            .and_then(|_| parser.finish())
            .map_err(|error| format!("expected {} at byte {}", error.expected, error.at))?;
        match unknown {
            Some(name) => Err(format!("expected a JSON Pointer, got `{name}`")),
            None => Ok(kept),
        }
    }

    /// Whether anything is said of what stands below `pointer`.
    pub(crate) fn speaks_of_members_of(&self, pointer: &str) -> bool {
        let mut pointers = self.values.iter().map(|(at, _)| at).chain(&self.absent);
        pointers.any(|at| {
            at.strip_prefix(pointer)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }

    fn read_absent(&mut self, parser: &mut Parser<'a, '_>) -> Result<Hash, JsonError> {
        let (_, hash) = parser.array(|parser, _| {
            let (pointer, hash) = parser.value()?;
            let Some(pointer) = pointer.exact_text(parser.arena()) else {
                return parser.fail("a string");
            };
            self.absent.push(pointer.to_owned());
            Ok(hash)
        })?;
        Ok(hash)
    }

    fn read_verbatim(&mut self, parser: &mut Parser<'a, '_>) -> Result<Hash, JsonError> {
        let (_, hash) = parser.object(|parser, pointer| {
            let pointer = pointer.text(parser.arena()).unwrap_or_default().to_owned();
            let (text, hash) = parser.value()?;
            let Some(text) = text.exact_text(parser.arena()) else {
                return parser.fail("a string");
            };
            self.verbatim.push((pointer, text.to_owned()));
            Ok(hash)
        })?;
        Ok(hash)
    }

    fn read_rows(&mut self, parser: &mut Parser<'a, '_>) -> Result<Hash, JsonError> {
        let mut rows = RowCounts {
            chunks: 0,
            llm_calls: 0,
        };
        let (_, hash) = parser.object(|parser, table| {
            let is_chunks = table.text(parser.arena()) == Some("chunks");
            let (count, hash) = parser.value()?;
            let Some(count) = count
                .raw
                .parse()
                .ok()
                .filter(|_| count.kind == Kind::Number)
            else {
                return parser.fail("a number of rows");
            };
            if is_chunks {
                rows.chunks = count;
            } else {
                rows.llm_calls = count;
            }
            Ok(hash)
        })?;
        self.rows = Some(rows);
        Ok(hash)
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
    json.push_str(&json_string(text));
}

/// A text as a JSON string.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
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

    #[test]
    fn is_read_as_it_was_written() {
        let mut extra = Extra::default();
        extra.set("/a~1\"b", "[ 1, {\"c\":\"\\ud800\"} ]");
        extra.set_absent("/b");
        extra.set_verbatim(&Verbatim {
            node: 0,
            pointer: "/d",
            raw: "{\"\\ud800\": 1}",
        });
        let rows = RowCounts {
            chunks: 3,
            llm_calls: 1,
        };
        extra.set_rows(rows);
        let json = extra.take().unwrap();
        let kept = Kept::read(json).unwrap();
        assert_eq!(
            kept,
            Kept {
                values: vec![("/a~1\"b".to_owned(), r#"[1,{"c":"\ud800"}]"#)],
                absent: vec!["/b".to_owned()],
                verbatim: vec![("/d".to_owned(), r#"{"\ud800": 1}"#.to_owned())],
                rows: Some(rows),
            }
        );
        assert!(kept.speaks_of_members_of("") && !kept.speaks_of_members_of("/a"));
    }

    #[test]
    fn what_is_no_extra_is_refused() {
        let error = |json| Kept::read(json).unwrap_err();
        assert_eq!(error("[]"), "expected an object at byte 0");
        assert_eq!(error(r#"{"/a":}"#), "expected a value at byte 6");
        assert_eq!(error(r#"{"absent":[1]}"#), "expected a string at byte 12");
        assert_eq!(error(r#"{"new":1}"#), "expected a JSON Pointer, got `new`");
    }
}
