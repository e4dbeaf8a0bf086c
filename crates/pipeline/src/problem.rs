//! What of a lake somebody must do something about.

use std::time::Duration;

use answerlake_model::{AppId, Window};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::plan::to_delta;
use crate::report::iso;
use crate::status::{Looked, Newest, State, StatusRequest, run_arguments, stretches};

/// How long a commit may be unfinished before it is nobody's any more.
const PUBLISHING: TimeDelta = TimeDelta::hours(1);

/// Something that somebody must do something about.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// The app; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The first instant of the partitions that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first instant after them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many there are.
    pub partitions: usize,
    /// What is wrong.
    pub message: String,
    /// When that was found, if a run found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The run that found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same run may succeed without anyone's doing.
    pub retryable: bool,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'static str>,
    /// What that command is to be told, beside the settings.
    pub arguments: Vec<String>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// There is nothing.
    NothingCommitted,
    /// Nothing new for too long.
    Late,
    /// Partitions were never committed.
    Missing,
    /// Partitions failed when they were last tried.
    Failed,
    /// Files of newest revisions are nowhere.
    Broken,
    /// Commits were left unfinished: readers do not see them yet.
    Unpublished,
}

impl ProblemKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingCommitted => "nothing committed",
            Self::Late => "late",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Unpublished => "unpublished",
        }
    }
}

impl Problem {
    fn new(kind: ProblemKind, app_id: Option<&AppId>, message: String) -> Self {
        Self {
            kind,
            app_id: app_id.map(ToString::to_string),
            from: None,
            to: None,
            partitions: 0,
            message,
            at: None,
            run_id: None,
            hint: None,
            retryable: true,
            command: None,
            arguments: Vec::new(),
        }
    }

    pub(crate) fn nothing_committed(app_id: Option<&AppId>) -> Self {
        let message = "no run has brought anything of it".to_owned();
        Self::new(ProblemKind::NothingCommitted, app_id, message)
    }

    /// Adds which partitions it is about.
    fn over(self, (window, partitions): (&Window, usize)) -> Self {
        Self {
            from: Some(iso(window.start())),
            to: Some(iso(window.end())),
            partitions,
            ..self
        }
    }

    /// Adds that a run over `window` mends it.
    fn mended_by_run(self, window: &Window) -> Self {
        Self {
            command: Some("run"),
            arguments: run_arguments(window),
            ..self
        }
    }
}

/// The problems of an app, the worst of a lake first: what is late, then what lacks, fails or broke.
pub(crate) fn problems(
    app_id: &AppId,
    looked: &[Looked<'_>],
    newest: Option<&Newest>,
    request: &StatusRequest,
    now: DateTime<Utc>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let until_now = request.range.to.is_none() && request.range.date.is_none();
    match newest {
        None if looked.iter().all(|one| one.state == State::NotDue) && !looked.is_empty() => {}
        None => problems.push(Problem::nothing_committed(Some(app_id))),
        Some(newest) if until_now => problems.extend(late(app_id, newest, request.max_age)),
        Some(_) => {}
    }
    problems.extend(missing(app_id, looked, until_now, request.max_age, now));
    problems.extend(failed(app_id, looked));
    problems.extend(broken(app_id, looked));
    problems.extend(unpublished(app_id, looked, now));
    problems
}

fn late(app_id: &AppId, newest: &Newest, max_age: Duration) -> Option<Problem> {
    if TimeDelta::seconds(newest.age_seconds) <= to_delta(max_age) {
        return None;
    }
    let hours = |seconds: i64| format!("{} h", seconds / 3600);
    let message = format!(
        "the newest data, {}, ends {} ago: expected at most {}",
        newest.partition,
        hours(newest.age_seconds),
        hours(to_delta(max_age).num_seconds()),
    );
    Some(Problem::new(ProblemKind::Late, Some(app_id), message))
}

/// Days that lack. Those after the newest one committed are given `max_age` to come, as by then they are late.
fn missing<'l>(
    app_id: &'l AppId,
    looked: &'l [Looked<'l>],
    until_now: bool,
    max_age: Duration,
    now: DateTime<Utc>,
) -> impl Iterator<Item = Problem> {
    let newest = looked.iter().rposition(|one| one.summary.is_some());
    let lacks = looked.iter().enumerate().filter(move |(index, one)| {
        let has_time = until_now
            && newest.is_none_or(|newest| *index > newest)
            && one.key.window().end() + to_delta(max_age) >= now;
        one.state == State::Missing && !has_time
    });
    stretches(lacks.map(|(_, one)| (&one.key, ())))
        .into_iter()
        .map(move |(window, count, ())| {
            let message = "never committed, and no failure is known".to_owned();
            Problem::new(ProblemKind::Missing, Some(app_id), message)
                .over((&window, count))
                .mended_by_run(&window)
        })
}

fn failed<'l>(app_id: &'l AppId, looked: &'l [Looked<'l>]) -> impl Iterator<Item = Problem> {
    let failures = looked
        .iter()
        .filter(|one| one.state == State::Failed)
        .filter_map(|one| Some((one, one.failure?)));
    let marked = failures.map(|(one, failure)| (&one.key, Marked(failure)));
    stretches(marked)
        .into_iter()
        .map(move |(window, count, Marked(failure))| {
            let problem = Problem::new(ProblemKind::Failed, Some(app_id), failure.error.clone());
            Problem {
                at: Some(iso(failure.at)),
                run_id: Some(failure.run_id.to_string()),
                hint: failure.hint.clone(),
                retryable: failure.retryable,
                ..problem.over((&window, count)).mended_by_run(&window)
            }
        })
}

/// Failures of one run with the same error are one to the reader.
struct Marked<'l>(&'l answerlake_load::PartitionFailure);

impl PartialEq for Marked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.run_id == other.0.run_id && self.0.error == other.0.error
    }
}

fn broken<'l>(app_id: &'l AppId, looked: &'l [Looked<'l>]) -> impl Iterator<Item = Problem> {
    let broken = looked.iter().filter(|one| one.state == State::Broken);
    broken.map(move |one| {
        let missing = one.summary.map_or(&[][..], |summary| &summary.missing);
        let first = missing.first().map_or("", String::as_str);
        let others = match missing.len() {
            0 | 1 => String::new(),
            files => format!(" and {} more files", files - 1),
        };
        let message = format!("`{first}`{others} of its newest revision is nowhere");
        let window = one.key.window();
        Problem::new(ProblemKind::Broken, Some(app_id), message)
            .over((&window, 1))
            .mended_by_run(&window)
    })
}

fn unpublished<'l>(
    app_id: &'l AppId,
    looked: &'l [Looked<'l>],
    now: DateTime<Utc>,
) -> impl Iterator<Item = Problem> {
    let left = looked.iter().filter(move |one| {
        let since = |committed_at: DateTime<Utc>| now - committed_at > PUBLISHING;
        one.summary.is_some_and(|summary| {
            !summary.published && !summary.is_broken() && since(summary.committed_at)
        })
    });
    stretches(left.map(|one| (&one.key, ())))
        .into_iter()
        .map(move |(window, count, ())| {
            let message =
                "committed, but its files are not in place: a run was killed then".to_owned();
            Problem {
                command: Some("recover"),
                ..Problem::new(ProblemKind::Unpublished, Some(app_id), message)
                    .over((&window, count))
            }
        })
}
