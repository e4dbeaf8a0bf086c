//! `forget`: the records of a person, or of a query, removed from everywhere in the lake, and kept from coming back.
//!
//! ```text
//! find     the queries of the persons, in all partitions, strays and dead letters
//! bury     a tombstone of all these ids, as keyed hashes: from here on no run brings them in
//! sweep    each partition that may hold one: restored, assembled without them, committed; strays, dead letters and
//!          fragments that were kept as they came
//! receipt  what was removed, where; written anew after each partition
//! ```
//!
//! Killed at any moment, it is run again and finds what is left: a query whose search is gone already is in the
//! tombstone, and each sweep starts from all tombstones of the lake. A run at work meanwhile may have read its tombstones
//! before there was this one; so each looks again once it has committed ([`sweep_again`]). Of the two, one comes last.

// Which partitions to look at.
mod find;
// A partition, without them.
mod sweep;
// Strays and dead letters, without them.
mod lines;
// Fragments as they were fetched, without them.
mod landings;

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;

use answerlake_load::forgotten::random_key;
use answerlake_load::{KeptKind, Lake, LakePin, LakeStore};
use answerlake_model::{PartitionKey, PerTable};
use answerlake_transform::{Forgotten, IdHash, IdKind, Masking, Policy, PromptLayout};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::{PipelineError, chain};
use crate::recovery::roll_forward;
use crate::report::RunStatus;
use crate::tombstones::{self, Tombstones};
use crate::workbench::{RunContext, Workbench};
use find::may_hold;
use lines::LinesSwept;
use sweep::Swept;

/// Partitions whose ids are looked at together.
const LOOKED_AT_ONCE: usize = 4;

const KEPT_KINDS: [KeptKind; 2] = [KeptKind::Strays, KeptKind::DeadLetters];

/// Who is to be forgotten.
#[derive(Debug, Clone, Default)]
pub struct ForgetRequest {
    /// Persons, by `userId` or `accountId` as the source has it.
    pub user_ids: Vec<String>,
    /// Queries, by `searchRequestId` or `_id`.
    pub query_ids: Vec<String>,
    /// Whether anything is changed; else it is only said what would be.
    pub apply: bool,
}

/// What was removed, or would be. It is the receipt, too, so it names no id.
#[derive(Debug, Clone, Serialize)]
pub struct ForgetReport {
    /// `ok`, `nothing_to_do`, or `partial` where some of it could not be done.
    pub status: RunStatus,
    /// The lake's address.
    pub lake: String,
    /// The run.
    pub run_id: String,
    /// When it began.
    pub started_at: String,
    /// The version of the program.
    pub program_version: String,
    /// Whether it was removed; else this is what would be.
    pub applied: bool,
    /// Whether all was looked at. A receipt of a run that was killed says no.
    pub finished: bool,
    /// How many persons and queries were named.
    pub named: Named,
    /// The partitions that held some of it.
    pub partitions: Vec<ForgottenPartition>,
    /// What went of strays.
    pub strays: ForgottenLines,
    /// What went of dead letters.
    pub dead_letters: ForgottenLines,
    /// What went of fragments that are kept as they were fetched.
    pub raw: ForgottenLines,
    /// All of it, added up.
    pub totals: ForgottenTotals,
    /// The tombstone that was written, by its name; absent where nothing was to be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<String>,
    /// Where this stands in the lake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What could not be done, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ForgetError>,
}

/// How many ids were named.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Named {
    /// Persons.
    pub users: usize,
    /// Queries.
    pub queries: usize,
}

/// What went of a partition.
#[derive(Debug, Clone, Serialize)]
pub struct ForgottenPartition {
    /// The partition, as its hive path.
    pub partition: String,
    /// The revision that held it.
    pub from_revision: u64,
    /// The revision without it; absent where nothing was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Records.
    pub records: u64,
    /// Rows by table.
    pub rows: PerTable<u64>,
}

/// What went of files of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ForgottenLines {
    /// Files that held some of it.
    pub files: u64,
    /// Records.
    pub records: u64,
}

impl AddAssign<LinesSwept> for ForgottenLines {
    fn add_assign(&mut self, swept: LinesSwept) {
        self.files += swept.files;
        self.records += swept.records;
    }
}

/// Numbers over all partitions.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ForgottenTotals {
    /// Records, those of strays and dead letters too; not their copies in fragments as they were fetched.
    pub records: u64,
    /// Rows by table.
    pub rows: PerTable<u64>,
}

/// What could not be done.
#[derive(Debug, Clone, Serialize)]
pub struct ForgetError {
    /// Where: a partition, or `strays`, `dead_letters` or `raw`.
    pub place: String,
    /// Why.
    pub error: String,
    /// Whether the same again may succeed without anyone's doing.
    pub retryable: bool,
}

