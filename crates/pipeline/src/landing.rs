//! What jobs bring, kept in the lake as it was fetched: `[landing]`.
//!
//! A landing is a folder of one job: what the job says of itself, its fragments, each compressed by zstd as it came
//! over the wire, and a manifest. Fragments are kept one by one while others are still downloaded, and the manifest once
//! the books of the job balance: a landing that has one is whole, and can stand for its job ever after.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use answerlake_extract::{BoxError, EventFilter, FetchedFragment, FinishedJob, LandingSink};
use answerlake_load::location::landed_fragment_name;
use answerlake_load::{Lake, LandingFolder, LoadError, location};
use answerlake_model::{AppId, JobBooks, JobId, RunId, Window};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::to_delta;
use crate::workbench::RunContext;

const FORMAT_VERSION: u32 = 1;
const COMPRESSION_LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;
/// The name of what the job says of itself.
const JOB: &str = "job.json";

/// What is in a landing that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LandingManifest {
    pub(crate) format_version: u32,
    pub(crate) app_id: AppId,
    /// The window that was wanted.
    pub(crate) window: Window,
    /// The range that was asked for, margin included.
    pub(crate) asked: Window,
    /// Only records of this event; all when absent.
    pub(crate) event: Option<EventFilter>,
    pub(crate) job_id: JobId,
    /// When the job was asked for: its records are as of this time.
    pub(crate) posted_at: DateTime<Utc>,
    /// `store.totalRecords`; older jobs do not tell.
    pub(crate) promised: Option<u64>,
    /// Records that were met in the fragments.
    pub(crate) decoded: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) export_millis: Option<u64>,
    /// In the order of the job.
    pub(crate) fragments: Vec<LandedFragment>,
    pub(crate) run_id: RunId,
    pub(crate) program_version: String,
}

/// A fragment of a landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LandedFragment {
    /// Its file in the folder.
    pub(crate) name: String,
    /// `recordCount`; older jobs do not tell.
    pub(crate) promised_records: Option<u64>,
    /// Its bytes as they were fetched, before they were compressed.
    pub(crate) bytes: u64,
    /// The SHA-256 of these bytes.
    pub(crate) sha256: String,
}

impl LandingManifest {
    pub(crate) fn from_json(folder: &LandingFolder, json: &[u8]) -> Result<Self, PipelineError> {
        let unusable = |reason: String| PipelineError::Landing {
            folder: folder.to_string(),
            reason,
        };
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| unusable(format!("its manifest is none: {error}")))?;
        if manifest.format_version != FORMAT_VERSION {
            let got = manifest.format_version;
            let reason = format!("expected format version {FORMAT_VERSION}, got {got}");
            return Err(unusable(reason));
        }
        Ok(manifest)
    }
}

/// Keeps what one job of a window brings.
pub(crate) struct WindowLanding {
    lake: Lake,
    window: Window,
    folder: LandingFolder,
    /// Holds files in the making; they are gone when they are in the lake.
    scratch: PathBuf,
    fragments: Mutex<BTreeMap<usize, LandedFragment>>,
}

impl WindowLanding {
    /// Keeps in the lake what `job` brings for `window`; makes files in `scratch`.
    pub(crate) fn new(lake: Lake, window: Window, job: &FinishedJob, scratch: &Path) -> Self {
        let request = &job.record.request;
        Self {
            lake,
            window,
            folder: LandingFolder::new(&request.app_id, window, &job.record.job_id),
            scratch: scratch.to_owned(),
            fragments: Mutex::default(),
        }
    }

    /// Says that all is there, once the books of the job balance.
    pub(crate) async fn complete(
        &self,
        job: &FinishedJob,
        books: &JobBooks,
        context: &RunContext,
    ) -> Result<(), LoadError> {
        let request = &job.record.request;
        let manifest = LandingManifest {
            format_version: FORMAT_VERSION,
            app_id: request.app_id.clone(),
            window: self.window,
            asked: request.range,
            event: request.event,
            job_id: job.record.job_id.clone(),
            posted_at: job.record.posted_at,
            promised: job.total_records,
            decoded: books.decoded,
            export_millis: books.export_millis,
            fragments: self.lock().values().cloned().collect(),
            run_id: context.run_id.clone(),
            program_version: context.program_version.clone(),
        };
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is valid JSON");
        let name = location::LANDING_MANIFEST;
        self.lake.land(&self.folder, name, json.into()).await?;
        tracing::debug!(folder = %self.folder, fragments = manifest.fragments.len(), "fragments kept");
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, LandedFragment>> {
        self.fragments
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl LandingSink for WindowLanding {
    async fn job(&self, job: &FinishedJob) -> Result<(), BoxError> {
        let json = Bytes::from(job.reply.clone());
        Ok(self.lake.land(&self.folder, JOB, json).await?)
    }

    async fn fragment(&self, job_id: &JobId, fragment: &FetchedFragment) -> Result<(), BoxError> {
        let name = landed_fragment_name(fragment.position);
        // The jobs of one window share their scratch.
        let in_scratch = format!("{job_id}-{name}");
        let (from, to) = (fragment.path.clone(), self.scratch.join(in_scratch));
        let compressed = to.clone();
        let sha256 = tokio::task::spawn_blocking(move || compress(&from, &compressed));
        let sha256 = sha256.await??;
        self.lake.land_file(&self.folder, &name, &to).await?;
        tokio::fs::remove_file(&to).await?;
        let landed = LandedFragment {
            name,
            promised_records: fragment.promised_records,
            bytes: fragment.bytes,
            sha256,
        };
        self.lock().insert(fragment.position, landed);
        Ok(())
    }
}

/// Compresses a file into a new one; gives the SHA-256 of what it holds.
fn compress(from: &Path, to: &Path) -> io::Result<String> {
    let mut bytes = BufReader::with_capacity(BUFFER_BYTES, File::open(from)?);
    let mut out = zstd::Encoder::new(File::create(to)?, COMPRESSION_LEVEL)?;
    out.include_checksum(true)?;
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = bytes.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        io::Write::write_all(&mut out, &buffer[..read])?;
    }
    out.finish()?;
    Ok(hex::encode(sha256.finalize()))
}

/// Removes landings that are older than the settings want them. One that cannot be removed now is by a later run.
pub(crate) async fn clear_old(
    lake: &Lake,
    config: &PipelineConfig,
    app_id: &AppId,
    now: DateTime<Utc>,
) {
    let Some(retention) = config.landing.retention else {
        return;
    };
    match lake.clear_landings(app_id, now - to_delta(retention)).await {
        Ok(0) => {}
        Ok(landings) => tracing::info!(landings, "old fragments removed"),
        Err(error) => {
            tracing::warn!(
                error = crate::error::chain(&error),
                "old fragments cannot be removed"
            );
        }
    }
}
