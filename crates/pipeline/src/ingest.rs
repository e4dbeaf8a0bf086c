//! `ingest`: fragments that are at hand, without the source.
//!
//! Nothing proves that loose fragments are a whole export, so partitions that are new are committed as *partial*: a run
//! that covers them reads them again. Those that are committed get a revision with what they hold and what is brought.
//! Landings are proven whole by their manifests, and taken in one by one, the oldest job first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use answerlake_model::{AppId, PartitionKey, Window};
use answerlake_transform::{AppAssignment, FragmentError};
use chrono::{DateTime, TimeDelta, Utc};

use crate::bridge::{Fragment, OriginKind, on_its_own_thread};
use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::landed::{self, Landed, TakenIn};
use crate::reconcile::{JobFacts, reconcile};
use crate::report::{RunReport, Tally};
use crate::strays::join_strays;
use crate::taken_up::{self, TakenUp};
use crate::union::Union;
use crate::workbench::{RunContext, Workbench};

/// Where dead letters are kept whose app is not known.
const UNASSIGNED: &str = "unassigned";

/// What is ingested.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Files, folders of files, and patterns such as `day-*/part-*.json`; read in this order, and within a folder or a
    /// pattern by name. Of folders and addresses with landings, these.
    pub paths: Vec<String>,
    /// Whether partitions are replaced by what landings hold, as the runs did that fetched them, not joined with it.
    pub replace: bool,
}

/// Brings fragments into the lake.
///
/// # Errors
/// When nothing is found to ingest, a fragment is none, or the lake cannot be opened. What fails at the commit of a
/// partition is in the report.
pub async fn ingest(
    config: &PipelineConfig,
    request: &IngestRequest,
    context: &RunContext,
) -> Result<RunReport, PipelineError> {
    let (landings, files) = find(config, request).await?;
    let bench = Workbench::open(config, context, 1).await?;
    context
        .progress
        .plan(landings.len() + usize::from(!files.is_empty()));
    let mut tally = Tally::default();
    take_in(&bench, &landings, &mut tally).await?;
    if !files.is_empty() {
        ingest_files(&bench, files, &mut tally).await?;
    }
    Ok(tally.finish(context.run_id.as_str(), context.now, Utc::now()))
}

/// Takes in landings. One that fails does not stop the others.
async fn take_in(
    bench: &Workbench<'_>,
    landings: &[Landed],
    tally: &mut Tally,
) -> Result<(), PipelineError> {
    // Of the jobs that brought a partition, the last says what became of it.
    let mut partitions = BTreeMap::new();
    for landed in landings {
        let window = landed.manifest.window;
        let progress = bench.context.progress.begin(Some(window));
        let bytes: u64 = landed
            .manifest
            .fragments
            .iter()
            .map(|kept| kept.bytes)
            .sum();
        progress.reading(bytes);
        let taken_in = landed.take_in(bench, &progress).await;
        let keys = landed.keys(bench);
        let failed_with_it = taken_in.as_ref().map_or(keys.len(), |_| 0);
        bench.context.progress.end(&progress, failed_with_it);
        match taken_in {
            Err(PipelineError::IngestStopped) => return Err(PipelineError::IngestStopped),
            Err(error) => {
                tracing::error!(%window, error = crate::error::chain(&error), "landing failed");
                tally.fail(&keys, &error);
            }
            Ok(TakenIn {
                books,
                partitions: committed,
            }) => {
                tally.add_jobs(&books);
                tally.totals.bytes_fetched += bytes;
                partitions.extend(committed);
            }
        }
    }
    let apps: BTreeSet<&AppId> = landings
        .iter()
        .map(|landed| &landed.manifest.app_id)
        .collect();
    // As a run does when it has done all else: what came with another day's window joins its own.
    let ever = Window::try_new(DateTime::UNIX_EPOCH, bench.context.now + TimeDelta::days(1));
    let ever = ever.expect("the epoch is over");
    for app_id in apps {
        partitions.extend(join_strays(bench, app_id, &ever).await?);
    }
    for (key, outcome) in partitions {
        tally.add_partition(&key, outcome);
    }
    Ok(())
}

async fn ingest_files(
    bench: &Workbench<'_>,
    files: Vec<PathBuf>,
    tally: &mut Tally,
) -> Result<(), PipelineError> {
    let (config, context) = (bench.config, bench.context);
    let folder = bench.scratch.subfolder()?;
    let unnamed = AppId::try_new(UNASSIGNED).expect("it is a valid id");
    let fallback = bench.partition_of_today(config.app_id.clone().unwrap_or(unnamed));
    let app = config
        .app_id
        .clone()
        .map_or(AppAssignment::FromRecords, AppAssignment::Fixed);
    let bytes_fetched = files
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|file| file.len())
        .sum();
    let letters = folder.path().to_owned();
    let fragments = on_its_own_thread(move || fragments_of(files, &letters)).await?;
    tracing::info!(
        fragments = fragments.len(),
        bytes = bytes_fetched,
        "ingesting"
    );

    let progress = context.progress.begin(None);
    progress.reading(bytes_fetched);
    let assembly = bench.assembly(
        app.clone(),
        None,
        fallback.clone(),
        folder.path(),
        &progress,
    );
    let (brought, number) = (fragments.clone(), fragments.len() as u32 + 1);
    let assembled = on_its_own_thread(move || assembly.run(brought.into_iter()))
        .await
        .map_err(of_file_at_hand)?;
    let mut assembled = bench.refuse_if_none_loaded(assembled).await?;
    let union = Union::find(&bench.lake, &assembled).await?;
    if !union.is_empty() {
        // Once more, with what these partitions hold. The files made before are of no use.
        drop(assembled);
        let folder = bench.scratch.subfolder()?;
        let held = union.restore(&bench.lake, folder.path(), number).await?;
        let assembly = bench.assembly(app, None, fallback, folder.path(), &progress);
        let all = held.into_iter().chain(fragments).collect::<Vec<_>>();
        let again = on_its_own_thread(move || assembly.run(all.into_iter())).await;
        assembled = again.map_err(of_file_at_hand)?;
        assembled.folders.push(Arc::new(folder));
    }
    let books = reconcile(vec![JobFacts::default()], &assembled)?;
    if context.stop.is_cancelled() {
        return Err(PipelineError::IngestStopped);
    }
    let partitions = bench
        .commit_all(
            assembled,
            &books,
            |key: &PartitionKey| union.commit_as(key),
            &progress,
        )
        .await?;
    context.progress.end(&progress, 0);

    tally.add_jobs(&books);
    tally.totals.bytes_fetched += bytes_fetched;
    for (key, outcome) in partitions {
        tally.add_partition(&key, outcome);
    }
    Ok(())
}

