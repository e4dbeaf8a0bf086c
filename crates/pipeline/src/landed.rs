//! Landings, taken in again: what a job brought once becomes what a run made of it, without the source.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use answerlake_load::{FoundLanding, LakeAddress, Landings, OnCommitted};
use answerlake_model::{JobBooks, PartitionKey, Window};
use answerlake_transform::AppAssignment;
use sha2::{Digest, Sha256};

use crate::assemble::{Assembled, AssembledPartition};
use crate::bridge::{Exported, Fragment, OriginKind, on_its_own_thread};
use crate::config::OnShrink;
use crate::error::PipelineError;
use crate::landing::{LandedFragment, LandingManifest};
use crate::plan::to_delta;
use crate::progress::WindowProgress;
use crate::reconcile::{JobFacts, reconcile};
use crate::strays::Strays;
use crate::union::Union;
use crate::workbench::{CommitAs, PartitionOutcome, Workbench};

/// A landing that is to be taken in.
pub(crate) struct Landed {
    landings: Arc<Landings>,
    found: FoundLanding,
    pub(crate) manifest: LandingManifest,
    /// Whether partitions are committed as the run did that fetched it, not joined with what they hold.
    pub(crate) replaces: bool,
}

/// What was made of a landing.
pub(crate) struct TakenIn {
    pub(crate) books: Vec<JobBooks>,
    pub(crate) partitions: Vec<(PartitionKey, PartitionOutcome)>,
}

/// The landings below a folder or an address, the oldest job first.
pub(crate) async fn find(
    address: LakeAddress,
    replaces: bool,
) -> Result<Vec<Landed>, PipelineError> {
    let landings = Arc::new(Landings::open(address).await?);
    let mut all = Vec::new();
    for found in landings.find().await? {
        let manifest = LandingManifest::from_json(&found.folder, &found.manifest)?;
        all.push(Landed {
            landings: Arc::clone(&landings),
            found,
            manifest,
            replaces,
        });
    }
    Ok(all)
}

impl Landed {
    /// The partitions that the window covers.
    pub(crate) fn keys(&self, bench: &Workbench<'_>) -> Vec<PartitionKey> {
        let (app_id, grain) = (&self.manifest.app_id, bench.config.lake.grain);
        let slots = self.manifest.window.slots(grain);
        slots
            .map(|slot| PartitionKey::new(app_id.clone(), slot, grain))
            .collect()
    }

    /// Makes of it what a run made of it, and commits that.
    pub(crate) async fn take_in(
        &self,
        bench: &Workbench<'_>,
        progress: &Arc<WindowProgress>,
    ) -> Result<TakenIn, PipelineError> {
        self.check(bench)?;
        let folder = Arc::new(bench.scratch.subfolder()?);
        let mut fragments = self.fragments(folder.path()).await?;
        let mut strays = Strays::default();
        if self.replaces {
            // As a run does that makes its partitions anew.
            strays = Strays::of(&bench.lake, &self.manifest.app_id).await?;
            let (keys, number) = (self.keys(bench), fragments.len() as u32 + 1);
            let joining = strays.fetch(&bench.lake, keys.iter(), folder.path(), number);
            fragments.extend(joining.await?);
        }
        let mut assembled = self
            .assemble(bench, fragments.clone(), folder.path(), progress)
            .await?;
        let mut union = Union::default();
        if !self.replaces {
            union = Union::find(&bench.lake, &assembled).await?;
        }
        if !union.is_empty() {
            // Once more, with what these partitions hold.
            drop(assembled);
            let held_in = bench.scratch.subfolder()?;
            let number = fragments.len() as u32 + 1;
            let held =
                union.restore_as_of(self.manifest.posted_at, &bench.lake, held_in.path(), number);
            let held = held.await?;
            let all = held.into_iter().chain(fragments).collect();
            assembled = self.assemble(bench, all, held_in.path(), progress).await?;
            assembled.folders.push(Arc::new(held_in));
        }
        assembled.folders.push(folder);
        let books = reconcile(vec![self.facts()], &assembled)?;
        let assembled = bench.refuse_if_none_loaded(assembled).await?;
        if bench.context.stop.is_cancelled() {
            return Err(PipelineError::IngestStopped);
        }
        let commit_as = |key: &PartitionKey| CommitAs {
            strays: strays.names(key),
            ..self.commit_as(key, &union, bench)
        };
        let partitions = bench
            .commit_all(assembled, &books, commit_as, progress)
            .await?;
        Ok(TakenIn { books, partitions })
    }

    fn unusable(&self, reason: String) -> PipelineError {
        PipelineError::Landing {
            folder: self.found.folder.to_string(),
            reason,
        }
    }

