//! What each endpoint answers.

use std::io::Write;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{Method, header};
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Api;
use super::answer::{Answer, Pace};
use super::export_request::ExportRequest;
use crate::config::JobShape;
use crate::faults::FaultKind;
use crate::jobs::{Broken, Excess, Job, JobSpec, Look};
use crate::records::{JsonWriter, ceil_ms};

/// Bytes of a request's body that are read at most.
const REQUEST_BYTES: usize = 1 << 20;

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
    match fault {
        FaultKind::Status(status, body) => {
            Some(Answer::raw(*status, "application/json", body.clone()))
        }
        FaultKind::RateLimit { retry_after } => {
            let answer = Answer::refusal(429, RATE_LIMIT, 429);
            Some(match retry_after {
                Some(seconds) => answer.with_header(header::RETRY_AFTER, &seconds.to_string()),
                None => answer,
            })
        }
        FaultKind::RateLimitText => Some(Answer::refusal(200, RATE_LIMIT, 429)),
        FaultKind::ExpiredLink => Some(Answer::refusal(403, "The link has expired", 403)),
        FaultKind::Html => Some(Answer::raw(200, "text/html; charset=utf-8", WEB_PAGE)),
        FaultKind::CutBody { .. }
        | FaultKind::CutText { .. }
        | FaultKind::WrongRecordCount
        | FaultKind::WrongFileCount
        | FaultKind::WrongTotal
        | FaultKind::RepeatRecord
        | FaultKind::JobFailed(_)
        | FaultKind::JobTimedOut => None,
    }
}

/// How the answer is sent.
pub(super) fn pace(api: &Api, ask: &Ask, fault: Option<&FaultKind>) -> Pace {
    Pace {
        cut_after: match fault {
            Some(FaultKind::CutBody { after }) => Some(*after),
            _ => None,
        },
        bytes_per_second: match ask {
            Ask::Fragment { .. } => api.config.bytes_per_second,
            _ => None,
        },
    }
}

/// The endpoint's answer; a refusal is an error.
pub(super) async fn answer(
    api: &Arc<Api>,
    ask: Ask,
    request: Request,
    fault: Option<&FaultKind>,
) -> Result<Answer, Answer> {
    match ask {
        Ask::Export { app } => {
            check_verb(&request, &Method::POST)?;
            check_caller(api, &request, &app)?;
            let body = axum::body::to_bytes(request.into_body(), REQUEST_BYTES)
                .await
                .map_err(|_| Answer::refusal(413, "Payload Too Large", 413))?;
            let asked = ExportRequest::parse(&body)?;
            let job = api.jobs.add(start_job(api, &asked, fault));
            Ok(Answer::json(&job.created_answer()))
        }
        Ask::Job { app, id } => {
            check_verb(&request, &Method::GET)?;
            check_caller(api, &request, &app)?;
            let job = api
                .jobs
                .find(&id)
                .ok_or_else(|| Answer::refusal(404, "Job not found", 404))?;
            Ok(Answer::json(&job.answer(&look(api, &job, fault))))
        }
        Ask::Redirect { name } => {
            check_verb(&request, &Method::GET)?;
            check_no_token(&request)?;
            let query = request.uri().query().unwrap_or_default();
            let location = format!(
                "http://{}/api/getMediaStream/findly/{name}?{query}",
                api.address
            );
            Ok(Answer::raw(302, "text/plain", "").with_header(header::LOCATION, &location))
        }
        Ask::Fragment { name } => {
            check_verb(&request, &Method::GET)?;
            check_no_token(&request)?;
            let query = request.uri().query().unwrap_or_default();
            let (job, place) = api.links.follow(&name, query)?;
            let short = matches!(fault, Some(FaultKind::WrongRecordCount));
            let api = Arc::clone(api);
            // A fragment can be tens of megabytes: more than the threads that answer requests should be kept with.
            tokio::task::spawn_blocking(move || fragment_answer(&api, &job, place, short))
                .await
                .map_err(|_| Answer::refusal(500, "Internal Server Error", 500))
        }
        Ask::Unknown => Err(Answer::refusal(404, "Not Found", 404)),
    }
}

