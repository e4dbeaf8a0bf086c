//! `status`: what is in the lake, what is not, and why; by the lake alone.
//!
//! It is read by people who plan, and by whoever is called at night. So what somebody must do something about is a
//! *problem*, said once for days that lie next to one another, with the command that mends it; the rest is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use answerlake_load::{Lake, LakeStore, PartitionFailure, PartitionSummary};
use answerlake_model::{AppId, Grain, PartitionKey, PerTable, Window};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::freshness::FreshnessStatus;
use crate::plan::{Range, has_ended, to_delta};
use crate::problem::{Problem, problems};
use crate::report::iso;
use crate::work_list::slot_name;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct StatusRequest {
    /// Which time is looked at. Without a start, from `window.start` or else the first partition there is; without an
    /// end, until now, less the lag.
    pub range: Range,
    /// How long ago the newest data may end.
    pub max_age: Duration,
}

/// What is in a lake.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// Whether there are problems.
    pub status: Health,
    /// The lake's address.
    pub lake: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// The time as of which it is.
    pub as_of: String,
    /// How its partitions are cut.
    pub grain: Grain,
    /// Each app.
    pub apps: Vec<AppStatus>,
    /// What somebody must do something about.
    pub problems: Vec<Problem>,
}

/// Whether somebody must do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nobody.
    Ok,
    /// Somebody.
    Problems,
}

/// What there is of an app.
#[derive(Debug, Clone, Serialize)]
pub struct AppStatus {
    /// The app.
    pub app_id: String,
    /// The first instant looked at; absent where nothing is known of the app.
    pub from: Option<String>,
    /// The first instant not looked at.
    pub to: Option<String>,
    /// How many partitions are in which state.
    pub counts: BTreeMap<State, usize>,
    /// Records committed.
    pub records: u64,
    /// Rows by table.
    pub rows: PerTable<u64>,
    /// Bytes of data files.
    pub bytes: u64,
    /// The newest partition committed.
    pub newest: Option<Newest>,
    /// How late records came, and whether the lookback is long enough for that.
    pub freshness: FreshnessStatus,
    /// Partitions that are not final and that the lookback of a daily run does not reach any more.
    pub outside_lookback: Vec<Stretch>,
    /// Each partition, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionStatus>,
}

/// The newest partition committed.
#[derive(Debug, Clone, Serialize)]
pub struct Newest {
    /// Its name: `2025-06-28`, or with hourly grain `2025-06-28T03`.
    pub partition: String,
    /// Until when its data reaches: its end, or when it was committed if that is earlier.
    pub until: String,
    /// How long ago that is.
    pub age_seconds: i64,
}

/// Partitions next to one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// How many.
    pub partitions: usize,
    /// What `answerlake run` is to be told to read them, beside the settings.
    pub arguments: Vec<String>,
}

/// The state of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its newest revision names files that are nowhere.
    Broken,
    /// It failed when it was last tried.
    Failed,
    /// It is due, and was never committed.
    Missing,
    /// Nothing proves that it is complete.
    Partial,
    /// It was read before its records had settled.
    Provisional,
    /// It is not due yet.
    NotDue,
    /// It is in, for good.
    Committed,
    /// It is in, and has no records.
    Empty,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Partial => "partial",
            Self::Provisional => "provisional",
            Self::NotDue => "not due",
            Self::Committed => "committed",
            Self::Empty => "empty",
        }
    }
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionStatus {
    /// Its name: `2025-06-28`, or with hourly grain `2025-06-28T03`.
    pub partition: String,
    /// Its state.
    pub state: State,
    /// What is committed of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub committed: Option<CommittedStatus>,
    /// Why it failed when it was last tried, after what is committed of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<PartitionFailure>,
    /// Its first instant.
    #[serde(skip)]
    pub start: DateTime<Utc>,
}

/// What is committed of a partition.
#[derive(Debug, Clone, Serialize)]
pub struct CommittedStatus {
    /// Its newest revision.
    pub revision: u64,
    /// When that was committed.
    pub committed_at: String,
    /// Whether its files are in place.
    pub published: bool,
    /// Its records.
    pub records: u64,
    /// Its rows by table.
    pub rows: PerTable<u64>,
    /// The bytes of its files.
    pub bytes: u64,
}

