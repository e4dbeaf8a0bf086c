//! `doctor`: will a run work from here. Every check is made that can be, each says one thing, and what fails says what to
//! do.
//!
//! It asks for one minute of records, which is what it takes to know that both scopes are there, and writes to the lake
//! only what it removes again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use answerlake_extract::{
    AuthConfig, Call, ErrorKind, ExportClient, ExtractConfig, ExtractError, FinishedJob, NoStore,
};
use answerlake_load::{Lake, LakeStore, local_path};
use answerlake_model::{Grain, Window};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::Serialize;

use crate::config::{Environment, PipelineConfig};
use crate::error::{FailureKind, PipelineError, chain};
use crate::plan::to_delta;
use crate::scratch::Scratch;
use crate::status::Health;

/// How long the source may take for all that it is asked here.
const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// Clocks that differ by less are as good as equal: the source tells whole seconds, and tokens are back-dated by this.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(30);
/// A ready token that ends sooner is told of.
const TOKEN_ENDS_SOON: TimeDelta = TimeDelta::hours(24);
/// With less room there will be trouble soon, or at once.
const LITTLE_ROOM_BYTES: u64 = 2 << 30;
const NO_ROOM_BYTES: u64 = 200 << 20;

const LOOK_AT_SETTINGS: &str = "look at [source], [auth] and [http] of the settings";

/// What is asked.
#[derive(Debug, Clone)]
pub struct DoctorRequest {
    /// The time.
    pub now: DateTime<Utc>,
    /// Scratch, where the settings name none.
    pub default_scratch: PathBuf,
}

/// What was checked, in the order of a run.
#[derive(Debug, Clone, Serialize)]
pub struct DoctorReport {
    /// Whether a run will work: nothing failed.
    pub status: Health,
    /// Each check.
    pub checks: Vec<Check>,
    /// Who has to do something, where something failed.
    #[serde(skip)]
    pub failure: Option<FailureKind>,
}

/// One thing that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What: `token`, `source`, `clock`, `export`, `job`, `lake`, `scratch`, `room`.
    pub check: &'static str,
    /// What came of it.
    pub state: CheckState,
    /// In words.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip)]
    failure: Option<FailureKind>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// A run will work, and somebody should look at it.
    Warning,
    /// A run will fail.
    Failed,
    /// Cannot be known while something else fails.
    Skipped,
}

/// Checks all that a run needs.
pub async fn doctor(
    config: &PipelineConfig,
    environment: Environment<'_>,
    request: &DoctorRequest,
) -> DoctorReport {
    let mut checks = Vec::new();
    check_source(config, environment, request, &mut checks).await;
    checks.push(check_lake(config).await);
    check_scratch(config, request, &mut checks);
    check_room(config, request, &mut checks);
    let failure = checks.iter().filter_map(|check| check.failure).max();
    DoctorReport {
        status: match failure {
            Some(_) => Health::Problems,
            None => Health::Ok,
        },
        checks,
        failure,
    }
}

impl Check {
    fn new(check: &'static str, state: CheckState, message: impl Into<String>) -> Self {
        Self {
            check,
            state,
            message: message.into(),
            hint: None,
            failure: None,
        }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, CheckState::Ok, message)
    }

    fn warning(check: &'static str, message: String, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            ..Self::new(check, CheckState::Warning, message)
        }
    }

    fn failed(check: &'static str, kind: FailureKind, message: String, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            failure: Some(kind),
            ..Self::new(check, CheckState::Failed, message)
        }
    }

    /// Of an error that knows what to do, or else `hint`.
    fn of_error(check: &'static str, error: &PipelineError, hint: &str) -> Self {
        Self {
            hint: Some(error.hint().unwrap_or_else(|| hint.to_owned())),
            failure: Some(error.kind()),
            ..Self::new(check, CheckState::Failed, chain(error))
        }
    }

    fn skipped(check: &'static str) -> Self {
        Self::new(check, CheckState::Skipped, "not known before that works")
    }
}

/// Checks the token, then with one small export: source, clock, and the scopes for exports and for jobs.
async fn check_source(
    config: &PipelineConfig,
    environment: Environment<'_>,
    request: &DoctorRequest,
    checks: &mut Vec<Check>,
) {
    let extract = config.extract(environment).map(in_short);
    let client = extract.and_then(|extract| {
        let client = ExportClient::try_new(extract.clone())?;
        Ok((extract, client))
    });
    let (extract, client) = match client {
        Ok(client) => client,
        Err(error) => {
            checks.push(Check::of_error("token", &error, LOOK_AT_SETTINGS));
            checks.extend(["source", "clock", "export", "job"].map(Check::skipped));
            return;
        }
    };
    checks.push(check_token(&extract, &client, request.now).await);
    let range = one_minute(config, request.now);
    let asked = extract.source.request(range);
    let began = Instant::now();
    let exported = tokio::time::timeout(PATIENCE, client.run_job(&asked, &NoStore)).await;
    let exported = match exported {
        Ok(Ok(job)) => Exported::Done(Box::new(job)),
        Ok(Err(error)) => Exported::Failed(error),
        Err(_) => Exported::TookTooLong,
    };
    checks.push(check_reached(&extract, &client, &exported));
    if !exported.was_answered(&client) {
        checks.extend(["clock", "export", "job"].map(Check::skipped));
        return;
    }
    checks.push(check_clock(&extract, &client));
    checks.push(check_export(&range, &exported));
    checks.push(check_job(&exported, began.elapsed()));
}

