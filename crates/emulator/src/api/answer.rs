//! Answers on their way out: whole, cut short, or at a pace.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use chrono::{DateTime, Utc};
use futures::stream;
use serde::Serialize;

use super::connection::Reset;
use super::endpoints::http_date;
use crate::faults::{FaultKind, Met};

/// An answer with its whole body.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// How a body is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// Where the body breaks off.
    broken: Option<(usize, Break)>,
    /// Whether the length of the body is told.
    is_chunked: bool,
    bytes_per_second: Option<u64>,
    /// Resets the connection.
    reset: Reset,
}

/// How a body breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// The connection is closed.
    Closed,
    /// The connection is reset.
    Reset,
    /// Nothing more comes.
    Hangs,
}

impl Pace {
    /// As the faults say; of several ends of the body the first counts.
    pub(super) fn of(met: &Met, reset: Reset, bytes_per_second: Option<u64>) -> Self {
        let mut pace = Self {
            reset,
            bytes_per_second,
            ..Self::default()
        };
        for fault in met.iter() {
            let broken = match *fault {
                FaultKind::CutBody { after } => (after, Break::Closed),
                FaultKind::CutChunked { after } => {
                    pace.is_chunked = true;
                    (after, Break::Closed)
                }
                FaultKind::ResetBody { after } => (after, Break::Reset),
                FaultKind::Hang { after } => (after, Break::Hangs),
                FaultKind::Slow { bytes_per_second } => {
                    pace.bytes_per_second = Some(bytes_per_second);
                    continue;
                }
                _ => continue,
            };
            pace.broken.get_or_insert(broken);
        }
        pace
    }
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: [ErrorItem<'a>; 1],
}

#[derive(Serialize)]
struct ErrorItem<'a> {
    msg: &'a str,
    code: u32,
}

impl Answer {
    pub(super) fn json(body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("an answer serialises");
        Self::raw(200, "application/json; charset=utf-8", body)
    }

    pub(super) fn raw(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))],
            body: body.into(),
        }
    }

    /// A refusal with the body that all of the vendor's refusals have.
    pub(super) fn refusal(status: u16, msg: &str, code: u32) -> Self {
        let errors = Errors {
            errors: [ErrorItem { msg, code }],
        };
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            ..Self::json(&errors)
        }
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header of visible ASCII");
        self.headers.push((name, value));
        self
    }

    /// The same, as of a server whose clock says so.
    pub(super) fn dated(self, time: DateTime<Utc>) -> Self {
        self.with_header(header::DATE, &http_date(time))
    }

    /// The same, with no more of its body than that.
    pub(super) fn cut(mut self, after: usize) -> Self {
        self.body.truncate(after);
        self
    }

    /// The answer as axum sends it.
    pub(super) fn send(self, pace: Pace) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if !pace.is_chunked {
            let length = HeaderValue::from(self.body.len());
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
        }
        *response.body_mut() = body(self.body, pace);
        response
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    #[cfg(test)]
    pub(super) fn body_text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

fn body(bytes: Bytes, pace: Pace) -> Body {
    if pace.broken.is_none() && pace.bytes_per_second.is_none() {
        return Body::from(bytes);
    }
    let broken = pace.broken.filter(|(after, how)| {
        // A body that is whole can still hang: its end is not told.
        *after < bytes.len() || (*how == Break::Hangs && pace.is_chunked)
    });
    let sent = match broken {
        Some((after, _)) => bytes.slice(..after.min(bytes.len())),
        None => bytes,
    };
    // Twenty pieces a second: even enough for a client's eye, and few enough for the machine.
    let piece = match pace.bytes_per_second {
        Some(rate) => usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1),
        None => sent.len().max(1),
    };
    let pause = pace.bytes_per_second.map_or(Duration::ZERO, |rate| {
        Duration::from_secs_f64(piece as f64 / rate.max(1) as f64)
    });
    let reset = pace.reset;
    Body::from_stream(stream::unfold(
        (sent, broken.map(|(_, how)| how)),
        move |(mut rest, broken)| {
            let reset = reset.clone();
            async move {
                if rest.is_empty() {
                    let broken = broken?;
                    // What was sent reaches the client before the connection goes.
                    tokio::task::yield_now().await;
                    match broken {
                        Break::Closed => {}
                        Break::Reset => reset.now(),
                        Break::Hangs => std::future::pending().await,
                    }
                    return Some((Err(io::Error::other("cut by a fault")), (rest, None)));
                }
                tokio::time::sleep(pause).await;
                let next = rest.split_to(piece.min(rest.len()));
                Some((Ok(next), (rest, broken)))
            }
        },
    ))
}