/// Forgets whom the request names, and whom it was told to forget before, as far as that is still to be done.
///
/// # Errors
/// When there is no lake, ids are named that it does not hold, or what is to be removed cannot be found out. What cannot
/// be removed is in the report.
pub async fn forget(
    config: &PipelineConfig,
    request: &ForgetRequest,
    context: &RunContext,
) -> Result<ForgetReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?.ok_or_else(|| PipelineError::NoLake {
        url: config.lake.url.to_string(),
    })?;
    let config = &as_pinned(config, &pin);
    let masking = config.masking()?;
    if config.privacy.policies.is_some() {
        let masking = config.lake_pin().masking;
        lake.check_pin(&LakePin {
            masking,
            ..pin.clone()
        })
        .await?;
    }
    if request.apply {
        roll_forward(&lake, None).await?;
    }
    let bench = Workbench::with(config, context, lake, masking, 1).await?;
    let mut work = Work {
        bench: &bench,
        apply: request.apply,
        report: begun(&bench, request),
    };
    let added = Ids::named(&bench, request, &pin).await?;
    let mut tombstones = work.bury(added).await?;
    while let Some(forgotten) = tombstones.forgotten() {
        work.sweep(&tombstones, &forgotten).await?;
        if !request.apply || !tombstones.are_outdated(&bench.lake).await? {
            work.drop_quotes(request).await?;
            break;
        }
        // Others were forgotten meanwhile, or queries learned of: what was swept at the same time is swept again.
        tombstones = Tombstones::read(&bench.lake).await?;
    }
    work.finish().await
}

/// Sweeps partitions that were committed while somebody was forgotten, and what was kept beside them.
pub(crate) async fn sweep_again(
    bench: &Workbench<'_>,
    keys: &[PartitionKey],
) -> Result<(), PipelineError> {
    let mut keys = keys.to_vec();
    loop {
        let tombstones = Tombstones::read(&bench.lake).await?;
        let Some(forgotten) = tombstones.forgotten() else {
            return Ok(());
        };
        tracing::info!(
            "somebody was forgotten meanwhile: what was committed is looked through again"
        );
        bench.know(tombstones.clone());
        for key in &keys {
            sweep_partition(bench, key, &tombstones).await?;
        }
        for kind in KEPT_KINDS {
            lines::sweep(bench, kind, &forgotten, true).await?;
        }
        landings::sweep(bench, &forgotten, None, true).await?;
        if !tombstones.are_outdated(&bench.lake).await? {
            return Ok(());
        }
        // Queries of a person were learned of: feedback that names them may be anywhere.
        keys = bench.lake.heads(None, None).await?.into_keys().collect();
    }
}

/// Sweeps a partition, where it may hold what is forgotten.
pub(crate) async fn sweep_partition(
    bench: &Workbench<'_>,
    key: &PartitionKey,
    tombstones: &Tombstones,
) -> Result<(), PipelineError> {
    if let Some(forgotten) = tombstones.forgotten()
        && may_hold(&bench.lake, key, &forgotten).await?
    {
        sweep::sweep(bench, key, tombstones, true).await?;
    }
    Ok(())
}

/// Sweeps what was kept of a job's fragments.
pub(crate) async fn sweep_landing(
    bench: &Workbench<'_>,
    job_id: &str,
) -> Result<(), PipelineError> {
    if let Some(forgotten) = bench.tombstones().forgotten() {
        landings::sweep(bench, &forgotten, Some(job_id), true).await?;
    }
    Ok(())
}

/// The settings, with those of the lake in place of what is pinned there and nobody need know.
fn as_pinned(config: &PipelineConfig, pin: &LakePin) -> PipelineConfig {
    let mut config = config.clone();
    config.lake.grain = pin.grain;
    config.lake.prompt = match pin.prompt.as_str() {
        "text" => PromptLayout::Text,
        _ => PromptLayout::Parts,
    };
    config
}

/// Ids as hashes, and the key that they are hashed under.
struct Ids {
    forgotten: Forgotten,
    users: BTreeSet<IdHash>,
    queries: BTreeSet<IdHash>,
}

impl Ids {
    /// Those that are named, beside all that are forgotten already. In a lake whose persons are hashed, a person is
    /// named as the source has it, and goes by both.
    async fn named(
        bench: &Workbench<'_>,
        request: &ForgetRequest,
        pin: &LakePin,
    ) -> Result<Self, PipelineError> {
        let known = bench.tombstones().forgotten();
        let key = if request.apply && known.is_none() {
            bench.lake.ensure_forgotten_key().await?
        } else {
            let key = bench.lake.forgotten_key().await?;
            key.unwrap_or_else(random_key)
        };
        let forgotten = known.map_or_else(
            || Forgotten::new(key.as_bytes()),
            |known| Forgotten::clone(&known),
        );
        let mut ids = Self {
            forgotten,
            users: BTreeSet::new(),
            queries: BTreeSet::new(),
        };
        let masking = bench.config.masking()?;
        for id in &request.user_ids {
            ids.add(IdKind::User, id);
            if let Some(hashed) = hashed_as(id, pin, masking.as_deref())? {
                ids.add(IdKind::User, &hashed);
            }
        }
        for id in &request.query_ids {
            ids.add(IdKind::Query, id);
        }
        Ok(ids)
    }

