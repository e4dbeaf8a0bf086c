//! What the lake knows that a run must know: which partitions are committed, and which jobs are in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use answerlake_extract::{
    BoxError, Claiming, ExportRequest, ExtractError, JobClaim, JobRecord, JobStore, StoredJob,
};
use answerlake_load::{Lake, LoadError, PartitionSummary};
use answerlake_model::{AppId, Fit, JobBooks, PartitionKey, RunId, Window};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::PipelineConfig;
use crate::error::chain;
use crate::holder::Holder;
use crate::plan::{Committed, Reason, to_delta};
use crate::strays::Strays;

/// How old a claim without a job may be for its window to be planned as it is.
const CLAIM_WITHOUT_JOB: TimeDelta = TimeDelta::minutes(10);

/// How long a run that stops waits for the answer to the POST that it has sent.
const POST_UNDER_WAY: Duration = Duration::from_secs(3);

/// What the plan must know of the partitions' states.
pub(crate) fn committed(
    states: &BTreeMap<PartitionKey, PartitionSummary>,
    strays: &Strays,
) -> BTreeMap<PartitionKey, Committed> {
    let facts = |key: &PartitionKey, state: &PartitionSummary| Committed {
        provisional: state.provisional,
        partial: state.partial,
        broken: state.is_broken(),
        lacks_strays: strays.are_new_to(key, state),
        part: largest_part(&state.jobs),
    };
    states
        .iter()
        .map(|(key, state)| (key.clone(), facts(key, state)))
        .collect()
}

/// The longest of the jobs that were asked for less than the settings allow.
fn largest_part(jobs: &[JobBooks]) -> Option<(TimeDelta, Fit)> {
    let parts = jobs
        .iter()
        .filter_map(|job| Some((job.window?.duration(), job.fit?)));
    parts.max_by_key(|(duration, _)| *duration)
}

/// Keeps the jobs in flight in the lake, so that any machine can take them up.
#[derive(Debug)]
pub(crate) struct LakeJobs<'r> {
    lake: &'r Lake,
    run_id: &'r RunId,
    /// Who wants them, and whether anybody still does.
    wanted: Wanted<'r>,
    /// The claim whose job is being started.
    open_claim: watch::Sender<Option<JobClaim>>,
}

/// For whom a job is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'r> {
    /// The partitions that it is to bring.
    pub(crate) partitions: &'r [(PartitionKey, Reason)],
    /// What was committed of them when that was decided.
    pub(crate) seen: &'r BTreeMap<PartitionKey, PartitionSummary>,
}

/// A claim or a job, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Told apart by it, and by nothing else, are claims of the same request at the same time.
    #[serde(default)]
    id: String,
    run_id: Option<RunId>,
    holder: Option<Holder>,
    #[serde(flatten)]
    what: Claimed,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Claimed {
    // The more telling one first: serde takes the first that fits.
    Started(JobRecord),
    Claimed(JobClaim),
}

impl Stored {
    fn into_job(self) -> StoredJob {
        match self.what {
            Claimed::Started(record) => StoredJob::Started(record),
            Claimed::Claimed(claim) => StoredJob::Claimed {
                claim,
                is_abandoned: self.holder.is_some_and(|holder| holder.is_gone()),
            },
        }
    }
}

/// What is stored of all requests of an app, by name. What cannot be read is left out: the job it named is lost to us,
/// no more, and its window is exported anew.
async fn stored_jobs(lake: &Lake, app_id: &AppId) -> Result<Vec<(String, StoredJob)>, LoadError> {
    let mut jobs = Vec::new();
    for (name, json) in lake.jobs(app_id).await? {
        match serde_json::from_slice::<Stored>(&json) {
            Ok(stored) => jobs.push((name, stored.into_job())),
            Err(error) => tracing::warn!(job = name, %error, "a stored job cannot be read"),
        }
    }
    Ok(jobs)
}

