//! What was compared, and how it differs. Of records, ids and the names of members are told, never what they hold.

use answerlake_model::PartitionKey;
use serde::Serialize;
use serde_json::Value;

use crate::error::{FailureKind, PipelineError, chain};
use crate::status::{Health, run_arguments};

/// What was compared and what differs.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// Whether all was compared and is the same.
    pub status: Health,
    /// The lake's address.
    pub lake: String,
    /// Partitions of the range that are settled.
    pub settled: usize,
    /// Partitions of the range that are not, and that runs read again anyway.
    pub unsettled: usize,
    /// How many were compared, or tried.
    pub compared: usize,
    /// Requests that it took.
    pub requests: u64,
    /// Each of those that were compared.
    pub partitions: Vec<Comparison>,
}

/// A partition, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The app.
    pub app_id: String,
    /// The partition, as its hive path.
    pub partition: String,
    /// The revision that was compared.
    pub revision: u64,
    /// Whether both sides are the same.
    pub same: bool,
    /// How they differ; absent where they could not be compared.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Differences>,
    /// Why they could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of a run that reads the partition again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
    #[serde(skip)]
    failure: Option<FailureKind>,
}

/// How what the source has of a partition differs from what the lake holds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Differences {
    /// Records in the lake.
    pub lake_records: u64,
    /// Records at the source, each counted once.
    pub source_records: u64,
    /// Records that the source does not have any more.
    pub only_in_lake: u64,
    /// Records that the lake does not hold.
    pub only_in_source: u64,
    /// Records that both have, with other values.
    pub changed: u64,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples_only_in_lake: Vec<Example>,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples_only_in_source: Vec<Example>,
    /// Some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples_changed: Vec<Example>,
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its `_id`.
    pub id: String,
    /// Its `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Its members that differ, of a record that both sides have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

impl SourceReport {
    pub(super) fn new(
        lake: String,
        settled: usize,
        unsettled: usize,
        partitions: Vec<Comparison>,
        requests: u64,
    ) -> Self {
        // To compare nothing is most likely a mistake, and must not pass for a sound lake.
        let is_ok = !partitions.is_empty() && partitions.iter().all(|partition| partition.same);
        Self {
            status: if is_ok { Health::Ok } else { Health::Problems },
            lake,
            settled,
            unsettled,
            compared: partitions.len(),
            requests,
            partitions,
        }
    }

    /// Why nothing at all could be compared, though there was something to compare.
    pub fn failure(&self) -> Option<FailureKind> {
        let failures = self.partitions.iter().map(|partition| partition.failure);
        failures.min().flatten()
    }
}

impl Comparison {
    pub(super) fn of(key: &PartitionKey, revision: u64, differences: Differences) -> Self {
        let same = differences.only_in_lake + differences.only_in_source + differences.changed == 0;
        let mut mend = Vec::new();
        if !same {
            mend = run_arguments(&key.window());
            mend.push("--force".to_owned());
        }
        Self {
            app_id: key.app_id().to_string(),
            partition: key.to_string(),
            revision,
            same,
            differences: Some(differences),
            error: None,
            mend,
            failure: None,
        }
    }

    pub(super) fn failed(key: &PartitionKey, revision: u64, error: &PipelineError) -> Self {
        Self {
            app_id: key.app_id().to_string(),
            partition: key.to_string(),
            revision,
            same: false,
            differences: None,
            error: Some(chain(error)),
            mend: Vec::new(),
            failure: Some(error.kind()),
        }
    }
}

impl Example {
    pub(super) fn of(json: &[u8]) -> Self {
        let record: Value = serde_json::from_slice(json).unwrap_or_default();
        let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("_id").unwrap_or_default(),
            event: text("event"),
            members: Vec::new(),
        }
    }

    /// With the members of the two that differ.
    pub(super) fn with_members(mut self, json: &[u8], other: &Value) -> Self {
        let mut one: Value = serde_json::from_slice(json).unwrap_or_default();
        let mut other = other.clone();
        strip_signatures(&mut one);
        strip_signatures(&mut other);
        if let (Some(one), Some(other)) = (one.as_object(), other.as_object()) {
            let names = one
                .keys()
                .chain(other.keys().filter(|name| !one.contains_key(*name)));
            let differs = |name: &&String| one.get(*name) != other.get(*name);
            self.members = names.filter(differs).cloned().collect();
            self.members.sort();
        }
        self
    }
}

/// Removes what differs from one export of a record to the next: the queries of signed links.
fn strip_signatures(value: &mut Value) {
    const LINKS: [&str; 3] = ["sourceUrl", "recordUrl", "page_image_url"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_signatures),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(link) if LINKS.contains(&name.as_str()) => {
                        link.truncate(link.find('?').unwrap_or(link.len()));
                    }
                    member => strip_signatures(member),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_name_members_and_pass_over_signatures() {
        let one = br#"{"_id":"a","event":"search","lMod":1,"query":"secret","list":[{"recordUrl":"/x?s=1"}]}"#;
        let other: Value = serde_json::from_str(
            r#"{"_id":"a","event":"search","lMod":2,"new":1,"query":"secret","list":[{"recordUrl":"/x?s=2"}]}"#,
        )
        .unwrap();
        let example = Example::of(one).with_members(one, &other);
        assert_eq!(example.members, ["lMod", "new"]);
        assert_eq!(
            (example.id.as_str(), example.event.as_deref()),
            ("a", Some("search"))
        );
    }
}
