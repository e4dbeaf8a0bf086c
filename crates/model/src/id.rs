//! Validated identifiers. They become parts of paths and requests, so their characters are restricted once, here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Text that cannot be an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is no {kind} id: expected 1 to 128 letters, digits, `-`, `_` or `.`, the first not a `.`"
)]
pub struct InvalidId {
    kind: &'static str,
    value: String,
}

fn validated(kind: &'static str, value: &str) -> Result<Arc<str>, InvalidId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let valid =
        (1..=128).contains(&value.len()) && !value.starts_with('.') && value.bytes().all(allowed);
    if valid {
        Ok(value.into())
    } else {
        Err(InvalidId {
            kind,
            value: value.chars().take(160).collect(),
        })
    }
}

macro_rules! id {
    ($(#[$docs:meta])* $name:ident, $kind:literal) => {
        $(#[$docs])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it stands.
            ///
            /// # Errors
            /// When it is empty, longer than 128 bytes, or holds other characters than ASCII letters, digits, `-`, `_`, `.`.
            pub fn try_new(value: &str) -> Result<Self, InvalidId> {
                validated($kind, value).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::try_new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::try_new(&value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

id!(
    /// A Search AI app: `st-` and a UUID in the vendor's samples, where it is called app id, bot id and stream id.
    AppId,
    "app"
);
id!(
    /// An export job of the vendor: `fj-` and a UUID in its samples.
    JobId,
    "job"
);
id!(
    /// Whoever follows the lake and says how far: a warehouse, a report.
    ConsumerName,
    "consumer"
);
id!(
    /// One run of the program; in the logs, the manifests and the result.
    RunId,
    "run"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_a_path() {
        for bad in [
            "",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "é",
            "a=b",
            &"x".repeat(129),
        ] {
            assert!(AppId::try_new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            AppId::try_new("st-1715923c-9a58").unwrap().as_str(),
            "st-1715923c-9a58"
        );
    }

    #[test]
    fn the_message_names_the_kind() {
        assert_eq!(
            JobId::try_new("a/b").unwrap_err().to_string(),
            "`a/b` is no job id: expected 1 to 128 letters, digits, `-`, `_` or `.`, the first not a `.`"
        );
    }
}
