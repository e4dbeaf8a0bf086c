//! How late records come: what reading a partition again found that had not been there before.
//!
//! A record that a reread finds came after the read before. So its age at that read, by its own time, is how late it
//! came at the least. Manifests add it up from revision to revision: whoever wants to know whether the lookback is long
//! enough looks at the newest ones.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use answerlake_model::Table;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The ages that records are counted by, in hours: each up to the next.
pub const AGES: [u32; 12] = [0, 1, 3, 6, 12, 24, 48, 72, 120, 168, 336, 720];

/// What rereads of a partition, or of several, found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// When it was asked for first, as far as that is known.
    pub first_read: DateTime<Utc>,
    /// What came late, by table.
    #[serde(default)]
    pub late: BTreeMap<Table, LateRecords>,
}

/// Records that were not there when their partition was read first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateRecords {
    /// How many.
    pub records: u64,
    /// How many of them came so many hours late, or later, up to the next number of [`AGES`].
    pub by_hours: BTreeMap<u32, u64>,
    /// How late the last of them came, at the least.
    pub latest_seconds: i64,
}

impl LateRecords {
    /// Counts a record that was this old when it had not come yet.
    pub(crate) fn add(&mut self, age: TimeDelta) {
        // One made after the read before is not late: it came with its partition under way.
        let seconds = age.num_seconds();
        if seconds <= 0 {
            return;
        }
        let hours = AGES
            .into_iter()
            .rev()
            .find(|hours| i64::from(*hours) * 3600 <= seconds);
        self.records += 1;
        *self.by_hours.entry(hours.unwrap_or_default()).or_default() += 1;
        self.latest_seconds = self.latest_seconds.max(seconds);
    }
}

impl AddAssign<&Self> for LateRecords {
    fn add_assign(&mut self, more: &Self) {
        self.records += more.records;
        for (hours, records) in &more.by_hours {
            *self.by_hours.entry(*hours).or_default() += records;
        }
        self.latest_seconds = self.latest_seconds.max(more.latest_seconds);
    }
}

/// Adds up what came late by table.
pub fn add_late(sum: &mut BTreeMap<Table, LateRecords>, more: &BTreeMap<Table, LateRecords>) {
    for (table, late) in more {
        *sum.entry(*table).or_default() += late;
    }
    sum.retain(|_, late| late.records > 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_how_late_they_came() {
        let mut late = LateRecords::default();
        for hours in [-5, 0, 2, 3, 30, 2_000] {
            late.add(TimeDelta::hours(hours));
        }
        late.add(TimeDelta::minutes(10));
        let expected = BTreeMap::from([(0, 1), (1, 1), (3, 1), (24, 1), (720, 1)]);
        assert_eq!(late.by_hours, expected);
        assert_eq!((late.records, late.latest_seconds), (5, 2_000 * 3600));
        let mut sum = BTreeMap::from([(Table::Queries, LateRecords::default())]);
        add_late(&mut sum, &BTreeMap::from([(Table::Feedback, late.clone())]));
        add_late(&mut sum, &BTreeMap::from([(Table::Feedback, late)]));
        assert_eq!(sum[&Table::Feedback].records, 10);
        assert_eq!(sum.len(), 1, "none came late of the others");
    }
}
