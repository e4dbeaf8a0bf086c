//! Names and zones, as they may stand in SQL. What could be read as anything else is refused here, once.

use std::fmt;
use std::str::FromStr;

/// Text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got `{got}`")]
pub struct InvalidName {
    expected: &'static str,
    got: String,
}

impl InvalidName {
    fn new(expected: &'static str, got: &str) -> Self {
        Self {
            expected,
            got: got.chars().take(160).collect(),
        }
    }
}

/// Where tables are made: `analytics`, `warehouse.analytics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl FromStr for SchemaName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_name = |part: &str| {
            let mut letters = part.bytes();
            letters
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && letters.all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if text.len() <= 256 && text.split('.').all(is_name) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName::new(
            "names of letters, digits, `_` and `-`, with dots between them",
            text,
        ))
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time zone by its name in the IANA database: `Europe/Berlin`. Whether there is one of that name, the engine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(String);

impl FromStr for TimeZone {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
        let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
        if begins && text.len() <= 64 && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName::new(
            "a time zone such as `Europe/Berlin`",
            text,
        ))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_as_sql_is_refused() {
        for good in ["a", "_x.y1", "my-project.data"] {
            assert_eq!(good.parse::<SchemaName>().unwrap().to_string(), good);
        }
        for bad in [
            "", "a.", ".a", "1a", "a b", "a;b", "a\"", "a'b", "a--b;", "-a",
        ] {
            assert!(bad.parse::<SchemaName>().is_err(), "{bad}");
        }
        assert!("Europe/Berlin".parse::<TimeZone>().is_ok());
        assert!("Etc/GMT+5".parse::<TimeZone>().is_ok());
        assert_eq!(
            "x'y".parse::<TimeZone>().unwrap_err().to_string(),
            "expected a time zone such as `Europe/Berlin`, got `x'y`"
        );
    }
}
