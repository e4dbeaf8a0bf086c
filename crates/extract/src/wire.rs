//! What the API sends.
//!
//! Read by hand out of loose JSON rather than into derived structs: the samples are hand-edited and have changed
//! their types before (`error` was `[]`, then `null`), so nothing is required but `_id` and `status`, and whatever
//! else has an unexpected type counts as absent.

use std::time::Duration;

use answerlake_model::JobId;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::error::Complaint;
use crate::job::ExportRequest;

/// The body of the POST that starts a job.
pub(crate) fn export_body(request: &ExportRequest) -> Vec<u8> {
    let millis = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut body = json!({
        "filters": {"from": millis(request.range.start()), "to": millis(request.range.end())},
    });
    if let Some(event) = request.event {
        body["event"] = event.name().into();
    }
    body.to_string().into_bytes()
}

/// The id of the job that a POST has started.
pub(crate) fn started_job(body: &[u8]) -> Result<JobId, String> {
    job_id(&object(body)?)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(without_bom(body)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("expected a JSON object".into()),
        // Of a proxy, a login or a firewall, mostly.
        Err(_) if without_bom(body).trim_ascii_start().starts_with(b"<") => {
            Err("expected a JSON object, got a web page".into())
        }
        Err(error) => Err(format!("expected a JSON object: {error}")),
    }
}

fn job_id(members: &Map<String, Value>) -> Result<JobId, String> {
    let text = members
        .get("_id")
        .and_then(Value::as_str)
        .ok_or("`_id` is missing or no string")?;
    JobId::try_new(text).map_err(|error| error.to_string())
}

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    Running {
        /// Whether the vendor's documents, or those of sibling APIs, name this status.
        known: bool,
    },
    Succeeded,
    Failed,
}

/// A job, as a GET shows it.
#[derive(Debug)]
pub(crate) struct JobReply {
    /// As the source spells it.
    pub(crate) status: String,
    pub(crate) state: JobState,
    pub(crate) percent: Option<f64>,
    /// What the job says of itself; masked.
    pub(crate) message: String,
    /// The whole of it, without the queries of links.
    pub(crate) shown: String,
    pub(crate) total_files: Option<u64>,
    pub(crate) total_records: Option<u64>,
    /// `analyticsFragments`, or `fileInfo` when that is all there is.
    pub(crate) files: Vec<FileReply>,
}

/// One file of a finished job. Not `Debug`: its link is a secret.
pub(crate) struct FileReply {
    pub(crate) url: Option<String>,
    pub(crate) records: Option<u64>,
    /// `(i, n)` when its name ends in `part_i_of_n`.
    pub(crate) part: Option<(u64, u64)>,
}

impl std::fmt::Debug for FileReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReply")
            .field("records", &self.records)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

impl JobReply {
    pub(crate) fn try_parse(body: &[u8]) -> Result<Self, String> {
        let members = object(body)?;
        job_id(&members)?;
        let status = members
            .get("status")
            .and_then(Value::as_str)
            .ok_or("`status` is missing or no string")?;
        let timed_out = members.get("timedOut") == Some(&Value::Bool(true));
        let store = |key: &str| count(members.get("store").and_then(|store| store.get(key)));
        Ok(Self {
            status: if timed_out {
                format!("{}, timed out", masked(status))
            } else {
                masked(status)
            },
            state: if timed_out {
                JobState::Failed
            } else {
                state(status)
            },
            percent: number(members.get("percentageDone")),
            message: job_message(&members),
            shown: shown(&members),
            total_files: store("totalFiles"),
            total_records: store("totalRecords"),
            files: files(&members),
        })
    }
}

