//! Everything that an emulated source can do wrong, alone and in seeded mixtures.
//!
//! A run that meets faults ends in the lake of a quiet run, or in a clear error with nothing half-committed; once the
//! faults are over, runs end in that lake. Runs are made within the test, so that waits can be divided.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use answerlake_emulator::{EmptyShape, Fault, FaultKind, On};
use answerlake_model::RunId;
use answerlake_pipeline::config::Override;
use answerlake_pipeline::plan::Range;
use answerlake_pipeline::{PipelineConfig, RunContext, RunReport, RunRequest, RunStatus, Setting};
use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::{Dice, Lake, Place, Source, iso};

/// Runs after the faults that it may take until all is well: a job that never ends is taken up once more first.
const RERUNS: usize = 3;

/// A fault, or several, and what they are called.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    faults: Vec<Fault>,
}

/// What a run that meets nothing leaves.
struct Quiet {
    digests: BTreeMap<String, String>,
    data_files: BTreeSet<(String, u64)>,
}

/// How often each kind of fault was met, and how runs that met them ended.
#[derive(Default)]
struct Tally {
    met: BTreeMap<&'static str, usize>,
    ends: BTreeMap<String, usize>,
}

#[test]
fn every_fault_alone() {
    let cases = kinds().into_iter().map(|(on, kind)| Case {
        name: format!("{on:?} {kind:?} once"),
        faults: vec![Fault {
            nth: nth_of(on, &kind),
            ..Fault::new(on, kind)
        }],
    });
    check_all(&cases.collect::<Vec<_>>(), true);
}

#[test]
#[ignore = "every fault for ever: many failing runs, a minute"]
fn every_fault_for_ever() {
    let cases = kinds().into_iter().map(|(on, kind)| Case {
        name: format!("{on:?} {kind:?} always"),
        faults: vec![Fault {
            times: u32::MAX,
            ..Fault::new(on, kind)
        }],
    });
    check_all(&cases.collect::<Vec<_>>(), true);
}

#[test]
fn two_dozen_mixtures() {
    check_all(&(0..24).map(mixture).collect::<Vec<_>>(), false);
}

#[test]
#[ignore = "hundreds of mixtures: minutes"]
fn three_hundred_mixtures() {
    check_all(&(1_000..1_300).map(mixture).collect::<Vec<_>>(), false);
}

/// Every kind of fault, on every kind of request that it does something on.
fn kinds() -> Vec<(On, FaultKind)> {
    let statuses = [
        "FAILED",
        "failure",
        "Error",
        "STOPPED",
        "cancelled",
        "ABORTED",
        "Timed_Out",
        "INPROGRESS",
        "new to us",
    ];
    let web_page = "<html><body>Bad Gateway</body></html>";
    let limit =
        "{\"errors\":[{\"msg\":\"Rate limit for this API has been reached.\",\"code\":400}]}";
    let mut kinds = vec![
        FaultKind::Status(500, "{}".into()),
        FaultKind::Status(503, String::new()),
        FaultKind::Status(502, web_page.into()),
        FaultKind::Status(404, "{}".into()),
        FaultKind::Status(400, limit.into()),
        FaultKind::RateLimit { retry_after: None },
        FaultKind::RateLimit {
            retry_after: Some(2),
        },
        FaultKind::RateLimitUntil { seconds: 3 },
        FaultKind::RateLimitText,
        FaultKind::Html,
        FaultKind::ExpiredLink,
        FaultKind::ReplayedToken,
        FaultKind::ClockSkew { seconds: 90 },
        FaultKind::ClockSkew { seconds: 7_200 },
        FaultKind::ClockSkew { seconds: -7_200 },
        FaultKind::Delay(Duration::from_millis(50)),
        FaultKind::Reset,
        FaultKind::Down(Duration::from_millis(30)),
        FaultKind::NoAnswer { carried_out: false },
        FaultKind::NoAnswer { carried_out: true },
        FaultKind::Hang { after: 0 },
        FaultKind::Hang { after: 300 },
        FaultKind::CutBody { after: 300 },
        FaultKind::CutBody { after: 0 },
        FaultKind::CutChunked { after: 300 },
        FaultKind::ResetBody { after: 300 },
        FaultKind::CutText { after: 300 },
        FaultKind::CutText { after: 0 },
        FaultKind::Slow {
            bytes_per_second: 400_000,
        },
        FaultKind::WrongRecordCount,
        FaultKind::WrongFileCount,
        FaultKind::WrongTotal,
        FaultKind::RedirectLinks,
        FaultKind::RelativeLinks,
        FaultKind::DeadLinks,
        FaultKind::SingleUseLinks,
        FaultKind::JobGone,
        FaultKind::JobTimedOut,
        FaultKind::Backwards,
        FaultKind::RepeatRecord,
        FaultKind::ExtraRecord,
        FaultKind::Strays { records: 4 },
        FaultKind::OutOfOrder,
        FaultKind::LateFeedback,
        FaultKind::EarlierRecords,
        FaultKind::Empty(EmptyShape::File),
        FaultKind::Empty(EmptyShape::Totals),
        FaultKind::Empty(EmptyShape::Nothing),
        FaultKind::Gzip,
        FaultKind::Bom,
        FaultKind::Ndjson,
        FaultKind::Wrapped,
    ];
    kinds.extend(statuses.map(|status| FaultKind::JobFailed(status.into())));
    let mut all = Vec::new();
    for kind in kinds {
        for on in [On::Export, On::Job, On::Fragment] {
            if kind.does_something_on(on) {
                all.push((on, kind.clone()));
            }
        }
    }
    all
}

