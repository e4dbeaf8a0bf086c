//! The body of a request for an export: which records it asks for.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::Value;

use super::answer::Answer;

/// A range of time and a kind of event that are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExportRequest {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    /// `thumbsUp` or `thumbsDown`.
    pub(super) event: Option<String>,
}

impl ExportRequest {
    /// Reads a body, or gives the refusal (412) that says what is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Answer> {
        Self::try_parse(body).map_err(|reason| {
            let message = format!("Validation errors/ Invalid arguments: {reason}");
            Answer::refusal(412, &message, 412)
        })
    }

    fn try_parse(body: &[u8]) -> Result<Self, &'static str> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "the body is no JSON")?;
        let filters = body.get("filters").ok_or("filters are missing")?;
        let time = |key: &str| filters.get(key).and_then(Value::as_str).and_then(utc);
        let from = time("from").ok_or("from is not a time in UTC")?;
        let to = time("to").ok_or("to is not a time in UTC")?;
        if to <= from {
            return Err("to is not after from");
        }
        if to - from > TimeDelta::days(7) {
            return Err("the range is longer than 7 days");
        }
        let event = match body.get("event") {
            None => None,
            Some(event) => match event.as_str() {
                Some(name @ ("thumbsUp" | "thumbsDown")) => Some(name.to_owned()),
                _ => return Err("event is neither thumbsUp nor thumbsDown"),
            },
        };
        Ok(Self { from, to, event })
    }
}

/// A time in ISO 8601 that ends in `Z`, or a date, which is its midnight, as older documents show it.
fn utc(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    if !text.ends_with('Z') {
        return None;
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_dates() {
        let request = ExportRequest::parse(
            br#"{"filters":{"from":"2025-06-28T10:19:18.209Z","to":"2025-07-01"},"event":"thumbsUp"}"#,
        )
        .unwrap();
        assert_eq!(request.from.timestamp_millis(), 1_751_105_958_209);
        assert_eq!(request.to.timestamp(), 1_751_328_000);
        assert_eq!(request.event.as_deref(), Some("thumbsUp"));
        let week =
            br#"{"filters":{"from":"2025-06-01T00:00:00.000Z","to":"2025-06-08T00:00:00.000Z"}}"#;
        assert!(ExportRequest::parse(week).is_ok());
    }

    #[test]
    fn refuses_what_the_documents_rule_out() {
        let from = r#""from":"2025-06-01T00:00:00.000Z""#;
        for (body, reason) in [
            ("{", "the body is no JSON"),
            ("{}", "filters are missing"),
            (r#"{"filters":{}}"#, "from is not a time in UTC"),
            (
                r#"{"filters":{"from":"2025-06-01T00:00:00+02:00","to":"2025-06-02"}}"#,
                "from is not a time in UTC",
            ),
            (
                &format!(r#"{{"filters":{{{from},"to":1751328000000}}}}"#),
                "to is not a time in UTC",
            ),
            (
                &format!(r#"{{"filters":{{{from},"to":"2025-06-01"}}}}"#),
                "to is not after from",
            ),
            (
                &format!(r#"{{"filters":{{{from},"to":"2025-06-08T00:00:00.001Z"}}}}"#),
                "the range is longer than 7 days",
            ),
            (
                &format!(r#"{{"filters":{{{from},"to":"2025-06-02"}},"event":"thumbsup"}}"#),
                "event is neither thumbsUp nor thumbsDown",
            ),
            (
                &format!(r#"{{"filters":{{{from},"to":"2025-06-02"}},"event":null}}"#),
                "event is neither thumbsUp nor thumbsDown",
            ),
        ] {
            let refusal = ExportRequest::parse(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.status(), 412);
            assert_eq!(
                refusal.body_text(),
                format!(
                    r#"{{"errors":[{{"msg":"Validation errors/ Invalid arguments: {reason}","code":412}}]}}"#
                )
            );
        }
    }
}