/// All that is known of a partition that was looked at.
pub(crate) struct Looked<'l> {
    pub(crate) key: PartitionKey,
    pub(crate) state: State,
    pub(crate) summary: Option<&'l PartitionSummary>,
    pub(crate) failure: Option<&'l PartitionFailure>,
}

/// Looks at a lake. Its own grain counts, and the app of the settings, or else all apps there are.
///
/// # Errors
/// When the range is none, or the lake cannot be read.
pub async fn status(
    config: &PipelineConfig,
    request: &StatusRequest,
    now: DateTime<Utc>,
) -> Result<StatusReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?;
    let mut config = config.clone();
    config.lake.grain = pin.as_ref().map_or(config.lake.grain, |pin| pin.grain);
    let grain = config.lake.grain;

    let failures = lake.failures(config.app_id.as_ref()).await?;
    let mut heads = lake.heads(config.app_id.as_ref(), None).await?;
    heads.retain(|key, _| key.grain() == grain);
    let mut apps: BTreeMap<AppId, Option<Window>> = BTreeMap::new();
    let named = heads
        .keys()
        .chain(failures.keys())
        .map(PartitionKey::app_id);
    for app_id in named.chain(&config.app_id).collect::<BTreeSet<_>>() {
        let is_its = |key: &&PartitionKey| key.app_id() == app_id;
        let first = [heads.keys().find(is_its), failures.keys().find(is_its)];
        let first = first.into_iter().flatten().map(PartitionKey::start).min();
        let last = heads.keys().rfind(is_its).map(|key| key.window().end());
        let range = range_of(&config, &request.range, now, first, last)?;
        apps.insert(app_id.clone(), range);
    }
    heads.retain(|key, _| {
        let range = apps.get(key.app_id()).copied().flatten();
        range.is_some_and(|range| range.contains(key.start()))
    });
    let summaries = lake.summaries(heads).await?;

    let mut report = StatusReport {
        status: Health::Ok,
        lake: config.lake.url.to_string(),
        exists: pin.is_some(),
        as_of: iso(now),
        grain,
        apps: Vec::new(),
        problems: Vec::new(),
    };
    for (app_id, range) in &apps {
        let slots = range.iter().flat_map(|range| range.slots(grain));
        let looked: Vec<_> = slots
            .map(|slot| {
                let key = PartitionKey::new(app_id.clone(), slot, grain);
                look(key, &summaries, &failures, &config, now)
            })
            .collect();
        let app = AppStatus::new(app_id, *range, &looked, &config, now);
        report
            .problems
            .extend(problems(app_id, &looked, app.newest.as_ref(), request, now));
        report.apps.push(app);
    }
    if apps.is_empty() {
        report.problems.push(Problem::nothing_committed(None));
    }
    if !report.problems.is_empty() {
        report.status = Health::Problems;
    }
    Ok(report)
}

/// The time looked at of an app of which `first` is the first partition that is known, and `last` the end of the last
/// one committed. `None` where nothing says where to start.
fn range_of(
    config: &PipelineConfig,
    range: &Range,
    now: DateTime<Utc>,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
) -> Result<Option<Window>, PipelineError> {
    let grain = config.lake.grain;
    let due = grain.floor(now - to_delta(config.window.lag));
    let until = last.map_or(due, |last| last.max(due));
    let from = config.window.start.or(first);
    if from.is_none() && range.from.is_none() && range.date.is_none() {
        return Ok(None);
    }
    range.resolve(grain, from, until).map(Some)
}

fn look<'l>(
    key: PartitionKey,
    summaries: &'l BTreeMap<PartitionKey, PartitionSummary>,
    failures: &'l BTreeMap<PartitionKey, PartitionFailure>,
    config: &PipelineConfig,
    now: DateTime<Utc>,
) -> Looked<'l> {
    let summary = summaries.get(&key);
    let is_news = |failure: &&PartitionFailure| {
        summary.is_none_or(|summary| failure.at > summary.committed_at)
    };
    let failure = failures.get(&key).filter(is_news);
    let state = match summary {
        Some(summary) if summary.is_broken() => State::Broken,
        _ if failure.is_some() => State::Failed,
        None if has_ended(&key, config, now) => State::Missing,
        None => State::NotDue,
        Some(summary) if summary.partial => State::Partial,
        Some(summary) if summary.provisional => State::Provisional,
        Some(summary) if summary.records == 0 => State::Empty,
        Some(_) => State::Committed,
    };
    Looked {
        key,
        state,
        summary,
        failure,
    }
}

