//! The builders of columns, and how a JSON value becomes a column's value.
//!
//! A conversion says both what the column gets and whether printing it again gives the value that was read; where it
//! does not, the caller keeps the value in `extra`.

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field};
use chrono::{DateTime, NaiveDate};
use std::sync::Arc;

use crate::digest::Decimal;
use crate::json::{Arena, Kind, Parser, Value, compact};
use crate::schema::ColumnKind;

/// Builds one column.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Time(TimestampMicrosecondBuilder),
    TextList(ListBuilder<StringBuilder>),
    Int32List(ListBuilder<Int32Builder>),
}

impl ColumnBuilder {
    pub(crate) fn new(kind: ColumnKind) -> Self {
        let element = |item| Arc::new(Field::new("element", item, false));
        match kind {
            ColumnKind::Text | ColumnKind::Json => Self::Text(StringBuilder::new()),
            ColumnKind::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnKind::Int32 => Self::Int32(Int32Builder::new()),
            ColumnKind::Int64 | ColumnKind::Int64InText => Self::Int64(Int64Builder::new()),
            ColumnKind::Float64 => Self::Float64(Float64Builder::new()),
            ColumnKind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnKind::TextList => Self::TextList(
                ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8)),
            ),
            ColumnKind::Int32List => Self::Int32List(
                ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32)),
            ),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::TextList(builder) => Arc::new(builder.finish()),
            Self::Int32List(builder) => Arc::new(builder.finish()),
        }
    }

    /// Appends a member of the record as `kind` wants it; says whether the column holds it exactly.
    pub(crate) fn append_member(
        &mut self,
        kind: ColumnKind,
        value: &Value<'_>,
        arena: &Arena,
    ) -> bool {
        match (self, kind) {
            (Self::Text(builder), ColumnKind::Json) => {
                let json =
                    (!matches!(value.kind, Kind::Absent | Kind::Null)).then(|| compact(value.raw));
                builder.append_option(json);
                value.kind != Kind::Null
            }
            (Self::Text(builder), _) => {
                builder.append_option(value.text(arena));
                value.exact_text(arena).is_some() || value.is_absent()
            }
            (Self::Bool(builder), _) => {
                let content = if let Kind::Bool(content) = value.kind {
                    Some(content)
                } else {
                    None
                };
                builder.append_option(content);
                content.is_some() || value.is_absent()
            }
            (Self::Int64(builder), ColumnKind::Int64InText) => {
                let text = value.exact_text(arena);
                let content = text
                    .and_then(|text| text.parse().ok())
                    .or_else(|| integer(value));
                builder.append_option(content);
                value.is_absent()
                    || content.is_some_and(|content: i64| text == Some(&content.to_string()))
            }
            (Self::Int64(builder), _) => {
                let content = integer(value);
                builder.append_option(content);
                content.is_some() || value.is_absent()
            }
            (Self::Float64(builder), _) => {
                let (content, exact) = float(value, arena);
                builder.append_option(content);
                exact || value.is_absent()
            }
            (Self::Time(builder), _) => {
                let time = value.exact_text(arena).and_then(parse_time);
                builder.append_option(time.map(|time| time.micros));
                time.is_some_and(|time| time.exact) || value.is_absent()
            }
            (Self::Int32(_) | Self::TextList(_) | Self::Int32List(_), _) => {
                unreachable!("columns of this kind are all derived")
            }
        }
    }

    // The derived columns know their kind; anything else is a mistake in the schema's lists, met by every test.

    pub(crate) fn append_text(&mut self, content: Option<&str>) {
        let Self::Text(builder) = self else {
            unreachable!("a text is appended to a text column")
        };
        builder.append_option(content);
    }

    pub(crate) fn append_bool(&mut self, content: Option<bool>) {
        let Self::Bool(builder) = self else {
            unreachable!("a truth value is appended to its column")
        };
        builder.append_option(content);
    }

    pub(crate) fn append_int32(&mut self, content: i32) {
        let Self::Int32(builder) = self else {
            unreachable!("a position is appended to its column")
        };
        builder.append_value(content);
    }

    pub(crate) fn append_int64(&mut self, content: Option<i64>) {
        let Self::Int64(builder) = self else {
            unreachable!("an integer is appended to its column")
        };
        builder.append_option(content);
    }

    pub(crate) fn append_float64(&mut self, content: Option<f64>) {
        let Self::Float64(builder) = self else {
            unreachable!("a number is appended to its column")
        };
        builder.append_option(content);
    }

    pub(crate) fn append_time(&mut self, micros: i64) {
        let Self::Time(builder) = self else {
            unreachable!("a time is appended to its column")
        };
        builder.append_value(micros);
    }

    pub(crate) fn append_texts<'t>(&mut self, texts: Option<impl Iterator<Item = &'t str>>) {
        let Self::TextList(builder) = self else {
            unreachable!("texts are appended to a list column")
        };
        let is_some = texts.is_some();
        for text in texts.into_iter().flatten() {
            builder.values().append_value(text);
        }
        builder.append(is_some);
    }

    pub(crate) fn append_int32s(&mut self, numbers: Option<&[i32]>) {
        let Self::Int32List(builder) = self else {
            unreachable!("positions are appended to a list column")
        };
        builder.values().append_slice(numbers.unwrap_or_default());
        builder.append(numbers.is_some());
    }
}

