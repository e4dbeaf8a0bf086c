//! The drift ledgers of a lake's partitions, out of their newest manifests; nothing else of those is looked at.

use std::collections::BTreeMap;

use answerlake_model::{DriftLedger, PartitionKey};
use object_store::path::Path;
use serde::Deserialize;

use crate::error::LoadError;
use crate::lake::{Head, Lake};
use crate::manifest::{MANIFEST_FORMAT_VERSION, check_format_version};

/// The part of a manifest that is read.
#[derive(Deserialize)]
struct Drifted {
    #[serde(default)]
    drift: DriftLedger,
}

impl Lake {
    /// The ledgers of the partitions that a listing showed, those included that are empty.
    ///
    /// # Errors
    /// When the store cannot be read, or a manifest is not as this program or an older one writes it.
    pub async fn drift(
        &self,
        heads: BTreeMap<PartitionKey, Head>,
    ) -> Result<BTreeMap<PartitionKey, DriftLedger>, LoadError> {
        let heads: Vec<_> = heads.into_iter().collect();
        let read = self.read_manifests(&heads, ledger).await?;
        let mut ledgers = BTreeMap::new();
        for ((key, head), ledger) in heads.into_iter().zip(read) {
            let ledger = ledger.ok_or_else(|| Self::lost_manifest(&key, head.revision))?;
            ledgers.insert(key, ledger);
        }
        Ok(ledgers)
    }
}

fn ledger(path: &Path, json: &[u8]) -> Result<DriftLedger, LoadError> {
    check_format_version(path, json, MANIFEST_FORMAT_VERSION)?;
    let read: Drifted = serde_json::from_slice(json).map_err(|source| LoadError::Malformed {
        path: path.to_string(),
        source,
    })?;
    Ok(read.drift)
}
