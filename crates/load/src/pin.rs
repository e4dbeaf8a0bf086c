//! Pins what would make two runs of one lake disagree.
//!
//! The first run creates the pin, every other is held to it. Settings are compared as JSON, so one that only a newer
//! program knows is a difference too, and not overlooked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use answerlake_model::Grain;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{LoadError, PinDifference};
use crate::lake::Lake;
use crate::location;
use crate::manifest::check_format_version;

/// The newest lake format that this program knows.
pub const LAKE_FORMAT_VERSION: u32 = 1;

/// The settings that a lake is made with. The codec is none of them: files of both can lie side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakePin {
    /// The format of the lake: [`LAKE_FORMAT_VERSION`].
    pub format_version: u32,
    /// How partitions are cut.
    pub grain: Grain,
    /// The event that exports are filtered by; absent when they are not.
    pub event: Option<String>,
    /// How prompts are stored: `parts` or `text`.
    pub prompt: String,
    /// The version of the tables' schema.
    pub schema_version: u32,
    /// What of the records does not land, and can be restored from nowhere; absent where all does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingPin>,
}

/// What of the records does not land.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskingPin {
    /// The fields that are not kept as they are, each with its policy: `drop`, `hash` or `strip_query`.
    pub fields: BTreeMap<String, String>,
    /// Whether what no column maps lands as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_unmapped: bool,
    /// Tells one key from another, and nothing about either; absent where nothing is hashed. Who does not know the key
    /// has none here, and is not held to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_check: Option<String>,
}

/// Lists the fields with their policies, and what goes with them.
impl fmt::Display for MaskingPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter();
        let fields: Vec<String> = fields
            .map(|(field, policy)| format!("{field} ({policy})"))
            .collect();
        f.write_str(&fields.join(", "))?;
        if !self.allow_unmapped {
            f.write_str(", and what no column maps (drop)")?;
        }
        Ok(())
    }
}

impl Lake {
    /// Creates the lake's pin, or checks that it says the same. Before it is created, once a lake, the store is tried.
    ///
    /// # Errors
    /// [`LoadError::PinMismatch`] when the lake was made with other settings, [`LoadError::NoConditionalCreate`] when no
    /// lake is safe in its store; else when the store fails.
    pub async fn pin(&self, pin: &LakePin) -> Result<(), LoadError> {
        let asked = serde_json::to_value(pin).expect("plain fields have a JSON form");
        if let Some((path, json)) = self.newest_pin().await? {
            return self.compare(&path, &json, &asked);
        }
        self.store.probe_create().await?;
        let path = location::lake_pin(1);
        let Err(error) = self.store.create(&path, asked.to_string().into()).await else {
            tracing::info!(lake = self.store.url(), "lake created");
            return Ok(());
        };
        // Whatever the error: if there is a pin now, it decides.
        match self.store.read(&path).await? {
            Some(json) => self.compare(&path, &json, &asked),
            None => Err(LoadError::store("create", &path)(error)),
        }
    }

    /// Checks that the lake's pin, if there is one, says the same; creates none.
    ///
    /// # Errors
    /// As [`Lake::pin`].
    pub async fn check_pin(&self, pin: &LakePin) -> Result<(), LoadError> {
        let asked = serde_json::to_value(pin).expect("plain fields have a JSON form");
        match self.newest_pin().await? {
            Some((path, json)) => self.compare(&path, &json, &asked),
            None => Ok(()),
        }
    }

    /// The lake's pin; `None` if the lake was not made yet.
    ///
    /// # Errors
    /// When the store cannot be read, or a newer program made the lake.
    pub async fn pinned(&self) -> Result<Option<LakePin>, LoadError> {
        let Some((path, json)) = self.newest_pin().await? else {
            return Ok(None);
        };
        check_format_version(&path, &json, LAKE_FORMAT_VERSION)?;
        parse(&path, &json).map(Some)
    }

    async fn newest_pin(&self) -> Result<Option<(Path, bytes::Bytes)>, LoadError> {
        let listed = self.store.list(&location::lake_pins(), None).await?;
        let revisions = listed
            .iter()
            .filter_map(|object| location::parse_lake_pin(&object.location));
        let Some(newest) = revisions.max() else {
            return Ok(None);
        };
        let path = location::lake_pin(newest);
        let json = self.store.read(&path).await?;
        Ok(json.map(|json| (path, json)))
    }