/// A number that is an integer and fits, however it is written.
pub(crate) fn integer(value: &Value<'_>) -> Option<i64> {
    if value.kind != Kind::Number {
        return None;
    }
    value
        .raw
        .parse()
        .ok()
        .or_else(|| Decimal::parse(value.raw).to_string().parse().ok())
}

/// A number, or a string that is one; and whether the column alone would give it back.
pub(crate) fn float(value: &Value<'_>, arena: &Arena) -> (Option<f64>, bool) {
    let finite = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    if value.kind != Kind::Number {
        // Rust reads `inf` and `nan` too; the filter leaves them out.
        return (value.exact_text(arena).and_then(finite), false);
    }
    let content = finite(value.raw);
    // Up to 15 digits survive the way to a double and back, whatever they are (IEEE 754, binary64).
    let short = value.raw.len() <= 15 && !value.raw.contains(['e', 'E']);
    let exact = content.is_some_and(|number| {
        short || Decimal::parse(&format!("{number:e}")) == Decimal::parse(value.raw)
    });
    (content, exact)
}

/// A time read from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Microseconds since 1970, UTC; finer parts are cut off.
    pub(crate) micros: i64,
    /// Whether the text is the time as the vendor writes it, `2025-06-28T10:19:26.740Z`.
    pub(crate) exact: bool,
}

/// Reads a time in ISO 8601 with its zone.
pub(crate) fn parse_time(text: &str) -> Option<Time> {
    if let Some(micros) = parse_documented_time(text.as_bytes()) {
        return Some(Time {
            micros,
            exact: true,
        });
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Time {
        micros: time.timestamp_micros(),
        exact: false,
    })
}

/// Reads `YYYY-MM-DDThh:mm:ss.sssZ`, and nothing else.
fn parse_documented_time(text: &[u8]) -> Option<i64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_u32, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + u32::from(byte - b'0'))
        })
    };
    let separators = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (23, b'Z'),
    ];
    if separators
        .iter()
        .any(|(at, separator)| text[*at] != *separator)
    {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 7)?, number(8, 10)?)?;
    let time = date.and_hms_milli_opt(
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19)?,
        number(20, 23)?,
    )?;
    Some(time.and_utc().timestamp_micros())
}

