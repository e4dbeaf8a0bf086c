//! `schema --drift`: what records brought that the tables' columns do not hold, by the manifests alone.

use std::collections::BTreeMap;

use answerlake_load::{Head, Lake, LakeStore};
use answerlake_model::{AppId, Drift, DriftPath, Grain, JsonTypes, PartitionKey, Table, Window};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::Range;
use crate::report::iso;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct DriftRequest {
    /// Which partitions; all there are, where it says nothing.
    pub range: Range,
    /// Only what this table's `extra` holds.
    pub table: Option<Table>,
}

/// What drifted in a lake.
#[derive(Debug, Clone, Serialize)]
pub struct DriftReport {
    /// The lake's address.
    pub lake: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// The first instant looked at; absent where nothing is committed.
    pub from: Option<String>,
    /// The first instant not looked at.
    pub to: Option<String>,
    /// Partitions looked at.
    pub partitions: usize,
    /// Of these, those of which records drifted.
    pub drifted_partitions: usize,
    /// Records that drifted, at whatever path.
    pub drifted_records: u64,
    /// Of these, records with paths that their partition's ledger had no room for.
    pub more_records: u64,
    /// Each path, by app.
    pub paths: Vec<DriftedPath>,
}

/// A path, and what was met there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriftedPath {
    /// The app.
    pub app_id: String,
    /// From the record on, `[]` for each element of an array.
    pub path: String,
    /// The table.
    pub table: Table,
    /// The column that holds what stands there.
    pub column: String,
    /// What the table expects there; absent where it knows of no such thing.
    pub expected: Option<String>,
    /// As what it came.
    pub types: JsonTypes,
    /// How many records have it.
    pub records: u64,
    /// In how many partitions.
    pub partitions: usize,
    /// The time of the first of these records.
    pub first_seen: String,
    /// The time of the last of these records.
    pub last_seen: String,
    /// The id of one of them.
    pub example: Option<String>,
}

/// A path in the making.
struct Merged {
    drift: Drift,
    partitions: usize,
}

/// Adds up the ledgers of a lake, of the app of the settings or else of all apps there are.
///
/// # Errors
/// When the range is none, or the lake cannot be read.
pub async fn drift(
    config: &PipelineConfig,
    request: &DriftRequest,
) -> Result<DriftReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?;
    let grain = pin.as_ref().map_or(config.lake.grain, |pin| pin.grain);
    let mut heads = lake.heads(config.app_id.as_ref(), None).await?;
    let span = retain(&mut heads, &request.range, grain)?;
    let ledgers = lake.drift(heads).await?;

    let mut report = DriftReport {
        lake: config.lake.url.to_string(),
        exists: pin.is_some(),
        from: span.map(|span| iso(span.start())),
        to: span.map(|span| iso(span.end())),
        partitions: ledgers.len(),
        drifted_partitions: 0,
        drifted_records: 0,
        more_records: 0,
        paths: Vec::new(),
    };
    let mut merged: BTreeMap<(AppId, DriftPath), Merged> = BTreeMap::new();
    for (key, ledger) in &ledgers {
        report.drifted_partitions += usize::from(!ledger.is_empty());
        report.drifted_records += ledger.records();
        report.more_records += ledger.more();
        let wanted = ledger
            .paths()
            .filter(|(path, _)| request.table.is_none_or(|table| path.table == table));
        for (path, drift) in wanted {
            merged
                .entry((key.app_id().clone(), path.clone()))
                .and_modify(|known| known.add(drift))
                .or_insert_with(|| Merged {
                    drift: drift.clone(),
                    partitions: 1,
                });
        }
    }
    report.paths = merged.into_iter().map(DriftedPath::from).collect();
    Ok(report)
}

/// Keeps the partitions of the range; gives the time from the first to the end of the last one looked at.
pub(crate) fn retain(
    heads: &mut BTreeMap<PartitionKey, Head>,
    range: &Range,
    grain: Grain,
) -> Result<Option<Window>, PipelineError> {
    let first = heads.keys().map(PartitionKey::start).min();
    let last = heads.keys().map(|key| key.window().end()).max();
    let is_open = range.from.is_none() && range.to.is_none() && range.date.is_none();
    if is_open {
        let span = first.zip(last);
        return Ok(span.and_then(|(first, last)| Window::try_new(first, last).ok()));
    }
    // A range that ends before the first partition is no mistake: nothing is there.
    let before = |to: DateTime<Utc>| to - grain.duration();
    let from = first.map(|first| range.to.map_or(first, |to| first.min(before(to))));
    if from.is_none() && range.from.is_none() && range.date.is_none() {
        return Ok(None);
    }
    let until = last.or(range.from).unwrap_or_default();
    let window = range.resolve(grain, from, until)?;
    heads.retain(|key, _| window.contains(key.start()));
    Ok(Some(window))
}

impl Merged {
    fn add(&mut self, more: &Drift) {
        self.partitions += 1;
        self.drift.records += more.records;
        self.drift.types |= more.types;
        self.drift.first_seen = self.drift.first_seen.min(more.first_seen);
        self.drift.last_seen = self.drift.last_seen.max(more.last_seen);
        if more.example.is_some() {
            // The newest is the easiest to find.
            self.drift.example.clone_from(&more.example);
        }
    }
}

impl From<((AppId, DriftPath), Merged)> for DriftedPath {
    fn from(((app_id, at), merged): ((AppId, DriftPath), Merged)) -> Self {
        let Merged { drift, partitions } = merged;
        Self {
            app_id: app_id.to_string(),
            column: format!("{}.extra", at.table),
            path: at.path,
            table: at.table,
            expected: at.expected.map(Into::into),
            types: drift.types,
            records: drift.records,
            partitions,
            first_seen: iso(drift.first_seen),
            last_seen: iso(drift.last_seen),
            example: drift.example,
        }
    }
}
