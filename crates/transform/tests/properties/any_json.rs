//! JSON of any kind, the odd more often than the plain.

use crate::choices::Choices;
use crate::json::Json;

/// Keys that records have at some level, and keys that trip whoever addresses members by name.
pub(crate) const KEYS: &[&str] = &[
    "a",
    "_id",
    "searchRequestId",
    "event",
    "createdOn",
    "timeStampValue",
    "lMod",
    "__v",
    "query",
    "comments",
    "tags",
    "selectedFacets",
    "isDev",
    "answerDebug",
    "extractiveChunks",
    "generativeChunks",
    "prompt",
    "promptText",
    "moreInfo",
    "key",
    "value",
    "llmResponse",
    "responseDetails",
    "completionText",
    "answer",
    "chunkIds",
    "responseTime",
    "score",
    "chunkText",
    "chunkFrequency",
    "recordUrl",
    "additionalInfo",
    "docId",
    "sentToLLM",
    "answeringSource",
    "b",
    "",
    "0",
    "-",
    "a.b",
    "a/b",
    "/",
    "~",
    "~0",
    "~1",
    "~01",
    "absent",
    "verbatim",
    "rows",
    "/absent",
    "é👉",
    r#"\""#,
    r"\\",
    r"\u0000",
    r"\u0061",
    r"\u005fid",
    r"\ud800",
    r"\udc00",
    r"a\ud800",
    r"\ud83d\ude00",
    r"answerDebug\/0",
];

const SCALARS: &[&str] = &[
    "0",
    "null",
    "true",
    "false",
    "1",
    "-0",
    "-0.0",
    "1.0",
    "0.1",
    "1e0",
    "10e-1",
    "-1",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854775807.0",
    "123456789012345678901234567890",
    "0.1000000000000000055511151231257827",
    "0.30000000000000004",
    "3.141592653589793238462643383279",
    "123456789012345.6",
    "1e15",
    "1e16",
    "5e-324",
    "4.9406564584124654e-324",
    "1e-400",
    "1.7976931348623157e308",
    "1e400",
    "-1E+400",
    "1e99999999999999999999",
    "8963.1632",
    "1751105958209",
    "1751105958209.0",
    r#""""#,
    r#""a""#,
    r#""0""#,
    r#""-0""#,
    r#""007""#,
    r#""9223372036854775807""#,
    r#""0.5""#,
    r#""nan""#,
    r#""null""#,
    r#""search""#,
    r#""thumbsUp""#,
    r#""thumbs\u0044own""#,
    r#""q-1""#,
    r#""chk-1""#,
    r#""chk-02""#,
    r#""Chunk Title""#,
    r#""Page Number""#,
    r#""LLM Response Id""#,
    r#""Completion Time""#,
    r#""Rules\nchk-1: one\nchk-2: two""#,
    r#""2025-06-28T10:19:18.209Z""#,
    r#""2025-06-28T10:19:18.209999Z""#,
    r#""2025-06-28T12:19:18.209+02:00""#,
    r#""2025-06-28T10:19:60.000Z""#,
    r#""0000-01-01T00:00:00.000Z""#,
    r#""9999-12-31T23:59:59.999Z""#,
    r#""1969-12-31T23:59:59.999Z""#,
    r#""2025-02-30T00:00:00.000Z""#,
    r#""\u0000\b\f\n\r\t\/\\\"""#,
    r#""\ud800""#,
    r#""\uDFFF\uD800""#,
    r#""\ud83d\ude00""#,
    "\"👉 é \u{7f}\u{2028}\u{fffd}\"",
    r#""https://h/api/getMediaStream/f.pdf?n=1&s=a$$""#,
];

/// Texts of which strings are made.
const PIECES: &[&str] = &[
    "a", " ", "chk-1", "\\n", "\\\"", "\\\\", "\\u0000", "\\ud800", "\\udc00", "é", "👉", "/",
    "\\/", "{", "]", ",", ":", "\\u2028", "'", "\u{7f}",
];

/// Any value.
pub(crate) fn json(choices: &mut Choices<'_>, levels: usize) -> Json {
    match choices.below(if levels == 0 { 6 } else { 12 }) {
        0..=4 => scalar(choices),
        5 => match choices.below(8) {
            7 => deep(choices),
            3..=6 => Json::Object(Vec::new()),
            _ => Json::Array(Vec::new()),
        },
        6..=8 => {
            let length = choices.below(4);
            Json::Array((0..length).map(|_| json(choices, levels - 1)).collect())
        }
        _ => {
            let length = choices.below(5);
            Json::Object((0..length).map(|_| member(choices, levels - 1)).collect())
        }
    }
}

pub(crate) fn member(choices: &mut Choices<'_>, levels: usize) -> (String, Json) {
    (key(choices), json(choices, levels))
}

/// A key with its quotes.
pub(crate) fn key(choices: &mut Choices<'_>) -> String {
    if choices.once_in(12) {
        return string(choices);
    }
    format!("\"{}\"", choices.of(KEYS))
}

pub(crate) fn scalar(choices: &mut Choices<'_>) -> Json {
    Json::Scalar(match choices.below(12) {
        10 => string(choices),
        11 => number(choices),
        _ => choices.of(SCALARS).to_owned(),
    })
}

fn string(choices: &mut Choices<'_>) -> String {
    let length = choices.below(6);
    let pieces: String = (0..length).map(|_| choices.of(PIECES)).collect();
    format!("\"{pieces}\"")
}

fn number(choices: &mut Choices<'_>) -> String {
    let mut digits = |most: usize| -> String {
        let length = choices.below(most);
        (0..length)
            .map(|_| char::from(b'0' + choices.byte() % 10))
            .collect()
    };
    let whole = digits(24);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = digits(24);
    let power = digits(4);
    let mut number = String::new();
    if choices.once_in(3) {
        number.push('-');
    }
    number.push_str(whole);
    if !fraction.is_empty() {
        number.push('.');
        number.push_str(&fraction);
    }
    if !power.is_empty() {
        number.push_str(choices.of(&["e", "E-", "e+"]));
        number.push_str(&power);
    }
    number
}

/// A value nested to about the limit, which it may pass.
fn deep(choices: &mut Choices<'_>) -> Json {
    let levels = 110 + choices.below(20);
    let mut json = scalar(choices);
    for _ in 0..levels {
        json = match choices.below(2) {
            0 => Json::Array(vec![json]),
            _ => Json::Object(vec![(key(choices), json)]),
        };
    }
    json
}
