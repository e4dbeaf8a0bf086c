//! A lake as its readers see it: where it is, how its tables are, which partitions there are.

use std::collections::BTreeMap;
use std::path::Path;

use answerlake_load::{Head, Lake, LakePin, LakeStore};
use answerlake_model::{AppId, Grain, PartitionKey, PerTable};
use answerlake_transform::PromptLayout;
use chrono::NaiveDate;

use crate::config::PipelineConfig;
use crate::drift_report::retain;
use crate::error::PipelineError;
use crate::plan::Range;

/// A lake, opened by who only looks.
#[derive(Debug)]
pub struct Reading {
    /// Its address, as it was given.
    pub url: String,
    /// Where it is for others: an absolute path, or its address; without a `/` at its end.
    pub location: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// How its partitions are cut.
    pub grain: Grain,
    /// How it stores prompts.
    pub prompt: PromptLayout,
    /// The fields that are masked in it, with their policies.
    pub masking: BTreeMap<String, String>,
    pub(crate) lake: Lake,
    pub(crate) heads: BTreeMap<PartitionKey, Head>,
}

impl Reading {
    /// Opens a lake, and lists the partitions of the range: of the app of the settings, or else of all apps there are.
    ///
    /// # Errors
    /// When the range is none, or the lake cannot be read.
    pub async fn open(config: &PipelineConfig, range: &Range) -> Result<Self, PipelineError> {
        let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
        let pin = lake.pinned().await?;
        let grain = pin.as_ref().map_or(config.lake.grain, |pin| pin.grain);
        let mut heads = lake.heads(config.app_id.as_ref(), None).await?;
        heads.retain(|key, _| key.grain() == grain);
        retain(&mut heads, range, grain)?;
        let location = match &pin {
            Some(_) => lake.store().absolute_url(),
            None => absolute(&config.lake.url),
        };
        let masking = match &pin {
            Some(pin) => pin.masking.clone(),
            None => config.lake_pin().masking,
        };
        Ok(Self {
            url: config.lake.url.to_string(),
            location,
            exists: pin.is_some(),
            grain,
            prompt: pin.as_ref().map_or(config.lake.prompt, prompt_of),
            masking: masking.map(|masking| masking.fields).unwrap_or_default(),
            lake,
            heads,
        })
    }

    /// The apps that have partitions.
    pub fn apps(&self) -> Vec<AppId> {
        let mut apps: Vec<AppId> = self.heads.keys().map(|key| key.app_id().clone()).collect();
        apps.dedup();
        apps
    }

    /// The day of the first partition.
    pub fn first_day(&self) -> Option<NaiveDate> {
        let starts = self.heads.keys().map(PartitionKey::start);
        starts.min().map(|start| start.date_naive())
    }

    /// Which tables have a file anywhere in the lake.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn tables_with_files(&self) -> Result<PerTable<bool>, PipelineError> {
        let mut found = PerTable::from_fn(|_| false);
        // Newest first: there, most tables have some.
        let mut heads: Vec<_> = self
            .heads
            .iter()
            .map(|(key, head)| (key.clone(), *head))
            .collect();
        heads.sort_by_key(|(key, _)| std::cmp::Reverse(key.start()));
        for heads in heads.chunks(64) {
            for partition in self.lake.current_files(heads.to_vec()).await? {
                for file in partition.readable.iter().flat_map(|one| &one.files) {
                    found[file.table] = true;
                }
            }
            if found.iter().all(|(_, is_found)| *is_found) {
                break;
            }
        }
        Ok(found)
    }
}

/// How a lake stores prompts.
pub(crate) fn prompt_of(pin: &LakePin) -> PromptLayout {
    match pin.prompt.as_str() {
        "text" => PromptLayout::Text,
        _ => PromptLayout::Parts,
    }
}

/// Where a lake will be that is not there yet.
fn absolute(url: &str) -> String {
    let url = url.strip_prefix("file://").unwrap_or(url);
    let location = match url.contains("://") {
        true => url.to_owned(),
        false => std::path::absolute(Path::new(url)).map_or_else(
            |_| url.to_owned(),
            |path| path.to_string_lossy().into_owned(),
        ),
    };
    location.trim_end_matches('/').to_owned()
}
