//! From a request to a finished job.
//!
//! A POST starts a job each time it is sent, as far as anyone knows. So a request is claimed before its POST, the job's
//! id is stored with the claim before anything else is done with it, a stored job is taken up rather than started again,
//! and a POST whose outcome is unknown is repeated late and seldom.
//!
//! Of two runs that want the same at the same time, one holds the claim, and the other waits for its job. That saves an
//! export; nothing depends on it.

use std::time::Duration;

use answerlake_model::{AppId, JobId, Window};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::client::{ExportClient, Payload};
use crate::config::{EventFilter, JobsConfig};
use crate::error::{BoxError, Call, ExtractError};
use crate::fragment::{FragmentRef, SignedLink};
use crate::retry;
use crate::wire::{self, FileReply, JobReply, JobState};

/// How long a new job may be unknown to the source, or make it fail.
const EARLY: Duration = Duration::from_secs(60);
/// How long to wait before a POST of unknown outcome is repeated, and how often it is.
const UNKNOWN_OUTCOME_WAIT: Duration = Duration::from_secs(30);
const UNKNOWN_OUTCOME_REPEATS: u32 = 2;
/// How old a claim may be without a job: the POST of a run that lives has been answered by then.
const CLAIM_WITHOUT_JOB: Duration = Duration::from_secs(10 * 60);

/// What one job exports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExportRequest {
    /// The app.
    pub app_id: AppId,
    /// The range as it is asked for, margin included.
    pub range: Window,
    /// Only records of this event; all when absent.
    pub event: Option<EventFilter>,
}

/// The right to start the job of a request: what is stored before its POST.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobClaim {
    /// What the job will export.
    pub request: ExportRequest,
    /// Its number among the claims of this request, from 1: one that came to nothing is followed by the next.
    pub generation: u32,
    /// When it was made, by the clock of whoever did.
    pub claimed_at: DateTime<Utc>,
}

/// A job that was started: what is stored so that it can be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id at the source.
    pub job_id: JobId,
    /// What it exports.
    pub request: ExportRequest,
    /// When it was asked for, by this machine's clock: its records are as of this time, or a little later.
    pub posted_at: DateTime<Utc>,
    /// The number of its claim.
    #[serde(default = "first_generation")]
    pub generation: u32,
}

fn first_generation() -> u32 {
    1
}

/// What is stored of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredJob {
    /// Somebody is about to start its job.
    Claimed {
        /// The claim.
        claim: JobClaim,
        /// Whether who made it is known to be gone.
        is_abandoned: bool,
    },
    /// Its job was started.
    Started(JobRecord),
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    /// It stands: its job is ours to start.
    Ours,
    /// Another run's claim of this generation, or its job, stood before.
    Theirs,
    /// The request is not wanted any more, as is seen once the claim stands. It was released.
    Unwanted,
}

/// Where the jobs in flight are kept. What counts of a request is what has the highest generation.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// What is stored of exactly this request and was not forgotten.
    async fn find(&self, request: &ExportRequest) -> Result<Option<StoredJob>, BoxError>;

    /// Stores a claim if there is nothing of its generation. Returns when it will survive a crash.
    async fn claim(&self, claim: &JobClaim) -> Result<Claiming, BoxError>;

    /// Drops a claim whose job will not be started; fine when there is none.
    async fn release(&self, claim: &JobClaim) -> Result<(), BoxError>;

    /// Stores a job in place of its claim. Returns when it will survive a crash.
    async fn save(&self, record: &JobRecord) -> Result<(), BoxError>;

    /// Drops a job, and what came before it; fine when there is none.
    async fn forget(&self, record: &JobRecord) -> Result<(), BoxError>;
}

/// A job that has succeeded and whose totals agree.
#[derive(Debug)]
pub struct FinishedJob {
    /// The job.
    pub record: JobRecord,
    /// What there is to download, in the order of the export. Empty only when the job says it has no records.
    pub fragments: Vec<FragmentRef>,
    /// What the job says of itself, as JSON, without the queries of links.
    pub reply: String,
    /// `store.totalFiles`; older jobs do not tell.
    pub total_files: Option<u64>,
    /// `store.totalRecords`; older jobs do not tell.
    pub total_records: Option<u64>,
    /// Whether a stored job was taken up, rather than a new one started.
    pub taken_up: bool,
    /// How often the job was asked for.
    pub polls: u32,
    /// How long the export took, from its POST until it was seen done. Absent for a job that was done before it was
    /// taken up: nobody saw when.
    pub export_time: Option<Duration>,
}

/// How a job came to be waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    TakenUp,
    /// Started now; may not be there yet for the first minute.
    Fresh,
}

/// What a run has of a request before it waits for its job.
enum AtHand {
    Job(JobRecord),
    Claim(JobClaim),
    Unwanted,
}

