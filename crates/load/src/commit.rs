//! Commits a partition: a write-ahead manifest, created if absent, rolled forward.
//!
//! ```text
//! settle    the newest revision N is published (rolled forward if its run did not get there)
//! decide    unchanged, refused, or a next revision
//! stage     its new files go to `_answerlake/staging`
//! create    the manifest of N+1, if absent: this is the commit
//! publish   files to their places, dropped ones deleted, staging deleted, marker
//! ```
//!
//! What holds: nothing is visible before the commit; of two that commit at once, one creates the revision and the
//! other begins again from what it finds; N+1 is created only once N is published. A crash before the create leaves
//! only staging, a crash after it is finished by the next run or by [`Lake::recover`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use answerlake_model::{
    ContentStats, DriftLedger, JobBooks, PartitionBooks, PartitionKey, PerTable, RunId, Table,
};
use chrono::{DateTime, TimeDelta, Utc};
use object_store::path::Path;
use uuid::Uuid;

use crate::data_file::{DataFile, Origin};
use crate::error::{LoadError, is_refusal, is_refused_by_s3};
use crate::freshness::{Freshness, LateRecords, add_late};
use crate::lake::{Lake, PartitionState};
use crate::location;
use crate::manifest::{MANIFEST_FORMAT_VERSION, Manifest};
use crate::publish::Published;
use crate::rolling_writer::EncodedFile;
use crate::shrink::Compared;
use crate::store::all;
use crate::verify::unbalanced_books;

/// How often a commit begins again because others were faster. Each time, another's commit got through.
const COMMIT_TRIES: u32 = 16;

/// How often the create of a manifest is repeated while nobody knows whether it took place.
const CREATE_TRIES: u32 = 5;

/// The wait before the first repetition; it doubles.
const CREATE_BACKOFF: Duration = Duration::from_millis(100);

/// How old staging may be at the commit. Staging of four times this age is taken for a killed run's.
const STAGING_FRESH: TimeDelta = TimeDelta::hours(12);

/// How often files are staged until it is done in that time.
const STAGE_TRIES: u32 = 3;

/// What a run wants a partition to hold.
#[derive(Debug)]
pub struct Proposal {
    /// The partition.
    pub key: PartitionKey,
    /// The run.
    pub run_id: RunId,
    /// Its files; none when the partition has no records.
    pub files: Vec<EncodedFile>,
    /// A hash over the set of its records. Equal digests mean equal content.
    pub content_digest: String,
    /// Whether its records may not have settled.
    pub provisional: bool,
    /// Whether nothing proves that it is complete.
    pub partial: bool,
    /// Its books.
    pub books: PartitionBooks,
    /// The books of the jobs that its records came from.
    pub jobs: Vec<JobBooks>,
    /// The files of strays that were joined in, by name.
    pub strays: BTreeSet<String>,
    /// What of its records the columns do not hold.
    pub drift: DriftLedger,
    /// What its records say in numbers; absent where that is not known.
    pub stats: Option<ContentStats>,
    /// The version of the tables' schema.
    pub schema_version: u32,
    /// The version of the program.
    pub program_version: String,
    /// What the orchestrator said of the run; kept in the manifest as it is.
    pub context: BTreeMap<String, String>,
    /// What becomes of a partition that holds something else already.
    pub on_committed: OnCommitted,
    /// The column of each table that holds the records' own ids; `None` for tables whose rows are not records.
    pub record_id_columns: PerTable<Option<&'static str>>,
    /// Whether nothing is written when the content is the same. Off, the files are encoded anew; those that come out
    /// with the same bytes are still carried over.
    pub allow_unchanged: bool,
    /// Whether what is committed is read back before anything is decided by what its manifest says. Where files are
    /// missing or damaged, nothing of the revision is kept; where they have other rows than the proposal though the
    /// records are the same, or the books do not balance, a new revision is made of the proposal.
    pub recheck: bool,
}

/// What becomes of a partition that is committed with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCommitted {
    /// The proposal replaces it, as a new revision.
    Replace,
    /// The same, unless the proposal lacks records that the partition holds: then it stays, and the outcome is
    /// [`CommitOutcome::Shrunk`].
    ReplaceUnlessShrunk,
    /// The proposal replaces it if this is its newest revision, of which the proposal was made; else it stays, and the
    /// outcome is [`CommitOutcome::Refused`].
    ReplaceRevision(u64),
    /// It stays; the outcome is [`CommitOutcome::Refused`].
    Refuse,
}

/// What is to be done with a proposal.
enum Decision {
    /// Nothing needs to be written.
    Done(CommitOutcome),
    /// It is to be the next revision.
    Next {
        /// What it has that was not there when the partition was read before.
        late: BTreeMap<Table, LateRecords>,
    },
}