/// The request at which a kind has something to do, where that is not the first.
fn nth_of(on: On, kind: &FaultKind) -> u32 {
    match kind {
        // The window without records is the last.
        FaultKind::Empty(_) => 3,
        // The day before the first has no records.
        FaultKind::Strays { .. } => 1,
        _ if on == On::Fragment => 1,
        _ => 0,
    }
}

/// Two to six faults, drawn from a seed.
fn mixture(seed: u64) -> Case {
    let dice = &mut Dice::new(seed);
    let kinds = kinds();
    let faults = (0..2 + dice.below(5)).map(|_| {
        let (on, kind) = kinds[dice.below(kinds.len())].clone();
        Fault {
            day: (dice.below(4) == 0).then(|| {
                let day = 23 + dice.below(4);
                format!("2025-06-{day}").parse().unwrap()
            }),
            nth: dice.below(5) as u32,
            times: 1 + dice.below(4) as u32,
            each: dice.below(3) == 0,
            chance: [1.0, 1.0, 0.5][dice.below(3)],
            ..Fault::new(on, kind)
        }
    });
    Case {
        name: format!("mixture of seed {seed}"),
        faults: faults.collect(),
    }
}

/// Whether a run that meets it commits other records than a quiet one, until it reads them again.
fn changes_records(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::RepeatRecord | FaultKind::LateFeedback | FaultKind::EarlierRecords
    )
}

/// Whether a run that meets it must ask for something once more, or fail.
fn must_be_felt(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Status(..)
            | FaultKind::RateLimit { .. }
            | FaultKind::RateLimitUntil { .. }
            | FaultKind::RateLimitText
            | FaultKind::ExpiredLink
            | FaultKind::Html
            | FaultKind::ReplayedToken
            | FaultKind::Reset
            | FaultKind::Down(_)
            | FaultKind::NoAnswer { .. }
            | FaultKind::Hang { .. }
            | FaultKind::CutBody { .. }
            | FaultKind::CutChunked { .. }
            | FaultKind::ResetBody { .. }
            | FaultKind::CutText { .. }
            | FaultKind::JobGone
    )
}

