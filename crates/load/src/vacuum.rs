//! Finds what nobody needs any more in a lake, and removes it.
//!
//! ```text
//! roll forward     what is committed is published, so that what is left over can be told from what is not in place yet
//! staged files     old by the store's clock, and named by no unpublished revision             staging
//! unlisted files   a revision named them, a later one dropped them
//! job records      older than any run takes one up
//! failure notes    older than what their partition is committed with
//! cut writes       `name#1`, old, on a disk                                                   leftover
//! empty folders    old, on a disk
//! ```
//!
//! A data file is removed where a manifest of this lake proves that it is ours and superseded: the revision in its name
//! lists it, and the newest, which is later and published, does not. No committer however slow can need such a file, since
//! a revision carries files over from the one before it alone, and a name is never used again. How it came to be there: a
//! publisher that was stopped between a look and a move, went on after others had dropped the file, and was killed before
//! it withdrew it; or a deletion that a power cut undid. Anything else in the folders of the tables stays, and `verify`
//! says so.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use answerlake_model::{AppId, PartitionKey, Table};
use object_store::path::Path;
use serde::Deserialize;

use crate::error::LoadError;
use crate::lake::{Head, Lake};
use crate::leftover::{KeptBecause, Leftover, LeftoverKind};
use crate::location;
use crate::manifest::Manifest;
use crate::recover::Recovered;
use crate::staging::{Age, STAGING_MAX_AGE};
use crate::store::all;

/// What `vacuum` is to do.
#[derive(Debug, Clone)]
pub struct VacuumOptions {
    /// The app whose leftovers are looked for, beside those of no app; all apps without one.
    pub app_id: Option<AppId>,
    /// Whether what is found goes. Off, nothing is written, and ages are told by this machine's clock.
    pub apply: bool,
    /// How old staged files, cut writes and empty folders are when they go; default [`STAGING_MAX_AGE`].
    pub max_age: Duration,
    /// How old records of jobs are when they go: no less than a run takes up; default [`STAGING_MAX_AGE`].
    pub job_max_age: Duration,
}

