//! Who is forgotten, as a run knows it from the lake.

use std::collections::BTreeSet;
use std::sync::Arc;

use answerlake_load::forgotten::FORGOTTEN_FORMAT_VERSION;
use answerlake_load::{Lake, LoadError, Tombstone, location};
use answerlake_model::RunId;
use answerlake_transform::{Forgotten, IdHash, IdKind};
use chrono::Utc;

/// The tombstones that were read, and what they say. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tombstones {
    names: Arc<BTreeSet<String>>,
    forgotten: Option<Arc<Forgotten>>,
}

impl Tombstones {
    /// Reads all tombstones of the lake.
    pub(crate) async fn read(lake: &Lake) -> Result<Self, LoadError> {
        let tombstones = lake.tombstones().await?;
        if tombstones.is_empty() {
            return Ok(Self::default());
        }
        // Without it, or with an entry that cannot be read, going on would bring back who is forgotten.
        let key = lake
            .forgotten_key()
            .await?
            .ok_or_else(|| LoadError::NoForgottenKey)?;
        let mut forgotten = Forgotten::new(key.as_bytes());
        for (name, tombstone) in &tombstones {
            for (kind, ids) in [
                (IdKind::User, &tombstone.users),
                (IdKind::Query, &tombstone.queries),
            ] {
                for id in ids {
                    match id.parse() {
                        Ok(id) => drop(forgotten.insert(kind, id)),
                        Err(expected) => {
                            return Err(LoadError::Malformed {
                                path: location::tombstone(name).to_string(),
                                source: serde::de::Error::custom(expected),
                            });
                        }
                    }
                }
            }
        }
        Ok(Self {
            names: Arc::new(tombstones.into_keys().collect()),
            forgotten: (!forgotten.is_empty()).then(|| Arc::new(forgotten)),
        })
    }

    /// What is not to land; `None` where nobody is forgotten.
    pub(crate) fn forgotten(&self) -> Option<Arc<Forgotten>> {
        self.forgotten.clone()
    }

    /// Whether the lake has tombstones that are not among these.
    pub(crate) async fn are_outdated(&self, lake: &Lake) -> Result<bool, LoadError> {
        let names = lake.tombstone_names().await?;
        Ok(!names.is_subset(&self.names))
    }

    /// The same, and those of `name`, which say that `forgotten` is all there is to be forgotten.
    pub(crate) fn with(&self, name: String, forgotten: Arc<Forgotten>) -> Self {
        let mut names = BTreeSet::clone(&self.names);
        names.insert(name);
        Self {
            names: Arc::new(names),
            forgotten: Some(forgotten),
        }
    }
}

/// Writes a tombstone of these ids; gives its name.
pub(crate) async fn put(
    lake: &Lake,
    run_id: &RunId,
    users: &BTreeSet<IdHash>,
    queries: &BTreeSet<IdHash>,
) -> Result<String, LoadError> {
    let texts = |ids: &BTreeSet<IdHash>| ids.iter().map(ToString::to_string).collect();
    let tombstone = Tombstone {
        format_version: FORGOTTEN_FORMAT_VERSION,
        created_at: Utc::now(),
        run_id: run_id.clone(),
        users: texts(users),
        queries: texts(queries),
    };
    lake.put_tombstone(&tombstone).await
}
