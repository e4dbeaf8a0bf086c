//! What a run asks for, and why: pure, from the range, the settings, the time and what is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use answerlake_model::{AppId, Fit, Grain, PartitionKey, Window};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Serialize;

use crate::config::{PipelineConfig, WindowConfig};
use crate::error::PipelineError;

/// Longer ranges are mistakes, and their partitions more than memory holds.
const MAX_RANGE: TimeDelta = TimeDelta::days(100 * 366);

/// The range a run is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Its first instant, floored to the grain.
    pub from: Option<DateTime<Utc>>,
    /// The first instant after it, raised to the grain.
    pub to: Option<DateTime<Utc>>,
    /// One UTC day, in place of both.
    pub date: Option<NaiveDate>,
}

/// What a run is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunRequest {
    /// Its range.
    pub range: Range,
    /// Whether partitions of the range are read that are settled.
    pub force: bool,
    /// Whether partitions are read that have not ended, or not long enough ago. They are committed as provisional.
    pub include_open: bool,
}

/// Why a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was never committed.
    Uncommitted,
    /// Its records may not have settled when it was read.
    Provisional,
    /// Nothing proves that it is complete.
    Partial,
    /// Its newest revision names files that are nowhere.
    Broken,
    /// It is to be read whatever holds.
    Forced,
    /// Strays were kept for it that it was made without.
    Strays,
    /// It is settled, but the job of its window runs at the source, and brings partitions that are due.
    InFlight,
}

impl Reason {
    /// Its name in logs and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uncommitted => "uncommitted",
            Self::Provisional => "provisional",
            Self::Partial => "partial",
            Self::Broken => "broken",
            Self::Forced => "forced",
            Self::Strays => "strays",
            Self::InFlight => "in_flight",
        }
    }
}

/// What is committed of a partition, as far as it decides whether it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its records may not have settled.
    pub provisional: bool,
    /// Nothing proves that it is complete.
    pub partial: bool,
    /// Files of it are nowhere.
    pub broken: bool,
    /// It was made without some of its strays.
    pub lacks_strays: bool,
    /// How long the longest was that its jobs were asked for, where that is less than the settings allow, and why.
    pub part: Option<(TimeDelta, Fit)>,
}

/// Some partitions next to one another, asked for with one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedWindow {
    /// The time they cover.
    pub window: Window,
    /// Each of them, in order, and why it is read.
    pub partitions: Vec<(PartitionKey, Reason)>,
    /// What is asked for with a job each, in order: the window itself, or, of a single partition, parts of it.
    pub parts: Vec<Window>,
    /// Why it is smaller than the settings allow; absent where it is not.
    pub fit: Option<Fit>,
}

/// The least that is asked for.
const LEAST_PART: TimeDelta = TimeDelta::hours(1);

/// So many partitions in a row must have come in windows of one size before a larger one is tried.
const SUCCESSES: usize = 3;

impl PlannedWindow {
    /// A window of partitions next to one another, asked for as a whole.
    pub fn new(window: Window, partitions: Vec<(PartitionKey, Reason)>) -> Self {
        Self {
            window,
            partitions,
            parts: vec![window],
            fit: None,
        }
    }

    /// Whether it is asked of nobody: what it lacks is in the lake.
    pub fn is_of_strays(&self) -> bool {
        self.partitions
            .iter()
            .all(|(_, reason)| *reason == Reason::Strays)
    }

    /// Less at once, after `failed` of it came to nothing: two windows, or of one partition more parts. `None` where
    /// it is the least there is.
    pub(crate) fn halved(&self, failed: &Window) -> Option<Vec<Self>> {
        if let [(first, _), rest @ ..] = &self.partitions[..]
            && !rest.is_empty()
        {
            let (before, after) = self.partitions.split_at(self.partitions.len() / 2);
            let middle = after[0].0.start();
            let half = |start, end, partitions: &[_]| {
                let window = Window::try_new(start, end).expect("both halves have partitions");
                Self {
                    fit: Some(Fit::Halved),
                    ..Self::new(window, partitions.to_vec())
                }
            };
            return Some(vec![
                half(first.start(), middle, before),
                half(middle, self.window.end(), after),
            ]);
        }
        let hours = i32::try_from(failed.duration().num_hours()).ok()?;
        if hours < 2 {
            return None;
        }
        let parts = self.parts.iter().flat_map(|part| {
            if part == failed {
                cut(part, LEAST_PART * (hours - hours / 2))
            } else {
                vec![*part]
            }
        });
        Some(vec![Self {
            parts: parts.collect(),
            fit: Some(Fit::Halved),
            ..self.clone()
        }])
    }
}