/// The files as fragments; of dead letters, the records that they keep.
fn fragments_of(files: Vec<PathBuf>, folder: &Path) -> Result<Vec<Fragment>, PipelineError> {
    let mut fragments = Vec::with_capacity(files.len());
    for (path, number) in files.into_iter().zip(1..) {
        let unreadable = |source| PipelineError::ReadConfig {
            path: path.clone(),
            source,
        };
        let is_taken_up = taken_up::is_taken_up(&path).map_err(unreadable)?;
        let origin = path.display().to_string();
        let (path, origin_kind) = if is_taken_up {
            let records = folder.join(format!("taken-up-{number}.json"));
            let TakenUp { masking, withheld } =
                taken_up::write_records(&path, &records).map_err(unreadable)?;
            if withheld > 0 {
                tracing::warn!(
                    file = origin,
                    letters = withheld,
                    "dead letters whose records were withheld cannot be taken up"
                );
            }
            let app_id = app_of(&path);
            (records, OriginKind::TakenUp { app_id, masking })
        } else {
            (path, OriginKind::Brought)
        };
        fragments.push(Fragment {
            number,
            position: number,
            path,
            origin,
            promised_records: None,
            origin_kind,
        });
    }
    Ok(fragments)
}

/// The app that a file in a lake belongs to, by the folders it lies in.
fn app_of(path: &Path) -> Option<AppId> {
    let folders = path.components().rev();
    let mut names = folders.filter_map(|folder| folder.as_os_str().to_str());
    let app_id = names.find_map(|name| name.strip_prefix("app_id="))?;
    AppId::try_new(app_id)
        .ok()
        .filter(|app_id| app_id.as_str() != UNASSIGNED)
}

/// A file at hand is what it is: unlike a fragment of a job, it is not fetched again.
fn of_file_at_hand(error: PipelineError) -> PipelineError {
    match error {
        PipelineError::Fragment {
            origin,
            source: FragmentError::Read(source),
        } => PipelineError::ReadConfig {
            path: origin.into(),
            source,
        },
        PipelineError::Fragment { origin, source } => PipelineError::FileAtHand {
            path: origin.into(),
            source,
        },
        other => other,
    }
}

/// The landings that the paths name, the oldest job first, and the loose files. None is passed over for not being
/// readable.
async fn find(
    config: &PipelineConfig,
    request: &IngestRequest,
) -> Result<(Vec<Landed>, Vec<PathBuf>), PipelineError> {
    let mut landings = Vec::new();
    let mut files = Vec::new();
    for pattern in &request.paths {
        let path = Path::new(pattern);
        if pattern.contains("://") || path.is_dir() {
            let found = landed::find(config.lake.url.beside(pattern), request.replace).await?;
            if !found.is_empty() {
                landings.extend(found);
                continue;
            }
        }
        if request.replace {
            return Err(PipelineError::NoLanding {
                pattern: pattern.clone(),
            });
        }
        let found = if path.is_file() {
            vec![path.to_owned()]
        } else if path.is_dir() {
            files_in(path)?
        } else {
            files_like(pattern)?
        };
        if found.is_empty() {
            return Err(PipelineError::NothingToIngest {
                pattern: pattern.clone(),
            });
        }
        files.extend(found);
    }
    landings.sort_by_key(|landed| landed.manifest.posted_at);
    Ok((landings, files))
}

/// The files that a pattern matches, by name.
fn files_like(pattern: &str) -> Result<Vec<PathBuf>, PipelineError> {
    let matches = glob::glob(pattern).map_err(|error| PipelineError::InvalidPattern {
        pattern: pattern.to_owned(),
        reason: error.msg,
        position: error.pos,
    })?;
    let mut files = Vec::new();
    for path in matches {
        let path = path.map_err(|error| PipelineError::ReadConfig {
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if is_file(&path)? {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files of a folder that are named as fragments are, by name.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, PipelineError> {
    const ENDINGS: [&str; 6] = [
        ".json",
        ".json.gz",
        ".json.zst",
        ".ndjson",
        ".ndjson.gz",
        ".ndjson.zst",
    ];
    let failed = |source| PipelineError::ReadConfig {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) && is_file(&path)? {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether it is a file; one that cannot be looked at, such as a link to nowhere, is an error.
fn is_file(path: &Path) -> Result<bool, PipelineError> {
    let metadata = path
        .metadata()
        .map_err(|source| PipelineError::ReadConfig {
            path: path.to_owned(),
            source,
        })?;
    Ok(metadata.is_file())
}