impl ExportClient {
    /// Runs the job of this request to its end: takes up a stored one that is younger than `jobs.max_age`, or claims
    /// the request, starts a new one and stores it before its first poll. Where another run has claimed it, waits for
    /// the job of that run, and claims it anew where none comes in 10 minutes.
    ///
    /// `None` when the store says that the request is not wanted any more. A stored job that has failed or is gone is
    /// forgotten, and a new one started. A finished job stays stored: who has used its fragments, or wants the request
    /// exported anew, forgets it. At most `jobs.concurrency` jobs of the client and its clones run at once.
    ///
    /// # Errors
    /// When the job cannot be started, fails, stalls, passes the deadline, or its totals do not agree. Stalled jobs
    /// stay stored, so that the next run takes them up; one that stalls again is forgotten.
    pub async fn run_job(
        &self,
        request: &ExportRequest,
        store: &dyn JobStore,
    ) -> Result<Option<FinishedJob>, ExtractError> {
        if request.app_id != self.shared.config.source.app_id {
            let reason = format!("expected a request for this app, got `{}`", request.app_id);
            return Err(ExtractError::config("source.app_id", reason));
        }
        let jobs = &self.shared.jobs;
        let _turn = jobs.acquire().await.expect("the semaphore is never closed");
        loop {
            let claim = match self.find_or_claim(request, store).await? {
                AtHand::Unwanted => return Ok(None),
                AtHand::Claim(claim) => claim,
                AtHand::Job(record) => match self.take_up(&record, store).await? {
                    None => continue,
                    finished => return Ok(finished),
                },
            };
            let record = self.start_job(claim, store).await?;
            info!(job_id = %record.job_id, range = %request.range, "job started");
            let finished = self.wait_for(&record, Origin::Fresh).await;
            if let Err(error) = &finished
                && error.ends_job()
            {
                forget(store, &record).await?;
            }
            return finished.map(Some);
        }
    }

    /// The stored job of the request, or a claim to start one.
    async fn find_or_claim(
        &self,
        request: &ExportRequest,
        store: &dyn JobStore,
    ) -> Result<AtHand, ExtractError> {
        let mut watch = Watch::new(&self.shared.config.jobs, Instant::now());
        loop {
            let found = store.find(request).await.map_err(stored("found"))?;
            let generation = match found {
                None => 1,
                Some(StoredJob::Started(record)) => {
                    let age = age(record.posted_at);
                    if age < self.shared.config.jobs.max_age {
                        return Ok(AtHand::Job(record));
                    }
                    warn!(job_id = %record.job_id, age_seconds = age.as_secs(), "stored job is too old");
                    forget(store, &record).await?;
                    continue;
                }
                Some(StoredJob::Claimed {
                    claim,
                    is_abandoned,
                }) => {
                    // Clocks differ from machine to machine, so that the wait has an end by our own, too.
                    let is_hopeful = age(claim.claimed_at) < CLAIM_WITHOUT_JOB
                        && watch.age() < CLAIM_WITHOUT_JOB;
                    if is_hopeful && !is_abandoned {
                        info!(range = %request.range, "another run is starting this job, waiting for it");
                        tokio::time::sleep(watch.next_interval()).await;
                        continue;
                    }
                    warn!(range = %request.range, generation = claim.generation, "a claim came to nothing, claiming anew");
                    claim.generation.saturating_add(1)
                }
            };
            let claim = JobClaim {
                request: request.clone(),
                generation,
                claimed_at: Utc::now(),
            };
            match store.claim(&claim).await.map_err(stored("claimed"))? {
                Claiming::Ours => return Ok(AtHand::Claim(claim)),
                Claiming::Unwanted => return Ok(AtHand::Unwanted),
                Claiming::Theirs => debug!(range = %request.range, "another run was faster"),
            }
        }
    }

    /// Waits for a stored job; `None` when it is of no use, and forgotten.
    async fn take_up(
        &self,
        record: &JobRecord,
        store: &dyn JobStore,
    ) -> Result<Option<FinishedJob>, ExtractError> {
        info!(job_id = %record.job_id, range = %record.request.range, "stored job taken up");
        match self.wait_for(record, Origin::TakenUp).await {
            Err(error) if error.ends_job() => {
                warn!(job_id = %record.job_id, error = error.chain(), "stored job is of no use");
                forget(store, record).await?;
                Ok(None)
            }
            Err(error @ ExtractError::JobStalled { .. }) => {
                forget(store, record).await?;
                Err(error)
            }
            other => other.map(Some),
        }
    }

    /// Starts the job of a claim and stores it, or releases the claim.
    async fn start_job(
        &self,
        claim: JobClaim,
        store: &dyn JobStore,
    ) -> Result<JobRecord, ExtractError> {
        match self.post_until_known(&claim).await {
            Ok(record) => {
                store.save(&record).await.map_err(stored("saved"))?;
                Ok(record)
            }
            Err(error) => {
                if let Err(source) = store.release(&claim).await {
                    warn!(range = %claim.request.range, %source, "a claim stays that will come to nothing");
                }
                Err(error)
            }
        }
    }