    fn add(&mut self, kind: IdKind, id: &str) {
        let hash = self.forgotten.hash(kind, id);
        if self.forgotten.insert(kind, hash) {
            match kind {
                IdKind::User => self.users.insert(hash),
                IdKind::Query => self.queries.insert(hash),
            };
        }
    }

    /// Adds queries; says whether one is new.
    fn learn(&mut self, queries: BTreeSet<IdHash>) -> bool {
        let before = self.queries.len();
        for query in queries {
            if self.forgotten.insert(IdKind::Query, query) {
                self.queries.insert(query);
            }
        }
        self.queries.len() > before
    }
}

/// What a person's id is in a lake that hashes it; nothing where it stands as it is.
fn hashed_as(
    id: &str,
    pin: &LakePin,
    masking: Option<&Masking>,
) -> Result<Option<String>, PipelineError> {
    let Some(pinned) = &pin.masking else {
        return Ok(None);
    };
    let policy = |field: &str| pinned.fields.get(field).map_or("keep", String::as_str);
    let policies = IdKind::User.members().map(policy);
    if policies.iter().all(|policy| *policy == Policy::Drop.name()) {
        return Err(PipelineError::NoIdsHeld {
            reason: "this lake does not hold `userId` (privacy policy `drop`): nothing in it tells whose records are \
                     whose; give --query-id for each query of the person"
                .to_owned(),
        });
    }
    if !policies.contains(&Policy::Hash.name()) {
        return Ok(None);
    }
    let hashed = masking.and_then(|masking| masking.hash(id));
    hashed.map(Some).ok_or_else(|| PipelineError::NoIdsHeld {
        reason: "this lake holds `userId` as a keyed hash: give its [privacy] settings and key, so that the id can be \
                 hashed alike"
            .to_owned(),
    })
}

fn begun(bench: &Workbench<'_>, request: &ForgetRequest) -> ForgetReport {
    ForgetReport {
        status: RunStatus::NothingToDo,
        lake: bench.config.lake.url.to_string(),
        run_id: bench.context.run_id.to_string(),
        started_at: bench
            .context
            .now
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        program_version: bench.context.program_version.clone(),
        applied: request.apply,
        finished: false,
        named: Named {
            users: request.user_ids.len(),
            queries: request.query_ids.len(),
        },
        partitions: Vec::new(),
        strays: ForgottenLines::default(),
        dead_letters: ForgottenLines::default(),
        raw: ForgottenLines::default(),
        totals: ForgottenTotals::default(),
        tombstone: None,
        receipt: None,
        errors: Vec::new(),
    }
}

/// A `forget` on its way.
struct Work<'b> {
    bench: &'b Workbench<'b>,
    apply: bool,
    report: ForgetReport,
}

