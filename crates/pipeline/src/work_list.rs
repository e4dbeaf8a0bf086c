//! `plan`: what a run would ask for, without asking, and as a list that workers share out among themselves.
//!
//! Nothing is written: not even a lake that is not there is made.

use std::collections::BTreeMap;
use std::time::Duration;

use answerlake_load::{Head, Lake, LakeStore};
use answerlake_model::{AppId, Grain, PartitionKey, Window};
use chrono::{DateTime, SecondsFormat, Timelike, Utc};
use serde::Serialize;

use answerlake_extract::RateConfig;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::{Plan, PlannedWindow, Reason, RunRequest, has_ended, looked_at, plan};
use crate::prediction::{History, NEAREST, wall_time};
use crate::state::{committed, in_flight};
use crate::strays::Strays;

/// Airflow maps a task over at most so many entries (`max_map_length`).
pub const MAX_ENTRIES: usize = 1000;

/// How many partitions before the first one wanted are looked at for how long exports take: of a range that is recent, an
/// app's older commits are not even listed.
const NEIGHBOURHOOD: i32 = 4 * NEAREST as i32;

/// What a run would ask for.
#[derive(Debug, Clone)]
pub struct WorkList {
    /// The app.
    pub app_id: AppId,
    /// The range as it was resolved, without the lookback.
    pub range: Window,
    /// How partitions are cut.
    pub grain: Grain,
    /// The time as of which it is.
    pub now: DateTime<Utc>,
    /// Each window in order, with what its export will take, where past ones tell.
    pub windows: Vec<(PlannedWindow, Option<Duration>)>,
    /// Partitions of the range that are not due yet.
    pub not_due: Vec<PartitionKey>,
    /// When the first of those is due.
    pub next_due: Option<DateTime<Utc>>,
    /// Jobs in flight at once.
    pub jobs_at_once: usize,
    rate: RateConfig,
    request: RunRequest,
    /// Partitions that only a run with `--include-open` reads begin here.
    open_from: DateTime<Utc>,
}

/// What one worker is given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkEntry {
    /// The app.
    pub app_id: String,
    /// Its first instant.
    pub from: String,
    /// The first instant after it.
    pub to: String,
    /// The partitions that are read: `2025-06-28`, or with hourly grain `2025-06-28T03`.
    pub partitions: Vec<String>,
    /// How many of them are read for which reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// How long its exports will take together; `null` where past ones do not tell.
    pub predicted_seconds: Option<f64>,
    /// What `answerlake run` is to be told, beside the same settings.
    pub arguments: Vec<String>,
}

/// Looks up what a run with this request would ask for.
///
/// # Errors
/// When such a run would be refused by its settings, or the lake cannot be read.
pub async fn plan_run(
    config: &PipelineConfig,
    request: &RunRequest,
    now: DateTime<Utc>,
) -> Result<WorkList, PipelineError> {
    let range = request.resolve(config, now)?;
    let app_id = config.app()?;
    let grain = config.lake.grain;
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    lake.check_pin(&config.lake_pin()).await?;

    let wanted = looked_at(&range, &config.window, grain);
    let since = PartitionKey::new(
        app_id.clone(),
        wanted.start() - grain.duration() * NEIGHBOURHOOD,
        grain,
    );
    let mut heads = lake.heads(Some(app_id), Some(&since)).await?;
    heads.retain(|key, _| key.grain() == grain);
    let summaries = lake.summaries(with_neighbours(heads, &wanted)).await?;
    let history = History::new(&summaries);
    let in_flight = in_flight(&lake, app_id, config, now).await?;
    let strays = Strays::of(&lake, app_id).await?;
    let Plan { windows, not_due } = plan(
        app_id,
        &range,
        request,
        &committed(&summaries, &strays),
        &in_flight,
        config,
        now,
    );
    let windows = windows
        .into_iter()
        .map(|planned| {
            let predicted = if planned.is_of_strays() {
                Some(Duration::ZERO)
            } else {
                history.predict(&planned.window, now)
            };
            (planned, predicted)
        })
        .collect();
    let lag = crate::plan::to_delta(config.window.lag);
    let is_open = |slot| !has_ended(&PartitionKey::new(app_id.clone(), slot, grain), config, now);
    Ok(WorkList {
        app_id: app_id.clone(),
        range,
        grain,
        now,
        windows,
        next_due: not_due.first().map(|key| key.window().end() + lag),
        not_due,
        jobs_at_once: config.jobs.concurrency,
        rate: config.rate.clone(),
        request: *request,
        open_from: wanted
            .slots(grain)
            .find(|slot| is_open(*slot))
            .unwrap_or(wanted.end()),
    })
}

/// The partitions of `wanted`, and on either side as many as tell how long exports take.
fn with_neighbours(
    heads: BTreeMap<PartitionKey, Head>,
    wanted: &Window,
) -> BTreeMap<PartitionKey, Head> {
    let before = heads
        .keys()
        .filter(|key| key.start() < wanted.start())
        .count();
    let after = heads
        .keys()
        .filter(|key| key.start() < wanted.end())
        .count();
    let first = before.saturating_sub(NEAREST);
    heads
        .into_iter()
        .skip(first)
        .take(after + NEAREST - first)
        .collect()
}

