//! A partition: one app and one UTC day or hour. It is the unit of commit, of rerun and of replacement.

use std::fmt;

use chrono::{DateTime, Timelike, Utc};

use crate::{AppId, Grain, Window};

/// Names one partition.
///
/// Displayed as it stands in the lake's paths, `app_id=st-1/dt=2025-06-28` or, by the hour,
/// `app_id=st-1/dt=2025-06-28/hour=3` (unpadded: readers take `03` for text).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    app_id: AppId,
    start: DateTime<Utc>,
    grain: Grain,
}

impl PartitionKey {
    /// The partition that holds `time`.
    pub fn new(app_id: AppId, time: DateTime<Utc>, grain: Grain) -> Self {
        Self {
            app_id,
            start: grain.floor(time),
            grain,
        }
    }

    /// Reads the displayed form back; `None` for anything else.
    ///
    /// ```
    /// use answerlake_model::PartitionKey;
    /// let key = PartitionKey::parse("app_id=st-1/dt=2025-06-28/hour=3").unwrap();
    /// assert_eq!(key.to_string(), "app_id=st-1/dt=2025-06-28/hour=3");
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let mut levels = text.split('/');
        let app_id = AppId::try_new(levels.next()?.strip_prefix("app_id=")?).ok()?;
        let date: chrono::NaiveDate = levels.next()?.strip_prefix("dt=")?.parse().ok()?;
        let (hour, grain) = match levels.next() {
            None => (0, Grain::Day),
            Some(level) => (level.strip_prefix("hour=")?.parse().ok()?, Grain::Hour),
        };
        let key = Self::new(app_id, date.and_hms_opt(hour, 0, 0)?.and_utc(), grain);
        (key.to_string() == text).then_some(key)
    }

    /// The app.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// Its first instant.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// The grain it is cut at.
    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// The time it covers.
    pub fn window(&self) -> Window {
        Window::try_new(self.start, self.start + self.grain.duration())
            .expect("a grain is longer than nothing")
    }

    /// Its hive columns without the app: `dt=2025-06-28` or `dt=2025-06-28/hour=3`.
    pub fn time_levels(&self) -> String {
        let date = self.start.format("dt=%Y-%m-%d");
        match self.grain {
            Grain::Day => date.to_string(),
            Grain::Hour => format!("{date}/hour={}", self.start.hour()),
        }
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app_id={}/{}", self.app_id, self.time_levels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_spellings_are_not_partitions() {
        for bad in [
            "app_id=st-1",
            "app_id=st-1/dt=2025-6-28",
            "app_id=st-1/dt=2025-06-28/hour=03",
            "dt=2025-06-28",
            "app_id=/dt=2025-06-28",
            "app_id=a/dt=2025-06-28/hour=24",
            "app_id=a/dt=2025-06-28/hour=1/x",
        ] {
            assert_eq!(PartitionKey::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(seconds in 0_i64..4_000_000_000, hour: bool) {
            let grain = if hour { Grain::Hour } else { Grain::Day };
            let time = DateTime::from_timestamp(seconds, 0).unwrap();
            let key = PartitionKey::new(AppId::try_new("st-1").unwrap(), time, grain);
            prop_assert!(key.window().contains(time));
            prop_assert_eq!(PartitionKey::parse(&key.to_string()), Some(key));
        }
    }
}
