//! What each endpoint answers.

use std::io::Write;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{Method, header};
use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Api;
use super::answer::Answer;
use super::export_request::ExportRequest;
use super::links::LinkTerms;
use super::token::Tokens;
use crate::config::JobShape;
use crate::faults::{FaultKind, Met};
use crate::jobs::{Broken, Entry, Excess, Job, JobFaults, JobSpec, Look};
use crate::records::{Dice, JsonWriter, Purpose, ceil_ms};

/// Bytes of a request's body that are read at most.
pub(super) const REQUEST_BYTES: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const WEB_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>\
    <h1>Your session has ended</h1></body></html>\n";

/// What a request asks for.
pub(super) enum Ask {
    Export {
        app: String,
    },
    Job {
        app: String,
        id: String,
    },
    Fragment {
        name: String,
    },
    /// A link that leads to the signed one.
    Redirect {
        name: String,
    },
    Unknown,
}

/// The answer of a fault that takes the place of the endpoint's.
pub(super) fn fault_answer(fault: &FaultKind) -> Option<Answer> {
    const RATE_LIMIT: &str = "You've exceeded the per-minute rate limit. Please try again later.";
    let throttled = |retry_after: &str| {
        Answer::refusal(429, RATE_LIMIT, 429).with_header(header::RETRY_AFTER, retry_after)
    };
    Some(match fault {
        FaultKind::Status(status, body) => {
            let content_type = if body.starts_with('<') {
                "text/html; charset=utf-8"
            } else {
                "application/json"
            };
            Answer::raw(*status, content_type, body.clone())
        }
        FaultKind::RateLimit { retry_after: None } => Answer::refusal(429, RATE_LIMIT, 429),
        FaultKind::RateLimit {
            retry_after: Some(seconds),
        } => throttled(&seconds.to_string()),
        FaultKind::RateLimitUntil { seconds } => throttled(&http_date(
            Utc::now() + TimeDelta::seconds(i64::from(*seconds)),
        )),
        FaultKind::RateLimitText => Answer::refusal(200, RATE_LIMIT, 429),
        FaultKind::ExpiredLink => Answer::refusal(403, "The link has expired", 403),
        FaultKind::Html => Answer::raw(200, "text/html; charset=utf-8", WEB_PAGE),
        FaultKind::ReplayedToken => Tokens::replayed(),
        FaultKind::Reset | FaultKind::Down(_) => Answer::refusal(500, "nobody hears it", 500),
        _ => return None,
    })
}

/// The endpoint's answer; a refusal is an error.
pub(super) async fn answer(
    api: &Arc<Api>,
    ask: Ask,
    request: &Parts,
    body: &[u8],
    met: &Met,
) -> Result<Answer, Answer> {
    match ask {
        Ask::Export { app } => {
            check_verb(request, &Method::POST)?;
            check_caller(api, request, &app, met)?;
            let asked = ExportRequest::parse(body)?;
            let job = api.jobs.add(start_job(api, &asked, met));
            Ok(Answer::json(&job.created_answer()))
        }
        Ask::Job { app, id } => {
            check_verb(request, &Method::GET)?;
            check_caller(api, request, &app, met)?;
            let job = api
                .jobs
                .find(&id)
                .filter(|job| !job.is_gone() && !met.has(&FaultKind::JobGone))
                .ok_or_else(|| Answer::refusal(404, "Job not found", 404))?;
            Ok(Answer::json(&job.answer(&look(api, &job, met))))
        }
        Ask::Redirect { name } => {
            check_verb(request, &Method::GET)?;
            check_no_token(request)?;
            let query = request.uri.query().unwrap_or_default();
            let location = format!(
                "http://{}/api/getMediaStream/findly/{name}?{query}",
                api.address
            );
            Ok(Answer::raw(302, "text/plain", "").with_header(header::LOCATION, &location))
        }
        Ask::Fragment { name } => {
            check_verb(request, &Method::GET)?;
            check_no_token(request)?;
            let query = request.uri.query().unwrap_or_default();
            let (job, place) = api.links.follow(&name, query)?;
            let form = Form::of(api, met);
            let api = Arc::clone(api);
            // A fragment can be tens of megabytes: more than the threads that answer requests should be kept with.
            tokio::task::spawn_blocking(move || fragment_answer(&api, &job, place, form))
                .await
                .map_err(|_| Answer::refusal(500, "Internal Server Error", 500))
        }
        Ask::Unknown => Err(Answer::refusal(404, "Not Found", 404)),
    }
}

