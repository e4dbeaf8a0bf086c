//! Answers on their way out: whole, cut short, or at a pace.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use futures::stream;
use serde::Serialize;

/// An answer with its whole body.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Bytes after which the connection is closed.
    pub(super) cut_after: Option<usize>,
    pub(super) bytes_per_second: Option<u64>,
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
        let length = HeaderValue::from(self.body.len());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
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
    if pace.cut_after.is_none() && pace.bytes_per_second.is_none() {
        return Body::from(bytes);
    }
    let cut = pace.cut_after.is_some_and(|after| after < bytes.len());
    let sent = match pace.cut_after {
        Some(after) if cut => bytes.slice(..after),
        _ => bytes,
    };
    // Twenty pieces a second: even enough for a client's eye, and few enough for the machine.
    let piece = match pace.bytes_per_second {
        Some(rate) => usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1),
        None => sent.len().max(1),
    };
    let pause = pace.bytes_per_second.map_or(Duration::ZERO, |rate| {
        Duration::from_secs_f64(piece as f64 / rate.max(1) as f64)
    });
    Body::from_stream(stream::unfold(
        (sent, cut),
        move |(mut rest, cut)| async move {
            if rest.is_empty() {
                if !cut {
                    return None;
                }
                // What was sent reaches the client before the connection goes.
                tokio::task::yield_now().await;
                return Some((Err(io::Error::other("cut by a fault")), (rest, false)));
            }
            tokio::time::sleep(pause).await;
            let next = rest.split_to(piece.min(rest.len()));
            Some((Ok(next), (rest, cut)))
        },
    ))
}