/// Cuts a window into parts of `size`, the last of which may be shorter.
fn cut(window: &Window, size: TimeDelta) -> Vec<Window> {
    let mut parts = Vec::new();
    let mut start = window.start();
    while start < window.end() {
        let end = (start + size).min(window.end());
        parts.push(Window::try_new(start, end).expect("it begins before the end"));
        start = end;
    }
    parts
}

/// How much is asked for at once.
struct Size {
    most: TimeDelta,
    fit: Option<Fit>,
}

impl Size {
    /// What the settings allow, or less: what the newest partitions came in, or twice that after some successes.
    fn of(committed: &BTreeMap<PartitionKey, Committed>, config: &PipelineConfig) -> Self {
        let allowed = to_delta(config.window.size);
        let mut newest = committed.values().rev().map(|state| state.part);
        let Some(Some((part, fit))) = newest.next() else {
            return Self {
                most: allowed,
                fit: None,
            };
        };
        let before: Vec<_> = newest.take(SUCCESSES - 1).collect();
        let has_lasted = fit == Fit::Kept
            && before.len() == SUCCESSES - 1
            && before
                .iter()
                .all(|state| matches!(state, Some((earlier, Fit::Kept)) if *earlier >= part));
        let most = if has_lasted { part * 2 } else { part };
        Self {
            most: most.min(allowed),
            fit: (most < allowed).then_some(Fit::Kept),
        }
    }
}

/// What a run asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The windows, in order.
    pub windows: Vec<PlannedWindow>,
    /// Partitions of the range that have not ended long enough ago.
    pub not_due: Vec<PartitionKey>,
}

impl RunRequest {
    /// The range in whole partitions: what it says, or else all since `window.start` that is due by now, or under way
    /// by now where open ones are included.
    ///
    /// # Errors
    /// As [`Range::resolve`].
    pub fn resolve(
        &self,
        config: &PipelineConfig,
        now: DateTime<Utc>,
    ) -> Result<Window, PipelineError> {
        let grain = config.lake.grain;
        let until = if self.include_open {
            grain.ceil(now)
        } else {
            grain.floor(now - to_delta(config.window.lag))
        };
        self.range.resolve(grain, config.window.start, until)
    }
}

impl Range {
    /// The range in whole partitions: what it says, and where it says nothing, `from` and `until`.
    ///
    /// # Errors
    /// When it is empty, backwards or absurd, or nothing says where to start.
    pub fn resolve(
        &self,
        grain: Grain,
        from: Option<DateTime<Utc>>,
        until: DateTime<Utc>,
    ) -> Result<Window, PipelineError> {
        let invalid = |reason: String| PipelineError::InvalidRange { reason };
        if let Some(date) = self.date {
            if self.from.is_some() || self.to.is_some() {
                return Err(invalid(
                    "`--date` is a range of its own: leave out `--from` and `--to`".to_owned(),
                ));
            }
            let start = date.and_time(chrono::NaiveTime::MIN).and_utc();
            return Window::try_new(start, start + TimeDelta::days(1))
                .map_err(|error| invalid(error.to_string()));
        }
        let from = self.from.or(from).ok_or_else(|| {
            invalid(
                "where to start is not known: give `--from` and `--to`, or `--date`, or set `window.start` in the \
                 pipeline file"
                    .to_owned(),
            )
        })?;
        let to = self.to.unwrap_or(until);
        if self.from.is_some() && self.from == self.to {
            return Err(invalid(format!(
                "the range is empty: `--from` and `--to` are both `{}`. Airflow 3 gives data_interval_start and \
                 data_interval_end alike under `@daily`: write `--date {{{{ ds }}}}`, or schedule with \
                 CronDataIntervalTimetable",
                from.to_rfc3339()
            )));
        }
        if self.to.is_none() && from >= to {
            // Nothing is due yet. The partition under way says so by name.
            let start = grain.floor(from);
            return Window::try_new(start, start + grain.duration())
                .map_err(|error| invalid(error.to_string()));
        }
        if to - from > MAX_RANGE {
            return Err(invalid(format!(
                "the range is too long: expected at most 100 years, got `{}` to `{}`",
                from.to_rfc3339(),
                to.to_rfc3339()
            )));
        }
        Window::try_new(from, to)
            .and_then(|window| {
                Window::try_new(grain.floor(window.start()), grain.ceil(window.end()))
            })
            .map_err(|error| invalid(error.to_string()))
    }
}