fn check_verb(request: &Parts, verb: &Method) -> Result<(), Answer> {
    if request.method == verb {
        return Ok(());
    }
    Err(Answer::refusal(405, "Method Not Allowed", 405))
}

fn check_caller(api: &Api, request: &Parts, app: &str, met: &Met) -> Result<(), Answer> {
    let token = request.headers.get("auth");
    let skews = met.iter().map(|fault| match fault {
        FaultKind::ClockSkew { seconds } => *seconds,
        _ => 0,
    });
    api.tokens
        .check(token.and_then(|token| token.to_str().ok()), skews.sum())?;
    if app != api.config.app_id {
        return Err(Answer::refusal(401, "Invalid SDK credentials", 4002));
    }
    Ok(())
}

/// A link carries its own permission; a token sent with it is a secret given to whoever serves the file.
fn check_no_token(request: &Parts) -> Result<(), Answer> {
    if request.headers.contains_key("auth") {
        let message = "A signed link takes no auth header";
        return Err(Answer::refusal(400, message, 400));
    }
    Ok(())
}

fn start_job(api: &Api, asked: &ExportRequest, met: &Met) -> Job {
    let config = &api.config;
    let from_ms = if config.from_inclusive {
        ceil_ms(asked.from)
    } else {
        after_ms(asked.from)
    };
    let to_ms = if config.to_inclusive {
        after_ms(asked.to)
    } else {
        ceil_ms(asked.to)
    };
    let spec = JobSpec {
        app_id: config.app_id.clone(),
        search_index_id: api.dataset.search_index_id().to_owned(),
        shape: config.shape,
        fragment_records: config.fragment_records,
        base: config.job_time_base,
        per_fragment: config.job_time_per_fragment,
        range: (asked.from, asked.to),
    };
    let mut entries = api.entries(from_ms, to_ms, asked.event.as_deref());
    for fault in met.iter() {
        spoil(&mut entries, fault, api, from_ms);
    }
    let faults = JobFaults {
        broken: broken(met),
        is_gone: met.has(&FaultKind::JobGone),
        is_backwards: met.has(&FaultKind::Backwards),
        empty: met.iter().find_map(|fault| match fault {
            FaultKind::Empty(shape) => Some(*shape),
            _ => None,
        }),
    };
    Job::start(entries, spec, api.now().timestamp_millis(), faults)
}

/// Makes of the records of a job what a fault makes of them.
fn spoil(entries: &mut Vec<Entry>, fault: &FaultKind, api: &Api, from_ms: i64) {
    let config = &api.config;
    let several = config.shape == JobShape::Auto && entries.len() > config.fragment_records;
    let second = if several {
        config.fragment_records.max(1)
    } else {
        1
    };
    match fault {
        FaultKind::RepeatRecord if entries.len() > 1 => entries[second] = entries[second - 1],
        FaultKind::ExtraRecord if !entries.is_empty() => {
            entries.insert(second, entries[second - 1]);
        }
        FaultKind::Strays { records } => {
            const DAY_MS: i64 = 86_400_000;
            const MINUTE_MS: i64 = 60_000;
            let before = api.entries(from_ms - DAY_MS, from_ms - MINUTE_MS, None);
            entries.extend(before.into_iter().take(*records));
        }
        FaultKind::OutOfOrder => {
            let dice = &mut Dice::new(api.config.fault_seed, Purpose::Fault, from_ms, u32::MAX);
            for place in (1..entries.len()).rev() {
                entries.swap(place, dice.below(place + 1));
            }
        }
        FaultKind::LateFeedback => entries.retain(|entry| match entry {
            Entry::Seeded(slot) | Entry::Earlier(slot) => {
                !matches!(slot.event(), Some("thumbsUp" | "thumbsDown"))
            }
            Entry::Extra(_) => true,
        }),
        FaultKind::EarlierRecords => {
            for entry in entries {
                if let Entry::Seeded(slot) = *entry {
                    *entry = Entry::Earlier(slot);
                }
            }
        }
        _ => {}
    }
}

