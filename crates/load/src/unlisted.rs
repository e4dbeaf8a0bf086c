//! Files in the folders of the tables that no newest revision lists. Readers that glob take them for data.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use answerlake_model::{AppId, PartitionKey, Table};
use object_store::path::Path;

use crate::error::LoadError;
use crate::lake::Lake;
use crate::location;
use crate::verify::{Fault, Finding};

impl Lake {
    /// The files below the app's folders of data that are not in `listed`, where `is_asked` says so of the partition
    /// whose folder they lie in (`None`: the folder of no partition).
    ///
    /// A run may have brought them since `listed` was put together, or be about to delete them: what the newest
    /// revision is by then decides.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn unlisted_files(
        &self,
        app_id: &AppId,
        listed: &HashSet<String>,
        is_asked: impl Fn(Option<&PartitionKey>) -> bool,
    ) -> Result<Vec<Finding>, LoadError> {
        let mut unlisted: BTreeMap<Option<PartitionKey>, Vec<Path>> = BTreeMap::new();
        for table in Table::ALL {
            let folder = location::app_data(table, app_id);
            for path in self.store.list_paths(&folder, None).await? {
                let key = location::parse_data_folder(&path);
                if !listed.contains(path.as_ref()) && is_asked(key.as_ref()) {
                    unlisted.entry(key).or_default().push(path);
                }
            }
        }
        let mut findings = Vec::new();
        for (key, mut paths) in unlisted {
            if let Some(key) = &key {
                let Some(known) = self.known_files(key).await? else {
                    // What cannot be read may list any of them; that it cannot is another finding.
                    continue;
                };
                paths.retain(|path| !known.contains(path.as_ref()));
            }
            paths.sort();
            for path in paths {
                if self.store.head(&path).await?.is_some() {
                    findings.push(unlisted_file(key.clone(), &path));
                }
            }
        }
        Ok(findings)
    }

    /// The files in the folders of data that lie in no folder of one of `apps`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn files_of_no_app(&self, apps: &BTreeSet<AppId>) -> Result<Vec<Finding>, LoadError> {
        let mut findings = Vec::new();
        for table in Table::ALL {
            let own: BTreeSet<Path> = apps
                .iter()
                .map(|app_id| location::app_data(table, app_id))
                .collect();
            let (folders, mut paths) = self.store.list_level(&location::data(table)).await?;
            for folder in folders.into_iter().filter(|folder| !own.contains(folder)) {
                paths.extend(self.store.list_paths(&folder, None).await?);
            }
            paths.sort();
            findings.extend(paths.iter().map(|path| unlisted_file(None, path)));
        }
        Ok(findings)
    }

    /// The files that the partition's newest revision lists, or is about to drop; `None` if that cannot be told.
    async fn known_files(&self, key: &PartitionKey) -> Result<Option<HashSet<String>>, LoadError> {
        let revisions = self.revisions_of(key).await?;
        if revisions.lacks_newest() {
            return Ok(None);
        }
        let Some(newest) = revisions.newest() else {
            return Ok(Some(HashSet::new()));
        };
        match self.read_manifest(key, newest).await {
            Ok(Some(manifest)) => {
                let mut known: HashSet<_> =
                    manifest.files.into_iter().map(|file| file.path).collect();
                if !revisions.has_marker(newest) {
                    known.extend(manifest.dropped);
                }
                Ok(Some(known))
            }
            Ok(None) | Err(LoadError::Malformed { .. } | LoadError::NewerFormat { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn unlisted_file(partition: Option<PartitionKey>, path: &Path) -> Finding {
    Finding {
        fault: Fault::UnlistedFile,
        partition,
        path: Some(path.to_string()),
        message: "no newest revision lists it, and readers that glob take it for data".to_owned(),
    }
}
