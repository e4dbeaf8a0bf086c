//! `verify`: is what the lake holds what was committed, and do its rows belong together.
//!
//! It reads only, and may do so while runs are at work: whatever it finds wrong with a partition, it looks whether that
//! has a newer revision by then, and begins with it again if so.

// Threads, and memory.
mod compute;
// Records, restored.
mod content;
// What is found in rows.
mod found;
// Rows against one another.
mod keys;
// Rows by themselves.
mod rows;
// What is said of it.
mod report;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use answerlake_load::{
    Checked, Expected, Fault, Finding, Lake, LakeStore, Manifest, Revisions, StoredColumns,
};
use answerlake_model::{AppId, PartitionKey, PerTable, Window};
use answerlake_transform::schema::table_schemas;
use answerlake_transform::{Forgotten, PromptLayout, SCHEMA_VERSION};
use futures::{StreamExt, stream};
use tokio::runtime::Handle;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::Range;
use crate::reading::prompt_of;
use crate::status::Health;
use crate::tombstones::Tombstones;
use compute::Compute;
use found::Found;

pub use report::{CheckedCounts, FindingReport, Mend, VerifyReport};

/// How often a partition is looked at while it changes, or while nothing says whether a run is at it.
const LOOKS: u32 = 5;

/// The wait before a commit that is not finished is looked at again.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct VerifyRequest {
    /// Which partitions; all that are committed, where it says nothing.
    pub range: Range,
    /// Whether every row is decoded.
    pub deep: bool,
}

/// Verifies what is committed in the range, of the settings' app or of all.
///
/// # Errors
/// When the range is none, there is no lake, or it cannot be read.
pub async fn verify(
    config: &PipelineConfig,
    request: &VerifyRequest,
) -> Result<VerifyReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?;
    let mut partitions = lake.revisions(config.app_id.as_ref()).await?;
    if pin.is_none() && partitions.is_empty() {
        return Err(PipelineError::NoLake {
            url: config.lake.url.to_string(),
        });
    }
    let grain = pin.as_ref().map_or(config.lake.grain, |pin| pin.grain);
    let prompt = pin.as_ref().map_or(config.lake.prompt, prompt_of);
    let range = range_of(&request.range, &partitions, config)?;
    partitions.retain(|key, _| range.is_none_or(|range| range.contains(key.start())));

    let forgotten = Tombstones::read(&lake).await?.forgotten();
    let verifier = Verifier {
        lake,
        expected: Expected {
            schemas: Arc::new(table_schemas(prompt)),
            schema_version: SCHEMA_VERSION,
            pinned_version: pin
                .as_ref()
                .map_or(SCHEMA_VERSION, |pin| pin.schema_version),
        },
        prompt,
        deep: request.deep,
        forgotten,
        compute: Compute::try_new(&config.run)?,
    };
    let mut counts = CheckedCounts::default();
    let mut findings = Vec::new();
    if pin.is_none() {
        findings.push(pin_missing());
    }
    if partitions.is_empty() {
        findings.push(nothing_committed());
    }
    let apps: BTreeSet<AppId> = partitions.keys().map(|key| key.app_id().clone()).collect();
    let apps: BTreeSet<AppId> = apps.into_iter().chain(config.app_id.clone()).collect();
    for app_id in &apps {
        let mut own: Vec<_> = Vec::new();
        for (key, revisions) in partitions.iter().filter(|(key, _)| key.app_id() == app_id) {
            if key.grain() != grain {
                findings.push(wrong_grain(key));
            }
            own.push((key, revisions));
        }
        counts.apps += u64::from(!own.is_empty());
        findings.extend(verifier.app(app_id, own, range, &mut counts).await?);
    }
    if range.is_none() && config.app_id.is_none() {
        findings.extend(verifier.lake.files_of_no_app(&apps).await?);
    }
    Ok(VerifyReport {
        status: if findings.is_empty() {
            Health::Ok
        } else {
            Health::Problems
        },
        lake: config.lake.url.to_string(),
        deep: request.deep,
        checked: counts,
        findings: findings.into_iter().map(FindingReport::from).collect(),
    })
}

