//! `verify --against-source`: settled partitions are exported again and compared with what the lake holds of them,
//! record by record. Nothing is written to the lake, a job in flight neither.
//!
//! Both sides go the same way, through the decoder: the fragments as they come, and the partition's records as they are
//! restored. So records are the same where a run would take them for the same. Memory holds 50 bytes for each record
//! of a partition.

// What is said of it.
mod report;

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use answerlake_extract::{
    ErrorKind, ExportClient, ExtractConfig, ExtractError, FetchedFragment, FinishedJob, NoStore,
};
use answerlake_load::{Lake, LakeStore, PartitionState};
use answerlake_model::{PartitionKey, Window};
use answerlake_transform::{
    AppAssignment, DecodeConfig, DecodedBlock, Decoder, Hash, PromptLayout,
};
use futures::{StreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bridge::{on_its_own_thread, open};
use crate::config::PipelineConfig;
use crate::error::{PipelineError, chain};
use crate::plan::{Range, to_delta};
use crate::restore::{RecordWriter, RestoreFormat, restore_partition};
use crate::scratch::Scratch;
use crate::tombstones::Tombstones;
use crate::workbench::RunContext;

pub use report::{Comparison, Differences, Example, SourceReport};

/// Fragments that wait, downloaded, for the one being read.
const FRAGMENTS_AHEAD: usize = 4;

/// Records that are told of each way to differ.
const EXAMPLES: usize = 5;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct SourceRequest {
    /// Which partitions; all that are settled, where it says nothing.
    pub range: Range,
    /// How many of a hundred of them, at least one; all where absent. They are drawn anew each day.
    pub sample_percent: Option<f64>,
}

/// Exports settled partitions again and compares them with the lake.
///
/// # Errors
/// When the range is none, there is no lake, the lake cannot be read, or the source refuses us. Why a partition could
/// not be compared is in the report otherwise.
pub async fn verify_against_source(
    config: &PipelineConfig,
    extract: &ExtractConfig,
    request: &SourceRequest,
    context: &RunContext,
) -> Result<SourceReport, PipelineError> {
    tokio::select! {
        biased;
        // What was fetched goes with its scratch.
        () = context.stop.cancelled() => Err(PipelineError::Stopped),
        done = compare_all(config, extract, request, context) => done,
    }
}

async fn compare_all(
    config: &PipelineConfig,
    extract: &ExtractConfig,
    request: &SourceRequest,
    context: &RunContext,
) -> Result<SourceReport, PipelineError> {
    let client = ExportClient::try_new(extract.clone())?;
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    lake.check_pin(&config.lake_pin()).await?;
    if lake.pinned().await?.is_none() {
        return Err(PipelineError::NoLake {
            url: config.lake.url.to_string(),
        });
    }
    let Settled { states, unsettled } = settled(&lake, config, extract, &request.range).await?;
    let committed = states.len();
    let drawn = sample(states, request.sample_percent, context);
    let scratch = config.run.scratch.as_deref();
    let against = Against {
        config,
        extract,
        client,
        decoder: Arc::new(decoder(&lake, config, extract).await?),
        scratch: Scratch::try_new(scratch.unwrap_or(&context.default_scratch))?,
        lake,
    };
    let compared = drawn
        .into_iter()
        .map(|(key, state)| against.compare(key, state));
    let mut compared = stream::iter(compared).buffered(extract.jobs.concurrency);
    let mut comparisons = Vec::new();
    while let Some(comparison) = compared.next().await {
        comparisons.push(comparison?);
    }
    let requests = against.client.stats().requests;
    Ok(SourceReport::new(
        config.lake.url.to_string(),
        committed,
        unsettled,
        comparisons,
        requests,
    ))
}

/// What is committed in a range.
struct Settled {
    states: Vec<(PartitionKey, PartitionState)>,
    /// How many partitions the next runs read again anyway.
    unsettled: usize,
}

async fn settled(
    lake: &Lake,
    config: &PipelineConfig,
    extract: &ExtractConfig,
    range: &Range,
) -> Result<Settled, PipelineError> {
    let grain = config.lake.grain;
    let heads = lake.heads(Some(&extract.source.app_id), None).await?;
    let mut keys: Vec<PartitionKey> = heads.into_keys().collect();
    keys.retain(|key| key.grain() == grain);
    let mut found = Settled {
        states: Vec::new(),
        unsettled: 0,
    };
    let (Some(first), Some(last)) = (keys.iter().min(), keys.iter().max()) else {
        return Ok(found);
    };
    let until = last.window().end();
    let window = range.resolve(grain, Some(first.start()), until)?;
    keys.retain(|key| window.contains(key.start()));
    keys.sort();
    for key in keys {
        let Some(state) = lake.state(&key).await? else {
            continue;
        };
        if state.manifest.provisional || state.manifest.partial || state.is_broken() {
            found.unsettled += 1;
        } else {
            found.states.push((key, state));
        }
    }
    Ok(found)
}

/// Draws some of the partitions: others each day, the same all day.
fn sample(
    states: Vec<(PartitionKey, PartitionState)>,
    percent: Option<f64>,
    context: &RunContext,
) -> Vec<(PartitionKey, PartitionState)> {
    let Some(percent) = percent else {
        return states;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a count of partitions, times at most one"
    )]
    let wanted = (states.len() as f64 * percent / 100.0).ceil() as usize;
    let day = context.now.date_naive();
    let mut ranked: Vec<_> = states
        .into_iter()
        .map(|(key, state)| (Sha256::digest(format!("{day} {key}")), key, state))
        .collect();
    ranked.sort_by_key(|(rank, ..)| *rank);
    ranked.truncate(wanted);
    let mut drawn: Vec<_> = ranked
        .into_iter()
        .map(|(_, key, state)| (key, state))
        .collect();
    drawn.sort_by(|(one, _), (other, _)| one.cmp(other));
    drawn
}

