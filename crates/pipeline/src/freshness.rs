//! How late records really came, and whether the lookback is long enough for that; by the manifests alone.

use std::collections::BTreeMap;
use std::time::Duration;

use answerlake_load::LateRecords;
use answerlake_load::freshness::add_late;
use answerlake_model::Table;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::config::WindowConfig;
use crate::plan::to_delta;
use crate::status::Looked;

/// How soon after its end a partition must have been read first to tell anything.
const FIRST_READ: TimeDelta = TimeDelta::days(1);

/// How late the records of an app came.
#[derive(Debug, Clone, Serialize)]
pub struct FreshnessStatus {
    /// Partitions that were read soon after their end and again at the end of the lookback: they tell.
    pub partitions: usize,
    /// Records that were not there when their partition was read first, of all partitions read again, by table.
    pub late: BTreeMap<Table, LateRecords>,
    /// How late the last of them came, at the least; 0 where none did.
    pub latest_seconds: i64,
    /// How long partitions are read again: the lookback, or the time until they are settled if that is shorter.
    pub reread_seconds: u64,
    /// Whether that is long enough.
    pub verdict: Verdict,
}

/// Whether partitions are read again for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No partition was read both soon and at the end of the lookback.
    Unknown,
    /// The last read of a partition found nothing, or nothing that came as late as that.
    Enough,
    /// The last read of a partition still found records: later ones would be missed.
    TooShort,
}

impl FreshnessStatus {
    /// Adds up what the manifests of the partitions say.
    pub(crate) fn of(looked: &[Looked<'_>], window: &WindowConfig) -> Self {
        let reread = window.lookback.min(window.settle);
        let last = last_part(reread);
        let (mut partitions, mut late) = (0, BTreeMap::new());
        for one in looked {
            let Some(summary) = one.summary else { continue };
            let Some(freshness) = &summary.freshness else {
                continue;
            };
            add_late(&mut late, &freshness.late);
            let end = one.key.window().end();
            let last_read: Option<DateTime<Utc>> =
                summary.jobs.iter().filter_map(|job| job.as_of).max();
            let was_read_last = last_read.is_some_and(|read| read >= end + last);
            partitions += usize::from(freshness.first_read < end + FIRST_READ && was_read_last);
        }
        let latest_seconds = late.values().map(|late| late.latest_seconds).max();
        let latest_seconds = latest_seconds.unwrap_or_default();
        let verdict = if latest_seconds >= last.num_seconds() && latest_seconds > 0 {
            Verdict::TooShort
        } else if partitions == 0 {
            Verdict::Unknown
        } else {
            Verdict::Enough
        };
        Self {
            partitions,
            late,
            latest_seconds,
            reread_seconds: reread.as_secs(),
            verdict,
        }
    }
}

/// When the last part of the time begins for which partitions are read again: its last third.
fn last_part(reread: Duration) -> TimeDelta {
    to_delta(reread * 2 / 3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use answerlake_load::{Freshness, PartitionSummary};
    use answerlake_model::{AppId, Grain, JobBooks, PartitionKey, PerTable, Window};

    use super::*;
    use crate::status::State;

    const HOUR: TimeDelta = TimeDelta::hours(1);

    fn key() -> PartitionKey {
        let app_id = AppId::try_new("st-1").unwrap();
        PartitionKey::new(app_id, DateTime::UNIX_EPOCH, Grain::Day)
    }

    /// A day read first and last so many hours after its end, of which records came as late as told.
    fn summary(first: i32, last: i32, latest: Option<i32>) -> PartitionSummary {
        let end = key().window().end();
        let late = latest.map(|hours| LateRecords {
            records: 2,
            by_hours: BTreeMap::new(),
            latest_seconds: i64::from(hours) * 3600,
        });
        let job = JobBooks {
            job_id: None,
            window: Some(Window::try_new(key().start(), end).unwrap()),
            as_of: Some(end + HOUR * last),
            promised: None,
            fragments: 0,
            decoded: 0,
            margin: 0,
            strays: 0,
            unassigned: 0,
            assigned: 0,
            duplicates: 0,
            export_millis: None,
            fit: None,
        };
        PartitionSummary {
            revision: 2,
            committed_at: end,
            published: true,
            provisional: false,
            partial: false,
            missing: Vec::new(),
            records: 0,
            rows: PerTable::default(),
            bytes: 0,
            jobs: vec![job],
            strays: BTreeSet::new(),
            freshness: Some(Freshness {
                first_read: end + HOUR * first,
                late: late
                    .map(|late| (Table::Feedback, late))
                    .into_iter()
                    .collect(),
            }),
        }
    }

    #[test]
    fn a_lookback_is_long_enough_when_its_last_part_finds_nothing() {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        let window = WindowConfig {
            start: None,
            size: days(1),
            margin: Duration::from_secs(1),
            lag: Duration::from_secs(3600),
            lookback: days(3),
            settle: days(3),
            on_shrink: crate::config::OnShrink::Fail,
        };
        let verdict = |summaries: &[PartitionSummary]| {
            let looked: Vec<_> = summaries
                .iter()
                .map(|summary| Looked {
                    key: key(),
                    state: State::Committed,
                    summary: Some(summary),
                    failure: None,
                })
                .collect();
            let status = FreshnessStatus::of(&looked, &window);
            (
                status.verdict,
                status.partitions,
                status.latest_seconds / 3600,
            )
        };
        assert_eq!(verdict(&[]), (Verdict::Unknown, 0, 0));
        // Read first long after its end, or not read again at the end of the lookback: it tells nothing.
        let untold = [summary(240, 300, None), summary(1, 30, Some(20))];
        assert_eq!(verdict(&untold), (Verdict::Unknown, 0, 20));
        assert_eq!(verdict(&[summary(1, 73, None)]), (Verdict::Enough, 1, 0));
        let early = [summary(1, 73, Some(47)), summary(1, 73, Some(3))];
        assert_eq!(verdict(&early), (Verdict::Enough, 2, 47));
        let late = [summary(1, 73, Some(48)), summary(1, 73, Some(3))];
        assert_eq!(verdict(&late), (Verdict::TooShort, 2, 48));
    }
}
