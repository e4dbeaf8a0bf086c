//! Who is forgotten, as the lake keeps it: keyed hashes of ids, the key, and receipts. Never an id.
//!
//! ```text
//! _answerlake/forgotten/key.json               the key, random, created if absent and never replaced
//! _answerlake/forgotten/tombstones/{name}.json some hashes each; the name is made of them
//! _answerlake/forgotten/receipts/{run}.json    what a run of `forget` removed
//! ```
//!
//! The key lies beside what it keys, so that every run knows it without being told. It keeps whoever reads the lake from
//! reading ids out of it; it does not keep them from trying one that they know.

use std::collections::{BTreeMap, BTreeSet};

use answerlake_model::{PartitionKey, RunId};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::LoadError;
use crate::lake::Lake;
use crate::location;
use crate::manifest::check_format_version;
use crate::store::all;

/// The newest format of these objects that this program knows.
pub const FORGOTTEN_FORMAT_VERSION: u32 = 1;

/// Some of those who are forgotten. It holds for good; to take it back, delete the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The format of this object.
    pub format_version: u32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// The run that wrote it.
    pub run_id: RunId,
    /// Persons, by the keyed hashes of their ids, in hexadecimal.
    pub users: BTreeSet<String>,
    /// Queries, the same way.
    pub queries: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    format_version: u32,
    key: String,
}

impl Lake {
    /// The key that ids are hashed under; `None` where nobody was ever forgotten.
    ///
    /// # Errors
    /// When the store cannot be read, or a newer program made it.
    pub async fn forgotten_key(&self) -> Result<Option<String>, LoadError> {
        let path = location::forgotten_key();
        let Some(json) = self.store.read(&path).await? else {
            return Ok(None);
        };
        check_format_version(&path, &json, FORGOTTEN_FORMAT_VERSION)?;
        let key = serde_json::from_slice::<Key>(&json);
        let key = key.map_err(|source| LoadError::Malformed {
            path: path.to_string(),
            source,
        })?;
        Ok(Some(key.key))
    }

