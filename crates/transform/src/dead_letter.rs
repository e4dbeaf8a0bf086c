//! A record that could not be loaded: its bytes, its place and the reason.

use std::fmt;

use answerlake_model::PartitionKey;
use base64::Engine;
use serde::Serialize;

/// A record set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The partition it would belong to; `None` when its time or app is not known.
    pub partition: Option<PartitionKey>,
    /// The fragment it came in, from 1.
    pub fragment: u32,
    /// Its place in the fragment, from 1.
    pub record: u64,
    /// Why it was set aside.
    pub reason: Reason,
    /// The record as it came.
    pub raw: Vec<u8>,
}

/// Why a record was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Its bytes are no UTF-8, from this one on.
    InvalidUtf8 {
        /// Offset in the record.
        at: usize,
    },
    /// It is no JSON, or nested too deep.
    InvalidJson {
        /// Offset in the record.
        at: usize,
        /// What the grammar expects there.
        expected: &'static str,
    },
    /// It is JSON, but no object.
    NotAnObject,
    /// It is larger than the limit.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// It has no time that can be used.
    NoTime {
        /// What stands in `createdOn`, shortened.
        found: String,
    },
    /// It has no id that can be used.
    NoId {
        /// What stands in `_id`, shortened.
        found: String,
    },
    /// It names no app that can be used, and none was given.
    NoApp {
        /// What stands in `botId`, shortened.
        found: String,
    },
    /// Another record of the same event and id was kept in its place.
    Conflict,
}

impl Reason {
    /// A name that stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::InvalidJson { .. } => "invalid_json",
            Self::NotAnObject => "not_an_object",
            Self::TooLarge { .. } => "too_large",
            Self::NoTime { .. } => "no_time",
            Self::NoId { .. } => "no_id",
            Self::NoApp { .. } => "no_app",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUtf8 { at } => write!(
                f,
                "expected UTF-8, got other bytes at byte {at} of the record"
            ),
            Self::InvalidJson { at, expected } => {
                write!(f, "expected {expected} at byte {at} of the record")
            }
            Self::NotAnObject => f.write_str("expected an object"),
            Self::TooLarge { bytes, max_bytes } => {
                write!(
                    f,
                    "expected a record of at most {max_bytes} bytes, got {bytes} bytes"
                )
            }
            Self::NoTime { found } => {
                write!(
                    f,
                    "field `createdOn`: expected a UTC time between 1970 and 2200, got {found}"
                )
            }
            Self::NoId { found } => write!(f, "field `_id`: expected text, got {found}"),
            Self::NoApp { found } => write!(f, "field `botId`: expected an app id, got {found}"),
            Self::Conflict => {
                f.write_str("another record of the same event and `_id` is newer, and was kept")
            }
        }
    }
}

impl DeadLetter {
    /// The letter as one line of JSON, its line feed included.
    ///
    /// The record stands in `raw` as text, or in `raw_base64` when it is no UTF-8. `job_id` is the export job it came
    /// with, where there was one.
    pub fn to_json_line(&self, job_id: Option<&str>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a> {
            reason: &'static str,
            message: String,
            partition: Option<String>,
            job_id: Option<&'a str>,
            fragment: u32,
            record: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            raw: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            raw_base64: Option<String>,
        }
        let text = std::str::from_utf8(&self.raw).ok();
        let line = Line {
            reason: self.reason.code(),
            message: self.to_string(),
            partition: self.partition.as_ref().map(ToString::to_string),
            job_id,
            fragment: self.fragment,
            record: self.record,
            raw: text,
            raw_base64: text
                .is_none()
                .then(|| base64::engine::general_purpose::STANDARD.encode(&self.raw)),
        };
        let mut json = serde_json::to_vec(&line).expect("strings and numbers are always JSON");
        json.push(b'\n');
        json
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fragment {}, record {}: {}",
            self.fragment, self.record, self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_place_reason_and_record() {
        let letter = DeadLetter {
            partition: None,
            fragment: 2,
            record: 17,
            reason: Reason::InvalidJson {
                at: 5,
                expected: "a value",
            },
            raw: b"{\"a\":NaN}".to_vec(),
        };
        assert_eq!(
            String::from_utf8(letter.to_json_line(Some("fj-1"))).unwrap(),
            "{\"reason\":\"invalid_json\",\"message\":\"fragment 2, record 17: expected a value at byte 5 of the record\",\
             \"partition\":null,\"job_id\":\"fj-1\",\"fragment\":2,\"record\":17,\"raw\":\"{\\\"a\\\":NaN}\"}\n"
        );
        let bytes = DeadLetter {
            raw: vec![0xFF],
            ..letter
        };
        let line = String::from_utf8(bytes.to_json_line(None)).unwrap();
        assert!(line.ends_with("\"raw_base64\":\"/w==\"}\n"), "{line}");
    }
}