/// The time whose partitions are looked at for `range`: it and the lookback before it, from `window.start` on.
pub fn looked_at(range: &Window, window: &WindowConfig, grain: Grain) -> Window {
    let earliest = grain.floor(range.start() - to_delta(window.lookback));
    let earliest = window.start.map_or(earliest, |start| {
        earliest.max(grain.floor(start)).min(range.start())
    });
    Window::try_new(earliest, range.end()).expect("a range that begins earlier is not empty")
}

/// Plans the windows: partitions of `range` and of the lookback before it that are due, next to one another, as many
/// as fit `window.size`.
///
/// Windows of `in_flight` that bring something due are planned as they are: a job that runs for one, or is about to, is
/// taken up for the same window only. What of such a window was committed before its run was killed is read once more,
/// and found unchanged.
pub fn plan(
    app_id: &AppId,
    range: &Window,
    request: &RunRequest,
    committed: &BTreeMap<PartitionKey, Committed>,
    in_flight: &[Window],
    config: &PipelineConfig,
    now: DateTime<Utc>,
) -> Plan {
    let grain = config.lake.grain;
    let looked_at = looked_at(range, &config.window, grain);
    let mut plan = Plan::default();
    let mut due = BTreeMap::new();
    for slot in looked_at.slots(grain) {
        let key = PartitionKey::new(app_id.clone(), slot, grain);
        let is_forced = request.force && range.contains(slot);
        let Some(reason) = reason(committed.get(&key), is_forced) else {
            continue;
        };
        let is_due = if request.include_open {
            slot < now
        } else {
            has_ended(&key, config, now)
        };
        if is_due {
            due.insert(slot, (key, reason));
        } else {
            plan.not_due.push(key);
        }
    }
    for window in kept(in_flight, &looked_at, grain) {
        let is_due = |slot: DateTime<Utc>| due.contains_key(&slot);
        let has_ended =
            |slot| has_ended(&PartitionKey::new(app_id.clone(), slot, grain), config, now);
        let is_whole = window
            .slots(grain)
            .all(|slot| is_due(slot) || has_ended(slot));
        if !is_whole || !window.slots(grain).any(is_due) {
            continue;
        }
        let partitions = window.slots(grain).map(|slot| {
            let in_flight = || {
                (
                    PartitionKey::new(app_id.clone(), slot, grain),
                    Reason::InFlight,
                )
            };
            due.remove(&slot).unwrap_or_else(in_flight)
        });
        let partitions = partitions.collect();
        plan.windows.push(PlannedWindow::new(window, partitions));
    }
    let kept = plan.windows.len();
    let size = Size::of(committed, config);
    for (key, reason) in due.into_values() {
        plan.push(key, reason, &size, kept);
    }
    plan.windows.sort_by_key(|planned| planned.window.start());
    plan
}

/// The windows of `in_flight` that lie in `looked_at` and do not overlap, the largest of those that do.
fn kept(in_flight: &[Window], looked_at: &Window, grain: Grain) -> Vec<Window> {
    let is_whole = |window: &&Window| {
        let are_ends = [window.start(), window.end()]
            .iter()
            .all(|end| grain.floor(*end) == *end);
        are_ends && looked_at.start() <= window.start() && window.end() <= looked_at.end()
    };
    let mut windows: Vec<Window> = in_flight.iter().filter(is_whole).copied().collect();
    windows.sort_by_key(|window| (std::cmp::Reverse(window.duration()), window.start()));
    let mut kept: Vec<Window> = Vec::new();
    for window in windows {
        let overlaps =
            |other: &Window| window.start() < other.end() && other.start() < window.end();
        if !kept.iter().any(overlaps) {
            kept.push(window);
        }
    }
    kept
}