fn check_verb(request: &Request, verb: &Method) -> Result<(), Answer> {
    if request.method() == verb {
        return Ok(());
    }
    Err(Answer::refusal(405, "Method Not Allowed", 405))
}

fn check_caller(api: &Api, request: &Request, app: &str) -> Result<(), Answer> {
    let token = request.headers().get("auth");
    api.tokens
        .check(token.and_then(|token| token.to_str().ok()))?;
    if app != api.config.app_id {
        return Err(Answer::refusal(401, "Invalid SDK credentials", 4002));
    }
    Ok(())
}

/// A link carries its own permission; a token sent with it is a secret given to whoever serves the file.
fn check_no_token(request: &Request) -> Result<(), Answer> {
    if request.headers().contains_key("auth") {
        let message = "A signed link takes no auth header";
        return Err(Answer::refusal(400, message, 400));
    }
    Ok(())
}

fn start_job(api: &Api, asked: &ExportRequest, fault: Option<&FaultKind>) -> Job {
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
    };
    let mut entries = api.entries(from_ms, to_ms, asked.event.as_deref());
    if matches!(fault, Some(FaultKind::RepeatRecord)) && entries.len() > 1 {
        let several = config.shape == JobShape::Auto && entries.len() > config.fragment_records;
        let place = if several {
            config.fragment_records.max(1)
        } else {
            1
        };
        entries[place] = entries[place - 1];
    }
    Job::start(entries, spec, api.now().timestamp_millis(), broken(fault))
}

/// The first whole millisecond after the time.
fn after_ms(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis() + 1
}

fn broken(fault: Option<&FaultKind>) -> Option<Broken> {
    match fault {
        Some(FaultKind::JobFailed(status)) => Some(Broken {
            status: status.clone(),
            timed_out: false,
        }),
        Some(FaultKind::JobTimedOut) => Some(Broken {
            status: "INPROGRESS".to_owned(),
            timed_out: true,
        }),
        _ => None,
    }
}

fn look(api: &Api, job: &Arc<Job>, fault: Option<&FaultKind>) -> Look {
    let path = if api.config.redirect_links {
        "mediaRedirect"
    } else {
        "getMediaStream"
    };
    let finished = job.is_finished();
    let links = if finished {
        (0..job.files.len())
            .map(|place| {
                let link = api.links.issue(job, place);
                format!("http://{}/api/{path}/findly/{link}", api.address)
            })
            .collect()
    } else {
        Vec::new()
    };
    Look {
        finished,
        links,
        excess: Excess {
            records: usize::from(matches!(fault, Some(FaultKind::WrongRecordCount))),
            total: usize::from(matches!(fault, Some(FaultKind::WrongTotal))),
            files: usize::from(matches!(fault, Some(FaultKind::WrongFileCount))),
        },
        broken: broken(fault),
    }
}

fn fragment_answer(api: &Api, job: &Job, place: usize, short: bool) -> Answer {
    let mut entries = &job.entries[job.files[place].entries.clone()];
    if short {
        entries = &entries[..entries.len().saturating_sub(1)];
    }
    let mut writer = JsonWriter::new(api.config.data.pretty);
    if api.config.bom {
        writer.buffer().extend_from_slice(BYTE_ORDER_MARK);
    }
    writer.begin_array();
    for &entry in entries {
        writer.element();
        api.write(entry, &mut writer);
    }
    writer.end_array();
    let bytes = writer.into_bytes();
    const CONTENT_TYPE: &str = "application/octet-stream";
    if !api.config.gzip {
        return Answer::raw(200, CONTENT_TYPE, bytes);
    }
    Answer::raw(200, CONTENT_TYPE, gzipped(&bytes)).with_header(header::CONTENT_ENCODING, "gzip")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes all that is written to it")
}