impl OnCommitted {
    /// Whether the proposal is what the source gives of the partition as a whole.
    fn is_of_reread(self) -> bool {
        matches!(self, Self::Replace | Self::ReplaceUnlessShrunk)
    }
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The proposal is the partition's newest revision.
    Committed {
        /// Its number.
        revision: u64,
        /// The rows of each table.
        rows: PerTable<u64>,
        /// The bytes of its new files; those carried over do not count.
        bytes_written: u64,
    },
    /// The partition holds this already: nothing was written, nothing deleted.
    Unchanged {
        /// Its newest revision.
        revision: u64,
        /// The rows of each table.
        rows: PerTable<u64>,
    },
    /// The partition holds records that the proposal does not bring.
    Shrunk {
        /// Its newest revision.
        revision: u64,
        /// How many.
        lost: u64,
        /// The id of one of them.
        example: String,
    },
    /// The partition holds what a newer job brought.
    Outdated {
        /// Its newest revision.
        revision: u64,
        /// The rows of each table.
        rows: PerTable<u64>,
    },
    /// The partition holds something else, and the proposal does not replace.
    Refused {
        /// Its newest revision.
        revision: u64,
    },
}

/// A manifest before its commit, and the files that must be staged for it.
pub(crate) struct Draft<'a> {
    pub(crate) manifest: Manifest,
    uploads: Vec<(&'a EncodedFile, Path)>,
}

/// Who created a revision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Ours,
    Theirs,
}

impl Lake {
    /// Makes the proposal the partition's newest revision, unless it holds the same already.
    ///
    /// Safe to repeat after any error and any crash, and to run at once with others.
    ///
    /// # Errors
    /// [`LoadError::Busy`] when others were faster each time, [`LoadError::Undecided`] when it cannot be found out
    /// whether it was committed, and whatever the store fails with.
    pub async fn commit(&self, mut proposal: Proposal) -> Result<CommitOutcome, LoadError> {
        let key = &proposal.key.clone();
        for _ in 0..COMMIT_TRIES {
            let mut settled = self.settle(key).await?;
            let late = match self.decide(settled.as_mut(), &mut proposal).await {
                Ok(Decision::Next { late }) => late,
                Ok(Decision::Done(outcome)) => return Ok(outcome),
                Err(error) => match &settled {
                    // What it could not read may have been dropped meanwhile.
                    Some(state) if self.is_superseded(key, state.revision).await? => continue,
                    _ => return Err(error),
                },
            };
            let mut draft = Draft::new(settled.as_ref(), &proposal);
            draft.manifest.freshness = freshness(settled.as_ref(), &proposal, &late);
            let staged = self.stage_freshly(&draft).await;
            let was_sent = staged.is_ok();
            let created = match staged {
                Ok(()) => self.create_revision(key, &draft.manifest).await,
                Err(error) => Err(error),
            };
            let is_uncommitted = match &created {
                Err(
                    LoadError::Store { .. }
                    | LoadError::Scratch { .. }
                    | LoadError::StagingTooSlow { .. },
                ) => true,
                // S3 may have refused the repetition of a create that took place.
                Err(LoadError::Refused { .. }) => !was_sent,
                _ => false,
            };
            if is_uncommitted {
                // No revision names what was staged, and where the disk is full the next run needs its room. What
                // cannot be deleted now is cleared by its age.
                let _ = self.delete_staging(&draft.manifest).await;
            }
            match created? {
                Created::Ours => match self.publish(key, &draft.manifest).await {
                    Ok(_) => {
                        let outcome = draft.committed();
                        tracing::debug!(partition = %key, ?outcome, "partition committed");
                        return Ok(outcome);
                    }
                    // Staged so long ago that it was cleared just before the create. All that it takes is at hand.
                    Err(LoadError::Broken { revision, .. }) => {
                        tracing::warn!(partition = %key, revision, "staged files went before their commit");
                        if let OnCommitted::ReplaceRevision(made_of) = &mut proposal.on_committed {
                            *made_of = revision;
                        }
                    }
                    Err(error) => return Err(error),
                },
                Created::Theirs => {
                    tracing::warn!(partition = %key, revision = draft.manifest.revision, "another run was faster");
                    self.delete_staging(&draft.manifest).await?;
                }
            }
        }
        Err(LoadError::Busy {
            partition: key.clone(),
            tries: COMMIT_TRIES,
        })
    }