/// Whether a partition ended at least `window.lag` ago.
pub(crate) fn has_ended(key: &PartitionKey, config: &PipelineConfig, now: DateTime<Utc>) -> bool {
    key.window().end() <= now - to_delta(config.window.lag)
}

fn reason(committed: Option<&Committed>, is_forced: bool) -> Option<Reason> {
    match committed {
        None => Some(Reason::Uncommitted),
        Some(Committed { broken: true, .. }) => Some(Reason::Broken),
        Some(Committed { partial: true, .. }) => Some(Reason::Partial),
        Some(Committed {
            provisional: true, ..
        }) => Some(Reason::Provisional),
        Some(_) if is_forced => Some(Reason::Forced),
        Some(Committed { lacks_strays, .. }) => lacks_strays.then_some(Reason::Strays),
    }
}

impl Plan {
    /// Adds a partition to the last window, unless that is one of the first `kept`, or would be too large, or only one
    /// of both is asked of the source.
    fn push(&mut self, key: PartitionKey, reason: Reason, size: &Size, kept: usize) {
        let slot = key.window();
        if let Some(last) = self.windows[kept..].last_mut()
            && last.window.end() == slot.start()
            && slot.end() - last.window.start() <= size.most
            && last.is_of_strays() == (reason == Reason::Strays)
        {
            last.window = Window::try_new(last.window.start(), slot.end()).expect("it only grows");
            last.parts = vec![last.window];
            last.partitions.push((key, reason));
            return;
        }
        let mut planned = PlannedWindow::new(slot, vec![(key, reason)]);
        if size.most < slot.duration() {
            planned.parts = cut(&slot, size.most.max(LEAST_PART));
        }
        planned.fit = size.fit;
        self.windows.push(planned);
    }
}