impl Default for VacuumOptions {
    fn default() -> Self {
        Self {
            app_id: None,
            apply: false,
            max_age: STAGING_MAX_AGE,
            job_max_age: STAGING_MAX_AGE,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    /// The commits that were finished, or with `apply` off would be; and those that cannot be.
    pub unfinished: Vec<Recovered>,
    /// What went, or would go, and what stays; by kind and path.
    pub leftovers: Vec<Leftover>,
}

/// The part of a manifest that says which files are live.
#[derive(Deserialize)]
struct Listed {
    files: Vec<ListedFile>,
}

#[derive(Deserialize)]
struct ListedFile {
    path: String,
}

impl Lake {
    /// Finds leftovers, and with `apply` removes them. Safe at any time, also while runs are at work.
    ///
    /// # Errors
    /// When the store fails; what was removed until then stays so.
    pub async fn vacuum(&self, options: &VacuumOptions) -> Result<Vacuumed, LoadError> {
        let app_id = options.app_id.as_ref();
        let (unfinished, now) = match options.apply {
            true => (self.recover(app_id).await?, self.store_time().await?),
            false => (self.unfinished(app_id).await?, (self.clock)()),
        };
        let age = |max| Age { now, max };
        let staged = self.store.list(&location::all_staging(), None).await?;
        let mut found = self.staged_leftovers(staged, age(options.max_age)).await?;
        found.extend(self.old_jobs(age(options.job_max_age)).await?);
        let heads = self.heads(app_id, None).await?;
        found.extend(self.settled_failures(app_id, &heads).await?);
        found.extend(self.dropped_files(app_id, heads).await?);
        let is_asked = |one: &Leftover| match (app_id, app_folder(&one.path)) {
            (Some(app_id), Some(folder)) => app_id.as_str() == folder,
            _ => true,
        };
        found.retain(is_asked);
        let folders = Table::ALL.map(|table| location::data(table).to_string());
        let folders = [location::ours().to_string()].into_iter().chain(folders);
        let local = self.local_leftovers(folders.collect(), &found, age(options.max_age));
        found.extend(local.await?.into_iter().filter(is_asked));
        if options.apply {
            self.remove(&found).await?;
        }
        // Stable: of folders, the deepest is removed and named first.
        found.sort_by(|one, other| match one.kind.cmp(&other.kind) {
            Ordering::Equal if one.kind != LeftoverKind::EmptyFolder => one.path.cmp(&other.path),
            order => order,
        });
        Ok(Vacuumed {
            unfinished,
            leftovers: found,
        })
    }

    async fn old_jobs(&self, age: Age) -> Result<Vec<Leftover>, LoadError> {
        let stored = self.store.list(&location::all_jobs(), None).await?;
        let found = stored.into_iter().map(|job| {
            let is_young = !age.is_reached(job.last_modified);
            Leftover {
                kind: LeftoverKind::JobRecord,
                path: job.location.to_string(),
                bytes: job.size,
                kept: is_young.then_some(KeptBecause::Young),
            }
        });
        Ok(found.collect())
    }

    /// Notes of failures of partitions that were committed later.
    async fn settled_failures(
        &self,
        app_id: Option<&AppId>,
        heads: &BTreeMap<PartitionKey, Head>,
    ) -> Result<Vec<Leftover>, LoadError> {
        let notes = self.failures(app_id).await?;
        let noted = heads.iter().filter(|(key, _)| notes.contains_key(*key));
        let noted = noted.map(|(key, head)| (key.clone(), *head));
        let mut settled = self.summaries(noted.collect()).await?;
        settled
            .retain(|key, summary| !summary.is_broken() && notes[key].at <= summary.committed_at);
        let found = settled.keys().map(async |key| {
            let path = location::failure(key);
            let note = self.store.head(&path).await?;
            Ok(note.map(|note| Leftover {
                kind: LeftoverKind::FailureNote,
                path: path.to_string(),
                bytes: note.size,
                kept: None,
            }))
        });
        let found = all(found.collect()).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Data files that no newest revision lists.
    async fn dropped_files(
        &self,
        app_id: Option<&AppId>,
        heads: BTreeMap<PartitionKey, Head>,
    ) -> Result<Vec<Leftover>, LoadError> {
        let mut apps: BTreeSet<AppId> = heads.keys().map(|key| key.app_id().clone()).collect();
        apps.extend(app_id.cloned());
        // Read before the folders are listed: what came meanwhile, and is listed by a newer revision, is looked at again.
        let listed = self.listed_files(heads).await?;
        let mut unlisted = Vec::new();
        for app in &apps {
            unlisted.extend(self.unlisted_files(app, &listed, |_| true).await?);
        }
        if app_id.is_none() {
            unlisted.extend(self.files_of_no_app(&apps).await?);
        }
        let found = unlisted.into_iter().map(async |finding| {
            let path = Path::from(finding.path.unwrap_or_default());
            let Some(file) = self.store.head(&path).await? else {
                return Ok(None);
            };
            let kept = match &finding.partition {
                Some(key) => self.kept_because(key, &path).await?,
                None => Some(KeptBecause::NotOurs),
            };
            Ok(Some(Leftover {
                kind: LeftoverKind::UnlistedFile,
                path: path.to_string(),
                bytes: file.size,
                kept,
            }))
        });
        let found = all(found.collect()).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The files that the newest revisions list; those of one that cannot be read are not among them.
    async fn listed_files(
        &self,
        heads: BTreeMap<PartitionKey, Head>,
    ) -> Result<HashSet<String>, LoadError> {
        let heads: Vec<_> = heads.into_iter().collect();
        let read = self.read_manifests(&heads, |_, json| {
            Ok(serde_json::from_slice::<Listed>(json).ok())
        });
        let listed = read.await?.into_iter().flatten().flatten();
        let files = listed.flat_map(|manifest| manifest.files);
        Ok(files.map(|file| file.path).collect())
    }

    /// Why a data file that the partition's newest revision does not list stays; `None` where the manifest of the revision
    /// in its name lists it, and a later one that is published does not.
    async fn kept_because(
        &self,
        key: &PartitionKey,
        path: &Path,
    ) -> Result<Option<KeptBecause>, LoadError> {
        let revisions = self.revisions_of(key).await?;
        if !revisions.is_published() || revisions.lacks_newest() {
            return Ok(Some(KeptBecause::Needed));
        }
        let newest = revisions.newest().unwrap_or(0);
        let named = location::parse_data_file(path).filter(|file| file.revision < newest);
        let Some(file) = named else {
            return Ok(Some(KeptBecause::NotOurs));
        };
        let lists = |manifest: &Manifest| {
            let mut files = manifest.files.iter();
            files.any(|file| file.path == path.as_ref())
        };
        match self.read_manifest(key, file.revision).await {
            Ok(Some(manifest)) if lists(&manifest) => {}
            Ok(_) | Err(LoadError::Malformed { .. } | LoadError::NewerFormat { .. }) => {
                return Ok(Some(KeptBecause::NotOurs));
            }
            Err(error) => return Err(error),
        }
        match self.read_manifest(key, newest).await {
            Ok(Some(manifest)) if !lists(&manifest) => Ok(None),
            Ok(_) | Err(LoadError::Malformed { .. } | LoadError::NewerFormat { .. }) => {
                Ok(Some(KeptBecause::Needed))
            }
            Err(error) => Err(error),
        }
    }
}

/// The app in whose folder something lies.
fn app_folder(path: &str) -> Option<&str> {
    path.split('/')
        .find_map(|part| part.strip_prefix("app_id="))
}