impl WorkList {
    /// How many partitions are read for which reason.
    pub fn reasons(&self) -> BTreeMap<Reason, usize> {
        count_reasons(self.windows.iter().map(|(planned, _)| planned))
    }

    /// What the exports take one after the other, and at `jobs.concurrency`; and how many windows are not in it,
    /// because nothing tells how long they take.
    pub fn export_times(&self) -> (Duration, Duration, usize) {
        let known: Vec<_> = self
            .windows
            .iter()
            .filter_map(|(_, predicted)| *predicted)
            .collect();
        (
            known.iter().sum(),
            wall_time(&known, self.jobs_at_once),
            self.windows.len() - known.len(),
        )
    }

    /// The work shared out: at most [`MAX_ENTRIES`] entries for `workers` that run at once. Running all of them does
    /// just what the run would have done.
    ///
    /// A window is an entry; where there are too many, neighbours become one. What lies between them and is settled, the
    /// entry's run skips as this plan did. Where partitions are forced, none lies between: with `--force`, it would be
    /// read.
    pub fn entries(&self, workers: u32) -> Vec<WorkEntry> {
        let mut stretches: Vec<&[(PlannedWindow, Option<Duration>)]> = Vec::new();
        let mut rest = &self.windows[..];
        while !rest.is_empty() {
            let joined = rest
                .windows(2)
                .take_while(|pair| may_join(&pair[0].0, &pair[1].0));
            let (stretch, others) = rest.split_at(joined.count() + 1);
            stretches.push(stretch);
            rest = others;
        }
        let entries_of = |size: usize| -> usize {
            stretches
                .iter()
                .map(|stretch| stretch.len().div_ceil(size))
                .sum()
        };
        let mut size = self.windows.len().div_ceil(MAX_ENTRIES).max(1);
        while entries_of(size) > MAX_ENTRIES && size < self.windows.len() {
            size += 1;
        }
        stretches
            .iter()
            .flat_map(|stretch| stretch.chunks(size))
            .map(|windows| self.entry(windows, workers))
            .collect()
    }

    fn entry(&self, windows: &[(PlannedWindow, Option<Duration>)], workers: u32) -> WorkEntry {
        let (first, last) = (&windows[0].0, &windows[windows.len() - 1].0);
        let (start, end) = (first.window.start(), last.window.end());
        let planned = || windows.iter().map(|(planned, _)| planned);
        let reasons = count_reasons(planned());
        let mut arguments = vec![
            "--from".to_owned(),
            seconds(start),
            "--to".to_owned(),
            seconds(end),
            "--lookback".to_owned(),
            "0s".to_owned(),
        ];
        if workers > 1 {
            for (flag, rate) in [
                ("--rate-per-minute", self.rate.per_minute),
                ("--rate-per-hour", self.rate.per_hour),
            ] {
                arguments.extend([flag.to_owned(), (rate / workers).max(1).to_string()]);
            }
        }
        if reasons.contains_key(&Reason::Forced) {
            arguments.push("--force".to_owned());
        }
        if self.request.include_open && end > self.open_from {
            arguments.push("--include-open".to_owned());
        }
        let predicted: Option<Duration> = windows.iter().map(|(_, predicted)| *predicted).sum();
        WorkEntry {
            app_id: self.app_id.to_string(),
            from: seconds(start),
            to: seconds(end),
            partitions: planned()
                .flat_map(|planned| &planned.partitions)
                .map(|(key, _)| slot_name(key))
                .collect(),
            reasons,
            predicted_seconds: predicted.map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
            arguments,
        }
    }
}

/// Whether one run can do both windows and nothing else.
fn may_join(one: &PlannedWindow, next: &PlannedWindow) -> bool {
    let is_forced = |planned: &PlannedWindow| {
        let mut reasons = planned.partitions.iter().map(|(_, reason)| *reason);
        reasons.any(|reason| reason == Reason::Forced)
    };
    one.window.end() == next.window.start() || (!is_forced(one) && !is_forced(next))
}

fn count_reasons<'p>(windows: impl Iterator<Item = &'p PlannedWindow>) -> BTreeMap<Reason, usize> {
    let mut counts = BTreeMap::new();
    for (_, reason) in windows.flat_map(|planned| &planned.partitions) {
        *counts.entry(*reason).or_default() += 1;
    }
    counts
}

/// A partition without its app, as people write it: `2025-06-28`, or with hourly grain `2025-06-28T03`.
pub fn slot_name(key: &PartitionKey) -> String {
    let start = key.start();
    let date = start.format("%Y-%m-%d");
    match key.grain() {
        Grain::Day => date.to_string(),
        Grain::Hour => format!("{date}T{:02}", start.hour()),
    }
}