    /// The same, and makes one where there is none.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn ensure_forgotten_key(&self) -> Result<String, LoadError> {
        if let Some(key) = self.forgotten_key().await? {
            return Ok(key);
        }
        let key = Key {
            format_version: FORGOTTEN_FORMAT_VERSION,
            key: random_key(),
        };
        let json = serde_json::to_vec(&key).expect("plain fields have a JSON form");
        let path = location::forgotten_key();
        self.store.ensure(&path, json.into()).await?;
        // Another may have been faster.
        let key = self.forgotten_key().await?;
        key.ok_or_else(|| {
            LoadError::store("read", &path)(object_store::Error::NotFound {
                path: path.to_string(),
                source: "it was just created".into(),
            })
        })
    }

    /// All tombstones, by name.
    ///
    /// # Errors
    /// When the store cannot be read, or a newer program wrote one.
    pub async fn tombstones(&self) -> Result<BTreeMap<String, Tombstone>, LoadError> {
        let mut tombstones = BTreeMap::new();
        for (name, json) in self.store.read_folder(&location::tombstones()).await? {
            let Some(name) = name.strip_suffix(".json") else {
                continue;
            };
            let path = location::tombstone(name);
            check_format_version(&path, &json, FORGOTTEN_FORMAT_VERSION)?;
            let tombstone = serde_json::from_slice(&json);
            let tombstone = tombstone.map_err(|source| LoadError::Malformed {
                path: path.to_string(),
                source,
            })?;
            tombstones.insert(name.to_owned(), tombstone);
        }
        Ok(tombstones)
    }

    /// The names of all tombstones. Of a folder that hardly ever changes, that costs one listing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tombstone_names(&self) -> Result<BTreeSet<String>, LoadError> {
        let listed = self.store.list_paths(&location::tombstones(), None).await?;
        let names = listed.iter().filter_map(|path| path.filename());
        let names = names.filter_map(|name| name.strip_suffix(".json"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Writes a tombstone; gives its name. One with the same hashes is the same.
    ///
    /// # Errors
    /// When the store cannot be written; repeating it is harmless.
    pub async fn put_tombstone(&self, tombstone: &Tombstone) -> Result<String, LoadError> {
        let hashes = serde_json::to_vec(&(&tombstone.users, &tombstone.queries));
        let hashes = hashes.expect("texts have a JSON form");
        let mut name = hex::encode(Sha256::digest(hashes));
        name.truncate(16);
        let json = serde_json::to_vec(tombstone).expect("plain fields have a JSON form");
        let path = location::tombstone(&name);
        self.store.ensure(&path, json.into()).await?;
        self.store.sync_folders([&path]).await?;
        Ok(name)
    }

    /// Drops the ids of records that manifests name as examples of drift, where a later revision has forgotten some:
    /// they may be among them. What is left of these manifests is as it was; copies of them in checkpoints, which are
    /// made again, go. Gives the number of manifests.
    ///
    /// # Errors
    /// When the store cannot be read or written; repeating it is harmless.
    pub async fn drop_forgotten_examples(&self) -> Result<u64, LoadError> {
        let heads = self.heads(None, None).await?;
        let replaced = heads.into_iter().filter(|(_, head)| head.revision > 1);
        let dropped = replaced.map(|(key, head)| self.drop_examples_of(key, head.revision));
        let dropped = all(dropped.collect()).await?;
        // Also where a call before this one got no further than the manifests.
        if dropped.iter().any(Option::is_some) {
            let checkpoints = self
                .store
                .list_paths(&location::checkpoints(), None)
                .await?;
            let deletes = checkpoints.iter().map(|path| self.store.delete(path));
            all(deletes.collect()).await?;
        }
        Ok(dropped.into_iter().flatten().sum())
    }

    /// Of one partition; `None` where it has forgotten nothing.
    async fn drop_examples_of(
        &self,
        key: PartitionKey,
        newest: u64,
    ) -> Result<Option<u64>, LoadError> {
        let mut has_forgotten = false;
        let mut dropped = 0;
        for revision in (1..=newest).rev() {
            let mut manifest = match self.read_manifest(&key, revision).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                // `verify` says what is wrong with it.
                Err(LoadError::Malformed { .. }) => continue,
                Err(error) => return Err(error),
            };
            if has_forgotten && manifest.drift.examples().next().is_some() {
                manifest.drift.drop_examples();
                let path = location::manifest(&key, revision);
                self.store.overwrite(&path, manifest.to_json()).await?;
                dropped += 1;
            }
            has_forgotten |= manifest.books.forgotten > 0;
        }
        Ok(has_forgotten.then_some(dropped))
    }

    /// Writes what a run removed, in place of what it had removed before; gives where that is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_receipt(&self, run_id: &RunId, json: Bytes) -> Result<String, LoadError> {
        let path = location::receipt(run_id);
        self.store.overwrite(&path, json).await?;
        Ok(path.to_string())
    }
}

/// A key of 244 random bits, as text.
pub fn random_key() -> String {
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    format!("{}{}", one.simple(), other.simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LakeStore;

    #[tokio::test]
    async fn who_is_forgotten_stays_so_under_one_key() {
        let lake = Lake::new(LakeStore::open("memory://").await.unwrap());
        assert_eq!(lake.forgotten_key().await.unwrap(), None);
        let key = lake.ensure_forgotten_key().await.unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(lake.ensure_forgotten_key().await.unwrap(), key);
        assert_ne!(random_key(), key);

        let tombstone = |user: &str| Tombstone {
            format_version: 1,
            created_at: Utc::now(),
            run_id: RunId::try_new("run-1").unwrap(),
            users: BTreeSet::from([user.to_owned()]),
            queries: BTreeSet::new(),
        };
        let name = lake.put_tombstone(&tombstone("aa")).await.unwrap();
        assert_eq!(lake.put_tombstone(&tombstone("aa")).await.unwrap(), name);
        let other = lake.put_tombstone(&tombstone("bb")).await.unwrap();
        let read = lake.tombstones().await.unwrap();
        let names = BTreeSet::from([name, other]);
        assert_eq!(read.keys().cloned().collect::<BTreeSet<_>>(), names);
        assert_eq!(lake.tombstone_names().await.unwrap(), names);

        let newer = Bytes::from_static(b"{\"format_version\":2}");
        let path = location::tombstone("cc");
        lake.store.overwrite(&path, newer).await.unwrap();
        let error = lake.tombstones().await.unwrap_err();
        assert!(matches!(error, LoadError::NewerFormat { .. }), "{error}");
    }
}