    /// Sends the POST, and again where its outcome stays unknown.
    async fn post_until_known(&self, claim: &JobClaim) -> Result<JobRecord, ExtractError> {
        let started = Instant::now();
        let request = &claim.request;
        let payload = Payload::Json(wire::export_body(request));
        for repeat in 0.. {
            match self.post_job(claim, &payload).await {
                Err(error) if !error.outcome_is_unknown() => return Err(error),
                Err(error) if repeat == UNKNOWN_OUTCOME_REPEATS => {
                    return Err(retry::exhausted(error, repeat + 1, started.elapsed()));
                }
                Err(error) => warn!(
                    range = %request.range,
                    attempt = repeat + 1,
                    wait_seconds = UNKNOWN_OUTCOME_WAIT.as_secs(),
                    error = error.chain(),
                    "a job may have been started without our knowing, starting another"
                ),
                started => return started,
            }
            self.shared.counters.retried();
            tokio::time::sleep(UNKNOWN_OUTCOME_WAIT / self.shared.config.hurry).await;
        }
        unreachable!("the last repetition returns")
    }

    /// Sends the POST, repeating only what the source certainly did not act on.
    async fn post_job(
        &self,
        claim: &JobClaim,
        payload: &Payload,
    ) -> Result<JobRecord, ExtractError> {
        let shared = &self.shared;
        let url = shared.address(&["analytics-export"]);
        let attempt = || async {
            let posted_at = Utc::now();
            let body = shared.call(&Call::StartJob, url.clone(), payload).await?;
            let job_id = wire::started_job(&body).map_err(|reason| ExtractError::Malformed {
                call: Call::StartJob,
                reason,
            })?;
            Ok(JobRecord {
                job_id,
                request: claim.request.clone(),
                posted_at,
                generation: claim.generation,
            })
        };
        let policy = shared.retry_policy();
        policy
            .run(&shared.counters, ExtractError::was_not_accepted, attempt)
            .await
    }