/// Checks all cases, some at once.
#[expect(
    clippy::print_stdout,
    reason = "the counts are what the test is asked for"
)]
fn check_all(cases: &[Case], each_is_met: bool) {
    const AT_ONCE: usize = 8;
    let quiet = Quiet::run();
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The others are of interest, too.
                    let checking = AssertUnwindSafe(|| {
                        let met = check(case, quiet, &tally);
                        assert!(met > 0 || !each_is_met, "{}: was not met", case.name);
                    });
                    if std::panic::catch_unwind(checking).is_err() {
                        wrong.lock().unwrap().push(case.name.clone());
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let met: usize = tally.met.values().sum();
    println!("{} cases, {met} faults met: {:?}", cases.len(), tally.met);
    println!("first runs ended: {:?}", tally.ends);
    assert!(met > 0);
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Checks one case; gives how many faults were met.
fn check(case: &Case, quiet: &Quiet, tally: &Mutex<Tally>) -> usize {
    let source = source(case.faults.clone());
    let place = Place::new("matrix");
    let lake = place.lake();
    let report = run(&source, &place, false);
    let met = source.emulator().faults_met();
    {
        let mut tally = tally.lock().unwrap();
        for fault in &met {
            *tally.met.entry(fault.name()).or_default() += 1;
        }
        *tally
            .ends
            .entry(format!("{:?}", report.status))
            .or_default() += 1;
    }
    let told = || format!("{case:#?}\nmet {met:?}\n{}", shown(&report));
    assert_clear(&report, &lake, &told);
    let is_other = met.iter().any(changes_records);
    let is_ordered = !met.contains(&FaultKind::OutOfOrder);
    let digests = lake.digests();
    if !is_other {
        let wrong = digests
            .iter()
            .find(|(partition, digest)| quiet.digests[*partition] != **digest);
        assert_eq!(wrong, None, "holds something else: {}", told());
    }
    if report.status == RunStatus::Ok {
        assert_eq!(digests.len(), quiet.digests.len(), "{}", told());
        let is_felt =
            report.totals.retries > 0 || source.emulator().jobs_started() > quiet.digests.len();
        assert!(
            is_felt || !met.iter().any(must_be_felt),
            "was not felt: {}",
            told()
        );
    }

    source.emulator().end_faults();
    // What was read wrong and committed is read again when it is asked for.
    let mut last = run(&source, &place, is_other);
    for _ in 1..RERUNS {
        if !is_bad(&last) {
            break;
        }
        last = run(&source, &place, false);
    }
    assert!(!is_bad(&last), "no end: {}\nthen {}", told(), shown(&last));
    assert_eq!(lake.digests(), quiet.digests, "{}", told());
    if is_ordered {
        let (files, quiet_files) = (contents(&lake), &quiet.data_files);
        let odd: Vec<_> = files.symmetric_difference(quiet_files).collect();
        assert!(odd.is_empty(), "{odd:#?}\n{}", told());
    }
    lake.assert_whole();
    place.assert_scratch_is_empty();
    met.len()
}

fn is_bad(report: &RunReport) -> bool {
    matches!(report.status, RunStatus::Partial | RunStatus::Failed)
}

/// What failed says why, without secrets; what is committed is whole.
#[track_caller]
fn assert_clear(report: &RunReport, lake: &Lake, told: &dyn Fn() -> String) {
    let report_json = serde_json::to_value(report).unwrap();
    let partitions = report_json["partitions"].as_array().unwrap();
    for partition in partitions
        .iter()
        .filter(|partition| partition["state"] == "failed")
    {
        let error = partition["error"].as_str().unwrap_or_default();
        assert!(error.len() > 10, "failed without a reason: {}", told());
    }
    if is_bad(report) {
        assert!(
            !crate::support::error_of(&report_json).is_empty(),
            "{}",
            told()
        );
    }
    let text = report_json.to_string();
    assert!(
        !text.contains("$$") && !text.contains("eyJ"),
        "a secret: {text}"
    );
    let staged = lake.files_below("_answerlake/staging/");
    assert!(staged.is_empty(), "{staged:?} is left: {}", told());
    lake.assert_sound();
}

fn shown(report: &RunReport) -> String {
    let report = serde_json::to_value(report).unwrap();
    let partitions: &[Value] = report["partitions"].as_array().map_or(&[], Vec::as_slice);
    let states: Vec<String> = partitions
        .iter()
        .map(|partition| {
            format!(
                "{} {} {}",
                partition["dt"], partition["state"], partition["error"]
            )
        })
        .collect();
    format!("{} {}: {states:#?}", report["status"], report["error"])
}

impl Quiet {
    fn run() -> &'static Self {
        static QUIET: OnceLock<Quiet> = OnceLock::new();
        QUIET.get_or_init(|| {
            let source = source(Vec::new());
            let place = Place::new("matrix-quiet");
            let report = run(&source, &place, false);
            assert_eq!(report.status, RunStatus::Ok, "{}", shown(&report));
            let lake = place.lake();
            assert_eq!(lake.digests().len(), 4);
            crate::support::truth::assert_holds(&lake, &source.records());
            Quiet {
                digests: lake.digests(),
                data_files: contents(&lake),
            }
        })
    }
}

/// The data files, whatever the revision that wrote them.
fn contents(lake: &Lake) -> BTreeSet<(String, u64)> {
    let files = lake.data_files().into_iter();
    files
        .map(|(path, content)| {
            let (folder, name) = path.rsplit_once('/').unwrap();
            let hash = name.rsplit_once('-').unwrap().1;
            (format!("{folder}/{hash}"), content)
        })
        .collect()
}

/// Three days with records, in two or three fragments each; a day without is asked for as well.
fn source(faults: Vec<Fault>) -> Source {
    Source::start(|config| {
        config.data.records_per_day = 13;
        config.data.pool = 20;
        config.data.feedback_share = 0.3;
        config.fragment_records = 6;
        config.fault_seed = faults.len() as u64;
        config.faults = faults;
    })
}

/// Runs all days of the source and one without records, its waits divided.
fn run(source: &Source, place: &Place, force: bool) -> RunReport {
    let (from, to) = (source.config().data.from, source.config().data.to);
    let scratch = place.scratch().to_str().unwrap().to_owned();
    let settings = [
        ("host", source.emulator().url()),
        ("app-id", source.config().app_id.clone()),
        ("lake", place.lake().url()),
        ("scratch", scratch),
        ("lookback", "0s".into()),
        ("poll-min", "2ms".into()),
        ("poll-max", "10ms".into()),
        ("stall", "150ms".into()),
        ("fetch-timeout", "400ms".into()),
        ("rate-per-minute", "60000".into()),
        ("rate-per-hour", "3600000".into()),
        ("threads", "1".into()),
    ];
    let overrides: Vec<Override> = settings
        .into_iter()
        .map(|(flag, value)| Override {
            setting: Setting::ALL
                .iter()
                .find(|setting| setting.flag == flag)
                .unwrap(),
            value,
            origin: format!("--{flag}"),
        })
        .collect();
    let environment = |name: &str| match name {
        "ANSWERLAKE_CLIENT_ID" => Some(source.config().client_id.clone()),
        "ANSWERLAKE_CLIENT_SECRET" => Some(source.config().client_secret.clone()),
        _ => None,
    };
    let config = PipelineConfig::load(None, &overrides).unwrap();
    let mut extract = config.extract(&environment).unwrap();
    extract.hurry = 1_000;
    let request = RunRequest {
        range: Range {
            from: Some(iso(from).parse().unwrap()),
            to: Some(iso(to + TimeDelta::days(1)).parse().unwrap()),
            ..Range::default()
        },
        force,
        include_open: false,
    };
    let context = RunContext {
        run_id: RunId::try_new(&uuid::Uuid::now_v7().to_string()).unwrap(),
        now: Utc::now(),
        program_version: "test".into(),
        orchestrator: BTreeMap::new(),
        default_scratch: PathBuf::from("/nonexistent"),
        stop: tokio_util::sync::CancellationToken::new(),
        progress: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(answerlake_pipeline::run(
        &config, &extract, &request, &context,
    ));
    report.unwrap_or_else(|error| panic!("the run did not begin: {error}"))
}
