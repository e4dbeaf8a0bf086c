//! Told to stop, the program ends soon and in good order, and the next run does what is left.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{LONG, Outcome, Program, Setup, Source, setup, truth};

/// Runs until the first job is started and stored, sends `signal`, and waits for the end.
fn stopped(program: &Program, signal: &str) -> (Outcome, Duration) {
    stopped_after(program, &["job started"], signal)
}

/// Runs until `lines` have been logged, in this order, sends `signal`, and waits for the end.
///
/// One window at a time, so that what the next one does at that moment is known.
fn stopped_after(program: &Program, lines: &[&str], signal: &str) -> (Outcome, Duration) {
    let mut child = program
        .clone()
        .with("--jobs-concurrency", "1")
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut logs = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    for line in lines {
        let before = stderr.len();
        while !stderr[before..].contains(line) {
            let read = logs.read_line(&mut stderr).unwrap();
            assert!(read > 0, "it ended before `{line}` was logged: {stderr}");
        }
    }
    let told = Instant::now();
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    logs.read_to_string(&mut stderr).unwrap();
    let mut outcome = Outcome::from(child.wait_with_output().unwrap());
    outcome.stderr = stderr;
    (outcome, told.elapsed())
}

fn slow(name: &str) -> Setup {
    setup(name, |config| config.job_time_base = LONG)
}

#[test]
fn an_interrupt_stops_it_and_the_next_run_completes() {
    let setup = slow("interrupt");
    let (outcome, took) = stopped(&setup.run(), "-INT");
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let result = outcome.json();
    assert_eq!(result["status"], "failed", "{result}");
    assert_eq!(result["retryable"], true);
    assert!(setup.lake().newest().is_empty());
    assert!(setup.lake().data_files().is_empty());
    setup.place.assert_scratch_is_empty();

    // Another source, to which the jobs left in flight mean nothing.
    let source = Source::start(|_| {});
    let result = setup.place.run(&source).result();
    assert_eq!(result["status"], "ok", "{result}");
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &source.records());
}

#[test]
fn a_termination_has_its_own_code() {
    let setup = slow("terminate");
    let (outcome, took) = stopped(&setup.run(), "-TERM");
    assert_eq!(outcome.code, Some(143), "{outcome:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(outcome.json()["status"], "failed");
}

#[test]
fn a_job_left_in_flight_is_taken_up_by_the_next_run() {
    let setup = setup("taken-up", |config| {
        config.job_time_base = Duration::from_secs(2);
        config.data.to = config.data.from + chrono::TimeDelta::days(1);
    });
    let (outcome, _) = stopped(&setup.run(), "-INT");
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let jobs: Vec<_> = setup
        .lake()
        .files()
        .into_iter()
        .filter(|file| file.contains("/jobs/"))
        .collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(setup.run().result()["status"], "ok");
    assert_eq!(
        setup.source.emulator().jobs_started(),
        1,
        "the job was not started again"
    );
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn an_interrupt_stops_a_download() {
    let setup = setup("download", |config| config.bytes_per_second = Some(2_000));
    let (outcome, took) = stopped_after(&setup.run(), &["export finished"], "-INT");
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(outcome.json()["status"], "failed");
    assert!(setup.lake().newest().is_empty());
    setup.place.assert_scratch_is_empty();
}

#[test]
fn what_is_committed_when_it_stops_stays() {
    let setup = setup("stays", |config| {
        config.job_time_base = Duration::from_millis(500);
    });
    let program = setup.run();
    let next_started = ["partition committed", "job started"];
    let (outcome, _) = stopped_after(&program, &next_started, "-INT");
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let result = outcome.json();
    assert_eq!(result["status"], "partial", "{result}");
    assert_eq!(result["retryable"], true);
    assert_eq!(setup.lake().days().len(), 1);
    let before = setup.lake().stamps();
    assert_eq!(program.result()["partitions"].as_array().unwrap().len(), 2);
    let after = setup.lake().stamps();
    for (file, stamp) in before {
        let is_settled = file.contains("dt=2025-06-23");
        assert!(
            !is_settled || after.get(&file) == Some(&stamp),
            "{file} was touched"
        );
    }
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

#[test]
fn a_run_that_is_killed_is_finished_by_the_next() {
    let setup = setup("killed", |config| {
        config.job_time_base = Duration::from_millis(500);
    });
    let program = setup.run();
    let next_started = ["partition committed", "job started"];
    let (outcome, _) = stopped_after(&program, &next_started, "-KILL");
    assert_eq!(outcome.code, None, "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    let result = program.result();
    assert_eq!(
        result["partitions"].as_array().unwrap().len(),
        2,
        "{result}"
    );
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}

/// `DESIGN.md`: scratch is "cleared by the next run after a kill".
#[test]
fn what_a_killed_run_left_in_scratch_is_cleared_by_the_next() {
    let setup = setup("killed-scratch", |config| {
        config.bytes_per_second = Some(2_000);
    });
    stopped_after(&setup.run(), &["export finished"], "-KILL");
    let source = Source::start(|_| {});
    assert_eq!(setup.place.run(&source).result()["status"], "ok");
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
}

#[test]
fn runs_at_the_same_time_do_not_mix() {
    let setup = setup("at-once", |config| {
        config.latency = Duration::from_millis(20);
    });
    let children: Vec<_> = ["1", "2", "4"]
        .into_iter()
        .map(|jobs| {
            setup
                .run()
                .with("--jobs-concurrency", jobs)
                .command()
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
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
    setup.lake().assert_whole();
    setup.place.assert_scratch_is_empty();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}
