//! `changes`: the partitions that a consumer is to load again, and what it acknowledges.
//!
//! A consumer holds a revision of each partition. What is listed is where the lake has another one now; for each such
//! partition, the tables whose files are others, with the files before and now. What is acknowledged is what a listing
//! said, and nothing that came after it: the listing itself is handed back.

use std::collections::{BTreeMap, BTreeSet};

use answerlake_load::{Acknowledged, CurrentFiles, DataFile, Head, Lake, LakeStore, Move};
use answerlake_model::{ConsumerName, Grain, PartitionKey, Table};
use answerlake_transform::PromptLayout;
use serde::{Deserialize, Serialize};

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::Range;
use crate::reading::Reading;

/// Partitions looked at together.
const PARTITIONS_AT_ONCE: usize = 64;

/// What is asked.
#[derive(Debug, Clone)]
pub struct ChangesRequest {
    /// Who asks.
    pub consumer: ConsumerName,
    /// Which partitions; all there are, where it says nothing.
    pub range: Range,
    /// How many changed partitions are listed at most, the oldest first.
    pub limit: Option<usize>,
}

/// What changed since a consumer acknowledged.
#[derive(Debug, Clone, Serialize)]
pub struct ChangesReport {
    /// The lake's address.
    pub lake: String,
    /// Where it is: an absolute path, or its address.
    pub location: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// How its partitions are cut.
    pub grain: Grain,
    /// How it stores prompts.
    #[serde(skip)]
    pub prompt: PromptLayout,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The partitions that are to be loaded, or deleted: those that the lake has no more first, then by app and time.
    pub partitions: Vec<ChangedPartition>,
    /// Partitions that have a new revision, but the same files: nothing is to be loaded.
    pub unchanged: usize,
    /// Partitions beyond the limit.
    pub more: usize,
    /// Partitions of which no revision can be read.
    pub unreadable: Vec<String>,
    /// What is to be handed back to acknowledge all of it.
    pub ack: Ack,
}

/// A partition that a consumer is to load again.
#[derive(Debug, Clone, Serialize)]
pub struct ChangedPartition {
    /// The partition, as its hive path.
    pub partition: String,
    /// What happened to it.
    pub change: Change,
    /// The revision that the consumer holds.
    pub from: Option<u64>,
    /// The revision that the files are of; absent where the lake has the partition no more.
    pub to: Option<u64>,
    /// The tables whose files are others.
    pub tables: Vec<ChangedTable>,
    /// The partition.
    #[serde(skip)]
    pub key: PartitionKey,
}

/// What happened to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The consumer does not hold it yet.
    New,
    /// Some of its files are others.
    Replaced,
    /// It has no records now.
    Emptied,
    /// The lake has it no more: its grain is another one now.
    Removed,
}

impl Change {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Replaced => "replaced",
            Self::Emptied => "emptied",
            Self::Removed => "removed",
        }
    }
}

/// A table of a partition whose files are others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedTable {
    /// The table.
    pub table: Table,
    /// Its rows now.
    pub rows: u64,
    /// Its files now, all of them, relative to the lake.
    pub files: Vec<String>,
    /// The files that it had, relative to the lake.
    pub old_files: Vec<String>,
}

/// What a listing said, and the consumer hands back once it holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The consumer.
    pub consumer: ConsumerName,
    /// The lake's address.
    pub lake: String,
    /// Of each partition, the revision before and now.
    pub partitions: BTreeMap<String, (Option<u64>, Option<u64>)>,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Serialize)]
pub struct AckReport {
    /// The lake's address.
    pub lake: String,
    /// The consumer.
    pub consumer: ConsumerName,
    /// Partitions that the consumer holds another revision of now.
    pub acknowledged: usize,
    /// Partitions that were acknowledged before.
    pub unchanged: usize,
    /// Partitions that another acknowledgement has moved since they were listed: they are listed again.
    pub contested: Vec<String>,
}

