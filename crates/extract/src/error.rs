//! Everything that can go wrong here, and what follows from it.
//!
//! An HTTP status becomes a variant in one function, `ExtractError::from_answer`. No variant holds a token or the
//! query of a link; what the source says is masked before it gets here (see `wire::masked`).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use answerlake_model::{AppId, JobId};

use crate::peer::Peer;
use crate::tls;

/// An error of whoever implements a trait of this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request to the source, as errors name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The POST that starts an export job.
    StartJob,
    /// The GET of a job.
    AskJob {
        /// The job.
        job_id: JobId,
    },
    /// The download of a fragment.
    FetchFragment {
        /// The job it belongs to.
        job_id: JobId,
        /// Its place in the job, from 1.
        position: usize,
    },
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartJob => f.write_str("starting an export job"),
            Self::AskJob { job_id } => write!(f, "asking for job `{job_id}`"),
            Self::FetchFragment { job_id, position } => {
                write!(f, "fetching fragment {position} of job `{job_id}`")
            }
        }
    }
}

/// Who has to do something about an error; the program chooses its exit code by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The settings cannot work.
    Configuration,
    /// The source does not let us: token, scope, app id.
    Refused,
    /// The source failed, or sent what it should not.
    Source,
    /// The store of the jobs in flight failed.
    Store,
    /// This machine failed: its disk, mostly.
    Local,
}

