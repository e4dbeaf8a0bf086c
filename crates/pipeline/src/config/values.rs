//! Values as people write them: in a TOML file with its types, in flags and the environment as text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use answerlake_extract::Url;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A value read from its text, or from a TOML number or truth value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written<T>(pub(super) T);

impl<'de, T> Deserialize<'de> for Written<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor(PhantomData))
    }
}

struct WrittenVisitor<T>(PhantomData<T>);

impl<T> Visitor<'_> for WrittenVisitor<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse()
            .map(Written)
            .map_err(|error| E::custom(format!("{error}, got `{}`", without_credentials(text))))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.visit_str(if value { "true" } else { "false" })
    }
}

/// A value as messages show it: of an address that may hold a user and a password, only what stands behind them.
pub(super) fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

/// The address of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProxyUrl(pub(super) Url);

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse().map(Self);
        parsed.map_err(|error| format!("expected a URL such as `http://proxy:3128`: {error}"))
    }
}

/// A span of time: `90s`, `15m`, `3d`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Longer ones are mistakes, and times a million years off have no date.
        const MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
        let parsed = humantime::parse_duration(text)
            .ok()
            .filter(|duration| *duration <= MAX)
            .map(Self);
        parsed.ok_or_else(|| {
            "expected a duration such as `90s`, `15m`, `3d`, at most 100 years".to_owned()
        })
    }
}

/// A number of bytes: `512MiB`, `1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanBytes(pub u64);

impl FromStr for HumanBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()));
        parsed.map_err(|_| "expected a size such as `512MiB`, `1GB`".to_owned())
    }
}

/// An instant: `2025-06-28`, `2025-06-28T13:00`, or ISO 8601 with a zone. Without a zone it is UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanTime(pub DateTime<Utc>);

impl FromStr for HumanTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zoned = || {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.to_utc())
        };
        let date = || {
            text.parse::<NaiveDate>()
                .ok()
                .and_then(|date| date.and_hms_opt(0, 0, 0))
        };
        let naive = || {
            [
                "%Y-%m-%dT%H:%M:%S%.f",
                "%Y-%m-%d %H:%M:%S%.f",
                "%Y-%m-%dT%H:%M",
                "%Y-%m-%d %H:%M",
            ]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        };
        let utc = zoned().or_else(|| date().or_else(naive).map(|time| time.and_utc()));
        utc.map(Self).ok_or_else(|| {
            "expected a time such as `2025-06-28` or `2025-06-28T13:00:00Z`".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let time = |text: &str| text.parse::<HumanTime>().map(|time| time.0.to_rfc3339());
        assert_eq!(time("2025-06-28").unwrap(), "2025-06-28T00:00:00+00:00");
        assert_eq!(
            time("2025-06-28T13:00").unwrap(),
            "2025-06-28T13:00:00+00:00"
        );
        assert_eq!(
            time("2025-06-28 13:00:01.5").unwrap(),
            "2025-06-28T13:00:01.500+00:00"
        );
        assert_eq!(
            time("2026-01-02T00:00:00+02:00").unwrap(),
            "2026-01-01T22:00:00+00:00"
        );
        assert_eq!(
            time("yesterday").unwrap_err(),
            "expected a time such as `2025-06-28` or `2025-06-28T13:00:00Z`"
        );
    }

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!("512MiB".parse::<HumanBytes>().unwrap().0, 512 << 20);
        assert_eq!(
            "1d".parse::<HumanDuration>().unwrap().0,
            Duration::from_secs(86_400)
        );
        assert!("300000y".parse::<HumanDuration>().is_err());
        assert!("1 fortnight".parse::<HumanDuration>().is_err());
        assert!("much".parse::<HumanBytes>().is_err());
    }
}