/// Lists what changed.
///
/// # Errors
/// When the range is none, or the lake cannot be read.
pub async fn changes(
    config: &PipelineConfig,
    request: &ChangesRequest,
) -> Result<ChangesReport, PipelineError> {
    let mut reading = Reading::open(config, &request.range).await?;
    let held = reading.lake.consumer(&request.consumer).await?.partitions;
    let heads = std::mem::take(&mut reading.heads);
    let mut listing = Listing::new(&reading, request);
    if request.range == Range::default() {
        for key in gone(&held, &heads, &reading, config) {
            listing.remove(&key, held[&key]).await?;
        }
    }
    let changed: Vec<(PartitionKey, Head)> = heads
        .into_iter()
        .filter(|(key, head)| held.get(key) != Some(&head.revision))
        .collect();
    let mut rest = changed.as_slice();
    while let Some((some, others)) = rest.split_at_checked(PARTITIONS_AT_ONCE.min(rest.len()))
        && !some.is_empty()
        && !listing.is_full()
    {
        for current in reading.lake.current_files(some.to_vec()).await? {
            let from = held.get(&current.key).copied();
            listing.add(current, from).await?;
        }
        rest = others;
    }
    listing.report.more += rest.len();
    Ok(listing.report)
}

/// The partitions that a consumer holds and the lake has no more.
fn gone(
    held: &BTreeMap<PartitionKey, u64>,
    heads: &BTreeMap<PartitionKey, Head>,
    reading: &Reading,
    config: &PipelineConfig,
) -> Vec<PartitionKey> {
    let is_asked = |key: &PartitionKey| {
        let app_id = config.app_id.as_ref();
        reading.exists && app_id.is_none_or(|app_id| key.app_id() == app_id)
    };
    let held = held.keys();
    held.filter(|key| !heads.contains_key(*key) && is_asked(key))
        .cloned()
        .collect()
}

/// A report in the making.
struct Listing<'r> {
    lake: &'r Lake,
    limit: usize,
    report: ChangesReport,
}

impl<'r> Listing<'r> {
    fn new(reading: &'r Reading, request: &ChangesRequest) -> Self {
        Self {
            lake: &reading.lake,
            limit: request.limit.unwrap_or(usize::MAX),
            report: ChangesReport {
                lake: reading.url.clone(),
                location: reading.location.clone(),
                exists: reading.exists,
                grain: reading.grain,
                prompt: reading.prompt,
                consumer: request.consumer.clone(),
                partitions: Vec::new(),
                unchanged: 0,
                more: 0,
                unreadable: Vec::new(),
                ack: Ack {
                    consumer: request.consumer.clone(),
                    lake: reading.location.clone(),
                    partitions: BTreeMap::new(),
                },
            },
        }
    }

    fn is_full(&self) -> bool {
        self.report.partitions.len() >= self.limit
    }

    async fn remove(&mut self, key: &PartitionKey, from: u64) -> Result<(), PipelineError> {
        if self.is_full() {
            self.report.more += 1;
            return Ok(());
        }
        let tables = Table::ALL.map(|table| ChangedTable {
            table,
            rows: 0,
            files: Vec::new(),
            old_files: Vec::new(),
        });
        self.push(
            key.clone(),
            Change::Removed,
            Some(from),
            None,
            tables.into(),
        );
        Ok(())
    }

