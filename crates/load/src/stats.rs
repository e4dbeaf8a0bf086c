//! What the records of a lake's partitions say in numbers, out of their newest manifests; nothing else of those is looked
//! at.

use std::collections::BTreeMap;

use answerlake_model::{ContentStats, PartitionKey};
use object_store::path::Path;
use serde::Deserialize;

use crate::error::LoadError;
use crate::lake::{Head, Lake};
use crate::location;
use crate::manifest::{MANIFEST_FORMAT_VERSION, check_format_version};

/// The part of a manifest that is read.
#[derive(Deserialize)]
struct Counted {
    stats: Option<ContentStats>,
}

impl Lake {
    /// The numbers of the partitions that a listing showed; `None` for those that an older program committed.
    ///
    /// # Errors
    /// When the store cannot be read, or a manifest is not as this program or an older one writes it.
    pub async fn stats(
        &self,
        heads: BTreeMap<PartitionKey, Head>,
    ) -> Result<BTreeMap<PartitionKey, Option<ContentStats>>, LoadError> {
        let paths = heads
            .iter()
            .map(|(key, head)| location::manifest(key, head.revision))
            .collect();
        let read = self.store.read_each(paths, counted).await?;
        let mut stats = BTreeMap::new();
        for ((key, head), counted) in heads.into_iter().zip(read) {
            let counted = counted.ok_or_else(|| Self::lost_manifest(&key, head.revision))?;
            stats.insert(key, counted.stats);
        }
        Ok(stats)
    }
}

fn counted(path: &Path, json: &[u8]) -> Result<Counted, LoadError> {
    check_format_version(path, json, MANIFEST_FORMAT_VERSION)?;
    serde_json::from_slice(json).map_err(|source| LoadError::Malformed {
        path: path.to_string(),
        source,
    })
}
