//! A record that could not be loaded: its bytes, its place and the reason.

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

use answerlake_model::PartitionKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::frame::OversizedRecord;

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
    /// Where the record as it came is found.
    pub raw: Raw,
}

/// Where a record's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// Here, among the bytes of its block.
    Block(Range<usize>),
    /// In the fragment alone: it is too large to be held in memory.
    Fragment(OversizedRecord),
    /// Nowhere: it cannot be masked, so nothing but its size is kept.
    Withheld {
        /// Its size in bytes.
        bytes: u64,
    },
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
        bytes: u64,
        /// The limit in bytes.
        max_bytes: u64,
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
    /// How the letter begins as one line of JSON; [`write_masking`] may go on with it, and [`write_raw`] or
    /// [`end_without_raw`] ends it. `job_id` is the export job that the record came with, where there was one.
    pub fn line_start(&self, job_id: Option<&str>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a> {
            reason: &'static str,
            message: String,
            partition: Option<String>,
            job_id: Option<&'a str>,
            fragment: u32,
            record: u64,
        }
        let line = Line {
            reason: self.reason.code(),
            message: self.to_string(),
            partition: self.partition.as_ref().map(ToString::to_string),
            job_id,
            fragment: self.fragment,
            record: self.record,
        };
        let mut json = serde_json::to_vec(&line).expect("strings and numbers are always JSON");
        json.pop();
        json
    }
}

/// Goes on with the line of a letter: its record is masked, by the policies and the key of this mark
/// ([`Masking::mark`](crate::Masking::mark)).
///
/// # Errors
/// When the line cannot be written.
pub fn write_masking(mark: &str, line: &mut impl Write) -> io::Result<()> {
    write!(line, ",\"masking\":\"{mark}\"")
}

/// Ends the line of a letter with the record, a piece of it at a time, and a line feed. The record stands in `raw` as
/// text, or in `raw_base64` when it is no UTF-8.
///
/// # Errors
/// When the record cannot be read or the line cannot be written.
pub fn write_raw(record: impl Read, is_utf8: bool, line: &mut impl Write) -> io::Result<()> {
    if is_utf8 {
        line.write_all(b",\"raw\":\"")?;
        write_text(record, line)?;
        return line.write_all(b"\"}\n");
    }
    line.write_all(b",\"raw_base64\":\"")?;
    write_base64(record, line)?;
    line.write_all(b"\"}\n")
}

/// Ends the line of a letter whose record is withheld: with its size alone.
///
/// # Errors
/// When the line cannot be written.
pub fn end_without_raw(bytes: u64, line: &mut impl Write) -> io::Result<()> {
    writeln!(line, ",\"withheld_bytes\":{bytes}}}")
}

fn write_base64(mut bytes: impl Read, out: &mut impl Write) -> io::Result<()> {
    // Three bytes are four characters: only the last piece is padded.
    const PIECE_BYTES: u64 = 3 * 16 * 1024;
    let (mut piece, mut encoded) = (Vec::new(), String::new());
    loop {
        piece.clear();
        if (&mut bytes).take(PIECE_BYTES).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        encoded.clear();
        STANDARD.encode_string(&piece, &mut encoded);
        out.write_all(encoded.as_bytes())?;
    }
}

/// Writes text as it stands inside the quotes of a JSON string.
fn write_text(mut text: impl Read, out: &mut impl Write) -> io::Result<()> {
    const PIECE_BYTES: u64 = 64 * 1024;
    let mut piece = Vec::new();
    loop {
        let read = (&mut text).take(PIECE_BYTES).read_to_end(&mut piece)?;
        // A character may go on in the next piece.
        let whole = match std::str::from_utf8(&piece) {
            Ok(_) => piece.len(),
            Err(error) if error.error_len().is_none() && read > 0 => error.valid_up_to(),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let valid = std::str::from_utf8(&piece[..whole]).expect("it was just checked");
        let quoted = serde_json::to_vec(valid)?;
        out.write_all(&quoted[1..quoted.len() - 1])?;
        piece.drain(..whole);
        if read == 0 {
            return Ok(());
        }
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
            raw: Raw::Block(0..9),
        };
        let line = |raw: &[u8], is_utf8| {
            let mut line = letter.line_start(Some("fj-1"));
            write_raw(raw, is_utf8, &mut line).unwrap();
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            line(b"{\"a\":NaN}", true),
            "{\"reason\":\"invalid_json\",\"message\":\"fragment 2, record 17: expected a value at byte 5 of the record\",\
             \"partition\":null,\"job_id\":\"fj-1\",\"fragment\":2,\"record\":17,\"raw\":\"{\\\"a\\\":NaN}\"}\n"
        );
        let line = line(b"\xFF", false);
        assert!(
            line.ends_with("\"record\":17,\"raw_base64\":\"/w==\"}\n"),
            "{line}"
        );
    }

    #[test]
    fn a_large_record_comes_back_from_its_line() {
        let text: String = (0..60_000_u32)
            .map(|number| char::from_u32(number * 7 % 0xD7FF).unwrap())
            .collect();
        for shift in 0..4 {
            let bytes = [vec![b'"'; shift], text.clone().into_bytes()].concat();
            let read_back = |is_utf8| -> serde_json::Value {
                let mut line = b"{\"x\":0".to_vec();
                write_raw(&bytes[..], is_utf8, &mut line).unwrap();
                serde_json::from_slice(&line).unwrap()
            };
            assert_eq!(
                read_back(true)["raw"].as_str().unwrap().as_bytes(),
                bytes,
                "{shift}"
            );
            let line = read_back(false);
            let decoded = STANDARD
                .decode(line["raw_base64"].as_str().unwrap())
                .unwrap();
            assert_eq!(decoded, bytes, "{shift}");
        }
        assert!(write_raw(&b"a\xFF"[..], true, &mut Vec::new()).is_err());
        assert!(write_raw(&b"a\xE2\x82"[..], true, &mut Vec::new()).is_err());
    }
}