/// The windows of an app that are under way with these settings: whose job is stored, or is being started.
///
/// # Errors
/// When the lake cannot be read.
pub(crate) async fn in_flight(
    lake: &Lake,
    app_id: &AppId,
    config: &PipelineConfig,
    now: DateTime<Utc>,
) -> Result<Vec<Window>, LoadError> {
    let (margin, max_age) = (
        to_delta(config.window.margin),
        to_delta(config.jobs.max_age),
    );
    let mut windows = Vec::new();
    for (_, job) in stored_jobs(lake, app_id).await? {
        let request = match job {
            StoredJob::Started(record) if now - record.posted_at < max_age => record.request,
            StoredJob::Claimed {
                claim,
                is_abandoned: false,
            } if now - claim.claimed_at < CLAIM_WITHOUT_JOB => claim.request,
            _ => continue,
        };
        let range = request.range;
        let window = Window::try_new(range.start() + margin, range.end() - margin);
        windows.extend(window.ok().filter(|_| request.event == config.event));
    }
    Ok(windows)
}

/// Forgets jobs and claims of the app that are too old to be taken up: of a window that no run asks for any more, such
/// as one that was open then, nobody else would. One that cannot be forgotten does no harm.
pub(crate) async fn clear_jobs(lake: &Lake, app_id: &AppId, now: DateTime<Utc>, max_age: Duration) {
    let stored = match stored_jobs(lake, app_id).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(error = chain(&error), "stored jobs cannot be read");
            return;
        }
    };
    for (name, job) in stored {
        let since = match &job {
            StoredJob::Started(record) => record.posted_at,
            StoredJob::Claimed { claim, .. } => claim.claimed_at,
        };
        if now - since > to_delta(max_age) {
            delete(lake, app_id, &name).await;
        }
    }
}

/// Forgets jobs from before `began` that exported parts of `windows`, which have been brought whole since: a run that
/// ended among the parts of a window left them, and nobody asks for them any more. Younger ones may be of a run that is
/// at work, and a job of just such a window is for who reads it again.
pub(crate) async fn clear_parts(
    lake: &Lake,
    app_id: &AppId,
    config: &PipelineConfig,
    windows: &[Window],
    began: DateTime<Utc>,
) {
    let stored = match stored_jobs(lake, app_id).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(error = chain(&error), "stored jobs cannot be read");
            return;
        }
    };
    for (name, job) in stored {
        let StoredJob::Started(JobRecord {
            request, posted_at, ..
        }) = job
        else {
            continue;
        };
        let is_part_of = |window: &Window| {
            let asked = window.widen(to_delta(config.window.margin));
            asked != request.range
                && asked.start() <= request.range.start()
                && request.range.end() <= asked.end()
        };
        let is_old = posted_at < began;
        if is_old && request.event == config.event && windows.iter().any(is_part_of) {
            delete(lake, app_id, &name).await;
        }
    }
}

/// Forgets a stored job; one that stays does no harm.
async fn delete(lake: &Lake, app_id: &AppId, name: &str) {
    if let Err(error) = lake.delete_job(app_id, name).await {
        tracing::warn!(
            job = name,
            error = chain(&error),
            "a stored job that nobody asks for stays"
        );
    }
}

/// What the object of a claim is called, and of the job that came of it.
fn name_of(request: &ExportRequest, generation: u32) -> String {
    let event = request
        .event
        .map_or("all", answerlake_extract::EventFilter::name);
    let compact = |time: DateTime<Utc>| time.format("%Y%m%dT%H%M%S%.3fZ").to_string();
    let (start, end) = (compact(request.range.start()), compact(request.range.end()));
    format!("{start}-{end}-{event}-{generation}")
}

impl<'r> LakeJobs<'r> {
    pub(crate) fn new(lake: &'r Lake, run_id: &'r RunId, wanted: Wanted<'r>) -> Self {
        Self {
            lake,
            run_id,
            wanted,
            open_claim: watch::Sender::new(None),
        }
    }

    /// Waits until no job is being started, as long as that is to be hoped for; then the claim is given up.
    pub(crate) async fn settle(&self) {
        let mut claims = self.open_claim.subscribe();
        let settled = claims.wait_for(Option::is_none);
        let is_settled = tokio::time::timeout(POST_UNDER_WAY, settled).await.is_ok();
        let claim = self.open_claim.borrow().clone();
        if let Some(claim) = claim.filter(|_| !is_settled)
            && let Err(error) = self.release(&claim).await
        {
            tracing::warn!(range = %claim.request.range, %error, "a claim stays that will come to nothing");
        }
    }

