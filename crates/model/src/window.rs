//! Half-open time ranges in UTC, and the grain at which partitions are cut.
//!
//! Everything here is exact to the microsecond and knows no local time: a day has 24 hours, always.

use std::fmt;

use chrono::{DateTime, Duration, DurationRound, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// A half-open range of time `[start, end)` in UTC; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawWindow")]
pub struct Window {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// A range whose end does not lie after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the range is empty: it starts at `{}` and ends at `{}`", millis(*start), millis(*end))]
pub struct InvalidWindow {
    /// The start that was given.
    pub start: DateTime<Utc>,
    /// The end that was given.
    pub end: DateTime<Utc>,
}

#[derive(Deserialize)]
struct RawWindow {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl TryFrom<RawWindow> for Window {
    type Error = InvalidWindow;

    fn try_from(raw: RawWindow) -> Result<Self, InvalidWindow> {
        Self::try_new(raw.start, raw.end)
    }
}

impl Window {
    /// Makes the range `[start, end)`.
    ///
    /// # Errors
    /// When `end` does not lie after `start`.
    pub fn try_new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self, InvalidWindow> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(InvalidWindow { start, end })
        }
    }

    /// The first instant inside.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// The first instant after.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        self.end - self.start
    }

    /// Whether `time` lies inside.
    pub fn contains(&self, time: DateTime<Utc>) -> bool {
        self.start <= time && time < self.end
    }

    /// The same range, wider by `margin` on either side.
    pub fn widen(&self, margin: Duration) -> Self {
        Self {
            start: self.start - margin,
            end: self.end + margin,
        }
    }

    /// The starts of the slots of `grain` that overlap the range, in order.
    pub fn slots(&self, grain: Grain) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let end = self.end;
        std::iter::successors(Some(grain.floor(self.start)), move |slot| {
            Some(*slot + grain.duration())
        })
        .take_while(move |slot| *slot < end)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", millis(self.start), millis(self.end))
    }
}

fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How long one partition is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    /// A UTC day: `dt=2025-06-28`. The default.
    #[default]
    Day,
    /// A UTC hour: `dt=2025-06-28/hour=3`.
    Hour,
}

impl Grain {
    /// The length of a slot.
    pub const fn duration(self) -> Duration {
        match self {
            Self::Day => TimeDelta::hours(24),
            Self::Hour => TimeDelta::hours(1),
        }
    }

    /// The start of the slot that holds `time`.
    pub fn floor(self, time: DateTime<Utc>) -> DateTime<Utc> {
        // Fails for times beyond what an i64 of nanoseconds holds (years 1677 to 2262): those are handled by
        // their seconds, which always fit.
        time.duration_trunc(self.duration()).unwrap_or_else(|_| {
            let seconds =
                time.timestamp() - time.timestamp().rem_euclid(self.duration().num_seconds());
            DateTime::from_timestamp(seconds, 0)
                .expect("an earlier second of the same day is in range")
        })
    }

    /// The first start of a slot at or after `time`.
    pub fn ceil(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let floor = self.floor(time);
        if floor == time {
            time
        } else {
            floor + self.duration()
        }
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Hour => "hour",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn an_empty_range_is_refused_with_both_ends() {
        let error =
            Window::try_new(at("2025-06-28T00:00:00Z"), at("2025-06-28T00:00:00Z")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the range is empty: it starts at `2025-06-28T00:00:00.000Z` and ends at `2025-06-28T00:00:00.000Z`"
        );
    }

    #[test]
    fn a_midnight_belongs_to_the_day_it_starts() {
        let day = Window::try_new(at("2025-06-28T00:00:00Z"), at("2025-06-29T00:00:00Z")).unwrap();
        assert!(day.contains(at("2025-06-28T00:00:00Z")));
        assert!(day.contains(at("2025-06-28T23:59:59.999Z")));
        assert!(!day.contains(at("2025-06-29T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn slots_cover_the_range_and_overlap_nothing(start in -4_000_000_000_i64..4_000_000_000, length in 1_i64..2_000_000, hour: bool) {
            let grain = if hour { Grain::Hour } else { Grain::Day };
            let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
            let window = Window::try_new(time(start), time(start + length)).unwrap();
            let slots: Vec<_> = window.slots(grain).collect();
            prop_assert!(slots[0] <= window.start());
            prop_assert!(*slots.last().unwrap() + grain.duration() >= window.end());
            prop_assert!(*slots.last().unwrap() < window.end());
            for pair in slots.windows(2) {
                prop_assert_eq!(pair[0] + grain.duration(), pair[1]);
            }
        }

        #[test]
        fn floor_and_ceil_are_the_nearest_slots(seconds in -60_000_000_000_i64..60_000_000_000, hour: bool) {
            let grain = if hour { Grain::Hour } else { Grain::Day };
            let time = DateTime::from_timestamp(seconds, 0).unwrap();
            let (floor, ceil) = (grain.floor(time), grain.ceil(time));
            prop_assert!(floor <= time && time < floor + grain.duration());
            prop_assert!(ceil >= time && ceil - grain.duration() < time);
            prop_assert_eq!(grain.floor(floor), floor);
            prop_assert_eq!(grain.floor(ceil), ceil);
        }
    }
}