    fn compare(&self, path: &Path, json: &[u8], asked: &Value) -> Result<(), LoadError> {
        let lake: Value = parse(path, json)?;
        let (lake, mut asked) = (settings(&lake), settings(asked));
        if !asked.contains_key(KEY_CHECK)
            && asked.keys().any(|setting| setting.starts_with(MASKING))
        {
            asked.extend(
                lake.get_key_value(KEY_CHECK)
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        let differences = differences(&lake, &asked);
        if differences.is_empty() {
            return Ok(());
        }
        Err(LoadError::PinMismatch {
            url: self.store.url().to_owned(),
            differences,
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(json).map_err(|source| LoadError::Malformed {
        path: path.to_string(),
        source,
    })
}

const MASKING: &str = "masking.";
const KEY_CHECK: &str = "masking.key_check";

/// The settings of a pin by name, those inside of another with a dot between. An absent setting and a `null` one are the
/// same.
fn settings(pin: &Value) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut waiting = vec![(String::new(), pin)];
    while let Some((name, value)) = waiting.pop() {
        match value {
            Value::Null => {}
            Value::Object(members) => waiting.extend(members.iter().map(|(key, value)| {
                let dot = if name.is_empty() { "" } else { "." };
                (format!("{name}{dot}{key}"), value)
            })),
            Value::String(text) => drop(settings.insert(name, text.clone())),
            other => drop(settings.insert(name, other.to_string())),
        }
    }
    settings
}

fn differences(
    lake: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> Vec<PinDifference> {
    let settings: BTreeSet<&String> = lake.keys().chain(asked.keys()).collect();
    settings
        .into_iter()
        .map(|setting| PinDifference {
            setting: setting.clone(),
            lake: lake.get(setting).cloned(),
            run: asked.get(setting).cloned(),
        })
        .filter(|difference| difference.lake != difference.run)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LakeStore;

    fn pin() -> LakePin {
        LakePin {
            format_version: 1,
            grain: Grain::Day,
            event: None,
            prompt: "parts".to_owned(),
            schema_version: 1,
            masking: None,
        }
    }

    fn masked(fields: &[(&str, &str)], key_check: Option<&str>) -> LakePin {
        let fields = fields
            .iter()
            .map(|(field, policy)| ((*field).to_owned(), (*policy).to_owned()));
        LakePin {
            masking: Some(MaskingPin {
                fields: fields.collect(),
                allow_unmapped: false,
                key_check: key_check.map(str::to_owned),
            }),
            ..pin()
        }
    }

    #[tokio::test]
    async fn a_lake_is_held_to_its_masking() {
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        let made = masked(&[("query", "hash"), ("userId", "hash")], Some("aa"));
        lake.pin(&made).await.unwrap();
        assert_eq!(lake.pinned().await.unwrap(), Some(made.clone()));
        lake.pin(&made).await.unwrap();
        let said = async |other: LakePin| lake.pin(&other).await.unwrap_err().to_string();
        let start = "lake `memory://` was made with other settings: ";
        assert_eq!(
            said(masked(
                &[("query", "drop"), ("clientInfo", "drop")],
                Some("aa")
            ))
            .await,
            format!(
                "{start}`masking.fields.clientInfo`: lake has nothing, run asks `drop`; \
                 `masking.fields.query`: lake has `hash`, run asks `drop`; \
                 `masking.fields.userId`: lake has `hash`, run asks nothing"
            )
        );
        let fields = [("query", "hash"), ("userId", "hash")];
        assert_eq!(
            said(masked(&fields, Some("bb"))).await,
            format!("{start}`masking.key_check`: lake has `aa`, run asks `bb`")
        );
        assert!(
            said(pin())
                .await
                .contains("`masking.key_check`: lake has `aa`, run asks nothing")
        );
        // Who plans a run need not know its key.
        lake.check_pin(&masked(&fields, None)).await.unwrap();
        let unmasked = Lake::new(LakeStore::open("memory://").await.unwrap());
        unmasked.pin(&pin()).await.unwrap();
        let error = unmasked.pin(&made).await.unwrap_err().to_string();
        assert!(
            error.contains("`masking.fields.query`: lake has nothing, run asks `hash`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_lake_is_held_to_its_first_pin() {
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        lake.check_pin(&pin()).await.unwrap();
        assert_eq!(lake.pinned().await.unwrap(), None);
        lake.pin(&pin()).await.unwrap();
        lake.pin(&pin()).await.unwrap();
        assert_eq!(lake.pinned().await.unwrap(), Some(pin()));
        let other = LakePin {
            grain: Grain::Hour,
            event: Some("thumbsUp".to_owned()),
            ..pin()
        };
        let error = lake.pin(&other).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "lake `memory://` was made with other settings: `event`: lake has nothing, run asks `thumbsUp`; \
             `grain`: lake has `day`, run asks `hour`"
        );
        assert!(!error.is_retryable());
        let checked = lake.check_pin(&other).await.unwrap_err();
        assert_eq!(checked.to_string(), error.to_string());
    }

    #[tokio::test]
    async fn a_setting_that_only_a_newer_program_knows_is_a_difference() {
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        let json = r#"{"format_version":1,"grain":"day","event":null,"prompt":"parts","schema_version":1,"masking":"all"}"#;
        let path = location::lake_pin(2);
        lake.store.overwrite(&path, json.into()).await.unwrap();
        assert_eq!(
            lake.pin(&pin()).await.unwrap_err().to_string(),
            "lake `memory://` was made with other settings: `masking`: lake has `all`, run asks nothing"
        );
    }
}