    /// Polls the job to its end.
    async fn wait_for(
        &self,
        record: &JobRecord,
        origin: Origin,
    ) -> Result<FinishedJob, ExtractError> {
        let job_id = &record.job_id;
        let mut watch = Watch::new(&self.shared.config.jobs, Instant::now());
        watch.ran_before = age(record.posted_at);
        if origin == Origin::Fresh {
            self.tell_running(Some(0.0));
            tokio::time::sleep(watch.next_interval()).await;
        }
        let mut was_finished = false;
        for polls in 1.. {
            match self.ask_job(job_id).await {
                Ok(reply) => match reply.state {
                    JobState::Succeeded => match finished(record, &reply, origin, polls, self) {
                        Err(error) if error.is_about_totals() && !was_finished => {
                            warn!(%job_id, error = error.chain(), "finished job is asked once more");
                            was_finished = true;
                        }
                        done => return done,
                    },
                    JobState::Failed => return Err(failed(job_id, reply)),
                    JobState::Running { known } => {
                        if !known && self.shared.is_new_status(&reply.status) {
                            warn!(%job_id, status = reply.status, "unknown job status, taken as running");
                        }
                        self.tell_running(reply.percent);
                        debug!(%job_id, status = reply.status, percent = reply.percent, "job is running");
                        watch.observe(job_id, reply.status, reply.percent, Instant::now())?;
                    }
                },
                Err(error)
                    if origin == Origin::Fresh
                        && error.is_too_early()
                        && watch.age() < EARLY / self.shared.config.hurry =>
                {
                    debug!(%job_id, error = error.chain(), "job is not there yet");
                    self.shared.counters.retried();
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(watch.next_interval()).await;
        }
        unreachable!("the deadline comes before the count of polls ends")
    }

    fn tell_running(&self, percent: Option<f64>) {
        if let Some(observer) = &self.observer {
            observer.running(percent);
        }
    }

    async fn ask_job(&self, job_id: &JobId) -> Result<JobReply, ExtractError> {
        let shared = &self.shared;
        let call = Call::AskJob {
            job_id: job_id.clone(),
        };
        let url = shared.address(&["jobs", job_id.as_str()]);
        let attempt = || async {
            let body = shared.call(&call, url.clone(), &Payload::Nothing).await?;
            JobReply::try_parse(&body).map_err(|reason| ExtractError::Malformed {
                call: call.clone(),
                reason,
            })
        };
        let policy = shared.retry_policy();
        policy
            .run(&shared.counters, ExtractError::is_transient, attempt)
            .await
    }

    /// Asks a finished job again, for fresh links to its `count` fragments.
    pub(crate) async fn fresh_links(
        &self,
        job_id: &JobId,
        count: usize,
    ) -> Result<Vec<SignedLink>, ExtractError> {
        let reply = self.ask_job(job_id).await?;
        if reply.state == JobState::Failed {
            return Err(failed(job_id, reply));
        }
        let fragments = fragments(job_id, &reply, self)?;
        if fragments.len() != count {
            return Err(ExtractError::FragmentCount {
                job_id: job_id.clone(),
                promised: count as u64,
                listed: fragments.len() as u64,
            });
        }
        Ok(fragments
            .into_iter()
            .map(|fragment| fragment.link)
            .collect())
    }
}

async fn forget(store: &dyn JobStore, record: &JobRecord) -> Result<(), ExtractError> {
    store.forget(record).await.map_err(stored("forgotten"))
}

/// How long ago a time was, by this machine's clock.
fn age(time: DateTime<Utc>) -> Duration {
    (Utc::now() - time).to_std().unwrap_or_default()
}

fn stored(action: &'static str) -> impl FnOnce(BoxError) -> ExtractError {
    move |source| ExtractError::JobStore { action, source }
}

fn failed(job_id: &JobId, reply: JobReply) -> ExtractError {
    ExtractError::JobFailed {
        job_id: job_id.clone(),
        status: reply.status,
        message: reply.message,
    }
}

fn finished(
    record: &JobRecord,
    reply: &JobReply,
    origin: Origin,
    polls: u32,
    client: &ExportClient,
) -> Result<FinishedJob, ExtractError> {
    let fragments = fragments(&record.job_id, reply, client)?;
    info!(
        job_id = %record.job_id,
        fragments = fragments.len(),
        records = reply.total_records,
        polls,
        "job finished"
    );
    let was_seen_running = origin == Origin::Fresh || polls > 1;
    let since_post = (Utc::now() - record.posted_at).to_std().ok();
    Ok(FinishedJob {
        record: record.clone(),
        fragments,
        reply: reply.shown.clone(),
        total_files: reply.total_files,
        total_records: reply.total_records,
        taken_up: origin == Origin::TakenUp,
        polls,
        export_time: since_post.filter(|_| was_seen_running),
    })
}

/// The fragments of a job that has succeeded, in order of their parts where their names tell it.
fn fragments(
    job_id: &JobId,
    reply: &JobReply,
    client: &ExportClient,
) -> Result<Vec<FragmentRef>, ExtractError> {
    if reply.files.is_empty() && reply.total_records == Some(0) {
        return Ok(Vec::new());
    }
    if reply.files.is_empty() {
        return Err(ExtractError::FinishedWithoutLinks {
            job_id: job_id.clone(),
        });
    }
    check_totals(job_id, reply)?;
    let mut files: Vec<&FileReply> = reply.files.iter().collect();
    files.sort_by_key(|file| file.part);
    let host = &client.shared.config.source.host;
    let fragment = |(index, file): (usize, &FileReply)| {
        let position = index + 1;
        let link = SignedLink::try_new(file.url.as_deref(), host).map_err(|reason| {
            ExtractError::BadLink {
                job_id: job_id.clone(),
                position,
                reason,
            }
        })?;
        Ok(FragmentRef {
            position,
            promised_records: file.records,
            link,
        })
    };
    files.into_iter().enumerate().map(fragment).collect()
}

/// What a job says of itself must agree before any of it is downloaded.
fn check_totals(job_id: &JobId, reply: &JobReply) -> Result<(), ExtractError> {
    let (job_id, listed) = (job_id.clone(), reply.files.len() as u64);
    if let Some(promised) = reply.total_files
        && promised != listed
    {
        return Err(ExtractError::FragmentCount {
            job_id,
            promised,
            listed,
        });
    }
    let mut parts: Vec<_> = reply.files.iter().filter_map(|file| file.part).collect();
    parts.sort_unstable();
    if let Some(&(_, expected)) = parts.iter().max_by_key(|(_, total)| *total) {
        let complete = (1..=expected).map(|index| (index, expected));
        if listed != expected || !parts.iter().copied().eq(complete) {
            return Err(ExtractError::FragmentParts {
                job_id,
                expected,
                listed: parts.into_iter().map(|(index, _)| index).collect(),
            });
        }
    }
    let records: Option<u64> = reply.files.iter().map(|file| file.records).sum();
    match (reply.total_records, records) {
        (Some(promised), Some(listed)) if promised != listed => Err(ExtractError::RecordCount {
            job_id,
            promised,
            listed,
        }),
        _ => Ok(()),
    }
}

/// Watches a job: how long until the next poll, and whether it still moves.
struct Watch<'a> {
    config: &'a JobsConfig,
    started: Instant,
    /// How long it had run when the watch began.
    ran_before: Duration,
    interval: Duration,
    /// How long it still takes, at the pace that it was just seen to have.
    rest: Option<Duration>,
    last: Option<(String, Option<f64>)>,
    changed: Instant,
}

impl<'a> Watch<'a> {
    fn new(config: &'a JobsConfig, now: Instant) -> Self {
        Self {
            config,
            started: now,
            ran_before: Duration::ZERO,
            interval: config.poll_min,
            rest: None,
            last: None,
            changed: now,
        }
    }

    fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Grows by half each time. After a look that saw the job move, it is as long as the job still takes at its pace,
    /// but no longer than four times that: a pace seen early may be anything.
    fn next_interval(&mut self) -> Duration {
        let usual = self.interval;
        self.interval = usual.mul_f64(1.5).min(self.config.poll_max);
        let rest = self.rest.take().map(|rest| rest.min(usual * 4));
        rest.unwrap_or(usual)
            .clamp(self.config.poll_min, self.config.poll_max)
    }