    async fn add(&mut self, current: CurrentFiles, from: Option<u64>) -> Result<(), PipelineError> {
        let Some(readable) = current.readable else {
            self.report.unreadable.push(current.key.to_string());
            return Ok(());
        };
        // The newest one is not in place yet, and the consumer holds the one before.
        if from == Some(readable.revision) {
            return Ok(());
        }
        if self.is_full() {
            self.report.more += 1;
            return Ok(());
        }
        let (key, to) = (current.key, readable.revision);
        let old = match from {
            Some(from) => self.lake.files_of_revision(&key, from).await?,
            None => None,
        };
        let tables = match &old {
            Some(old) => changed_tables(old, &readable.files, ChangedTable::is_changed),
            // Whatever it held before: nothing is known of it, so everything is loaded.
            None => changed_tables(&[], &readable.files, |_| true),
        };
        if tables.is_empty() {
            self.report.unchanged += 1;
            self.acknowledge(&key, from, Some(to));
            return Ok(());
        }
        let change = match (from, readable.files.is_empty()) {
            (None, _) => Change::New,
            (Some(_), true) => Change::Emptied,
            (Some(_), false) => Change::Replaced,
        };
        self.push(key, change, from, Some(to), tables);
        Ok(())
    }

    fn push(
        &mut self,
        key: PartitionKey,
        change: Change,
        from: Option<u64>,
        to: Option<u64>,
        tables: Vec<ChangedTable>,
    ) {
        self.acknowledge(&key, from, to);
        self.report.partitions.push(ChangedPartition {
            partition: key.to_string(),
            change,
            from,
            to,
            tables,
            key,
        });
    }

    fn acknowledge(&mut self, key: &PartitionKey, from: Option<u64>, to: Option<u64>) {
        let partitions = &mut self.report.ack.partitions;
        partitions.insert(key.to_string(), (from, to));
    }
}

impl ChangedTable {
    fn is_changed(&self) -> bool {
        // A path is never used again for other bytes.
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (self.old_files.iter().collect(), self.files.iter().collect());
        old != new
    }
}

fn changed_tables(
    old: &[DataFile],
    new: &[DataFile],
    is_wanted: impl Fn(&ChangedTable) -> bool,
) -> Vec<ChangedTable> {
    let paths = |files: &[DataFile], table| -> Vec<String> {
        let files = files.iter().filter(|file| file.table == table);
        files.map(|file| file.path.clone()).collect()
    };
    let rows = |table| {
        let files = new.iter().filter(|file| file.table == table);
        files.map(|file| file.rows).sum()
    };
    let tables = Table::ALL.map(|table| ChangedTable {
        table,
        rows: rows(table),
        files: paths(new, table),
        old_files: paths(old, table),
    });
    tables.into_iter().filter(is_wanted).collect()
}

/// Notes that a consumer holds what a listing said. Repeating it changes nothing.
///
/// # Errors
/// When the listing is another consumer's or another lake's, or the lake cannot be written.
pub async fn acknowledge(
    config: &PipelineConfig,
    consumer: &ConsumerName,
    ack: &Ack,
) -> Result<AckReport, PipelineError> {
    let refused = |reason: String| PipelineError::Usage { reason, hint: None };
    if ack.consumer != *consumer {
        return Err(refused(format!(
            "what is to be acknowledged is consumer `{}`'s, not `{consumer}`'s",
            ack.consumer
        )));
    }
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    if lake.pinned().await?.is_none() {
        return Err(PipelineError::NoLake {
            url: config.lake.url.to_string(),
        });
    }
    let location = lake.store().absolute_url();
    if ack.lake != location {
        return Err(refused(format!(
            "what is to be acknowledged was listed of the lake at `{}`, not of the one at `{location}`",
            ack.lake
        )));
    }
    let mut moves = Vec::with_capacity(ack.partitions.len());
    for (partition, (from, to)) in &ack.partitions {
        let key = PartitionKey::parse(partition)
            .ok_or_else(|| refused(format!("`{partition}` is no partition")))?;
        moves.push(Move {
            key,
            from: *from,
            to: *to,
        });
    }
    let Acknowledged {
        moved,
        unchanged,
        contested,
        ..
    } = lake.acknowledge(consumer, &moves).await?;
    Ok(AckReport {
        lake: config.lake.url.to_string(),
        consumer: consumer.clone(),
        acknowledged: moved,
        unchanged,
        contested: contested.iter().map(ToString::to_string).collect(),
    })
}