/// The time asked for; `None` for all that there is.
fn range_of(
    range: &Range,
    partitions: &BTreeMap<PartitionKey, Revisions>,
    config: &PipelineConfig,
) -> Result<Option<Window>, PipelineError> {
    if range.from.is_none() && range.to.is_none() && range.date.is_none() {
        return Ok(None);
    }
    let first = partitions.keys().map(PartitionKey::start).min();
    let last = partitions.keys().map(|key| key.window().end()).max();
    let first = first.or(config.window.start).or(range.to);
    let last = last.or(range.from).unwrap_or_default();
    range.resolve(config.lake.grain, first, last).map(Some)
}

struct Verifier {
    lake: Lake,
    expected: Expected,
    prompt: PromptLayout,
    deep: bool,
    forgotten: Option<Arc<Forgotten>>,
    compute: Compute,
}

/// What came of a partition.
struct Verified {
    findings: Vec<Finding>,
    /// The files that its newest revision lists, or is about to drop.
    listed: Vec<String>,
    counts: CheckedCounts,
    /// Strays that the books of its jobs count.
    strays: u64,
}

impl Verifier {
    /// Verifies the partitions of an app, and what lies in its folders beside them.
    async fn app(
        &self,
        app_id: &AppId,
        partitions: Vec<(&PartitionKey, &Revisions)>,
        range: Option<Window>,
        counts: &mut CheckedCounts,
    ) -> Result<Vec<Finding>, PipelineError> {
        let mut findings = Vec::new();
        let mut listed = HashSet::new();
        let mut strays = 0;
        let verified = partitions
            .into_iter()
            .map(|(key, revisions)| self.partition(key, revisions));
        // Twice as many as compute, so that some wait for the store meanwhile.
        let mut verified = stream::iter(verified).buffered(2 * self.compute.threads());
        while let Some(verified) = verified.next().await {
            let verified = verified?;
            findings.extend(verified.findings);
            listed.extend(verified.listed);
            counts.add(&verified.counts);
            strays += verified.strays;
        }
        let is_asked = |key: Option<&PartitionKey>| match (range, key) {
            (None, _) => true,
            (Some(range), Some(key)) => range.contains(key.start()),
            (Some(_), None) => false,
        };
        let unlisted = self.lake.unlisted_files(app_id, &listed, is_asked);
        findings.extend(unlisted.await?);
        findings.extend(self.lake.check_strays(app_id, strays).await?);
        Ok(findings)
    }

    /// Verifies a partition, again while it changes.
    async fn partition(
        &self,
        key: &PartitionKey,
        revisions: &Revisions,
    ) -> Result<Verified, PipelineError> {
        let mut revisions = revisions.clone();
        let mut looks = 0;
        loop {
            looks += 1;
            let verified = self.look(key, &revisions).await?;
            if verified.findings.is_empty() || looks == LOOKS {
                return Ok(verified);
            }
            let is_unfinished = |finding: &Finding| finding.fault == Fault::Unpublished;
            let may_be_at_it = verified.findings.iter().any(is_unfinished);
            if may_be_at_it {
                tokio::time::sleep(PATIENCE).await;
            }
            let now = self.lake.revisions_of(key).await?;
            if now == revisions && !may_be_at_it {
                return Ok(verified);
            }
            revisions = now;
        }
    }

    async fn look(
        &self,
        key: &PartitionKey,
        revisions: &Revisions,
    ) -> Result<Verified, PipelineError> {
        let Checked {
            manifest,
            is_intact,
            mut findings,
        } = self
            .lake
            .check_partition(key, revisions, &self.expected)
            .await?;
        let Some(manifest) = manifest else {
            return Ok(Verified {
                findings,
                listed: Vec::new(),
                counts: CheckedCounts {
                    partitions: 1,
                    ..CheckedCounts::default()
                },
                strays: 0,
            });
        };
        if self.deep && is_intact {
            findings.extend(self.rows(key, &manifest).await?);
        }
        let mut listed: Vec<_> = manifest
            .files
            .iter()
            .map(|file| file.path.clone())
            .collect();
        if !revisions.is_published() {
            listed.extend(manifest.dropped);
        }
        Ok(Verified {
            findings,
            listed,
            counts: CheckedCounts {
                apps: 0,
                partitions: 1,
                files: manifest.files.len() as u64,
                bytes: manifest.files.iter().map(|file| file.bytes).sum(),
                rows: manifest.files.iter().map(|file| file.rows).sum(),
                records: manifest.books.written,
            },
            strays: manifest.jobs.iter().map(|job| job.strays).sum(),
        })
    }