/// Reads a status without regard to case, blanks, underscores and hyphens.
fn state(status: &str) -> JobState {
    let status: String = status
        .chars()
        .filter(|char| !char.is_whitespace() && !matches!(char, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect();
    let failed = ["fail", "error", "cancel", "stop", "abort", "timeout"]
        .iter()
        .any(|start| status.starts_with(start));
    if failed || (status.starts_with("timed") && status.ends_with("out")) {
        return JobState::Failed;
    }
    match status.as_str() {
        "success" | "completed" | "complete" | "done" => JobState::Succeeded,
        "inprogress" | "running" | "pending" | "queued" | "started" => {
            JobState::Running { known: true }
        }
        _ => JobState::Running { known: false },
    }
}

fn files(members: &Map<String, Value>) -> Vec<FileReply> {
    match members.get("analyticsFragments") {
        Some(Value::Array(fragments)) if !fragments.is_empty() => {
            fragments.iter().map(file).collect()
        }
        _ => {
            let legacy = members.get("fileInfo").map(file);
            legacy
                .into_iter()
                .filter(|file| file.url.is_some())
                .collect()
        }
    }
}

fn file(file: &Value) -> FileReply {
    let text = |key| {
        file.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    FileReply {
        url: text("fileUrl").map(str::to_owned),
        records: count(file.get("recordCount")),
        part: text("fileName").and_then(part),
    }
}

/// `(i, n)` of a name that ends in `part_i_of_n`, with or without an extension.
fn part(name: &str) -> Option<(u64, u64)> {
    let (_, numbers) = name.rsplit_once("part_")?;
    let (index, total) = numbers.split_once("_of_")?;
    let total = total.split_once('.').map_or(total, |(total, _)| total);
    Some((index.parse().ok()?, total.parse().ok()?))
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().trim_end_matches('%').parse().ok(),
        _ => None,
    }
}

fn count(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn job_message(members: &Map<String, Value>) -> String {
    let error = members.get("error").filter(|error| says_something(error));
    match (error, members.get("message")) {
        (Some(Value::String(error)), _) => masked(error),
        (Some(error), _) => masked(&error.to_string()),
        (None, Some(Value::String(message))) => masked(message),
        _ => "no message".into(),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// The error that a body holds: `errors`, `error` or `analyticsError`, of an object that is no job and no record.
pub(crate) fn complaint(body: &[u8]) -> Option<Complaint> {
    let members = object(body).ok()?;
    if members.contains_key("_id") {
        return None;
    }
    let error = ["errors", "error", "analyticsError"]
        .iter()
        .filter_map(|key| members.get(*key))
        .find(|error| says_something(error))?;
    Some(read_complaint(error))
}

/// What the body of a failed request says, whatever its form.
pub(crate) fn complaint_of_failure(body: &[u8]) -> Option<Complaint> {
    if let Some(complaint) = complaint(body) {
        return Some(complaint);
    }
    if let Ok(members) = object(body) {
        return Some(read_complaint(&Value::Object(members)));
    }
    let text = String::from_utf8_lossy(without_bom(body));
    let message = masked(&text);
    (!message.is_empty()).then_some(Complaint {
        message,
        code: None,
    })
}

fn read_complaint(error: &Value) -> Complaint {
    // Of several errors the first names the cause; the message keeps them all.
    let first = match error {
        Value::Array(items) => items.first().unwrap_or(error),
        _ => error,
    };
    let code = ["code", "errorCode", "status"]
        .iter()
        .find_map(|key| count(first.get(*key)));
    let text = |item: &Value| {
        let message = ["msg", "message", "error", "description"]
            .iter()
            .find_map(|key| item.get(*key).and_then(Value::as_str));
        match (message, item) {
            (Some(message), _) => message.to_owned(),
            (None, Value::String(message)) => message.clone(),
            (None, other) => other.to_string(),
        }
    };
    let message = match error {
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("; "),
        other => text(other),
    };
    Complaint {
        message: masked(&message),
        code,
    }
}

/// Text of the source, fit for errors and logs: one line, at most 200 characters, without what may be a secret
/// (queries of links, JWTs).
pub(crate) fn masked(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut masked = String::new();
    for word in text.split_whitespace() {
        if !masked.is_empty() {
            masked.push(' ');
        }
        masked.push_str(&masked_word(word));
        if masked.len() > LONGEST {
            break;
        }
    }
    match masked.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &masked[..end]),
        None => masked,
    }
}

/// A job without what may be a secret.
fn shown(members: &Map<String, Value>) -> String {
    fn mask(key: &str, value: &mut Value) {
        match value {
            Value::String(text) if key.to_lowercase().ends_with("url") => {
                // A link without a host is one all the same.
                if let Some(query) = text.find('?') {
                    text.truncate(query + 1);
                    text.push('…');
                }
            }
            Value::String(text) => {
                let words: Vec<String> = text.split(' ').map(masked_word).collect();
                *text = words.join(" ");
            }
            Value::Array(items) => items.iter_mut().for_each(|item| mask(key, item)),
            Value::Object(members) => members.iter_mut().for_each(|(key, item)| mask(key, item)),
            _ => {}
        }
    }
    let mut job = Value::Object(members.clone());
    mask("", &mut job);
    job.to_string()
}

fn masked_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(start) = word.find("eyJ") {
        word.truncate(start);
        word.push('…');
    }
    let scheme = word.find("://").or_else(|| word.find("getMediaStream"));
    let query = scheme.and_then(|start| word[start..].find('?').map(|at| start + at));
    if let Some(query) = query {
        word.truncate(query + 1);
        word.push('…');
    }
    word
}

/// The bytes after a byte order mark, if there is one.
pub(crate) fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

/// Reads `Retry-After`: seconds, or the time of an HTTP date. At least a second, so that no answer makes us spin, and
/// at most a day, so that no sum overflows.
pub(crate) fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let time = DateTime::parse_from_rfc2822(header).ok()?;
            (time.to_utc() - now).to_std().unwrap_or_default()
        }
    };
    Some(wait.clamp(Duration::from_secs(1), Duration::from_secs(86_400)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventFilter;
    use answerlake_model::Window;

    #[test]
    fn a_job_is_shown_without_the_queries_of_links() {
        let job = r#"{"_id":"fj-1","status":"SUCCESS","percentageDone":100,"error":null,"message":"a  b https://h/x?s=1$$ c",
            "analyticsFragments":[{"fileUrl":"/api/getMediaStream/findly/f-1.json?n=1&s=2$$","recordCount":3}],
            "fileInfo":{"fileUrl":"https://h/f.json"},"store":{"urlParams":"&batchtesting=true"}}"#;
        assert_eq!(
            parse(job).shown,
            r#"{"_id":"fj-1","analyticsFragments":[{"fileUrl":"/api/getMediaStream/findly/f-1.json?…","recordCount":3}],"error":null,"fileInfo":{"fileUrl":"https://h/f.json"},"message":"a  b https://h/x?… c","percentageDone":100,"status":"SUCCESS","store":{"urlParams":"&batchtesting=true"}}"#
        );
    }

    fn parse(json: &str) -> JobReply {
        JobReply::try_parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_body_is_what_the_vendor_documents() {
        let mut request = ExportRequest {
            app_id: "st-1".parse().unwrap(),
            range: Window::try_new(
                "2025-06-27T23:59:59Z".parse().unwrap(),
                "2025-06-29T00:00:01.5Z".parse().unwrap(),
            )
            .unwrap(),
            event: None,
        };
        let body = |request: &_| String::from_utf8(export_body(request)).unwrap();
        assert_eq!(
            body(&request),
            r#"{"filters":{"from":"2025-06-27T23:59:59.000Z","to":"2025-06-29T00:00:01.500Z"}}"#
        );
        request.event = Some(EventFilter::ThumbsDown);
        let with_event: Value = serde_json::from_str(&body(&request)).unwrap();
        assert_eq!(with_event["event"], "thumbsDown");
    }

    #[test]
    fn statuses_are_read_without_regard_to_spelling() {
        use JobState::{Failed, Running, Succeeded};
        for good in ["SUCCESS", "success", "Completed", " com_plete ", "DONE"] {
            assert_eq!(state(good), Succeeded, "{good}");
        }
        for bad in [
            "FAILED",
            "failure",
            "Error",
            "CANCELLED",
            "canceled",
            "STOPPED",
            "aborted",
            "TIMED_OUT",
            "timed out",
            "Timed-Out",
            "timeout",
        ] {
            assert_eq!(state(bad), Failed, "{bad}");
        }
        for running in [
            "INPROGRESS",
            "in progress",
            "IN_PROGRESS",
            "running",
            "Queued",
        ] {
            assert_eq!(state(running), Running { known: true }, "{running}");
        }
        for unknown in ["media_in_progress", "PARTIAL", "", "successful soon"] {
            assert_eq!(state(unknown), Running { known: false }, "{unknown}");
        }
    }

    #[test]
    fn timed_out_is_a_failure_under_any_status() {
        let reply = parse(r#"{"_id": "fj-1", "status": "SUCCESS", "timedOut": true}"#);
        assert_eq!(reply.state, JobState::Failed);
    }

    #[test]
    fn only_id_and_status_are_required() {
        let reply = parse(
            r#"{"_id": "fj-1", "status": "x", "error": 5, "contentId": {}, "store": [], "fileInfo": "no",
                "analyticsFragments": {}, "percentageDone": null, "timedOut": "no"}"#,
        );
        assert!(reply.files.is_empty() && reply.percent.is_none() && reply.total_files.is_none());
        let fault = |json: &str| JobReply::try_parse(json.as_bytes()).unwrap_err();
        assert_eq!(
            fault(r#"{"_id": "fj-1"}"#),
            "`status` is missing or no string"
        );
        assert_eq!(
            fault(r#"{"status": "SUCCESS"}"#),
            "`_id` is missing or no string"
        );
        assert_eq!(fault("[]"), "expected a JSON object");
        assert_eq!(
            fault("\n<!DOCTYPE html>"),
            "expected a JSON object, got a web page"
        );
        assert!(
            started_job(br#"{"_id": "../x"}"#)
                .unwrap_err()
                .contains("is no job id")
        );
    }

    #[test]
    fn the_vendors_samples_are_read() {
        let reply = parse(include_str!("test_support/job-success-fragments.json"));
        assert_eq!(
            (reply.total_files, reply.total_records),
            (Some(3), Some(400))
        );
        let files: Vec<_> = reply
            .files
            .iter()
            .map(|file| (file.records, file.part))
            .collect();
        assert_eq!(
            files,
            [
                (Some(150), Some((1, 3))),
                (Some(150), Some((2, 3))),
                (Some(100), Some((3, 3)))
            ]
        );
        let reply = parse(include_str!("test_support/job-success-single.json"));
        assert_eq!((reply.total_files, reply.files.len()), (Some(1), 1));
        assert_eq!(
            (reply.files[0].records, reply.files[0].part),
            (Some(9), None)
        );
        let reply = parse(include_str!("test_support/job-success-legacy.json"));
        assert_eq!((reply.total_files, reply.files.len()), (None, 1));
        assert!(reply.files[0].url.as_ref().unwrap().ends_with("$$"));
        let reply = parse(include_str!("test_support/job-created.json"));
        assert_eq!(reply.state, JobState::Running { known: true });
        assert!(reply.files.is_empty());
    }

    #[test]
    fn complaints_are_found_in_their_known_forms() {
        let message = |body: &str| complaint(body.as_bytes()).map(|c| (c.message, c.code));
        let of = |message: &str, code| Some((message.to_owned(), code));
        assert_eq!(
            message(r#"{"errors":[{"msg":"Invalid JWT token","code":4002}]}"#),
            of("Invalid JWT token", Some(4002))
        );
        assert_eq!(
            message("\u{feff}{\"errors\":[{\"msg\":\"a\",\"code\":\"412\"},{\"msg\":\"b\"}]}"),
            of("a; b", Some(412))
        );
        assert_eq!(message(r#"{"error":{"message":"no"}}"#), of("no", None));
        assert_eq!(
            message(r#"{"result":[],"analyticsError":"temporarily unavailable."}"#),
            of("temporarily unavailable.", None)
        );
        for fine in [
            r#"{"_id":"fj-1","status":"FAILED","error":"boom"}"#,
            r#"{"error":null,"errors":[]}"#,
            r#"[{"errors":["x"]}]"#,
            "",
        ] {
            assert_eq!(message(fine), None, "{fine}");
        }
        let failure = |body: &str| complaint_of_failure(body.as_bytes()).map(|c| c.message);
        assert_eq!(
            failure("<html>\n Bad   Gateway").unwrap(),
            "<html> Bad Gateway"
        );
        assert_eq!(failure(r#"{"message":"no"}"#).unwrap(), "no");
        assert_eq!(failure(""), None);
    }

    #[test]
    fn secrets_in_messages_are_masked() {
        assert_eq!(
            masked("GET https://h/api/x.json?n=1&s=abc$$ with\n eyJhbGciOi.x.y failed?"),
            "GET https://h/api/x.json?… with … failed?"
        );
        assert_eq!(
            masked(r#"href="/api/getMediaStream/f?s=1""#),
            "href=\"/api/getMediaStream/f?…"
        );
        assert_eq!(masked(&"é".repeat(300)).chars().count(), 201);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2025-06-28T00:00:00Z".parse().unwrap();
        let read = |header| retry_after(header, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("0"), Some(1));
        assert_eq!(read("18446744073709551615"), Some(86_400));
        assert_eq!(read("Sat, 28 Jun 2025 00:01:30 GMT"), Some(90));
        assert_eq!(read("Fri, 27 Jun 2025 00:01:30 GMT"), Some(1));
        assert_eq!(read("soon"), None);
    }
}