/// Both sides without who is forgotten: the source still has them.
async fn decoder(
    lake: &Lake,
    config: &PipelineConfig,
    extract: &ExtractConfig,
) -> Result<Decoder, PipelineError> {
    Ok(Decoder::new(DecodeConfig {
        forgotten: Tombstones::read(lake).await?.forgotten(),
        grain: config.lake.grain,
        prompt: PromptLayout::default(),
        masking: config.masking()?,
        max_record_bytes: config.run.max_record_bytes,
        ..DecodeConfig::new(AppAssignment::Fixed(extract.source.app_id.clone()))
    }))
}

struct Against<'a> {
    config: &'a PipelineConfig,
    extract: &'a ExtractConfig,
    client: ExportClient,
    decoder: Arc<Decoder>,
    scratch: Scratch,
    lake: Lake,
}

impl Against<'_> {
    /// Compares a partition; only what fails for all partitions is an error.
    async fn compare(
        &self,
        key: PartitionKey,
        state: PartitionState,
    ) -> Result<Comparison, PipelineError> {
        tracing::info!(partition = %key, revision = state.revision, "exported again to be compared");
        match self.differences(&key, &state).await {
            Ok(differences) => Ok(Comparison::of(&key, state.revision, differences)),
            Err(PipelineError::Extract(error))
                if matches!(error.kind(), ErrorKind::Refused | ErrorKind::Configuration) =>
            {
                Err(error.into())
            }
            Err(error) => {
                tracing::warn!(partition = %key, error = chain(&error), "not compared");
                Ok(Comparison::failed(&key, state.revision, &error))
            }
        }
    }

    async fn differences(
        &self,
        key: &PartitionKey,
        state: &PartitionState,
    ) -> Result<Differences, PipelineError> {
        let folder = self.scratch.subfolder()?;
        let held = self.restore(key, state, folder.path()).await?;
        let request = self.extract.source.request(self.asked(key));
        // The lake is not touched, not even by a job in flight.
        let job = self.client.run_job(&request, &NoStore).await?;
        let job = job.expect("no store says that the request is not wanted");
        let (ready, fragments) = tokio::sync::mpsc::channel(FRAGMENTS_AHEAD);
        let comparing = Comparing {
            key: key.clone(),
            decoder: Arc::clone(&self.decoder),
            held,
            job_id: job.record.job_id.to_string(),
            promised: job.total_records,
        };
        let comparing = on_its_own_thread(move || comparing.run(fragments));
        let fetching = self.fetch(&job, folder.path(), ready);
        let (fetched, compared) = tokio::join!(fetching, comparing);
        match (fetched, compared) {
            // The download stopped because nobody reads it any more; why, the reader knows.
            (Err(PipelineError::Extract(ExtractError::ReceiverGone)), Err(error)) => Err(error),
            (Err(error), _) => Err(error),
            (Ok(()), compared) => compared,
        }
    }

    async fn fetch(
        &self,
        job: &FinishedJob,
        folder: &Path,
        ready: tokio::sync::mpsc::Sender<FetchedFragment>,
    ) -> Result<(), PipelineError> {
        Ok(self.client.fetch_fragments(job, folder, ready).await?)
    }

    fn asked(&self, key: &PartitionKey) -> Window {
        key.window().widen(to_delta(self.config.window.margin))
    }

    /// Writes the records that the partition holds to a file.
    async fn restore(
        &self,
        key: &PartitionKey,
        state: &PartitionState,
        folder: &Path,
    ) -> Result<PathBuf, PipelineError> {
        let path = folder.join("held.json");
        let failed = |source| PipelineError::Scratch {
            action: "write",
            path: path.clone(),
            source,
        };
        let files = self.lake.hold(key, state, folder).await?;
        let files = files.ok_or_else(|| PipelineError::CommittedMeanwhile {
            partition: key.clone(),
            revision: state.revision + 1,
        })?;
        let out = BufWriter::new(File::create_new(&path).map_err(failed)?);
        let writer = RecordWriter::new(out, RestoreFormat::Json);
        let writer = restore_partition(key, state, files, folder, writer).await?;
        writer.finish().map_err(failed)?;
        Ok(path)
    }
}

/// Is given the partition, the identity, the hash and the JSON of a record.
type TakeRecord<'t> = dyn FnMut(&PartitionKey, Hash, Hash, &[u8]) + 't;