/// A setting's duration for arithmetic with times. Settings are spans that people write; none comes near the bounds.
pub(crate) fn to_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn config(settings: &[(&str, &str)]) -> PipelineConfig {
        let overrides: Vec<_> = [("lake", "memory://")]
            .iter()
            .chain(settings)
            .map(|(flag, value)| crate::config::Override {
                setting: Setting::ALL
                    .iter()
                    .find(|setting| setting.flag == *flag)
                    .unwrap(),
                value: (*value).to_owned(),
                origin: (*flag).to_owned(),
            })
            .collect();
        PipelineConfig::load(None, &overrides).unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse::<crate::config::HumanTime>().unwrap().0
    }

    fn window(from: &str, to: &str) -> Window {
        Window::try_new(at(from), at(to)).unwrap()
    }

    fn key(day: &str) -> PartitionKey {
        PartitionKey::new(AppId::try_new("st-1").unwrap(), at(day), Grain::Day)
    }

    const FINAL: Committed = Committed {
        provisional: false,
        partial: false,
        broken: false,
        lacks_strays: false,
        part: None,
    };

    fn planned(plan: &Plan) -> Vec<String> {
        plan.windows
            .iter()
            .map(|window| {
                let reasons: Vec<_> = window
                    .partitions
                    .iter()
                    .map(|(_, reason)| reason.name())
                    .collect();
                format!("{} {}", window.window, reasons.join(","))
            })
            .collect()
    }

    const PROVISIONAL: Committed = Committed {
        provisional: true,
        ..FINAL
    };

    #[test]
    fn what_is_due_is_asked_for_in_windows_that_fit() {
        let config = config(&[("window", "2d"), ("lookback", "2d")]);
        let committed = BTreeMap::from([
            (key("2025-06-03"), FINAL),
            (key("2025-06-04"), PROVISIONAL),
            (
                key("2025-06-05"),
                Committed {
                    partial: true,
                    ..FINAL
                },
            ),
        ]);
        let app_id = AppId::try_new("st-1").unwrap();
        let range = window("2025-06-03", "2025-06-08");
        let plan = |range: &Window, force, now: &str| {
            let request = RunRequest {
                force,
                ..RunRequest::default()
            };
            plan(&app_id, range, &request, &committed, &[], &config, at(now))
        };
        let due = plan(&range, false, "2025-06-07T00:59:59");
        assert_eq!(
            planned(&due),
            [
                "2025-06-01T00:00:00.000Z/2025-06-03T00:00:00.000Z uncommitted,uncommitted",
                "2025-06-04T00:00:00.000Z/2025-06-06T00:00:00.000Z provisional,partial",
            ]
        );
        assert_eq!(due.not_due, [key("2025-06-06"), key("2025-06-07")]);
        let forced = plan(&range, true, "2025-06-07T01:00:00");
        assert_eq!(
            planned(&forced)[1],
            "2025-06-03T00:00:00.000Z/2025-06-05T00:00:00.000Z forced,provisional"
        );
        assert_eq!(forced.not_due, [key("2025-06-07")]);
        // The lookback is never forced.
        let lookback = plan(
            &window("2025-06-05", "2025-06-06"),
            true,
            "2025-06-07T01:00:00",
        );
        assert_eq!(
            planned(&lookback),
            ["2025-06-04T00:00:00.000Z/2025-06-06T00:00:00.000Z provisional,partial"]
        );
    }

    #[test]
    fn windows_whose_job_is_in_flight_stay_as_they_are() {
        let config = config(&[("window", "2d"), ("lookback", "0s")]);
        let committed = BTreeMap::from([
            (key("2025-06-03"), FINAL),
            (key("2025-06-06"), FINAL),
            (key("2025-06-07"), FINAL),
        ]);
        let app_id = AppId::try_new("st-1").unwrap();
        let range = window("2025-06-01", "2025-06-09");
        let plan = |in_flight: &[Window]| {
            let (request, now) = (RunRequest::default(), at("2025-06-20"));
            let plan = plan(
                &app_id, &range, &request, &committed, in_flight, &config, now,
            );
            planned(&plan)
                .iter()
                .map(|line| line.replace("T00:00:00.000Z", "").replace("2025-06-", ""))
                .collect::<Vec<_>>()
        };
        let cut = [
            "01/03 uncommitted,uncommitted",
            "04/06 uncommitted,uncommitted",
            "08/09 uncommitted",
        ];
        assert_eq!(plan(&[]), cut);
        assert_eq!(
            plan(&[window("2025-06-02", "2025-06-05")]),
            [
                "01/02 uncommitted",
                "02/05 uncommitted,in_flight,uncommitted",
                "05/06 uncommitted",
                "08/09 uncommitted",
            ]
        );
        // Nothing due in it, beyond the range, no whole partitions: of no use.
        for other in [
            window("2025-06-06", "2025-06-08"),
            window("2025-05-31", "2025-06-03"),
            window("2025-06-01", "2025-06-01T12:00:00"),
        ] {
            assert_eq!(plan(&[other]), cut, "{other}");
        }
        // Of two that overlap, the larger one.
        let overlapping = [
            window("2025-06-01", "2025-06-03"),
            window("2025-06-01", "2025-06-04"),
            window("2025-06-08", "2025-06-09"),
        ];
        assert_eq!(
            plan(&overlapping)[0],
            "01/04 uncommitted,uncommitted,in_flight"
        );
        assert_eq!(plan(&overlapping).len(), 3);
    }

    #[test]
    fn windows_are_halved_down_to_an_hour() {
        let partitions = |days: &[&str]| {
            let keys = days.iter().map(|day| key(day));
            keys.map(|key| (key, Reason::Uncommitted))
                .collect::<Vec<_>>()
        };
        let three = PlannedWindow::new(
            window("2025-06-01", "2025-06-04"),
            partitions(&["2025-06-01", "2025-06-02", "2025-06-03"]),
        );
        let halves = three.halved(&three.window).unwrap();
        let windows: Vec<_> = halves.iter().map(|half| half.window).collect();
        assert_eq!(
            windows,
            [
                window("2025-06-01", "2025-06-02"),
                window("2025-06-02", "2025-06-04")
            ]
        );
        assert_eq!(halves[1].partitions, three.partitions[1..]);
        assert_eq!(halves[1].parts, [windows[1]]);
        assert_eq!(halves[0].fit, Some(Fit::Halved));

        let hours = |planned: &PlannedWindow| {
            let hours = planned.parts.iter().map(|part| part.duration().num_hours());
            hours.collect::<Vec<_>>()
        };
        let mut day = halves[0].clone();
        let mut seen = Vec::new();
        // The last part fails each time.
        while let Some(halves) = day.halved(day.parts.last().unwrap()) {
            assert_eq!(halves.len(), 1);
            day = halves[0].clone();
            assert_eq!(day.partitions, halves[0].partitions);
            assert_eq!(day.parts[0].start(), day.window.start());
            assert!(
                day.parts
                    .windows(2)
                    .all(|pair| pair[0].end() == pair[1].start())
            );
            assert_eq!(day.parts.last().unwrap().end(), day.window.end());
            seen.push(hours(&day));
        }
        assert_eq!(
            seen,
            [
                vec![12, 12],
                vec![12, 6, 6],
                vec![12, 6, 3, 3],
                vec![12, 6, 3, 2, 1]
            ]
        );
    }

    #[test]
    fn windows_stay_small_for_a_while_and_grow_back() {
        let config = config(&[("window", "4d"), ("lookback", "0s")]);
        let app_id = AppId::try_new("st-1").unwrap();
        let parts = |earlier: &[(i64, Fit)]| {
            let committed = earlier.iter().enumerate().map(|(day, (hours, fit))| {
                let state = Committed {
                    part: (*hours > 0).then_some((TimeDelta::hours(*hours), *fit)),
                    ..FINAL
                };
                (key(&format!("2025-06-0{}", day + 1)), state)
            });
            let range = window("2025-06-01", "2025-06-14");
            let (request, now) = (RunRequest::default(), at("2025-06-20"));
            let plan = plan(
                &app_id,
                &range,
                &request,
                &committed.collect(),
                &[],
                &config,
                now,
            );
            let first = &plan.windows[0];
            (first.partitions.len(), first.parts.len(), first.fit)
        };
        use Fit::{Halved, Kept};
        assert_eq!(parts(&[(0, Kept)]), (4, 1, None));
        assert_eq!(parts(&[(6, Halved)]), (1, 4, Some(Kept)));
        assert_eq!(
            parts(&[(6, Halved), (6, Kept), (6, Kept)]),
            (1, 4, Some(Kept))
        );
        assert_eq!(
            parts(&[(6, Kept), (6, Kept), (6, Kept)]),
            (1, 2, Some(Kept))
        );
        assert_eq!(
            parts(&[(24, Kept), (24, Kept), (24, Kept)]),
            (2, 1, Some(Kept))
        );
        assert_eq!(parts(&[(48, Kept), (48, Kept), (48, Kept)]), (4, 1, None));
        assert_eq!(parts(&[(6, Halved), (6, Kept), (0, Kept)]), (4, 1, None));
    }

    #[test]
    fn what_lacks_strays_alone_is_a_window_of_its_own() {
        let lacking = Committed {
            lacks_strays: true,
            ..FINAL
        };
        let committed = BTreeMap::from([
            (key("2025-06-01"), lacking),
            (
                key("2025-06-02"),
                Committed {
                    provisional: true,
                    ..lacking
                },
            ),
            (key("2025-06-03"), lacking),
            (key("2025-06-04"), FINAL),
        ]);
        let range = window("2025-06-01", "2025-06-05");
        let (request, now) = (RunRequest::default(), at("2025-06-20"));
        let config = config(&[("window", "4d"), ("lookback", "0s")]);
        let app_id = AppId::try_new("st-1").unwrap();
        let plan = plan(&app_id, &range, &request, &committed, &[], &config, now);
        let reasons: Vec<_> = plan
            .windows
            .iter()
            .map(|window| window.partitions[0].1.name())
            .collect();
        assert_eq!(reasons, ["strays", "provisional", "strays"]);
    }

    #[test]
    fn open_partitions_are_read_when_asked_for_and_future_ones_never() {
        let config = config(&[]);
        let request = RunRequest {
            range: Range {
                from: Some(at("2025-06-04")),
                ..Range::default()
            },
            include_open: true,
            ..RunRequest::default()
        };
        let now = at("2025-06-06T12:00:00");
        let range = request.resolve(&config, now).unwrap();
        assert_eq!(range, window("2025-06-04", "2025-06-07"));
        let committed =
            BTreeMap::from([(key("2025-06-04"), FINAL), (key("2025-06-06"), PROVISIONAL)]);
        let app_id = AppId::try_new("st-1").unwrap();
        let open = plan(
            &app_id,
            &window("2025-06-04", "2025-06-09"),
            &request,
            &committed,
            &[],
            &config,
            now,
        );
        assert_eq!(
            planned(&open)[3..],
            [
                "2025-06-05T00:00:00.000Z/2025-06-06T00:00:00.000Z uncommitted",
                "2025-06-06T00:00:00.000Z/2025-06-07T00:00:00.000Z provisional",
            ]
        );
        assert_eq!(open.not_due, [key("2025-06-07"), key("2025-06-08")]);
        // At midnight sharp, no partition is open.
        let midnight = request.resolve(&config, at("2025-06-06")).unwrap();
        assert_eq!(midnight, window("2025-06-04", "2025-06-06"));
    }

    #[test]
    fn the_lookback_ends_at_the_start_of_the_pipeline() {
        let range = window("2025-06-05", "2025-06-06");
        assert_eq!(
            looked_at(&range, &config(&[]).window, Grain::Day),
            window("2025-06-02", "2025-06-06")
        );
        let started = config(&[("window-start", "2025-06-04")]);
        assert_eq!(
            looked_at(&range, &started.window, Grain::Day),
            window("2025-06-04", "2025-06-06")
        );
        let late = config(&[("window-start", "2025-06-09")]);
        assert_eq!(looked_at(&range, &late.window, Grain::Day), range);
        let none = config(&[("lookback", "0s")]);
        assert_eq!(looked_at(&range, &none.window, Grain::Day), range);
    }

    #[test]
    fn ranges_are_whole_partitions() {
        let now = at("2025-06-10T00:30:00");
        let resolve = |from: Option<&str>, to: Option<&str>, settings: &[(&str, &str)]| {
            let range = Range {
                from: from.map(at),
                to: to.map(at),
                date: None,
            };
            let request = RunRequest {
                range,
                ..RunRequest::default()
            };
            request
                .resolve(&config(settings), now)
                .map(|window| window.to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            resolve(Some("2025-06-01T05:00"), Some("2025-06-02T05:00"), &[]).unwrap(),
            "2025-06-01T00:00:00.000Z/2025-06-03T00:00:00.000Z"
        );
        assert_eq!(
            resolve(
                Some("2025-06-01T05:30"),
                Some("2025-06-01T05:40"),
                &[("grain", "hour")]
            )
            .unwrap(),
            "2025-06-01T05:00:00.000Z/2025-06-01T06:00:00.000Z"
        );
        // 00:30 is within the lag of the day before.
        assert_eq!(
            resolve(None, None, &[("window-start", "2025-06-01")]).unwrap(),
            "2025-06-01T00:00:00.000Z/2025-06-09T00:00:00.000Z"
        );
        assert_eq!(
            resolve(None, None, &[("window-start", "2025-06-20")]).unwrap(),
            "2025-06-20T00:00:00.000Z/2025-06-21T00:00:00.000Z"
        );
        let equal = resolve(Some("2026-01-02"), Some("2026-01-02"), &[]).unwrap_err();
        assert!(equal.contains("write `--date {{ ds }}`"), "{equal}");
        assert!(
            resolve(Some("2026-01-02"), Some("2026-01-01"), &[])
                .unwrap_err()
                .contains("the range is empty")
        );
        assert!(
            resolve(None, Some("2026-01-01"), &[])
                .unwrap_err()
                .contains("where to start is not known")
        );
        assert!(
            resolve(Some("0001-01-01"), Some("9999-12-31"), &[])
                .unwrap_err()
                .contains("at most 100 years")
        );
        let date = Range {
            date: Some("2025-06-28".parse().unwrap()),
            ..Range::default()
        };
        assert_eq!(
            date.resolve(Grain::Day, None, now).unwrap(),
            window("2025-06-28", "2025-06-29")
        );
    }
}