/// The first whole millisecond after the time.
fn after_ms(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis() + 1
}

fn broken(met: &Met) -> Option<Broken> {
    met.iter().find_map(|fault| match fault {
        FaultKind::JobFailed(status) => Some(Broken {
            status: status.clone(),
            timed_out: false,
        }),
        FaultKind::JobTimedOut => Some(Broken {
            status: "INPROGRESS".to_owned(),
            timed_out: true,
        }),
        _ => None,
    })
}

fn look(api: &Api, job: &Arc<Job>, met: &Met) -> Look {
    let path = if api.config.redirect_links || met.has(&FaultKind::RedirectLinks) {
        "mediaRedirect"
    } else {
        "getMediaStream"
    };
    let host = if met.has(&FaultKind::RelativeLinks) {
        String::new()
    } else {
        format!("http://{}", api.address)
    };
    let terms = LinkTerms {
        is_dead: met.has(&FaultKind::DeadLinks),
        single_use: met.has(&FaultKind::SingleUseLinks),
    };
    let percentage = job.looked_at();
    let finished = job.is_finished() && percentage.is_none();
    let links = if finished {
        (0..job.files.len())
            .map(|place| {
                let link = api.links.issue(job, place, terms);
                format!("{host}/api/{path}/findly/{link}")
            })
            .collect()
    } else {
        Vec::new()
    };
    Look {
        finished,
        percentage,
        links,
        excess: Excess {
            records: usize::from(met.has(&FaultKind::WrongRecordCount)),
            total: usize::from(met.has(&FaultKind::WrongTotal)),
            files: usize::from(met.has(&FaultKind::WrongFileCount)),
        },
        broken: broken(met),
    }
}

/// How the records of a fragment are sent.
#[derive(Clone, Copy)]
struct Form {
    gzip: bool,
    bom: bool,
    ndjson: bool,
    wrapped: bool,
    /// Whether the last record is missing.
    short: bool,
}

impl Form {
    fn of(api: &Api, met: &Met) -> Self {
        Self {
            gzip: api.config.gzip || met.has(&FaultKind::Gzip),
            bom: api.config.bom || met.has(&FaultKind::Bom),
            ndjson: met.has(&FaultKind::Ndjson),
            wrapped: met.has(&FaultKind::Wrapped) && !met.has(&FaultKind::Ndjson),
            short: met.has(&FaultKind::WrongRecordCount),
        }
    }
}

fn fragment_answer(api: &Api, job: &Job, place: usize, form: Form) -> Answer {
    let mut entries = &job.entries[job.files[place].entries.clone()];
    if form.short {
        entries = &entries[..entries.len().saturating_sub(1)];
    }
    let bytes = fragment(api, entries, form);
    const CONTENT_TYPE: &str = "application/octet-stream";
    if !form.gzip {
        return Answer::raw(200, CONTENT_TYPE, bytes);
    }
    Answer::raw(200, CONTENT_TYPE, gzipped(&bytes)).with_header(header::CONTENT_ENCODING, "gzip")
}

fn fragment(api: &Api, entries: &[Entry], form: Form) -> Vec<u8> {
    let mut bytes = Vec::new();
    if form.bom {
        bytes.extend_from_slice(BYTE_ORDER_MARK);
    }
    if form.ndjson {
        for &entry in entries {
            let mut writer = JsonWriter::new(false);
            api.write(entry, &mut writer);
            bytes.append(&mut writer.into_bytes());
            bytes.push(b'\n');
        }
        return bytes;
    }
    let mut writer = JsonWriter::new(api.config.data.pretty);
    if form.wrapped {
        writer.begin_object();
        writer.key("result");
    }
    writer.begin_array();
    for &entry in entries {
        writer.element();
        api.write(entry, &mut writer);
    }
    writer.end_array();
    if form.wrapped {
        writer.end_object();
    }
    bytes.append(&mut writer.into_bytes());
    bytes
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes all that is written to it")
}

/// A time as a header has it: `Tue, 24 Jun 2025 10:00:00 GMT`.
pub(super) fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
