//! The drift ledger: what records brought that the tables' columns do not hold exactly, by path. Never a value.
//!
//! It counts exactly what lands in a column `extra`, and only of records that are written. So it is empty for records
//! shaped as the vendor documents them: a key that they may leave out is no drift. What counts is
//!
//! - a key that the table has no column for (`expected` is absent then). Only the outermost is named: what is inside
//!   it is unknown with it;
//! - a value of another type than expected, `null` among them;
//! - a value of that type which its column would not give back, such as a time in another form;
//! - `absent`: a key that is always there, as documented, and without which the columns would mislead.
//!
//! Keys that look like data (ids, dates, addresses, anything with a blank) stand as `*`: a map with such keys is one
//! path, and nobody's address gets into a manifest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Table;

/// Where in the records something stands that the columns do not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DriftPath {
    /// From the record on, `[]` for each element of an array: `answerDebug[].generativeChunks[].newKey`. `$` is the
    /// record itself.
    pub path: String,
    /// The table whose `extra` holds it.
    pub table: Table,
    /// What the table expects there; absent where it knows of no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Cow<'static, str>>,
}

/// What a JSON value is; or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// No such key.
    Absent,
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<&'static str>")]
pub struct JsonTypes(u8);

/// What of one record the columns do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDrift {
    /// The record's time.
    pub created_at: DateTime<Utc>,
    /// The record's id, where it has one.
    pub id: Option<String>,
    /// Each path once, with the types that were met there.
    pub findings: Vec<(Arc<DriftPath>, JsonTypes)>,
    /// Whether there was more than stands in `findings`.
    pub has_more: bool,
}

/// What was met at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How many records have it.
    pub records: u64,
    /// As what it came.
    pub types: JsonTypes,
    /// The time of the first record that has it.
    pub first_seen: DateTime<Utc>,
    /// The time of the last record that has it.
    pub last_seen: DateTime<Utc>,
    /// The id of a record that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// The ledger of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct DriftLedger {
    paths: BTreeMap<DriftPath, Drift>,
    records: u64,
    more: u64,
}

/// A ledger as manifests keep it: paths in order, each with what was met there.
#[derive(Serialize, Deserialize)]
struct Stored {
    records: u64,
    paths: Vec<StoredPath>,
    #[serde(default, skip_serializing_if = "is_zero")]
    more: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredPath {
    #[serde(flatten)]
    path: DriftPath,
    #[serde(flatten)]
    drift: Drift,
}

impl DriftLedger {
    /// The ids of records that it names.
    pub fn examples(&self) -> impl Iterator<Item = &str> {
        let drifts = self.paths.values();
        drifts.filter_map(|drift| drift.example.as_deref())
    }

    /// Drops these.
    pub fn drop_examples(&mut self) {
        for drift in self.paths.values_mut() {
            drift.example = None;
        }
    }

    /// How many paths a ledger names. Someone is to read them, and every plan reads over them.
    pub const MAX_PATHS: usize = 250;

    /// Counts a record; at most `room` paths may become known by that. Gives how many did.
    pub fn add(&mut self, record: &RecordDrift, room: usize) -> usize {
        let max_new = room.min(Self::MAX_PATHS.saturating_sub(self.paths.len()));
        let mut new = 0;
        let mut has_more = record.has_more;
        for (path, types) in &record.findings {
            if let Some(drift) = self.paths.get_mut(&**path) {
                drift.add(record, *types);
            } else if new < max_new {
                let drift = Drift::of(record, *types);
                self.paths.insert(DriftPath::clone(path), drift);
                new += 1;
            } else {
                has_more = true;
            }
        }
        self.records += 1;
        self.more += u64::from(has_more);
        new
    }

    /// Whether nothing drifted.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many records have anything of what the ledger counts.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many records have something at a path that the ledger had no room for.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// Each path with what was met there, in order.
    pub fn paths(&self) -> impl Iterator<Item = (&DriftPath, &Drift)> {
        self.paths.iter()
    }
}

impl Drift {
    fn of(record: &RecordDrift, types: JsonTypes) -> Self {
        Self {
            records: 1,
            types,
            first_seen: record.created_at,
            last_seen: record.created_at,
            example: record.id.clone(),
        }
    }

    fn add(&mut self, record: &RecordDrift, types: JsonTypes) {
        self.records += 1;
        self.types |= types;
        self.first_seen = self.first_seen.min(record.created_at);
        self.last_seen = self.last_seen.max(record.created_at);
        if self.example.is_none() {
            self.example.clone_from(&record.id);
        }
    }
}

impl JsonType {
    const ALL: [Self; 7] = [
        Self::Null,
        Self::Boolean,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
        Self::Absent,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
            Self::Absent => "absent",
        }
    }