impl AppStatus {
    fn new(
        app_id: &AppId,
        range: Option<Window>,
        looked: &[Looked<'_>],
        config: &PipelineConfig,
        now: DateTime<Utc>,
    ) -> Self {
        let mut app = Self {
            app_id: app_id.to_string(),
            from: range.map(|range| iso(range.start())),
            to: range.map(|range| iso(range.end())),
            counts: BTreeMap::new(),
            records: 0,
            rows: PerTable::default(),
            bytes: 0,
            newest: newest(looked, now),
            freshness: FreshnessStatus::of(looked, &config.window),
            outside_lookback: outside_lookback(looked, config, now),
            partitions: looked.iter().map(PartitionStatus::from).collect(),
        };
        for one in looked {
            *app.counts.entry(one.state).or_default() += 1;
            if let Some(summary) = one.summary {
                app.records += summary.records;
                app.bytes += summary.bytes;
                app.rows = PerTable::from_fn(|table| app.rows[table] + summary.rows[table]);
            }
        }
        app
    }
}

fn newest(looked: &[Looked<'_>], now: DateTime<Utc>) -> Option<Newest> {
    let one = looked
        .iter()
        .rfind(|one| one.summary.is_some_and(|summary| !summary.is_broken()))?;
    // One that was open reaches until it was read, not until its end.
    let until = one.key.window().end().min(one.summary?.committed_at);
    Some(Newest {
        partition: slot_name(&one.key),
        until: iso(until),
        age_seconds: (now - until).num_seconds(),
    })
}

/// What is not final, and lies before the lookback of a run for the newest partition that is due.
fn outside_lookback(
    looked: &[Looked<'_>],
    config: &PipelineConfig,
    now: DateTime<Utc>,
) -> Vec<Stretch> {
    let grain = config.lake.grain;
    let due = grain.floor(now - to_delta(config.window.lag));
    let reached = grain.floor(due - grain.duration() - to_delta(config.window.lookback));
    let left = looked.iter().filter(|one| {
        matches!(one.state, State::Partial | State::Provisional) && one.key.start() < reached
    });
    stretches(left.map(|one| (&one.key, ())))
        .into_iter()
        .map(|(window, count, ())| Stretch {
            from: iso(window.start()),
            to: iso(window.end()),
            partitions: count,
            arguments: run_arguments(&window),
        })
        .collect()
}

/// Puts partitions together that lie next to one another and have the same `mark`.
pub(crate) fn stretches<'k, M: PartialEq>(
    partitions: impl Iterator<Item = (&'k PartitionKey, M)>,
) -> Vec<(Window, usize, M)> {
    let mut stretches: Vec<(Window, usize, M)> = Vec::new();
    for (key, mark) in partitions {
        let window = key.window();
        match stretches.last_mut() {
            Some((whole, count, known)) if whole.end() == window.start() && *known == mark => {
                *whole = Window::try_new(whole.start(), window.end()).expect("it only grows");
                *count += 1;
            }
            _ => stretches.push((window, 1, mark)),
        }
    }
    stretches
}

/// What a run is told to read `window`: whole days are said as dates.
pub(crate) fn run_arguments(window: &Window) -> Vec<String> {
    let said = |time: DateTime<Utc>| {
        let midnight = Grain::Day.floor(time);
        if time == midnight {
            time.format("%Y-%m-%d").to_string()
        } else {
            time.format("%Y-%m-%dT%H:%MZ").to_string()
        }
    };
    let is_one_day = window.duration() == TimeDelta::days(1)
        && Grain::Day.floor(window.start()) == window.start();
    if is_one_day {
        return vec!["--date".to_owned(), said(window.start())];
    }
    vec![
        "--from".to_owned(),
        said(window.start()),
        "--to".to_owned(),
        said(window.end()),
    ]
}

impl From<&Looked<'_>> for PartitionStatus {
    fn from(looked: &Looked<'_>) -> Self {
        Self {
            partition: slot_name(&looked.key),
            state: looked.state,
            committed: looked.summary.map(|summary| CommittedStatus {
                revision: summary.revision,
                committed_at: iso(summary.committed_at),
                published: summary.published,
                records: summary.records,
                rows: summary.rows.clone(),
                bytes: summary.bytes,
            }),
            failure: looked.failure.cloned(),
            start: looked.key.start(),
        }
    }
}