    /// Everything stored of a request: generation and what it is, oldest first.
    async fn all_of(&self, request: &ExportRequest) -> Result<Vec<(u32, StoredJob)>, BoxError> {
        let mut found = Vec::new();
        for (name, job) in stored_jobs(self.lake, &request.app_id).await? {
            let (generation, asked) = match &job {
                StoredJob::Started(record) => (record.generation, &record.request),
                StoredJob::Claimed { claim, .. } => (claim.generation, &claim.request),
            };
            if name == name_of(request, generation) && asked == request {
                found.push((generation, job));
            }
        }
        found.sort_by_key(|(generation, _)| *generation);
        Ok(found)
    }

    /// Drops whatever job is stored of a request, if that is no other run's claim.
    pub(crate) async fn forget_all(&self, request: &ExportRequest) -> Result<(), ExtractError> {
        let forgotten = async {
            match self.find(request).await? {
                Some(StoredJob::Started(record)) => self.forget(&record).await,
                _ => Ok(()),
            }
        };
        forgotten.await.map_err(|source| ExtractError::JobStore {
            action: "forgotten",
            source,
        })
    }

    fn stored(&self, what: Claimed) -> Result<Vec<u8>, BoxError> {
        let stored = Stored {
            id: Uuid::new_v4().to_string(),
            run_id: Some(self.run_id.clone()),
            holder: Holder::this(),
            what,
        };
        Ok(serde_json::to_vec(&stored)?)
    }

    /// Whether another run has brought all of it since it was planned.
    async fn was_brought(&self) -> Result<bool, LoadError> {
        let Wanted { partitions, seen } = self.wanted;
        for (key, reason) in partitions {
            match reason {
                Reason::Forced => return Ok(false),
                // Nothing of it was to be brought.
                Reason::InFlight => continue,
                _ => {}
            }
            let before = seen.get(key).map(|summary| summary.revision);
            let state = self.lake.state(key).await?;
            let is_newer = state.is_some_and(|state| {
                Some(state.revision) > before && !state.is_broken() && !state.manifest.partial
            });
            if !is_newer {
                return Ok(false);
            }
        }
        Ok(!partitions.is_empty())
    }
}

