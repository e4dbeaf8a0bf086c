//! Readers in a loop while partitions are replaced: what they meet over the glob, and over the list of files.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, Source, python, repository, truth};

fn source(seed: u64, records_per_day: u32) -> Source {
    Source::start(|config| {
        config.data.seed = seed;
        config.data.records_per_day = records_per_day;
        config.data.text_scale = 0.01;
    })
}

/// Rows of queries and of chunks on each day.
fn counts(sources: &[Source]) -> BTreeMap<String, Vec<[u64; 2]>> {
    let days = sources[0].days();
    let of_day = |day| {
        let count = |source: &Source| {
            let counts = truth::counts(&source.records_of(day));
            ["queries", "chunks"].map(|table| counts[table])
        };
        (day.to_string(), sources.iter().map(count).collect())
    };
    days.into_iter().map(of_day).collect()
}

/// Replaces three days again and again, with a reader beside it; gives what that met, and how often days were replaced.
#[track_caller]
fn read_beside(name: &str, time: Duration, least: usize) -> (Value, usize) {
    let place = Place::new(name);
    let sources = [source(1, 20), source(2, 33)];
    place.run(&sources[0]).result();
    let counts = counts(&sources);
    let mut reader = Command::new(python())
        .arg(repository("tests/duckdb_loop.py"))
        .args([env!("CARGO_BIN_EXE_answerlake"), &place.lake().url()])
        .arg(serde_json::to_string(&counts).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut replaced = 0;
    while began.elapsed() < time || replaced < least {
        let source = &sources[(replaced + 1) % 2];
        place
            .run(source)
            .with("--on-shrink", "replace")
            .arguments(&["--force"])
            .result();
        replaced += 1;
    }
    drop(reader.stdin.take());
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success());
    let found = serde_json::from_slice(&output.stdout).unwrap();
    (found, replaced * counts.len())
}

#[track_caller]
#[expect(
    clippy::print_stdout,
    reason = "how often the glob is wrong is worth seeing"
)]
fn check(found: &Value, replaced: usize) {
    let files = &found["files"];
    assert_eq!(files["wrong"], 0, "{files}");
    assert!(files["right"].as_u64().unwrap() > 0, "{files}");
    // What fails, fails for a file that went, and for nothing else.
    for error in files["errors"].as_array().unwrap() {
        let error = error.as_str().unwrap();
        assert!(error.contains(".parquet"), "{error}");
    }
    println!(
        "{replaced} replacements of a day; over the glob {}, over the files {files}",
        found["glob"]
    );
}

#[test]
fn over_the_list_no_count_is_ever_wrong() {
    let (found, replaced) = read_beside("readers", Duration::from_secs(3), 4);
    check(&found, replaced);
}

#[test]
#[ignore = "takes a minute: `make long`"]
fn over_the_list_no_count_is_wrong_for_a_minute() {
    let (found, replaced) = read_beside("readers-long", Duration::from_secs(60), 30);
    check(&found, replaced);
}