/// The strings of an array that holds nothing else, each exactly; `None` for any other value.
pub(crate) fn text_list(value: &Value<'_>) -> Option<Vec<String>> {
    let mut texts = Some(Vec::new());
    let mut arena = Arena::default();
    if value.kind != Kind::Array {
        return None;
    }
    let parsed = Parser::new(value.raw, &mut arena).array(|parser, _| {
        let (element, hash) = parser.value()?;
        match (element.exact_text(parser.arena()), &mut texts) {
            (Some(text), Some(texts)) => texts.push(text.to_owned()),
            _ => texts = None,
        }
        Ok(hash)
    });
    parsed.ok().and(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(json: &'a str, arena: &mut Arena) -> Value<'a> {
        Parser::new(json, arena).value().unwrap().0
    }

    fn exact(kind: ColumnKind, json: &str) -> (String, bool) {
        let mut arena = Arena::default();
        let value = value(json, &mut arena);
        let mut builder = ColumnBuilder::new(kind);
        let exact = builder.append_member(kind, &value, &arena);
        let array = builder.finish();
        // Printed without its zone: Arrow would want a time zone database to print even UTC.
        let array = match kind {
            ColumnKind::Time => arrow::compute::cast(
                &array,
                &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            )
            .unwrap(),
            _ => array,
        };
        let text = arrow::util::display::array_value_to_string(&array, 0).unwrap();
        (text, exact)
    }

    #[test]
    fn a_column_takes_what_it_can_and_says_whether_that_is_all() {
        let cases = [
            (ColumnKind::Float64, "0.75", "0.75", true),
            (ColumnKind::Float64, "1", "1.0", true),
            (
                ColumnKind::Float64,
                "0.30000000000000004",
                "0.30000000000000004",
                true,
            ),
            (
                ColumnKind::Float64,
                "0.3000000000000000400",
                "0.30000000000000004",
                true,
            ),
            (
                ColumnKind::Float64,
                "0.30000000000000005",
                "0.30000000000000004",
                false,
            ),
            (ColumnKind::Float64, "1e999", "", false),
            (ColumnKind::Float64, "\"0.5\"", "0.5", false),
            (ColumnKind::Float64, "\"\"", "", false),
            (ColumnKind::Float64, "\"inf\"", "", false),
            (
                ColumnKind::Int64,
                "9223372036854775807",
                "9223372036854775807",
                true,
            ),
            (ColumnKind::Int64, "9223372036854775808", "", false),
            (ColumnKind::Int64, "1.0", "1", true),
            (ColumnKind::Int64, "1.5", "", false),
            (ColumnKind::Int64, "\"1\"", "", false),
            (ColumnKind::Int64InText, "\"0\"", "0", true),
            (ColumnKind::Int64InText, "\"007\"", "7", false),
            (ColumnKind::Int64InText, "0", "0", false),
            (ColumnKind::Bool, "true", "true", true),
            (ColumnKind::Bool, "\"true\"", "", false),
            (ColumnKind::Bool, "null", "", false),
            (ColumnKind::Text, "\"a\\nb\"", "a\nb", true),
            (ColumnKind::Text, "\"\\ud800\"", "\u{FFFD}", false),
            (ColumnKind::Text, "1", "", false),
            (ColumnKind::Json, "[ 1 ]", "[1]", true),
            (ColumnKind::Json, "null", "", false),
            (
                ColumnKind::Time,
                "\"2025-06-28T10:19:26.740Z\"",
                "2025-06-28T10:19:26.740",
                true,
            ),
            (
                ColumnKind::Time,
                "\"2025-06-28T12:19:26.7401+02:00\"",
                "2025-06-28T10:19:26.740100",
                false,
            ),
            (ColumnKind::Time, "\"2025-02-30T10:19:26.740Z\"", "", false),
            (ColumnKind::Time, "\"yesterday\"", "", false),
        ];
        for (kind, json, content, is_exact) in cases {
            assert_eq!(
                exact(kind, json),
                (content.to_owned(), is_exact),
                "{kind:?} {json}"
            );
        }
    }

    #[test]
    fn lists_of_strings_hold_nothing_else() {
        let mut arena = Arena::default();
        let mut list = |json| text_list(&value(json, &mut arena));
        assert_eq!(list(r#"["a","\u0062"]"#).unwrap(), ["a", "b"]);
        assert_eq!(list("[]").unwrap(), [""; 0]);
        assert_eq!(list(r#"["a",1]"#), None);
        assert_eq!(list(r#"["\ud800"]"#), None);
        assert_eq!(list(r#""a""#), None);
    }
}