    /// Whether the proposal is to be the next revision.
    async fn decide(
        &self,
        mut settled: Option<&mut PartitionState>,
        proposal: &mut Proposal,
    ) -> Result<Decision, LoadError> {
        if let Some(state) = settled.as_deref_mut().filter(|_| proposal.recheck) {
            self.recheck(state, proposal).await?;
        }
        let settled = settled.as_deref();
        if let Some(outcome) = decide_without_reading(settled, proposal) {
            return Ok(Decision::Done(outcome));
        }
        let next = Decision::Next {
            late: BTreeMap::new(),
        };
        let Some(state) = settled else {
            return Ok(next);
        };
        let is_compared = proposal.on_committed.is_of_reread();
        let compared = if state.is_broken() {
            tracing::warn!(partition = %proposal.key, revision = state.revision, missing = ?state.missing, "broken revision is replaced");
            match is_compared {
                true => self.what_is_left_of(&proposal.key, state).await?,
                false => None,
            }
        } else {
            (is_compared && !holds_the_same(state, proposal)).then(|| state.manifest.clone())
        };
        let Some(manifest) = compared else {
            return Ok(next);
        };
        let Compared { lost, late } = self.compare_records(&manifest, proposal).await?;
        match lost {
            Some(lost) if proposal.on_committed == OnCommitted::ReplaceUnlessShrunk => {
                Ok(Decision::Done(CommitOutcome::Shrunk {
                    revision: state.revision,
                    lost: lost.count,
                    example: lost.example,
                }))
            }
            _ => Ok(Decision::Next { late }),
        }
    }

    /// What a broken revision leaves whole, which its next must not lose either: of one that was published, the files
    /// that are as they were; of another, the revision before it that is still in place.
    async fn what_is_left_of(
        &self,
        key: &PartitionKey,
        state: &PartitionState,
    ) -> Result<Option<Manifest>, LoadError> {
        if !state.published {
            return self.newest_in_place(key, state.revision).await;
        }
        let mut manifest = state.manifest.clone();
        manifest
            .files
            .retain(|file| !state.missing.contains(&file.path));
        Ok(Some(manifest))
    }

    /// Reads back what is committed. Where that is not as its manifest says, the revision counts as broken; where it is
    /// not what the same records make, the proposal is not taken for unchanged.
    async fn recheck(
        &self,
        state: &mut PartitionState,
        proposal: &mut Proposal,
    ) -> Result<(), LoadError> {
        let damaged = self.damaged_files(&state.manifest).await?;
        state.missing.extend(damaged);
        if holds_the_same(state, proposal) {
            let is_sound = unbalanced_books(&state.manifest).is_empty()
                && self.has_rows_of(&state.manifest, proposal).await?;
            proposal.allow_unchanged &= is_sound;
        }
        Ok(())
    }

