//! How long an export will take, by how long those before it took.
//!
//! An export takes about as long as its fragments are many, and how many there will be nobody knows. So a window is
//! predicted by its own last export, where there was one, and else by the usual pace of those nearest to it in time:
//! export seconds for an hour of data, the median, which one job that was stuck does not move.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use answerlake_load::PartitionSummary;
use answerlake_model::{JobBooks, PartitionKey, Window};
use chrono::{DateTime, Utc};

/// So many exports tell the usual pace: two weeks by the day, so that weekends have their share.
pub(crate) const NEAREST: usize = 14;

/// What past exports took.
#[derive(Debug, Default)]
pub(crate) struct History {
    exports: Vec<Export>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Export {
    window: Window,
    /// Seconds for an hour of data.
    pace: f64,
}

impl Export {
    /// `None` where nobody saw how long it took.
    fn of(job: &JobBooks) -> Option<Self> {
        let (window, millis) = (job.window?, job.export_millis?);
        // Of a window that was open, what lay behind it was exported.
        let end = job
            .as_of
            .map_or(window.end(), |as_of| as_of.min(window.end()));
        let hours = hours(&Window::try_new(window.start(), end).ok()?);
        Some(Self {
            window,
            pace: millis as f64 / 1000.0 / hours,
        })
    }

    /// How far it lies from `window`.
    fn distance(&self, window: &Window) -> i64 {
        (self.window.start() - window.start())
            .num_seconds()
            .saturating_abs()
    }
}

fn hours(window: &Window) -> f64 {
    window.duration().num_milliseconds() as f64 / 3_600_000.0
}

impl History {
    /// Takes the exports that the partitions came from, each job once.
    pub(crate) fn new(summaries: &BTreeMap<PartitionKey, PartitionSummary>) -> Self {
        let mut seen = HashSet::new();
        let jobs = summaries.values().flat_map(|summary| &summary.jobs);
        let exports = jobs
            .filter(|job| seen.insert(&job.job_id))
            .filter_map(Export::of);
        Self {
            exports: exports.collect(),
        }
    }

    /// How long the export of `window` will take as of `now`; `None` where no export before it tells.
    pub(crate) fn predict(&self, window: &Window, now: DateTime<Utc>) -> Option<Duration> {
        let hours = hours(&Window::try_new(window.start(), now.min(window.end())).ok()?);
        let own = self.exports.iter().find(|export| export.window == *window);
        let pace = match own {
            Some(export) => export.pace,
            None => self.usual_pace(window)?,
        };
        Duration::try_from_secs_f64(pace * hours).ok()
    }

    fn usual_pace(&self, window: &Window) -> Option<f64> {
        let mut nearest: Vec<_> = self
            .exports
            .iter()
            .map(|export| (export.distance(window), export.pace))
            .collect();
        if nearest.len() > NEAREST {
            nearest.select_nth_unstable_by_key(NEAREST, |(distance, _)| *distance);
            nearest.truncate(NEAREST);
        }
        let mut paces: Vec<_> = nearest.into_iter().map(|(_, pace)| pace).collect();
        paces.sort_by(f64::total_cmp);
        paces.get(paces.len() / 2).copied()
    }
}

/// How long exports take when `at_once` of them run at once, each begun as soon as one before it ends.
pub(crate) fn wall_time(exports: &[Duration], at_once: usize) -> Duration {
    let mut lanes = vec![Duration::ZERO; at_once.clamp(1, exports.len().max(1))];
    for export in exports {
        let next = lanes
            .iter_mut()
            .min()
            .expect("there is a lane at the least");
        *next += *export;
    }
    lanes.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use answerlake_model::JobId;

    use super::*;

    fn day(day: i64) -> Window {
        let start = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(day);
        Window::try_new(start, start + chrono::TimeDelta::days(1)).unwrap()
    }

    fn job(window: Window, seconds: Option<u64>) -> JobBooks {
        JobBooks {
            job_id: Some(JobId::try_new("fj-1").unwrap().to_string()),
            window: Some(window),
            as_of: Some(window.end() + chrono::TimeDelta::hours(1)),
            promised: None,
            fragments: 1,
            decoded: 0,
            margin: 0,
            strays: 0,
            unassigned: 0,
            assigned: 0,
            duplicates: 0,
            export_millis: seconds.map(|seconds| seconds * 1000),
            fit: None,
        }
    }

    fn history(jobs: &[JobBooks]) -> History {
        History {
            exports: jobs.iter().filter_map(Export::of).collect(),
        }
    }

    fn predicted(history: &History, window: &Window) -> Option<u64> {
        let now = day(1000).end();
        history.predict(window, now).map(|time| time.as_secs())
    }

    #[test]
    fn without_history_nothing_is_predicted() {
        assert_eq!(predicted(&history(&[]), &day(1)), None);
        assert_eq!(predicted(&history(&[job(day(0), None)]), &day(1)), None);
    }

    #[test]
    fn a_window_takes_what_it_took_and_a_new_one_what_is_usual() {
        let mut jobs: Vec<_> = (0..20).map(|number| job(day(number), Some(100))).collect();
        jobs[19].export_millis = Some(9_000_000);
        // Long ago, exports were quicker.
        jobs.extend((-40..-20).map(|number| job(day(number), Some(10))));
        let history = history(&jobs);
        assert_eq!(predicted(&history, &day(19)), Some(9000));
        assert_eq!(predicted(&history, &day(20)), Some(100));
        assert_eq!(predicted(&history, &day(-60)), Some(10));
        let three = Window::try_new(day(21).start(), day(23).end()).unwrap();
        assert_eq!(predicted(&history, &three), Some(300));
    }

    #[test]
    fn an_open_window_counts_for_what_of_it_is_over() {
        let mut open = job(day(1), Some(100));
        open.as_of = Some(day(1).start() + chrono::TimeDelta::hours(6));
        let history = history(&[open]);
        assert_eq!(predicted(&history, &day(2)), Some(400));
        let noon = day(2).start() + chrono::TimeDelta::hours(12);
        assert_eq!(
            history.predict(&day(2), noon).map(|time| time.as_secs()),
            Some(200)
        );
    }

    #[test]
    fn exports_at_once_share_the_wait() {
        let seconds = |numbers: &[u64]| -> Vec<Duration> {
            numbers.iter().map(|&n| Duration::from_secs(n)).collect()
        };
        assert_eq!(wall_time(&[], 2).as_secs(), 0);
        assert_eq!(wall_time(&seconds(&[5, 3, 3, 4]), 1).as_secs(), 15);
        assert_eq!(wall_time(&seconds(&[5, 3, 3, 4]), 2).as_secs(), 9);
        assert_eq!(wall_time(&seconds(&[5, 3, 3, 4]), 9).as_secs(), 5);
    }
}