    fn check(&self, bench: &Workbench<'_>) -> Result<(), PipelineError> {
        let name = |event: Option<answerlake_extract::EventFilter>| {
            event.map_or("all events", answerlake_extract::EventFilter::name)
        };
        let (wanted, landed) = (name(bench.config.event), name(self.manifest.event));
        if wanted != landed {
            let reason = format!("expected an export of {wanted}, got one of {landed}");
            return Err(self.unusable(reason));
        }
        if self.replaces && !self.covers_partitions(bench) {
            let (window, grain) = (self.manifest.window, bench.config.lake.grain);
            let reason = format!(
                "its window {window} covers no whole partition of a lake by the {grain}: take it in without `--replace`"
            );
            return Err(self.unusable(reason));
        }
        Ok(())
    }

    /// Whether the window begins and ends where partitions do.
    fn covers_partitions(&self, bench: &Workbench<'_>) -> bool {
        let (window, grain) = (self.manifest.window, bench.config.lake.grain);
        let ends = [window.start(), window.end()];
        ends.iter().all(|end| grain.floor(*end) == *end)
    }

    /// Its fragments on this machine, checked.
    async fn fragments(&self, folder: &Path) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = Vec::with_capacity(self.manifest.fragments.len());
        let job = Arc::new(Exported {
            place: 0,
            job_id: self.manifest.job_id.to_string(),
            part: None,
            as_of: Some(self.manifest.posted_at),
        });
        for (landed, number) in self.manifest.fragments.iter().zip(1..) {
            let scratch = folder.join(format!("landed-{number}.json.zst"));
            let path = self
                .landings
                .file(&self.found.folder, &landed.name, &scratch)
                .await?;
            let (looked_at, expected) = (path.clone(), landed.clone());
            let checked = on_its_own_thread(move || Ok(check_content(&looked_at, &expected)));
            if let Err(reason) = checked.await? {
                return Err(self.unusable(format!("`{}` {reason}", landed.name)));
            }
            fragments.push(Fragment {
                number,
                position: number,
                path,
                origin: format!(
                    "fragment {number} of job `{}`, as kept",
                    self.manifest.job_id
                ),
                promised_records: landed.promised_records,
                origin_kind: OriginKind::Exported(Arc::clone(&job)),
            });
        }
        Ok(fragments)
    }

    async fn assemble(
        &self,
        bench: &Workbench<'_>,
        fragments: Vec<Fragment>,
        scratch: &Path,
        progress: &Arc<WindowProgress>,
    ) -> Result<Assembled, PipelineError> {
        let (window, asked) = (self.manifest.window, self.manifest.asked);
        let margin = window.start() - asked.start();
        let keys = self.keys(bench);
        let assembly = bench.assembly(
            AppAssignment::Fixed(self.manifest.app_id.clone()),
            Some((window, margin)),
            keys[0].clone(),
            scratch,
            progress,
        );
        let assembled = on_its_own_thread(move || assembly.run(fragments.into_iter()));
        let mut assembled = assembled.await?;
        for key in keys {
            let none = assembled.partitions.entry(key);
            none.or_insert_with(AssembledPartition::empty);
        }
        Ok(assembled)
    }

    fn facts(&self) -> JobFacts {
        JobFacts {
            job_id: Some(self.manifest.job_id.to_string()),
            window: Some(self.manifest.window),
            as_of: Some(self.manifest.posted_at),
            export_time: self.manifest.export_millis.map(Duration::from_millis),
            promised: self.manifest.promised,
            fit: None,
        }
    }

    fn commit_as(&self, key: &PartitionKey, union: &Union, bench: &Workbench<'_>) -> CommitAs {
        let window = &bench.config.window;
        let settle = to_delta(window.settle.max(window.lag));
        // What the job covers whole, it proves complete.
        let partial = !covers(self.manifest.window, key.window());
        let joined = union.commit_as(key);
        CommitAs {
            provisional: self.manifest.posted_at < key.window().end() + settle,
            partial: joined.partial && partial,
            on_committed: match window.on_shrink {
                _ if !self.replaces => joined.on_committed,
                OnShrink::Fail | OnShrink::Keep => OnCommitted::ReplaceUnlessShrunk,
                OnShrink::Replace => OnCommitted::Replace,
            },
            earlier_jobs: joined.earlier_jobs,
            strays: joined.strays,
            recheck: false,
        }
    }
}

fn covers(window: Window, partition: Window) -> bool {
    window.start() <= partition.start() && partition.end() <= window.end()
}

/// Whether a file holds what was kept; if not, how it differs.
fn check_content(path: &PathBuf, expected: &LandedFragment) -> Result<(), String> {
    let read = || -> io::Result<(u64, String)> {
        let mut bytes = zstd::Decoder::new(BufReader::new(File::open(path)?))?;
        let mut content = Hashed(Sha256::new());
        let count = io::copy(&mut bytes, &mut content)?;
        Ok((count, hex::encode(content.0.finalize())))
    };
    let (bytes, sha256) = read().map_err(|error| format!("cannot be read: {error}"))?;
    if (bytes, &sha256) == (expected.bytes, &expected.sha256) {
        return Ok(());
    }
    Err(format!(
        "is not what was kept: expected {} bytes of SHA-256 {}, got {bytes} of {sha256}",
        expected.bytes, expected.sha256
    ))
}

struct Hashed(Sha256);

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