    /// The type of a value as it stands in a valid JSON text.
    pub fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            None => Self::Absent,
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            Some(_) => Self::Number,
        }
    }
}

impl JsonTypes {
    /// The types in it.
    pub fn iter(self) -> impl Iterator<Item = JsonType> {
        let types = JsonType::ALL.into_iter();
        types.filter(move |kind| self.0 & Self::from(*kind).0 != 0)
    }
}

impl From<JsonType> for JsonTypes {
    fn from(kind: JsonType) -> Self {
        Self(1 << kind as u8)
    }
}

impl std::ops::BitOrAssign for JsonTypes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for JsonTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", kind.name())?;
        }
        Ok(())
    }
}

impl From<JsonTypes> for Vec<&'static str> {
    fn from(types: JsonTypes) -> Self {
        types.iter().map(JsonType::name).collect()
    }
}

impl From<Vec<String>> for JsonTypes {
    /// Names that a newer program may have written are passed over.
    fn from(names: Vec<String>) -> Self {
        let mut types = Self::default();
        for kind in JsonType::ALL {
            if names.iter().any(|name| name == kind.name()) {
                types |= kind.into();
            }
        }
        types
    }
}

impl From<DriftLedger> for Stored {
    fn from(ledger: DriftLedger) -> Self {
        let paths = ledger.paths.into_iter();
        Self {
            records: ledger.records,
            paths: paths
                .map(|(path, drift)| StoredPath { path, drift })
                .collect(),
            more: ledger.more,
        }
    }
}

impl From<Stored> for DriftLedger {
    fn from(stored: Stored) -> Self {
        let paths = stored.paths.into_iter();
        Self {
            paths: paths.map(|entry| (entry.path, entry.drift)).collect(),
            records: stored.records,
            more: stored.more,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Arc<DriftPath> {
        Arc::new(DriftPath {
            path: name.to_owned(),
            table: Table::Queries,
            expected: None,
        })
    }

    fn record(second: i64, id: Option<&str>, findings: &[(&str, JsonType)]) -> RecordDrift {
        RecordDrift {
            created_at: DateTime::from_timestamp(second, 0).unwrap(),
            id: id.map(str::to_owned),
            findings: findings
                .iter()
                .map(|(name, kind)| (path(name), JsonTypes::from(*kind)))
                .collect(),
            has_more: false,
        }
    }

    #[test]
    fn records_are_counted_by_path_and_kept_in_order() {
        let mut ledger = DriftLedger::default();
        assert!(ledger.is_empty());
        let room = usize::MAX;
        ledger.add(
            &record(
                20,
                None,
                &[("b", JsonType::String), ("a", JsonType::Object)],
            ),
            room,
        );
        ledger.add(&record(10, Some("x"), &[("b", JsonType::Null)]), room);
        ledger.add(&record(30, Some("y"), &[("b", JsonType::String)]), room);
        let json = serde_json::to_string(&ledger).unwrap();
        assert_eq!(
            json,
            r#"{"records":3,"paths":[{"path":"a","table":"queries","records":1,"types":["object"],"first_seen":"1970-01-01T00:00:20Z","last_seen":"1970-01-01T00:00:20Z"},{"path":"b","table":"queries","records":3,"types":["null","string"],"first_seen":"1970-01-01T00:00:10Z","last_seen":"1970-01-01T00:00:30Z","example":"x"}]}"#
        );
        assert_eq!(serde_json::from_str::<DriftLedger>(&json).unwrap(), ledger);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_by_record() {
        let mut ledger = DriftLedger::default();
        let room = usize::MAX;
        for index in 0..DriftLedger::MAX_PATHS + 5 {
            let name = format!("key{}", index % (DriftLedger::MAX_PATHS + 2));
            ledger.add(&record(0, None, &[(&name, JsonType::Null)]), room);
        }
        assert_eq!(ledger.paths().count(), DriftLedger::MAX_PATHS);
        assert_eq!((ledger.records(), ledger.more()), (255, 2));
        let mut narrow = DriftLedger::default();
        let both = record(0, None, &[("a", JsonType::Null), ("b", JsonType::Null)]);
        assert_eq!(narrow.add(&both, 1), 1);
        assert_eq!(narrow.add(&both, 0), 0);
        assert_eq!((narrow.records(), narrow.more()), (2, 2));
    }

    #[test]
    fn a_newer_programs_types_are_passed_over() {
        let types: JsonTypes = serde_json::from_str(r#"["string","bigint"]"#).unwrap();
        assert_eq!(types.to_string(), "string");
    }
}