impl Work<'_> {
    /// Finds the queries of the persons that are forgotten, and writes the tombstone of all that is new.
    async fn bury(&mut self, mut ids: Ids) -> Result<Tombstones, PipelineError> {
        if ids.forgotten.has_users() {
            // A record may name a person and another's query; what is learned of it leads no further than that.
            let forgotten = Arc::new(ids.forgotten.clone());
            for key in self.candidates(&forgotten).await? {
                self.check_stopped()?;
                match sweep::learn(self.bench, &key, &forgotten).await {
                    Ok(queries) => drop(ids.learn(queries)),
                    // What is not known of it must not keep the rest from being removed.
                    Err(error) => self.failed(&key.to_string(), &error),
                }
            }
            for kind in KEPT_KINDS {
                match lines::learn(self.bench, kind, &forgotten).await {
                    Ok(queries) => drop(ids.learn(queries)),
                    Err(error) => self.failed(name_of(kind), &error),
                }
            }
        }
        let known = self.bench.tombstones();
        if ids.users.is_empty() && ids.queries.is_empty() {
            return Ok(known);
        }
        let name = if self.apply {
            let (lake, run_id) = (&self.bench.lake, &self.bench.context.run_id);
            let name = tombstones::put(lake, run_id, &ids.users, &ids.queries).await?;
            self.report.tombstone = Some(name.clone());
            name
        } else {
            String::new()
        };
        Ok(known.with(name, Arc::new(ids.forgotten)))
    }

    /// The partitions that may hold some of it, of all apps: a person has no less been there for the settings' naming one.
    async fn candidates(
        &self,
        forgotten: &Arc<Forgotten>,
    ) -> Result<Vec<PartitionKey>, PipelineError> {
        let heads = self.bench.lake.heads(None, None).await?;
        let looks = heads.into_keys().map(|key| async move {
            let may = may_hold(&self.bench.lake, &key, forgotten).await;
            (key, may)
        });
        let mut looks = stream::iter(looks).buffered(LOOKED_AT_ONCE);
        let mut candidates = Vec::new();
        while let Some((key, may)) = looks.next().await {
            self.check_stopped()?;
            // One that cannot be looked at is no reason to pass over the others; the sweep says what is wrong with it.
            if may.unwrap_or(true) {
                candidates.push(key);
            }
        }
        Ok(candidates)
    }

    async fn sweep(
        &mut self,
        tombstones: &Tombstones,
        forgotten: &Arc<Forgotten>,
    ) -> Result<(), PipelineError> {
        for key in self.candidates(forgotten).await? {
            self.check_stopped()?;
            match sweep::sweep(self.bench, &key, tombstones, self.apply).await {
                Ok(None) => {}
                Ok(Some(swept)) => {
                    self.add(&key, swept);
                    self.write_receipt().await?;
                }
                Err(error) => self.failed(&key.to_string(), &error),
            }
        }
        for kind in KEPT_KINDS {
            self.check_stopped()?;
            match lines::sweep(self.bench, kind, forgotten, self.apply).await {
                Ok(swept) => {
                    self.report.totals.records += swept.records;
                    let lines = match kind {
                        KeptKind::Strays => &mut self.report.strays,
                        KeptKind::DeadLetters => &mut self.report.dead_letters,
                    };
                    *lines += swept;
                }
                Err(error) => self.failed(name_of(kind), &error),
            }
        }
        self.check_stopped()?;
        match landings::sweep(self.bench, forgotten, None, self.apply).await {
            Ok(swept) => self.report.raw += swept,
            Err(error) => self.failed("raw", &error),
        }
        Ok(())
    }

    /// Drops what manifests and notes of failures quote of what is forgotten.
    async fn drop_quotes(&self, request: &ForgetRequest) -> Result<(), PipelineError> {
        if !self.apply {
            return Ok(());
        }
        let lake = &self.bench.lake;
        lake.drop_forgotten_examples().await?;
        for (key, note) in lake.failures(None).await? {
            let named = request.user_ids.iter().chain(&request.query_ids);
            let quotes = |id: &&String| note.error.contains(id.as_str());
            if named.into_iter().any(|id| quotes(&id)) {
                lake.delete_failure(&key).await?;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &PartitionKey, swept: Swept) {
        let totals = &mut self.report.totals;
        totals.records += swept.records;
        totals.rows = PerTable::from_fn(|table| totals.rows[table] + swept.rows[table]);
        self.report.partitions.push(ForgottenPartition {
            partition: key.to_string(),
            from_revision: swept.from_revision,
            revision: swept.revision,
            records: swept.records,
            rows: swept.rows,
        });
    }

    fn failed(&mut self, place: &str, error: &PipelineError) {
        tracing::error!(
            place,
            error = chain(error),
            "what is forgotten cannot be removed here"
        );
        // The search for queries and the sweep may fail alike.
        let known = self.report.errors.iter().any(|known| known.place == place);
        if !known {
            self.report.errors.push(ForgetError {
                place: place.to_owned(),
                error: chain(error),
                retryable: error.is_retryable(),
            });
        }
    }

    fn check_stopped(&self) -> Result<(), PipelineError> {
        if self.bench.context.stop.is_cancelled() {
            return Err(PipelineError::Stopped);
        }
        Ok(())
    }

    async fn write_receipt(&mut self) -> Result<(), PipelineError> {
        if !self.apply {
            return Ok(());
        }
        let json = serde_json::to_vec(&self.report).expect("plain fields have a JSON form");
        let run_id = &self.bench.context.run_id;
        let path = self.bench.lake.put_receipt(run_id, json.into()).await?;
        self.report.receipt = Some(path);
        Ok(())
    }

    async fn finish(mut self) -> Result<ForgetReport, PipelineError> {
        let report = &mut self.report;
        report.finished = report.errors.is_empty();
        let found = report.totals.records + report.raw.records;
        let is_nothing = found == 0 && report.tombstone.is_none();
        report.status = match (report.errors.is_empty(), is_nothing) {
            (false, _) => RunStatus::Partial,
            (true, true) => RunStatus::NothingToDo,
            (true, false) => RunStatus::Ok,
        };
        if !is_nothing {
            self.write_receipt().await?;
        }
        Ok(self.report)
    }
}

fn name_of(kind: KeptKind) -> &'static str {
    match kind {
        KeptKind::Strays => "strays",
        KeptKind::DeadLetters => "dead_letters",
    }
}