    /// The partition's newest revision, published. One that is broken is returned as it is.
    pub(crate) async fn settle(
        &self,
        key: &PartitionKey,
    ) -> Result<Option<PartitionState>, LoadError> {
        for _ in 0..COMMIT_TRIES {
            let Some(mut state) = self.state(key).await? else {
                return Ok(None);
            };
            if state.published || state.is_broken() {
                return Ok(Some(state));
            }
            match self.publish(key, &state.manifest).await {
                Ok(Published::InPlace) => {
                    tracing::warn!(partition = %key, revision = state.revision, "unfinished commit rolled forward");
                    state.published = true;
                    return Ok(Some(state));
                }
                // Something newer is there now, or it broke since it was looked at.
                Ok(Published::Superseded) | Err(LoadError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(LoadError::Busy {
            partition: key.clone(),
            tries: COMMIT_TRIES,
        })
    }

    /// Brings the new files of a draft to staging, again where it took so long (or the machine slept) that they might
    /// be cleared before their commit.
    async fn stage_freshly(&self, draft: &Draft<'_>) -> Result<(), LoadError> {
        for _ in 0..STAGE_TRIES {
            let began = (self.clock)();
            self.stage(draft).await?;
            if (self.clock)() - began < STAGING_FRESH {
                return Ok(());
            }
            tracing::warn!(
                partition = draft.manifest.partition,
                "staged files grew old before their commit"
            );
        }
        Err(LoadError::StagingTooSlow {
            partition: draft.manifest.partition.clone(),
            hours: STAGING_FRESH.num_hours(),
            tries: STAGE_TRIES,
        })
    }

    /// Brings the new files of a draft to staging.
    pub(crate) async fn stage(&self, draft: &Draft<'_>) -> Result<(), LoadError> {
        let uploads = draft
            .uploads
            .iter()
            .map(|(file, staged)| self.store.bring("stage", &file.path, staged));
        all(uploads.collect()).await?;
        let staged = draft.uploads.iter().map(|(_, staged)| staged);
        self.store.sync_folders(staged).await
    }

    /// Creates the revision's manifest if it is absent: the commit itself. After anything but plain success, the
    /// revision is read to see whose it is.
    pub(crate) async fn create_revision(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
    ) -> Result<Created, LoadError> {
        let path = location::manifest(key, manifest.revision);
        let json = manifest.to_json();
        let mut backoff = CREATE_BACKOFF;
        let mut tries = 0;
        let mut may_exist = false;
        loop {
            tries += 1;
            let Err(error) = self.store.create(&path, json.clone()).await else {
                return Ok(Created::Ours);
            };
            may_exist |= !is_refused_by_s3(&error);
            match self.read_manifest(key, manifest.revision).await {
                Ok(Some(found)) if found.commit_id == manifest.commit_id => {
                    return Ok(Created::Ours);
                }
                // A manifest that cannot be understood is another's, too.
                Ok(Some(_)) | Err(LoadError::NewerFormat { .. } | LoadError::Malformed { .. }) => {
                    return Ok(Created::Theirs);
                }
                Ok(None) if is_refusal(&error) => {
                    return Err(LoadError::store("create", &path)(error));
                }
                // Who may not even look knows all the same that nothing was done.
                Err(_) if !may_exist => return Err(LoadError::store("create", &path)(error)),
                Ok(None) | Err(_) if tries < CREATE_TRIES => {
                    tracing::warn!(partition = %key, %error, "outcome of a commit unknown, asking again");
                    tokio::time::sleep(backoff).await;
                    backoff *= 2;
                }
                Ok(None) | Err(_) => {
                    return Err(LoadError::Undecided {
                        partition: key.clone(),
                        revision: manifest.revision,
                        tries,
                        source: error,
                    });
                }
            }
        }
    }
}

/// What needs no new revision, by the manifest alone.
fn decide_without_reading(
    settled: Option<&PartitionState>,
    proposal: &Proposal,
) -> Option<CommitOutcome> {
    let state = settled?;
    let revision = state.revision;
    if let OnCommitted::ReplaceRevision(expected) = proposal.on_committed
        && expected != revision
        && !holds_the_same(state, proposal)
    {
        // Broken or not: what it holds, the proposal was made without.
        return Some(CommitOutcome::Refused { revision });
    }
    if state.is_broken() {
        return None;
    }
    if !holds_the_same(state, proposal) {
        // An older job must not undo what a newer one brought, whichever run is the last to commit.
        if as_of(&proposal.jobs).is_some_and(|time| Some(time) < as_of(&state.manifest.jobs)) {
            let rows = state.manifest.rows();
            return Some(CommitOutcome::Outdated { revision, rows });
        }
        return (proposal.on_committed == OnCommitted::Refuse)
            .then_some(CommitOutcome::Refused { revision });
    }
    let ends_provisional = state.manifest.provisional && !proposal.provisional;
    let ends_partial = state.manifest.partial && !proposal.partial;
    // That they are in is to be known, so that nobody looks for them again.
    let knows_more_strays = !proposal.strays.is_subset(&state.manifest.strays);
    if !proposal.allow_unchanged || ends_provisional || ends_partial || knows_more_strays {
        return None;
    }
    Some(CommitOutcome::Unchanged {
        revision,
        rows: state.manifest.rows(),
    })
}

/// What is known of how late records come, once the proposal has followed what is settled.
fn freshness(
    settled: Option<&PartitionState>,
    proposal: &Proposal,
    late: &BTreeMap<Table, LateRecords>,
) -> Option<Freshness> {
    let before = &settled?.manifest;
    let mut freshness = before.freshness.clone();
    if proposal.on_committed.is_of_reread() && as_of(&proposal.jobs) > as_of(&before.jobs) {
        let first_read = as_of(&before.jobs);
        freshness = freshness.or_else(|| {
            Some(Freshness {
                first_read: first_read?,
                late: BTreeMap::new(),
            })
        });
        if let Some(freshness) = &mut freshness {
            add_late(&mut freshness.late, late);
        }
    }
    freshness
}

/// When the newest of the jobs was asked for.
pub(crate) fn as_of(jobs: &[JobBooks]) -> Option<DateTime<Utc>> {
    jobs.iter().filter_map(|job| job.as_of).max()
}

fn holds_the_same(state: &PartitionState, proposal: &Proposal) -> bool {
    !state.is_broken()
        && state.manifest.content_digest == proposal.content_digest
        && state.manifest.schema_version == proposal.schema_version
}

impl<'a> Draft<'a> {
    /// The revision after `settled` that holds what the proposal says. Nothing of a broken revision is kept.
    pub(crate) fn new(settled: Option<&PartitionState>, proposal: &'a Proposal) -> Self {
        let same = settled.filter(|state| holds_the_same(state, proposal));
        // What was made of the revision before holds what that was made of.
        let made_of = settled.filter(|_| {
            same.is_some() || matches!(proposal.on_committed, OnCommitted::ReplaceRevision(_))
        });
        let mut draft = Self {
            manifest: Manifest {
                format_version: MANIFEST_FORMAT_VERSION,
                partition: proposal.key.to_string(),
                revision: settled.map_or(1, |state| state.revision + 1),
                commit_id: Uuid::new_v4().to_string(),
                run_id: proposal.run_id.clone(),
                created_at: Utc::now(),
                program_version: proposal.program_version.clone(),
                schema_version: proposal.schema_version,
                content_digest: proposal.content_digest.clone(),
                // Content that was proven settled or complete stays so, however it is met again.
                provisional: proposal.provisional
                    && same.is_none_or(|state| state.manifest.provisional),
                partial: proposal.partial && same.is_none_or(|state| state.manifest.partial),
                files: Vec::new(),
                dropped: Vec::new(),
                books: proposal.books,
                jobs: proposal.jobs.clone(),
                strays: made_of
                    .into_iter()
                    .flat_map(|state| &state.manifest.strays)
                    .chain(&proposal.strays)
                    .cloned()
                    .collect(),
                freshness: None,
                // Of the same content, this program's ledger says as much as the one there, or more.
                drift: proposal.drift.clone(),
                // And of the same content, one that is known is as good as another.
                stats: proposal
                    .stats
                    .clone()
                    .or_else(|| same.and_then(|state| state.manifest.stats.clone())),
                context: proposal.context.clone(),
                // They describe the content, so they stay with it.
                sections: same
                    .map_or_else(Default::default, |state| state.manifest.sections.clone()),
            },
            uploads: Vec::new(),
        };
        match same.filter(|_| proposal.allow_unchanged) {
            Some(state) => {
                draft.manifest.files = state.manifest.files.iter().map(carried_over).collect();
            }
            None => draft.add_files(settled, proposal),
        }
        draft
    }

    /// Files with the bytes of a file that is there are carried over under its name, the others are staged; what is
    /// there and not carried over is dropped.
    fn add_files(&mut self, settled: Option<&PartitionState>, proposal: &'a Proposal) {
        let before = settled.map_or(&[][..], |state| &state.manifest.files);
        let mut reusable: HashMap<_, Vec<&DataFile>> = HashMap::new();
        if settled.is_some_and(|state| !state.is_broken()) {
            for file in before {
                let same_bytes = (file.table, file.sha256.as_str());
                reusable.entry(same_bytes).or_default().push(file);
            }
        }
        let key = &proposal.key;
        let staging = location::staging(&proposal.run_id, key, &self.manifest.commit_id);
        for file in &proposal.files {
            let there = reusable
                .get_mut(&(file.table, file.sha256.as_str()))
                .and_then(Vec::pop);
            if let Some(there) = there {
                self.manifest.files.push(carried_over(there));
                continue;
            }
            let name = location::data_file_name(file.part, self.manifest.revision, &file.sha256);
            let staged = location::staged_file(&staging, file.table, &name);
            self.manifest.files.push(DataFile {
                table: file.table,
                path: location::data_file(file.table, key, &name).to_string(),
                rows: file.rows,
                bytes: file.bytes,
                sha256: file.sha256.clone(),
                created_at: file.created_at,
                origin: Origin::Staged {
                    path: staged.to_string(),
                },
            });
            self.uploads.push((file, staged));
        }
        let kept = |path: &String| self.manifest.files.iter().any(|file| file.path == *path);
        let mut dropped: Vec<String> = before.iter().map(|file| file.path.clone()).collect();
        if let Some(broken) = settled.filter(|state| state.is_broken()) {
            // It was never published, so what it was to drop may still be there.
            dropped.extend(broken.manifest.dropped.iter().cloned());
        }
        dropped.retain(|path| !kept(path));
        self.manifest.dropped = dropped;
    }

    fn committed(&self) -> CommitOutcome {
        CommitOutcome::Committed {
            revision: self.manifest.revision,
            rows: self.manifest.rows(),
            bytes_written: self.uploads.iter().map(|(file, _)| file.bytes).sum(),
        }
    }
}

fn carried_over(file: &DataFile) -> DataFile {
    DataFile {
        origin: Origin::CarriedOver,
        ..file.clone()
    }
}