    fn rest(&self, percent: Option<f64>, now: Instant) -> Option<Duration> {
        let done = percent.filter(|percent| *percent >= 1.0 && *percent < 100.0)? / 100.0;
        let ran = self.ran_before + (now - self.started);
        Duration::try_from_secs_f64(ran.as_secs_f64() * (1.0 - done) / done).ok()
    }

    fn observe(
        &mut self,
        job_id: &JobId,
        status: String,
        percent: Option<f64>,
        now: Instant,
    ) -> Result<(), ExtractError> {
        let seen = Some((status, percent));
        if self.last != seen {
            self.last = seen;
            self.changed = now;
            self.rest = self.rest(percent, now);
        }
        let (status, percent) = self.last.clone().unwrap_or_default();
        let (unchanged, waited) = (now - self.changed, now - self.started);
        if unchanged >= self.config.stall {
            return Err(ExtractError::JobStalled {
                job_id: job_id.clone(),
                status,
                percent,
                unchanged,
            });
        }
        if waited >= self.config.deadline {
            return Err(ExtractError::JobDeadline {
                job_id: job_id.clone(),
                status,
                percent,
                waited,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{
        self, MemoryStore, Seen, Server, answer, finished as done, hang_up, ok, request, running,
    };

    fn client(server: &Server) -> ExportClient {
        ExportClient::try_new(test_support::config(&server.url)).unwrap()
    }

    /// Answers the POST with a job, and its polls in this order; the last answer goes on.
    async fn polled(answers: Vec<Vec<u8>>) -> Server {
        let mut answers = answers.into_iter().peekable();
        Server::start(move |seen| {
            if seen.is_post() {
                return running(0);
            }
            let next = answers.next_if(|_| true).expect("enough answers");
            if answers.peek().is_none() {
                answers = vec![next.clone()].into_iter().peekable();
            }
            next
        })
        .await
    }

    async fn run(server: &Server) -> Result<FinishedJob, ExtractError> {
        run_with(server, &MemoryStore::default()).await
    }

    async fn run_with(server: &Server, store: &MemoryStore) -> Result<FinishedJob, ExtractError> {
        let finished = client(server).run_job(&request(), store).await?;
        Ok(finished.expect("it is wanted"))
    }

    fn record(age: Duration) -> JobRecord {
        JobRecord {
            job_id: "fj-old".parse().unwrap(),
            request: request(),
            posted_at: Utc::now() - age,
            generation: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_stored_before_its_first_poll() {
        let store = std::sync::Arc::new(MemoryStore::default());
        let kept = std::sync::Arc::clone(&store);
        let server = Server::start(move |seen| {
            if seen.is_post() {
                assert_eq!(kept.log(), ["claim 1"]);
                running(0)
            } else {
                assert_eq!(kept.log(), ["claim 1", "save fj-1"]);
                done(&["/f"])
            }
        })
        .await;
        let job = run_with(&server, &store).await.unwrap();
        assert!(!job.taken_up);
        assert_eq!(
            (job.polls, job.total_records, job.fragments.len()),
            (1, Some(1), 1)
        );
        // It stays stored: whoever uses the fragments forgets it.
        assert_eq!(store.log(), ["claim 1", "save fj-1"]);
        let seen = server.seen();
        assert_eq!(
            seen[0].body,
            r#"{"filters":{"from":"2025-06-28T00:00:00.000Z","to":"2025-06-29T00:00:00.000Z"}}"#
        );
        assert_eq!(seen[0].header("content-type"), Some("application/json"));
        assert_eq!(seen[0].header("auth"), Some(test_support::TOKEN));
    }

    #[derive(Default)]
    struct Observed(std::sync::Mutex<Vec<String>>);

    impl crate::JobObserver for Observed {
        fn running(&self, percent: Option<f64>) {
            self.0.lock().unwrap().push(format!("{percent:?}"));
        }

        fn received(&self, bytes: usize) {
            self.0.lock().unwrap().push(format!("{bytes} bytes"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_observer_is_told_how_the_job_goes_on() {
        let mut polls = vec![running(40), running(80), done(&["/f"])].into_iter();
        let server = Server::start(move |seen| match seen.path() {
            "/f" => ok("[1]"),
            _ if seen.is_post() => running(0),
            _ => polls.next().unwrap(),
        })
        .await;
        let observed = std::sync::Arc::new(Observed::default());
        let client = client(&server).observed_by(observed.clone());
        let job = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (ready, _fetched) = tokio::sync::mpsc::channel(1);
        let fetched = client.fetch_fragments(&job, folder.path(), ready);
        fetched.await.unwrap();
        let told = observed.0.lock().unwrap().clone();
        assert_eq!(told, ["Some(0.0)", "Some(40.0)", "Some(80.0)", "3 bytes"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stored_job_is_taken_up() {
        let server = polled(vec![done(&["/f"])]).await;
        let store = MemoryStore::with(record(Duration::from_secs(3600)));
        let job = run_with(&server, &store).await.unwrap();
        assert!(job.taken_up);
        assert_eq!(job.record.job_id.as_str(), "fj-old");
        assert_eq!(server.count(Seen::is_post), 0);
        assert!(store.log().is_empty());
        assert_eq!(job.export_time, None, "it may have been done for long");
    }

    fn claimed(age: Duration, is_abandoned: bool) -> MemoryStore {
        let claim = JobClaim {
            request: request(),
            generation: 3,
            claimed_at: Utc::now() - age,
        };
        MemoryStore::with_stored(StoredJob::Claimed {
            claim,
            is_abandoned,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_job_of_another_runs_claim_is_waited_for() {
        let server = polled(vec![done(&["/f"])]).await;
        let store = claimed(Duration::ZERO, false);
        let others = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            *store.kept.lock().unwrap() = Some(StoredJob::Started(record(Duration::ZERO)));
        };
        let (job, ()) = tokio::join!(run_with(&server, &store), others);
        let job = job.unwrap();
        assert!(job.taken_up);
        assert_eq!(job.record.job_id.as_str(), "fj-old");
        assert_eq!(server.count(Seen::is_post), 0);
        assert!(store.log().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_comes_to_nothing_is_followed_by_the_next() {
        for (age, is_abandoned, waits) in [(0, false, true), (0, true, false), (600, false, false)]
        {
            let server = polled(vec![done(&["/f"])]).await;
            let store = claimed(Duration::from_secs(age), is_abandoned);
            let start = Instant::now();
            assert!(!run_with(&server, &store).await.unwrap().taken_up);
            assert_eq!(store.log(), ["claim 4", "save fj-1"]);
            let seconds = start.elapsed().as_secs();
            let expected = if waits { 600..635 } else { 0..5 };
            assert!(expected.contains(&seconds), "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_started_that_is_not_wanted_any_more() {
        let server = polled(vec![done(&["/f"])]).await;
        let store = MemoryStore {
            is_unwanted: true,
            ..MemoryStore::default()
        };
        let finished = client(&server).run_job(&request(), &store).await.unwrap();
        assert!(finished.is_none() && server.seen().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_whose_job_cannot_be_started_is_released() {
        for refusal in [answer(412, &[], "{}"), answer(401, &[], "{}"), hang_up()] {
            let server = Server::start(move |_| refusal.clone()).await;
            let store = MemoryStore::default();
            run_with(&server, &store).await.unwrap_err();
            assert_eq!(store.log(), ["claim 1", "release 1"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_taken_up_job_that_still_runs_tells_its_time() {
        let server = polled(vec![running(50), done(&["/f"])]).await;
        let hour = Duration::from_secs(3600);
        let store = MemoryStore::with(record(hour));
        let job = run_with(&server, &store).await.unwrap();
        let time = job.export_time.unwrap();
        assert!(job.taken_up && time >= hour && time < 2 * hour, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stored_job_of_no_use_is_forgotten_and_started_anew() {
        let failed = r#"{"_id": "fj-old", "status": "FAILED"}"#;
        for first in [answer(404, &[], ""), ok(failed)] {
            let server = polled(vec![first, done(&["/f"])]).await;
            let store = MemoryStore::with(record(Duration::ZERO));
            let job = run_with(&server, &store).await.unwrap();
            assert!(!job.taken_up);
            assert_eq!(store.log(), ["forget fj-old", "claim 1", "save fj-1"]);
        }
        let server = polled(vec![done(&["/f"])]).await;
        let store = MemoryStore::with(record(Duration::from_secs(24 * 3600)));
        assert!(!run_with(&server, &store).await.unwrap().taken_up);
        assert_eq!(store.log(), ["forget fj-old", "claim 1", "save fj-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_of_another_request_is_left_alone() {
        let server = polled(vec![done(&["/f"])]).await;
        let mut other = record(Duration::ZERO);
        other.request.event = Some(EventFilter::ThumbsUp);
        let store = MemoryStore::with(other);
        assert!(!run_with(&server, &store).await.unwrap().taken_up);
        assert_eq!(store.log(), ["claim 1", "save fj-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_of_unknown_outcome_is_repeated_late_and_seldom() {
        for unknown in [answer(500, &[], ""), hang_up(), ok("<html>")] {
            let server = Server::start(move |_| unknown.clone()).await;
            let start = Instant::now();
            let error = run(&server).await.unwrap_err();
            assert!(
                matches!(error, ExtractError::RetriesExhausted { attempts: 3, .. }),
                "{error:?}"
            );
            assert_eq!((start.elapsed().as_secs(), server.seen().len()), (60, 3));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_that_was_not_accepted_is_repeated_at_once() {
        let mut posts = 0;
        let server = Server::start(move |seen| {
            posts += u32::from(seen.is_post());
            match (seen.is_post(), posts) {
                (true, 1) => answer(503, &[], "busy"),
                (true, _) => running(0),
                _ => done(&["/f"]),
            }
        })
        .await;
        let start = Instant::now();
        run(&server).await.unwrap();
        assert_eq!(server.count(Seen::is_post), 2);
        // A delay of one to two seconds, and two until the first poll.
        assert!(start.elapsed() < Duration::from_secs(5));

        let closed = polled(vec![done(&[])]).await.url.clone();
        tokio::task::yield_now().await;
        let mut config = test_support::config(&closed);
        config.fetch.retries = 2;
        let client = ExportClient::try_new(config).unwrap();
        let error = client
            .run_job(&request(), &MemoryStore::default())
            .await
            .unwrap_err();
        let ExtractError::RetriesExhausted {
            attempts, source, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert!(matches!(
            (attempts, *source),
            (3, ExtractError::Connect { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_that_is_wrong_is_not_repeated() {
        let server = Server::start(|_| {
            answer(
                412,
                &[],
                r#"{"errors":[{"msg":"Validation errors/ Invalid arguments","code":412}]}"#,
            )
        })
        .await;
        let error = run(&server).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "starting an export job: the source answered status 412: Validation errors/ Invalid arguments"
        );
        assert_eq!(server.seen().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_job_may_not_be_there_yet() {
        let missing = answer(404, &[], "");
        let server = polled(vec![missing.clone(), missing.clone(), done(&["/f"])]).await;
        assert_eq!(run(&server).await.unwrap().polls, 3);
        // But not for longer than a minute.
        let server = polled(vec![missing]).await;
        let start = Instant::now();
        let store = MemoryStore::default();
        let error = run_with(&server, &store).await.unwrap_err();
        assert!(matches!(error, ExtractError::JobNotFound { .. }));
        assert!((60..90).contains(&start.elapsed().as_secs()));
        assert_eq!(store.log(), ["claim 1", "save fj-1", "forget fj-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_does_not_move_has_stalled() {
        let server = polled(vec![running(10), running(40)]).await;
        let store = MemoryStore::default();
        let error = run_with(&server, &store).await.unwrap_err();
        let ExtractError::JobStalled {
            percent, unchanged, ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(*percent, Some(40.0));
        assert!((900..930).contains(&unchanged.as_secs()), "{unchanged:?}");
        assert_eq!(
            store.log(),
            ["claim 1", "save fj-1"],
            "the next run takes it up"
        );
        let error = run_with(&server, &store).await.unwrap_err();
        assert!(matches!(error, ExtractError::JobStalled { .. }));
        assert_eq!(store.log(), ["claim 1", "save fj-1", "forget fj-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_only_creeps_meets_the_deadline() {
        let mut percent = 0;
        let server = Server::start(move |_| {
            percent += 1;
            running(percent)
        })
        .await;
        let start = Instant::now();
        let error = run(&server).await.unwrap_err();
        assert!(
            matches!(error, ExtractError::JobDeadline { .. }),
            "{error:?}"
        );
        assert!((21_600..21_640).contains(&start.elapsed().as_secs()));
    }

    #[test]
    fn the_time_between_polls_grows() {
        let config = JobsConfig::default();
        let mut watch = Watch::new(&config, Instant::now());
        let intervals: Vec<_> = (0..9)
            .map(|_| watch.next_interval().as_secs_f64())
            .collect();
        assert_eq!(intervals[..4], [2.0, 3.0, 4.5, 6.75]);
        assert_eq!(intervals[7..], [30.0, 30.0]);
    }

    /// As the vendor's sample: 31 s for three fragments.
    #[tokio::test(start_paused = true)]
    async fn a_job_that_tells_its_progress_is_asked_when_it_should_be_done() {
        for (seconds, most_polls, latest) in [(31.0, 4, 35), (660.0, 33, 665)] {
            let started = Instant::now();
            let server = Server::start(move |seen| {
                let done = started.elapsed().as_secs_f64() / seconds;
                match seen.is_post() {
                    true => running(0),
                    false if done < 1.0 => running((done * 100.0) as u32),
                    false => ok(r#"{"_id":"fj-1","status":"SUCCESS","store":{"totalRecords":0}}"#),
                }
            })
            .await;
            let job = run(&server).await.unwrap();
            let took = started.elapsed().as_secs();
            assert!(job.polls <= most_polls, "{} polls", job.polls);
            assert!(took <= latest, "{took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_job_says_why() {
        let failed = r#"{"_id":"fj-1","status":"Timed_Out","error":{"msg":"too big"}}"#;
        let server = polled(vec![ok(failed)]).await;
        let error = run(&server).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"job `fj-1` failed with status `Timed_Out`: {"msg":"too big"}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_a_poll_pass() {
        let server = polled(vec![
            answer(502, &[], "<html>"),
            hang_up(),
            ok("half a {"),
            answer(429, &["retry-after: 1"], ""),
            ok(r#"{"_id":"fj-1","status":"MEDIA_IN_PROGRESS"}"#),
            done(&["/f"]),
        ])
        .await;
        assert_eq!(run(&server).await.unwrap().polls, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_job_whose_totals_do_not_agree_is_asked_once_more() {
        let members = r#""analyticsFragments": [{"fileUrl": "/f"}], "store": {"totalFiles": 2}"#;
        let wrong = ok(format!(
            r#"{{"_id": "fj-1", "status": "SUCCESS", {members}}}"#
        ));
        let server = polled(vec![wrong.clone(), done(&["/f"])]).await;
        assert_eq!(run(&server).await.unwrap().polls, 2);
        let server = polled(vec![wrong]).await;
        let error = run(&server).await.unwrap_err();
        assert!(error.is_about_content(), "{error}");
        assert_eq!(server.count(|seen| !seen.is_post()), 2);
    }

    /// What a finished job with these members comes to.
    fn read(members: &str) -> Result<Vec<Option<u64>>, String> {
        let host = "https://host/prefix/".parse().unwrap();
        let client = ExportClient::try_new(test_support::config(&host)).unwrap();
        let job = format!(r#"{{"_id": "fj-1", "status": "SUCCESS", {members}}}"#);
        let reply = JobReply::try_parse(job.as_bytes()).unwrap();
        match fragments(&"fj-1".parse().unwrap(), &reply, &client) {
            Ok(fragments) => Ok(fragments.iter().map(|f| f.promised_records).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn parts(parts: &[&str]) -> String {
        let file = |part: &&str| {
            format!(r#"{{"fileName":"x_part_{part}","fileUrl":"/f","recordCount":1}}"#)
        };
        let files: Vec<_> = parts.iter().map(file).collect();
        format!(r#""analyticsFragments": [{}]"#, files.join(","))
    }

    #[test]
    fn links_are_taken_from_where_they_are() {
        let file_info = r#""fileInfo": {"fileUrl": "https://h/f"}"#;
        assert_eq!(read(file_info), Ok(vec![None]));
        let fragment = r#""analyticsFragments": [{"fileUrl": "https://h/f", "recordCount": 9}]"#;
        assert_eq!(read(&format!("{fragment}, {file_info}")), Ok(vec![Some(9)]));
        let empty = r#""analyticsFragments": [], "fileInfo": {}"#;
        assert_eq!(
            read(&format!(
                r#"{empty}, "store": {{"totalRecords": 0, "totalFiles": 1}}"#
            )),
            Ok(vec![])
        );
        assert_eq!(
            read(empty),
            Err(
                "job `fj-1` finished without links and without saying that it has 0 records".into()
            )
        );
        assert_eq!(
            read(r#""analyticsFragments": [{"fileUrl": "/f"}, {}]"#),
            Err("job `fj-1`: the link of fragment 2 cannot be used: it is missing".into())
        );
        assert_eq!(
            read(r#""fileInfo": {"fileUrl": "file:///etc/passwd"}"#),
            Err("job `fj-1`: the link of fragment 1 cannot be used: expected an `http` or `https` address".into())
        );
    }

    #[test]
    fn totals_must_agree() {
        let with = |store: &str| {
            read(&format!(
                r#"{}, "store": {{{store}}}"#,
                parts(&["2_of_2", "1_of_2"])
            ))
        };
        assert_eq!(
            with(r#""totalFiles": 2, "totalRecords": 2"#),
            Ok(vec![Some(1), Some(1)])
        );
        assert_eq!(
            with(r#""totalFiles": 3"#),
            Err("job `fj-1` promises 3 fragments and lists 2".into())
        );
        assert_eq!(
            with(r#""totalRecords": 400"#),
            Err("job `fj-1` promises 400 records and its fragments hold 2".into())
        );
        for (listed, numbers) in [
            (&["1_of_3", "3_of_3"][..], "[1, 3]"),
            (&["1_of_3", "2_of_3", "2_of_3"], "[1, 2, 2]"),
            (&["1_of_3", "2_of_2", "3_of_3"], "[1, 2, 3]"),
            (&["1_of_3", "2_of_3", "x"], "[1, 2]"),
        ] {
            assert_eq!(
                read(&parts(listed)),
                Err(format!(
                    "job `fj-1` should list the parts 1 to 3 and lists {numbers}"
                ))
            );
        }
    }

    #[test]
    fn a_record_survives_the_store() {
        let mut record = record(Duration::ZERO);
        record.request.event = Some(EventFilter::ThumbsUp);
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.contains(r#""event":"thumbsUp""#), "{json}");
        assert_eq!(serde_json::from_str::<JobRecord>(&json).unwrap(), record);
        let older = json.replace(r#","generation":1"#, "");
        assert_ne!(older, json);
        assert_eq!(serde_json::from_str::<JobRecord>(&older).unwrap(), record);
    }

    #[test]
    fn a_run_can_cross_threads() {
        fn is_send<T: Send>(_: T) {}
        let host = "https://host/".parse().unwrap();
        let client = ExportClient::try_new(test_support::config(&host)).unwrap();
        let (store, request) = (MemoryStore::default(), request());
        is_send(client.run_job(&request, &store));
        let job = FinishedJob {
            reply: "{}".to_owned(),
            record: record(Duration::ZERO),
            fragments: Vec::new(),
            total_files: None,
            total_records: None,
            taken_up: false,
            polls: 1,
            export_time: None,
        };
        let (ready, _fragments) = tokio::sync::mpsc::channel(1);
        is_send(client.fetch_fragments(&job, std::path::Path::new("/"), ready));
    }
}
