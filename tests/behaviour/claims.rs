//! Jobs outlive runs, and runs share them: what was asked of the source once is not asked again.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::{LONG, Lake, Outcome, Program, Setup, Source, iso, setup, truth};

fn spawn(program: &Program) -> Child {
    program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until `line` is logged, does `then`, and waits for the end.
#[track_caller]
fn ends_after(mut child: Child, line: &str, then: impl FnOnce(&mut Child)) -> Outcome {
    let mut logs = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    while !stderr.contains(line) {
        let read = logs.read_line(&mut stderr).unwrap();
        assert!(read > 0, "it ended before `{line}` was logged: {stderr}");
    }
    then(&mut child);
    logs.read_to_string(&mut stderr).unwrap();
    let mut outcome = Outcome::from(child.wait_with_output().unwrap());
    outcome.stderr = stderr;
    outcome
}

fn interrupt(child: &Child) {
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn jobs(lake: &Lake) -> Vec<(String, Value)> {
    let files = lake.files_below("_answerlake/jobs/").into_iter();
    // The store writes under another name first, ending in `#` and a number.
    files
        .filter(|file| file.ends_with(".json"))
        .map(|file| {
            let json = std::fs::read(lake.path(&file)).unwrap();
            (file, serde_json::from_slice(&json).unwrap())
        })
        .collect()
}

/// A source of one day, whose jobs take as long.
fn one_day(name: &str, job_time: Duration) -> Setup {
    setup(name, |config| {
        config.job_time_base = job_time;
        config.data.to = config.data.from + TimeDelta::days(1);
    })
}

#[track_caller]
fn assert_quiet(setup: &Setup) {
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

/// Runs that begin together and want the same three windows.
#[track_caller]
fn run_at_once(name: &str, runs: usize, job_time: Duration) {
    let setup = setup(name, |config| {
        config.job_time_base = job_time;
        config.latency = Duration::from_millis(5);
    });
    let children: Vec<_> = (0..runs)
        .map(|run| {
            let jobs_at_once = (1 + run % 3).to_string();
            spawn(&setup.run().with("--jobs-concurrency", &jobs_at_once))
        })
        .collect();
    for child in children {
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        for partition in outcome.json()["partitions"].as_array().unwrap() {
            let state = partition["state"].as_str().unwrap();
            assert!(["committed", "unchanged"].contains(&state), "{partition}");
            assert_eq!(partition["revision"], 1);
        }
    }
    assert_eq!(setup.source.emulator().jobs_started(), 3, "one a window");
    assert_quiet(&setup);
}

#[test]
fn of_runs_at_once_one_exports_and_the_others_wait_for_its_job() {
    run_at_once("at-once", 2, Duration::from_millis(300));
}

#[test]
#[ignore = "ten times, of up to five runs: a minute"]
fn of_many_runs_at_once_one_exports_each_window() {
    for round in 0..10 {
        run_at_once(
            "at-once",
            2 + round % 4,
            Duration::from_millis(100 * round as u64),
        );
    }
}

/// Runs until its job is started, and kills it; gives the record of the job and its file.
fn killed_with_a_job(setup: &Setup) -> (String, Value) {
    let outcome = ends_after(spawn(&setup.run()), "job started", |child| {
        child.kill().unwrap();
    });
    assert_eq!(outcome.code, None);
    let mut stored = jobs(&setup.lake());
    assert_eq!(stored.len(), 1, "{stored:?}");
    stored.remove(0)
}

/// The claim that a record was made of, of a process elsewhere, so long ago.
fn claim_of(record: &Value, age: TimeDelta) -> Value {
    assert!(record["holder"]["process"].is_u64(), "{record}");
    json!({
        "id": "another",
        "run_id": "r-another",
        "holder": {"machine": "another", "process": 1, "started": "1"},
        "request": record["request"],
        "generation": record["generation"],
        "claimed_at": iso(Utc::now() - age),
    })
}

fn write(lake: &Lake, file: &str, json: &Value) {
    let path = lake.path(file);
    let beside = path.with_extension("new");
    std::fs::write(&beside, json.to_string()).unwrap();
    std::fs::rename(beside, path).unwrap();
}

#[test]
fn a_claim_of_another_run_is_waited_for_and_its_job_taken_up() {
    let setup = one_day("claimed", Duration::from_millis(500));
    let (file, record) = killed_with_a_job(&setup);
    write(&setup.lake(), &file, &claim_of(&record, TimeDelta::zero()));
    let outcome = ends_after(
        spawn(&setup.run()),
        "another run is starting this job",
        |_| {
            write(&setup.lake(), &file, &record);
        },
    );
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(setup.source.emulator().jobs_started(), 1);
    assert_quiet(&setup);
}

#[test]
fn a_claim_that_came_to_nothing_in_ten_minutes_is_followed_by_the_next() {
    let setup = one_day("stale-claim", LONG);
    let (file, record) = killed_with_a_job(&setup);
    write(
        &setup.lake(),
        &file,
        &claim_of(&record, TimeDelta::minutes(10)),
    );
    ends_after(spawn(&setup.run()), "job started", |child| {
        child.kill().unwrap();
    });
    let stored = jobs(&setup.lake());
    let generations: Vec<_> = stored
        .iter()
        .map(|(_, job)| job["generation"].as_u64().unwrap())
        .collect();
    assert_eq!(generations, [1, 2], "{stored:?}");
    assert_ne!(stored[0].1["run_id"], stored[1].1["run_id"]);
    assert!(stored[1].1["job_id"].is_string(), "{stored:?}");
}

#[track_caller]
fn wait_for_claim(child: &mut Child, lake: &Lake) {
    while jobs(lake).is_empty() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended without a claim"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_stop_leaves_no_claim_without_a_job() {
    let setup = setup("stopped-claim", |config| {
        config.latency = Duration::from_millis(400);
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    let mut child = spawn(&setup.run());
    wait_for_claim(&mut child, &setup.lake());
    interrupt(&child);
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let stored = jobs(&setup.lake());
    assert!(stored[0].1["job_id"].is_string(), "{stored:?}");
    assert_eq!(setup.run().result()["status"], "ok");
    assert_eq!(setup.source.emulator().jobs_started(), 1);
    assert_quiet(&setup);
}

#[test]
#[cfg(target_os = "linux")]
fn a_claim_of_a_killed_run_is_not_waited_for_on_its_machine() {
    let setup = setup("killed-claim", |config| {
        config.latency = Duration::from_secs(1);
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    let mut child = spawn(&setup.run());
    wait_for_claim(&mut child, &setup.lake());
    child.kill().unwrap();
    child.wait().unwrap();
    let stored = jobs(&setup.lake());
    assert!(
        stored[0].1["job_id"].is_null(),
        "it had been answered: {stored:?}"
    );
    let began = Instant::now();
    assert_eq!(setup.run().result()["status"], "ok");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert!(setup.source.emulator().jobs_started() <= 2);
    setup.lake().assert_sound();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

/// `DESIGN.md`: "A stored job is taken up only if app, event and range equal a planned window's …; the planner keeps
/// such windows."
#[test]
fn the_rest_of_a_killed_runs_window_is_taken_up_with_its_job() {
    // No more than four partitions are committed at once, so that the first is in before the last is begun.
    let setup = setup("rest", |config| {
        config.data.records_per_day = 60;
        config.data.to = config.data.from + TimeDelta::days(6);
    });
    let place = &setup.place;
    let program = setup.run().with("--window", "6d");
    ends_after(spawn(&program), "partition committed", |child| {
        child.kill().unwrap();
    });
    assert!(setup.lake().newest().len() < 6, "it was killed too late");
    let plan = place
        .program("plan")
        .with("--host", &setup.source.emulator().url())
        .with("--app-id", &setup.source.config().app_id)
        .with("--lake", &place.lake().url())
        .with("--from", "2025-06-23")
        .with("--to", "2025-06-29")
        .with("--lookback", "0s")
        .with("--output", "json");
    let outcome = plan.ends(0);
    let entries = outcome.json();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    assert_eq!(entries[0]["from"], "2025-06-23T00:00:00Z", "{entries}");
    assert_eq!(entries[0]["to"], "2025-06-29T00:00:00Z", "{entries}");
    let in_flight = entries[0]["reasons"]["in_flight"].as_u64().unwrap_or(0);
    assert!(in_flight > 0, "{entries}");
    assert_eq!(program.result()["status"], "ok");
    assert_eq!(setup.source.emulator().jobs_started(), 1);
    setup.lake().assert_sound();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn a_stop_among_commits_leaves_the_rest_to_the_next_run() {
    let setup = setup("stopped-commits", |config| {
        config.data.to = config.data.from + TimeDelta::days(4);
    });
    let program = setup.run().with("--window", "4d").with("--grain", "hour");
    let mut told = None;
    let outcome = ends_after(spawn(&program), "partition committed", |child| {
        interrupt(child);
        told = Some(Instant::now());
    });
    assert!(told.unwrap().elapsed() < Duration::from_secs(10));
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let result = outcome.json();
    assert_eq!(result["status"], "partial", "{result}");
    let committed = setup.lake().newest().len();
    assert!((1..96).contains(&committed), "{committed} are in");
    assert_eq!(result["partitions"].as_array().unwrap().len(), 96);
    assert_eq!(program.result()["status"], "ok");
    assert_eq!(setup.source.emulator().jobs_started(), 1);
    assert_quiet(&setup);
}

#[test]
fn a_job_that_vanished_is_asked_for_anew() {
    let setup = one_day("vanished", LONG);
    killed_with_a_job(&setup);
    // Another source, which knows nothing of that job.
    let source = Source::start(|config| {
        config.data.to = config.data.from + TimeDelta::days(1);
    });
    let outcome = setup.place.run(&source).ends(0);
    assert!(
        outcome.stderr.contains("stored job is of no use"),
        "{}",
        outcome.stderr
    );
    assert_eq!(source.emulator().jobs_started(), 1);
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &source.records());
}
