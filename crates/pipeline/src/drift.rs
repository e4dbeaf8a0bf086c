//! Drift on its way to the manifests, and who is told of it.

use std::collections::{BTreeMap, BTreeSet};

use answerlake_load::{Lake, LoadError};
use answerlake_model::{AppId, DriftLedger, PartitionKey, RecordDrift, Table};
use tokio::sync::Mutex;

use crate::error::chain;

/// How many paths all ledgers of a window name together: as many as take some MiB of memory.
const MAX_PATHS: usize = 10_000;

/// How many of the newest committed partitions are looked at to tell whether a path is new.
const PARTITIONS_BACK: usize = 30;

/// How many new paths a run warns of one by one.
const MAX_WARNINGS: usize = 20;

/// The ledgers of a window's partitions in the making.
#[derive(Debug)]
pub(crate) struct WindowDrift {
    ledgers: BTreeMap<PartitionKey, DriftLedger>,
    room: usize,
}

impl WindowDrift {
    pub(crate) fn add(&mut self, key: &PartitionKey, record: &RecordDrift) {
        // Few keys are new: looked up first, none is cloned for the others.
        if !self.ledgers.contains_key(key) {
            self.ledgers.insert(key.clone(), DriftLedger::default());
        }
        if let Some(ledger) = self.ledgers.get_mut(key) {
            self.room -= ledger.add(record, self.room);
        }
    }

    pub(crate) fn take(&mut self, key: &PartitionKey) -> DriftLedger {
        self.ledgers.remove(key).unwrap_or_default()
    }
}

impl Default for WindowDrift {
    fn default() -> Self {
        Self {
            ledgers: BTreeMap::new(),
            room: MAX_PATHS,
        }
    }
}

/// The paths that somebody was told of: those in committed ledgers, and those that this run warned of. What is read
/// back of the lake is read when something drifts, and not before.
#[derive(Debug, Default)]
pub(crate) struct KnownDrift(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    paths: BTreeMap<AppId, BTreeSet<(String, Table)>>,
    warnings: usize,
}

impl KnownDrift {
    /// Warns of the paths of a ledger that is about to be committed, where nobody was told of them before.
    pub(crate) async fn warn_of_new(&self, lake: &Lake, key: &PartitionKey, ledger: &DriftLedger) {
        if ledger.is_empty() {
            return;
        }
        let mut known = self.0.lock().await;
        let app_id = key.app_id();
        if !known.paths.contains_key(app_id) {
            match committed_paths(lake, app_id).await {
                Ok(paths) => {
                    known.paths.insert(app_id.clone(), paths);
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "earlier drift cannot be read");
                    return;
                }
            }
        }
        let Known { paths, warnings } = &mut *known;
        for (path, drift) in ledger.paths() {
            let is_new = paths
                .get_mut(app_id)
                .is_some_and(|paths| paths.insert((path.path.clone(), path.table)));
            if !is_new {
                continue;
            }
            *warnings += 1;
            if *warnings <= MAX_WARNINGS {
                let expected = path.expected.as_deref().unwrap_or("no such key");
                tracing::warn!(partition = %key, path = path.path, expected, came = %drift.types, records = drift.records,
                    kept_in = format!("{}.extra", path.table), "records have drifted from the schema");
            } else if *warnings == MAX_WARNINGS + 1 {
                tracing::warn!(partition = %key, "records have drifted at more paths: `answerlake schema --drift` lists them");
            }
        }
    }
}

/// The paths in the ledgers of the app's newest partitions.
async fn committed_paths(
    lake: &Lake,
    app_id: &AppId,
) -> Result<BTreeSet<(String, Table)>, LoadError> {
    let heads = lake.heads(Some(app_id), None).await?;
    let newest = heads.into_iter().rev().take(PARTITIONS_BACK).collect();
    let ledgers = lake.drift(newest).await?;
    let paths = ledgers.values().flat_map(DriftLedger::paths);
    Ok(paths
        .map(|(path, _)| (path.path.clone(), path.table))
        .collect())
}