#[async_trait]
impl JobStore for LakeJobs<'_> {
    async fn find(&self, request: &ExportRequest) -> Result<Option<StoredJob>, BoxError> {
        Ok(self.all_of(request).await?.pop().map(|(_, job)| job))
    }

    async fn claim(&self, claim: &JobClaim) -> Result<Claiming, BoxError> {
        let (request, generation) = (&claim.request, claim.generation);
        let json = self.stored(Claimed::Claimed(claim.clone()))?;
        let (app_id, name) = (&request.app_id, name_of(request, generation));
        if !self.lake.create_job(app_id, &name, json.into()).await? {
            return Ok(Claiming::Theirs);
        }
        // Who finishes commits first and forgets its job then: where the claim stands, what was committed shows.
        if self.was_brought().await? {
            self.release(claim).await?;
            return Ok(Claiming::Unwanted);
        }
        self.open_claim.send_replace(Some(claim.clone()));
        Ok(Claiming::Ours)
    }

    async fn release(&self, claim: &JobClaim) -> Result<(), BoxError> {
        self.open_claim.send_replace(None);
        let name = name_of(&claim.request, claim.generation);
        Ok(self.lake.delete_job(&claim.request.app_id, &name).await?)
    }

    async fn save(&self, record: &JobRecord) -> Result<(), BoxError> {
        let json = self.stored(Claimed::Started(record.clone()))?;
        let name = name_of(&record.request, record.generation);
        let saved = self
            .lake
            .put_job(&record.request.app_id, &name, json.into())
            .await;
        self.open_claim.send_replace(None);
        Ok(saved?)
    }

    async fn forget(&self, record: &JobRecord) -> Result<(), BoxError> {
        for (generation, job) in self.all_of(&record.request).await? {
            // Of the same generation, it may be what another run has stored since.
            let is_it =
                matches!(&job, StoredJob::Started(stored) if stored.job_id == record.job_id);
            if is_it || generation < record.generation {
                let name = name_of(&record.request, generation);
                self.lake.delete_job(&record.request.app_id, &name).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use answerlake_extract::EventFilter;
    use answerlake_load::LakeStore;
    use answerlake_model::{Grain, JobId, Window};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn request(end: &str, event: Option<EventFilter>) -> ExportRequest {
        let range = Window::try_new(
            "2025-06-27T23:59:59Z".parse().unwrap(),
            end.parse().unwrap(),
        );
        ExportRequest {
            app_id: AppId::try_new("st-1").unwrap(),
            range: range.unwrap(),
            event,
        }
    }

    fn asked() -> ExportRequest {
        request("2025-06-29T00:00:01Z", None)
    }

    fn claim(generation: u32) -> JobClaim {
        JobClaim {
            request: asked(),
            generation,
            claimed_at: "2025-06-30T00:00:00Z".parse().unwrap(),
        }
    }

    fn record(id: &str, generation: u32) -> JobRecord {
        JobRecord {
            job_id: JobId::try_new(id).unwrap(),
            request: asked(),
            posted_at: "2025-06-30T00:00:00Z".parse().unwrap(),
            generation,
        }
    }

    /// The window of [`asked`], with its margin of a second.
    fn day() -> Window {
        let range = asked().range;
        let second = TimeDelta::seconds(1);
        Window::try_new(range.start() + second, range.end() - second).unwrap()
    }

    fn config() -> PipelineConfig {
        let lake_only = crate::config::Override {
            setting: crate::config::Setting::ALL
                .iter()
                .find(|setting| setting.flag == "lake")
                .unwrap(),
            value: "memory://".to_owned(),
            origin: String::new(),
        };
        PipelineConfig::load(None, &[lake_only]).unwrap()
    }

    async fn windows(lake: &Lake, now: DateTime<Utc>) -> Vec<Window> {
        in_flight(lake, &asked().app_id, &config(), now)
            .await
            .unwrap()
    }

    async fn lake() -> Lake {
        Lake::new(LakeStore::open("memory://").await.unwrap())
    }

    const NOTHING: Wanted<'static> = Wanted {
        partitions: &[],
        seen: &BTreeMap::new(),
    };

    #[tokio::test]
    async fn a_job_is_found_by_its_request_alone() {
        let (lake, run_id) = (lake().await, RunId::try_new("r-1").unwrap());
        let jobs = LakeJobs::new(&lake, &run_id, NOTHING);
        let started = |record| Some(StoredJob::Started(record));
        assert_eq!(jobs.find(&asked()).await.unwrap(), None);
        jobs.save(&record("fj-1", 1)).await.unwrap();
        jobs.save(&record("fj-2", 1)).await.unwrap();
        assert_eq!(
            jobs.find(&asked()).await.unwrap(),
            started(record("fj-2", 1))
        );
        for other in [
            request("2025-06-30T00:00:01Z", None),
            request("2025-06-29T00:00:01Z", Some(EventFilter::ThumbsUp)),
        ] {
            assert_eq!(jobs.find(&other).await.unwrap(), None);
        }
        let (app_id, posted_at) = (asked().app_id, record("fj-2", 1).posted_at);
        clear_jobs(&lake, &app_id, posted_at + DAY, DAY).await;
        let second = TimeDelta::seconds(1);
        assert_eq!(windows(&lake, posted_at + DAY - second).await, [day()]);
        assert_eq!(windows(&lake, posted_at + DAY).await, []);
        assert_eq!(
            jobs.find(&asked()).await.unwrap(),
            started(record("fj-2", 1))
        );
        clear_jobs(&lake, &app_id, posted_at + DAY + second, DAY).await;
        assert_eq!(jobs.find(&asked()).await.unwrap(), None);

        jobs.save(&record("fj-3", 1)).await.unwrap();
        jobs.forget(&record("fj-3", 1)).await.unwrap();
        assert_eq!(jobs.find(&asked()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn jobs_of_parts_go_with_their_window_and_no_others() {
        let (lake, run_id) = (lake().await, RunId::try_new("r-1").unwrap());
        let jobs = LakeJobs::new(&lake, &run_id, NOTHING);
        let posted_at = record("fj-1", 1).posted_at;
        let half = JobRecord {
            request: request("2025-06-28T12:00:01Z", None),
            ..record("fj-half", 1)
        };
        for job in [&record("fj-1", 1), &half] {
            jobs.save(job).await.unwrap();
        }
        let second = TimeDelta::seconds(1);
        let clear = async |began| {
            let config = config();
            clear_parts(&lake, &asked().app_id, &config, &[day()], began).await;
            lake.jobs(&asked().app_id).await.unwrap().len()
        };
        // Of a run that may be at work.
        assert_eq!(clear(posted_at).await, 2);
        assert_eq!(clear(posted_at + second).await, 1);
        let found = jobs.find(&asked()).await.unwrap();
        assert_eq!(found, Some(StoredJob::Started(record("fj-1", 1))));
    }

    #[tokio::test]
    async fn of_two_that_claim_one_does_and_the_newest_generation_counts() {
        let (lake, run_id) = (lake().await, RunId::try_new("r-1").unwrap());
        let one = LakeJobs::new(&lake, &run_id, NOTHING);
        let other = LakeJobs::new(&lake, &run_id, NOTHING);
        assert_eq!(one.claim(&claim(1)).await.unwrap(), Claiming::Ours);
        assert_eq!(other.claim(&claim(1)).await.unwrap(), Claiming::Theirs);
        let Some(StoredJob::Claimed {
            claim: found,
            is_abandoned: false,
        }) = other.find(&asked()).await.unwrap()
        else {
            panic!("the claim stands");
        };
        assert_eq!(found, claim(1));
        let (app_id, at) = (asked().app_id, claim(1).claimed_at);
        let ten = TimeDelta::minutes(10);
        assert_eq!(windows(&lake, at).await, [day()]);
        assert_eq!(windows(&lake, at + ten).await, []);

        // The first was slow: the second has claimed anew meanwhile.
        assert_eq!(other.claim(&claim(2)).await.unwrap(), Claiming::Ours);
        other.save(&record("fj-2", 2)).await.unwrap();
        one.save(&record("fj-1", 1)).await.unwrap();
        let found = one.find(&asked()).await.unwrap();
        assert_eq!(found, Some(StoredJob::Started(record("fj-2", 2))));
        // Forgetting a job that another has taken the place of leaves that alone.
        one.forget(&record("fj-0", 2)).await.unwrap();
        let found = one.find(&asked()).await.unwrap();
        assert_eq!(found, Some(StoredJob::Started(record("fj-2", 2))));
        other.forget(&record("fj-2", 2)).await.unwrap();
        assert_eq!(lake.jobs(&app_id).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_another_run_has_brought_is_not_wanted_any_more() {
        let (lake, run_id) = (lake().await, RunId::try_new("r-1").unwrap());
        let key = PartitionKey::new(asked().app_id, asked().range.end(), Grain::Day);
        let partitions = [(key, Reason::Uncommitted)];
        let wanted = Wanted {
            partitions: &partitions,
            ..NOTHING
        };
        let jobs = LakeJobs::new(&lake, &run_id, wanted);
        assert_eq!(jobs.claim(&claim(1)).await.unwrap(), Claiming::Ours);
        jobs.release(&claim(1)).await.unwrap();
        assert_eq!(lake.jobs(&asked().app_id).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_gives_a_claim_up_whose_post_is_not_answered() {
        let (lake, run_id) = (lake().await, RunId::try_new("r-1").unwrap());
        let jobs = LakeJobs::new(&lake, &run_id, NOTHING);
        jobs.settle().await;
        assert_eq!(jobs.claim(&claim(1)).await.unwrap(), Claiming::Ours);
        let answered = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            jobs.save(&record("fj-1", 1)).await.unwrap();
        };
        tokio::join!(jobs.settle(), answered);
        let found = jobs.find(&asked()).await.unwrap();
        assert_eq!(found, Some(StoredJob::Started(record("fj-1", 1))));
        jobs.forget(&record("fj-1", 1)).await.unwrap();
        assert_eq!(jobs.claim(&claim(1)).await.unwrap(), Claiming::Ours);
        jobs.settle().await;
        assert_eq!(jobs.find(&asked()).await.unwrap(), None);
    }
}