/// One partition, compared.
struct Comparing {
    key: PartitionKey,
    decoder: Arc<Decoder>,
    /// The records that the lake holds.
    held: PathBuf,
    job_id: String,
    promised: Option<u64>,
}

/// A record of the lake, and whether the source was seen to have it.
struct Held {
    hash: Hash,
    seen: Seen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    /// With another value.
    Other,
    Same,
}

impl Comparing {
    fn run(
        &self,
        mut fragments: tokio::sync::mpsc::Receiver<FetchedFragment>,
    ) -> Result<Differences, PipelineError> {
        let mut held = HashMap::new();
        self.each_record(&self.held, true, &mut |_, identity, hash, _| {
            let seen = Seen::No;
            held.insert(identity, Held { hash, seen });
        })?;
        let mut differences = Differences {
            lake_records: held.len() as u64,
            ..Differences::default()
        };
        let mut new = HashMap::new();
        // What the source has of records that differ, by identity.
        let mut others = HashMap::new();
        let mut decoded = 0;
        while let Some(fragment) = fragments.blocking_recv() {
            let records =
                self.each_record(&fragment.path, false, &mut |key, identity, hash, json| {
                    if *key != self.key {
                        return;
                    }
                    match held.get_mut(&identity) {
                        Some(held) if held.hash == hash => held.seen = Seen::Same,
                        Some(held) if held.seen != Seen::Same => {
                            held.seen = Seen::Other;
                            others.insert(identity, others_json(others.len(), json));
                        }
                        Some(_) => {}
                        None => {
                            let example = (new.len() < EXAMPLES).then(|| Example::of(json));
                            new.entry(identity).or_insert(example);
                        }
                    }
                })?;
            if let Some(promised) = fragment
                .promised_records
                .filter(|promised| *promised != records)
            {
                return Err(PipelineError::WrongRecordCount {
                    origin: format!("fragment {} of job `{}`", fragment.position, self.job_id),
                    promised,
                    decoded: records,
                });
            }
            decoded += records;
            // Its records are compared; a day may be larger than the disk.
            drop(std::fs::remove_file(&fragment.path));
        }
        if let Some(promised) = self.promised.filter(|promised| *promised > decoded) {
            return Err(PipelineError::WrongRecordCount {
                origin: format!("job `{}`", self.job_id),
                promised,
                decoded,
            });
        }
        let count = |seen| held.values().filter(|held| held.seen == seen).count() as u64;
        differences.only_in_source = new.len() as u64;
        differences.only_in_lake = count(Seen::No);
        differences.changed = count(Seen::Other);
        differences.source_records =
            differences.lake_records - differences.only_in_lake + differences.only_in_source;
        differences.examples_only_in_source = new.into_values().flatten().collect();
        self.tell(&held, &others, &mut differences)?;
        Ok(differences)
    }

    /// Looks up some of the records that differ on the side of the lake.
    fn tell(
        &self,
        held: &HashMap<Hash, Held>,
        others: &HashMap<Hash, Option<Value>>,
        differences: &mut Differences,
    ) -> Result<(), PipelineError> {
        if differences.only_in_lake + differences.changed == 0 {
            return Ok(());
        }
        self.each_record(
            &self.held,
            true,
            &mut |_, identity, _, json| match held.get(&identity) {
                Some(Held { seen: Seen::No, .. })
                    if differences.examples_only_in_lake.len() < EXAMPLES =>
                {
                    differences.examples_only_in_lake.push(Example::of(json));
                }
                Some(Held {
                    seen: Seen::Other, ..
                }) if differences.examples_changed.len() < EXAMPLES => {
                    if let Some(Some(other)) = others.get(&identity) {
                        let example = Example::of(json).with_members(json, other);
                        differences.examples_changed.push(example);
                    }
                }
                _ => {}
            },
        )?;
        Ok(())
    }

    /// Decodes a file, and gives partition, identity, hash and JSON of each record to `take`; gives how many records
    /// there were, those among them that cannot be loaded.
    fn each_record(
        &self,
        path: &Path,
        is_held: bool,
        take: &mut TakeRecord<'_>,
    ) -> Result<u64, PipelineError> {
        let of_fragment = |source| PipelineError::Fragment {
            origin: format!("an export of `{}`", self.key),
            source,
        };
        let unreadable = |source| of_fragment(answerlake_transform::FragmentError::Read(source));
        let mut decoder = Arc::clone(&self.decoder);
        if is_held {
            decoder = Arc::new(decoder.of_masked().of_held());
        }
        let mut records = 0;
        for block in decoder.blocks(open(path, None).map_err(unreadable)?) {
            let block: DecodedBlock = decoder.decode(block.map_err(of_fragment)?, 1);
            records += block.decoded;
            for partition in &block.partitions {
                for record in &partition.records {
                    let json = &block.bytes[record.range.clone()];
                    take(&partition.key, record.identity, record.hash, json);
                }
            }
        }
        Ok(records)
    }
}

/// The JSON of a record that differs, while few are known.
fn others_json(known: usize, json: &[u8]) -> Option<Value> {
    (known < 2 * EXAMPLES)
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}