/// Partitions begin at whole hours, so seconds are exact.
fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const HOUR: TimeDelta = TimeDelta::hours(1);

    fn start() -> DateTime<Utc> {
        "2025-06-01T00:00:00Z".parse().unwrap()
    }

    fn window(hour: i32, reason: Reason) -> (PlannedWindow, Option<Duration>) {
        let app_id = AppId::try_new("st-1").unwrap();
        let key = PartitionKey::new(app_id, start() + HOUR * hour, Grain::Hour);
        let planned = PlannedWindow::new(key.window(), vec![(key, reason)]);
        (planned, Some(Duration::from_secs(2)))
    }

    fn list(windows: Vec<(PlannedWindow, Option<Duration>)>) -> WorkList {
        let end = windows[windows.len() - 1].0.window.end();
        WorkList {
            app_id: AppId::try_new("st-1").unwrap(),
            range: Window::try_new(start(), end).unwrap(),
            grain: Grain::Hour,
            now: end,
            windows,
            not_due: Vec::new(),
            next_due: None,
            jobs_at_once: 2,
            rate: RateConfig {
                per_minute: 50,
                per_hour: 7,
            },
            request: RunRequest {
                include_open: true,
                ..RunRequest::default()
            },
            open_from: end - HOUR,
        }
    }

    #[test]
    fn an_entry_has_what_a_worker_needs() {
        let list = list(vec![
            window(0, Reason::Provisional),
            window(2, Reason::Forced),
            window(3, Reason::Uncommitted),
        ]);
        let entries = list.entries(8);
        let arguments: Vec<_> = entries
            .iter()
            .map(|entry| entry.arguments.join(" "))
            .collect();
        assert_eq!(
            arguments,
            [
                "--from 2025-06-01T00:00:00Z --to 2025-06-01T01:00:00Z --lookback 0s --rate-per-minute 6 --rate-per-hour 1",
                "--from 2025-06-01T02:00:00Z --to 2025-06-01T03:00:00Z --lookback 0s --rate-per-minute 6 --rate-per-hour 1 --force",
                "--from 2025-06-01T03:00:00Z --to 2025-06-01T04:00:00Z --lookback 0s --rate-per-minute 6 --rate-per-hour 1 --include-open",
            ]
        );
        assert_eq!(
            serde_json::to_string(&list.entries(1)[0]).unwrap(),
            r#"{"app_id":"st-1","from":"2025-06-01T00:00:00Z","to":"2025-06-01T01:00:00Z","partitions":["2025-06-01T00"],"reasons":{"provisional":1},"predicted_seconds":2.0,"arguments":["--from","2025-06-01T00:00:00Z","--to","2025-06-01T01:00:00Z","--lookback","0s"]}"#
        );
    }

    #[test]
    fn many_windows_become_at_most_a_thousand_entries() {
        // Every other hour is provisional and lies in the lookback; then come forced ones without gaps.
        let lookback = (0..1500).map(|number| window(2 * number, Reason::Provisional));
        let forced = (4000..5400).map(|hour| window(hour, Reason::Forced));
        let list = list(lookback.chain(forced).collect());
        let entries = list.entries(1);
        assert!(
            (500..=MAX_ENTRIES).contains(&entries.len()),
            "{}",
            entries.len()
        );
        let partitions: Vec<_> = entries.iter().flat_map(|entry| &entry.partitions).collect();
        assert_eq!(partitions.len(), 2900);
        for entry in &entries {
            let is_forced = entry.arguments.contains(&"--force".to_owned());
            assert_eq!(is_forced, entry.reasons.contains_key(&Reason::Forced));
            assert!(!is_forced || entry.reasons.len() == 1, "{entry:?}");
            assert_eq!(
                entry.predicted_seconds,
                Some(2.0 * entry.partitions.len() as f64)
            );
        }
    }

    #[test]
    fn a_forced_stretch_with_a_gap_is_not_joined() {
        let windows = (0..1500).map(|number| {
            let gap = i32::from(number >= 700);
            window(number + gap, Reason::Forced)
        });
        let entries = list(windows.collect()).entries(1);
        assert!(entries.len() <= MAX_ENTRIES);
        let gap = "2025-06-30T04:00:00Z";
        assert!(entries.iter().any(|entry| entry.to == gap), "{entries:?}");
    }

    #[test]
    fn an_unknown_part_makes_the_whole_unknown() {
        let mut windows: Vec<_> = (0..1001)
            .map(|hour| window(hour, Reason::Uncommitted))
            .collect();
        windows[0].1 = None;
        let list = list(windows);
        let entries = list.entries(1);
        assert_eq!(entries[0].predicted_seconds, None);
        assert_eq!(entries[1].predicted_seconds, Some(4.0));
        let (job_time, wall_time, unknown) = list.export_times();
        assert_eq!(
            (job_time.as_secs(), wall_time.as_secs(), unknown),
            (2000, 1000, 1)
        );
    }
}