/// What went wrong while getting fragments.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// A setting that cannot work.
    #[error("setting `{setting}`: {reason}")]
    Config {
        /// Its name in the pipeline file.
        setting: &'static str,
        /// What was expected.
        reason: String,
    },
    /// The file of certificates cannot be used.
    #[error("the certificates of `http.ca_file` (`{path}`) cannot be read")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// No client for TLS can be made.
    #[error(
        "no TLS client can be made: if this machine has no system certificates, install them (often a package \
         `ca-certificates`), or name a PEM file of them as `http.ca_file` or `--ca-file`"
    )]
    Tls {
        /// Why.
        source: reqwest::Error,
    },
    /// The token file cannot be read.
    #[error("the token file `{path}` cannot be read")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token cannot be signed.
    #[error("the token for a request cannot be signed")]
    Sign {
        /// Why.
        source: jsonwebtoken::errors::Error,
    },
    /// The source does not accept the token for this call.
    #[error(
        "{call}: refused with status {status}: {message}; the token, the app id `{app_id}` or a scope is wrong: the \
         JWT app needs `Answer Insights` for the export and `Answer Generation` for the jobs, and the app must have \
         been published since they were set"
    )]
    Unauthorized {
        /// What was asked.
        call: Call,
        /// The app.
        app_id: AppId,
        /// The HTTP status.
        status: u16,
        /// What the source said.
        message: String,
    },
    /// No connection: the request was not sent.
    #[error("{call}: no connection to {peer}")]
    Connect {
        /// What was to be asked.
        call: Call,
        /// Who was to be connected to.
        peer: Peer,
        /// Why, without the address.
        source: reqwest::Error,
    },
    /// No connection to the proxy, or none through it: the request was not sent.
    #[error(
        "{call}: the proxy `{}` failed, before `{}` was asked", peer.proxy.as_deref().unwrap_or_default(), peer.host
    )]
    Proxy {
        /// What was to be asked.
        call: Call,
        /// Who was to be connected to, and the proxy.
        peer: Peer,
        /// Why, without the address.
        source: reqwest::Error,
    },
    /// A connection, but no TLS on it: the request was not sent.
    #[error("{call}: no TLS with {peer}: {advice}")]
    Handshake {
        /// What was to be asked.
        call: Call,
        /// Who was connected to.
        peer: Peer,
        /// What may be wrong, and what to do.
        advice: &'static str,
        /// Why, without the address.
        source: reqwest::Error,
    },
    /// The request or its answer broke off.
    #[error("{call}: broke off")]
    Transport {
        /// What was asked.
        call: Call,
        /// Why, without the address.
        source: reqwest::Error,
    },
    /// The source says that there were too many calls.
    #[error("{call}: rate limit (status {status}, wait {wait:?}): {message}")]
    Throttled {
        /// What was asked.
        call: Call,
        /// The HTTP status.
        status: u16,
        /// How long to wait.
        wait: Duration,
        /// What the source said.
        message: String,
    },
    /// The source answered with an error.
    #[error("{call}: the source answered status {status}: {message}")]
    Answered {
        /// What was asked.
        call: Call,
        /// The HTTP status; 2xx when the error stands in the body only.
        status: u16,
        /// What the source said.
        message: String,
    },
    /// The source's answer is not what it should be.
    #[error("{call}: the answer cannot be read: {reason}")]
    Malformed {
        /// What was asked.
        call: Call,
        /// What is wrong.
        reason: String,
    },
    /// The source does not know the job (any more).
    #[error("job `{job_id}` does not exist at the source")]
    JobNotFound {
        /// The job.
        job_id: JobId,
    },
    /// The job has failed at the source.
    #[error("job `{job_id}` failed with status `{status}`: {message}")]
    JobFailed {
        /// The job.
        job_id: JobId,
        /// Its status, as the source spells it.
        status: String,
        /// What the source said.
        message: String,
    },
    /// The job shows no progress.
    #[error(
        "job `{job_id}` stalled: still `{status}` at {} after {unchanged:?} without change", Percent(*percent)
    )]
    JobStalled {
        /// The job.
        job_id: JobId,
        /// Its last status.
        status: String,
        /// Its last percentage, if it told one.
        percent: Option<f64>,
        /// How long nothing had changed.
        unchanged: Duration,
    },
    /// The job takes too long.
    #[error("job `{job_id}` is not done after {waited:?}: still `{status}` at {}", Percent(*percent))]
    JobDeadline {
        /// The job.
        job_id: JobId,
        /// Its last status.
        status: String,
        /// Its last percentage, if it told one.
        percent: Option<f64>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The job has succeeded, names nothing to download, and does not say that it is empty.
    #[error("job `{job_id}` finished without links and without saying that it has 0 records")]
    FinishedWithoutLinks {
        /// The job.
        job_id: JobId,
    },
    /// A link that cannot be one. It is a secret, so it is not shown.
    #[error("job `{job_id}`: the link of fragment {position} cannot be used: {reason}")]
    BadLink {
        /// The job.
        job_id: JobId,
        /// The fragment, from 1.
        position: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not as many fragments as promised.
    #[error("job `{job_id}` promises {promised} fragments and lists {listed}")]
    FragmentCount {
        /// The job.
        job_id: JobId,
        /// How many it promises.
        promised: u64,
        /// How many it lists.
        listed: u64,
    },
    /// The fragments do not add up to the records promised.
    #[error("job `{job_id}` promises {promised} records and its fragments hold {listed}")]
    RecordCount {
        /// The job.
        job_id: JobId,
        /// How many it promises.
        promised: u64,
        /// How many its fragments promise together.
        listed: u64,
    },
    /// Not every part of the export is there.
    #[error("job `{job_id}` should list the parts 1 to {expected} and lists {listed:?}")]
    FragmentParts {
        /// The job.
        job_id: JobId,
        /// How many parts the file names speak of.
        expected: u64,
        /// The numbers of the parts listed.
        listed: Vec<u64>,
    },
    /// A link is not honoured, and neither were the fresh ones that the job gave instead.
    #[error("fragment {position} of job `{job_id}`: the link is not honoured: {reason}")]
    LinkRefused {
        /// The job.
        job_id: JobId,
        /// The fragment, from 1.
        position: usize,
        /// What came instead.
        reason: String,
    },
    /// A fragment's body is shorter or longer than announced.
    #[error(
        "fragment {position} of job `{job_id}` is cut short: expected {expected} bytes, got {got}"
    )]
    FragmentCutShort {
        /// The job.
        job_id: JobId,
        /// The fragment, from 1.
        position: usize,
        /// How many bytes were announced.
        expected: u64,
        /// How many came.
        got: u64,
    },
    /// A fragment has no body; even one without records is `[]`.
    #[error("fragment {position} of job `{job_id}` is empty")]
    FragmentEmpty {
        /// The job.
        job_id: JobId,
        /// The fragment, from 1.
        position: usize,
    },
    /// A request was repeated as often as the settings allow.
    #[error("gave up after {attempts} attempts in {:.1} s", elapsed.as_secs_f64())]
    RetriesExhausted {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// What happened last.
        source: Box<Self>,
    },
    /// The store of the jobs in flight failed.
    #[error("the stored job cannot be {action}")]
    JobStore {
        /// What was tried: `found`, `claimed`, `saved`, `forgotten`.
        action: &'static str,
        /// Why.
        source: BoxError,
    },
    /// What was fetched cannot be kept as it was.
    #[error("what was fetched cannot be kept")]
    Landing {
        /// Why.
        source: BoxError,
    },
    /// A file on this machine cannot be used.
    #[error("the file `{path}` cannot be written")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody takes the fragments any more.
    #[error("the receiver of the fragments is gone")]
    ReceiverGone,
}