    /// Decodes the rows of a partition's files, compares them with one another, and restores the records.
    async fn rows(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
    ) -> Result<Vec<Finding>, PipelineError> {
        let mut found = Found::default();
        let mut files = PerTable::<Vec<StoredColumns>>::default();
        for file in &manifest.files {
            let opened = self
                .lake
                .open_columns(file)
                .await
                .map_err(PipelineError::from);
            if let Some(opened) = found.unless_unreadable(&file.path, opened)? {
                files[file.table].push(opened);
            }
        }
        self.each_file(key, &files, &mut found).await?;
        // What cannot be decoded cannot be compared, and what does not belong together makes no records.
        if found.is_empty() {
            self.keys(&files, &mut found).await?;
        }
        if found.is_empty() && manifest.schema_version == SCHEMA_VERSION {
            self.content(&files, manifest, &mut found).await?;
        }
        let messages = found.into_messages();
        Ok(messages
            .map(|(fault, path, message)| Finding {
                fault,
                partition: Some(key.clone()),
                path,
                message,
            })
            .collect())
    }

    async fn each_file(
        &self,
        key: &PartitionKey,
        files: &Files,
        found: &mut Found,
    ) -> Result<(), PipelineError> {
        let checks = files.iter().flat_map(|(_, files)| files).map(|file| {
            let (file, key, prompt) = (file.clone(), key.clone(), self.prompt);
            let (path, runtime) = (file.file().path.clone(), Handle::current());
            // A page as it is stored, as it is, and its values.
            let bytes = 3 * file.largest_column_bytes();
            let check = move || rows::check_rows(&file, &key, prompt, &runtime);
            async move { (path, self.compute.run(bytes, check).await) }
        });
        let mut checks = stream::iter(checks).buffered(self.compute.threads());
        while let Some((path, checked)) = checks.next().await {
            let rows = found.unless_unreadable(&path, checked)?;
            found.extend(rows.unwrap_or_default());
        }
        Ok(())
    }

    async fn keys(&self, files: &Files, found: &mut Found) -> Result<(), PipelineError> {
        let bytes = keys::memory_of(files);
        let (files, runtime) = (files.clone(), Handle::current());
        let check = move || keys::check_keys(&files, &runtime);
        let checked = self.compute.run(bytes, check).await;
        let keys = found.unless_unreadable("", checked)?;
        found.extend(keys.unwrap_or_default());
        Ok(())
    }

    async fn content(
        &self,
        files: &Files,
        manifest: &Manifest,
        found: &mut Found,
    ) -> Result<(), PipelineError> {
        let bytes = content::memory_of(files);
        let (files, runtime) = (files.clone(), Handle::current());
        let digest = manifest.content_digest.clone();
        let forgotten = self.forgotten.clone();
        let check = move || content::check_content(&files, &digest, forgotten.as_deref(), &runtime);
        let checked = self.compute.run(bytes, check).await;
        let content = found.unless_unreadable("", checked)?.unwrap_or_default();
        if let Some(message) = content.fault {
            found.add_file(Fault::WrongContent, "", message);
        }
        if content.forgotten > 0 {
            let message = format!(
                "{} records of whom is forgotten are there",
                content.forgotten
            );
            found.add_file(Fault::NotForgotten, "", message);
        }
        Ok(())
    }
}

type Files = PerTable<Vec<StoredColumns>>;

fn pin_missing() -> Finding {
    Finding {
        fault: Fault::PinMissing,
        partition: None,
        path: Some("_answerlake/lake".to_owned()),
        message: "nothing says how the lake was made, though partitions are committed".to_owned(),
    }
}

/// To verify nothing is most likely a mistake, and must not pass for a sound lake.
fn nothing_committed() -> Finding {
    Finding {
        fault: Fault::NothingCommitted,
        partition: None,
        path: None,
        message: "nothing is committed of what was asked for, so nothing was verified".to_owned(),
    }
}

fn wrong_grain(key: &PartitionKey) -> Finding {
    Finding {
        fault: Fault::WrongGrain,
        partition: Some(key.clone()),
        path: None,
        message: "it is not cut as the lake's pin says".to_owned(),
    }
}