/// The settings of a client that does not wait long.
fn in_short(extract: ExtractConfig) -> ExtractConfig {
    let mut short = extract;
    short.fetch.retries = short.fetch.retries.min(1);
    short.jobs.stall = short.jobs.stall.min(PATIENCE);
    short.fetch.timeout = short.fetch.timeout.min(PATIENCE / 4);
    short
}

/// A minute that is complete at the source by now.
fn one_minute(config: &PipelineConfig, now: DateTime<Utc>) -> Window {
    let end = Grain::Hour
        .floor(now - to_delta(config.window.lag))
        .trunc_subsecs(0);
    let start = end - TimeDelta::minutes(1);
    Window::try_new(start, end).expect("a minute is longer than nothing")
}

/// What came of the export.
enum Exported {
    Done(Box<Option<FinishedJob>>),
    Failed(ExtractError),
    TookTooLong,
}

impl Exported {
    /// The call that failed, under all repetitions; `None` where the source was not the matter.
    fn failed_call(&self) -> Option<&Call> {
        match self {
            Self::Failed(error) => error.call(),
            _ => None,
        }
    }

    /// Whether the source has answered at all.
    fn was_answered(&self, client: &ExportClient) -> bool {
        matches!(self, Self::Done(_)) || client.clock_skew().is_some()
    }
}

async fn check_token(extract: &ExtractConfig, client: &ExportClient, now: DateTime<Utc>) -> Check {
    const NEW_ONE: &str =
        "make a new token, or let answerlake sign its own with client id and client secret";
    let ends = match client.token_ends().await {
        Ok(ends) => ends,
        Err(error) => return Check::of_error("token", &error.into(), LOOK_AT_SETTINGS),
    };
    if let AuthConfig::Signed { lifetime, .. } = &extract.auth {
        let message = format!(
            "signed anew for each request, valid for {}",
            humantime::format_duration(*lifetime)
        );
        return Check::ok("token", message);
    }
    let Some(ends) = ends else {
        return Check::ok("token", "it is there; when it ends, it does not tell");
    };
    let shown = ends.format("%Y-%m-%d %H:%M UTC");
    if ends <= now {
        let message = format!("it ended at {shown}");
        return Check::failed("token", FailureKind::Refused, message, NEW_ONE);
    }
    if ends <= now + TOKEN_ENDS_SOON {
        return Check::warning("token", format!("it ends at {shown}"), NEW_ONE);
    }
    Check::ok("token", format!("it is valid until {shown}"))
}

fn check_reached(extract: &ExtractConfig, client: &ExportClient, exported: &Exported) -> Check {
    let host = &extract.source.host;
    if exported.was_answered(client) {
        return Check::ok("source", format!("{host} answers"));
    }
    match exported {
        Exported::Failed(error) => Check::failed(
            "source",
            kind_of(error),
            chain(error),
            "look at source.host, and whether this machine may reach it: a proxy, a firewall, certificates",
        ),
        _ => Check::failed(
            "source",
            FailureKind::Source,
            format!("{host} does not answer within 2 minutes"),
            "look at source.host, and whether this machine may reach it",
        ),
    }
}

fn check_clock(extract: &ExtractConfig, client: &ExportClient) -> Check {
    const SET_IT: &str =
        "set this machine's clock: tokens carry the time, and are refused when it is wrong";
    let Some(skew) = client.clock_skew() else {
        return Check::skipped("clock");
    };
    let seconds = skew.abs().num_seconds();
    let side = if skew < TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let message = format!("the source's clock is {seconds} s {side} this machine's");
    if skew.abs() < CLOCKS_APART {
        return Check::ok("clock", format!("{seconds} s apart from the source's"));
    }
    match &extract.auth {
        AuthConfig::Signed { lifetime, .. } if skew.abs() >= to_delta(*lifetime) => {
            Check::failed("clock", FailureKind::Refused, message, SET_IT)
        }
        _ => Check::warning("clock", message, SET_IT),
    }
}

fn check_export(range: &Window, exported: &Exported) -> Check {
    match (exported, exported.failed_call()) {
        (Exported::Failed(error), Some(Call::StartJob)) => of_source("export", error),
        // Without the token there was nothing to send.
        (Exported::Failed(error), None) if error.kind() != ErrorKind::Source => {
            Check::skipped("export")
        }
        (Exported::TookTooLong, _) => Check::warning(
            "export",
            "not done within 2 minutes".to_owned(),
            "the source may be slow, or limit requests now: try again later",
        ),
        _ => Check::ok(
            "export",
            format!("the scope Answer Insights is there: a job for {range} was started"),
        ),
    }
}