/// A percentage that may not be told.
struct Percent(Option<f64>);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(percent) => write!(f, "{percent}%"),
            None => f.write_str("an unknown percentage"),
        }
    }
}

impl ExtractError {
    pub(crate) fn config(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Config {
            setting,
            reason: reason.into(),
        }
    }

    /// An error of a request that was being sent. Drops the address from it: it may be a signed link.
    pub(crate) fn from_sending(call: &Call, peer: Peer, error: reqwest::Error) -> Self {
        if !error.is_connect() {
            return Self::from_transport(call, error);
        }
        let (call, source) = (call.clone(), error.without_url());
        if let Some(advice) = tls::advice(&source) {
            Self::Handshake {
                call,
                peer,
                advice,
                source,
            }
        } else if peer.is_proxy_alone() || is_about_tunnel(&source) {
            Self::Proxy { call, peer, source }
        } else {
            Self::Connect { call, peer, source }
        }
    }

    /// An error of an answer on its way. Drops the address from it: it may be a signed link.
    pub(crate) fn from_transport(call: &Call, error: reqwest::Error) -> Self {
        Self::Transport {
            call: call.clone(),
            source: error.without_url(),
        }
    }

    /// Who has to do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. }
            | Self::CaFile { .. }
            | Self::Tls { .. }
            | Self::TokenFile { .. }
            | Self::Sign { .. } => ErrorKind::Configuration,
            Self::Unauthorized { .. } => ErrorKind::Refused,
            Self::JobStore { .. } | Self::Landing { .. } => ErrorKind::Store,
            Self::File { .. } | Self::ReceiverGone => ErrorKind::Local,
            Self::RetriesExhausted { source, .. } => source.kind(),
            _ => ErrorKind::Source,
        }
    }

    /// The call to the source that failed, under all repetitions; `None` where what it brought is wrong, or where it is
    /// not the matter.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::RetriesExhausted { source, .. } => source.call(),
            Self::Unauthorized { call, .. }
            | Self::Connect { call, .. }
            | Self::Proxy { call, .. }
            | Self::Handshake { call, .. }
            | Self::Transport { call, .. }
            | Self::Throttled { call, .. }
            | Self::Answered { call, .. }
            | Self::Malformed { call, .. } => Some(call),
            _ => None,
        }
    }

    /// Whether the same thing may succeed when it is tried again later: a new run, that is. Within a run everything
    /// that could be repeated has been.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RetriesExhausted { source, .. } => source.is_retryable(),
            Self::Answered { .. } => self.is_transient(),
            Self::Handshake { .. } => false,
            Self::JobStore { .. } | Self::Landing { .. } => true,
            _ => self.kind() == ErrorKind::Source,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // Redirects that lead in circles or nowhere will do so again.
            Self::Transport { source, .. } => !source.is_redirect() && !source.is_builder(),
            Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Throttled { .. }
            | Self::Malformed { .. }
            | Self::FragmentCutShort { .. }
            | Self::FragmentEmpty { .. } => true,
            // A 2xx here is an error in the body, "temporarily unavailable" among them.
            Self::Answered { status, .. } => matches!(status, 200..=299 | 408 | 425 | 500..),
            _ => false,
        }
    }

    /// Whether the source certainly did not act on the request: repeating it cannot do anything twice.
    pub(crate) fn was_not_accepted(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Proxy { .. }
                | Self::Throttled { .. }
                | Self::Answered { status: 503, .. }
        )
    }

    /// Whether the source may have acted on the request all the same.
    pub(crate) fn outcome_is_unknown(&self) -> bool {
        self.is_transient() && !self.was_not_accepted()
    }

    /// How long the source asks to wait, if that is what it says.
    pub(crate) fn throttled(&self) -> Option<Duration> {
        match self {
            Self::Throttled { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether a token was refused for what a new one may not have: its age, or that it was sent before.
    pub(crate) fn wants_new_token(&self) -> bool {
        let Self::Unauthorized { message, .. } = self else {
            return false;
        };
        let message = message.to_lowercase();
        ["replay", "expired", "expiry"]
            .iter()
            .any(|word| message.contains(word))
    }

    /// Whether the job can never be of use again.
    pub(crate) fn ends_job(&self) -> bool {
        self.is_about_totals() || matches!(self, Self::JobNotFound { .. } | Self::JobFailed { .. })
    }

    /// Whether what a job exported does not agree with itself, or cannot be had any more: another export may.
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::JobNotFound { .. }
            | Self::LinkRefused { .. }
            | Self::FragmentCutShort { .. }
            | Self::FragmentEmpty { .. } => true,
            Self::RetriesExhausted { source, .. } => source.is_about_content(),
            other => other.is_about_totals(),
        }
    }

    /// Whether what a finished job says of itself does not agree.
    pub(crate) fn is_about_totals(&self) -> bool {
        matches!(
            self,
            Self::FinishedWithoutLinks { .. }
                | Self::BadLink { .. }
                | Self::FragmentCount { .. }
                | Self::RecordCount { .. }
                | Self::FragmentParts { .. }
        )
    }

    /// Whether the source may manage to export less: the job came to no end, or a fragment did not come whole, however
    /// often.
    pub fn may_be_too_much(&self) -> bool {
        match self {
            Self::JobStalled { .. } | Self::JobDeadline { .. } | Self::JobFailed { .. } => true,
            Self::RetriesExhausted { source, .. } => matches!(
                **source,
                Self::FragmentCutShort { .. }
                    | Self::Transport {
                        call: Call::FetchFragment { .. },
                        ..
                    }
            ),
            _ => false,
        }
    }

    /// Whether a job so young may simply not be there yet.
    pub(crate) fn is_too_early(&self) -> bool {
        match self {
            Self::RetriesExhausted { source, .. } => source.is_too_early(),
            Self::JobNotFound { .. } => true,
            Self::Answered { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// The message with those of its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// What the source answered, as far as it tells whether that is an error.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The `Retry-After` header, read.
    pub(crate) retry_after: Option<Duration>,
    /// What the body says, if it is an error. Masked.
    pub(crate) complaint: Option<Complaint>,
}

/// An error that stands in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    /// The vendor's code: 4002 for everything about tokens, scopes and app ids.
    pub(crate) code: Option<u64>,
}

impl ExtractError {
    const WAIT_WITHOUT_ADVICE: Duration = Duration::from_secs(60);

    /// The error that an answer is, or `None` when it is fine. Status to variant happens here and nowhere else.
    pub(crate) fn from_answer(call: &Call, app_id: &AppId, answer: Answer) -> Option<Self> {
        let Answer {
            status,
            retry_after,
            complaint,
        } = answer;
        let code = complaint.as_ref().and_then(|complaint| complaint.code);
        let is_success = (200..300).contains(&status);
        if is_success && complaint.is_none() {
            return None;
        }
        let message =
            complaint.map_or_else(|| "no message".to_owned(), |complaint| complaint.message);
        if status == 429 || code == Some(429) || speaks_of_rate_limit(&message) {
            return Some(Self::Throttled {
                call: call.clone(),
                status,
                wait: retry_after.unwrap_or(Self::WAIT_WITHOUT_ADVICE),
                message,
            });
        }
        Some(match (call, status) {
            (Call::FetchFragment { job_id, position }, 200..=299 | 401 | 403 | 404 | 410) => {
                Self::LinkRefused {
                    job_id: job_id.clone(),
                    position: *position,
                    reason: format!("status {status}: {message}"),
                }
            }
            (Call::StartJob | Call::AskJob { .. }, 401 | 403) => {
                Self::unauthorized(call, app_id, status, message)
            }
            (Call::StartJob | Call::AskJob { .. }, _) if matches!(code, Some(401 | 4002)) => {
                Self::unauthorized(call, app_id, status, message)
            }
            (Call::AskJob { job_id }, 404) => Self::JobNotFound {
                job_id: job_id.clone(),
            },
            _ => Self::Answered {
                call: call.clone(),
                status,
                message,
            },
        })
    }

    fn unauthorized(call: &Call, app_id: &AppId, status: u16, message: String) -> Self {
        Self::Unauthorized {
            call: call.clone(),
            app_id: app_id.clone(),
            status,
            message,
        }
    }
}

/// Whether a proxy did not connect to the host that it was asked for.
fn is_about_tunnel(error: &reqwest::Error) -> bool {
    // The client's error for it is not public; its text is.
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string().starts_with("tunnel error") {
            return true;
        }
        cause = error.source();
    }
    false
}

fn speaks_of_rate_limit(message: &str) -> bool {
    let message = message.to_lowercase().replace(['-', '_'], " ");
    message.contains("rate limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(
        call: &Call,
        status: u16,
        complaint: Option<(&str, Option<u64>)>,
    ) -> Option<ExtractError> {
        let answer = Answer {
            status,
            retry_after: None,
            complaint: complaint.map(|(message, code)| Complaint {
                message: message.into(),
                code,
            }),
        };
        ExtractError::from_answer(call, &"st-1".parse().unwrap(), answer)
    }

    fn ask() -> Call {
        Call::AskJob {
            job_id: "fj-1".parse().unwrap(),
        }
    }

    fn fetch() -> Call {
        Call::FetchFragment {
            job_id: "fj-1".parse().unwrap(),
            position: 3,
        }
    }

    #[test]
    fn a_refusal_names_app_and_scopes() {
        let complaint = Some(("Permission denied. Scope is incorrect!", Some(4002)));
        for status in [401, 403, 400, 200] {
            let error = error(&Call::StartJob, status, complaint).unwrap();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(!error.is_retryable() && !error.is_transient());
            assert_eq!(
                error.to_string(),
                format!(
                    "starting an export job: refused with status {status}: Permission denied. Scope is incorrect!; \
                     the token, the app id `st-1` or a scope is wrong: the JWT app needs `Answer Insights` for the \
                     export and `Answer Generation` for the jobs, and the app must have been published since they \
                     were set"
                )
            );
        }
    }

    #[test]
    fn a_rate_limit_is_known_by_status_or_by_words() {
        let words = Some(("You've exceeded the per-minute Rate Limit", None));
        for (status, complaint) in [
            (429, None),
            (200, words),
            (400, words),
            (401, words),
            (503, words),
        ] {
            for call in [Call::StartJob, ask(), fetch()] {
                let error = error(&call, status, complaint).unwrap();
                assert_eq!(error.throttled(), Some(Duration::from_secs(60)), "{status}");
                assert!(error.was_not_accepted());
            }
        }
    }

    #[test]
    fn each_status_has_one_meaning() {
        let transient = |status| error(&ask(), status, None).unwrap().is_transient();
        for status in [408, 500, 502, 503, 504] {
            assert!(transient(status), "{status}");
        }
        for status in [302, 400, 401, 404, 405, 412] {
            assert!(!transient(status), "{status}");
        }
        assert!(matches!(
            error(&ask(), 404, None),
            Some(ExtractError::JobNotFound { .. })
        ));
        for status in [401, 403, 404, 410] {
            assert_eq!(
                error(&fetch(), status, None).unwrap().to_string(),
                format!(
                    "fragment 3 of job `fj-1`: the link is not honoured: status {status}: no message"
                )
            );
        }
        assert!(error(&fetch(), 200, None).is_none());
    }

    #[test]
    fn only_a_post_that_was_not_accepted_is_repeated_at_once() {
        let post = |status| error(&Call::StartJob, status, None).unwrap();
        assert!(post(503).was_not_accepted() && post(429).was_not_accepted());
        for status in [408, 500, 502, 504] {
            assert!(!post(status).was_not_accepted() && post(status).outcome_is_unknown());
        }
        for status in [400, 404, 412] {
            assert!(!post(status).was_not_accepted() && !post(status).outcome_is_unknown());
        }
    }

    #[test]
    fn a_stall_says_where() {
        let error = ExtractError::JobStalled {
            job_id: "fj-1".parse().unwrap(),
            status: "INPROGRESS".into(),
            percent: Some(40.0),
            unchanged: Duration::from_secs(900),
        };
        assert_eq!(
            error.to_string(),
            "job `fj-1` stalled: still `INPROGRESS` at 40% after 900s without change"
        );
    }
}