fn check_job(exported: &Exported, took: Duration) -> Check {
    match (exported, exported.failed_call()) {
        (Exported::Failed(error), Some(Call::AskJob { .. })) => of_source("job", error),
        (Exported::Failed(ExtractError::JobStalled { .. }) | Exported::TookTooLong, _) => {
            Check::warning(
                "job",
                "the job was not done within 2 minutes".to_owned(),
                "exports are slow now; runs wait longer, see jobs.stall",
            )
        }
        (Exported::Failed(error), None) if error.kind() == ErrorKind::Source => {
            of_source("job", error)
        }
        (Exported::Failed(_), _) => Check::skipped("job"),
        (Exported::Done(job), _) => {
            let records = job.as_ref().as_ref().and_then(|job| job.total_records);
            let records =
                records.map_or_else(String::new, |records| format!(", {records} records"));
            let seconds = took.as_secs_f64();
            Check::ok(
                "job",
                format!("the scope Answer Generation is there: done in {seconds:.1} s{records}"),
            )
        }
    }
}

/// What the source refuses, or fails at.
fn of_source(check: &'static str, error: &ExtractError) -> Check {
    let hint = match error.kind() {
        ErrorKind::Refused => {
            "look at app id, client id and secret, and that the JWT app has both scopes, saved and the app published"
        }
        _ => "try again later; if it stays so, ask the vendor",
    };
    Check::failed(check, kind_of(error), chain(error), hint)
}

fn kind_of(error: &ExtractError) -> FailureKind {
    match error.kind() {
        ErrorKind::Configuration => FailureKind::Configuration,
        ErrorKind::Refused => FailureKind::Refused,
        ErrorKind::Source => FailureKind::Source,
        ErrorKind::Store => FailureKind::Lake,
        ErrorKind::Local => FailureKind::Unexpected,
    }
}

/// Checks that the lake is made for these settings, that it can be written, and that it creates only what is absent.
async fn check_lake(config: &PipelineConfig) -> Check {
    let url = &config.lake.url;
    let folder = local_path(url).ok().flatten();
    let is_new = folder.as_deref().is_some_and(|folder| !folder.exists());
    let looked = async {
        let lake = Lake::new(LakeStore::open(url).await?);
        lake.check_pin(&config.lake_pin()).await?;
        let exists = lake.pinned().await?.is_some();
        lake.store().probe_create().await?;
        Ok::<bool, PipelineError>(exists)
    };
    let looked = looked.await;
    if let (Some(folder), true) = (&folder, is_new) {
        remove_empty(folder);
    }
    match looked {
        Ok(true) => Check::ok(
            "lake",
            format!("{} can be written, and fits these settings", &**url),
        ),
        Ok(false) => Check::ok(
            "lake",
            format!("{} can be written; a run makes the lake there", &**url),
        ),
        Err(error) => Check::of_error(
            "lake",
            &error,
            "look at lake.url, and whether this user may write there",
        ),
    }
}

/// Removes a folder and those in it, as far as they are empty.
fn remove_empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // One that is not empty stays.
    let _ = std::fs::remove_dir(folder);
}

fn scratch_of<'a>(config: &'a PipelineConfig, request: &'a DoctorRequest) -> &'a Path {
    let configured = config.run.scratch.as_deref();
    configured.unwrap_or(&request.default_scratch)
}

fn check_scratch(config: &PipelineConfig, request: &DoctorRequest, checks: &mut Vec<Check>) {
    let folder = scratch_of(config, request);
    checks.push(match Scratch::try_new(folder) {
        Ok(_) => Check::ok("scratch", format!("{} can be written", folder.display())),
        Err(error) => Check::of_error("scratch", &error, "look at run.scratch"),
    });
}

/// Checks the room on the disks of this machine that a run writes to.
fn check_room(config: &PipelineConfig, request: &DoctorRequest, checks: &mut Vec<Check>) {
    const MAKE_ROOM: &str = "make room on it, or give a folder on another disk";
    let mut folders = vec![("scratch", scratch_of(config, request).to_owned())];
    if let Ok(Some(lake)) = local_path(&config.lake.url) {
        folders.push(("lake", lake));
    }
    for (what, folder) in folders {
        // A lake that is not there yet will be on the disk of the folder that it is made in.
        let existing = folder.ancestors().find(|folder| folder.exists());
        let Some(Ok(disk)) = existing.map(rustix::fs::statvfs) else {
            continue;
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let message = format!(
            "{} free on the disk of the {what}",
            bytesize::ByteSize(free)
        );
        checks.push(if free < NO_ROOM_BYTES {
            Check::failed("room", FailureKind::Unexpected, message, MAKE_ROOM)
        } else if free < LITTLE_ROOM_BYTES {
            Check::warning("room", message, MAKE_ROOM)
        } else {
            Check::ok("room", message)
        });
    }
}
